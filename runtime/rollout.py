"""A rollout in numbers: the matrices of its steps and of its stage costs.

Both are measured with unit vectors. A step is affine in the state and the action before it, and a
stage cost quadratic in those of one time, so that one probe finds a column at all times at once. What the
functions read while they are probed tells what the matrices depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ebmlang.runtime.generated import Array, Arrays, Entries
from ebmlang.runtime.kept import Remembered
from ebmlang.runtime.space import Space
from ebmlang.runtime.watched import Watched

Values = Mapping[str, Tensor]


class RolloutFunctions(Protocol):
    """What generated code offers of a rollout; states are [B, T + 1, ...], actions [B, T, ...]."""

    def lets(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        """Named values, the states among them."""

    def first_states(self, held: Values) -> dict[str, Tensor]:
        """The state at time 0, [B or 1, ...]."""

    def next_states(self, states: Values, unknown: Values, held: Values) -> dict[str, Tensor]:
        """The states at 1..T, each from the given state and action before it, [B, T, ...]."""

    def cost_of_states(self, states: Values, unknown: Values, held: Values) -> Tensor:
        """What of the energy depends on the action, [B]."""

    def limits_of_states(self, states: Values, unknown: Values, held: Values) -> dict[str, Tensor]:
        """What every constraint bounds, by name; only of rollouts under hard constraints."""

    def cost_slopes(self, states: Values, unknown: Values, held: Values) -> dict[str, Tensor]:
        """The slopes of the cost along states and actions. This and what follows is there where it could be
        written."""

    def step_slopes(self, states: Values, unknown: Values, held: Values, seeds: Values) -> dict[str, Tensor]:
        """The slopes of the next states times `seeds` along states and actions."""

    def stage_bends(
        self, states: Values, unknown: Values, held: Values, seeds: Values, direction: Values
    ) -> dict[str, Tensor]:
        """How the sum of both changes along a direction of states and actions."""

    def next_entries(self, t: int, states: Entries, action: Entries, held: Arrays) -> tuple[Array, ...]:
        """The entries of the state after time t, in numpy."""


Tie = tuple[str, str, int | None, bool, int]
"""An equation that gives states: its name, the state, which entry of its cells (None: all of them), whether
it gives the cells after the first one, and the sign in front of the state."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """`shared` says that the matrices are the same for all rows, `whole` that every term depends on the
    action; `kept` is where the recursion over them stays for the next question, if anywhere. `stepped` says
    that there is a step in numpy, `written` that derivatives of stages are written. `ties` are the equations
    that the steps stand for where the states are unknowns too."""

    functions: RolloutFunctions
    states: tuple[str, ...]
    action: str
    shared: bool
    whole: bool = False
    ties: tuple[Tie, ...] = ()
    kept: Remembered | None = None
    stepped: bool = False
    written: bool = False

    @property
    def marched(self) -> bool:
        """Whether the energy and its gradient can be had by going along the states in numpy."""
        return self.stepped and self.written and self.whole and not self.lifted

    @property
    def lifted(self) -> bool:
        """Whether the states are unknowns."""
        return bool(self.ties)

    def given(self, states: Values, action: Tensor) -> dict[str, Tensor]:
        """The unknowns, as the functions take them."""
        return {**(states if self.lifted else {}), self.action: action}


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """s[t+1] = A s + B a + c and stage costs 1/2 [s a] H [s a] + g [s a], with d states and m actions.

    first [R, d]; step [M, T, d, d + m], curvature [M, T + 1, d + m, d + m] with M = 1 when shared, else
    R; offset [O, T, d], slope [O, T + 1, d + m] with O = 1 when those are the same for all rows, else R. At
    time T there is no action: its entries are 0. `reads` names the values that all but `first` is from.
    """

    first: Tensor
    step: Tensor
    offset: Tensor
    curvature: Tensor
    slope: Tensor
    reads: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Shapes:
    """Shapes of one state of each name, of one action, and the number of steps."""

    cells: dict[str, torch.Size]
    action: torch.Size
    steps: int

    @property
    def states(self) -> int:
        return sum(cell.numel() for cell in self.cells.values())

    @property
    def actions(self) -> int:
        return self.action.numel()

    @property
    def width(self) -> int:
        return self.states + self.actions


def width(rollout: Rollout, space: Space, held: Values) -> int:
    """How many numbers the states and the action of one time are."""
    found = rollout.functions.first_states(held)
    action = torch.Size(_action_shape(rollout, space)[1:])
    return sum(found[n].shape[1:].numel() for n in rollout.states) + action.numel()


def first_states(rollout: Rollout, space: Space, held: Values) -> Tensor:
    """The states of every row at time 0, [R, d]."""
    found = rollout.functions.first_states(held)
    flat = [found[n].detach() for n in rollout.states]
    return torch.cat([v.reshape(v.shape[0], -1).expand(space.rows, -1) for v in flat], 1)


def measure(
    rollout: Rollout, space: Space, held: Values, rowwise: frozenset[str], probed: Callable[[int], Values]
) -> Stages:
    """The stages of every row. `rowwise` names the held values that differ by row; `probed` gives the held
    values of the rows that are probed: of one row where the matrices are shared, else of every row as many
    times in a row as it is told."""
    shapes = shapes_of(rollout, space, held)
    width, times = shapes.width, shapes.steps + 1
    count = 1 if rollout.shared else space.rows
    # The first probe is at 0, and finds what does not depend on states and actions.
    probes = torch.eye(width + 1, width, dtype=space.dtype, device=space.device).roll(1, 0)
    # Contiguous: products of matrices are several times slower where a dimension has no stride.
    points = probes[None, :, None, :].expand(count, width + 1, times, width).contiguous()
    points = points.reshape(-1, times, width)
    watched = Watched(probed(width + 1))
    ends, slopes = _evaluate(rollout, shapes, points, watched)
    ends = ends.reshape(count, width + 1, times - 1, -1)
    slopes = slopes.reshape(count, width + 1, times, -1)
    offset, slope = ends[:, 0], slopes[:, 0]
    matrices, bends = ends[:, 1:] - offset[:, None], slopes[:, 1:] - slope[:, None]
    if count < space.rows and watched.reads & rowwise:
        zero = torch.zeros(space.rows, times, width, dtype=space.dtype, device=space.device)
        offset, slope = _evaluate(rollout, shapes, zero, held)
    curvature = bends.permute(0, 2, 3, 1)
    return Stages(
        first_states(rollout, space, held),
        matrices.permute(0, 2, 3, 1),
        offset,
        (curvature + curvature.mT) / 2,
        slope,
        frozenset(watched.reads),
    )


def shapes_of(rollout: Rollout, space: Space, held: Values) -> Shapes:
    found = rollout.functions.first_states(held)
    steps, *action = _action_shape(rollout, space)
    return Shapes({n: found[n].shape[1:] for n in rollout.states}, torch.Size(action), steps)


def _action_shape(rollout: Rollout, space: Space) -> tuple[int, ...]:
    return next(space.row_shape(u) for u in space.unknowns if u.name == rollout.action)


def split(rollout: Rollout, shapes: Shapes, z: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The states by name and the unknowns, from states and actions side by side, z [P, T + 1, d + m]."""
    states, at = {}, 0
    for name, cell in shapes.cells.items():
        part = z[..., at : at + cell.numel()]
        states[name] = part.unflatten(-1, cell) if cell else part.squeeze(-1)
        at += cell.numel()
    action = z[:, : shapes.steps, at:]
    action = action.unflatten(-1, shapes.action) if shapes.action else action.squeeze(-1)
    return states, rollout.given(states, action)


def ends_of(rollout: Rollout, shapes: Shapes, states: Values, action: Values, held: Values) -> Tensor:
    after = rollout.functions.next_states(states, action, held)
    rows = action[rollout.action].shape[0]
    ends = [
        after[n].expand(rows, *after[n].shape[1:]).reshape(rows, shapes.steps, cell.numel())
        for n, cell in shapes.cells.items()
    ]
    return torch.cat(ends, -1)


def _evaluate(rollout: Rollout, shapes: Shapes, z: Tensor, held: Values) -> tuple[Tensor, Tensor]:
    """The next states [P, T, d] and the slopes of the cost [P, T + 1, d + m] at states and actions z."""
    states, unknown = split(rollout, shapes, z)
    # Each part a leaf of its own: a slice inside the graph would cost copies on the way back.
    states = {n: v.detach().contiguous() for n, v in states.items()}
    action = unknown[rollout.action].detach().contiguous()
    with torch.no_grad():
        ends = ends_of(rollout, shapes, states, rollout.given(states, action), held)
    leaves = [v.requires_grad_(True) for v in (*states.values(), action)]
    with torch.enable_grad():
        cost = rollout.functions.cost_of_states(states, rollout.given(states, action), held).sum()
    found = torch.zeros_like(z)
    if cost.requires_grad:
        slopes = torch.autograd.grad(cost, leaves, materialize_grads=True)
        at = 0
        for slope in slopes[:-1]:
            flat = slope.flatten(2) if slope.ndim > 2 else slope[..., None]
            found[..., at : at + flat.shape[2]] = flat
            at += flat.shape[2]
        found[:, : shapes.steps, at:] = slopes[-1].reshape(len(z), shapes.steps, -1)
    return ends, found
