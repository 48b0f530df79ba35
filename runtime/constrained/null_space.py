"""Affine equations eliminated: a search among the points that meet them.

For equations A x + c = 0 let the columns of Q be an orthonormal basis of the rows of A. From a point that
meets the equations, steps along P = I - Q Q' meet them too, so the energy of x_0 + P (x - x_0) has no
constraints left; its gradient is P times that of the energy (Nocedal & Wright 2006, section 15.3). Such steps
are those in an orthonormal basis of the null space of A, which is not formed. Where an equation gives an
unknown by the others, as `x == A @ z` does, this is the energy with the unknown replaced, in better
coordinates. Multipliers are the least-squares solution of A'y = -gradient (section 18.3), which is exact at a
stationary point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.constrained.problem import (
    Constrained,
    ConstrainedOutcome,
    excess,
    feasible_within,
    largest,
    sentence,
)
from ebmlang.runtime.driver import Limits, Outcome, Progress, solve_from
from ebmlang.runtime.problem import Functions, Problem, Values
from ebmlang.runtime.result import Status
from ebmlang.runtime.solvers.solver import AbstractSolver
from ebmlang.runtime.space import Space

LARGEST_MATRICES = 2**24
"""Coefficients of the equations of all rows up to which they are eliminated."""

MOST_EQUATIONS = 1_000

DEPENDENT = 1e-11
"""A singular value of less than this share of the largest is 0: equations that follow from others."""

BASIS, FEASIBLE = "basis of equations", "point on equations"
"""Names of held values; no variable can be called so."""


@dataclass(frozen=True, slots=True, eq=False)
class Equations:
    """A = U diag(s) Q' by rows, thin: left [R or 1, M, K], sizes [R or 1, K], 0 where equations depend on
    each other, basis Q [R or 1, N, K] with columns of 0 there."""

    left: Tensor
    sizes: Tensor
    basis: Tensor

    def least(self, values: Tensor) -> Tensor:
        """The shortest d [R, N] that makes |A d - values| least, values [R, M]."""
        return _times(self.basis, self._divided(_times(self.left.mT, values)))

    def multipliers(self, gradient: Tensor) -> Tensor:
        """y [R, M] that makes |gradient + A'y| least, for gradients [R, N]."""
        return -_times(self.left, self._divided(_times(self.basis.mT, gradient)))

    def _divided(self, parts: Tensor) -> Tensor:
        return torch.where(self.sizes > 0, parts / torch.where(self.sizes > 0, self.sizes, 1.0), 0.0)


@dataclass(frozen=True, slots=True)
class _OnEquations:
    """The functions of a problem at the nearest points that meet its equations."""

    base: Functions
    space: Space

    def energy(self, unknown: Values, held: Values) -> Tensor:
        return self.base.energy(self._moved(unknown, held), held)

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return self.base.terms(self._moved(unknown, held), held)

    def _moved(self, unknown: Values, held: Values) -> Mapping[str, Tensor]:
        flat = torch.cat([unknown[u.name].flatten(1) for u in self.space.unknowns], 1)
        basis, point = held[BASIS], held[FEASIBLE]
        moved = flat - _times(basis, _times(basis.mT, flat - point))
        parts = moved.split(list(self.space.sizes), 1)
        named = zip(self.space.unknowns, parts, strict=True)
        return {u.name: part.reshape(unknown[u.name].shape) for u, part in named}


def fits(constrained: Constrained, x: Tensor) -> bool:
    """Whether the equations at x [R, N] can be eliminated row by row in dense matrices."""
    count = constrained.equal(x).shape[0]
    small = count <= MOST_EQUATIONS and x.numel() * count <= LARGEST_MATRICES
    return small and not constrained.problem.space.joint


def solve(
    constrained: Constrained,
    x: Tensor,
    solver: AbstractSolver,
    limits: Limits,
    progress: Callable[[Progress], None] | None = None,
    trace: bool = False,
) -> ConstrainedOutcome:
    """Minimise every row from the points x [R, N]; every constraint is an affine equation.

    Never raises for a numeric outcome: it is in the status of the row. A row whose equations contradict each
    other ends at the point that violates them least.
    """
    constrained = constrained.detached()
    problem, near = constrained.problem, feasible_within(limits.tolerance(x.dtype))
    with torch.no_grad():
        before = constrained.values(x)
    equations = equations_at(constrained, x)
    begin = x - equations.least(before)
    infeasible = _violated(constrained, begin, before) > near
    infeasible |= constrained.failed_checks(begin, near)
    found = solve_from(_reduced(problem, equations, begin), solver, begin, limits, progress, trace)
    away = found.x - begin
    at = found.x - _times(equations.basis, _times(equations.basis.mT, away))
    at = torch.where((infeasible | ~torch.isfinite(at).all(1))[:, None], begin, at)
    return _outcome(constrained, equations, at, before, found, infeasible)


def equations_at(constrained: Constrained, x: Tensor) -> Equations:
    """The equations of every row; once for all where they are the same."""
    slopes = constrained.jacobian(x, range(constrained.equal(x).shape[0]))
    matrix = torch.nan_to_num(slopes, nan=0.0, posinf=0.0, neginf=0.0)
    if x.shape[0] > 1 and bool((matrix == matrix[:1]).all()):
        matrix = matrix[:1]
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    most = sizes.amax(1, keepdim=True) if sizes.shape[1] else sizes
    sizes = torch.where(sizes > DEPENDENT * most, sizes, 0.0)
    return Equations(left, sizes, right.mT * (sizes > 0)[:, None])


def _reduced(problem: Problem, equations: Equations, begin: Tensor) -> Problem:
    held = {**problem.held, BASIS: equations.basis, FEASIBLE: begin}
    return replace(
        problem,
        functions=_OnEquations(problem.functions, problem.space),
        held=held,
        row_values=problem.row_values | {BASIS, FEASIBLE},
        split=None,
        derivatives=None,
        form=None,
    )


def _outcome(
    constrained: Constrained,
    equations: Equations,
    at: Tensor,
    before: Tensor,
    found: Outcome,
    infeasible: Tensor,
) -> ConstrainedOutcome:
    problem = constrained.problem
    energy, gradient = problem.energy_and_gradient(at)
    y = equations.multipliers(torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0))
    _, pull = constrained.pulled_back(at, y)
    with torch.no_grad():
        violation = largest(excess(constrained.values(at), constrained.equal(at)))
    worst = constrained.worst(at)
    status = tuple(
        Status.INFEASIBLE if bad else kind
        for bad, kind in zip(infeasible.tolist(), found.status, strict=True)
    )
    sentences = tuple(
        sentence(kind, worst[row]) if kind is Status.INFEASIBLE else found.sentences[row]
        for row, kind in enumerate(status)
    )
    return ConstrainedOutcome(
        at,
        energy,
        problem.space.optimality(at, gradient + pull),
        y,
        violation,
        torch.zeros_like(energy),
        found.iterations,
        status,
        sentences,
        found.trace,
    )


def _violated(constrained: Constrained, x: Tensor, before: Tensor) -> Tensor:
    """The largest violation at x [R, N], relative to 1 + that of the start; [R]."""
    with torch.no_grad():
        values = constrained.values(x)
    return largest(values.abs() / (1 + torch.nan_to_num(before.abs(), nan=0.0, posinf=0.0)))


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return torch.matmul(matrix, vector[..., None]).squeeze(-1)
