"""What our attacks are compared with: searches of foolbox and adv-lib, also with as many gradients as ours, and the
smallest ball in which projected gradient ascent fools. Both libraries are optional."""

from perceptlib.rivals.baselines import alma, carlini_wagner, deepfool
from perceptlib.rivals.bisection import smallest_pgd
from perceptlib.rivals.opponents import OPPONENTS, round_found, run_opponent, run_own

__all__ = ["OPPONENTS", "alma", "carlini_wagner", "deepfool", "round_found", "run_opponent", "run_own", "smallest_pgd"]
