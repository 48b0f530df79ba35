"""The no-U-turn sampler, for all chains of all rows side by side.

Multinomial sampling along the trajectory and the generalised criterion: Betancourt 2017, "A conceptual
introduction to Hamiltonian Monte Carlo", appendix A. Trees without recursion: a subtree of 2^d leaves is
walked leaf by leaf, and every leaf that closes a smaller subtree is compared with where that one began, of
which at most d places are kept (Lao & Dillon 2019; Phan, Pradhan & Jankowiak 2019, appendix A).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import row_dot
from ebmlang.runtime.samplers.hmc import (
    ASTRAY,
    Moving,
    Phase,
    at_rest,
    kicked,
    leapfrog,
    moving_steps,
    tuned_state,
)
from ebmlang.runtime.samplers.randomness import Randomness, scattered
from ebmlang.runtime.samplers.sampler import AbstractSampler, Course, Info, State
from ebmlang.runtime.samplers.target import Target
from ebmlang.runtime.solvers.solver import select_rows

_LUCK = 64
"""Uniform draws that are made at a time for the leaves of a subtree."""


@dataclass(frozen=True, slots=True, eq=False)
class _Tree:
    """A trajectory. Tensors are [R] or [R, N].

    `left` and `right` are its ends, `chosen` its draw (whose velocity is not used), `weight` the logarithm of
    its summed weights relative to the start, `travel` its summed velocities. `going`: it may still grow.
    """

    left: Phase
    right: Phase
    chosen: Phase
    weight: Tensor
    travel: Tensor
    going: Tensor
    divergent: Tensor
    acceptance: Tensor
    leaves: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Branch:
    """A subtree while it grows at one end; `whole` is False where it turned or went astray before its end."""

    tip: Phase
    chosen: Phase
    weight: Tensor
    travel: Tensor
    whole: Tensor
    divergent: Tensor
    acceptance: Tensor
    leaves: Tensor


@dataclass(frozen=True, slots=True)
class Nuts(AbstractSampler[Target]):
    """Trajectories that double until they turn, at most `depth` times.

    `step_size` is where learning begins, or the step itself without warm-up; `wanted` the mean acceptance
    along a trajectory that is to be reached.
    """

    step_size: float = 1.0
    wanted: float = 0.8
    depth: int = 10

    def init(self, target: Target, x: Tensor) -> State:
        return at_rest(target, x, self.step_size)

    def step(self, target: Target, state: State, randomness: Randomness) -> tuple[State, Info]:
        memory: Moving = state.memory
        start = kicked(target, state, randomness)
        # As many as the deepest tree needs, whatever other rows do; the last is the key of all its leaves.
        luck = randomness.uniform(2 * self.depth + 1)
        scale = memory.scale.expand(start.x.shape[0], -1)
        tree = _seed(start)
        for depth in range(self.depth):
            rows = torch.nonzero(tree.going)[:, 0]
            if not len(rows):
                break
            if len(rows) == len(luck):
                tree = _doubled(target, tree, scale, start.total, luck, depth)
                continue
            part = select_rows(tree, rows)
            grown = _doubled(target.select(rows), part, scale[rows], start.total[rows], luck[rows], depth)
            tree = _put_rows(tree, rows, grown)
        chosen = tree.chosen
        after = replace(memory, potential=chosen.potential, gradient=chosen.gradient)
        acceptance = tree.acceptance / tree.leaves.clamp(min=1)
        return State(chosen.x, after), Info(acceptance, tree.divergent, tree.leaves)

    def warm(self, target: Target, state: State, info: Info, course: Course) -> State:
        return tuned_state(state, info, course, self.wanted)

    def step_sizes(self, state: State) -> Tensor | None:
        return moving_steps(state)


def _seed(start: Phase) -> _Tree:
    """The trajectory of one point."""
    zero = torch.zeros_like(start.potential)
    no = torch.zeros_like(zero, dtype=torch.bool)
    return _Tree(start, start, start, zero, start.v, ~no, no, zero, torch.zeros_like(no, dtype=torch.int64))


def _doubled(target: Target, tree: _Tree, scale: Tensor, total: Tensor, luck: Tensor, depth: int) -> _Tree:
    """The trajectory with as many leaves again at one of its ends; `total` [R] is the energy of its start."""
    forward = luck[:, 2 * depth] < 0.5
    tip = _either(forward, tree.right, tree.left)
    signed = torch.where(forward[:, None], scale, -scale)
    branch = _grown(target, tip, signed, total, luck[:, -1], depth)
    # Progressive sampling that favours the new half (Betancourt 2017, section A.3.2).
    ratio = torch.exp((branch.weight - tree.weight).clamp(max=0.0))
    taken = branch.whole & (luck[:, 2 * depth + 1] < ratio)
    left, right = _either(forward, tree.left, branch.tip), _either(forward, branch.tip, tree.right)
    travel = tree.travel + branch.travel
    straight = _straight(left.v, right.v, travel)
    return _Tree(
        left=left,
        right=right,
        chosen=_either(taken, branch.chosen, tree.chosen),
        weight=torch.logaddexp(tree.weight, branch.weight),
        travel=travel,
        going=branch.whole & straight,
        divergent=tree.divergent | branch.divergent,
        acceptance=tree.acceptance + branch.acceptance,
        leaves=tree.leaves + branch.leaves,
    )


def _grown(target: Target, tip: Phase, scale: Tensor, total: Tensor, key: Tensor, depth: int) -> _Branch:
    """A subtree of 2^depth leaves beyond a tip; `scale` is negative where it grows into the past."""
    zero = torch.zeros_like(total)
    none = torch.zeros_like(zero, dtype=torch.int64)
    branch = _Branch(tip, tip, zero - torch.inf, torch.zeros_like(tip.v), zero == 0, zero != 0, zero, none)
    begun: list[tuple[Tensor, Tensor]] = []
    draws = key[:, None]
    for leaf in range(1 << depth):
        if leaf and not bool(branch.whole.any()):
            break
        if leaf % _LUCK == 0:
            draws = scattered(key, (1 << depth) + leaf, min(_LUCK, 1 << depth))
        branch = _with_leaf(branch, leapfrog(target, branch.tip, scale), total, draws[:, leaf % _LUCK])
        # Even leaves begin subtrees; an odd one ends as many as its number ends in ones.
        if leaf % 2 == 0:
            begun = [*begun[: (leaf >> 1).bit_count()], (branch.tip.v, branch.travel)]
            continue
        for first, before in begun[-_ones(leaf) :]:
            straight = _straight(first, branch.tip.v, branch.travel - before + first)
            branch = replace(branch, whole=branch.whole & straight)
    return branch


def _with_leaf(branch: _Branch, leaf: Phase, total: Tensor, luck: Tensor) -> _Branch:
    """One more leaf, where the subtree still grows."""
    weight = (total - leaf.total).nan_to_num(nan=-torch.inf)
    sum_ = torch.logaddexp(branch.weight, weight)
    astray = branch.whole & (weight < -ASTRAY)
    taken = branch.whole & ~astray & (luck < torch.exp(weight - sum_))
    share = torch.where(branch.whole, torch.exp(weight.clamp(max=0.0)), 0.0)
    return _Branch(
        tip=_either(branch.whole, leaf, branch.tip),
        chosen=_either(taken, leaf, branch.chosen),
        weight=torch.where(branch.whole, sum_, branch.weight),
        travel=branch.travel + torch.where(branch.whole[:, None], leaf.v, 0.0),
        whole=branch.whole & ~astray,
        divergent=branch.divergent | astray,
        acceptance=branch.acceptance + share,
        leaves=branch.leaves + branch.whole,
    )


def _straight(first: Tensor, last: Tensor, travel: Tensor) -> Tensor:
    """Whether both ends of a trajectory still move along it, [R]."""
    return (row_dot(first, travel) > 0) & (row_dot(last, travel) > 0)


def _ones(number: int) -> int:
    """How many ones a number ends in."""
    return ((number + 1) & ~number).bit_length() - 1


def _either(choice: Tensor, yes: Phase, no: Phase) -> Phase:
    """Row by row one of two phases."""
    wide = choice[:, None]
    return Phase(
        torch.where(wide, yes.x, no.x),
        torch.where(wide, yes.v, no.v),
        torch.where(choice, yes.potential, no.potential),
        torch.where(wide, yes.gradient, no.gradient),
    )


def _put_rows(tree: _Tree, rows: Tensor, part: _Tree) -> _Tree:
    """The tree with some rows replaced."""

    def put(whole: Tensor, own: Tensor) -> Tensor:
        return whole.index_copy(0, rows, own)

    def phase(whole: Phase, own: Phase) -> Phase:
        return Phase(
            put(whole.x, own.x), put(whole.v, own.v), put(whole.potential, own.potential),
            put(whole.gradient, own.gradient),
        )  # fmt: skip

    return _Tree(
        phase(tree.left, part.left),
        phase(tree.right, part.right),
        phase(tree.chosen, part.chosen),
        put(tree.weight, part.weight),
        put(tree.travel, part.travel),
        put(tree.going, part.going),
        put(tree.divergent, part.divergent),
        put(tree.acceptance, part.acceptance),
        put(tree.leaves, part.leaves),
    )
