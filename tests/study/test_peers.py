from __future__ import annotations

import math
from pathlib import Path

import pytest

from perceptlib.analysis import tables
from perceptlib.analysis.tables import Row
from perceptlib.study import peers
from perceptlib.study.presets import load_study


def row(peer: str, image: str, distance: float, *, fooled: bool = True, rounded: bool = False) -> Row:
    return {
        **{"peer": peer, "image": image, "distance": distance, "is_adversarial": fooled},
        **{"gradients": 10, "is_adversarial_8bit": rounded},
    }


def test_peer_summary_takes_the_best_of_several_runs_and_all_their_gradients() -> None:
    rows = [row("alma", "a", 4.0), row("alma", "a", 2.0, rounded=True), row("alma", "a", 0.1, fooled=False)]
    rows += [row("alma", "b", 6.0), row("ssim", "a", 1.0), row("ssim", "b", 1.0)]
    summary = peers.peer_summary(rows)
    assert summary["alma"]["distance"] == 4.0  # of 2 and 6
    assert summary["alma"]["gradients"] == 20  # (30 + 10) / 2
    assert summary["alma"]["survives_8bit"] == 0.5
    assert summary["ssim"]["ratio_to_alma"] == 0.25


def test_peer_summary_counts_a_failure_as_infinitely_far() -> None:
    rows = [row("l2", name, 1.0, fooled=name == "a") for name in "abc"]
    summary = peers.peer_summary(rows)
    assert math.isnan(summary["l2"]["distance"]) and summary["l2"]["num_not_fooled"] == 2
    assert "2 of 3" in repr(peers.peer_table(summary))


def test_rows_of_peers_are_one_per_picture_and_kept_batch_by_batch() -> None:
    study = load_study("shapes", num_images=4, seed=40)
    seen: list[int] = []
    rows = peers.rows_of_peers(
        study, peers=["ssim", "l2_8bit", "deepfool"], candidates=3, batch_size=2, on_batch=lambda r: seen.append(len(r))
    )
    count = len(study.pictures)
    assert len(rows) == 3 * count and seen == [2, 4, 6, 8, 10, 12][: len(seen)] and seen[-1] == 3 * count
    assert {(r["image"], r["peer"]) for r in rows} == {
        (name, peer) for name in study.pictures.ids for peer in ("ssim", "l2_8bit", "deepfool")
    }
    summary = peers.peer_summary(rows)
    assert summary["ssim"]["distance"] < summary["deepfool"]["distance"]
    assert summary["l2_8bit"]["survives_8bit"] == 1


def test_unknown_peer_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no peer 'fgsm'; ssim, ssim_8bit, l2, l2_8bit, deepfool"):
        peers.rows_of_peers(load_study("shapes", num_images=1), peers=["fgsm"])


def test_start_summary_holds_our_distance_against_the_best_start_of_each_picture() -> None:
    rows = [row("ssim", name, distance) for name, distance in zip("abc", (1.0, 2.0, 3.0), strict=True)]
    tried = {
        ("learning_rate", 0.1): (60.0, 0.1, 70.0),  # 0.1 is near, and does not fool
        ("learning_rate", 0.3): (40.0, 80.0, 90.0),
        ("first_distance", 1e-4): (50.0, 30.0, 20.0),
        ("first_distance", 1e-5): (55.0, 10.0, 95.0),
    }
    for (kind, value), distances in tried.items():
        for name, distance in zip("abc", distances, strict=True):
            rows.append(row("alma", name, distance, fooled=distance > 1) | {kind: value, "gradients": 200})
    summary = peers.start_summary(rows)
    assert list(summary["starts"]) == [
        "learning rate 0.3",
        "learning rate 0.1",
        "first step 0.0001",
        "first step 1e-05",
    ]
    assert [entry["distance"] for entry in summary["starts"].values()] == [80.0, 70.0, 30.0, 55.0]
    assert [entry["num_best"] for entry in summary["starts"].values()] == [1, 0, 1, 1]
    assert summary["distance_ratio"] == 0.1  # 2 over the median of 40, 10, 20
    assert summary["gradients_ratio"] == 0.05
    assert (summary["num_at_edge"], summary["num_images"]) == (1, 3)
    assert peers.start_table(summary).rows[2] == ("first step 0.0001", "3.00e+01", "1 of 3")


def test_start_summary_reads_rows_of_a_file(tmp_path: Path) -> None:
    rows = [row("ssim", "a", 1.0), row("alma", "a", 3.0) | {"learning_rate": 0.1}]
    rows.append(row("alma", "a", 2.0) | {"first_distance": 1e-4})
    read = tables.read_rows(tables.write_rows(rows, tmp_path / "peers.csv"))
    assert peers.start_summary(read) == peers.start_summary(rows)


def test_start_summary_needs_both_attacks() -> None:
    with pytest.raises(ValueError, match="there are no rows of alma or of ssim; pass rows_of_peers with both"):
        peers.start_summary([row("ssim", "a", 1.0)])
