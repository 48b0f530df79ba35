"""The minimum of a nested problem as a function of its inputs, differentiated where it is.

At a minimum x of E(x, t) the gradient along the directions P in which x is free to move is 0, which makes
x a function of t (the implicit function theorem): P H P dx = -P dg, with the Hessian H and the gradient g.
So the change of a loss with slope v along x is -u . dg, where P H P u = P v: one linear system, in the
pattern of the Hessian, whatever the number of inputs. Entries that lie at a bound, or at the kink of an
absolute value, stay there; on a simplex the sum stays, and on curved sets H is the Riemannian Hessian
(`directions`); constraints that hold with equality stay equations, and make the system that of Karush, Kuhn
and Tucker.

Krantz & Parks, The Implicit Function Theorem; Amos & Kolter 2017 (OptNet); Blondel et al. 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.constrained.problem import Constrained
from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.domains import PositiveSemidefinite
from ebmlang.runtime.nested.directions import Directions, Entries, Face, directions
from ebmlang.runtime.nested.question import Question
from ebmlang.runtime.nested.systems import Solver, pattern_solver, projected_solver, saddle_solver
from ebmlang.runtime.posing import Unshared, held_values
from ebmlang.runtime.problem import Problem

ACTIVE = 1e-7
"""A multiplier up to which an inequality does not press, and a slack up to which it touches."""

_ROUNDS = 3
"""Newton steps that follow a search with constraints."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A minimum: `ways` are the directions of each unknown; `free` tells entries that do not lie at a bound
    or a kink, `top` those at an upper bound, bool [R, N]; `active` the constraints that stay equations, bool
    [R, M], with `multipliers` [R, M], 0 for the others. None: there are none."""

    question: Question
    problem: Problem
    ways: tuple[Directions, ...]
    free: Tensor
    top: Tensor
    active: Tensor | None
    multipliers: Tensor | None


def minimum(question: Question, reals: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], Tensor, str]:
    """The unknowns by name [R, *shape], the rows that failed bool [R], and how the first of them did."""
    found = question.search(reals)
    x = found.x
    place = None
    if found.multipliers is not None:
        place, x = _polished(_place(question, found.problem, x, found.multipliers), x, reals)
    if torch.is_grad_enabled() and any(r.requires_grad for r in reals):
        place = place or _place(question, found.problem, x, None)
        x = _Minimum.apply(place, x, *reals)  # type: ignore[no-untyped-call]
    return found.problem.space.values(x), found.failed, found.says


# --- where the minimum lies ----------------------------------------------------------------------


@torch.no_grad()
def _place(question: Question, problem: Problem, x: Tensor, multipliers: Tensor | None) -> Place:
    space = problem.space
    sought = torch.ones_like(x, dtype=torch.bool) if space.mask is None else space.mask.expand_as(x)
    if problem.split is not None:
        sought = sought & ~((x == 0) & (problem.absolute() > 0))
    curved = any(isinstance(u.domain, PositiveSemidefinite) for u in space.unknowns)
    gradient = problem.energy_and_gradient(x)[1] if curved else x
    parts = [space.split(value) for value in (x, gradient, sought)]
    ways = tuple(map(directions, space.unknowns, *parts))
    flat = [w.free if isinstance(w, Entries | Face) else s for w, s in zip(ways, parts[2], strict=True)]
    free = space.join(flat)
    top = space.join(
        [u.domain.nearest(part + 1) <= part for u, part in zip(space.unknowns, parts[0], strict=True)]
    )
    if multipliers is None:
        return Place(question, problem, ways, free, top, None, None)
    limits = _limits(question, problem)
    c, equal = limits.values(x), limits.equal(x)
    active = equal | ((c > -ACTIVE) & (multipliers > ACTIVE))
    return Place(question, problem, ways, free, top, active, torch.where(active, multipliers, 0.0))


def _limits(question: Question, problem: Problem) -> Constrained:
    functions = problem.functions
    assert isinstance(functions, Unshared)
    specs = tuple(getattr(question.namespace, "CONSTRAINTS", ()))
    return Constrained(problem, functions, tuple(s for s in specs if not s.given))


def _along(place: Place, v: Tensor) -> Tensor:
    """The part of a vector along which x is free to move."""
    return _each(place, lambda way, part: way.along(part), v)


def _each(place: Place, function: Callable[..., Tensor], *vectors: Tensor) -> Tensor:
    """A function of the directions of each unknown and of its parts of vectors [R, N], as one vector."""
    space = place.problem.space
    parts = zip(place.ways, *(space.split(v) for v in vectors), strict=True)
    return space.join([function(way, *part) for way, *part in parts])


# --- its derivative ------------------------------------------------------------------------------


class _Minimum(torch.autograd.Function):
    """x as a function of the inputs; its backward pass is differentiable once more."""

    @staticmethod
    def forward(ctx: Any, place: Place, x: Tensor, *reals: Tensor) -> Tensor:
        ctx.place = place
        x = x.clone()
        ctx.save_for_backward(x, *reals)
        return x

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        x, *reals = ctx.saved_tensors
        needed = list(ctx.needs_input_grad[2:])
        return None, None, *_pulled(ctx.place, x, reals, needed, slopes[0])


def _twice(place: Place) -> bool:
    """Whether a second derivative is built."""
    return place.active is None and all(isinstance(way, Entries | Face) for way in place.ways)


@dataclass(frozen=True, slots=True, eq=False)
class _Slope:
    """The gradient of the Lagrangian at `at` [R, N], and the constraints [R, M], with their graphs."""

    at: Tensor
    gradient: Tensor
    limits: Tensor | None
    edges: Tensor | None


def _pulled(
    place: Place, x: Tensor, reals: list[Tensor], needed: list[bool], v: Tensor
) -> list[Tensor | None]:
    """The slope of a loss along every input that is `needed`, given that along x."""
    again = torch.is_grad_enabled()
    if again and not _twice(place):
        raise DataError(
            f"the answer of `{place.question.part}` is differentiated twice, and it has constraints "
            "or lies on a curved set",
            "one derivative is built: use lbfgs, or the gradient alone",
        )
    with torch.enable_grad():
        # Views keep the direct dependence on an input apart from the one through x.
        at = x.view_as(x) if again else x.detach().requires_grad_(True)
        inputs = [
            (r.view_as(r) if again and r.requires_grad else r.detach().requires_grad_(n)) if n else r
            for r, n in zip(reals, needed, strict=True)
        ]
        slope = _slope(place, at, inputs)
        u, multiplier = _adjoint(place, slope, v, again)
        total = -(slope.gradient * u).sum()
        if multiplier is not None and slope.limits is not None:
            total = total - (slope.limits * multiplier).sum()
        if slope.edges is not None:
            # What lies at a bound moves with it, and pulls what is free along.
            (pull,) = torch.autograd.grad(
                (slope.gradient * u).sum(), at, retain_graph=True, create_graph=again
            )
            total = total + (torch.where(place.free, 0.0, v - pull) * slope.edges).sum()
        wanted = [i for i, n in zip(inputs, needed, strict=True) if n]
        found: tuple[Tensor | None, ...] = (None,) * len(wanted)
        if total.requires_grad:
            found = torch.autograd.grad(total, wanted, allow_unused=True, create_graph=again)
    slopes = iter(found)
    return [next(slopes) if n else None for n in needed]


def _slope(place: Place, at: Tensor, inputs: list[Tensor]) -> _Slope:
    """First derivatives at a minimum, as functions of x and of the inputs."""
    question, problem = place.question, place.problem
    bound = question.bound(tuple(inputs))
    held = held_values(bound)
    functions = Unshared(bound.instance, frozenset(), question.namespace.WRITTEN)
    posed = replace(problem, functions=functions, held=held, derivatives=functions)
    energy = functions.energy(problem.space.values(at), held).sum()
    limits = None
    if place.active is not None and place.multipliers is not None:
        limits = _limits(question, posed).values(at)
        energy = energy + (place.multipliers * limits).sum()
    (gradient,) = torch.autograd.grad(energy, at, create_graph=True, materialize_grads=True)
    gradient = _each(place, lambda way, x, g: way.slope(x, g), at, gradient)
    return _Slope(at, gradient, limits, _edges(place, bound.instance, bound.values))


def _edges(place: Place, instance: Any, values: Any) -> Tensor | None:
    """The bounds [R, N] that entries lie at, where bounds are computed from inputs; None where none is."""
    space, specs = place.problem.space, place.question.specs
    moving = {n for n, s in specs.items() if s.domain == "interval" and s.domain_values}
    if not moving & {u.name for u in space.unknowns}:
        return None
    parts = []
    for unknown, free, top in zip(
        space.unknowns, space.split(place.free), space.split(place.top), strict=True
    ):
        part = torch.zeros(free.shape, dtype=space.dtype, device=space.device)
        if unknown.name in moving:
            low, high = instance.domain(unknown.name, values)
            part = torch.where(free, part, torch.where(top, high, low))
        parts.append(part)
    return space.join(parts)


def _curvature(place: Place, slope: _Slope, w: Tensor, graph: bool = False) -> Tensor:
    """P H P w + (1 - P) w for one direction per row."""
    inside = _along(place, w)
    if not slope.gradient.requires_grad:
        return w - inside
    (found,) = torch.autograd.grad(
        (slope.gradient * inside).sum(),
        slope.at,
        retain_graph=True,
        create_graph=graph,
        materialize_grads=True,
    )
    bend = _each(place, lambda way, part: way.bend(part), inside)
    return _along(place, found + bend) + w - inside


def _adjoint(place: Place, slope: _Slope, v: Tensor, again: bool) -> tuple[Tensor, Tensor | None]:
    """u with P H P u = P v, and with constraints what their equations add; differentiable when `again`."""
    if slope.limits is not None:
        return _saddle(place, slope)(v.detach(), torch.zeros_like(slope.limits))
    x, problem = slope.at.detach(), place.problem
    if problem.space.kinds <= {Kind.LINEAR, Kind.BOX}:
        solver = pattern_solver(problem, x, place.free)
    else:
        solver = projected_solver(lambda w: _curvature(place, slope, w), x)
    u = _along(place, solver(_along(place, v.detach())))
    if again:
        # A step of the same system towards its solution has the derivatives that the solution has.
        rest = _along(place, v) - _curvature(place, slope, u, graph=True)
        u = u + _along(place, _Linear.apply(solver, _along(place, rest)))  # type: ignore[no-untyped-call]
    return u, None


def _saddle(place: Place, slope: _Slope) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    assert slope.limits is not None
    assert place.active is not None
    return saddle_solver(
        lambda w: _curvature(place, slope, w),
        lambda w: _along(place, w),
        slope.limits,
        slope.at,
        place.active,
    )


def _polished(place: Place, x: Tensor, reals: tuple[Tensor, ...]) -> tuple[Place, Tensor]:
    """The minimum after Newton steps on the equations that hold there.

    Methods for constraints stop a little away from it; what is differentiated has to be the solution of the
    equations that are differentiated. A row takes a step only where that makes the equations truer.
    """
    for _ in range(_ROUNDS):
        with torch.enable_grad():
            slope = _slope(place, x.detach().requires_grad_(True), [r.detach() for r in reals])
            assert slope.limits is not None
            assert place.multipliers is not None
            wrong = _along(place, slope.gradient.detach()), slope.limits.detach()
            dx, dy = _saddle(place, slope)(*wrong)
        moved = replace(place, multipliers=place.multipliers - dy)
        there = x - dx
        with torch.enable_grad():
            after = _slope(moved, there.detach().requires_grad_(True), [r.detach() for r in reals])
        assert after.limits is not None
        truer = _error(place, after) < _error(place, slope)
        inside = (place.problem.space.project(there) == there).all(1)
        take = (truer & inside)[:, None]
        if not bool(take.any()):
            break
        assert moved.multipliers is not None
        x = torch.where(take, there, x)
        place = replace(place, multipliers=torch.where(take, moved.multipliers, place.multipliers))
    return place, x


def _error(place: Place, slope: _Slope) -> Tensor:
    """How far the equations of a minimum are from holding, [R]."""
    assert slope.limits is not None
    assert place.active is not None
    limits = torch.where(place.active, slope.limits.detach(), 0.0)
    return torch.cat([_along(place, slope.gradient.detach()), limits], 1).abs().amax(1)


class _Linear(torch.autograd.Function):
    """A fixed symmetric linear map, differentiable any number of times."""

    @staticmethod
    def forward(ctx: Any, solver: Solver, b: Tensor) -> Tensor:
        ctx.solver = solver
        return solver(b)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        return None, _Linear.apply(ctx.solver, slopes[0])  # type: ignore[no-untyped-call]
