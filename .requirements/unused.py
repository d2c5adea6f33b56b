"""Look for code that nothing uses, with vulture; the notebooks' cells count as users. `make lint` runs this."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat

CELLS = Path("build/notebooks.py")


def main() -> None:
    """Write the code of all notebooks into one file, and look; exit status of vulture."""
    sources = [
        re.sub(r"^(\s*)[!%].*", r"\1pass", cell.source, flags=re.MULTILINE)
        for path in sorted(Path("notebooks").glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
    ]
    CELLS.parent.mkdir(exist_ok=True)
    CELLS.write_text("\n".join(sources), encoding="utf-8")
    sys.exit(subprocess.run([sys.executable, "-m", "vulture"], check=False).returncode)


if __name__ == "__main__":
    main()
