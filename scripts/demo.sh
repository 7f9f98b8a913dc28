#!/usr/bin/env bash
# The main job on real input, from a machine with only Python 3.11 (or newer) and pip. Pictures go to demo-output/.
# Arguments go to scripts/demo.py: bash scripts/demo.sh --rows 100000
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-demo

find_python() {
    local candidate
    for candidate in python3.11 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: Python 3.11 or newer is needed, and neither python3.11 nor python3 is one" >&2
    return 1
}

# The stamp says for which pyproject.toml, at which place, the environment was made: an unchanged one is used as it is.
stamp="$PWD $(cksum <pyproject.toml)"
if [[ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    python=$(find_python)
    echo "making $venv with $("$python" --version); this takes a minute or two, once"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    # scikit-image for the photograph in its wheel, psutil for the memory a process holds
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[plot]' scikit-image psutil
    echo "$stamp" >"$venv/stamp"
fi

MPLBACKEND=Agg "$venv/bin/python" scripts/demo.py "$@"
