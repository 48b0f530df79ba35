"""Gibbs sampling of countable and real unknowns at once: each kind given the other.

Countable ones take a sweep in their tables. Real ones are drawn from their Gaussian where the energy is of
degree 2 in them, else moved by one trajectory of `nuts`, whose step size is learnt as if nothing else moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime import posing
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.question import Question
from ebmlang.runtime.mixed.states import Values, at_states, discrete_question, real_masks, repeated
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.samplers import gaussian
from ebmlang.runtime.samplers.countable import InTables, Whole
from ebmlang.runtime.samplers.gibbs import Gibbs
from ebmlang.runtime.samplers.hmc import Moving, moving_steps
from ebmlang.runtime.samplers.nuts import Nuts
from ebmlang.runtime.samplers.randomness import Randomness
from ebmlang.runtime.samplers.sampler import AbstractSampler, Course, Info, State, certain
from ebmlang.runtime.samplers.target import Target, target_of


@dataclass(frozen=True, slots=True, eq=False)
class Both:
    """Countable and real unknowns of R chains. A state is [R, N + M] in float64: the cases of N entries,
    then the M coordinates of the real unknowns."""

    question: Question
    bound: Bound
    masks: Values
    beta: float
    exact: bool
    first: Target

    @property
    def entries(self) -> int:
        return len(self.question.cases)

    def problem(self, cases: Tensor) -> Problem:
        """The question over the real unknowns at cases int64 [R, N]."""
        return posing.make_problem(at_states(self.bound, self.question, cases[:, None]), self.masks)

    def target(self, cases: Tensor) -> Target:
        problem = self.problem(cases)
        space = self.first.problem.space
        return replace(self.first, problem=replace(problem, space=space, form=None, closed=None))

    def tables(self, x: Tensor) -> InTables | Whole:
        """The countable unknowns given the real ones."""
        values = self.first.problem.space.values(self.first.point(x[:, self.entries :]))
        question = replace(self.question, other=values)
        if not self.bound.module.TABLES:
            return Whole(question, 1, self.beta)
        networks = question.networks()
        if len(networks) > 1:
            raise DataError(
                "the entries that a term joins differ by example, beside real unknowns",
                "pass one example at a time",
            )
        return InTables(networks[0], 1, self.beta)

    def point(self, x: Tensor, /) -> Tensor:
        """Cases and values of the real unknowns."""
        return torch.cat((x[:, : self.entries], self.first.point(x[:, self.entries :])), 1)

    def energy(self, x: Tensor, /) -> Tensor:
        return self.target(x[:, : self.entries].long()).energy(x[:, self.entries :])


@dataclass(frozen=True, slots=True)
class MixedGibbs(AbstractSampler[Both]):
    """A sweep over the countable unknowns, then a draw or a trajectory of the real ones."""

    def init(self, target: Both, x: Tensor) -> State:
        return State(x)

    def step(self, target: Both, state: State, randomness: Randomness) -> tuple[State, Info]:
        count = target.entries
        tables = target.tables(state.x)
        swept, _ = Gibbs().step(tables, State(state.x[:, :count].long()), randomness)
        cases = swept.x.to(state.x.dtype)
        if target.exact:
            found, faults = gaussian.draw(target.problem(swept.x), target.beta, 1, randomness)
            fault = next((f for f in faults if f), "")
            if fault:
                raise DataError(f"given the countable unknowns there is no law: {fault}", "add a term")
            return State(torch.cat((cases, found[:, 0]), 1)), certain(cases)
        real = target.target(swept.x)
        nuts, old = Nuts(), state.memory
        inner = nuts.init(real, state.x[:, count:])
        if isinstance(old, Moving):
            inner = replace(inner, memory=replace(inner.memory, tuning=old.tuning, scale=old.scale))
        inner, info = nuts.step(real, inner, randomness)
        return State(torch.cat((cases, inner.x), 1), inner.memory), info

    def warm(self, target: Both, state: State, info: Info, course: Course) -> State:
        if target.exact:
            return state
        inner = State(state.x[:, target.entries :], state.memory)
        learnt = Nuts().warm(target.first, inner, info, course)
        return State(state.x, learnt.memory)

    def step_sizes(self, state: State) -> Tensor | None:
        return moving_steps(state) if isinstance(state.memory, Moving) else None


def both_of(bound: Bound, observed: Values, chains: int, beta: float) -> Both:
    """The target of a mixed question with every row `chains` times; `bound` is in float64. Raises
    DataError."""
    if bound.module.JOINT:
        raise DataError(
            "countable and real unknowns that all examples share are not sampled together yet",
            "give one kind, or sum the countable ones out (marginalize)",
        )
    assert bound.part is not None
    wide = replace(repeated(bound, bound.module, chains), part=bound.part)
    many: Mapping[str, Tensor] = {
        n: m if m.shape[0] == 1 or chains == 1 else m.repeat_interleave(chains, 0)
        for n, m in observed.items()
    }
    question = discrete_question(wide, many, posing.held_values(wide))
    if question.arranged:
        raise DataError("orders and subsets beside real unknowns are not sampled yet", "give one kind")
    masks = real_masks(wide, many, 1)
    start = posing.make_problem(at_states(wide, question, question.some_assignment()[:, None]), masks)
    exact = bound.part.METHOD == "quadratic" and bound.part.FALLBACK == ""
    return Both(question, wide, masks, beta, exact, target_of(start, beta))
