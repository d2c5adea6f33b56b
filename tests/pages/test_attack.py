from __future__ import annotations

import numpy as np
import pandas as pd

from perceptlib.pages import attack as page
from perceptlib.study.presets import Study


def test_attacked_example_is_what_would_be_saved(study: Study) -> None:
    image, adversarial, _, change, cam, _ = page.attacked_example(study, 1, budget=0.01, steps=2, cg_steps=4).axes
    levels = np.asarray(adversarial.images[0].get_array()) * 255
    np.testing.assert_allclose(levels, levels.round(), atol=1e-4)
    name = study.classifier.class_names[int(study.pictures.labels[1])]
    assert image.get_xlabel().startswith(f"{name}, ") and cam.get_xlabel() == name
    assert change.images[0].norm.vmax == 0.2  # twenty times the budget


def test_examples_are_counted_round(study: Study) -> None:
    assert page.example_of(study, len(study.examples)).ids == page.example_of(study, 0).ids


def test_rates_show_as_lines_and_as_a_table() -> None:
    rates = pd.DataFrame(
        [
            {"method": method, "budget": budget, "rate": 0.75, "low": 0.5, "high": 1.0, "rate_8bit": 0.25}
            for method in ("ssim", "l2")
            for budget in (0.001, 0.01)
        ]
    )
    assert repr(page.rates_table(rates)).splitlines()[0].split() == ["ball", "at", "0.001", "at", "0.01"]
    assert repr(page.rates_table(rates)).splitlines()[1].split() == ["SSIM", "ball", "75%", "(25%)", "75%", "(25%)"]
    assert page.rates_figure(rates).axes[0].get_xlabel() == "SSIM distance"


def test_smallest_distances_show_as_steps_and_as_a_table() -> None:
    summary = {"method": "l2", "distance": 0.3, "distance_low": 0.2, "distance_high": float("inf"), "ratio_to_l2": 1.0}
    summary |= {"l2": 0.5, "linf": 0.01, "survives_8bit": 0.5, "num_not_fooled": 1}
    assert repr(page.smallest_table(pd.DataFrame([summary]))).splitlines()[1].split() == [
        *("l2", "3.00e-01", "(2.00e-01", "to", "infinite)", "1.00", "0.5", "0.01", "50%", "1")
    ]
    rows = pd.DataFrame({"method": "l2", "distance": [0.1, 0.2], "is_adversarial": True})
    assert page.shares_figure(rows).axes[0].lines[0].get_xdata().tolist() == [0.1, 0.1, 0.2]
