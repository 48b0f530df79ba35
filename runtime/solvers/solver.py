"""What every solver is: a start, a step, and a verdict per row.

The loop around them lives in the driver, once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import IntEnum
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.seeded import Rows

T = TypeVar("T")
Evaluation = Callable[[Problem, Tensor], tuple[Tensor, Tensor]]


class Halt(IntEnum):
    """A solver's own verdict on a row. Tolerances and step limits are the driver's business.

    MANY says of a row that meets the tolerance that its minimum is one of many.
    """

    RUNNING = 0
    PRECISION = 1
    SETTLED = 2
    MANY = 3
    UNBOUNDED = 4


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What a solver carries between steps; every tensor has the leading dimension R.

    energy [R] and optimality [R] belong to the current iterate. optimality is 0 exactly at stationary points,
    in the units of a gradient. Rows that are not active [R] must not move. `memory` is the solver's own
    frozen dataclass of tensors, tuples of tensors and plain numbers. `bound` [R], which the driver enters, is
    the optimality at which a row has converged, for steps that are many in one; None before the first step.
    """

    energy: Tensor
    optimality: Tensor
    active: Tensor
    memory: Any
    bound: Tensor | None = None


class AbstractSolver(ABC):
    """A method that moves all rows of a problem by one step; no row's step depends on another row.

    A solver that cannot avoid a point of non-finite energy returns it; the driver stops the row at its last
    finite one.
    """

    __slots__ = ()

    needs: ClassVar[frozenset[View]]
    handles: ClassVar[frozenset[Kind]]
    races: ClassVar[bool] = False
    """Whether a start that falls behind the others of its row may be given up early."""

    @abstractmethod
    def init(self, problem: Problem, x: Tensor) -> State:
        """State at the feasible start x [R, N], all rows active."""

    @abstractmethod
    def step(self, problem: Problem, x: Tensor, state: State) -> tuple[Tensor, State]:
        """The next iterate [R, N] and its state."""

    @abstractmethod
    def done(self, problem: Problem, x: Tensor, state: State) -> Tensor:
        """Halt codes, int8 [R]."""

    def starts(self, problem: Problem, x: Tensor, seed: int, rows: Rows, count: int) -> Tensor:
        """The start x [R, N] and `count` - 1 others for every row, [count * R, N]; `rows` are global row
        numbers."""
        space = problem.space
        return torch.cat([x, *(space.draw(x, seed, rows, k) for k in range(1, count))])

    def curves_up(self, problem: Problem, x: Tensor) -> Tensor:
        """Rows [R] where the method knows that the energy curves upwards along every entry that may move from
        the stationary point x [R, N]: nobody need look for a way down."""
        return torch.zeros(x.shape[0], dtype=torch.bool, device=x.device)


class Shared:
    """A tensor in a solver's memory that has no rows: all rows use the same one."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def select_rows(value: T, rows: Tensor) -> T:
    """The given rows of every tensor in nested dataclasses and tuples; everything else as it is."""
    picked: Any = value
    if isinstance(value, Tensor):
        picked = value.index_select(0, rows)
    elif isinstance(value, tuple):
        picked = tuple(select_rows(item, rows) for item in value)
    elif is_dataclass(value) and not isinstance(value, type):
        changed = {item.name: select_rows(getattr(value, item.name), rows) for item in fields(value)}
        picked = replace(value, **changed)
    result: T = picked
    return result


def where_every(rows: Tensor, new: T, old: T) -> T:
    """Every tensor in nested dataclasses and tuples from `new` where [R] is True, from `old` elsewhere; what
    is no tensor is that of `new`."""
    picked: Any = new
    if isinstance(new, Tensor) and isinstance(old, Tensor):
        picked = torch.where(rows.reshape(-1, *[1] * (new.ndim - 1)), new, old)
    elif isinstance(new, tuple) and isinstance(old, tuple):
        picked = tuple(where_every(rows, a, b) for a, b in zip(new, old, strict=True))
    elif is_dataclass(new) and not isinstance(new, type):
        changed = {f.name: where_every(rows, getattr(new, f.name), getattr(old, f.name)) for f in fields(new)}
        picked = replace(new, **changed)
    result: T = picked
    return result


def all_active(energy: Tensor) -> Tensor:
    """[R] True."""
    return torch.ones_like(energy, dtype=torch.bool)


def running(energy: Tensor) -> Tensor:
    """[R] Halt.RUNNING."""
    return torch.full_like(energy, int(Halt.RUNNING), dtype=torch.int8)


def where_rows(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows of `new` where [R] is True, of `old` elsewhere; [R, N]."""
    return torch.where(rows[:, None], new, old)


def rounding(energy: Tensor) -> Tensor:
    """How far two evaluations of nearly the same energy usually differ by rounding, [R]."""
    # Sums of many parts round by more than one unit of their last digit; 16 covers what pairwise sums lose.
    return 16 * torch.finfo(energy.dtype).eps * energy.abs()


def noise(energy: Tensor) -> Tensor:
    """Differences of energies below which slopes decide whether a step is good, [R].

    Far more than the rounding of a plain sum, because energies may be small differences of large parts (a
    quadratic form with condition number 1e6 loses six digits). Hager and Zhang 2005 use 1e-6 in float64.
    Slopes alone are enough where the energy is convex along the step, so a generous value costs little.
    """
    return math.sqrt(torch.finfo(energy.dtype).eps) * energy.abs()


@dataclass(frozen=True, slots=True, eq=False)
class Stall:
    """Watches, window after window of steps, whether a search still gets anywhere; tensors are [R].

    A window is without progress when neither the lowest energy nor the geometric mean of the optimality has
    fallen since the window before. (The lowest optimality would be a poor witness: on ill-conditioned
    energies it jumps by orders of magnitude around a mean that falls steadily.)
    """

    energy: Tensor
    lowest: Tensor
    mean: Tensor
    total: Tensor
    stalled: Tensor
    steps: int = 0

    def after(self, energy: Tensor, optimality: Tensor, window: int) -> Stall:
        """Count one more step."""
        steps = self.steps + 1
        lowest = torch.minimum(self.lowest, energy)
        total = self.total + torch.log(optimality)
        if steps < window:
            return Stall(self.energy, lowest, self.mean, total, self.stalled, steps)
        mean = total / window
        fallen = (lowest < self.energy - rounding(self.energy)) | (mean < self.mean - 0.05)
        return Stall(lowest, lowest, mean, torch.zeros_like(total), self.stalled | ~fallen)


def no_stall(energy: Tensor) -> Stall:
    """At the start."""
    never = torch.zeros_like(energy, dtype=torch.bool)
    return Stall(energy, energy, torch.full_like(energy, torch.inf), torch.zeros_like(energy), never)


def evaluate_rows(problem: Problem, x: Tensor, rows: Tensor, evaluation: Evaluation) -> tuple[Tensor, Tensor]:
    """Energy [R] and gradient [R, N] at x, of which only the marked rows [R] are meant to be used.

    When at most a quarter of the rows is marked, only those are computed (the others are +inf and 0): cutting
    a problem costs about as much as an evaluation of what is cut out. On an accelerator all rows are
    computed, because there the launches cost more than the arithmetic.
    """
    if x.is_cuda or bool(rows.all()):
        return evaluation(problem, x)
    index = rows.nonzero()[:, 0]
    if 4 * index.shape[0] > x.shape[0]:
        return evaluation(problem, x)
    energy, gradient = evaluation(problem.select(index), x.index_select(0, index))
    everywhere = energy.new_full((x.shape[0],), torch.inf).index_copy(0, index, energy)
    return everywhere, torch.zeros_like(x).index_copy(0, index, gradient)


def full_energy_and_gradient(problem: Problem, x: Tensor) -> tuple[Tensor, Tensor]:
    """The energy as it is."""
    return problem.energy_and_gradient(x)


def smooth_energy_and_gradient(problem: Problem, x: Tensor) -> tuple[Tensor, Tensor]:
    """The energy without its absolute values."""
    return problem.smooth_and_gradient(x)
