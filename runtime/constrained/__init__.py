"""Hard constraints: problems that carry them, an augmented Lagrangian for any of them, and an interior-point
method for convex quadratic programs.

`problem.py` joins a problem with its constraints as flat vectors, `augmented_lagrangian.py` wraps the method
that the plan picked for the energy, `quadratic.py` measures the matrices of a quadratic program, and
`interior_point.py` solves it.
"""

from ebmlang.runtime.constrained.problem import Constrained, ConstrainedOutcome

__all__ = ["Constrained", "ConstrainedOutcome"]
