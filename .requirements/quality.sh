#!/bin/sh
# Run a script of tests/mutation with its tools, which the environment does not hold: they lie under build/quality.
#
#     sh .requirements/quality.sh tests/mutation/branches.py
set -eu
cd "$(dirname "$0")/.."

tools="coverage==7.17.3 libcst==1.9.0 mutmut==3.8.1"
folder=build/quality
if [ "$(cat $folder/installed 2>/dev/null)" != "$tools" ]; then
    rm -rf $folder
    # without what mutmut itself needs: its operators alone are used
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target $folder $tools || {
        echo "The tools could not be installed: see pip's message above. Is the package index reachable?" >&2
        exit 1
    }
    printf '%s\n' "$tools" >$folder/installed
fi
PYTHONPATH=$folder exec .venv/bin/python "$@"
