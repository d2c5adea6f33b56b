"""Perturbation balls: convex sets of perturbations with a steepest direction, a gauge and a projection."""

from perceptlib.balls.boxed import steepest_in_box
from perceptlib.balls.luma import LumaBall
from perceptlib.balls.multi_scale import MultiScaleBall
from perceptlib.balls.norms import L2Ball, LinfBall
from perceptlib.balls.protocol import Ball
from perceptlib.balls.refreeze import maximize_exactly
from perceptlib.balls.ssim_ball import SSIMBall
from perceptlib.balls.window_ball import WindowBall

__all__ = [
    "Ball",
    "L2Ball",
    "LinfBall",
    "LumaBall",
    "MultiScaleBall",
    "SSIMBall",
    "WindowBall",
    "maximize_exactly",
    "steepest_in_box",
]
