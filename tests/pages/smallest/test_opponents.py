"""Other libraries' searches at equal gradients: figures, tables and sentences of rows made by hand, or of none."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from shown import cell, dots

from perceptlib.analysis.opponents import duels
from perceptlib.judges import JUDGES
from perceptlib.pages.smallest import opponents as page
from perceptlib.records import plain
from perceptlib.rivals.opponents import FOUND

AIMS = {"ssim": "ssim", "multiscale": "multiscale", "l2": "l2", "linf": "linf"}
AIMS |= {"fmn_l2": "l2", "ddn": "l2", "pdpgd_linf": "linf", "alma_ssim": "ssim", "perc_al": "ciede2000"}
NUM_IMAGES = 6
SIZES = {  # by every distance and judge, on every picture
    **{"ssim": 4.0, "multiscale": 1.0, "l2": 2.0, "linf": 3.0},
    **{"fmn_l2": 1.5, "ddn": 2.5, "pdpgd_linf": math.inf, "alma_ssim": 8.0, "perc_al": 0.5},
}


def rows_of(
    sizes: Mapping[str, float], *, budgets: tuple[int, ...] = (100,), num_images: int = NUM_IMAGES
) -> pd.DataFrame:
    """One size a search, a little larger from picture to picture."""
    columns = ("distance", "l2", "linf", "multiscale", *JUDGES)
    rows = []
    for method, size in sizes.items():
        for place in range(num_images):
            value = size * (1 + place / 10) if math.isfinite(size) else 0.0
            for budget in budgets:
                rows.append(
                    {"image": f"picture {place}", "method": method, "aim": AIMS[method.partition(":")[0]]}
                    | {"budget": budget, "outcome": FOUND, "is_adversarial": math.isfinite(size)}
                    | {"gradients": 90.0, "forward_passes": 95.0}
                    | dict.fromkeys(columns, value)
                )
    return pd.DataFrame(rows)


FOUND_ROWS = {"mobilenet_v2": rows_of(SIZES), "efficientnet-lite0": rows_of(SIZES).head(0)}
NO_ROWS: dict[str, pd.DataFrame] = {}  # of `all_rounded`
EMPTY = {network: rows.head(0) for network, rows in FOUND_ROWS.items()}


@pytest.fixture(scope="module")
def summary() -> pd.DataFrame:
    return page.summaries(FOUND_ROWS)


@pytest.fixture(scope="module")
def fought() -> pd.DataFrame:
    return page.compared(FOUND_ROWS)


@pytest.fixture(scope="module")
def judged() -> pd.DataFrame:
    return page.by_judges(FOUND_ROWS)


@pytest.fixture(scope="module")
def rivals(judged: pd.DataFrame) -> pd.DataFrame:
    return page.rival_rows(FOUND_ROWS, judged)


def test_figure_has_a_row_for_each_search_and_an_arrow_where_nothing_was_found(summary: pd.DataFrame) -> None:
    figure = page.aimed_chart(summary)
    [field] = figure.axes
    assert field.get_title() == "mobilenet_v2"
    names = [label.get_text() for label in field.get_yticklabels()]
    assert names == [
        *("ours, SSIM ball", "ALMA, ssim", "ours, l2", "FMN, l2", "DDN", "ours, linf", "PDPGD, linf"),
        "ours, multi-scale ball",
    ]
    marks = {names[int(place)]: (value, marker, hollow) for value, place, marker, hollow in dots(field)}
    # over the smallest of all, that of PerC-AL
    assert marks["ours, l2"][0] == pytest.approx(4) and marks["FMN, l2"][0] == pytest.approx(3)
    assert [names for names, mark in marks.items() if not mark[2]] == [name for name in names if "ours" in name]
    assert marks["PDPGD, linf"][1] == ">" and marks["PDPGD, linf"][0] == pytest.approx(3 * 16)
    assert [text.get_text() for text in field.texts] == ["nothing found"]
    assert figure.frame is not None and "perc_al" not in set(figure.frame["method"])


def test_tables_have_the_most_dangerous_rival_and_every_search(summary: pd.DataFrame, fought: pd.DataFrame) -> None:
    table = page.duel_table(fought)
    assert len(table.data) == 4 and set(table.data["rival"]) == {"PerC-AL"}
    assert cell(table, "l2, mobilenet_v2", "nearer on") == "6 of 6"
    assert cell(table, "l2, mobilenet_v2", "caution") == "one budget; one setting"
    every = page.search_table(summary)
    assert len(every.data) == len(SIZES)
    assert cell(every, "PDPGD, linf, mobilenet_v2", "success") == "0%"
    assert cell(every, "PDPGD, linf, mobilenet_v2", "median") == "infinite"
    assert cell(every, "PerC-AL, mobilenet_v2", "near") == "100%"
    assert cell(every, "DDN, mobilenet_v2", "passes") == "95"


def test_longer_run_is_told_by_what_it_gains() -> None:
    later = rows_of({"l2": 1.0, "fmn_l2": 1.2}, budgets=(1000,), num_images=3)
    gained = page.longer({"mobilenet_v2": pd.concat([FOUND_ROWS["mobilenet_v2"], later]), "another": later})
    table = page.gain_table(gained)
    assert table.data["search"].tolist() == ["ours, l2, mobilenet_v2", "FMN, l2, mobilenet_v2"]
    assert cell(table, "ours, l2, mobilenet_v2", "over the shorter run (95 %)").startswith("0.500 (")
    assert cell(table, "FMN, l2, mobilenet_v2", "over the smallest") == "2.400"  # PerC-AL's, with the shorter run
    assert cell(table, "FMN, l2, mobilenet_v2", "photographs") == "3"
    assert page.gain_told(gained) == "on mobilenet_v2 at most 50.0% nearer in l2 norm, ours (l2) (3 photographs)"
    nothing = rows_of({"l2": math.inf})
    longer_too = rows_of({"l2": math.inf}, budgets=(1000,), num_images=3)
    assert page.gain_told(page.longer({"mobilenet_v2": pd.concat([nothing, longer_too])})) == "not recorded"


def test_variants_of_the_ball_have_a_column_for_each_judge() -> None:
    sizes = np.array([1.0, 2.0, 3.0, 4.0] * 3)
    rows = pd.concat(
        pd.DataFrame({"image": range(12), "variant": name, "is_adversarial": True, "vif": vif, "fsim": 1.0})
        for name, vif in {"default": sizes, "much finer": 1.5 * sizes, "same": sizes}.items()
    )
    turned = rows[rows["variant"] != "same"].iloc[::-1]  # as if "much finer" were the default
    found = {"mobilenet_v2": rows, "another": turned}
    ratios = page.variants_judged(found)
    table = page.variant_table(ratios)
    names = ["much finer, mobilenet_v2", "same, mobilenet_v2", "default, another"]
    assert table.data["multi-scale ball"].tolist() == names
    assert [cell(table, name, "VIF") for name in names] == ["1.50 *", "1.00", "0.67 *"]
    assert cell(table, "same, mobilenet_v2", "FSIM") == "1.00"
    content = page.variant_numbers(found, ratios)
    assert content["ratios"]["mobilenet_v2"]["much_finer"]["vif"]["value"] == pytest.approx(1.5)
    assert content["better"] == "on mobilenet_v2 none; on another default"
    assert (content["counted"], content["num_variants"]) == ("mobilenet_v2: 12; another: 12", 3)
    nothing = page.variants_judged({})
    assert "not recorded" in repr(page.variant_table(nothing))
    empty = {"counted": "not recorded", "num_variants": 0, "better": "not recorded", "ratios": {}}
    assert page.variant_numbers({}, nothing) == empty


def test_sentences_say_where_ours_loses_and_where_not() -> None:
    sizes = {name: size for name, size in SIZES.items() if name != "perc_al"}
    said = page.told(duels(rows_of(sizes)))
    assert said["lost"] == (
        "FMN (l2) finds a smaller SSIM distance than our SSIM ball search on 6 of 6 pictures (ratio of medians, ours "
        "over its: 2.67), FMN (l2) finds a smaller l2 norm than our l2 search on 6 of 6 pictures (ratio of medians, "
        "ours over its: 1.33) and FMN (l2) finds a smaller linf norm than our linf search on 6 of 6 pictures (ratio of "
        "medians, ours over its: 2.00)"
    )
    assert said["kept"] == (
        "no rival finds a smaller multi-scale distance than our multi-scale ball search on any of 6 pictures (closest: "
        "FMN (l2), 0.67)"
    )
    assert said["beaten"] == "no rival is called beaten, as each that ours is ahead of has a caution"
    half = rows_of({"l2": 2.0, "ddn": 2.5})
    half.loc[(half["method"] == "ddn") & half["image"].isin([f"picture {place}" for place in range(3)]), "l2"] = 0.1
    said = page.told(duels(half))
    assert said["lost"] == "no rival is nearer than ours on more than half of the pictures"
    assert said["kept"].startswith(
        "no rival finds a smaller l2 norm than our l2 search on more than 3 of 6 pictures (closest: DDN, "
    )
    said = page.told(duels(rows_of({"l2": 2.0, "ddn": 1.0})))
    assert said["kept"] == "each search of ours has a rival that is nearer on more than half"
    assert said["beaten"] == "no rival is called beaten"


def test_a_rival_is_beaten_only_without_a_caution_and_with_every_setting() -> None:
    budgets = (100, 1000)
    sizes = {"l2": 1.0, "ddn": 2.0, "ddn:0.1": 3.0, "perc_al": 4.0, "fmn_l2": 2.0, "fmn_l2:0.1": 0.5}
    said = page.told(duels(rows_of(sizes, budgets=budgets)))
    assert said["beaten"] == "beaten are by l2 norm DDN; other rivals have a caution or are not clearly behind"


def test_judges_are_asked_of_the_best_rivals(judged: pd.DataFrame, rivals: pd.DataFrame) -> None:
    first = judged[(judged["judge"] == "ciede2000") & (judged["method"] == "multiscale")].set_index("kind")
    assert first["rival"].to_dict() == {"linf": "linf", "l2": "fmn_l2", "perceptual": "perc_al"}
    assert first["value"].to_dict() == pytest.approx({"linf": 1 / 3, "l2": 1 / 1.5, "perceptual": 2.0})
    assert {"mdsi", "flip", "jod"}.isdisjoint(judged["judge"]) and "jod_10" in set(judged["judge"])
    figure = page.judge_chart(judged)
    assert [axes.get_title() for axes in figure.axes] == ["SSIM ball\nmobilenet_v2", "multi-scale ball\nmobilenet_v2"]
    by_ball = rivals.set_index("method")
    assert by_ball.loc["multiscale", ["rival", "value", "own"]].tolist() == ["fmn_l2", pytest.approx(2 / 3), 0.5]
    assert by_ball[["num_less", "num_less_own", "num_more", "num_judges", "num_images"]].to_numpy().tolist() == [
        [0, 0, 8, 8, NUM_IMAGES],
        [8, 8, 0, 8, NUM_IMAGES],
    ]
    table = page.rival_table(rivals)
    assert cell(table, "multi-scale ball, mobilenet_v2", "judges below 1") == "8 of 8"
    assert cell(table, "SSIM ball, mobilenet_v2", "over ours") == "2.00"
    assert rivals["caution"].tolist() == ["one budget; one setting"] * 2
    said = page.rival_numbers(judged, rivals, page.saved_rows(NO_ROWS))
    assert said["told"] == "0.67 on mobilenet_v2 (6 pictures; 0.50 with ours)"
    assert said["less"] == "8 of 8 on mobilenet_v2 (8 with ours)"


def test_a_ball_that_was_not_searched_and_own_rivals_that_are_missing_are_no_error() -> None:
    found = {"one": rows_of({"multiscale": 1.0, "ddn": 2.0})}
    [row] = page.rival_rows(found, page.by_judges(found)).to_dict("records")
    assert row["method"] == "multiscale" and row["value"] == 0.5 and math.isnan(row["own"])
    found = {"one": rows_of({"multiscale": 1.0, "ddn": 2.0}).drop(columns="ciede2000")}
    assert page.rival_rows(found, page.by_judges(found)).empty


def test_answers_name_the_nearest_search_and_the_judges(
    summary: pd.DataFrame, judged: pd.DataFrame, rivals: pd.DataFrame
) -> None:
    assert page.answers(summary, judged, rivals) == {
        "nearest": "on mobilenet_v2 ours by SSIM distance, linf norm and multi-scale distance and FMN (l2) by l2 norm",
        "judges": "for the SSIM ball 0 of 8 on mobilenet_v2; for the multi-scale ball 8 of 8 on mobilenet_v2",
        "perceptual": "on mobilenet_v2 to CIEDE2000 mean, CIEDE2000 99 %, MS-SSIM, GMSD, HaarPSI, VIF, FSIM and "
        "ColorVideoVDP x 10",
        "budget": "100",
    }
    slower = {"one": rows_of({"multiscale": 1.0, "l2": 2.0, "alma_ssim": 2.0})}
    seen = page.by_judges(slower)
    said = page.answers(page.summaries(slower), seen, page.rival_rows(slower, seen))
    assert said["perceptual"] == "on one to none"


def test_numbers_are_plain_and_by_network(summary: pd.DataFrame, fought: pd.DataFrame, judged: pd.DataFrame) -> None:
    content = page.numbers(FOUND_ROWS, summary, fought, judged)
    assert list(content) == list(FOUND_ROWS)
    own = content["mobilenet_v2"]
    assert own["num_images"] == NUM_IMAGES and own["searches"]["ddn"]["ratio"] == pytest.approx(5)
    assert np.isnan(own["searches"]["pdpgd_linf"]["ratio"])  # JSON has no infinity
    assert own["rivals"]["l2"]["method"] == "perc_al" and own["rivals"]["l2"]["num_smaller"] == NUM_IMAGES
    assert own["judges"]["ssim"]["gmsd"]["l2"]["rival"] == "fmn_l2"
    assert "Infinity" not in json.dumps(plain(content))


def test_what_is_not_recorded_is_said_and_nothing_fails() -> None:
    assert page.counted(FOUND_ROWS) == "mobilenet_v2: 6; efficientnet-lite0: not recorded"
    summary, fought, judged = page.summaries(EMPTY), page.compared(EMPTY), page.by_judges(EMPTY)
    rivals = page.rival_rows(EMPTY, judged)
    gained = page.longer(EMPTY)
    tables = (page.duel_table(fought), page.search_table(summary), page.gain_table(gained), page.rival_table(rivals))
    for table in tables:
        assert "not recorded" in repr(table)
    assert page.aimed_chart(summary).axes == [] and len(page.judge_chart(judged).axes) == 1
    assert {page.gain_told(gained), *page.answers(summary, judged, rivals).values()} == {"not recorded"}
    saved = page.saved_rows(NO_ROWS)
    assert "not recorded" in repr(page.saved_table(saved))
    said = dict.fromkeys(("told", "less", "perceptual", "saved"), "not recorded")
    assert page.rival_numbers(judged, rivals, saved) == said | {"by_network": {}, "on_8_bits": {}}
    content = page.numbers(EMPTY, summary, fought, judged)
    assert content["mobilenet_v2"]["lost"] == "not recorded" and content["mobilenet_v2"]["num_images"] == 0


def test_numbers_of_rivals_are_by_network_and_ball(judged: pd.DataFrame, rivals: pd.DataFrame) -> None:
    content = page.rival_numbers(judged, rivals, page.saved_rows(NO_ROWS))
    assert content["by_network"]["mobilenet_v2"]["ssim"]["own"] == pytest.approx(2)
    assert content["perceptual"].startswith("on mobilenet_v2 to CIEDE")
    assert "Infinity" not in json.dumps(plain(content))


def test_a_judge_that_only_our_own_rivals_lose_to_is_counted_apart() -> None:
    found = {"one": rows_of({"multiscale": 2.0, "l2": 3.0, "fmn_l2": 2.5}, num_images=4)}
    is_fmn = found["one"]["method"] == "fmn_l2"
    found["one"].loc[is_fmn, ["gmsd", "vif"]] = 0.1
    judged = page.by_judges(found)
    content = page.rival_numbers(judged, page.rival_rows(found, judged), page.saved_rows(NO_ROWS))
    assert content["less"] == "6 of 8 on one (8 with ours)"


def saved_of(factors: Mapping[str, float], *, num_images: int = 30) -> pd.DataFrame:
    """As of `all_rounded`: every judge's loss is a factor of the l2 search's."""
    generator = np.random.default_rng(0)
    level = 0.1 * np.exp(0.3 * generator.normal(size=num_images))
    rows = [
        {"part": "judges", "image": f"picture {place}", "method": f"{method}_8bit", "aim": method, "budget": math.nan}
        | {"search": method, "status": "fooled", "gradients": 100, "is_adversarial_8bit": True}
        | dict.fromkeys(JUDGES, factor * level[place])
        for method, factor in factors.items()
        for place in range(num_images)
    ]
    return pd.DataFrame(rows)


def test_rule_c_prime_on_8_bits_has_a_row_for_each_network_and_ball() -> None:
    better = {"ssim": 3.0, "multiscale": 0.5, "l2": 1.0, "linf": 2.0}
    found = page.saved_rows(
        {"one": saved_of(better), "two": saved_of(better | {"multiscale": 1.5}), "three": saved_of({"l2": 1.0})}
    )
    assert found[
        ["network", "method", "verdict", "num_less", "num_more", "num_judges", "num_images"]
    ].values.tolist() == [
        ["one", "ssim", "reversed", 0, 8, 8, 30],
        ["one", "multiscale", "supported", 8, 0, 8, 30],
        ["two", "ssim", "reversed", 0, 8, 8, 30],
        ["two", "multiscale", "reversed", 0, 8, 8, 30],
    ]
    assert found["ratio.value"].tolist() == pytest.approx([3.0, 0.5, 3.0, 1.5])
    assert page.saved_told(found) == (
        "for the SSIM ball reversed on one and reversed on two; "
        "for the multi-scale ball reversed on two and supported on one"
    )
    assert cell(page.saved_table(found), "multi-scale ball, one", "judges below 1") == "8 of 8"
    numbers = page.rival_numbers(page.by_judges(EMPTY), page.rival_rows(EMPTY, page.by_judges(EMPTY)), found)
    assert numbers["on_8_bits"]["two"]["multiscale"]["verdict"] == "reversed" and json.dumps(plain(numbers))
