"""Resolve pyproject.toml with all extras but `LEFT_OUT` on several Pythons and write lock.txt and environment.yml.

    make lock PYTHONS="python3.11 python3.12 python3.13"

Versions already in lock.txt are kept unless they are named to be renewed: ``RENEW="numpy scipy"`` or ``RENEW=all``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / ".requirements" / "lock.txt"
ENVIRONMENT = ROOT / "environment.yml"

# The versions that the study was designed with; everything else follows from the resolution.
PINNED = {"torch": "2.13.0", "torchvision": "0.28.0"}
# Extras that are installed by hand, for the many packages that they bring.
LEFT_OUT = ("cvvdp",)
# Needed on another system than the one that resolves (ipykernel asks for it on macOS).
ELSEWHERE = ['appnope==0.1.4; platform_system == "Darwin"']
# torch's default Linux build requires these by exact version; its CPU build does not, so the lock leaves them to torch.
CUDA = re.compile(r"(nvidia|cuda)-.*|triton")
HEADER = """\
# Every package of the project's environment, all extras, for Python 3.11 to 3.13. Written by `make lock`.
# torch's CUDA packages are not listed: its CUDA build requires them by exact version, its CPU build not at all.
"""


def normalise(name: str) -> str:
    """Return a distribution's name in the form that PEP 503 gives it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> list[str]:
    """Return what pyproject.toml asks for: dependencies, extras, and what builds the package itself."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    wanted = list(pyproject["build-system"]["requires"]) + list(project["dependencies"])
    for name, extra in project["optional-dependencies"].items():
        wanted += [] if name in LEFT_OUT else extra
    return wanted


def kept(renew: set[str]) -> list[str]:
    """Return the present pins that stay."""
    pins = [line for line in (LOCK.read_text().splitlines() if LOCK.exists() else []) if "==" in line]
    return [] if "all" in renew else [p for p in pins if normalise(p.split("==")[0]) not in renew]


def resolve(python: str, constraints: list[str]) -> tuple[str, dict[str, str]]:
    """Return the interpreter's version and the versions that pip would install there."""
    with tempfile.TemporaryDirectory() as folder:
        limits, report = Path(folder, "constraints.txt"), Path(folder, "report.json")
        limits.write_text("\n".join(constraints))
        subprocess.run(
            [
                python,
                "-m",
                "pip",
                "install",
                "-q",
                "--dry-run",
                "--ignore-installed",
                "--report",
                str(report),
                "-c",
                str(limits),
                *requirements(),
            ],
            check=True,
        )
        found = json.loads(report.read_text())
    versions = {normalise(i["metadata"]["name"]): i["metadata"]["version"].split("+")[0] for i in found["install"]}
    return found["environment"]["python_version"], {n: v for n, v in versions.items() if not CUDA.fullmatch(n)}


def merge(resolved: dict[str, dict[str, str]]) -> list[str]:
    """Return one pin per package, with a marker where the Pythons differ."""
    lines = list(ELSEWHERE)
    for name in sorted({name for versions in resolved.values() for name in versions}):
        pythons: dict[str, list[str]] = {}
        for python, versions in resolved.items():
            if name in versions:
                pythons.setdefault(versions[name], []).append(python)
        for version, where in pythons.items():
            marker = " or ".join(f'python_version == "{python}"' for python in where)
            lines.append(f"{name}=={version}" + ("" if len(where) == len(resolved) else f"; {marker}"))
    return sorted(lines)


def environment(lines: list[str]) -> str:
    """Return the conda environment that installs the same pins with pip."""
    pins = "".join(f"      - {json.dumps(line) if ';' in line else line}\n" for line in lines)
    return (
        "# For conda and Binder: Python from conda-forge, the pins of .requirements/lock.txt through pip.\n"
        "# Written by `make lock`.\n"
        "name: perceptlib\nchannels:\n  - conda-forge\n  - nodefaults\ndependencies:\n"
        f"  - python=3.11\n  - pip\n  - pip:\n{pins}      - -e .\n"
    ).replace('\\"', "'")


def main() -> None:
    """Resolve on the given Pythons and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pythons", nargs="+", help="interpreters to resolve on, such as python3.12")
    parser.add_argument("--renew", nargs="*", default=[], help="packages whose pin may change, or all")
    arguments = parser.parse_args()
    constraints = kept({normalise(name) for name in arguments.renew} | set(PINNED))
    constraints += [f"{name}=={version}" for name, version in PINNED.items()]
    resolved = {}
    for python in arguments.pythons:
        print(f"resolving with {python}", file=sys.stderr)
        version, versions = resolve(python, constraints)
        resolved[version] = versions
    lines = merge(resolved)
    LOCK.write_text(HEADER + "\n".join(lines) + "\n")
    ENVIRONMENT.write_text(environment(lines))
    print(f"{len(lines)} pins for Python {', '.join(resolved)}", file=sys.stderr)


if __name__ == "__main__":
    main()
