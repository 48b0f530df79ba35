"""A rollout in numbers: the matrices of its steps and of its stage costs.

Both are measured with unit vectors. A step is affine in the state and the action before it, and a
stage cost quadratic in those of one time, so that one probe finds a column at all times at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ebmlang.runtime.space import Space

Values = Mapping[str, Tensor]


class RolloutFunctions(Protocol):
    """What generated code offers of a rollout; states are [B, T + 1, ...], actions [B, T, ...]."""

    def first_states(self, held: Values) -> dict[str, Tensor]:
        """The state at time 0, [B or 1, ...]."""

    def next_states(self, states: Values, unknown: Values, held: Values) -> dict[str, Tensor]:
        """The states at 1..T, each from the given state and action before it, [B, T, ...]."""

    def cost_of_states(self, states: Values, unknown: Values, held: Values) -> Tensor:
        """What of the energy depends on the action, [B]."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """`shared` says that the matrices are the same for all rows."""

    functions: RolloutFunctions
    states: tuple[str, ...]
    action: str
    shared: bool


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """s[t+1] = A s + B a + c and stage costs 1/2 [s a] H [s a] + g [s a], with d states and m actions.

    first [R, d]; step [M, T, d, d + m], curvature [M, T + 1, d + m, d + m] with M = 1 when shared, else
    R; offset [R, T, d], slope [R, T + 1, d + m]. At time T there is no action: its entries are 0.
    """

    first: Tensor
    step: Tensor
    offset: Tensor
    curvature: Tensor
    slope: Tensor


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Shapes of one state of each name, of one action, and the number of steps."""

    cells: dict[str, torch.Size]
    action: torch.Size
    steps: int

    @property
    def states(self) -> int:
        return sum(cell.numel() for cell in self.cells.values())

    @property
    def width(self) -> int:
        return self.states + self.action.numel()


def measure(rollout: Rollout, space: Space, held: Values, probed: Callable[[int], Values]) -> Stages:
    """The stages of every row. `probed` gives the held values of the rows that are probed: of one row where
    the matrices are shared, else of every row as many times in a row as it is told."""
    functions = rollout.functions
    found = functions.first_states(held)
    first = {name: found[name].detach() for name in rollout.states}
    (unknown,) = space.unknowns
    steps, *action = space.row_shape(unknown)
    shapes = _Shapes({n: v.shape[1:] for n, v in first.items()}, torch.Size(action), steps)
    rows, width = space.rows, shapes.width
    zero = torch.zeros(rows, steps + 1, width, dtype=space.dtype, device=space.device)
    offset, slope = _evaluate(rollout, shapes, zero, held)
    count = 1 if rollout.shared else rows
    unit = torch.eye(width, dtype=space.dtype, device=space.device)
    unit = unit[None, :, None, :].expand(count, width, steps + 1, width)
    ends, slopes = _evaluate(rollout, shapes, unit.reshape(-1, steps + 1, width), probed(width))
    matrices = ends.reshape(count, width, steps, -1) - offset[:count, None]
    bends = slopes.reshape(count, width, steps + 1, -1) - slope[:count, None]
    flat = [v.reshape(v.shape[0], -1).expand(rows, -1) for v in first.values()]
    curvature = bends.permute(0, 2, 3, 1)
    return Stages(
        torch.cat(flat, 1), matrices.permute(0, 2, 3, 1), offset, (curvature + curvature.mT) / 2, slope
    )


def _evaluate(rollout: Rollout, shapes: _Shapes, z: Tensor, held: Values) -> tuple[Tensor, Tensor]:
    """The next states [P, T, d] and the slopes of the cost [P, T + 1, d + m] at states and actions z."""
    leaf = z.detach().requires_grad_(True)
    with torch.enable_grad():
        states = {}
        at = 0
        for name, cell in shapes.cells.items():
            states[name] = leaf[..., at : at + cell.numel()].unflatten(-1, cell or (1,))
            states[name] = states[name] if cell else states[name].squeeze(-1)
            at += cell.numel()
        action = leaf[:, : shapes.steps, at:]
        action = action.unflatten(-1, shapes.action) if shapes.action else action.squeeze(-1)
        unknown = {rollout.action: action}
        cost = rollout.functions.cost_of_states(states, unknown, held)
        (slope,) = torch.autograd.grad(cost.sum(), leaf)
    with torch.no_grad():
        after = rollout.functions.next_states(states, unknown, held)
    rows = z.shape[0]
    ends = [
        after[n].expand(rows, *after[n].shape[1:]).reshape(rows, shapes.steps, cell.numel())
        for n, cell in shapes.cells.items()
    ]
    return torch.cat(ends, -1), slope
