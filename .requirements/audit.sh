#!/bin/sh
# Look up known vulnerabilities of the packages of lock.txt with pip-audit, in an environment of its own under build/.
# A finding that does not concern this project is named in IGNORED with the reason: "--ignore-vuln ID" each.
set -eu
cd "$(dirname "$0")/.."

IGNORED=""
venv=build/audit
[ -x $venv/bin/pip-audit ] || {
    .venv/bin/python -m venv $venv
    $venv/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
}
# --strict: a package that the service does not know is no package without faults
if ! $venv/bin/pip-audit --requirement .requirements/lock.txt --no-deps --disable-pip --strict --progress-spinner off $IGNORED
then
    echo "There are findings, or the index, which is asked for them, could not be reached: see above." >&2
    exit 1
fi
