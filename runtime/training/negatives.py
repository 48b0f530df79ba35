"""Values that the model itself makes while it is trained: the negatives of contrastive divergence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.runtime import posing, seeded
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.question import Question, question_of
from ebmlang.runtime.gathering import gathered
from ebmlang.runtime.samplers.countable import parts_of
from ebmlang.runtime.samplers.gibbs import Gibbs, sweep
from ebmlang.runtime.samplers.sampler import AbstractSampler, walked
from ebmlang.runtime.samplers.target import target_of
from ebmlang.runtime.seeded import Floats, Rows
from ebmlang.runtime.training.batches import Examples
from ebmlang.runtime.training.look import Look
from ebmlang.runtime.training.visits import Visits

Values = Mapping[str, Tensor]


_AT_ONCE = 64
"""Numbers of a row that are made at a time, at most: of few rows a call costs as much as of thousands."""


class KeyedRandomness:
    """Random numbers of each row that follow from a seed, what they are `of`, the number of the call and the
    global row.

    They are made for several calls at once, `calls` if these are not many numbers: as many as a sampler takes
    steps. How many depends on no other row.
    """

    def __init__(
        self,
        seed: int,
        rows: Rows,
        dtype: torch.dtype,
        device: torch.device,
        calls: int,
        of: str = "negatives",
    ) -> None:
        self._seed, self._rows, self._dtype, self._device, self._calls = seed, rows, dtype, device, calls
        self._of = of
        self._made = {"normal": 0, "uniform": 0}
        self._left: dict[tuple[str, int], list[Tensor]] = {}

    def normal(self, size: int) -> Tensor:
        return self._next("normal", seeded.normal, size)

    def uniform(self, size: int) -> Tensor:
        return self._next("uniform", seeded.uniform, size)

    def _next(self, kind: str, draw: Callable[..., Floats], size: int) -> Tensor:
        left = self._left.setdefault((kind, size), [])
        if not left:
            number = self._made[kind]
            self._made[kind] += 1
            calls = min(self._calls, max(1, _AT_ONCE // max(1, size)))
            found = draw(self._seed, f"{self._of}/{kind}/{number}", self._rows, (calls, size))
            whole = torch.from_numpy(found).to(self._device, self._dtype)
            left += whole.transpose(0, 1).contiguous().unbind()
            left.reverse()
        return left.pop()


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """Where chains were left, [rows, *shape] by name, and which of them go on there, bool [rows]."""

    goes_on: Tensor
    values: Values


@dataclass(slots=True, eq=False)
class Chains:
    """How negatives are drawn, and, if chains persist, where that of every row of the data stands: `visits`.

    `name` is the variable; `bound` poses the question of what is drawn, about all rows, which are `examples`.
    Rows change their process between epochs: each process keeps the chains of all rows, and is told where
    those of the others have moved. `proposes`: the sampler takes its steps or not.
    """

    name: str
    bound: Bound
    examples: Examples
    sampler: AbstractSampler[Any]
    steps: int
    refresh: float
    proposes: bool = False
    visits: Visits | None = None

    @torch.no_grad()
    def draw(
        self, some: Bound, masks: Mapping[str, Tensor], rows: Rows, seed: int, look: Look | None = None
    ) -> Tensor:
        """Negatives for the rows that `some` is bound to, [rows, *shape]; the chains move on."""
        begun = {n: v for n, v in some.values.items() if n in some.module.SOUGHT}
        left = self._left(rows, seed)
        real = all(some.specs[n].kind == "real" for n in some.module.SOUGHT)
        draws = self._real if real else self._countable
        values, acceptance = draws(some, masks, begun, left, rows, seed)
        if look is not None and self.proposes:
            look.accepted(acceptance)
        if self.visits is not None:
            index = gathered(torch.from_numpy(rows).to(self.bound.settings.device)).cpu().numpy()
            self.visits.put(index, {name: gathered(value).cpu() for name, value in values.items()})
        return values[self.name]

    def _left(self, rows: Rows, seed: int) -> Left:
        """Where the chains of the rows were left. Some begin at the data all the same."""
        device = self.bound.settings.device
        if self.visits is None:
            return Left(torch.zeros(len(rows), dtype=torch.bool, device=device), {})
        lots = seeded.uniform(seed, "negatives/refresh", rows, ())
        goes_on = self.visits.seen(rows) & torch.from_numpy(np.asarray(lots >= self.refresh))
        return Left(goes_on.to(device), {n: v.to(device) for n, v in self.visits.pick(rows).items()})

    # --- chains ---

    def _real(
        self, some: Bound, masks: Mapping[str, Tensor], begun: Values, left: Left, rows: Rows, seed: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        problem = posing.make_problem(some, masks)
        space, target = problem.space, target_of(problem)
        x = space.start(seed, rows).x
        parts = dict(zip((u.name for u in space.unknowns), space.split(x), strict=True))
        for name, value in begun.items():
            parts[name] = value.reshape(parts[name].shape).to(space.dtype)
        for name, value in left.values.items():
            own = value.reshape(parts[name].shape).to(space.dtype)
            parts[name] = torch.where(left.goes_on[:, None], own, parts[name])
        u = target.coordinates(space.join([parts[one.name] for one in space.unknowns]))
        randomness = KeyedRandomness(seed, rows, space.dtype, space.device, self.steps)
        u, acceptance = walked(self.sampler, target, u, self.steps, randomness)
        end = target.point(u)
        found = zip(space.unknowns, space.split(end), space.row_shapes, strict=True)
        return {one.name: part.reshape(-1, *shape).clone() for one, part, shape in found}, acceptance

    def _countable(
        self, some: Bound, masks: Mapping[str, Tensor], begun: Values, left: Left, rows: Rows, seed: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        question = question_of(some, masks, posing.held_values(some), {})
        hidden = torch.cat([torch.full((f.count,), f.name not in begun) for f in question.fields])
        hidden = hidden.to(some.settings.device)
        parts, acceptances, row = [], [], 0
        for part in parts_of(question, 1, 1.0, tables=not isinstance(self.sampler, Gibbs)):
            count, target = part.rows, part.target
            own = rows[row : row + count]
            randomness = KeyedRandomness(seed, own, torch.float64, some.settings.device, self.steps)
            x = _cases(question, begun)[row : row + count]
            goes_on = left.goes_on[row : row + count, None]
            if bool(hidden.any()) and not bool(goes_on.all()):
                # What has no start is drawn first, given the rest, as in a Boltzmann machine (Hinton 2002).
                # By numbers of its own: whether other rows need them must not change those of the steps.
                lots = KeyedRandomness(seed, own, torch.float64, some.settings.device, 1, "negatives/start")
                x = sweep(target, x, lots, hidden)
            x = torch.where(goes_on, _cases(question, left.values)[row : row + count], x)
            x, acceptance = walked(self.sampler, target, x, self.steps, randomness)
            parts.append(x)
            acceptances.append(acceptance)
            row += count
        return question.values(torch.cat(parts)), torch.cat(acceptances)


def _cases(question: Question, begun: Values) -> Tensor:
    """Starts by name as assignments, int64 [rows, N]; 0 where there is none."""
    rows, device = question.rows, question.bound.settings.device
    parts = []
    for own in question.fields:
        value = begun.get(own.name)
        found = torch.zeros(rows, own.count) if value is None else value.expand(rows, *own.shape)
        parts.append(found.long().reshape(rows, own.count).to(device))
    return torch.cat(parts, 1)
