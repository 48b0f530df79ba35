"""Accelerated proximal gradient with a known matrix, and exact steps once the support has settled.

Where the smooth part is quadratic, 1/2 x'Hx - b'x + c, an iteration needs no evaluation of the energy: with
a step proven by the largest eigenvalue of H it is one matrix product and a soft threshold. Iterations come in
rounds. At the end of each the energy itself gives value and gradient, from which b is renewed, so that what
is reported, and where the search ends, is as accurate as the energy's own gradient.

Beck and Teboulle 2009 (FISTA); restart by the gradient test: O'Donoghue and Candes 2015, section 3.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ebmlang.runtime.domain_base import Kind, row_norm
from ebmlang.runtime.problem import Problem
from ebmlang.runtime.solvers.gram import Gram
from ebmlang.runtime.solvers.solver import (
    Stall,
    State,
    all_active,
    no_stall,
    select_rows,
    where_rows,
)
from ebmlang.runtime.solvers.support import support_step

ROUND = 16
"""Iterations between evaluations of the energy."""
RESTART_EVERY = 4
OLDEST = 1000
"""Iterations after which momentum does not grow any more."""
CACHED = 2**16
"""Numbers of a vector for as many rows as go through a round together: a handful of such vectors and the
matrix stay in a cache."""
STEADY = 2
"""Rounds with the same signs before the first exact step, which costs as much as several rounds."""
SMALL, SMALL_ROUNDS, ROUNDS = 32, 2, 14
"""Up to SMALL unknowns an exact step may come after SMALL_ROUNDS rounds, otherwise after ROUNDS."""


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """What makes the minimum more than a linear system: weights of absolute values and bounds, [R or 1, N].

    `even` is the weight when it is the same for all entries of all rows; bounds are None where there are
    none.
    """

    weights: Tensor
    even: float | None
    low: Tensor | None
    high: Tensor | None

    def proximal(self, x: Tensor, length: float | None, lengths: Tensor) -> Tensor:
        """The proximal point of x [R, N]: soft threshold, then clamp."""
        if self.even is not None and length is not None:
            point = torch.nn.functional.softshrink(x, length * self.even)
        else:
            threshold = lengths[:, None] * self.weights
            point = x - torch.clamp(x, min=-threshold, max=threshold)
        return point if self.low is None else torch.clamp(point, min=self.low, max=self.high)

    def slope(self, x: Tensor, gradient: Tensor) -> Tensor:
        """The subgradient of least size, [R, N]; 0 exactly where x is stationary in that entry."""
        if self.low is None or self.high is None:
            at_zero = gradient - torch.clamp(gradient, min=-self.weights, max=self.weights)
            return torch.where(x == 0, at_zero, torch.addcmul(gradient, x.sign(), self.weights))
        right = gradient + torch.where(x >= 0, self.weights, -self.weights)
        left = gradient + torch.where(x > 0, self.weights, -self.weights)
        up = torch.where(x < self.high, right.clamp(max=0.0), 0.0)
        down = torch.where(x > self.low, left.clamp(min=0.0), 0.0)
        return up + down

    def free(self, x: Tensor) -> Tensor:
        """Entries [R, N] at neither a kink nor a bound."""
        off = (x != 0) | (self.weights == 0)
        if self.low is None or self.high is None:
            return off
        return off & (x > self.low) & (x < self.high)

    def side(self, x: Tensor) -> Tensor:
        """Which smooth piece of the energy each entry is on, int8 [R, N]."""
        sign = x.sign() if self.even is not None and self.even > 0 else x.sign() * (self.weights != 0)
        if self.low is not None and self.high is not None:
            sign = sign + 3 * (x <= self.low) + 6 * (x >= self.high)
        return sign.to(torch.int8)

    def rows(self, part: slice | Tensor) -> Edges:
        """The edges of some rows."""

        def pick(value: Tensor | None) -> Tensor | None:
            return value if value is None or value.shape[0] == 1 else value[part]

        weights = self.weights if self.weights.shape[0] == 1 else self.weights[part]
        return Edges(weights, self.even, pick(self.low), pick(self.high))


@dataclass(frozen=True, slots=True, eq=False)
class GramMemory:
    """`origin` [R, N] is the extrapolated point, and `age` [R] counts iterations since momentum was dropped;
    `gradient` is that of the smooth part at x, and `side` [R, N] the piece of the energy that x is on.

    `steady` [R] counts rounds on the same piece, `rounds` [R] all of them; the next exact step comes after
    `wait` [R] more rounds, and after a vain one the pause `pause` [R] doubles.
    """

    gram: Gram
    origin: Tensor
    age: Tensor
    gradient: Tensor
    side: Tensor
    steady: Tensor
    rounds: Tensor
    wait: Tensor
    pause: Tensor
    stall: Stall


def edges_of(problem: Problem) -> Edges:
    """Weights and bounds of the rows in play."""
    weights = problem.absolute()
    least, most = torch.aminmax(weights) if weights.numel() else (weights.sum(), weights.sum())
    even = float(least) if bool(least == most) else None
    space = problem.space
    if space.mask is None and Kind.BOX not in space.kinds:
        return Edges(weights, even, None, None)
    return Edges(weights, even, *space.bounds())


def gram_start(problem: Problem, gram: Gram, x: Tensor) -> State:
    """State at x."""
    edges = edges_of(problem)
    point = _rated(problem, edges, x)
    total, none = point.total, torch.zeros_like(point.total, dtype=torch.int64)
    memory = GramMemory(
        gram, x, none, point.gradient, edges.side(x), none, none, none, none + 1,
        no_stall(total),
    )  # fmt: skip
    return State(total, point.optimality, all_active(total), memory)


def gram_step(problem: Problem, x: Tensor, state: State, patience: int) -> tuple[Tensor, State]:
    """One round in every active row, and an exact step in rows whose signs have settled."""
    memory: GramMemory = state.memory
    edges, keep = edges_of(problem), state.active
    to, origin, age = _round(memory, edges, x)
    if not bool(keep.all()):
        to = where_rows(keep, to, x)
    point = _rated(problem, edges, to)
    side = edges.side(to)
    steady = torch.where((side == memory.side).all(1), memory.steady + 1, 0)
    rounds = memory.rounds + 1
    early = SMALL_ROUNDS if x.shape[1] <= SMALL else ROUNDS
    ready = keep & (steady >= STEADY) & (memory.wait <= 0) & (rounds >= early) & (point.optimality > 0)
    wait, pause = memory.wait - 1, memory.pause
    at = ready.nonzero()[:, 0]
    if at.shape[0] > 0:
        exact, better = _exact(
            problem.select(at), select_rows(memory.gram, at), edges.rows(at), select_rows(point, at)
        )
        good = at[better]
        found = select_rows(exact, better.nonzero()[:, 0])
        point = _with_rows(point, good, found)
        origin, age = origin.index_copy(0, good, found.x), age.index_fill(0, good, 0)
        longer = torch.where(better, pause[at], 2 * pause[at])
        pause, wait = pause.index_copy(0, at, longer), wait.index_copy(0, at, longer)
    stall = memory.stall.after(point.total, point.optimality, max(patience // ROUND, 8))
    after = GramMemory(memory.gram, origin, age, point.gradient, side, steady, rounds, wait, pause, stall)
    return point.x, State(point.total, point.optimality, keep, after)


@dataclass(frozen=True, slots=True, eq=False)
class _Rated:
    """Points with the gradient of the smooth part [R, N], the whole energy and the optimality there [R]."""

    x: Tensor
    gradient: Tensor
    total: Tensor
    optimality: Tensor


def _round(memory: GramMemory, edges: Edges, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ROUND iterations: the new iterates, extrapolated points [R, N] and ages [R]."""
    gram, (rows, size) = memory.gram, x.shape
    # Steps v - length (H v - right) are products with 1 - length H.
    right = (gram.times(x) - memory.gradient) * gram.length[:, None]
    keep = torch.eye(size, dtype=x.dtype, device=x.device)
    shares = torch.tensor(momentum(), dtype=x.dtype, device=x.device)
    if gram.shared is not None:
        length = float(gram.length[0])
        sweep = _Sweep(torch.sub(keep, gram.shared.tensor, alpha=length), edges, length, gram.length, shares)
    else:
        assert gram.own is not None
        sweep = _Sweep(keep - gram.length[:, None, None] * gram.own, edges, None, gram.length, shares)
    block = rows if x.is_cuda else max(CACHED // max(size, 1), 1)
    if rows <= block:
        return sweep.run(x, memory.origin, right, memory.age)
    parts = [slice(begin, begin + block) for begin in range(0, rows, block)]
    pieces = [sweep.rows(p).run(x[p], memory.origin[p], right[p], memory.age[p]) for p in parts]
    to, origin, age = (torch.cat(column) for column in zip(*pieces, strict=True))
    return to, origin, age


@cache
def momentum() -> tuple[float, ...]:
    """(t_k - 1) / t_{k+1} for t_1 = 1, t_{k+1} = (1 + sqrt(1 + 4 t_k^2)) / 2 (Beck and Teboulle 2009)."""
    shares, t = [], 1.0
    for _ in range(OLDEST + RESTART_EVERY):
        later = (1 + math.sqrt(1 + 4 * t * t)) / 2
        shares.append((t - 1) / later)
        t = later
    return tuple(shares)


@dataclass(frozen=True, slots=True, eq=False)
class _Sweep:
    """What iterations need: 1 - length H, [N, N] or one for each row, edges, and lengths [R].

    `length` is the one that all rows share; `shares` are those of the last move that are added, by age.
    """

    matrix: Tensor
    edges: Edges
    length: float | None
    lengths: Tensor
    shares: Tensor

    def rows(self, part: slice) -> _Sweep:
        matrix = self.matrix[part] if self.matrix.ndim == 3 else self.matrix
        return _Sweep(matrix, self.edges.rows(part), self.length, self.lengths[part], self.shares)

    def run(self, x: Tensor, origin: Tensor, right: Tensor, age: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        origin, moved, shift = origin.clone(), torch.empty_like(x), torch.empty_like(x)
        next_ages = torch.arange(RESTART_EVERY, device=x.device)
        for _ in range(ROUND // RESTART_EVERY):
            shares = self.shares[age[:, None] + next_ages]
            for number in range(RESTART_EVERY):
                if self.matrix.ndim == 2:
                    torch.addmm(right, origin, self.matrix, out=moved)
                else:
                    moved = torch.baddbmm(right[:, None], origin[:, None], self.matrix)[:, 0]
                to = self.edges.proximal(moved, self.length, self.lengths)
                torch.sub(to, x, out=shift)
                if number < RESTART_EVERY - 1:
                    torch.addcmul(to, shares[:, number, None], shift, out=origin)
                    x = to
            # Momentum that points uphill is dropped.
            uphill = torch.linalg.vecdot(origin.sub_(to), shift) > 0
            torch.addcmul(to, shares[:, -1, None], shift, out=origin)
            x, age = to, torch.clamp(age + RESTART_EVERY, max=OLDEST).masked_fill(uphill, 0)
        return x, origin, age


def _rated(problem: Problem, edges: Edges, x: Tensor) -> _Rated:
    energy, gradient = problem.smooth_and_gradient(x)
    total = energy + (edges.weights * x.abs()).sum(1)
    return _Rated(x, gradient, total, row_norm(edges.slope(x, gradient)))


def _with_rows(old: _Rated, at: Tensor, new: _Rated) -> _Rated:
    return _Rated(
        old.x.index_copy(0, at, new.x),
        old.gradient.index_copy(0, at, new.gradient),
        old.total.index_copy(0, at, new.total),
        old.optimality.index_copy(0, at, new.optimality),
    )


def _exact(problem: Problem, gram: Gram, edges: Edges, point: _Rated) -> tuple[_Rated, Tensor]:
    """The minimum of the smooth piece that each row is on, and where it is on that piece and better, [R]."""
    free = edges.free(point.x)
    slope = torch.where(free, edges.slope(point.x, point.gradient), 0.0)
    found = _rated(problem, edges, point.x + support_step(gram, slope, free))
    same = (edges.side(found.x) == edges.side(point.x)).all(1)
    return found, same & (found.optimality < point.optimality)
