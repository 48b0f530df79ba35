"""Steps of a gradient method that are differentiated themselves: `using unroll(steps = K, through = k)`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.bind import Bound, expanded
from ebmlang.runtime.domain_base import row_norm
from ebmlang.runtime.nested.question import Question
from ebmlang.runtime.posing import make_problem
from ebmlang.runtime.problem import Problem

STEPS = 10
"""Steps where the file does not say how many."""

_ROUNDS = 20
_LEAST = 1e-100
_ROUNDING = 1e-9
_SHARE = 0.9
"""Of the longest safe step: power iteration finds the largest curvature from below."""


def unrolled(question: Question, reals: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], Tensor, str]:
    """The unknowns after the steps, [R, *shape]; the rows in which they are not finite or the energy has
    risen, bool [R]; and a word for these.

    A step goes against the gradient, by a length that the largest curvature at the start allows (or `step`),
    draws back what an absolute value does, and is projected onto the domain. With `through` = k the steps
    before the last k are constants.
    """
    options: dict[str, Any] = question.namespace.UNROLL
    steps = int(options.get("steps", STEPS))
    through = int(options.get("through", steps))
    wants = torch.is_grad_enabled() and any(r.requires_grad for r in reals)
    bound = question.bound(reals)
    problem = make_problem(bound, {})
    plain = problem.detached()
    whole = wants and through >= steps
    with torch.set_grad_enabled(whole):
        x = _start(question, bound, problem)
    low = plain.energy(x.detach())
    length = float(options["step"]) if "step" in options else _length(problem if whole else plain, x, whole)
    for k in range(steps):
        graph = wants and k >= steps - through
        if k == steps - 1:
            low = torch.minimum(low, plain.energy(x.detach()))
        x = _step(bound, problem if graph else plain, x, length, graph)
    failed, says = _ended(x.detach(), plain.energy(x.detach()), low)
    return problem.space.values(x), failed, says


def _ended(x: Tensor, energy: Tensor, low: Tensor) -> tuple[Tensor, str]:
    """The rows that a good length of steps does not end like, given the energy at the end, and the lower of
    those at the start and before the last step; and what is wrong with them."""
    lost = ~(torch.isfinite(x).all(1) & torch.isfinite(energy))
    rose = energy > low + _ROUNDING * (1 + low.abs())
    if bool(lost.any()):
        return lost | rose, "the steps left the finite numbers; give a smaller `step`"
    return rose, "the steps raised the energy; give a smaller `step`"


def _step(bound: Bound, problem: Problem, x: Tensor, length: Tensor | float, graph: bool) -> Tensor:
    split = problem.split
    function = split.smooth if split is not None else problem.functions.energy
    with torch.enable_grad():
        at = x if graph and x.requires_grad else x.detach().requires_grad_(True)
        energy = function(problem.space.values(at), problem.held)
        (slope,) = torch.autograd.grad(energy.sum(), at, create_graph=graph, materialize_grads=True)
    with torch.set_grad_enabled(graph):
        moved = at - length * slope
        if split is not None:
            weights = split.absolute(problem.held)
            for unknown, part in zip(problem.space.unknowns, problem.space.split(moved), strict=True):
                if unknown.name in weights:
                    size = torch.relu(part.abs() - _beside(length, part) * weights[unknown.name])
                    part = part.sign() * size
                    moved = _replaced(problem, moved, unknown.name, part)
        moved = problem.space.project(moved)
    return moved if graph else moved.detach()


def _beside(length: Tensor | float, part: Tensor) -> Tensor | float:
    """Lengths [R, 1] beside values [R, *shape]."""
    return length.reshape(-1, *[1] * (part.ndim - 1)) if isinstance(length, Tensor) else length


def _replaced(problem: Problem, x: Tensor, name: str, part: Tensor) -> Tensor:
    parts = [
        part if unknown.name == name else old
        for unknown, old in zip(problem.space.unknowns, problem.space.split(x), strict=True)
    ]
    return problem.space.join(parts)


def _length(problem: Problem, x: Tensor, graph: bool) -> Tensor:
    """Steps [R, 1] for the largest curvature at x, found by power iteration; 1 where there is none.

    With `graph` it is differentiable: the steps are what they are because of the inputs.
    """
    with torch.enable_grad():
        point = x if graph and x.requires_grad else x.detach().requires_grad_(True)
        at, slope = _slope(problem, point)
        largest = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
        v = torch.ones_like(x) + 0.1 * torch.sin(torch.arange(x.shape[1], device=x.device, dtype=x.dtype) + 1)
        for _ in range(_ROUNDS if slope.requires_grad else 0):
            v = v / row_norm(v).clamp(min=_LEAST)[:, None]
            (v,) = torch.autograd.grad(
                (slope * v).sum(), at, retain_graph=True, create_graph=graph, materialize_grads=True
            )
            largest = row_norm(v)
            if graph:
                # The vector now moves with the point; the next product is along a view that it knows not.
                at, slope = _slope(problem, point)
    length = torch.where(largest > _LEAST, _SHARE / largest.clamp(min=_LEAST), 1.0)[:, None]
    return length if graph else length.detach()


def _slope(problem: Problem, point: Tensor) -> tuple[Tensor, Tensor]:
    """A view of a point, and the gradient of the smooth part there, differentiable in both."""
    split = problem.split
    function = split.smooth if split is not None else problem.functions.energy
    at = point.view_as(point)
    energy = function(problem.space.values(at), problem.held).sum()
    (slope,) = torch.autograd.grad(energy, at, create_graph=True, materialize_grads=True)
    return at, slope


def _start(question: Question, bound: Bound, problem: Problem) -> Tensor:
    """The declared start with its graph, or the rule of the domain."""
    space = problem.space
    plain = space.start(question.solves.seed, np.arange(question.rows, dtype=np.int64)).x
    parts = []
    for unknown, part in zip(space.unknowns, space.split(plain), strict=True):
        spec = question.specs[unknown.name]
        if spec.start:
            value = bound.instance.start(unknown.name, bound.values)
            part = expanded(spec, value, unknown.shape, bound.settings).expand(part.shape)
        parts.append(part)
    return space.project(space.join(parts))
