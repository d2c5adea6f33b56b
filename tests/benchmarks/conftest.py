"""Tables of `make bench`: every row timed in turn, repeat by repeat, and stated as a ratio to the table's first row.

A benchmark describes itself in ``benchmark.extra_info``: ``table`` and ``row`` name its place, ``repeat`` its turn;
other entries become columns, and with a column
``size`` the growth of time and memory is fitted. pytest-benchmark does the timing.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

RESULT = Path("build/bench/bench.json")


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
                "repeats": len(row["seconds"]),
            } | row["columns"]
            written[name].append(line)
            columns = "  ".join(f"{key} {value:.4g}" for key, value in line.items() if isinstance(value, float))
            terminalreporter.write_line(f"{label:44s} {columns}")
        sized = [line for line in written[name] if line.get("size")]
        for quantity in ("seconds", "peak_mib") if len(sized) > 2 else ():
            slope = exponent([line["size"] for line in sized], [line[quantity] for line in sized])
            written[name].append({"row": f"exponent of {quantity} in size", "value": slope})
            terminalreporter.write_line(f"{quantity} grows as size^{slope:.2f}")
    machine = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"machine": machine, "tables": written}, indent=1))
    terminalreporter.write_line(f"{machine} -> {RESULT}")


def exponent(sizes: list[float], values: list[float]) -> float:
    """Slope of the least-squares line through the logarithms."""
    return statistics.linear_regression(
        [math.log(size) for size in sizes], [math.log(max(value, 1e-9)) for value in values]
    ).slope
