#!/bin/sh
# Make or mend .venv, the one environment for book and tests. `make setup` runs this.
#
# .venv/.perceptlib holds the digest of what the environment was made from. Another content there (or "incomplete",
# left by an interrupted install) makes the next run put it right; times of files play no part.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
stamp=$venv/.perceptlib
recipe=".requirements/lock.txt pyproject.toml .requirements/setup.sh .requirements/install.py"

say() { printf '%s\n' "$*" >&2; }

# version INTERPRETER: print "3.11.7" where it is a Python that can make environments, else nothing
version() {
    "$1" -c 'import ensurepip, venv, sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || true
}

find_python() {
    seen=
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.11 python3.12 python3.13 python3.14; fi
    for candidate; do
        if ! command -v "$candidate" >/dev/null 2>&1; then
            [ -z "${PYTHON:-}" ] || seen="$candidate (no such command)"
            continue
        fi
        found=$(version "$candidate")
        case $found in
            3.1[1-9].*|3.[2-9][0-9].*) python=$candidate; return ;;
            "") seen="$seen, $candidate (no Python 3 with the modules venv and ensurepip)" ;;
            *) seen="$seen, $candidate (Python $found)" ;;
        esac
    done
    seen=${seen#, }
    say "No Python 3.11 or newer with venv was found; found: ${seen:-nothing}."
    say "Install Python 3.11, 3.12 or 3.13 (Debian and Ubuntu: also the package python3-venv), or name one:"
    say "    make PYTHON=/path/to/python3.12 ${MAKECMDGOALS:-setup}"
    exit 1
}

digest() {
    { cat $recipe; printf '%s\n' "$PWD"; } | cksum
}

wanted=$(digest)
if [ -x $venv/bin/python ] && [ "$(cat $stamp 2>/dev/null)" = "$wanted" ] && $venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

find_python
case $found in
    3.11.*|3.12.*|3.13.*) ;;
    *) say "Python $found: the pinned packages were resolved for 3.11 to 3.13; going on." ;;
esac
if [ -d $venv ] && { [ "$(cat $stamp 2>/dev/null)" = incomplete ] || ! $venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    say "Removing $venv, which an earlier installation left incomplete."
    rm -rf $venv
fi
if [ ! -d $venv ]; then
    say "Making $venv with Python $found."
    mkdir $venv
    echo incomplete >$stamp
    "$python" -m venv $venv
fi
echo incomplete >$stamp
say "Installing the packages of .requirements/lock.txt into $venv (a few minutes the first time)."
if ! $venv/bin/python .requirements/install.py; then
    say "The packages could not be installed: see pip's message above. Is the package index reachable?"
    say "pip's own settings (PIP_INDEX_URL, PIP_PROXY, ...) are honoured. Then run make again."
    exit 1
fi
printf '%s\n' "$wanted" >$stamp
say "Environment ready."
