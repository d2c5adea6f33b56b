"""Finding Chromium, and serving a folder to it."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import browser
import pytest


def test_folder_is_served_and_then_no_more(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("here")
    with browser.served(tmp_path) as site:
        assert urllib.request.urlopen(f"{site}/a.txt").read() == b"here"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{site}/a.txt")


def test_chromium_is_found_by_any_of_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "google-chrome"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.executable() == str(path)


def test_missing_chromium_is_told_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(FileNotFoundError, match=r"no Chromium: .*Debian and Ubuntu: the package chromium"),
        browser.chromium(),
    ):
        pass
