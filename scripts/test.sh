#!/usr/bin/env bash
# Lint, type check and tests, from a machine with only Python 3.11 (or newer) and pip.
# Arguments go to pytest: bash scripts/test.sh -k persistence
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-test

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
    # Modules are compiled when they are imported, and most of these 8000 never are.
    "$venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check -e '.[test,plot]'
    echo "$stamp" >"$venv/stamp"
fi

"$venv/bin/python" -m ruff check .
"$venv/bin/python" -m mypy &  # beside the first tests
types=$!
passed=0
"$venv/bin/python" -m pytest -q -n 2 --dist worksteal "$@" || passed=$?
wait "$types"
exit "$passed"
