"""Texture tiles: evened out, finite, from the named pictures only."""

from __future__ import annotations

import numpy as np
import pytest

from perceptlib.data.textures import TEXTURES, texture_bank


def test_texture_bank_tiles_lie_end_to_end() -> None:
    bank = texture_bank()
    sizes = bank.heights * bank.widths
    np.testing.assert_array_equal(bank.starts, np.cumsum(sizes) - sizes)
    assert len(bank.values) == sizes.sum()
    assert set(bank.names) == set(TEXTURES)
    assert min(bank.heights.min(), bank.widths.min()) >= 64


@pytest.mark.parametrize("name", TEXTURES)
def test_texture_bank_tiles_are_evened_out(name: str) -> None:
    bank = texture_bank([name])
    for start, height, width in zip(bank.starts, bank.heights, bank.widths, strict=True):
        tile = bank.values[start : start + height * width].reshape(height, width)
        assert np.isfinite(tile).all()
        assert tile.mean() == pytest.approx(0, abs=1e-4)
        assert tile.std() == pytest.approx(1, rel=1e-4)
        # No slow light and dark: means of 32x32 squares differ less than the texture itself.
        squares = tile[: height // 32 * 32, : width // 32 * 32].reshape(height // 32, 32, width // 32, 32)
        assert squares.mean(axis=(1, 3)).std() < 0.25


def test_texture_bank_takes_the_order_of_the_names() -> None:
    assert texture_bank(["page", "noise"]).names == ("page", "noise")
    assert texture_bank("page").names == ("page",)


def test_texture_bank_refuses_what_it_does_not_have() -> None:
    with pytest.raises(ValueError, match=r"unknown texture 'coins'; pass at least one of brick, grass"):
        texture_bank(["brick", "coins"])
    with pytest.raises(ValueError, match=r"no texture is named; pass at least one of brick"):
        texture_bank([])
