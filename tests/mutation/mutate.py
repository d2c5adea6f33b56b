"""Change the core modules in small ways, one at a time, and see whether their tests notice.

    make mutants MUTANTS_ARGS="--size 28 --seed 0"

Writes results.json and README.md beside this file. Ends with status 1 where fewer than 85 % are noticed, or where one
that is not noticed has no explanation in explanations.json.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from core_modules import MODULES, ROOT, TESTS, source
from mutants import Mutant, sample
from processes import forked, prepare, reach, verdict
from report import LEAST, key, text

HERE = Path(__file__).parent
RESULTS, EXPLANATIONS, README = HERE / "results.json", HERE / "explanations.json", HERE / "README.md"
BUILT = ROOT / "build" / "mutation"


def main() -> None:
    """Draw mutants, test them, write the results and their report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=28, help="mutants of each module (all where it has fewer)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--longest", type=float, default=3.0, help="processor seconds of a test: longer ones sit out")
    parser.add_argument("--modules", nargs="+", default=list(MODULES), choices=MODULES, help="only these")
    parser.add_argument("--survivors", action="store_true", help="test only what was not killed last time")
    arguments = parser.parse_args()
    with suppress(OSError):  # others on the machine go first
        Path("/proc/self/autogroup").write_text("5")

    commit = _commit()
    prepare(TESTS)
    seconds, lines = _reached()
    drawn: list[Mutant] = []
    totals: dict[str, int] = {}
    for module in arguments.modules:
        chosen, totals[module] = sample(module, source(module).read_text(), arguments.size, arguments.seed)
        drawn += chosen
    known = _known(totals) if arguments.survivors else {}
    rows = []
    for number, mutant in enumerate(drawn, 1):
        row = {"module": mutant.module, "line": mutant.line, "before": mutant.before, "after": mutant.after}
        tests = [name for name in _tests(mutant, seconds, lines) if seconds[name] <= arguments.longest]
        row |= known.get(key(row)) or _judged(mutant, tests, seconds)
        rows.append(row)
        print(f"{number}/{len(drawn)} {mutant.module}:{mutant.line} {row['ended']} {row.get('by', '')}", flush=True)
        _write(BUILT / "rows.json", rows)
    record = {
        "date": datetime.date.today().isoformat(),
        "commit": commit,
        "python": platform.python_version(),
        "mutmut": importlib.metadata.version("mutmut"),
        "torch": importlib.metadata.version("torch"),
        **{name: getattr(arguments, name) for name in ("size", "seed", "longest")},
        "tests": len(seconds),
        "tests_left_out": sum(spent > arguments.longest for spent in seconds.values()),
        "mutants": totals,
        "rows": rows,
    }
    if arguments.modules == list(MODULES):
        _write(RESULTS, record)
    explanations = json.loads(EXPLANATIONS.read_text())
    report, is_good = text(record, explanations)
    if arguments.modules == list(MODULES):
        README.write_text(report)
    print(report)
    if not is_good:
        sys.exit(f"fewer than {LEAST:.0%} are noticed, or one that is not has no explanation")


def _judged(mutant: Mutant, tests: list[str], seconds: dict[str, float]) -> dict[str, str]:
    if not tests:
        return {"ended": "survived"}
    limit = 20 + 4 * sum(seconds[name] for name in tests)
    return forked(lambda: verdict(mutant.module, mutant.code, tests), limit)


def _tests(mutant: Mutant, seconds: dict[str, float], lines: dict[str, dict[str, list[int]]]) -> list[str]:
    """Tests that run the changed lines, the shortest first."""
    wanted = set(mutant.lines)
    reached = lines.get(mutant.module, {})
    found = [name for name, ran in reached.items() if name in seconds and (not wanted or not wanted.isdisjoint(ran))]
    return sorted(found, key=lambda name: seconds[name])


def _reached() -> tuple[dict[str, float], dict[str, dict[str, list[int]]]]:
    """Processor seconds of every test, and the lines of each module that it runs; kept until one of them changes."""
    shared = [*map(source, MODULES), *sorted((ROOT / "tests").glob("[!t]*.py"))]
    state = b"".join(path.read_bytes() for path in shared)
    seconds: dict[str, float] = {}
    lines: dict[str, dict[str, list[int]]] = {}
    for path in TESTS:
        digest = hashlib.sha256(state + path.read_bytes()).hexdigest()[:16]
        kept = BUILT / f"reach-{path.stem}-{digest}.json"
        if not kept.exists():
            print(f"running {path.name}", flush=True)
            found = forked(lambda path=path: reach(path), 3600)
            if "seconds" not in found:
                raise SystemExit(f"{path.name} could not be run: {found['ended']}")
            _write(kept, found)
        found = json.loads(kept.read_text())
        seconds |= found["seconds"]
        for module, ran in found["lines"].items():
            lines.setdefault(module, {}).update(ran)
    return seconds, lines


def _known(totals: dict[str, int]) -> dict[str, dict[str, str]]:
    """What was killed last time, of modules that have as many mutants as then."""
    if not RESULTS.exists():
        return {}
    last = json.loads(RESULTS.read_text())
    same = {module for module, total in totals.items() if last["mutants"].get(module) == total}
    return {
        key(row): {name: row[name] for name in ("ended", "by") if name in row}
        for row in last["rows"]
        if row["ended"] != "survived" and row["module"] in same
    }


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
