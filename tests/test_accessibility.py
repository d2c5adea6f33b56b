"""The built book's pages, examined by axe-core in Chromium. Run by .ci/run after `make book`: pytest -m pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT

pytestmark = pytest.mark.pages

HTML = Path(__file__).resolve().parent.parent / "build" / "html"
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts)
# A small desktop and the narrow end of today's phones, pixels; every rule in light mode, colours in dark mode too.
SCREENS = {"desktop": 1280, "phone": 390}
RULES = {"light": {}, "dark": {"runOnly": ["color-contrast", "link-in-text-block"]}}
SEVERE = ("serious", "critical")
EXAMINE = """async options => (await axe.run(document, {...options, resultTypes: ["violations"]})).violations.map(
  ({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(n => [n.target.join(" "), n.failureSummary]) }))"""


@pytest.mark.parametrize("page", PAGES)
def test_page_has_no_severe_violation(browser: Any, site: str, page: str) -> None:
    tab = browser.new_page()
    found = []
    try:
        tab.set_default_timeout(120_000)
        tab.emulate_media(reduced_motion="reduce")  # nothing is examined on its way from one colour to another
        tab.goto(f"{site}/{page}", wait_until="networkidle")
        tab.evaluate(AXE_SCRIPT)
        for scheme, options in RULES.items():
            tab.emulate_media(color_scheme=scheme)
            tab.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
            for screen, width in SCREENS.items():
                tab.set_viewport_size({"width": width, "height": 800})
                for violation in tab.evaluate(EXAMINE, options):
                    if violation["impact"] in SEVERE:
                        found += [(screen, scheme, violation["id"], *node) for node in violation["nodes"]]
    finally:
        tab.close()
    assert found == []
