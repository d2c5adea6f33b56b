"""Shift test, partial correlation and shuffled AUC: known answers, naive loops, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_maps import top_share
from scipy import ndimage

from perceptlib.maps import spearman
from perceptlib.maps.scores import auc
from perceptlib.maps.spatial import partial_correlation, shift_p_value, shuffled_auc

ROUNDING = 1e-9  # sums of some hundred float64 terms, far below


def drawn(seed, shape=(3, 18, 21), num_levels=None):
    """Maps like real ones: most of the mass in few pixels; with levels, many ties."""
    maps = np.random.default_rng(seed).random(shape) ** 4
    return maps if num_levels is None else np.floor(maps * num_levels) / num_levels


def smooth(seed, shape, sigma=1.5, mode="wrap"):
    """Smoothed noise, 0 or more; on a torus by default, so that no place is special."""
    noise = np.random.default_rng(seed).normal(size=shape)
    maps = ndimage.gaussian_filter(noise, (0, sigma, sigma), mode=mode)
    return maps - maps.min((1, 2), keepdims=True)


def inside(maps, border=5):
    return maps[:, border:-border, border:-border] if border else maps


def refusing(function):
    """The function with a third map of its own, for the checks of the first two."""
    return lambda change, cam, **options: function(change, cam, torch.ones(2, 20, 20), **options)


SCORES = [shift_p_value, refusing(partial_correlation), refusing(shuffled_auc)]


@pytest.fixture(params=[None, 5], ids=["distinct", "ties"])
def pair(request):
    return drawn(0, num_levels=request.param), drawn(1, num_levels=request.param)


# Toroidal shifts


@pytest.mark.parametrize("border", [0, 5])
@pytest.mark.parametrize("q", [0.1, 0.2, 0.5])
def test_shift_p_value_equals_a_loop(pair, q, border):
    change, cam = pair
    got = shift_p_value(change, cam, q=q, border=border)
    for i, (c, m) in enumerate(zip(inside(change, border), inside(cam, border), strict=True)):
        share = top_share(m, q)
        observed = (c * share).sum()
        energies = [
            (np.roll(c, (down, right), (0, 1)) * share).sum()
            for down in range(c.shape[0])
            for right in range(c.shape[1])
            if (down, right) != (0, 0)
        ]
        as_large = sum(energy >= observed * (1 - 1e-12) for energy in energies)
        assert got[i].item() == pytest.approx((1 + as_large) / c.size, rel=ROUNDING)


def test_shift_p_value_takes_the_top_fifth_within_five_pixels(pair):
    assert torch.equal(shift_p_value(*pair), shift_p_value(*pair, q=0.2, border=5))


def test_shift_p_value_of_equal_maps_is_the_smallest():
    maps = smooth(0, (5, 26, 26))
    assert torch.equal(shift_p_value(maps, maps), torch.full((5,), 1 / 256).double())


def test_shift_p_value_of_a_map_moved_by_half_the_picture_is_large():
    blob = np.exp(-0.5 * ((np.mgrid[:20, :20] - 5) ** 2).sum(0) / 9)[None]
    p_value = shift_p_value(np.roll(blob, (10, 10), (1, 2)), blob, border=0)
    assert p_value.item() > 0.5
    assert shift_p_value(blob, blob, border=0).item() == 1 / 400


def test_shift_p_value_of_independent_smooth_maps_is_uniform():
    shape = (400, 16, 16)
    p_values = shift_p_value(smooth(1, shape), smooth(2, shape), border=0)
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.01
    # Ordinary correlation finds far too much: pixels are not independent.
    naive = scipy.stats.pearsonr(smooth(1, shape).reshape(400, -1), smooth(2, shape).reshape(400, -1), axis=1)
    assert (naive.pvalue < 0.05).mean() > 0.3


@pytest.mark.parametrize("value", [1.0, 0.1, 3e-9])
def test_shift_p_value_of_a_constant_map_is_1(value):
    maps, constant = drawn(0), np.full((3, 18, 21), value)
    assert torch.equal(shift_p_value(constant, maps), torch.ones(3).double())
    assert torch.equal(shift_p_value(maps, constant), torch.ones(3).double())


def test_shift_p_value_counts_equal_energies_of_a_periodic_map():
    stripes = np.tile([1.0, 0.3, 0.1, 0.2], (1, 8, 2))
    # 8 rows times 2 periods are the same map again
    assert shift_p_value(stripes, stripes, q=0.25, border=0).item() == 16 / 64


many_ties = (
    st.lists(st.integers(0, 3), min_size=20, max_size=20)
    .filter(any)
    .map(lambda values: torch.tensor(values, dtype=torch.float64).view(1, 4, 5))
)


@settings(deadline=None, max_examples=50)
@given(many_ties, many_ties, st.floats(1e-9, 1e9), st.floats(1e-9, 1e9))
def test_shift_p_value_does_not_depend_on_scale(change, cam, factor, other):
    p_value = shift_p_value(change, cam, border=0)
    assert torch.equal(shift_p_value(factor * change, other * cam, border=0), p_value)
    assert 1 / 20 <= p_value.item() <= 1


# Partial correlation


def residual(values, *covariates):
    design = np.column_stack([np.ones(values.size), *covariates])
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


@pytest.mark.parametrize("num", [1, 2])
def test_partial_correlation_equals_that_of_residuals(pair, num):
    change, cam = pair
    covariates = [np.random.default_rng(9 + k).normal(size=change.shape) + change - cam for k in range(num)]
    got = partial_correlation(change, cam, covariates, rank=False), partial_correlation(change, cam, covariates)
    for i in range(len(change)):
        columns = [inside(maps)[i].ravel() for maps in (change, cam, *covariates)]
        for values, score in zip((columns, [scipy.stats.rankdata(column) for column in columns]), got, strict=True):
            c, m, *rest = values
            expected = scipy.stats.pearsonr(residual(c, *rest), residual(m, *rest)).statistic
            assert score[i].item() == pytest.approx(expected, rel=1e-7)


def test_partial_correlation_of_one_covariate_follows_the_closed_form(pair):
    change, cam = pair
    third = drawn(7)
    a, b, c = spearman(change, cam), spearman(change, third), spearman(cam, third)
    expected = (a - b * c) / ((1 - b**2) * (1 - c**2)).sqrt()
    torch.testing.assert_close(partial_correlation(change, cam, third), expected)


def test_partial_correlation_of_maps_that_share_texture_alone_is_near_0():
    texture, change, cam = (smooth(seed, (20, 50, 50)) for seed in (0, 1, 2))
    change, cam = texture + change / 3, texture + cam / 3
    assert spearman(change, cam).median() > 0.75
    partial = partial_correlation(change, cam, texture)
    assert abs(partial.mean().item()) < 4 * partial.std().item() / 20**0.5  # 4 standard errors
    assert partial.abs().max() < 0.5 * spearman(change, cam).min()


def test_partial_correlation_of_maps_that_share_more_than_texture_stays():
    texture, own = smooth(0, (5, 40, 40)), smooth(1, (5, 40, 40))
    partial = partial_correlation(texture + own, 3 * texture + own, texture)
    assert partial.min() > 0.9
    torch.testing.assert_close(
        partial_correlation(texture + own, 3 * texture + own, texture, rank=False), torch.ones(5).double()
    )


def test_partial_correlation_is_undefined_where_the_covariate_explains_all():
    texture, cam = drawn(0), drawn(1)
    for rank in (True, False):
        assert partial_correlation(texture, cam, texture, rank=rank).isnan().all()
        assert partial_correlation(texture, texture, 2 * texture - 1, rank=rank).isnan().all()
        assert partial_correlation(cam, texture, [drawn(2), texture], rank=rank).isnan().all()


def test_constant_and_repeated_covariates_take_nothing_more_away(pair):
    change, cam = pair
    torch.testing.assert_close(partial_correlation(change, cam, np.full_like(cam, -0.1)), spearman(change, cam))
    third = drawn(7)
    torch.testing.assert_close(
        partial_correlation(change, cam, [third, third, np.ones_like(third)]), partial_correlation(change, cam, third)
    )


def test_partial_rank_correlation_does_not_depend_on_a_monotone_change(pair):
    change, cam = pair
    third = drawn(7)
    expected = partial_correlation(change, cam, third)
    torch.testing.assert_close(partial_correlation(change**2, np.exp(cam), np.log(third)), expected)


def test_partial_correlation_of_constant_maps_is_undefined():
    maps, constant = drawn(0), np.full((3, 18, 21), 0.1)
    assert partial_correlation(constant, maps, drawn(1)).isnan().all()
    assert partial_correlation(maps, constant, drawn(1)).isnan().all()


def test_bad_covariates_refused():
    maps = torch.rand(2, 20, 20)
    with pytest.raises(ValueError, match=r"there is no covariate; pass one at least, or use agreement.spearman"):
        partial_correlation(maps, maps, [])
    with pytest.raises(TypeError, match="a covariate is a float; a torch tensor or numpy array is needed"):
        partial_correlation(maps, maps, [1.0])
    with pytest.raises(TypeError, match="a covariate holds complex numbers; pass its absolute value"):
        partial_correlation(maps, maps, maps.to(torch.complex64))
    with pytest.raises(ValueError, match=r"a covariate has shape \(1, 20, 20\); \(2, 20, 20\) is needed"):
        partial_correlation(maps, maps, [maps, maps[:1]])
    with pytest.raises(ValueError, match="a covariate holds NaN or infinity; only finite values are allowed"):
        partial_correlation(maps, maps, (maps * 0).log())


# Shuffled AUC


@pytest.mark.parametrize("q", [0.1, 0.2, 0.5])
def test_shuffled_auc_equals_scikit_learn(pair, q):
    change, cam = pair
    others = drawn(3, (4, 18, 21), num_levels=5)
    negatives = sum(top_share(other, q) for other in inside(others)).ravel()
    for c, m, got in zip(inside(change), inside(cam), shuffled_auc(change, cam, others, q=q), strict=True):
        truth = np.repeat([1, 0], c.size)
        weights = np.concatenate([top_share(m, q).ravel(), negatives])
        expected = sklearn.metrics.roc_auc_score(truth, np.tile(c.ravel(), 2), sample_weight=weights)
        assert got.item() == pytest.approx(expected, rel=ROUNDING)


def test_shuffled_auc_equals_a_loop_over_pairs_of_pixels():
    change, cam, others = drawn(0, (1, 5, 6), 3), drawn(1, (1, 5, 6)), drawn(2, (3, 5, 6))
    positives = top_share(cam[0], 0.2).ravel()
    wins = total = 0.0
    for other in others:
        for c, positive in zip(change.ravel(), positives, strict=True):
            for d, negative in zip(change.ravel(), top_share(other, 0.2).ravel(), strict=True):
                wins += positive * negative * ((c > d) + (c == d) / 2)
                total += positive * negative
    assert shuffled_auc(change, cam, others, border=0).item() == pytest.approx(wins / total, rel=ROUNDING)


def test_shuffled_auc_gives_the_middle_nothing():
    bell = np.exp(-0.5 * ((np.mgrid[:30, :30] - 14.5) ** 2).sum(0) / 25)[None]
    # All CAMs lie about the middle: the plain AUC praises a map that knows only the middle.
    assert auc(bell, bell).item() == pytest.approx(1)
    assert shuffled_auc(bell, bell, np.repeat(bell, 4, 0)).item() == pytest.approx(0.5)
    cams = np.stack([np.roll(bell[0], shift, (0, 1)) for shift in [(4, 0), (-4, 0), (0, 4), (0, -4)]])
    centred, own = np.repeat(bell, 4, 0), cams
    plain = auc(centred, own)
    for i in range(4):
        shuffled = shuffled_auc(centred[[i]], own[[i]], np.delete(cams, i, 0)).item()
        assert shuffled == pytest.approx(0.5, abs=0.05) and plain[i] > 0.8
        assert shuffled_auc(own[[i]], own[[i]], np.delete(cams, i, 0)).item() > 0.7


def test_shuffled_auc_of_cams_elsewhere_is_the_best_and_the_worst():
    cam, other = np.zeros((1, 20, 20)), np.zeros((1, 20, 20))
    cam[:, :4], other[:, -4:] = 1, 1
    assert shuffled_auc(cam, cam, other, border=0).item() == 1
    assert shuffled_auc(other, cam, other, border=0).item() == 0


def test_others_without_mass_are_left_out():
    change, cam, others = drawn(0), drawn(1), drawn(2, (4, 18, 21))
    expected = shuffled_auc(change, cam, others[[0, 2]])
    others[[1, 3], 5:-5, 5:-5] = 0
    torch.testing.assert_close(shuffled_auc(change, cam, others), expected)
    assert shuffled_auc(change, cam, 0 * others).isnan().all()


def test_bad_others_refused():
    maps = torch.ones(2, 20, 20)
    with pytest.raises(TypeError, match="the other cams is a list; a torch tensor or numpy array is needed"):
        shuffled_auc(maps, maps, [maps])
    with pytest.raises(ValueError, match="the other cams holds values down to -1"):
        shuffled_auc(maps, maps, -maps)
    with pytest.raises(ValueError, match=r"other cams have shape \(2, 20, 18\); \(M, 20, 20\) is needed"):
        shuffled_auc(maps, maps, maps[..., :18])


# Every score


def everything(change, cam, third):
    """All three scores; the third map is covariate and, for all pictures alike, the other CAMs."""
    return torch.stack(
        [
            shift_p_value(change, cam),
            partial_correlation(change, cam, third),
            shuffled_auc(change, cam, drawn(5, (2, 18, 21))),
        ]
    )


def test_scores_do_not_depend_on_the_batch(pair):
    maps = (*pair, drawn(2))
    order = [2, 0, 1]
    together = everything(*maps)
    torch.testing.assert_close(everything(*(item[order] for item in maps)), together[:, order])
    torch.testing.assert_close(everything(*(item[1:2] for item in maps)), together[:, 1:2])


@pytest.mark.parametrize("convert", [torch.tensor, lambda maps: torch.tensor(maps).float().requires_grad_()])
def test_tensors_and_arrays_are_taken_alike(convert):
    maps = (drawn(0), drawn(1), drawn(2))
    scores = everything(*(convert(item) for item in maps))
    torch.testing.assert_close(scores, everything(*maps), rtol=1e-4, atol=1e-5)
    assert not scores.requires_grad


@pytest.mark.parametrize("which", [0, 1])
def test_map_without_mass_gives_nan_in_its_own_place(pair, which):
    maps = [item.copy() for item in (*pair, drawn(2))]
    expected = everything(*maps)
    maps[which][1, 5:-5, 5:-5] = 0  # only the border keeps some
    scores = everything(*maps)
    assert scores.isnan().tolist() == [[False, True, False]] * 3
    torch.testing.assert_close(scores[:, [0, 2]], expected[:, [0, 2]])


def test_border_is_left_out(pair):
    noisy = [item.copy() for item in (*pair, drawn(2))]
    for item in noisy:
        item[:, :5], item[:, -5:], item[..., :5], item[..., -5:] = 9, 8, 7, 6
    torch.testing.assert_close(everything(*noisy), everything(*pair, drawn(2)))


@pytest.mark.parametrize("score", SCORES)
def test_bad_maps_refused(score):
    maps = torch.ones(2, 20, 20)
    with pytest.raises(TypeError, match="the cam is a list; a torch tensor or numpy array is needed"):
        score(maps, maps.tolist())
    with pytest.raises(ValueError, match=r"shape \(2, 20, 20\) and the cam \(1, 20, 20\); both must be"):
        score(maps, maps[:1])
    with pytest.raises(ValueError, match="the change map holds NaN or infinity"):
        score(maps / 0, maps)
    with pytest.raises(ValueError, match="border 10 leaves nothing of maps of 20x20; pass 0 to 9"):
        score(maps, maps, border=10)


@pytest.mark.parametrize("score", [shift_p_value, refusing(shuffled_auc)])
def test_bad_q_refused(score):
    with pytest.raises(ValueError, match="a share of the pixels between 0 and 1 is allowed"):
        score(torch.ones(2, 20, 20), torch.ones(2, 20, 20), q=20)
