"""The smallest multiple of a ball that holds an adversarial image, in the form of DeepFool."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from perceptlib.attacks.eight_bit import smallest_rounded
from perceptlib.attacks.network import Classifier, Network, attack_margin, entered
from perceptlib.attacks.result import AttackResult, Scalar, measured
from perceptlib.balls import Ball
from perceptlib.records.checks import Values, whole_number

# A point of a ray fools, and one nearer by this share of the ray does not; passes at most, and how far a ray may grow.
PRECISION, SEARCH_STEPS, FARTHEST = 1 / 4096, 24, 1.25
# How far past the linearised boundary a step aims: a share of the logits' range, and where that vanishes, as at the
# boundary of two classes, what a change of every pixel by this much gains.
LANDING, NUDGE = 1e-3, 1e-6
ROUNDING = 8  # units of the largest logit's last place
RISE = 1.2  # a class is left out if this times the steepest slope known would not make it the nearest
# A refinement linearises so many times; it is over where the linearised boundary promises less than this share.
TWICE, GAIN = 2, 1e-3
TRUSTED = 0.2  # relative change by which Newton's estimate of the boundary on a ray is believed
# Of a descent: the share by which a radius grows or shrinks and the step in radii, each at the start and at the end.
RADIUS_CHANGE, STEP = (0.05, 0.001), (1.0, 0.01)
TURNS = 10  # of the weights of several planes that a step must pass at once: to 1 % of the shortest


def smallest(
    classifier: Classifier,
    images: Values,
    labels: Values,
    ball: Ball,
    *,
    steps: int = 30,
    candidates: int = 10,
    targets: Values | None = None,
    overshoot: float = 0.02,
    refinements: int = 5,
    descent: int = 0,
    eight_bit: bool = False,
) -> AttackResult:
    """Find the smallest multiple of a ball that holds an adversarial image, in the form of DeepFool.

    At x + r the margin to a class k is linearised, f_k - <g_k, s>, and the class of the smallest step is taken:
    s = (f_k / <g_k, u_k>) u_k with u_k = steepest(g_k); for the SSIM ball f_k^2 / (g_k'A^-1 g_k) is smallest. Classes
    come in the order of f_k over their last known slope <g_k, u_k>, or the steepest known of the picture, and only
    while 1.2 times that slope would make them nearest. With the l2 ball and no refinements this is DeepFool
    (Moosavi-Dezfooli, Fawzi and Frossard 2016), with the linf ball its linf form; with targets the step goes past the
    planes of all rivals met so far, of which the highest is linearised anew. Once fooled, r is cut back along its ray
    to the boundary. A refinement linearises twice near the boundary, each time the highest rival alone, and goes half
    way to the nearest point of that plane as seen from x (the idea of FAB, Croce and Hein 2020).

    Parameters
    ----------
    classifier : Module
        Images in [0, 1] to logits (N, K).
    images : Tensor
        Shape (N, C, H, W), range [0, 1], float32 or float64.
    labels : Tensor
        True classes, shape (N,), int64.
    ball : Ball
        One of `perceptlib.balls.protocol`, made for these images; only its shape counts, not its radius.
    steps : int
        Linearisations at most, at least 1.
    candidates : int
        Most likely other classes that may be linearised in a step, at least 1, each for a gradient; with targets the
        rivals whose planes are kept, one of them for a gradient per step.
    targets : Tensor or ndarray, optional
        Wanted classes, shape (N,), int64.
    overshoot : float
        Relative lengthening of each step, at least 0.
    refinements : int
        Refinements of a perturbation that fools, at least 0; each costs two gradients, or less where the linearised
        boundary promises a gain of less than 0.1 %.
    descent : int
        Gradients, at least 0, for a descent after the refinements, from their result: FMN (Pintor, Roli, Brendel and
        Biggio 2021) with steps and sizes in the ball's gauge. The result is no larger than without.
    eight_bit : bool
        Search the smallest perturbation whose image lies on the 8-bit grid (`perceptlib.attacks.eight_bit`); it costs
        as many gradients more as there are refinements, or 3 where there are fewer.

    Returns
    -------
    AttackResult
        Images already misclassified come back unchanged; `violation` is measured against [0, 1] alone.

    Raises
    ------
    TypeError, ValueError
        As `perceptlib.attacks.maximize.maximize_loss`; candidates, overshoot, refinements or descent not allowed.

    Notes
    -----
    Guaranteed: where DeepFool fools, so does the result, it is no larger in the ball's gauge, and on its ray a point
    nearer by 1/4096 does not fool. Not guaranteed: that nothing smaller fools, and that no class that was left out is
    nearer. A picture's answer and effort do not depend on the others of its batch but for rounding.

    A minimal perturbation hardly ever survives rounding to 8 bits: see ``is_adversarial_8bit`` and ``eight_bit``.
    """
    candidates = whole_number("candidates", candidates, least=1)
    refinements = whole_number("refinements", refinements)
    descent = whole_number("descent", descent)
    if not 0 <= overshoot < math.inf:
        raise ValueError(f"overshoot {overshoot} is not a finite number of at least 0; pass e.g. overshoot=0.02")
    with entered(classifier, images, labels, targets, ball=ball, steps=steps) as given:
        network, images, count = given.network, given.images, min(candidates, given.num_classes - 1)
        everywhere = torch.arange(len(images), device=images.device)
        search = BoundarySearch(network, everywhere, images, given.labels, given.targets, ball, count, given.before)
        perturbation, steps_taken, has_gradient, planes = search.deepfool(steps, overshoot)
        moving = (steps_taken > 0).nonzero().flatten()
        adversarial = (images + perturbation).clamp(0, 1)
        if len(moving):
            part, small = search.select(moving), perturbation[moving]
            planes = None if planes is None else planes.select(moving)
            small = part.refine(part.cut_back(small), TWICE * refinements, planes)
            if descent:
                small = part.descend(small, descent)
            adversarial[moving] = (images[moving] + small).clamp(0, 1)
            if eight_bit:
                adversarial[moving] = smallest_rounded(
                    part.fools,
                    lambda changed: part.nearest(changed - part.images, planes)[2:],
                    *(part.images, small, part.ball),
                    rounds=max(3, refinements),
                )
        settings: dict[str, Scalar] = {"attack": "smallest", "ball": type(ball).__name__, "num_steps": steps}
        settings |= {"candidates": count, "overshoot": overshoot, "refinements": refinements, "descent": descent}
        settings |= {"eight_bit": eight_bit}
        return measured(
            given,
            adversarial,
            ball=ball,
            is_bounded=False,
            steps=steps_taken,
            has_gradient=has_gradient,
            settings=settings,
        )


@dataclass
class _Planes:
    """Linearised rivals of the targets: classes (N, K), -1 where none yet, gradients (K, N, C, H, W), slopes (K, N)."""

    classes: Tensor
    gradients: Tensor
    slopes: Tensor

    def select(self, index: Tensor) -> _Planes:
        return _Planes(self.classes[index], self.gradients[:, index], self.slopes[:, index])

    def put(self, index: Tensor, some: _Planes) -> None:
        self.classes[index], self.gradients[:, index], self.slopes[:, index] = some.classes, some.gradients, some.slopes

    def enter(self, classes: Tensor, gradient: Tensor, slope: Tensor, gaps: Tensor) -> None:
        """A plane of each picture in place of that of the same class, of none, or of the one with most to spare."""
        is_same, is_free = self.classes == classes[:, None], self.classes < 0
        spare = torch.where(is_same, torch.inf, torch.where(is_free, 1e30, -gaps))
        slot, row = spare.argmax(1), torch.arange(len(classes), device=classes.device)
        self.classes[row, slot], self.gradients[slot, row], self.slopes[slot, row] = classes, gradient, slope


@dataclass(frozen=True)
class BoundarySearch:
    """The images, their places in the batch, the ball and the candidates; every method works on all of them."""

    network: Network
    places: Tensor
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    ball: Ball
    num_candidates: int
    before: Tensor

    def select(self, index: Tensor) -> BoundarySearch:
        if len(index) == len(self.images):
            return self
        parts = {name: getattr(self, name)[index] for name in ("places", "images", "labels", "before")}
        targets = None if self.targets is None else self.targets[index]
        return replace(self, targets=targets, ball=self.ball.select(index), **parts)

    def logits(self, perturbation: Tensor) -> Tensor:
        return self.network((self.images + perturbation).clamp(0, 1), self.places)

    def margin(self, logits: Tensor) -> Tensor:
        return attack_margin(logits, self.labels, self.targets)

    def fools(self, adversarial: Tensor) -> Tensor:
        """(N,), bool."""
        return self.margin(self.network(adversarial.clamp(0, 1), self.places)) < 0

    @property
    def aimed(self) -> Tensor:
        return (self.labels if self.targets is None else self.targets)[:, None]

    def gaps(self, logits: Tensor, classes: Tensor) -> Tensor:
        """What is missing to the boundary with each of some classes, (N, J)."""
        gaps = logits.gather(1, self.aimed) - logits.gather(1, classes)
        return gaps if self.targets is None else -gaps

    def rivals(self, logits: Tensor, count: int) -> Tensor:
        return logits.scatter(1, self.aimed, -torch.inf).topk(count).indices

    def linearise(self, perturbation: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits at x + r, a class of each, (N,), by default its highest rival, and the gradient of -gap to it."""
        current = (self.images + perturbation).clamp(0, 1).requires_grad_(True)
        with torch.enable_grad():
            logits = self.network(current, self.places)
            classes = self.rivals(logits.detach(), 1)[:, 0] if classes is None else classes
            gradient = self.network.gradient(-self.gaps(logits, classes[:, None]).sum(), current, self.places)
        return logits.detach(), classes, gradient

    def past(self, logits: Tensor, gradient: Tensor) -> Tensor:
        # steps that aim at the boundary itself creep up to it for ever where clipping shortens them
        highest = logits.amax(1)
        lowest = torch.where(logits > -torch.inf, logits, highest[:, None]).amin(1)  # of classes not ruled out
        return torch.maximum(LANDING * (highest - lowest).to(gradient), NUDGE * gradient.abs().sum(dim=(1, 2, 3)))

    def deepfool(self, steps: int, overshoot: float) -> tuple[Tensor, Tensor, Tensor, _Planes | None]:
        """Perturbation that fools, (N, C, H, W), steps taken, (N,), whether a gradient was found, (N,), and planes."""
        count, device, shape = len(self.images), self.images.device, self.images.shape
        perturbation = torch.zeros_like(self.images)
        steps_taken = torch.zeros(count, dtype=torch.int64, device=device)
        has_gradient = torch.ones(count, dtype=torch.bool, device=device)
        planes, slopes = None, torch.zeros(0)
        if self.targets is not None:
            planes = _Planes(
                torch.full((count, self.num_candidates), -1, device=device),
                self.images.new_zeros(self.num_candidates, *shape),
                self.images.new_zeros(self.num_candidates, count),
            )
        active = torch.arange(count, device=device)
        for _ in range(steps):
            part = self.select(active)
            logits = part.logits(perturbation[active])
            goes_on = (part.margin(logits) >= 0) & has_gradient[active]
            active, logits = active[goes_on], logits[goes_on]
            if not len(active):
                break
            part, old = self.select(active), perturbation[active]
            if planes is None:
                if not slopes.numel():
                    slopes = torch.zeros(count, logits.shape[1], dtype=old.dtype, device=device)
                known = slopes[active]
                step, has_step = part.to_nearest(old, logits, known)
                slopes[active] = known
            else:
                own = planes.select(active)
                _, _, step, normal = part.nearest(old, own, is_step=True)
                has_step = normal.flatten(1).any(1)
                planes.put(active, own)
            perturbation[active] = (part.images + old + (1 + overshoot) * step).clamp(0, 1) - part.images
            has_gradient[active] = has_step
            steps_taken[active] += 1
        return perturbation, steps_taken, has_gradient, planes

    def to_nearest(self, perturbation: Tensor, logits: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """Step to the nearest linearised boundary; slopes of classes, (N, K), 0 where unknown, are written."""
        classes = self.rivals(logits, self.num_candidates)
        gaps = self.gaps(logits, classes)
        is_open = torch.ones_like(classes, dtype=torch.bool)
        shortest = torch.full((len(logits),), torch.inf, device=logits.device, dtype=self.images.dtype)
        step = torch.zeros_like(self.images)
        while True:
            known, ceiling = slopes.gather(1, classes), slopes.amax(1, keepdim=True)
            slope = torch.where(known > 0, known, torch.where(ceiling > 0, ceiling, 1))
            least, rank = torch.where(is_open, gaps / (RISE * slope), torch.inf).min(1)
            wanted = (least < shortest).nonzero().flatten()
            if not len(wanted):
                return step, torch.isfinite(shortest)
            rank = rank[wanted]
            chosen, part = classes[wanted, rank], self.select(wanted)
            _, _, gradient = part.linearise(perturbation[wanted], chosen)
            direction = part.ball.steepest(gradient)
            slope = _dot(gradient, direction)
            fall = gaps[wanted, rank].to(gradient) + part.past(logits[wanted], gradient)
            length = torch.where(slope > 0, fall.clamp_min(0) / torch.where(slope > 0, slope, 1), torch.inf)
            is_shorter = length < shortest[wanted]
            shorter = wanted[is_shorter]
            shortest[shorter], step[shorter] = length[is_shorter], (length.view(-1, 1, 1, 1) * direction)[is_shorter]
            slopes[wanted, chosen], is_open[wanted, rank] = slope, False

    def nearest(
        self, perturbation: Tensor, planes: _Planes | None, *, is_step: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Margin and gradient of its fall at x + r, and the nearest perturbation past the plane, with its normal.

        With targets past those of all rivals so far, whose gaps are those of x + r; as a step also from there.
        """
        logits, rivals, gradient = self.linearise(perturbation)
        slope, gap = _dot(gradient, direction := self.ball.steepest(gradient)), self.margin(logits).to(gradient)
        if planes is None:
            fall = gap + _dot(gradient, perturbation)
            length = torch.where(slope > 0, fall / torch.where(slope > 0, slope, 1), 0)
            return gap, gradient, length.view(-1, 1, 1, 1) * direction, gradient
        planes.enter(rivals, gradient, slope, self.gaps(logits, planes.classes.clamp_min(0)))
        falls = self.gaps(logits, planes.classes.clamp_min(0)).to(gradient).T + self.past(logits, gradient)
        if not is_step:
            falls = falls + (planes.gradients * perturbation).sum(dim=(2, 3, 4))
        return gap, gradient, *_past_all(self.ball, planes, falls)

    def refine(self, perturbation: Tensor, rounds: int, planes: _Planes | None) -> Tensor:
        """Perturbation that fools, of a smaller gauge than one that does; r itself where that does not fool.

        Each round linearises near the boundary and goes half way from there to the nearest point of that plane. Where
        the ray meets the boundary is told by the margin and its slope: what is smallest by that is searched last.
        """
        best, fooling, point = perturbation.clone(), perturbation.clone(), perturbation.clone()
        size = torch.full_like(perturbation[:, 0, 0, 0], torch.inf)
        fooling_size = self.ball.gauge(perturbation)
        active = torch.arange(len(point), device=point.device)
        for _ in range(rounds):
            part, old = self.select(active), point[active]
            own = None if planes is None else planes.select(active)
            gap, gradient, nearest, normal = part.nearest(old, own)
            if planes is not None and own is not None:
                planes.put(active, own)
            slope = _dot(gradient, old)
            length = torch.where(slope > 0, 1 + gap / torch.where(slope > 0, slope, 1), 1).clamp(0.5, 1.5)
            there = length.view(-1, 1, 1, 1) * old
            old_size = part.ball.gauge(old)
            new_size = length * old_size
            is_smaller = (new_size < size[active]) & ((length - 1).abs() <= TRUSTED)
            best[active[is_smaller]], size[active[is_smaller]] = there[is_smaller], new_size[is_smaller]
            is_smaller = (gap < 0) & (old_size < fooling_size[active])
            fooling[active[is_smaller]], fooling_size[active[is_smaller]] = old[is_smaller], old_size[is_smaller]
            following = (there + nearest) / 2
            # the middle may miss the plane, where one of the two was estimated
            along = _dot(normal, following)
            stretch = torch.where(along > 0, _dot(normal, nearest) / torch.where(along > 0, along, 1), 1)
            stretch = stretch.clamp(0.5, 1.5)
            point[active] = (part.images + stretch.view(-1, 1, 1, 1) * following).clamp(0, 1) - part.images
            active = active[(part.ball.gauge(nearest) < (1 - GAIN) * new_size) | ((length - 1).abs() > TRUSTED)]
            if not len(active):
                break
        is_better = (size < fooling_size).nonzero().flatten()
        if len(is_better):
            fooling[is_better] = self.select(is_better).cut_back(best[is_better], fooling[is_better])
        return fooling

    def descend(self, perturbation: Tensor, steps: int) -> Tensor:
        """Perturbation that fools, no larger than one that does; r itself where that does not fool.

        Each step goes up the margin's fall and back into a ball that shrinks while the image fools and grows while it
        does not. The smallest that fooled is cut back.
        """
        best, point, radius = perturbation, perturbation, self.ball.gauge(perturbation)
        size = torch.full_like(radius, torch.inf)
        for step in range(steps):
            decay = (1 + math.cos(math.pi * step / steps)) / 2
            change, length = (end + (start - end) * decay for start, end in (RADIUS_CHANGE, STEP))
            logits, _, gradient = self.linearise(point)
            is_fooled, point_size = self.surely_fools(logits), self.ball.gauge(point)
            is_smaller = is_fooled & (point_size < size)
            best = torch.where(is_smaller.view(-1, 1, 1, 1), point, best)
            size = torch.where(is_smaller, point_size, size)
            radius = torch.where(is_fooled, torch.minimum((1 - change) * radius, size), (1 + change) * radius)
            point = point + (length * radius).view(-1, 1, 1, 1) * self.ball.steepest(gradient)
            point = (self.images + point).clamp(0, 1) - self.images
            point = point * (radius / self.ball.gauge(point).clamp_min(1e-30)).clamp_max(1).view(-1, 1, 1, 1)
        return self.cut_back(best, perturbation)

    def surely_fools(self, logits: Tensor) -> Tensor:
        """By more than what changes with the number of pictures that the network sees at once, (N,), bool."""
        return self.margin(logits).double() < -ROUNDING * torch.finfo(logits.dtype).eps * _largest(logits)

    def cut_back(self, perturbation: Tensor, otherwise: Tensor | None = None) -> Tensor:
        """Point of the ray that fools, at most 1/4096 of it past one that does not.

        Where none is found the same of another perturbation, or the perturbation itself. A secant of the margin goes to
        the boundary; its ends are moved by what the precision allows, so that they enclose it.
        """
        low, value = torch.zeros_like(self.before, dtype=torch.float64), self.before.double().clone()
        high, trial, last = torch.full_like(low, torch.inf), torch.ones_like(low), torch.zeros_like(low)
        active = torch.arange(len(low), device=low.device)
        for turn in range(SEARCH_STEPS):
            part, at = self.select(active), trial[active]
            logits = part.logits(at.to(perturbation).view(-1, 1, 1, 1) * perturbation[active])
            margin = part.margin(logits).double()
            slope = (value[active] - margin) / (at - last[active])
            last[active], value[active] = at, margin
            is_fooled = part.surely_fools(logits)
            low[active] = torch.where(is_fooled, low[active], at)
            high[active] = torch.where(is_fooled, at, high[active])
            below, above = low[active], high[active]
            precision = PRECISION * above.clamp_max(2)
            middle = (below + above) / 2
            aim = torch.where(slope > 0, at + margin / slope, middle)
            beyond = torch.maximum(torch.minimum(aim, 1.25 * at) + 0.5 * precision, at + 2**turn * precision)
            inside = torch.maximum(torch.minimum(aim + 0.5 * precision, above - precision), below + precision)
            trial[active] = torch.where(above.isinf(), beyond, middle if turn % 4 == 3 else inside)
            active = active[torch.where(above.isinf(), at < FARTHEST, above - below > 1.01 * precision)]
            if not len(active):
                break
        found = high.isfinite()
        high = torch.where(found, high, 1).to(perturbation)
        result = high.view(-1, 1, 1, 1) * perturbation
        lost = (~found).nonzero().flatten()
        if otherwise is not None and len(lost):
            result[lost] = self.select(lost).cut_back(otherwise[lost])
        return result


def _past_all(ball: Ball, planes: _Planes, falls: Tensor) -> tuple[Tensor, Tensor]:
    """Shortest step r with <g_j, r> >= fall_j, (K, N), for every plane j, and the normal there; zero where none is.

    For weights w >= 0 the ball must be scaled at least by <w, fall> / max <sum w_j g_j, u>, and at the best weights the
    maximiser u is the direction sought: the weight of a plane that is missed at that length grows. The mean of all
    directions so far, which is in the ball too, serves where the maximiser jumps, as that of the linf ball does.
    """
    slopes = planes.slopes
    counts = (slopes > 0) & falls.isfinite()  # not a class that is ruled out
    slopes = torch.where(counts, slopes, torch.inf)
    normals = planes.gradients / slopes[..., None, None, None]
    need = torch.where(counts, falls / slopes, 0)  # what each asks for by itself
    scale = need.abs().amax(0).clamp_min(1e-30)
    weights = torch.softmax(need / scale, 0)
    shortest, (step, gradient, total) = torch.full_like(scale, torch.inf), normals.new_zeros(3, *normals.shape[1:])
    for turn in range(1, TURNS + 1):
        mixed = (weights[..., None, None, None] * normals).sum(0)
        unit = ball.steepest(mixed)
        total = total + unit
        for direction in (unit, total / turn):
            gain = (normals * direction).sum(dim=(2, 3, 4))
            length = torch.where(need > 0, torch.where(gain > 0, need / gain, torch.inf), 0).amax(0)
            length = torch.where((length * gain >= need - 1e-6 * scale).all(0), length, torch.inf)
            is_shorter = (length < shortest).view(-1, 1, 1, 1)
            step = torch.where(is_shorter, length.view(-1, 1, 1, 1) * direction, step)
            gradient = torch.where(is_shorter, mixed, gradient)
            shortest = torch.minimum(shortest, length)
        gain = (normals * unit).sum(dim=(2, 3, 4))
        bound = (weights * need).sum(0) / (weights * gain).sum(0).clamp_min(1e-30)
        weights = weights * torch.exp(4 * (need - bound * gain) / scale)
        weights = weights / weights.sum(0)
    return step, gradient


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(dim=(1, 2, 3))


def _largest(logits: Tensor) -> Tensor:
    """Largest logit in absolute value, of classes that are not ruled out, (N,), float64."""
    return torch.where(logits > -torch.inf, logits, 0).abs().amax(1).double()
