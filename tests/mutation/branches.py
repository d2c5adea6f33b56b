"""Share of the branches of each core module that its tests take.

    make coverage

Ends with status 1 where it is below 95 % for any of them.
"""

from __future__ import annotations

import os
import sys

import coverage
import pytest
from core_modules import MODULES, ROOT, TESTS, source

LEAST = 0.95


def main() -> None:
    """Run the tests and print a line for each module."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    watch = coverage.Coverage(data_file=None, config_file="pyproject.toml")
    with watch.collect():
        status = pytest.main(["-q", "-p", "no:cacheprovider", *map(str, TESTS)])
    if status:
        sys.exit("the tests fail")
    print(f"{'module':26} statements  not run  branches  taken  lines with a branch not taken")
    is_short = False
    for module in MODULES:
        _, statements, _, missing, _ = watch.analysis2(str(source(module)))
        exits = watch.branch_stats(str(source(module)))
        total, taken = (sum(numbers[index] for numbers in exits.values()) for index in (0, 1))
        share = taken / total if total else 1.0
        is_short |= share < LEAST
        lines = " ".join(str(line) for line, (has, takes) in sorted(exits.items()) if takes < has)
        print(f"{module:26} {len(statements):10} {len(missing):8} {total:9} {share:6.0%}  {lines}")
    if is_short:
        sys.exit(f"below {LEAST:.0%} of the branches of a module: add a test, or take out what cannot be reached")


if __name__ == "__main__":
    main()
