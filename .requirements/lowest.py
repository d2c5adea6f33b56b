"""Run the tests with the oldest packages that pyproject.toml allows, in an environment of its own.

    make test-lowest                          the whole suite
    make test-lowest TESTS="tests/test_a.py"  some files

The environment is build/lowest (LOWEST_ENVIRONMENT=DIR: elsewhere), made anew when the bounds have changed. Direct
dependencies get the lowest version of their bound, what they depend on the newest that fits.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = Path(os.environ.get("LOWEST_ENVIRONMENT", ROOT / "build" / "lowest"))


def lowest() -> list[str]:
    """Return pyproject.toml's dependencies, all extras but cvvdp's, each at its lower bound: ``numpy==2.0``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name != "cvvdp"}
    asked = [*project["dependencies"], *(line for lines in extras.values() for line in lines)]
    bounds: dict[str, str] = {}
    for line in asked:
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+)(,.*)?", line)
        if match:  # the others only limit what another line asks for
            bounds[match[1]] = match[2]
    return [f"{name}=={version}" for name, version in sorted(bounds.items())]


def make_environment(pins: list[str]) -> None:
    """Install the pins into the environment, unless they are there."""
    stamp = ENVIRONMENT / "lowest.txt"
    if stamp.is_file() and stamp.read_text().splitlines() == pins:
        return
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    subprocess.run([ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "-q", *pins], check=True)
    stamp.write_text("\n".join(pins) + "\n")


def main() -> None:
    """Install, then test; exit status of pytest."""
    make_environment(lowest())
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [ENVIRONMENT / "bin" / "python", "-m", "pytest", "-q", "-n", "2", *sys.argv[1:]]
    sys.exit(subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
