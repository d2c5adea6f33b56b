"""Tables of `make bench`: every row timed in turn, repeat by repeat, and stated as a ratio to the table's first row.

A benchmark describes itself in ``benchmark.extra_info``: ``table`` and ``row`` name its place, ``repeat`` its turn;
other entries become columns: ``bound`` says in words what the ratio should keep, and with a ``size`` the growth of time
and memory is fitted. pytest-benchmark does the timing.
"""

from __future__ import annotations

import json
import math
import os
import statistics
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

from perceptlib.check.record import environment
from perceptlib.records.provenance import provenance

EXPONENT = "at most 1.05"
RESULT = Path("build/bench/bench.json")
# Timed where they are installed; the packages of our own are in every record.
PEERS = ("pytorch-msssim", "kornia", "torchmetrics", "adv-lib", "distributed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Repeat by repeat, so that a busy spell of the machine falls on every row alike."""

    def turn(item: pytest.Item) -> tuple[str, int]:
        callspec = getattr(item, "callspec", None)
        return item.path.name, callspec.params.get("repeat", 0) if callspec else 0

    items.sort(key=turn)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the tables and write them as JSON."""
    tables: dict[str, dict[str, dict]] = defaultdict(dict)
    for benchmark in config._benchmarksession.benchmarks:
        info = dict(benchmark.extra_info)
        row = tables[info.pop("table")].setdefault(info.pop("row"), {"seconds": {}, "columns": {}})
        row["seconds"][info.pop("repeat", 0)] = benchmark.stats.median
        row["columns"] |= info
    written = {}
    for name, rows in tables.items():
        first = next(iter(rows.values()))["seconds"]
        terminalreporter.section(name)
        written[name] = []
        for label, row in rows.items():
            ratios = [seconds / first[turn] for turn, seconds in row["seconds"].items() if turn in first]
            line = {
                "row": label,
                "seconds": statistics.median(row["seconds"].values()),
                "ratio": statistics.median(ratios) if ratios else None,
                "least": min(ratios) if ratios else None,
                "most": max(ratios) if ratios else None,
                "repeats": len(row["seconds"]),
            } | row["columns"]
            written[name].append(line)
            columns = "  ".join(f"{key} {value:.4g}" for key, value in line.items() if isinstance(value, float))
            bound = f"  (bound: {line['bound']})" if "bound" in line else ""
            terminalreporter.write_line(f"{label:44s} {columns}{bound}")
        sized = [line for line in written[name] if line.get("size")]
        for quantity in ("seconds", "peak_mib") if len(sized) > 2 else ():
            slope = exponent([line["size"] for line in sized], [line[quantity] for line in sized])
            written[name].append({"row": f"exponent of {quantity} in size", "value": slope, "bound": EXPONENT})
            terminalreporter.write_line(f"{quantity} grows as size^{slope:.2f}  (bound: {EXPONENT})")
    about = provenance(seed=0)
    about["versions"] |= {peer: version(peer) for peer in PEERS if _is_installed(peer)}
    told = environment()
    machine = {
        "date": about["date"][:10],
        "torch": torch.__version__,
        "python": about["python"],
        "processor": f"{told['processor']}, {told['instructions']}",
        "cores": os.cpu_count(),
        "threads": about["threads"],
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"machine": machine, "provenance": about, "tables": written}, indent=1))
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    terminalreporter.write_line(f"{machine}, {versions} -> {RESULT}")


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def exponent(sizes: list[float], values: list[float]) -> float:
    """Slope of the least-squares line through the logarithms."""
    return statistics.linear_regression(
        [math.log(size) for size in sizes], [math.log(max(value, 1e-9)) for value in values]
    ).slope
