"""Agreement scores: known answers, equality with scipy and scikit-learn, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_maps import top_share

from perceptlib.maps import agreement, energy_in_top_q, spearman
from perceptlib.maps.scores import auc, iou_top_q, kl, nss, pearson, pointing_hit, sim

SCORES = [energy_in_top_q, pearson, spearman, iou_top_q, auc, pointing_hit, sim, kl, nss]
WITH_Q = [energy_in_top_q, iou_top_q, auc, pointing_hit, nss]
ROUNDING = 1e-9  # sums of some hundred float64 terms, far below


def drawn(seed, shape=(4, 20, 23), num_levels=None):
    """Maps like real ones: most of the mass in few pixels; with levels, many ties."""
    maps = np.random.default_rng(seed).random(shape) ** 4
    return maps if num_levels is None else np.floor(maps * num_levels) / num_levels


def inside(maps, border=5):
    return maps[:, border:-border, border:-border] if border else maps


@pytest.fixture(params=[None, 5], ids=["distinct", "ties"])
def pair(request):
    return drawn(0, num_levels=request.param), drawn(1, num_levels=request.param)


def test_energy_of_a_hand_made_map():
    cam = torch.arange(10.0).view(1, 2, 5)
    change = torch.tensor([[[0, 0, 0, 0, 0], [0, 0, 1, 1, 6.0]]])
    assert energy_in_top_q(change, cam, q=0.2, border=0).item() == pytest.approx(7 / 8)
    assert energy_in_top_q(change, cam, q=0.25, border=0).item() == pytest.approx(7.5 / 8)


def test_energy_of_a_random_map_is_q_in_expectation():
    energy = energy_in_top_q(drawn(0, (400, 30, 30)), drawn(1, (400, 30, 30)), q=0.2)
    assert energy.mean().item() == pytest.approx(0.2, abs=4 * energy.std().item() / 20)  # 4 standard errors


@pytest.mark.parametrize("q", [0.1, 0.2, 1 / 3, 0.77])
def test_constant_cam_has_energy_and_hit_of_exactly_q(q):
    change, cam = drawn(0), np.ones((4, 20, 23))
    for score in (energy_in_top_q, pointing_hit):
        np.testing.assert_allclose(score(change, cam, q=q), q, rtol=ROUNDING)
    np.testing.assert_allclose(auc(change, cam, q=q), 0.5, rtol=ROUNDING)


@pytest.mark.parametrize("q", [0.05, 0.2, 0.5])
def test_scores_with_a_top_set_equal_loops(pair, q):
    change, cam = pair
    rows = agreement(change, cam, q=q)
    for i, (c, m) in enumerate(zip(inside(change), inside(cam), strict=True)):
        share, other = top_share(m, q), top_share(c, q)
        assert share.sum() == pytest.approx(q * share.size)
        assert rows["energy_in_top_q"][i] == pytest.approx((c * share).sum() / c.sum(), rel=ROUNDING)
        iou = np.minimum(share, other).sum() / np.maximum(share, other).sum()
        assert rows["iou_top_q"][i] == pytest.approx(iou, rel=ROUNDING)
        assert rows["pointing_hit"][i] == pytest.approx(share[c == c.max()].mean(), rel=ROUNDING)
        standard = (c - c.mean()) / c.std()
        assert rows["nss"][i] == pytest.approx(np.average(standard, weights=share), rel=1e-6)


@pytest.mark.parametrize("q", [0.05, 0.2, 0.5])
def test_auc_equals_scikit_learn(pair, q):
    change, cam = pair
    for c, m, got in zip(inside(change), inside(cam), auc(change, cam, q=q), strict=True):
        share = top_share(m, q).ravel()
        # A pixel tied at the threshold is counted in and out, with a weight for each.
        truth = np.repeat([1, 0], share.size)
        weights = np.concatenate([share, 1 - share])
        expected = sklearn.metrics.roc_auc_score(truth, np.tile(c.ravel(), 2), sample_weight=weights)
        assert got.item() == pytest.approx(expected, rel=ROUNDING)


def test_correlations_equal_scipy(pair):
    change, cam = pair
    for i, (c, m) in enumerate(zip(inside(change), inside(cam), strict=True)):
        expected = scipy.stats.pearsonr(c.ravel(), m.ravel()).statistic
        assert pearson(change, cam)[i].item() == pytest.approx(expected, rel=ROUNDING)
        expected = scipy.stats.spearmanr(c.ravel(), m.ravel()).statistic
        assert spearman(change, cam)[i].item() == pytest.approx(expected, rel=ROUNDING)


def test_sim_and_kl_of_hand_made_maps():
    change, cam = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[6.0, 2.0]]])
    assert sim(change, cam, border=0).item() == pytest.approx(0.5)
    assert kl(change, cam, border=0).item() == pytest.approx(0.75 * math.log(3) + 0.25 * math.log(1 / 3))
    apart = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert sim(*apart, border=0).item() == 0
    assert kl(*apart, border=0).item() == pytest.approx(-math.log(2.2204e-16))


def test_equal_maps_agree_in_full():
    maps = drawn(0)
    rows = agreement(maps, maps)
    for name, best in {
        "pearson": 1,
        "spearman": 1,
        "iou_top_q": 1,
        "auc": 1,
        "pointing_hit": 1,
        "sim": 1,
        "kl": 0,
    }.items():
        np.testing.assert_allclose(rows[name], best, atol=ROUNDING, err_msg=name)


def test_opposite_maps_disagree_in_full():
    maps = drawn(0)
    rows = agreement(1 - maps, maps)
    for name, worst in {"pearson": -1, "spearman": -1, "iou_top_q": 0, "auc": 0, "pointing_hit": 0}.items():
        np.testing.assert_allclose(rows[name], worst, atol=ROUNDING, err_msg=name)


def test_row_holds_every_score(pair):
    rows = agreement(*pair, q=0.3, border=4)
    assert list(rows) == [score.__name__ for score in SCORES]
    for score in SCORES:
        options = {"q": 0.3} if score in WITH_Q else {}
        torch.testing.assert_close(rows[score.__name__], score(*pair, border=4, **options))
        assert (rows[score.__name__].dtype, rows[score.__name__].shape) == (torch.float64, (4,))


@pytest.mark.parametrize("score", SCORES)
def test_border_is_left_out(score, pair):
    change, cam = pair
    noisy = change.copy()
    noisy[:, :5], noisy[:, -5:], noisy[..., :5], noisy[..., -5:] = 9, 8, 7, 6
    assert torch.equal(score(noisy, cam), score(change, cam))
    assert torch.equal(score(inside(change), inside(cam), border=0), score(change, cam))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("which", [0, 1])
def test_map_without_mass_gives_nan_in_its_own_place(score, which, pair):
    maps = [item.copy() for item in pair]
    maps[which][1, 5:-5, 5:-5] = 0  # only the border keeps some
    scores = score(*maps)
    assert scores.isnan().tolist() == [False, True, False, False]
    kept = [0, 2, 3]
    torch.testing.assert_close(scores[kept], score(*pair)[kept])


@pytest.mark.parametrize("value", [1.0, 0.1, 3e-9])
def test_constant_maps_are_undefined_just_where_a_deviation_is_needed(value):
    maps, constant = drawn(0), np.full((4, 20, 23), value)
    assert {name for name, s in agreement(constant, maps).items() if s.isnan().all()} == {
        "pearson",
        "spearman",
        "nss",
    }
    assert {name for name, s in agreement(maps, constant).items() if s.isnan().all()} == {"pearson", "spearman"}


maps_with_ties = (
    st.lists(st.integers(0, 4), min_size=12, max_size=12)
    .filter(any)
    .map(lambda values: torch.tensor(values, dtype=torch.float64).view(1, 3, 4))
)
RANKS_ONLY = {"spearman", "iou_top_q", "auc", "pointing_hit"}


@settings(deadline=None)
@given(maps_with_ties, maps_with_ties, st.floats(1e-12, 1e12), st.floats(1e-12, 1e12))
def test_scores_do_not_depend_on_scale(change, cam, factor, other):
    rows, scaled = agreement(change, cam, border=0), agreement(factor * change, other * cam, border=0)
    for name in rows:
        torch.testing.assert_close(scaled[name], rows[name], rtol=1e-9, atol=1e-9, equal_nan=True)


@settings(deadline=None)
@given(maps_with_ties, maps_with_ties)
def test_rank_scores_do_not_depend_on_a_monotone_change(change, cam):
    rows, bent = agreement(change, cam, border=0), agreement(change.exp() - 0.5, cam, border=0)
    for name in RANKS_ONLY:
        torch.testing.assert_close(bent[name], rows[name], equal_nan=True)
    # The CAM enters every score with a top set through that set alone.
    bent = agreement(change, cam**3, border=0)
    for name in {"energy_in_top_q", "nss"} | RANKS_ONLY:
        torch.testing.assert_close(bent[name], rows[name], equal_nan=True)


@settings(deadline=None)
@given(maps_with_ties, maps_with_ties, st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_pixels(change, cam, random):
    order = list(range(12))
    random.shuffle(order)
    rows = agreement(change, cam, border=0)
    shuffled = agreement(*(maps.view(1, 12)[:, order].view(1, 4, 3) for maps in (change, cam)), border=0)
    for name in rows:
        torch.testing.assert_close(shuffled[name], rows[name], equal_nan=True)


@settings(deadline=None)
@given(maps_with_ties, maps_with_ties)
def test_scores_stay_in_their_range(change, cam):
    rows = agreement(change, cam, border=0)
    for name in ("energy_in_top_q", "iou_top_q", "auc", "pointing_hit", "sim"):
        assert -1e-9 <= rows[name].item() <= 1 + 1e-9
    assert rows["kl"].item() >= -1e-9
    # Exchanging the maps leaves the symmetric scores.
    turned = agreement(cam, change, border=0)
    for name in ("pearson", "spearman", "iou_top_q", "sim"):
        torch.testing.assert_close(turned[name], rows[name], equal_nan=True)


def test_scores_do_not_depend_on_the_batch(pair):
    change, cam = pair
    together = agreement(change, cam)
    order = [2, 0, 3, 1]
    for name, scores in agreement(change[order], cam[order]).items():
        assert torch.equal(scores, together[name][order])


@pytest.mark.parametrize(
    "convert", [torch.tensor, lambda maps: torch.tensor(maps).float().requires_grad_(), np.float32]
)
def test_tensors_and_arrays_are_taken_alike(pair, convert):
    for name, scores in agreement(*(convert(maps) for maps in pair)).items():
        torch.testing.assert_close(scores, agreement(*pair)[name], rtol=1e-4, atol=1e-5)
        assert not scores.requires_grad


def test_masks_are_taken_as_cams():
    mask = drawn(1) > 0.5
    assert torch.equal(energy_in_top_q(drawn(0), mask), energy_in_top_q(drawn(0), mask.astype(float)))


@pytest.mark.parametrize("score", SCORES)
def test_bad_maps_refused(score):
    maps = torch.ones(2, 20, 20)
    with pytest.raises(TypeError, match="the cam is a list; a torch tensor or numpy array is needed"):
        score(maps, maps.tolist())
    with pytest.raises(TypeError, match="the cam holds complex numbers; pass its absolute value"):
        score(maps, maps.to(torch.complex64))
    with pytest.raises(ValueError, match=r"the cam has shape \(20, 20\); .* write maps\[None\]"):
        score(maps, maps[0])
    with pytest.raises(ValueError, match=r"change map has shape \(0, 20, 20\)"):
        score(maps[:0], maps[:0])
    sentence = r"shape \(2, 20, 20\) and the cam \(1, 20, 20\); both must be \(N, H, W\) of the same size"
    with pytest.raises(ValueError, match=sentence):
        score(maps, maps[:1])
    with pytest.raises(ValueError, match=r"the cam holds values down to -1; .* write maps.clamp\(min=0\)"):
        score(maps, -maps)
    with pytest.raises(ValueError, match="the change map holds NaN or infinity"):
        score(maps / 0, maps)
    with pytest.raises(ValueError, match="border 10 leaves nothing of maps of 20x20; pass 0 to 9"):
        score(maps, maps, border=10)
    with pytest.raises(ValueError, match="border -1 leaves nothing"):
        score(maps, maps, border=-1)


@pytest.mark.parametrize("score", [*WITH_Q, agreement])
@pytest.mark.parametrize("q", [0, 1, 20, math.nan])
def test_bad_q_refused(score, q):
    with pytest.raises(ValueError, match="a share of the pixels between 0 and 1 is allowed"):
        score(torch.ones(2, 20, 20), torch.ones(2, 20, 20), q=q)


@pytest.mark.parametrize("score", [*SCORES, agreement])
def test_scores_take_a_fifth_of_the_pixels_and_leave_five_at_the_border(score, pair):
    given = score(*pair, border=5, **({"q": 0.2} if score in [*WITH_Q, agreement] else {}))
    torch.testing.assert_close(score(*pair), given, rtol=0, atol=0)


def test_border_may_leave_a_single_row():
    maps = drawn(0, (2, 11, 20))
    torch.testing.assert_close(pearson(maps, maps), torch.ones(2).double())
    with pytest.raises(ValueError, match="border 6 leaves nothing of maps of 11x20; pass 0 to 5"):
        pearson(maps, maps, border=6)


def test_maps_are_taken_in_any_layout_and_stay_where_they_are():
    maps = torch.rand(2, 2, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    expected = agreement(*maps)
    with torch.device("meta"):
        found = agreement(maps[0].numpy()[..., ::-1].copy()[..., ::-1], maps[1].numpy().astype(">f8"))
    for name, scores in found.items():
        assert torch.equal(scores, expected[name])
