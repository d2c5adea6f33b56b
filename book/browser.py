"""The system's Chromium, and a folder served to it: for the PDF of the book and for the tests of its pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run",  # and without traffic of its own
            "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine alone; give its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:  # a thread that serves a closed socket never rests
            server.shutdown()


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the system's Chromium without a window; give Playwright's browser."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        told = f"no Chromium: found none of the commands {', '.join(_NAMES)}"
        raise FileNotFoundError(f"{told}; install it (Debian and Ubuntu: the package chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_OPTIONS)
        yield browser
        browser.close()
