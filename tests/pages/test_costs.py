from __future__ import annotations

import pytest

from perceptlib.pages import costs as page


def test_benchmark_table_shows_rows_and_growth() -> None:
    lines = [{"row": "l2", "seconds": 2.0, "ratio": 1.0, "repeats": 3, "peak_mib": 10.4}]
    lines += [{"row": "exponent of peak_mib in size", "value": 1.04}]
    benchmark = {
        "tables": {"maximize_loss: 10 steps": lines, "P1": [{"row": "cvxpy", "seconds": 2.0, "ratio": 1496.2}]}
    }
    shown = [line.split() for line in repr(page.benchmark_table(benchmark, "maximize_loss")).splitlines()]
    assert shown[1:] == [["l2", "2", "1", "10"], ["exponent", "of", "memory", "in", "size", "1.04"]]
    without_memory = page.benchmark_table(benchmark, "P1")
    assert list(without_memory.data) == ["P1", "median seconds", "ratio to the first"]
    assert repr(without_memory).split()[-3:] == ["cvxpy", "2", "1496"]
    with pytest.raises(ValueError, match="no table starts with 'memory'; maximize_loss: 10 steps, P1 are there"):
        page.benchmark_table(benchmark, "memory")


def test_ratios_table_has_every_row_of_every_table() -> None:
    timed = {"row": "cvxpy", "seconds": 9.0, "ratio": 1496.2, "least": 700.4, "most": 2000.0, "bound": "at least 1000"}
    tables = {"P1": [{"row": "fast", "seconds": 2.0, "ratio": 1.0, "least": 1.0, "most": 1.0}, timed]}
    tables["sizes"] = [{"row": "exponent of seconds in size", "value": 1.041, "bound": "at most 1.05"}]
    shown = page.ratios_table({"tables": tables})
    assert list(shown.data) == ["what", "row", "ratio", "least", "most", "asked"]
    lines = [line.split() for line in repr(shown).splitlines()[1:]]
    assert lines[1] == ["P1", "cvxpy", "1496", "700", "2000", "at", "least", "1000"]
    assert lines[2] == ["sizes", "exponent", "of", "seconds", "in", "size", "1.04", "at", "most", "1.05"]


def test_claim_b_table_has_a_column_for_each_form() -> None:
    entry = {"step_ratio": 1.1, "objective_median": 0.995, "objective_worst": 0.96, "distance_ratio": 1.05}
    entry |= {"num_images": 4, "num_not_fooled": 0, "verdict": "supported"}
    shown = page.claim_b_table({"diagonal": entry, "five": entry})
    assert list(shown.data) == ["rule", "diagonal", "5 CG steps"]
    assert repr(shown).splitlines()[-1].split() == ["claim", "B", "supported", "supported"]
