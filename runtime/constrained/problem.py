"""A problem together with its hard constraints, as flat vectors.

Everything is of the form c_j(x) == 0 (where `equal`) or c_j(x) <= 0, with the Lagrangian L(x, y) =
energy(x) + y . c(x), y_j >= 0 for inequalities. Domains are not among the c_j: they are kept exactly by
whoever moves x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ebmlang.runtime.problem import Functions, Problem, SmoothPlusAbsolute, Values
from ebmlang.runtime.result import Status
from ebmlang.runtime.spec import ConstraintSpec


class ConstraintFunctions(Protocol):
    """What generated code offers for constraints; arguments as for energies."""

    def constraints(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        """The value of every constraint by name, [B or 1, *shape]; [*shape] where all rows share it."""


class Everything(Functions, SmoothPlusAbsolute, ConstraintFunctions, Protocol):
    """Generated code: energies, and constraints."""


@dataclass(frozen=True, slots=True, eq=False)
class Constrained:
    """Rows of independent constrained minimisations.

    `specs` lists the constraints that depend on what is sought, M entries in all; `checks` those that do not,
    which only tell whether a row can have an answer.
    """

    problem: Problem
    functions: Everything
    specs: tuple[ConstraintSpec, ...]
    checks: tuple[ConstraintSpec, ...] = ()

    def by_name(self, x: Tensor) -> dict[str, Tensor]:
        """Every constraint, checks too, name -> [R, entries]; differentiable in x [R, N]."""
        each = (*self.specs, *self.checks)
        if not self.problem.space.joint:
            found = self._written(x)
            return {s.name: flat(found[s.name], s, x.shape[0]) for s in each}
        rows = [self._written(row[None]) for row in x]
        return {s.name: torch.stack([row[s.name].reshape(-1) for row in rows]) for s in each}

    def _written(self, x: Tensor) -> dict[str, Tensor]:
        """Every constraint as the generated code returns it; of one row, x [1, N], in a joint space."""
        space, unknown = self.problem.space, self.problem.space.values(x)
        if space.joint:
            unknown = {name: value[0] for name, value in unknown.items()}
        return self.functions.constraints(unknown, self.problem.held)

    def values(self, x: Tensor) -> Tensor:
        """c(x), [R, N] -> [R, M]; differentiable."""
        found = self.by_name(x)
        return joined([found[s.name] for s in self.specs], x)

    def equal(self, x: Tensor) -> Tensor:
        """Which entries of c are equations, bool [M]."""
        with torch.no_grad():
            found = self.by_name(x)
        return equations(self.specs, [found[s.name].shape[1] for s in self.specs], x.device)

    def failed_checks(self, x: Tensor, tol: float) -> Tensor:
        """Rows whose given values break a constraint that depends on nothing sought, bool [R]."""
        broken = torch.zeros(x.shape[0], dtype=torch.bool, device=x.device)
        if not self.checks:
            return broken
        with torch.no_grad():
            found = self.by_name(x)
        for spec in self.checks:
            broken |= ~(violation(found[spec.name], spec.relation == "==") <= tol)
        return broken

    def worst(self, x: Tensor) -> list[Violation]:
        """The largest violation of every row; by 0 where all constraints hold."""
        specs = (*self.specs, *self.checks)
        with torch.no_grad():
            found = self.by_name(x)
            shapes = self._shapes(x)
        each = [excess(found[s.name], torch.tensor(s.relation == "==")) for s in specs]
        table = torch.cat(each, 1)
        if not table.shape[1]:
            return [Violation(specs[0].name, "", 0.0)] * x.shape[0]
        largest = torch.where(torch.isnan(table), torch.inf, table).max(1)
        places = [(s.name, entry) for s in specs for entry in range(found[s.name].shape[1])]
        worst = []
        for index, by in zip(largest.indices.tolist(), largest.values.tolist(), strict=True):
            name, entry = places[index]
            worst.append(Violation(name, _subscript(entry, shapes[name]), by))
        return worst

    def _shapes(self, x: Tensor) -> dict[str, tuple[int, ...]]:
        """The shape of every constraint in one row."""
        found, joint = self._written(x[:1]), self.problem.space.joint
        shared = {s.name for s in (*self.specs, *self.checks) if joint or not s.per_example}
        return {n: tuple(v.shape) if n in shared else tuple(v.shape[1:]) for n, v in found.items()}

    def pulled_back(self, x: Tensor, multipliers: Tensor) -> tuple[Tensor, Tensor]:
        """c(x) [R, M], and the gradient of multipliers . c at x, [R, N] (0 at given entries)."""
        leaf = x.detach().requires_grad_(True)
        with torch.enable_grad():
            c = self.values(leaf)
            weighted = (multipliers * c).sum()
        slope = torch.zeros_like(x)
        if weighted.requires_grad:
            (slope,) = torch.autograd.grad(weighted, leaf)
        return c.detach(), self.problem.space.sought(slope)

    def jacobian(self, x: Tensor, entries: range) -> Tensor:
        """The gradients of some of the constraints at x [R, N], [R, len(entries), N]."""
        rows, count = x.shape[0], len(entries)
        units = torch.zeros(count, self.equal(x).shape[0], dtype=x.dtype, device=x.device)
        units[:, entries.start : entries.stop].fill_diagonal_(1.0)
        many = self.select(torch.arange(rows, device=x.device).repeat_interleave(count))
        _, slopes = many.pulled_back(x.repeat_interleave(count, 0), units.repeat(rows, 1))
        return slopes.reshape(rows, count, x.shape[1])

    def select(self, rows: Tensor) -> Constrained:
        """The given rows; they may repeat."""
        return replace(self, problem=self.problem.select(rows))

    def detached(self) -> Constrained:
        return replace(self, problem=self.problem.detached())


@dataclass(frozen=True, slots=True, eq=False)
class ConstrainedOutcome:
    """How the search ended, per row.

    x [R, N]; energy [R] without anything that stands for constraints; optimality [R]: norm of the projected
    gradient of the Lagrangian; multipliers [R, M]; violation [R]: largest violation of any constraint, in the
    units of the constraint; complementarity [R]: largest min(slack, multiplier). iterations int64 [R].
    trace: None, or the energy after each outer step [steps + 1, R]. gap: None, or for convex programs how far
    the energy of a converged row may lie above the minimum at most [R].
    """

    x: Tensor
    energy: Tensor
    optimality: Tensor
    multipliers: Tensor
    violation: Tensor
    complementarity: Tensor
    iterations: Tensor
    status: tuple[Status, ...]
    sentences: tuple[str, ...]
    trace: Tensor | None = None
    gap: Tensor | None = None

    def select(self, rows: Tensor) -> ConstrainedOutcome:
        """The given rows, by their numbers int64 [K]."""
        order = rows.tolist()
        return ConstrainedOutcome(
            self.x[rows],
            self.energy[rows],
            self.optimality[rows],
            self.multipliers[rows],
            self.violation[rows],
            self.complementarity[rows],
            self.iterations[rows],
            tuple(self.status[i] for i in order),
            tuple(self.sentences[i] for i in order),
            None if self.trace is None else self.trace[:, rows],
            None if self.gap is None else self.gap[rows],
        )


WITHOUT_A_POINT = (
    Status.INFEASIBLE,
    Status.VIOLATED,
    Status.NON_FINITE_START,
    Status.NON_FINITE,
    Status.NON_FINITE_GRADIENT,
    Status.OUTSIDE,
)
"""How rows end whose x is no point to compare with others: it breaks constraints, or has no energy."""


def feasible_within(tol: float) -> float:
    """How much of a violation, relative to 1 + that at the start, counts as none: a tenth of the tolerance
    of gradients, but never less than 1e-9."""
    return min(tol, max(tol / 10, 1e-9))


def flat(value: Tensor, spec: ConstraintSpec, rows: int) -> Tensor:
    """[rows, entries] of what generated code returns for one constraint."""
    if spec.per_example:
        leading = value.flatten(1) if value.ndim > 1 else value[:, None]
    else:
        leading = value.flatten()[None]
    return leading.expand(rows, leading.shape[1])


def _subscript(entry: int, shape: tuple[int, ...]) -> str:
    """Where an entry stands in an array of this shape: [2, 0]; nothing for a single number."""
    places = []
    for size in reversed(shape):
        entry, place = divmod(entry, size)
        places.append(place)
    return f"[{', '.join(map(str, reversed(places)))}]" if places else ""


def joined(parts: list[Tensor], x: Tensor) -> Tensor:
    return torch.cat(parts, 1) if parts else x.new_zeros(x.shape[0], 0)


def equations(specs: tuple[ConstraintSpec, ...], sizes: list[int], device: torch.device) -> Tensor:
    flags = [spec.relation == "==" for spec, size in zip(specs, sizes, strict=True) for _ in range(size)]
    return torch.tensor(flags, dtype=torch.bool, device=device)


def excess(c: Tensor, equal: Tensor) -> Tensor:
    """By how much each entry is violated, >= 0, shaped as c."""
    return torch.where(equal, c.abs(), c.clamp(min=0))


def violation(c: Tensor, equal: bool) -> Tensor:
    """The largest violation of each row, [R, entries] -> [R]."""
    each = c.abs() if equal else c.clamp(min=0)
    return each.amax(1) if c.shape[1] else c.new_zeros(c.shape[0])


def by_constraint(
    vector: Tensor, specs: tuple[ConstraintSpec, ...], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """A vector [R, M] taken apart, name -> [R, *shape of one row]."""
    found, at = {}, 0
    for spec in specs:
        shape = shapes[spec.name]
        size = 1
        for extent in shape:
            size *= extent
        found[spec.name] = vector[:, at : at + size].reshape(vector.shape[0], *shape)
        at += size
    return found


def largest(values: Tensor) -> Tensor:
    """The largest entry of each row, 0 where there is none; NaN counts as infinite."""
    if not values.shape[1]:
        return values.new_zeros(values.shape[0])
    return torch.where(torch.isnan(values), torch.inf, values).amax(1)


@dataclass(frozen=True, slots=True)
class Violation:
    """By how much a constraint is violated, and at which entry: [7, 0], the positions of its plate first."""

    name: str
    place: str
    by: float

    def __str__(self) -> str:
        where = f" at {self.place}" if self.place else ""
        return f"'{self.name}' is violated by {self.by:.3g}{where}"


def sentence(kind: Status, violation: Violation) -> str:
    """The status of a row in words."""
    if kind in (Status.INFEASIBLE, Status.VIOLATED):
        return kind.sentence(str(violation))
    return kind.sentence("float64" if kind is Status.PRECISION else "")


def stacked(parts: list[ConstrainedOutcome]) -> ConstrainedOutcome:
    """Outcomes of several problems as rows of one."""

    def rows(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    traces = [part.trace for part in parts if part.trace is not None]
    longest = max((t.shape[0] for t in traces), default=0)
    filled = [torch.cat([t, t[-1:].expand(longest - t.shape[0], -1)]) for t in traces]
    return ConstrainedOutcome(
        rows("x"),
        rows("energy"),
        rows("optimality"),
        rows("multipliers"),
        rows("violation"),
        rows("complementarity"),
        rows("iterations"),
        tuple(s for part in parts for s in part.status),
        tuple(s for part in parts for s in part.sentences),
        torch.cat(filled, 1) if traces else None,
    )
