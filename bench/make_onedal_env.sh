#!/usr/bin/env bash
# Make the virtual environment of the rival oneDAL: daal4py comes in scikit-learn-intelex, which patches
# scikit-learn and therefore stays out of every other environment. Argument: the folder (default bench/.venv-onedal).
set -euo pipefail
cd "$(dirname "$0")"
venv=${1:-.venv-onedal}
if "$venv/bin/python" -c 'import daal4py' 2>/dev/null; then
    echo "$venv is ready"
    exit 0
fi
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: Python 3.11 or newer is needed: set PYTHON" >&2
    exit 1
}
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check scikit-learn-intelex==2026.2.0
"$venv/bin/python" -c 'import daal4py; print("daal4py is ready")'
