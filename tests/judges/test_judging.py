"""Judges against their published formulas, written out here, and against what must hold for each of them."""

from __future__ import annotations

import math
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from scipy.signal import convolve2d
from skimage import color, data
from skimage.transform import resize

from perceptlib.judges import JUDGES, available, judge, judging, magnified, scaled_to_loss

SIDE = 176
Array = np.ndarray
ROUNDING = 1e-9  # of double precision through a formula's logarithms and roots
SINGLE = 2e-6  # FLIP and ColorVideoVDP compute in single precision
# Pairs of Sharma, Wu and Dalal 2005, table 1, with their CIEDE2000 difference.
PAIRS = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.fixture(scope="module")
def clean() -> torch.Tensor:
    picture = resize(data.astronaut(), (SIDE, SIDE), anti_aliasing=True)
    return torch.from_numpy(np.round(picture * 255) / 255).movedim(-1, 0)[None]


@pytest.fixture(scope="module")
def changed(clean: torch.Tensor) -> torch.Tensor:
    return noisy(clean, 0.02)


def noisy(clean: torch.Tensor, size: float) -> torch.Tensor:
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=clean.dtype)
    return (clean + size * noise).clamp(0, 1)


def as_array(pictures: torch.Tensor) -> Array:
    return pictures[0].movedim(0, -1).numpy()


def ciede2000(first: Array, second: Array) -> float:
    """Equations 2 to 22 of Sharma, Wu and Dalal 2005 for one pair of L, a, b."""
    chroma = (math.hypot(*first[1:]) + math.hypot(*second[1:])) / 2
    g = 0.5 * (1 - math.sqrt(chroma**7 / (chroma**7 + 25**7)))
    (l1, a1, b1), (l2, a2, b2) = ((one[0], (1 + g) * one[1], one[2]) for one in (first, second))
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, a)) % 360 if (a or b) else 0.0 for a, b in ((a1, b1), (a2, b2)))
    turn = h2 - h1
    turn -= 360 * (turn > 180) - 360 * (turn < -180)
    turn *= c1 * c2 != 0
    hue = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn) / 2)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    mean_h = h1 + h2
    if c1 * c2:
        mean_h = mean_h / 2 if abs(h1 - h2) <= 180 else (mean_h + (360 if mean_h < 360 else -360)) / 2
    t = 1.0
    for size, times, shift in ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.2, 4, -63)):
        t += size * math.cos(math.radians(times * mean_h + shift))
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / math.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    turning = -math.sin(math.radians(60 * math.exp(-(((mean_h - 275) / 25) ** 2))))
    turning *= 2 * math.sqrt(mean_c**7 / (mean_c**7 + 25**7))
    parts = (l2 - l1) / s_l, (c2 - c1) / s_c, hue / s_h
    return math.sqrt(sum(part**2 for part in parts) + turning * parts[1] * parts[2])


@pytest.mark.parametrize(("first", "second", "difference"), PAIRS)
def test_reference_of_ciede2000_gives_the_published_values(first: Array, second: Array, difference: float) -> None:
    assert ciede2000(first, second) == pytest.approx(difference, abs=5e-5)
    assert color.deltaE_ciede2000(np.array(first), np.array(second)) == pytest.approx(difference, abs=5e-5)


def lab(picture: Array) -> Array:
    """L, a, b of sRGB by the matrices of IEC 61966-2-1 and the white of D65."""
    linear = np.where(picture > 0.04045, ((picture + 0.055) / 1.055) ** 2.4, picture / 12.92)
    matrix = np.array([[0.412453, 0.35758, 0.180423], [0.212671, 0.71516, 0.072169], [0.019334, 0.119193, 0.950227]])
    ratio = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def test_ciede2000_of_pictures_is_that_of_their_pixels(clean: torch.Tensor, changed: torch.Tensor) -> None:
    small, other = clean[..., ::11, ::11], changed[..., ::11, ::11]
    pixels = zip(lab(as_array(small)).reshape(-1, 3), lab(as_array(other)).reshape(-1, 3), strict=True)
    differences = [ciede2000(*pair) for pair in pixels]
    losses = judge(small, other, ["ciede2000_99", "ciede2000"])
    assert list(losses) == ["ciede2000_99", "ciede2000"]
    assert losses["ciede2000"][0] == pytest.approx(np.mean(differences), rel=1e-4)  # of the matrices' digits
    assert losses["ciede2000_99"][0] == pytest.approx(np.quantile(differences, 0.99), rel=1e-4)


def luma(pictures: torch.Tensor) -> Array:
    return as_array(pictures) @ np.array([0.299, 0.587, 0.114])


def halved(plane: Array) -> Array:
    return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4


def ms_ssim(clean: torch.Tensor, changed: torch.Tensor) -> float:
    """Wang, Simoncelli and Bovik 2003 for each channel, windows inside the picture only."""
    bell = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    bell /= bell.sum()

    def mean(plane: Array) -> Array:
        return correlate1d(correlate1d(plane, bell, 0), bell, 1)[5:-5, 5:-5]

    found = []
    for x, y in zip(as_array(clean).transpose(2, 0, 1), as_array(changed).transpose(2, 0, 1), strict=True):
        product = 1.0
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            if scale:
                x, y = halved(x), halved(y)
            mx, my = mean(x), mean(y)
            covariance = mean(x * y) - mx * my
            structure = (2 * covariance + 0.03**2) / (mean(x * x) - mx**2 + mean(y * y) - my**2 + 0.03**2)
            luminance = (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
            product *= np.mean(structure * (luminance if scale == 4 else 1)) ** weight
        found.append(product)
    return float(np.mean(found))


def gmsd(clean: torch.Tensor, changed: torch.Tensor) -> float:
    """Xue, Zhang, Mou and Bovik 2014: Prewitt's gradient of the halved luma, c = 170 / 255^2."""
    prewitt = np.array([[1, 0, -1]] * 3) / 3
    sizes = []
    for pictures in (clean, changed):
        plane = halved(luma(pictures))
        sizes.append(np.hypot(convolve2d(plane, prewitt, "same"), convolve2d(plane, prewitt.T, "same")))
    constant = 170 / 255**2
    similarity = (2 * sizes[0] * sizes[1] + constant) / (sizes[0] ** 2 + sizes[1] ** 2 + constant)
    return float(similarity.std())


def haarpsi(clean: torch.Tensor, changed: torch.Tensor) -> float:
    """Reisenhofer, Bosse, Kutyniok and Wiegand 2018 with C = 30 and alpha = 4.2, in YIQ of 0 to 255."""
    yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    planes = [[halved(255 * plane) for plane in np.moveaxis(as_array(one) @ yiq.T, -1, 0)] for one in (clean, changed)]

    def filtered(plane: Array, kernel: Array) -> Array:
        """The middle as MATLAB's conv2 takes it, whose code is the authors'; scipy's is one pixel off."""
        start, (height, width) = len(kernel) // 2, plane.shape
        return np.abs(convolve2d(plane, kernel)[start : start + height, start : start + width])

    def coefficients(plane: Array, scale: int, is_transposed: bool) -> Array:
        size = 2**scale
        wavelet = np.ones((size, size)) / size
        wavelet[size // 2 :] *= -1
        return filtered(plane, wavelet.T if is_transposed else wavelet)

    def similarity(first: Array, second: Array) -> Array:
        return (2 * first * second + 30) / (first**2 + second**2 + 30)

    maps, weights = [], []
    for is_transposed in (False, True):
        both = [[coefficients(one[0], scale, is_transposed) for one in planes] for scale in (1, 2, 3)]
        maps.append((similarity(*both[0]) + similarity(*both[1])) / 2)
        weights.append(np.maximum(*both[2]))
    box = np.ones((2, 2)) / 4
    chroma = [[filtered(plane, box) for plane in one[1:]] for one in planes]
    maps.append((similarity(chroma[0][0], chroma[1][0]) + similarity(chroma[0][1], chroma[1][1])) / 2)
    weights.append((weights[0] + weights[1]) / 2)
    score = sum((w / (1 + np.exp(-4.2 * m))).sum() for m, w in zip(maps, weights, strict=True)) / np.sum(weights)
    return float((np.log(score / (1 - score)) / 4.2) ** 2)


@pytest.mark.parametrize("size", [0.002, 0.05])
def test_piq_follows_the_published_formulas(clean: torch.Tensor, size: float) -> None:
    pytest.importorskip("piq")
    other = noisy(clean, size)
    losses = judge(clean, other, ["ms_ssim", "gmsd", "haarpsi"]).loc[0]
    assert losses["ms_ssim"] == pytest.approx(1 - ms_ssim(clean, other), rel=1e-6)
    assert losses["gmsd"] == pytest.approx(gmsd(clean, other), rel=1e-3)  # piq's YIQ has three digits
    assert losses["haarpsi"] == pytest.approx(1 - haarpsi(clean, other), rel=1e-3)


@pytest.mark.parametrize("name", JUDGES)
def test_every_judge_sees_nothing_in_equal_pictures_and_more_in_larger_noise(clean: torch.Tensor, name: str) -> None:
    if not JUDGES[name].is_installed:
        pytest.skip(f"{JUDGES[name].module} is not installed")
    pictures = torch.cat([clean, noisy(clean, 0.005), noisy(clean, 0.02), noisy(clean, 0.08)])
    losses = judge(clean.expand(4, -1, -1, -1), pictures, [name])[name]
    assert losses[0] == pytest.approx(0, abs=SINGLE if name in ("flip", "jod", "jod_10", "jod_30") else ROUNDING)
    assert (losses.diff()[1:] > 0).all()


def test_lost_and_gained_contrast_are_both_seen_by_vif(clean: torch.Tensor) -> None:
    pytest.importorskip("piq")
    mean = clean.mean(dim=(2, 3), keepdim=True)
    for factor in (0.8, 1.2):
        assert judge(clean, (mean + factor * (clean - mean)).clamp(0, 1), ["vif"])["vif"][0] > 0.05
    flat = clean.mean(dim=(2, 3), keepdim=True).expand_as(clean)
    assert judge(clean, flat, ["vif"])["vif"][0] == pytest.approx(1, abs=1e-3)  # nothing of the clean one is left


def test_colour_video_vdp_sees_coarse_noise_before_fine_noise_and_magnified_noise_more(clean: torch.Tensor) -> None:
    pytest.importorskip("pycvvdp")
    fine = noisy(torch.full_like(clean, 0.5), 0.02) - 0.5
    coarse = torch.nn.functional.avg_pool2d(fine, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    coarse *= fine.norm() / coarse.norm()
    grey = torch.full_like(clean, 0.5)
    losses = judge(grey.expand(2, -1, -1, -1), torch.cat([grey + fine, grey + coarse]), ["jod", "jod_10", "jod_30"])
    assert losses["jod"][1] > 2 * losses["jod"][0]
    assert (losses["jod"] < losses["jod_10"]).all() and (losses["jod_10"] < losses["jod_30"]).all()
    ten = magnified(grey, grey + fine, 10)
    assert judge(grey, ten, ["jod"])["jod"][0] == losses["jod_10"][0]


def test_magnified_pictures_are_of_8_bits(clean: torch.Tensor, changed: torch.Tensor) -> None:
    found = magnified(clean, changed, 10)
    assert torch.equal((found * 255).round() / 255, found)
    expected = np.round(255 * np.clip(as_array(clean) + 10 * (as_array(changed) - as_array(clean)), 0, 1)) / 255
    assert np.abs(as_array(found) - expected).max() < 1e-12


@pytest.mark.parametrize("loss", [0.05, 3.0])
def test_perturbation_is_scaled_to_a_loss_on_its_ray(clean: torch.Tensor, changed: torch.Tensor, loss: float) -> None:
    found = scaled_to_loss(clean, changed, loss)
    assert judge(clean, found, ["ciede2000"])["ciede2000"][0] == pytest.approx(loss, rel=2e-3)
    inside = (found > 0) & (found < 1) & ((changed - clean).abs() > 1e-3) & (changed > 0) & (changed < 1)
    factors = ((found - clean) / (changed - clean))[inside]
    assert float(factors.max() - factors.min()) < 1e-9 * float(factors.max()) + 1e-9
    assert torch.equal(scaled_to_loss(clean, clean, loss), clean)
    farthest = scaled_to_loss(clean, changed, 1e3)  # no picture of [0, 1] is so far
    assert set(farthest[changed != clean].unique().tolist()) == {0.0, 1.0}


def test_rows_do_not_depend_on_dtype_layout_or_batch(clean: torch.Tensor, changed: torch.Tensor) -> None:
    both = judge(torch.cat([clean, changed]), torch.cat([changed, changed]), ["ciede2000", "gmsd"])
    alone = judge(clean.numpy(), changed.to(memory_format=torch.channels_last), ["ciede2000", "gmsd"])
    assert both.loc[0].tolist() == alone.loc[0].tolist() and both.loc[1].tolist() == [0, 0]
    single = judge(clean.float(), changed.float(), ["ciede2000"])["ciede2000"][0]
    assert single == pytest.approx(both["ciede2000"][0], rel=1e-5)


def test_judge_that_is_not_installed_is_named_or_left_out(
    clean: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    monkeypatch.setitem(sys.modules, "piq", None)
    assert {"jod", "jod_10", "gmsd"}.isdisjoint(available()) and "ciede2000" in available()
    advice = r"judge 'jod' needs pycvvdp, which is not installed; install it with `pip install 'perceptlib\[cvvdp\]'`"
    with pytest.raises(ModuleNotFoundError, match=advice):
        judge(clean, clean, ["jod"])
    with pytest.raises(ModuleNotFoundError, match=r"judge 'gmsd' needs piq.*perceptlib\[judges\]"):
        judge(clean, clean, ["gmsd"])
    with pytest.warns(UserWarning, match="left out, not installed or too small a picture: ms_ssim, gmsd, haarpsi"):
        assert list(judge(clean, clean)) == list(available())


def test_pictures_that_are_too_small_are_told(clean: torch.Tensor) -> None:
    pytest.importorskip("piq")
    small = clean[..., :160, :]
    with pytest.raises(ValueError, match="judge 'ms_ssim' needs pictures of at least 161 pixels a side, these"):
        judge(small, small, ["ms_ssim"])
    assert "ms_ssim" not in available(160) and "ms_ssim" in available(161)
    for name in available():
        side = JUDGES[name].least
        patch = clean[..., :side, :side]
        assert judge(patch, noisy(patch, 0.02), [name])[name][0] > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert math.isnan(judge(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16), ["haarpsi"])["haarpsi"][0])


def test_other_input_is_refused(clean: torch.Tensor, changed: torch.Tensor) -> None:
    grey = clean[:, :1]
    with pytest.raises(ValueError, match=r"both must be \(N, 3, H, W\) of the same size; write images.expand"):
        judge(grey, grey)
    with pytest.raises(ValueError, match=r"changed ones \(1, 3, 88, 176\); both must be"):
        judge(clean, changed[..., ::2, :])
    with pytest.raises(ValueError, match=r"changed hold values from .* to 2; \[0, 1\] is allowed"):
        judge(clean, clean * 0 + 2)
    with pytest.raises(ValueError, match="there is no judge 'lpips'; ciede2000, ciede2000_99, ms_ssim"):
        judge(clean, changed, ["lpips"])
    with pytest.raises(ValueError, match=r"loss is 0; a number above 0 is needed, such as 0.1 for CIEDE2000"):
        scaled_to_loss(clean, changed, 0)
    assert judging.DISPLAY == "standard_4k"
