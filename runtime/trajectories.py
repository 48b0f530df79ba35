"""Rollouts around given actions: their states, what they cost, their second-order model, and closed loops.

Derivatives of all times are found together. States follow each other one by one: in numpy where the step is
written for it, because a call of numpy takes a fraction of one of PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime.generated import Array, Arrays
from ebmlang.runtime.rollout import Rollout, Shapes, ends_of, shapes_of, split
from ebmlang.runtime.space import Space

Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Expansion:
    """The second-order model around a rollout, in terms of changes, and the gradient along the actions.

    step [R, T, d, d + m], curvature [R, T + 1, d + m, d + m] and slope [R, T + 1, d + m] as in `Stages`,
    gradient [R, N]; all but the gradient in float64.
    """

    step: Tensor
    curvature: Tensor
    slope: Tensor
    gradient: Tensor


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Rollouts of the rows of a space. `repeated` gives the held values of all rows, as often one after the
    other as it is told; rows of actions are x [R, N], of states [R, T + 1, d]."""

    rollout: Rollout
    space: Space
    held: Values
    repeated: Callable[[int], Values]

    @cached_property
    def shapes(self) -> Shapes:
        return shapes_of(self.rollout, self.space, self.held)

    @cached_property
    def _bounds(self) -> tuple[Array, Array]:
        shapes = self.shapes
        lo, hi = (b.numpy().reshape(-1, shapes.steps, shapes.actions) for b in self.space.bounds())
        return lo.transpose(1, 2, 0)[:, :, None], hi.transpose(1, 2, 0)[:, :, None]

    @cached_property
    def _arrays(self) -> Arrays:
        return {name: value.numpy() for name, value in self.held.items()}

    @property
    def _in_numpy(self) -> bool:
        if self.space.dtype not in (torch.float32, torch.float64):
            return False
        return self.space.device.type == "cpu" and self.rollout.stepped

    # --- states ---

    @torch.no_grad()
    def states(self, x: Tensor) -> Tensor:
        """The states that actions lead to; x may hold all rows several times, one after the other."""
        if self._in_numpy:
            copies = x.shape[0] // self.space.rows
            return self._marched(x.reshape(copies, self.space.rows, -1), None)[1]
        functions, shapes = self.rollout.functions, self.shapes
        held = self.repeated(x.shape[0] // self.space.rows)
        if self.rollout.lifted:
            return self._stepped(x, held)
        action = x.reshape(x.shape[0], shapes.steps, *shapes.action)
        found = functions.lets({self.rollout.action: action}, held)
        return _flat([found[n] for n in shapes.cells], x.shape[0], shapes.steps + 1)

    def _stepped(self, x: Tensor, held: Values) -> Tensor:
        """The same where no loop over the steps was written."""
        first = self.rollout.functions.first_states(held)
        states = _flat([first[n][:, None] for n in self.shapes.cells], x.shape[0], 1)
        z = self._joined(x, states.repeat(1, self.shapes.steps + 1, 1))
        for t in range(self.shapes.steps):
            z[:, t + 1, : self.shapes.states] = self._parts(z, held)[0][:, t]
        return z[..., : self.shapes.states].contiguous()

    @torch.no_grad()
    def cost(self, x: Tensor, states: Tensor) -> Tensor:
        """What depends on the actions, [R]; rows as often as in `states`."""
        known, unknown = split(self.rollout, self.shapes, self._joined(x, states))
        found = self.rollout.functions.cost_of_states(
            known, unknown, self.repeated(x.shape[0] // self.space.rows)
        )
        return found.expand(x.shape[0])

    @torch.no_grad()
    def follow(
        self, x: Tensor, states: Tensor, constant: Tensor, gain: Tensor, shares: tuple[float, ...]
    ) -> tuple[Tensor, Tensor]:
        """Actions x changed by a share of `constant` [R, T, m] plus `gain` [R, T, m, d] times how far the
        states have moved, time by time, and kept inside their bounds; and the states that they lead to. All
        rows for the first share, then for the next one."""
        law = _Law(states, constant, gain, shares)
        if self._in_numpy:
            return self._marched(x.expand(len(shares), *x.shape), law)
        return self._looped(x, law)

    def _marched(self, x: Tensor, law: _Law | None) -> tuple[Tensor, Tensor]:
        """Actions [copies * R, N] and their states, from actions x [copies, R, N]."""
        shapes, (copies, rows, _) = self.shapes, x.shape
        (lo, hi), held = self._bounds, self._arrays
        step = self.rollout.functions.next_entries
        base = x.numpy().reshape(copies, rows, shapes.steps, shapes.actions).transpose(2, 3, 0, 1)
        actions = np.ascontiguousarray(base) if law is None else np.empty(base.shape, base.dtype)
        states = np.empty((shapes.steps + 1, shapes.states, copies, rows), base.dtype)
        states[0] = self._first[:, None]
        arrays = None if law is None else law.arrays(base)
        with np.errstate(all="ignore"):
            for t in range(shapes.steps):
                now = states[t]
                if arrays is not None:
                    before, change, gain = arrays
                    np.add.reduce(gain[t] * (now - before[t]), 1, out=actions[t])
                    actions[t] += change[t]
                    np.maximum(actions[t], lo[t], out=actions[t])
                    np.minimum(actions[t], hi[t], out=actions[t])
                for entry, value in zip(states[t + 1], step(t, now, actions[t], held), strict=True):
                    entry[:] = value
        found = np.ascontiguousarray(actions.transpose(2, 3, 0, 1)).reshape(copies * rows, -1)
        path = np.ascontiguousarray(states.transpose(2, 3, 0, 1))
        path = path.reshape(copies * rows, shapes.steps + 1, shapes.states)
        return torch.from_numpy(found), torch.from_numpy(path)

    @cached_property
    def _first(self) -> Array:
        """The states at time 0, [d, R]."""
        found = self.rollout.functions.first_states(self.held)
        flat = [found[n].reshape(found[n].shape[0], -1) for n in self.shapes.cells]
        wide = [v.expand(self.space.rows, -1) for v in flat]
        return np.ascontiguousarray(torch.cat(wide, 1).numpy().T)

    def _looped(self, x: Tensor, law: _Law) -> tuple[Tensor, Tensor]:
        """The same in PyTorch. All steps are evaluated to take one: at the sizes of a control problem a call
        costs as much as a step."""
        shapes, copies = self.shapes, len(law.shares)
        held, functions = self.repeated(copies), self.rollout.functions
        before = x.repeat(copies, 1).reshape(-1, shapes.steps, shapes.actions)
        old, constant, gain = law.repeated(x.dtype)
        lo, hi = (
            b.expand(x.shape[0], -1).repeat(copies, 1).reshape(before.shape) for b in self.space.bounds()
        )
        action, flat = before.clone(), old.clone()
        for t in range(shapes.steps):
            moved = flat[:, t] - old[:, t]
            change = constant[:, t] + (gain[:, t] @ moved[..., None])[..., 0]
            action[:, t] = torch.minimum(torch.maximum(before[:, t] + change, lo[:, t]), hi[:, t])
            states, unknown = split(self.rollout, shapes, _beside(flat, action))
            after = functions.next_states(states, unknown, held)
            ends = _flat([after[n] for n in shapes.cells], before.shape[0], shapes.steps)
            flat[:, t + 1] = ends[:, t]
        return action.reshape(action.shape[0], -1), flat

    # --- derivatives ---

    @torch.no_grad()
    def energy_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What depends on the actions, and its gradient by the adjoint recursion, of a rollout that is
        `marched` (Bryson & Ho 1975, chapter 2)."""
        copies = x.shape[0] // self.space.rows
        around = self if copies == 1 else self._copied(copies)
        states = around.states(x)
        _, gradient = _costates(*around._written_slopes(around._joined(x, states)))
        return around.cost(x, states), gradient.to(x.dtype)

    def _copied(self, copies: int) -> Trajectories:
        """The rollouts of all rows several times, one after the other."""
        index = torch.arange(self.space.rows).repeat(copies)
        held, repeated = self.repeated(copies), self.repeated
        return Trajectories(self.rollout, self.space.select(index), held, lambda n: repeated(n * copies))

    def expansion(self, x: Tensor, states: Tensor) -> Expansion:
        """The second-order model around the actions x and the states that they lead to.

        The curvature is that of stage cost plus costate times step, so that the model has the gradient and
        the Hessian of the energy along the actions (Dunn & Bertsekas 1989).
        """
        z = self._joined(x, states)
        step, slope = self.slopes(z)
        costates, gradient = _costates(step, slope)
        bend = self.bends(z, costates.to(z.dtype))
        return Expansion(step, (bend + bend.mT) / 2, slope, gradient.to(z.dtype))

    def slopes(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The matrices of the steps [R, T, d, d + m] and the slopes of the cost [R, T + 1, d + m] at states
        and actions z [R, T + 1, d + m], which need not follow each other; in float64."""
        return self._written_slopes(z) if self.rollout.written else self._slopes(z)

    def bends(self, z: Tensor, costates: Tensor) -> Tensor:
        """The curvature of stage cost plus costate [R, T, d] times step, [R, T + 1, d + m, d + m]; in
        float64."""
        found = self._written_bends if self.rollout.written else self._bends
        return found(z, costates).double()

    def cost_and_ends(self, z: Tensor, held: Values) -> tuple[Tensor, Tensor]:
        """What depends on the unknowns, [P], and the next states [P, T, d] at states and actions z
        [P, T + 1, d + m]."""
        ends, cost = self._parts(z, held)
        return cost.expand(z.shape[0]), ends

    @torch.no_grad()
    def _written_slopes(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The matrices of the steps [R, T, d, d + m] and the slopes of the cost [R, T + 1, d + m]."""
        shapes, functions, rows = self.shapes, self.rollout.functions, z.shape[0]
        d, width, times = shapes.states, shapes.width, shapes.steps + 1
        found = functions.cost_slopes(*split(self.rollout, shapes, z), self.held)
        slope = self._gathered(found, rows)
        unit = torch.eye(d, dtype=z.dtype, device=z.device)[:, None, None]
        seeds = unit.expand(d, rows, shapes.steps, d).reshape(d * rows, shapes.steps, d)
        known, unknown = split(self.rollout, shapes, z.repeat(d, 1, 1))
        named = _named(seeds, shapes)
        rowwise = functions.step_slopes(known, unknown, self.repeated(d), named)
        step = self._gathered(rowwise, d * rows).reshape(d, rows, times, width)
        return step[:, :, :-1].permute(1, 2, 0, 3).double(), slope.double()

    @torch.no_grad()
    def _written_bends(self, z: Tensor, costates: Tensor) -> Tensor:
        """The curvature of the stages, [R, T + 1, d + m, d + m]."""
        shapes, rows, width = self.shapes, z.shape[0], self.shapes.width
        known, unknown = split(self.rollout, shapes, z.repeat(width, 1, 1))
        unit = torch.eye(width, dtype=z.dtype, device=z.device)[:, None, None]
        along = unit.expand(width, rows, shapes.steps + 1, width).reshape(width * rows, -1, width)
        directions, action = split(self.rollout, shapes, along)
        found = self.rollout.functions.stage_bends(
            known,
            unknown,
            self.repeated(width),
            _named(costates.repeat(width, 1, 1), shapes),
            {**directions, **action},
        )
        bends = self._gathered(found, width * rows).reshape(width, rows, shapes.steps + 1, width)
        return bends.permute(1, 2, 3, 0)

    def _slopes(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """`_written_slopes` by automatic differentiation: entry k of the next state in copy k."""
        shapes, rows, d = self.shapes, z.shape[0], self.shapes.states
        leaf = z.repeat(d, 1, 1).requires_grad_(True)
        with torch.enable_grad():
            ends, cost = self._parts(leaf, self.repeated(d))
            chosen = ends.reshape(d, rows, shapes.steps, d).diagonal(dim1=0, dim2=3).sum()
            jacobian = _slope(chosen, leaf, again=False)
            slope = _slope(cost.sum(), leaf, again=False)
        step = jacobian.reshape(d, rows, *z.shape[1:])[:, :, :-1].permute(1, 2, 0, 3)
        return step.double(), slope[:rows].double()

    def _bends(self, z: Tensor, costates: Tensor) -> Tensor:
        """`_written_bends` by automatic differentiation."""
        rows, width = z.shape[0], self.shapes.width
        leaf = z.repeat(width, 1, 1).requires_grad_(True)
        with torch.enable_grad():
            ends, cost = self._parts(leaf, self.repeated(width))
            first = _slope(cost.sum() + (costates.repeat(width, 1, 1) * ends).sum(), leaf, again=True)
            unit = torch.eye(width, dtype=z.dtype, device=z.device).repeat_interleave(rows, 0)[:, None]
            product = _slope((first * unit).sum(), leaf, again=False)
        return product.reshape(width, rows, *z.shape[1:]).permute(1, 2, 3, 0)

    def _parts(self, z: Tensor, held: Values) -> tuple[Tensor, Tensor]:
        """The next states [P, T, d] and the cost of each row at states and actions z, [P] or less."""
        states, action = split(self.rollout, self.shapes, z)
        cost = self.rollout.functions.cost_of_states(states, action, held)
        return ends_of(self.rollout, self.shapes, states, action, held), cost

    def _joined(self, x: Tensor, states: Tensor) -> Tensor:
        return _beside(states, x.reshape(x.shape[0], self.shapes.steps, -1))

    def _gathered(self, found: Values, rows: int) -> Tensor:
        """Arrays for states and actions side by side, [rows, T + 1, d + m]; those that are missing are 0."""
        shapes, dtype = self.shapes, self.space.dtype
        result = torch.zeros(rows, shapes.steps + 1, shapes.width, dtype=dtype, device=self.space.device)
        at = 0
        for name, cell in shapes.cells.items():
            if name in found:
                value = found[name]
                result[..., at : at + cell.numel()] = value.reshape(*value.shape[:2], -1)
            at += cell.numel()
        if self.rollout.action in found:
            value = found[self.rollout.action]
            result[:, :-1, at:] = value.reshape(*value.shape[:2], -1)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class _Law:
    """A change of actions that answers to the states, see `Trajectories.follow`."""

    states: Tensor
    constant: Tensor
    gain: Tensor
    shares: tuple[float, ...]

    def arrays(self, base: Array) -> tuple[Array, Array, Array]:
        """States [T + 1, d, 1, R], actions `base` with shares of the constant part [T, m, copies, R], gains
        [T, m, d, 1, R]."""
        states = self.states.numpy().transpose(1, 2, 0)[:, :, None]
        shares = np.array(self.shares)[:, None]
        constant = self.constant.numpy().transpose(1, 2, 0)[:, :, None] * shares
        gain = self.gain.numpy().transpose(1, 2, 3, 0)[:, :, :, None]
        return states, base + constant.astype(base.dtype), np.ascontiguousarray(gain, base.dtype)

    def repeated(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """States, constant part and gains for all shares, one after the other."""
        copies = len(self.shares)
        constant = torch.cat([share * self.constant for share in self.shares]).to(dtype)
        return self.states.repeat(copies, 1, 1), constant, self.gain.repeat(copies, 1, 1, 1).to(dtype)


def _beside(states: Tensor, actions: Tensor) -> Tensor:
    """States [P, T + 1, d] and actions [P, T, m] side by side; there is no action at time T."""
    return torch.cat((states, torch.nn.functional.pad(actions, (0, 0, 0, 1))), -1)


def _flat(arrays: list[Tensor], rows: int, times: int) -> Tensor:
    """Arrays [rows or 1, times, ...] side by side, [rows, times, d]."""
    return torch.cat([a.reshape(a.shape[0], times, -1).expand(rows, -1, -1) for a in arrays], -1)


def _named(flat: Tensor, shapes: Shapes) -> dict[str, Tensor]:
    """The arrays of states by name, from all of them side by side."""
    parts = flat.split([cell.numel() for cell in shapes.cells.values()], -1)
    pairs = zip(shapes.cells.items(), parts, strict=True)
    return {n: part.unflatten(-1, cell) if cell else part.squeeze(-1) for (n, cell), part in pairs}


def _costates(step: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """What the rest costs along the states at 1..T, [R, T, d], and the gradient along the actions [R, N]."""
    rows, steps, d, _ = step.shape
    along, push = (v.cpu().numpy() for v in (step, slope))
    costates = np.empty((rows, steps, d))
    costates[:, -1:] = push[:, -1:, :d]
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite, the status of the row says
        for t in range(steps - 1, 0, -1):
            now = np.matmul(costates[:, t, None], along[:, t, :, :d])
            np.add(now[:, 0], push[:, t, :d], costates[:, t - 1])
        gradient = push[:, :-1, d:] + np.matmul(costates[:, :, None], along[..., d:])[:, :, 0]
    found = (torch.from_numpy(a).to(step.device) for a in (costates, gradient.reshape(rows, -1)))
    costate, slopes = found
    return costate, slopes


def _slope(value: Tensor, leaf: Tensor, again: bool) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (found,) = torch.autograd.grad(value, leaf, create_graph=again, retain_graph=True, materialize_grads=True)
    return found
