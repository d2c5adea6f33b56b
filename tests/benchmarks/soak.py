"""Run studies in a loop in one process and see whether its memory grows (`make soak SECONDS=3600`)."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from perceptlib.records.provenance import provenance
from perceptlib.study.config import REGIONS, STUDIES
from perceptlib.study.runner import run_study

# Every part and attack, with another seed each time, so that nothing is there from the time before.
STUDY = replace(
    STUDIES["shapes"],
    num_images=4,
    batch_size=2,
    regions=REGIONS,
    steps=4,
    searches=("l2", "ssim", "ssim_8bit", "pgd_l2", "deepfool"),
)
WARM_UP = 5  # studies until caches are full
MOST = 20.0  # MiB an hour that pass for flat


def main() -> None:
    torch.set_num_threads(1)
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3600.0
    process, started, seed = psutil.Process(), time.monotonic(), 0
    hours: list[float] = []
    mib: list[float] = []
    while time.monotonic() - started < seconds:
        with tempfile.TemporaryDirectory() as folder:
            rows = run_study(replace(STUDY, seed=seed), folder)
        seed += 1
        hours.append((time.monotonic() - started) / 3600)
        mib.append(process.memory_info().rss / 2**20)
        print(f"{hours[-1]:.3f} h  study {seed}  {len(rows)} rows  {mib[-1]:.0f} MiB", flush=True)
    if len(mib) < 2 * WARM_UP:
        raise SystemExit(f"{len(mib)} studies in {seconds:g} s tell nothing; {2 * WARM_UP} are needed, so wait longer")
    slope = statistics.linear_regression(hours[WARM_UP:], mib[WARM_UP:]).slope
    result = {
        "studies": seed,
        "hours": hours[-1],
        "mib_first": mib[WARM_UP],
        "mib_last": mib[-1],
        "mib_most": max(mib),
        "mib_per_hour": slope,
        "provenance": provenance(seed=0, preset="shapes"),
    }
    out = Path("build/bench/soak.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1))
    print(f"{slope:.1f} MiB an hour from study {WARM_UP} on -> {out}")
    if slope > MOST:
        raise SystemExit(f"memory grows by {slope:.1f} MiB an hour; {MOST:g} pass for flat")


if __name__ == "__main__":
    main()
