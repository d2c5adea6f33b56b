"""Every public function that takes images, with tensors as people have them: the answer is that of the plain tensor.

Layouts, arrays, autograd modes, autocast, dtypes; what is returned, what is left as it was, and what is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from perceptlib import ssim
from perceptlib.attacks import AttackResult, maximize_loss, measure, rescale_to_distance, smallest
from perceptlib.balls import L2Ball, LinfBall, LumaBall, MultiScaleBall, SSIMBall, WindowBall, steepest_in_box
from perceptlib.rivals.baselines import deepfool
from perceptlib.rivals.bisection import smallest_pgd
from perceptlib.ssim import Window
from perceptlib.ssim.window import DENSE

SIDE = 12
SMALL = Window(7)


def pictures(seed: int = 0, count: int = 2) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


class Convolutions(nn.Module):
    """A little of everything that depends on a mode: batch norm, dropout, work in place."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(
                nn.ReLU(inplace=True),
                nn.Conv2d(3, 6, 3),
                nn.BatchNorm2d(6),
                nn.ReLU(inplace=True),
                nn.Dropout(0.5),
                nn.AdaptiveAvgPool2d(2),
                nn.Flatten(),
                nn.Linear(24, 4),
            )

    def forward(self, images: Tensor) -> Tensor:
        return 5 * self.body(images.sub_(0.5).mul_(4).add_(2))


NETWORK = Convolutions().eval()
with torch.no_grad():
    LABELS = NETWORK(pictures().clone()).argmax(1)


def ball_calls(name: str, make: Callable[[Any], Any]) -> dict[str, Callable[[Any, Any], Any]]:
    return {
        f"{name} {method}": lambda x, y, method=method: getattr(make(x), method)(y)
        for method in ("steepest", "gauge", "measure", "project", "pull_back")
    }


DIFFERENTIABLE: dict[str, Callable[[Any, Any], Any]] = {
    name: lambda x, y, name=name: getattr(ssim, name)(x, y, window=SMALL)
    for name in ("distance", "mean_ssim", "ssim_map", "change_map", "components")
}
ATTACKS: dict[str, Callable[[Any, Any], Any]] = {
    "maximize_loss": lambda x, _: maximize_loss(NETWORK, x, LABELS, SSIMBall(x, 0.01, window=SMALL), steps=2),
    "maximize_loss linf": lambda x, _: maximize_loss(NETWORK, x, LABELS, LinfBall(0.1), steps=2, loss="margin"),
    "smallest": lambda x, _: smallest(NETWORK, x, LABELS, SSIMBall(x, 0.01), steps=3, refinements=1),
    "smallest l2": lambda x, _: smallest(NETWORK, x, LABELS, L2Ball(1.0), steps=3, refinements=1, eight_bit=True),
    "smallest targeted": lambda x, _: smallest(
        NETWORK, x, LABELS, LumaBall(x, 0.01), steps=2, refinements=0, targets=(LABELS + 1) % 4
    ),
    "smallest_pgd": lambda x, _: smallest_pgd(NETWORK, x, LABELS, "pgd_ssim", steps=2),
    "deepfool": lambda x, _: deepfool(NETWORK, x, LABELS, steps=3, candidates=3),
    "measure": lambda x, y: measure(NETWORK, x, y, LABELS),
}
CALLS = {
    **DIFFERENTIABLE,
    **ATTACKS,
    "rescale_to_distance": lambda x, y: rescale_to_distance(x, y, 0.01),
    **ball_calls("SSIM ball", lambda x: SSIMBall(x, 0.01, window=SMALL, tolerance=1e-3)),
    **ball_calls("multi-scale ball", lambda x: MultiScaleBall(x, 0.01, window=SMALL, tolerance=1e-3)),
    **ball_calls("window ball", lambda x: WindowBall(x, 0.01, size=5)),
    **ball_calls("luma ball", lambda x: LumaBall(x, 0.01)),
    "steepest_in_box": lambda x, y: steepest_in_box(SSIMBall(x, 0.01), y, rounds=2),
}


def numbers(result: Any) -> Iterator[Tensor]:
    """All tensors of a result."""
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, tuple):
        for part in result:
            yield from numbers(part)
    elif hasattr(result, "__dataclass_fields__"):
        for name in result.__dataclass_fields__:
            yield from numbers(getattr(result, name))


PLAIN = {name: [part.clone() for part in numbers(call(pictures(0), pictures(1)))] for name, call in CALLS.items()}


def inference(images: Tensor) -> Tensor:
    with torch.inference_mode():
        return images.clone()


def strided(images: Tensor) -> Tensor:
    wide = torch.full((2, 2, 3, SIDE, 2 * SIDE), torch.nan)
    wide[:, 0, :, :, ::2] = images
    return wide[:, 0, :, :, ::2]


def read_only(images: Tensor) -> np.ndarray:
    array = images.numpy().copy()
    array.flags.writeable = False
    return array


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "permuted": lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": strided,
    "with a graph": lambda x: x.clone().requires_grad_() * 1,
    "inference": inference,
    "read-only array": read_only,
    "array of negative strides": lambda x: x.flip(-1).numpy()[..., ::-1],
    "array of foreign bytes": lambda x: x.numpy().astype(">f4"),
}


def state() -> tuple[Any, ...]:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_rng_state().tolist(),
        NETWORK.training,
        {name: value.tolist() for name, value in NETWORK.state_dict().items() if "running" in name},
    )


def array_of(values: Any) -> np.ndarray:
    return values.detach().numpy().copy() if isinstance(values, Tensor) else np.array(values)


def check(name: str, images: Any, others: Any) -> None:
    kept = [array_of(values) for values in (images, others)]
    before = state()
    found = list(numbers(CALLS[name](images, others)))
    assert state() == before
    for part, expected in zip(found, PLAIN[name], strict=True):
        assert part.dtype == expected.dtype and part.is_contiguous()
        torch.testing.assert_close(part.detach(), expected, rtol=0, atol=0, equal_nan=True)
        assert name in DIFFERENTIABLE or "gauge" in name or "measure" in name or not part.requires_grad
    for given, was in zip((images, others), kept, strict=True):
        assert np.array_equal(array_of(given), was)
        if isinstance(given, Tensor):
            assert given.untyped_storage().data_ptr() not in {part.untyped_storage().data_ptr() for part in found}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CALLS)
def test_images_of_any_form_give_the_same_answer(name: str, form: str) -> None:
    check(name, FORMS[form](pictures(0)), FORMS[form](pictures(1)))


@contextmanager
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "another default device": lambda: torch.device("meta"),
    "another default type": double_by_default,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CALLS)
def test_no_mode_of_the_caller_changes_the_answer(name: str, mode: str) -> None:
    images, others = pictures(0), pictures(1)
    with MODES[mode]():
        check(name, images, others)


def test_expanded_images_are_those_that_they_show() -> None:
    shown = pictures(count=1).expand(2, -1, -1, -1)
    for call in (ATTACKS["smallest"], DIFFERENTIABLE["distance"]):
        for one, other in zip(
            numbers(call(shown, pictures(1))), numbers(call(shown.clone(), pictures(1))), strict=True
        ):
            assert torch.equal(one, other)


def test_networks_of_the_caller_may_compute_in_channels_last() -> None:
    def channels_last(images: Tensor) -> Tensor:
        return NETWORK(images.contiguous(memory_format=torch.channels_last))

    for attack in (maximize_loss, smallest):
        images = pictures()
        found = attack(channels_last, images, LABELS, SSIMBall(images, 0.01))
        expected = attack(NETWORK, images, LABELS, SSIMBall(images, 0.01))
        torch.testing.assert_close(found.distance, expected.distance, rtol=1e-2, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", CALLS)
def test_half_precision_is_refused_with_what_to_write(name: str, dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=r"float32 or float64"):
        CALLS[name](pictures(0).to(dtype), pictures(1).to(dtype))


VALUES: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "0 to 255": (lambda x: 255 * x, r"images hold values from .* to 254.*; \[0, 1\] is allowed; write images / 255"),
    "-1 to 1": (lambda x: 2 * x - 1, r"write \(images \+ 1\) / 2"),
    "normalised": (lambda x: (x - 0.45) / 0.22, r"write images \* std \+ mean"),
    "NaN": (lambda x: x.masked_fill(x > 0.9, torch.nan), "images hold NaN in 2 of 2 pictures"),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", [name for name in CALLS if "ball " not in name or "steepest" in name])
def test_every_function_says_what_values_it_got(name: str, kind: str) -> None:
    change, message = VALUES[kind]
    before = state()
    with torch.no_grad(), pytest.raises(ValueError, match=message):
        CALLS[name](change(pictures(0)), pictures(1))
    assert state() == before


def test_other_images_are_checked_too_and_the_check_can_be_left_out() -> None:
    images, others = pictures(0), 255 * pictures(1)
    with pytest.raises(ValueError, match=r"others hold values from .* write others / 255"):
        ssim.distance(images, others)
    with ssim.unchecked_range():
        assert bool((ssim.distance(images, others) > 0).all())
    with pytest.raises(ValueError, match="perturbation has NaN or infinite entries; pass finite numbers"):
        rescale_to_distance(images, images / 0, 0.1)
    with pytest.raises(ValueError, match="budget -1 is not a finite number above 0"):
        rescale_to_distance(images, images, -1)
    with pytest.raises(ValueError, match="adversarial images hold NaN or infinite values"):
        measure(NETWORK, images, images / 0, LABELS)
    with pytest.raises(
        ValueError, match=r"adversarial images have shape \(2, 3, 12, 12\), dtype torch.float64 on cpu; those"
    ):
        measure(NETWORK, images, images.double(), LABELS)


@pytest.mark.parametrize(
    "make", [lambda x: SSIMBall(x, 0.01), lambda x: WindowBall(x, 0.01), lambda x: LumaBall(x, 0.01)]
)
def test_a_ball_of_other_images_is_refused(make: Callable[[Tensor], Any]) -> None:
    images = pictures(count=4)
    ball = make(images)
    for attack in (maximize_loss, smallest, lambda *given: measure(*given[:2], *given[1:3], ball=given[3])):
        attack(NETWORK, images[:2], LABELS, ball.select(torch.tensor([0, 1])))
        for others, message in (
            (images.flip(0), "the ball was made for other images, the first of them at 0; make a ball of these images"),
            (images[:2], r"made for images of shape \(4, .* met \(2, "),
            (images.double(), "made for images of torch.float32 and met torch.float64; make a ball of these images"),
        ):
            with pytest.raises(ValueError, match=message):
                attack(NETWORK, others, LABELS.repeat(2)[: len(others)], ball)


def test_a_ball_refuses_what_is_on_another_device() -> None:
    for ball in (SSIMBall(pictures(), 0.01), MultiScaleBall(pictures(), 0.01), WindowBall(pictures(), 0.01)):
        for call in (ball.check, ball.steepest, ball.gauge):
            with pytest.raises(
                ValueError, match="the ball is on cpu and met images on meta; make a ball of these images"
            ):
                call(pictures().to("meta"))


def test_a_mask_may_be_an_array() -> None:
    images, mask = pictures(), np.arange(2 * SIDE * SIDE).reshape(2, SIDE, SIDE) % 3 > 0
    for make in (lambda support: SSIMBall(images, 0.01, support=support), lambda support: L2Ball(0.1, support=support)):
        assert torch.equal(make(mask).steepest(images), make(torch.from_numpy(mask)).steepest(images))


def test_a_ball_does_not_follow_its_callers_tensors() -> None:
    images, budget = pictures(), torch.tensor([0.01, 0.02])
    support = torch.ones(2, SIDE, SIDE, dtype=torch.bool)
    balls = SSIMBall(images, budget, support=support), L2Ball(budget, support=support), WindowBall(images, budget)
    expected = [ball.steepest(pictures(1)) for ball in balls]
    images.zero_(), budget.fill_(0.5), support.zero_()
    for ball, step in zip(balls, expected, strict=True):
        assert torch.equal(ball.steepest(pictures(1)), step)
    with pytest.raises(ValueError, match="the ball was made for other images"):
        balls[0].check(images)


def test_what_is_kept_from_inference_mode_serves_gradients_later() -> None:
    images, others = torch.rand(2, 1, 3, 37, 41, generator=torch.Generator().manual_seed(0))  # sides of no other test
    with torch.inference_mode():
        ssim.distance(images, others)
        ball = SSIMBall(images, 0.01, tolerance=1e-2)
        ball.steepest(others), ball.measure(others.double()), ball.gap_bound(others, others)
    for function in (lambda y: ssim.distance(images, y), ball.gauge, ball.measure):
        change = (0.1 * others).clone().requires_grad_()
        function(change).sum().backward()
        assert bool(change.grad.abs().sum() > 0)
    assert torch.equal(ball.steepest(others), SSIMBall(images, 0.01, tolerance=1e-2).steepest(others))


@pytest.mark.parametrize("height", [8, DENSE + 2])  # the window in one product, and in blocks
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_ssim_has_every_derivative(name: str, height: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images, others = 0.1 + 0.8 * torch.rand(2, 1, 1, height, 9, dtype=torch.float64, generator=generator)

    def function(x: Tensor, y: Tensor) -> Tensor:
        found = DIFFERENTIABLE[name](x, y)
        return torch.stack(found) if isinstance(found, tuple) else found

    leaves = images.clone().requires_grad_(), others.clone().requires_grad_()
    assert torch.autograd.gradcheck(function, leaves, check_forward_ad=True, atol=1e-6, fast_mode=True)
    several = torch.stack([others, others.flip(-1), others.flip(-2)])
    expected = torch.stack([function(images, one) for one in several])
    torch.testing.assert_close(torch.func.vmap(function, in_dims=(None, 0))(images, several), expected)
    tangent = torch.ones_like(others)
    _, slope = torch.func.jvp(lambda y: function(images, y), (others,), (tangent,))
    _, backward = torch.autograd.functional.vjp(lambda y: function(images, y), others, torch.ones_like(slope))
    assert float(slope.sum()) == pytest.approx(float(backward.sum()))


def training_network() -> nn.Module:
    network = Convolutions().train()
    network.body[2].eval()  # as for fine-tuning
    return network


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "module": lambda network: network,
    "function": lambda network: lambda images: network(images),
    "bound method": lambda network: network.forward,
    "data parallel": nn.DataParallel,
    "sequential": nn.Sequential,
    "compiled": lambda network: torch.compile(network, backend="aot_eager"),
}


@pytest.mark.parametrize(
    "wrap",
    [pytest.param(wrap, id=name, marks=[pytest.mark.slow] * (name == "compiled")) for name, wrap in WRAPPERS.items()],
)
def test_networks_are_attacked_in_evaluation_mode_and_left_as_they_were(wrap: Callable[[nn.Module], Any]) -> None:
    network = training_network()
    modes = [module.training for module in network.modules()]
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    images, wrapped = pictures(), wrap(network)
    for attack in (maximize_loss, smallest, lambda *given: deepfool(*given[:3], steps=3, candidates=3)):
        found = attack(wrapped, images, LABELS, L2Ball(0.3))
        expected = attack(NETWORK, images, LABELS, L2Ball(0.3))
        torch.testing.assert_close(found.adversarial, expected.adversarial, rtol=0, atol=1e-5)
        with pytest.raises(ValueError, match="labels hold class 9"):
            attack(wrapped, images, LABELS + 9, L2Ball(0.3))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert all(value.grad is None and value.requires_grad for value in network.parameters())


def test_two_threads_may_attack_a_network_in_training_mode() -> None:
    network, images = training_network(), pictures()
    expected = maximize_loss(NETWORK, images, LABELS, L2Ball(0.3)).adversarial
    found: list[Tensor] = []

    def attack() -> None:
        for _ in range(5):
            found.append(maximize_loss(network, images, LABELS, L2Ball(0.3)).adversarial)

    threads = [threading.Thread(target=attack) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20 and all(torch.equal(one, expected) for one in found)
    assert network.training and not network.body[2].training


def logits(images: Tensor) -> Tensor:
    return NETWORK(images)


@pytest.mark.parametrize(
    "head, message",
    [
        (lambda z: z.detach().numpy(), r"returns a ndarray; a tensor of logits \(N, K\) is needed"),
        (lambda z: {"one": z, "other": z}, "returns a dictionary of 'one', 'other'; an entry 'logits' is needed"),
        (lambda z: z[..., None, None].expand(-1, -1, 3, 3), r"returns shape \(2, 4, 3, 3\) for 2 pictures"),
        (lambda z: z[0], r"returns shape \(4,\) for 2 pictures; \(N, K\), a logit"),
        (lambda z: z.round().long(), "returns numbers of type int64, which have no gradient"),
        (lambda z: z.detach(), "output has no gradient with respect to its images; it must stay in torch"),
        (lambda z: NETWORK.body[-1].bias.expand(2, -1), "output has no gradient with respect to its images"),
    ],
)
@pytest.mark.parametrize("attack", [maximize_loss, smallest])
def test_outputs_that_are_no_logits_are_refused(attack: Any, head: Callable[[Tensor], Any], message: str) -> None:
    labels = torch.zeros(2, dtype=torch.int64)
    with pytest.raises((TypeError, ValueError), match=message):
        attack(lambda images: head(logits(images)), pictures(), labels, L2Ball(0.1))


@pytest.mark.parametrize(
    "head, tolerance",
    [
        (lambda z: z[..., None, None], 0.0),
        (lambda z: (z, None), 0.0),
        (lambda z: {"logits": z}, 0.0),
        (lambda z: z.double(), 1e-6),
        (lambda z: z.half(), 0.1),
        (lambda z: z.bfloat16(), 0.5),
    ],
)
def test_outputs_that_are_logits_are_taken(head: Callable[[Tensor], Any], tolerance: float) -> None:
    images = pictures()
    for attack in (maximize_loss, smallest):
        expected = attack(logits, images, LABELS, L2Ball(0.3))
        found = attack(lambda images: head(logits(images)), images, LABELS, L2Ball(0.3))
        torch.testing.assert_close(found.margin_before, expected.margin_before, rtol=0, atol=tolerance)
        torch.testing.assert_close(found.l2, expected.l2, rtol=max(tolerance, 1e-4), atol=0)


class Drawing(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return logits(images) + 1e-6 * torch.rand(())


@pytest.mark.parametrize(
    "network, error, message",
    [
        (
            nn.Sequential(nn.Flatten(), nn.Linear(432, 4)).double(),
            TypeError,
            "of torch.float64 on cpu, fails on images",
        ),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), NETWORK), ValueError, "has no running statistics"),
        (
            lambda x: logits(x).masked_fill(torch.eye(2, 4).bool(), torch.nan),
            ValueError,
            "infinity for 2 of 2 pictures",
        ),
        (lambda x: logits(x) / 0, ValueError, "NaN or infinity for"),
        (lambda x: logits(x)[:, 0].sigmoid(), ValueError, "return the logit that goes into it"),
        ("resnet18", TypeError, "the classifier is 'resnet18'; pass a Module or a function"),
        (nn.Linear, TypeError, "the classifier is <class"),
    ],
)
@pytest.mark.parametrize("attack", [maximize_loss, smallest])
def test_networks_that_no_attack_can_answer_for(attack: Any, network: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        attack(network, pictures(), torch.zeros(2, dtype=torch.int64), L2Ball(0.1))


@pytest.mark.parametrize(
    "network, message", [(Drawing(), "draws random numbers"), (lambda x: logits(x).softmax(1), "return probabilities")]
)
def test_networks_whose_answers_need_a_word(network: Any, message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        maximize_loss(network, pictures(), LABELS, L2Ball(0.1), steps=1)


def test_options_of_another_kind_are_refused_and_numbers_of_numpy_are_kept_as_python_has_them(tmp_path: Any) -> None:
    for options in ({"steps": 2.5}, {"candidates": 1.5}, {"refinements": None}):
        with pytest.raises(TypeError, match=r"pass a whole number, \d or more"):
            smallest(logits, pictures(), LABELS, L2Ball(0.1), **options)
    for ball in (0.01, L2Ball):
        with pytest.raises(TypeError, match=r"the ball is .*; pass one that was made"):
            maximize_loss(logits, pictures(), LABELS, ball)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"window is 7; pass a Window such as Window\(11\)"):
        ssim.mean_ssim(pictures(), pictures(), window=7)  # type: ignore[arg-type]
    for radius, error in ((None, TypeError), ("0.1", TypeError), (torch.ones(2, 1), ValueError), (8, ValueError)):
        with pytest.raises(error, match=r"epsilon .*(pass a float or one value per image|write 8 / 255)"):
            LinfBall(radius)  # type: ignore[arg-type]
    maximize_loss(logits, pictures(), LABELS, LinfBall(0.1), steps=np.int64(1)).save(tmp_path / "result")
    assert type(AttackResult.load(tmp_path / "result").settings["num_steps"]) is int


@pytest.mark.parametrize("head", [lambda z: z, lambda z: z[:, 0]])
def test_one_logit_stands_for_two_classes(head: Callable[[Tensor], Tensor]) -> None:
    images = pictures()

    def one_logit(images: Tensor) -> Tensor:
        return head(logits(images)[:, :1])

    is_second = (one_logit(images.clone()).flatten() > 0).long()
    for attack in (maximize_loss, smallest):
        found = attack(one_logit, images, is_second, L2Ball(2.0))
        assert found.margin_before.tolist() == pytest.approx(one_logit(images.clone()).flatten().abs().tolist())
        assert found.fooling_rate == 1


def test_labels_may_be_an_array_and_classes_may_be_ruled_out() -> None:
    images = pictures()

    def masked(images: Tensor) -> Tensor:
        return logits(images).masked_fill(torch.tensor([False, False, False, True]) & (LABELS[:1] != 3), -torch.inf)

    for labels in (LABELS.numpy(), inference(LABELS)):
        assert smallest(logits, images, labels, L2Ball(0.3)).fooling_rate == 1
    assert smallest(masked, images, masked(images.clone()).argmax(1), L2Ball(0.3)).fooling_rate == 1


def test_nothing_is_left_of_many_attacks() -> None:
    import gc

    def living() -> int:
        gc.collect()
        return sum(isinstance(entry, Tensor) for entry in gc.get_objects())

    def attack(seed: int) -> None:
        images = pictures(seed)
        with nullcontext() if seed % 2 else torch.inference_mode():
            ball = SSIMBall(images, 0.01, tolerance=0.1)
            maximize_loss(NETWORK, images, LABELS, ball, steps=1)
            smallest(NETWORK, images, LABELS, ball, steps=1, refinements=1)

    attack(0)
    before = living()
    for seed in range(1, 9):
        attack(seed)
    assert living() == before
