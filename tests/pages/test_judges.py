"""Page 14: what judges say at one SSIM distance and at equal success, and the verdicts by rule C'."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from shown import cell, dots
from study_samples import frame_of

from perceptlib.analysis.claims import RANDOM
from perceptlib.analysis.judges import ASKED, claim_c_prime
from perceptlib.analysis.verdicts import Verdict
from perceptlib.drawing.figures import look_of
from perceptlib.pages import judges as page
from perceptlib.records import plain
from perceptlib.ssim import measure as ssim
from perceptlib.study.presets import Pictures, Study, load_study

BUDGET = 0.01
BETTER, WORSE = {"ssim": 2.0, "multiscale": 0.5}, {"ssim": 4.0, "multiscale": 3.0}


def judged_rows(factors: dict[str, float], *, by_ssim: float = 0.25, num_images: int = 8) -> pd.DataFrame:
    """Every judge's loss in a ball is a factor of l2's, linf's twice l2's; the SSIM distance is another one of l2's."""
    levels = {f"{ball}_8bit": factor for ball, factor in factors.items()} | {"l2_8bit": 1.0, "linf_8bit": 2.0}
    rows = []
    for method, level in levels.items():
        distance = by_ssim if method == "ssim_8bit" else level
        for place in range(num_images):
            named = {"image": f"picture {place}", "method": method, "is_adversarial_8bit": True, "gradients": 40}
            losses = dict.fromkeys(ASKED, level * (1 + place))
            rows.append(named | {"part": "judges"} | losses)
            rows.append(named | {"part": "smallest", "is_adversarial": True, "distance_8bit": distance * (1 + place)})
    return frame_of(rows)


STUDIES = {
    ("imagenet", "efficientnet-lite0"): judged_rows(BETTER),
    ("imagenet", "mobilenet_v2"): frame_of([{"part": "fooling", "image": "picture 0", "method": "ssim"}]),
    ("shapes", "shapes-0"): judged_rows(WORSE),
    ("digits", "digits-0"): judged_rows(BETTER, num_images=20),
}


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("shapes", num_images=4).head(2)


@pytest.fixture(scope="module")
def saved(study: Study) -> dict[str, torch.Tensor]:
    return page.attacked(study, BUDGET, steps=1)


@pytest.fixture(scope="module")
def losses(study: Study, saved: dict[str, torch.Tensor]) -> pd.DataFrame:
    return page.losses(study, saved, ["ciede2000_99", "ms_ssim"])


@pytest.fixture(scope="module")
def success() -> pd.DataFrame:
    return page.success_rows(STUDIES)


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], dict[str, Verdict]]:
    return page.verdicts(STUDIES)


def test_attacks_of_all_balls_are_saved_at_one_distance(study: Study, saved: dict[str, torch.Tensor]) -> None:
    assert list(saved) == list(page.ATTACKED)
    for changed in saved.values():
        torch.testing.assert_close(255 * changed, (255 * changed).round())
        rounding = 0.1  # of the distance, to 8 bits
        assert ssim.distance(study.pictures.images, changed).tolist() == pytest.approx([BUDGET] * 2, rel=rounding)


def test_losses_are_of_each_ball_and_picture_by_judges_that_are_there(
    study: Study, saved: dict[str, torch.Tensor], losses: pd.DataFrame
) -> None:
    assert losses["method"].tolist() == ["l2", "l2", "ssim", "ssim", "multiscale", "multiscale"]
    assert losses["picture"].tolist() == [*study.pictures.ids] * 3
    assert list(losses)[1:3] == ["ciede2000", "ciede2000_99"] and (losses["ciede2000"] > 0).all()
    assert "ms_ssim" not in losses  # it takes no pictures that are so small
    with pytest.raises(ValueError, match=r"^there is no judge 'eye'; ciede2000, "):
        page.losses(study, saved, ["eye"])


def test_judges_that_are_not_there_are_named_once() -> None:
    there = pd.DataFrame(columns=[name for name in page.JUDGES if not name.startswith("jod")])
    assert page.left_out(there) == "not asked, not installed or too small a picture: ColorVideoVDP"
    assert page.left_out(pd.DataFrame(columns=list(page.JUDGES))) == "all judges were asked"


def test_photograph_and_attacks_stand_above_the_part_that_changes_most(
    study: Study, saved: dict[str, torch.Tensor], losses: pd.DataFrame
) -> None:
    name = study.pictures.ids[1]
    images = torch.nn.functional.interpolate(study.pictures.images, size=128)
    larger = {ball: images.clone() for ball in saved}
    larger["ssim"][1, :, 40:88, 16:112] = 1 - images[1, :, 40:88, 16:112]
    pictures = Pictures(images, study.pictures.labels, ids=study.pictures.ids)
    enlarged = Study(study.classifier, pictures, study.examples, 2)
    figure = page.photograph_panels(enlarged, larger, losses, name)
    said = losses[losses["picture"] == name].set_index("method")["ciede2000"]
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:2] == ["clean", f"l2: CIEDE2000 {said['l2']:.2f}"] and titles[2:4] == ["", ""]
    assert titles[4:6] == [
        f"SSIM ball: CIEDE2000 {said['ssim']:.2f}",
        f"multi-scale ball: CIEDE2000 {said['multiscale']:.2f}",
    ]
    part = torch.from_numpy(figure.axes[2].get_images()[0].get_array().data).permute(2, 0, 1)
    torch.testing.assert_close(part, images[1, :, 40:88, 16:112])
    assert figure.frame is not None and set(figure.frame["picture"]) == {name} and not figure.is_line_art


def test_photograph_that_is_not_there_is_refused(
    study: Study, saved: dict[str, torch.Tensor], losses: pd.DataFrame
) -> None:
    with pytest.raises(ValueError, match=r"^photograph 'dog' is not there, or the network misclassifies it; pass one"):
        page.photograph_panels(study, saved, losses, "dog")


def test_ratios_are_medians_and_extremes_over_pictures() -> None:
    values = {"l2": [1.0, 2.0, 4.0], "ssim": [3.0, 2.0, 40.0], "multiscale": [0.5, 2.0, 1.0]}
    frames = [pd.DataFrame({"method": ball, "picture": ["a", "b", "c"], "gmsd": loss}) for ball, loss in values.items()]
    ratios = page.ratios(pd.concat(frames, ignore_index=True)).set_index("method")
    assert ratios.loc["ssim", ["judge", "value", "low", "high"]].tolist() == ["gmsd", 3, 1, 10]
    assert ratios.loc["multiscale", ["value", "low", "high"]].tolist() == [0.5, 0.25, 1]
    figure = page.live_chart(ratios.reset_index())
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["GMSD"]
    marks = dots(figure.axes[0])
    assert [mark[0] for mark in marks] == [3, 0.5]
    assert [mark[2] for mark in marks] == [look_of(ball).marker for ball in RANDOM]


def test_recorded_ratios_are_to_the_better_rival_with_ssim_first(success: pd.DataFrame) -> None:
    assert success.groupby("network", sort=False).size().to_dict() == dict.fromkeys(
        ("efficientnet-lite0", "shapes-0", "digits-0"), 2 * (1 + len(ASKED))
    )
    own = success[(success["network"] == "efficientnet-lite0") & (success["method"] == "ssim")].set_index("judge")
    assert own.index[0] == "ssim" and set(own["rival"]) == {"l2_8bit"} and set(own["num_values"]) == {8}
    assert own["value"].to_dict() == pytest.approx({"ssim": 0.25} | dict.fromkeys(ASKED, 2.0))
    figure = page.success_chart(success, "digits")
    assert [axes.get_title() for axes in figure.axes] == ["SSIM ball", "multi-scale ball"]
    assert figure.axes[0].get_yticklabels()[0].get_text() == "SSIM distance"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["efficientnet-lite0 (8)", "digits-0 (20)"]
    assert page.success_rows({}).empty and len(page.success_chart(page.success_rows({}), "digits").axes) == 2


def test_verdicts_are_those_of_the_rule_on_each_network_that_judges_saw(
    found: dict[tuple[str, str], dict[str, Verdict]],
) -> None:
    assert list(found) == [study for study in STUDIES if study[1] != "mobilenet_v2"]
    rows = STUDIES["digits", "digits-0"]
    assert found["digits", "digits-0"]["c_prime_multiscale"] == claim_c_prime(rows, ball="multiscale")
    table = page.verdict_table(found, STUDIES)
    assert table.data["pictures"].tolist() == [8, 8, 20]
    assert cell(table, "shapes-0", "C', multi-scale ball") == "reversed"
    told = "for the SSIM ball reversed on 3; for the multi-scale ball reversed on 1 and supported on 2"
    assert page.answer(found) == told
    assert page.answer({}).startswith("for the SSIM ball not testable here; ")


def test_numbers_count_the_judges_and_are_plain(
    success: pd.DataFrame, found: dict[tuple[str, str], dict[str, Verdict]]
) -> None:
    live = pd.DataFrame(
        {
            "method": ["ssim"] * 3 + ["multiscale"] * 3,
            "judge": ["gmsd", "vif", "fsim"] * 2,
            "value": [2.0, 3.0, 0.9, 0.5, 1.0, 2.0],
        }
    )
    numbers = page.numbers(live, success, found)
    assert numbers["num_judges"] == 3 and numbers["num_networks"] == 3
    assert numbers["num_more"] == {"ssim": 2, "multiscale": 1} and numbers["num_less"] == {"ssim": 1, "multiscale": 1}
    assert numbers["by_ssim"] == pytest.approx({"least": 0.25, "most": 0.25})
    assert numbers["live"]["ssim"]["vif"]["value"] == 3
    assert numbers["recorded"]["shapes"]["shapes-0"]["multiscale"]["gmsd"]["value"] == pytest.approx(3)
    assert "Infinity" not in json.dumps(plain(numbers))
