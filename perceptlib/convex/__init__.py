"""The attack as convex programs, solved by cvxpy in float64: the references that the fast attacks are held against."""

from perceptlib.convex.programs import LargestLinear, SmallestLinear, maximize_linear, smallest_linear
from perceptlib.convex.solution import ConvexSolution, ConvexStatus

__all__ = ["ConvexSolution", "ConvexStatus", "LargestLinear", "SmallestLinear", "maximize_linear", "smallest_linear"]
