"""The report of a run of mutants, README.md: what was run, what was noticed, what was not and why."""

from __future__ import annotations

from typing import Any

LEAST = 0.85  # share of mutants that tests must notice

HEAD = """\
# Do the tests notice a changed program?

Written by `make mutants`; do not edit. Each core module was changed in one place at a time and its tests were run:
a mutant is killed if a test fails, runs out of time or crashes, and survives otherwise.

- Operators of mutmut {mutmut} (numbers, strings, comparisons, arithmetic, arguments dropped, conditions forced, ...),
  on decorated functions and constants of the modules too, which mutmut itself passes over. Left out: the operators
  that write None, which nearly every test notices.
- Sample: {size} mutants of each module at random (all where it has fewer), seed {seed}: {count} of {total}.
- Tests: those of the modules' own files that run the changed line, by coverage, {tests} in all; {tests_left_out} that
  take more than {longest:g} processor seconds sat out, so that the shares are lower bounds. Hypothesis is derandomised.
- {date}, commit {commit}, Python {python}, torch {torch}.

"""


def key(row: dict[str, Any]) -> str:
    """What tells a mutant from the others, wherever it has moved to in its file."""
    return f"{row['module']}: {row['before']} -> {row['after']}"


def text(record: dict[str, Any], explanations: list[dict[str, str]]) -> tuple[str, bool]:
    """The report, and whether enough mutants were killed and all survivors are explained."""
    rows, totals = record["rows"], record["mutants"]
    reasons = {key(row): row["why"] for row in explanations}
    lines = [HEAD.format(count=len(rows), total=sum(totals.values()), **record)]
    lines.append(
        "| module | mutants | sampled | killed | survived | killed, % |\n| --- | --: | --: | --: | --: | --: |"
    )
    for module in totals:
        lines.append(_line(module, totals[module], [row for row in rows if row["module"] == module]))
    lines.append(_line("all", sum(totals.values()), rows))
    survivors = [row for row in rows if row["ended"] == "survived"]
    unexplained = [row for row in survivors if key(row) not in reasons]
    if survivors:
        lines.append(f"\n## The {len(survivors)} survivors\n")
    for row in survivors:
        why = reasons.get(key(row), "Not explained.")
        lines.append(f"- `{row['module']}`, line {row['line']}\n  ```diff\n  - {row['before']}\n  + {row['after']}")
        lines.append(f"  ```\n  {why}")
    killed = len(rows) - len(survivors)
    return "\n".join(lines) + "\n", killed >= LEAST * len(rows) and not unexplained


def _line(name: str, total: int, rows: list[dict[str, Any]]) -> str:
    killed = sum(row["ended"] != "survived" for row in rows)
    share = f"{100 * killed / len(rows):.0f}" if rows else ""
    return f"| {name} | {total} | {len(rows)} | {killed} | {len(rows) - killed} | {share} |"
