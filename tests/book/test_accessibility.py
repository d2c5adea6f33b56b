"""The built book's pages, examined by axe-core in Chromium. Run by .ci/run after `make book`: pytest -m pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT

pytestmark = pytest.mark.pages

HTML = Path(__file__).resolve().parents[2] / "build" / "html"
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts)
PAGES = [page for page in PAGES if page != "index.html"]  # leads to the first page
COLOURS = ["color-contrast", "link-in-text-block"]
# Width in pixels (a small desktop, and the narrow end of today's phones), colour scheme, rules. Colours take most of
# the time and are the same at every width, so each scheme's are examined once.
SCREENS = {
    "desktop, light": (1280, "light", {}),
    "phone, light": (390, "light", {"rules": {rule: {"enabled": False} for rule in COLOURS}}),
    "phone, dark": (390, "dark", {"runOnly": COLOURS}),
}
SETTLE = 500  # ms after a change of width: what scrolls gets its tab stops 300 ms later
SEVERE = ("serious", "critical")
HEADINGS = ("heading-order", "page-has-heading-one")  # which axe calls moderate
EXAMINE = """async options => (await axe.run(document, {...options, resultTypes: ["violations"]})).violations.map(
  ({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(n => [n.target.join(" "), n.failureSummary]) }))"""


@pytest.mark.parametrize("page", PAGES)
def test_page_has_no_severe_violation(browser: Any, site: str, page: str) -> None:
    tab = browser.new_page()
    found: list[tuple[str, ...]] = []
    try:
        tab.set_default_timeout(120_000)
        tab.emulate_media(reduced_motion="reduce")  # nothing is examined on its way from one colour to another
        tab.goto(f"{site}/{page}", wait_until="networkidle")
        tab.evaluate(AXE_SCRIPT)
        for screen, (width, scheme, options) in SCREENS.items():
            tab.set_viewport_size({"width": width, "height": 800})
            tab.emulate_media(color_scheme=scheme)
            tab.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
            tab.wait_for_timeout(SETTLE)
            for violation in tab.evaluate(EXAMINE, options):
                if violation["impact"] in SEVERE or violation["id"] in HEADINGS:
                    found += [(screen, violation["id"], *node) for node in violation["nodes"]]
    finally:
        tab.close()
    assert found == []
