"""Page 13: networks side by side on the same pictures, and in recorded studies; robust against standard."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from shown import cell
from study_samples import agreement_rows

from perceptlib.pages.networks import side_by_side as page
from perceptlib.records import plain
from perceptlib.study.config import StudyConfig
from perceptlib.study.runner import run_study

NAMES = ["shapes-0", "shapes-l2-0"]
STUDIES = {
    ("imagenet", "mobilenet_v2"): agreement_rows({"ssim": 0.35, "random": 0.25}, noise=0.01),
    ("imagenet", "efficientnet-lite0"): agreement_rows({"ssim": 0.45, "multiscale": 0.5, "multiscale_random": 0.3}),
    ("shapes", "shapes-0"): agreement_rows({"ssim": 0.4}),
    ("shapes", "shapes-1"): agreement_rows({"ssim": 0.3}),
    ("shapes", "shapes-l2-0"): agreement_rows({"ssim": 0.5}),
    ("shapes", "shapes-l2-1"): agreement_rows({"ssim": 0.5}),
}


@pytest.fixture(scope="module")
def found() -> dict[str, page.NetworkMaps]:
    maps, left_out = page.maps_by_network([*NAMES, "digits-0"], "shapes", num_images=6, budget=1e-3)
    assert list(maps) == NAMES and left_out["digits-0"].startswith("network 'digits-0' has 10 classes")
    return maps


def test_energies_are_those_of_a_study_with_that_network(found: dict[str, page.NetworkMaps], tmp_path: Path) -> None:
    none: dict = {"attacks": (), "searches": (), "cascade": (), "regions": (), "curves": ()}
    config = StudyConfig(network="shapes-l2-0", num_images=6, maps=("ssim",), cams=("cam",), **none)
    rows = run_study(config, tmp_path)
    scored = rows[rows["part"] == "agreement"].set_index("image")["energy_in_top_q"].dropna()
    assert found["shapes-l2-0"].pictures["energy_in_top_q"].to_dict() == pytest.approx(scored.to_dict(), rel=1e-4)


def test_networks_and_answers_are_told(found: dict[str, page.NetworkMaps]) -> None:
    table = page.network_table(found, {"other": "no weights"})
    assert cell(table, "shapes-0", "pictures") == "64 x 64" and cell(table, "shapes-0", "grid of the CAM") == "8 x 8"
    assert cell(table, "other", "classified correctly here") == "left out: no weights"
    rows = page.live_rows(found)
    assert len(rows) == sum(len(maps.pictures) for maps in found.values())
    first = rows.iloc[0]
    assert cell(page.live_table(found), first["picture"], "shapes-0").startswith(first["answer"])


def test_a_row_of_panels_has_every_network(found: dict[str, page.NetworkMaps]) -> None:
    names = page.names_shown(found, "shapes", num_images=6, num_shown=2)
    assert len(names) == 2 and names == sorted(names)
    lost = found["shapes-l2-0"]
    without = replace(lost, pictures=lost.pictures.drop(names[0]))
    figure = page.side_by_side({"shapes-0": found["shapes-0"], "shapes-l2-0": without}, names)
    titled = figure.axes[:6]
    assert [axes.get_title() for axes in titled] == [names[0], "shapes-0", "shapes-l2-0", names[1], "", ""]
    assert titled[1].get_xlabel().endswith("% inside") and titled[2].get_xlabel() == "misclassified: no map"
    assert figure.frame is not None and set(figure.frame["network"]) == set(NAMES)


def test_mobilenet_is_left_out_where_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "mobilenet_weights", lambda: None)
    found, left_out = page.maps_by_network(["mobilenet_v2"], "photos", num_images=1, budget=1e-5)
    assert found == {} and left_out["mobilenet_v2"].startswith("no weights file is named or found")


def test_energies_of_every_study_are_drawn_and_told() -> None:
    energies = page.energies_by_study(STUDIES)
    figure = page.energy_chart(energies)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:3] == ["photographs\nmobilenet_v2", "photographs\nefficientnet-lite0", "shapes\nshapes-0"]
    assert page.energy_sentence(energies, "imagenet").startswith("35% (")
    assert page.energy_sentence(energies, "imagenet").endswith(" with efficientnet-lite0")
    assert page.energy_sentence(energies, "digits") == "not recorded"
    table = page.energy_table(STUDIES, "imagenet")
    assert cell(table, "mobilenet_v2", "minus its random direction").startswith("+0.10 (")
    assert cell(table, "mobilenet_v2", "classified correctly") == "100 of 100"
    assert cell(table, "mobilenet_v2", "multi-scale ball minus its random direction") == "undefined"
    assert cell(table, "efficientnet-lite0", "multi-scale ball minus its random direction").startswith("+0.2")
    assert page.energies_by_study({}).empty and len(page.energy_chart(page.energies_by_study({})).axes) == 1


def test_networks_are_compared_on_the_pictures_that_both_have() -> None:
    second = STUDIES["imagenet", "efficientnet-lite0"].query("image != 'picture 3'")
    differences = page.differences_between(STUDIES | {("imagenet", "efficientnet-lite0"): second}, "imagenet")
    assert differences["num_values"].tolist() == [99]
    assert differences["value"].tolist() == pytest.approx([0.1], abs=0.02)
    row = "efficientnet-lite0 minus mobilenet_v2"
    assert cell(page.difference_table(differences), row, "pictures") == "99"
    assert page.differences_between(STUDIES, "digits").empty


def test_robust_networks_are_compared_with_the_standard_one_of_their_seed() -> None:
    robust = page.robust_differences(STUDIES)
    assert robust["seed"].tolist() == ["0", "1", "all"]
    assert set(robust["data_set"]) == {"shapes"} and set(robust["norm"]) == {"l2"}
    assert robust["value"].tolist() == pytest.approx([0.1, 0.2, 0.15], abs=0.02)
    figure = page.robust_chart(robust)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["seed 0", "seed 1", "over networks"]
    assert cell(page.robust_table(robust), "shapes, l2, seed 0", "pairs of pictures") == "100"
    none = page.robust_differences({})
    assert none.empty and page.robust_chart(none).axes == []
    content = page.numbers(page.energies_by_study(STUDIES), page.differences_between(STUDIES, "imagenet"), robust)
    assert content["robust"]["shapes"]["l2"]["0"]["value"] == pytest.approx(0.1, abs=0.02)
    assert content["recorded"]["imagenet"]["mobilenet_v2"]["ssim"]["value"] == pytest.approx(0.35, abs=0.02)
    assert "Infinity" not in json.dumps(plain(content)) and isinstance(none, pd.DataFrame)
