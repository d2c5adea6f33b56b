"""Install the packages of lock.txt and this project into the environment of the Python that runs this.

By uv, which is faster; by pip where uv cannot be had, or fails. uv reads none of pip's settings: those that say where
packages come from are handed on.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = str(Path(__file__).with_name("lock.txt"))
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
UV = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
OPTIONS = {
    "index-url": "--index-url",
    "extra-index-url": "--extra-index-url",
    "find-links": "--find-links",
    "trusted-host": "--allow-insecure-host",
    "constraint": "--constraints",
}
VARIABLES = {"cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY", "timeout": "UV_HTTP_TIMEOUT"}


def main() -> int:
    """Exit status."""
    if _all([[*PIP, "uv==0.13.9"]], capture_output=True):
        listed = subprocess.run([*PIP[:3], "config", "list"], capture_output=True, text=True, check=False).stdout
        options, variables = handed_on(listed)
        # as pip does: of all places, the best version
        packages = [*UV, *options, "--index-strategy", "unsafe-best-match", "--requirement", LOCK]
        project = [*UV, "--no-deps", "--no-build-isolation", "--offline", "--editable", "."]
        if _all([packages, project], env=variables | os.environ):  # the user's own variables count more
            return 0
        print("uv could not install them (see above); now pip tries.", file=sys.stderr, flush=True)
    packages = [*PIP, "--no-compile", "--requirement", LOCK]
    project = [*PIP, "--no-deps", "--no-build-isolation", "--editable", "."]
    return 0 if _all([packages, project]) else 1


def _all(commands: list[list[str]], **options: Any) -> bool:
    return all(subprocess.run(command, check=False, **options).returncode == 0 for command in commands)


def handed_on(listed: str) -> tuple[list[str], dict[str, str]]:
    """uv's options and environment variables for what ``pip config list`` prints, such as ``global.cert='FILE'``."""
    settings = {}
    lines = [line.partition("=") for line in listed.splitlines()]
    # pip's order: a variable of the environment counts more than a command's section, and that more than "global"
    for section in ("global", "install", ":env:"):
        for name, _, value in lines:
            if name.rpartition(".")[0] == section:
                settings[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    options = [
        word for name, option in OPTIONS.items() for one in settings.get(name, "").split() for word in (option, one)
    ]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        options.append("--no-index")
    return options, {variable: settings[name] for name, variable in VARIABLES.items() if name in settings}


if __name__ == "__main__":
    raise SystemExit(main())
