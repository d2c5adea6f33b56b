"""The first page's sentence, badges and photograph: what they say follows from the verdicts and from the maps."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from study_samples import agreement_rows

from perceptlib.analysis.verdicts import LIMITED, NOT_SUPPORTED, NOT_TESTABLE, REVERSED, SUPPORTED, Verdict
from perceptlib.drawing.figures import WIDTH
from perceptlib.pages.claims import first as page
from perceptlib.records import plain
from perceptlib.study.localisation import Q
from perceptlib.study.localisation import agreement_rows as scored
from perceptlib.study.presets import Study

BUDGET = 1e-3


def said(**verdicts: str) -> dict[str, Verdict]:
    return {network.replace("net_lite", "net-lite"): Verdict(word, "", ()) for network, word in verdicts.items()}


def by_study(**verdicts: dict[str, Verdict]) -> dict[tuple[str, str], dict[str, Verdict]]:
    return {
        (preset, network): {"d": verdict} for preset, found in verdicts.items() for network, verdict in found.items()
    }


FOUND = by_study(
    imagenet=said(mobilenet_v2=LIMITED, efficientnet_lite0=LIMITED),
    shapes=said(one=NOT_SUPPORTED, two=LIMITED, three=NOT_SUPPORTED),
    digits=said(four=NOT_SUPPORTED),
)
JUDGED = said(mobilenet_v2=NOT_TESTABLE, efficientnet_lite0=REVERSED)


@pytest.fixture(scope="module")
def example(study: Study) -> page.Example:
    return page.median_example(study, budget=BUDGET, cg_steps=3)


def test_answer_begins_with_the_worst_and_hides_nothing() -> None:
    sentence = page.answer(FOUND, JUDGED)
    assert sentence == (
        "Not on drawn shapes (2 of 3 networks) or handwritten digits (four); only with limits on photographs (all 2 "
        "networks) and drawn shapes (1 of 3 networks); and most of the independent measures of visibility find the "
        "change easier to see than one kept small by a pixel norm (photographs, EfficientNet-Lite0)"
    )
    assert page.answer(by_study(imagenet=said(mobilenet_v2=SUPPORTED)), {}) == "Yes on photographs (MobileNetV2)"
    assert "easier to see" not in page.answer(FOUND, said(mobilenet_v2=SUPPORTED))
    assert page.answer({}, {}) == "Not testable here: nothing is recorded"


@pytest.mark.parametrize("word", [REVERSED, NOT_SUPPORTED, NOT_TESTABLE, LIMITED, SUPPORTED])
def test_every_verdict_has_words(word: str) -> None:
    assert "photographs (MobileNetV2)" in page.answer(by_study(imagenet=said(mobilenet_v2=word)), {})


def test_badges_are_the_verdicts_and_of_several_networks_the_worst() -> None:
    badges = page.badges(FOUND, JUDGED)
    told = [(one["where"], one["verdict"], one["note"]) for one in badges["d"].values()]
    assert told == [
        ("Photographs, MobileNetV2", LIMITED, ""),
        ("Photographs, EfficientNet-Lite0", LIMITED, ""),
        ("Drawn shapes", NOT_SUPPORTED, "2 of 3 networks"),
        ("Handwritten digits", NOT_SUPPORTED, "four"),
    ]
    [seen] = badges["c_prime"].values()
    assert seen == {
        "where": "Photographs, EfficientNet-Lite0",
        "verdict": REVERSED,
        "note": "1 of 2 networks tested",
    }
    [unseen] = page.badges({}, said(mobilenet_v2=NOT_TESTABLE))["c_prime"].values()
    assert unseen["verdict"] == NOT_TESTABLE and unseen["note"] == "0 of 1 networks tested"


def test_example_is_the_median_photograph_with_the_scores_of_the_study(study: Study, example: page.Example) -> None:
    rows = scored(study, budget=BUDGET, cg_steps=3).pivot(index="image", columns="method", values="energy_in_top_q")
    middle = rows["ssim"].sort_values().index[1]
    assert example.shares == pytest.approx(rows.loc[middle, ["ssim", "random"]].to_dict())
    assert torch.equal(example.image, study.pictures.images[study.pictures.ids.index(middle)])
    assert example.num_photographs == 4


def test_figure_tells_both_shares_and_outlines_the_cam_on_every_panel(example: page.Example) -> None:
    figure = page.example_figure(example)
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles[0] == f"photograph: {example.label}" and titles[2].endswith(f"{example.shares['ssim']:.0%}")
    assert all(axes.collections for axes in figure.axes[:4]), "a panel has no outline"
    assert figure.get_figwidth() == WIDTH and figure.frame is not None and len(figure.frame)


@pytest.mark.parametrize(
    ("ssim", "random", "told"),
    [(0.4, 0.3, "More than by chance"), (0.3, 0.4, "No more than a random change"), (0.1, 0.05, "No")],
)
def test_caption_answers_with_the_numbers(
    monkeypatch: pytest.MonkeyPatch, example: page.Example, ssim: float, random: float, told: str
) -> None:
    monkeypatch.setattr(page, "recorded_study", lambda *_: agreement_rows({"ssim": 0.4, "random": 0.25}))
    shown = replace(example, shares={"ssim": ssim, "random": random})
    numbers = page.numbers(FOUND, JUDGED, shown, "efficientnet-lite0")
    assert numbers["example"]["answer"] == told and numbers["example"]["chance"] == Q
    assert numbers["example"]["recorded"]["ssim"] == pytest.approx(0.4, abs=0.02)
    assert numbers["d"] == {"worst": NOT_SUPPORTED, "best": LIMITED}
    json.dumps(plain(numbers))
