"""The explorer page of the built book, used in Chromium. Run by .ci/run after `make book`: pytest -m pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_frames import read, read_frame

pytestmark = pytest.mark.pages

HTML = Path(__file__).resolve().parents[2] / "build" / "html"
FRAMES = HTML / "_static" / "explorer"
PIXELS = """name => {
  const canvas = document.getElementById("explorer-" + name);
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""


@pytest.fixture
def page(browser: Any, site: str) -> Iterator[Any]:
    """The explorer; it must say no error and ask no other host."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.set_default_timeout(120_000)  # a busy machine is slow, not wrong
    wrong: list[str] = []
    tab.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("response", lambda answer: None if answer.ok else wrong.append(f"{answer.status} {answer.url}"))
    tab.on("request", lambda request: None if request.url.startswith((site, "data:")) else wrong.append(request.url))
    tab.goto(f"{site}/book/explorer.html")
    shown(tab)
    yield tab
    assert wrong == []
    tab.close()


def told() -> Any:
    return json.loads((FRAMES / "frames.json").read_text())


def shown(tab: Any) -> list[str]:
    """Wait until what is chosen is drawn; return picture, ball and budget."""
    chosen = """() => {
      const budgets = JSON.parse(document.getElementById("explorer-frames").textContent).budgets;
      return [document.getElementById("explorer-picture").value,
              (document.querySelector("input[name=ball]:checked") || {}).value,
              budgets[document.getElementById("explorer-budget").value]].join(" ");
    }"""
    tab.wait_for_function(f"document.getElementById('explorer-frame').dataset.shown === ({chosen})()")
    return tab.evaluate("document.getElementById('explorer-frame').dataset.shown").split()


def pixels(tab: Any, name: str) -> Any:
    values = np.array(tab.evaluate(PIXELS, name))
    side = int((len(values) / 4) ** 0.5)
    return values.reshape(side, side, 4)[..., :3]


def check_drawn(tab: Any) -> None:
    """What is drawn is the frame, every value of every pixel, and the words are those of its numbers."""
    picture, ball, budget = shown(tab)
    content = told()
    entry = next(entry for entry in content["pictures"] if entry["id"] == picture)
    index = content["budgets"].index(float(budget))
    original = read(FRAMES / f"{picture}.webp")
    frame = read_frame(FRAMES, picture, ball, float(budget))[0].permute(1, 2, 0).numpy()
    adversarial = (frame * 255).round().astype(int)
    assert (pixels(tab, "original") == original).all()
    assert (pixels(tab, "adversarial") == adversarial).all()
    amplified = content["settings"]["zero"] + entry["factors"][index] * (adversarial - original)
    assert (pixels(tab, "perturbation") == amplified.clip(0, 255)).all()
    top, size = index * entry["size"], entry["size"]
    assert (pixels(tab, "change") == read(FRAMES / f"{picture}-{ball}-map.webp")[top : top + size]).all()
    numbers = entry["frames"][ball][index]
    assert f"{numbers['mean_ssim']:.6f}" in tab.inner_text("#explorer-numbers")
    assert numbers["after"][0][0] in tab.inner_text("#explorer-after li:first-child")
    assert ("no longer" in tab.inner_text("#explorer-result")) == numbers["is_adversarial_8bit"]


def test_every_ball_and_picture_is_drawn_exactly(page: Any) -> None:
    check_drawn(page)
    for ball in told()["balls"]:
        page.check(f"input[name=ball][value={ball}]")
        assert shown(page)[1] == ball
        check_drawn(page)
    for picture in told()["pictures"]:
        page.select_option("#explorer-picture", picture["id"])
        assert shown(page)[0] == picture["id"]
        check_drawn(page)


def test_arrow_keys_move_the_budget(page: Any) -> None:
    budgets = told()["budgets"]
    page.focus("#explorer-budget")
    page.keyboard.press("Home")
    assert float(shown(page)[2]) == budgets[0]
    lowest, words = pixels(page, "adversarial"), page.inner_text("#explorer-numbers")
    for budget in budgets[1:]:
        page.keyboard.press("ArrowRight")
        assert float(shown(page)[2]) == budget
    check_drawn(page)
    assert page.inner_text("#explorer-numbers") != words
    assert (pixels(page, "adversarial") != lowest).any()
    assert page.get_attribute("#explorer-budget", "aria-valuetext") == page.inner_text("#explorer-distance")
    assert page.get_attribute("#explorer-result", "aria-live") == "polite"


def decimal(value: float) -> str:
    """A number from 1e-6 on as JavaScript writes it."""
    return f"{value:.10f}".rstrip("0")


def test_page_opens_unsolved(page: Any) -> None:
    picture, ball, budget = shown(page)
    frame = next(entry for entry in told()["pictures"] if entry["id"] == picture)["frames"][ball][0]
    assert float(budget) == told()["budgets"][0] and not frame["is_adversarial_8bit"]
    assert page.get_attribute("#explorer-result", "data-fooled") == "false"


def test_address_keeps_what_is_chosen_and_chooses(page: Any, site: str) -> None:
    page.check("input[name=ball][value=l2]")
    shown(page)
    picture = page.input_value("#explorer-picture")
    assert page.url.endswith(f"#{picture}/l2/{decimal(told()['budgets'][0])}")
    for address in page.eval_on_selector_all("a[href^='#cat/'], a[href^='#espresso/']", "all => all.map(a => a.hash)"):
        page.goto(f"{site}/book/explorer.html{address}")
        picture, ball, budget = address[1:].split("/")
        page.wait_for_function(
            "place => document.getElementById('explorer-frame').dataset.shown === place",
            arg=f"{picture} {ball} {decimal(float(budget))}",
        )
        check_drawn(page)
    page.goto(f"{site}/book/explorer.html#cat/l3/0.01")  # no such thing: stays as it was
    check_drawn(page)


def test_share_of_the_change_stands_beside_chance(page: Any) -> None:
    picture, ball, _ = shown(page)
    share = next(entry for entry in told()["pictures"] if entry["id"] == picture)["frames"][ball][0]["share_in_cam"]
    assert page.inner_text("#explorer-share") == f"{100 * share:.1f} %"
    assert "chance: 20 %" in page.inner_text(".explorer-share")


def test_all_attacks_stand_side_by_side(page: Any) -> None:
    assert not page.locator("#explorer-all").is_visible()
    page.check("#explorer-together")
    page.wait_for_function("document.querySelectorAll('#explorer-all canvas').length > 0")
    picture, _, budget = shown(page)
    assert page.locator("#explorer-all figure").count() == len(told()["balls"])
    for place, ball in enumerate(told()["balls"]):
        values = page.evaluate(
            """place => {
              const canvas = document.querySelectorAll("#explorer-all canvas")[place];
              return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
            }""",
            place,
        )
        frame = (read_frame(FRAMES, picture, ball, float(budget))[0].permute(1, 2, 0) * 255).round().numpy()
        assert (np.array(values).reshape(*frame.shape[:2], 4)[..., :3] == frame).all()


def test_blinking_shows_the_original_and_the_attacked_picture_in_turn(page: Any) -> None:
    opacity = "getComputedStyle(document.getElementById('explorer-original')).opacity"
    page.check("#explorer-blinking")
    for value in ("0", "1"):
        page.wait_for_function(f"{opacity} === '{value}'")
    assert not page.locator(".explorer-line").is_visible()
    page.uncheck("#explorer-blinking")
    assert page.locator(".explorer-line").is_visible()


def test_wipe_follows_mouse_and_keys(page: Any) -> None:
    def place() -> float:
        return float(page.evaluate("document.querySelector('.explorer-line').offsetLeft"))

    page.locator(".explorer-wipe").scroll_into_view_if_needed()
    box = page.locator(".explorer-wipe").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.5 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], middle, steps=4)
    page.mouse.up()
    assert abs(place() - 0.8 * box["width"]) < 0.05 * box["width"]
    # The original ends at the line.
    clip = page.evaluate("getComputedStyle(document.getElementById('explorer-original')).clipPath")
    assert clip.startswith("inset(0")
    before = place()
    page.focus("#explorer-wipe")
    page.keyboard.press("ArrowLeft")
    assert place() < before
    page.keyboard.press("Home")
    assert abs(place()) < 3


def test_outline_is_drawn_where_it_is_asked_for(page: Any) -> None:
    assert not page.locator(".explorer-outline").first.is_visible()
    page.check("#explorer-outlined")
    assert page.locator(".explorer-outline").first.is_visible()
    assert page.get_attribute(".explorer-outline path >> nth=0", "d").startswith("M")
    changed = page.get_attribute(".explorer-changed path >> nth=0", "d")
    page.check("input[name=ball][value=l2]")
    shown(page)
    assert page.get_attribute(".explorer-changed path >> nth=0", "d") not in ("", changed)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_and_can_be_used_without_a_mouse(page: Any, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    moving = "getComputedStyle(document.querySelector('.explorer-bar'), '::after').transitionDuration"
    assert page.evaluate(moving) in ("0s", "")
    fields = "[...document.querySelectorAll('#explorer-frame :is(input, select)')]"
    assert page.evaluate(f"{fields}.filter(e => !e.labels.length && !e.ariaLabel).length") == 0


def test_page_works_from_a_file(browser: Any) -> None:
    tab = browser.new_page()
    tab.goto((HTML / "book" / "explorer.html").as_uri())
    picture, _, _ = shown(tab)
    assert picture and tab.inner_text("#explorer-result")
    tab.close()


def test_page_without_script_shows_a_picture(browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((HTML / "book" / "explorer.html").as_uri())
    assert tab.locator("#fig-explorer img.in-light").is_visible() and not tab.locator("#explorer-frame").is_visible()
    assert "needs JavaScript" in tab.inner_text(".bd-article noscript")
    context.close()
