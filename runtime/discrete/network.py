"""Discrete unknowns of a question as one list of entries, and the energy as tables over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebmlang.errors import DataError

Numbers = NDArray[np.int64]
Positions = Sequence[tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Field:
    """One discrete unknown among the entries: `offset`, its shape, its number of cases.

    In a joint problem a variable that differs by example has an entry for every example, so its
    shape begins with the number of examples, and `rows` is true. Along the last dimension of one with a
    `stock` the entries are an arrangement of those cases.
    """

    name: str
    kind: str
    offset: int
    shape: tuple[int, ...]
    cases: int
    rows: bool = False
    stock: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Potential:
    """Energies of P sets of k entries: `scope` [P, k] rises along each row and no row comes twice;
    `table` is [B or 1, P, cases of the first, ...]."""

    scope: Numbers
    table: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Entries with their numbers of cases [N], and the energy as a sum of potentials."""

    fields: tuple[Field, ...]
    cases: Numbers
    potentials: tuple[Potential, ...]
    batch: int

    @property
    def device(self) -> torch.device:
        return self.potentials[0].table.device

    def rows(self, start: int, stop: int) -> Network:
        """The network of some rows."""
        kept = tuple(
            p if p.table.shape[0] == 1 else replace(p, table=p.table[start:stop]) for p in self.potentials
        )
        return replace(self, potentials=kept, batch=stop - start)

    @property
    def states(self) -> float:
        """The base-2 logarithm of the number of assignments."""
        return float(np.log2(self.cases.astype(np.float64)).sum())

    def energy(self, assignment: Tensor) -> Tensor:
        """The energy of assignments int64 [B, N]: [B]."""
        total = torch.zeros(self.batch, dtype=torch.float64, device=self.device)
        for p in self.potentials:
            flat = p.table.reshape(*p.table.shape[:2], -1)
            index = flat_index(assignment, p.scope, p.table.shape[2:])
            total = total + flat.expand(self.batch, -1, -1).gather(2, index[..., None])[..., 0].sum(1)
        return total


def flat_index(assignment: Tensor, scope: Numbers, cases: Sequence[int]) -> Tensor:
    """[B, P]: where the cases of the entries of each scope stand in a flattened table."""
    index = torch.zeros(assignment.shape[0], scope.shape[0], dtype=torch.int64, device=assignment.device)
    for place, count in enumerate(cases):
        index = index * count + assignment[:, torch.from_numpy(scope[:, place]).to(assignment.device)]
    return index


@dataclass(frozen=True, slots=True, eq=False)
class RawTable:
    """A table as generated code returns it: [B or 1, P, cases...] with the scope of each position,
    int64 [P, k], whose entries may repeat; positions of `kept` [P] count."""

    term: str
    scope: Numbers
    table: Tensor


def checked(raw: RawTable) -> RawTable:
    """The table itself; raises DataError when it holds what no energy can be."""
    if bool(torch.isnan(raw.table).any()):
        raise DataError(
            f"the term `{raw.term}` is NaN for some case of its unknowns",
            "0 * inf is NaN: write a rule as where(condition, inf, 0)",
        )
    if bool((raw.table == -math.inf).any()):
        raise DataError(
            f"the term `{raw.term}` is -inf for some case of its unknowns: the energy has no minimum",
            "an impossible case has the energy inf",
        )
    return raw


# --- normal form --------------------------------------------------------------------------------


def network_of(
    fields: tuple[Field, ...], raw: Sequence[RawTable], batch: int, fixed: Tensor | None = None
) -> Network:
    """Potentials in normal form: repeated entries joined, scopes sorted, equal scopes added.

    `fixed` [B, N] holds the case of entries that are given, -1 elsewhere. Entries that are given in
    every row leave the tables; those given in some get an infinite energy for their other cases.
    """
    cases = np.concatenate([np.full(f.count, f.cases, np.int64) for f in fields])
    device = raw[0].table.device if raw else torch.device("cpu")
    parts = [p for table in raw for p in _distinct(table.scope, table.table.to(torch.float64))]
    clamped = np.zeros(len(cases), bool)
    if fixed is not None:
        clamped = (fixed >= 0).all(0).cpu().numpy()
        parts = [q for p in parts for q in _reduced(p[0], p[1], clamped, fixed)]
        parts += _evidence(cases, clamped, fixed)
    parts += _neutral(cases, clamped, device)
    potentials = _merged([q for p in parts for q in _sorted(*p)])
    if fixed is not None:
        cases = np.where(clamped, 1, cases)
    return Network(fields, cases, potentials, batch)


def _distinct(scope: Numbers, table: Tensor) -> list[tuple[Numbers, Tensor]]:
    """Positions that read one entry twice lose an axis: the diagonal is what counts."""
    width = scope.shape[1]
    for a in range(width):
        for b in range(a + 1, width):
            same = scope[:, a] == scope[:, b]
            if same.any():
                found = _distinct(scope[~same], _at(table, ~same)) if not same.all() else []
                diagonal = _at(table, same).diagonal(dim1=2 + a, dim2=2 + b).movedim(-1, 2 + a)
                return [*found, *_distinct(np.delete(scope[same], b, 1), diagonal)]
    return [(scope, table)]


def _at(table: Tensor, positions: NDArray[np.bool_]) -> Tensor:
    if positions.all():
        return table
    return table.index_select(1, torch.from_numpy(np.flatnonzero(positions)).to(table.device))


def _reduced(
    scope: Numbers, table: Tensor, clamped: NDArray[np.bool_], fixed: Tensor
) -> list[tuple[Numbers, Tensor]]:
    """The table at the given case of every entry that is given in all rows."""
    for place in range(scope.shape[1]):
        known = clamped[scope[:, place]]
        if known.any():
            rest = _reduced(scope[~known], _at(table, ~known), clamped, fixed) if not known.all() else []
            own = scope[known]
            case = fixed[:, torch.from_numpy(own[:, place]).to(fixed.device)]
            part = _at(table, known)
            rows = max(part.shape[0], case.shape[0])
            part = part.expand(rows, *part.shape[1:]).movedim(2 + place, -1)
            index = case.expand(rows, -1)
            shape = (*index.shape, *[1] * (part.ndim - 2))
            picked = part.gather(-1, index.reshape(shape).expand(*part.shape[:-1], 1))[..., 0]
            return [*rest, *_reduced(np.delete(own, place, 1), picked, clamped, fixed)]
    return [(scope, table)]


def _evidence(cases: Numbers, clamped: NDArray[np.bool_], fixed: Tensor) -> list[tuple[Numbers, Tensor]]:
    """Energies that keep partly given entries at their case."""
    some = (fixed >= 0).any(0).cpu().numpy() & ~clamped
    found = []
    for count in np.unique(cases[some]):
        own = np.flatnonzero(some & (cases == count))
        case = fixed[:, torch.from_numpy(own).to(fixed.device)]
        other = torch.arange(int(count), device=fixed.device) != case[..., None]
        energy = torch.where(other & (case >= 0)[..., None], math.inf, 0.0).to(torch.float64)
        found.append((own[:, None], energy))
    return found


def _neutral(
    cases: Numbers, clamped: NDArray[np.bool_], device: torch.device
) -> list[tuple[Numbers, Tensor]]:
    """A table of zeros for every entry, so that each has one of its own."""
    found = []
    for count in np.unique(np.where(clamped, 1, cases)):
        own = np.flatnonzero(np.where(clamped, 1, cases) == count)
        zeros = torch.zeros(1, len(own), int(count), dtype=torch.float64, device=device)
        found.append((own[:, None], zeros))
    return found


def _sorted(scope: Numbers, table: Tensor) -> list[tuple[Numbers, Tensor]]:
    """Rows of a scope in rising order, with the axes of their tables moved along."""
    if scope.shape[1] < 2:
        return [(scope, table)]
    order = np.argsort(scope, axis=1, kind="stable")
    found = []
    for axes in np.unique(order, axis=0):
        rows = (order == axes).all(1)
        moved = _at(table, rows).permute(0, 1, *(2 + int(a) for a in axes))
        found.append((scope[rows][:, axes], moved))
    return found


def _merged(parts: list[tuple[Numbers, Tensor]]) -> tuple[Potential, ...]:
    """Tables of one scope added up."""
    groups: dict[tuple[int, ...], list[tuple[Numbers, Tensor]]] = {}
    for scope, table in parts:
        if scope.shape[0]:
            groups.setdefault(tuple(table.shape[2:]), []).append((scope, table))
    merged = []
    for group in groups.values():
        scope = np.concatenate([s for s, _ in group])
        if not scope.shape[1]:
            constants = [t.sum(1, keepdim=True) for _, t in group]
            total = torch.stack(torch.broadcast_tensors(*constants)).sum(0)
            merged.append(Potential(np.zeros((1, 0), np.int64), total))
            continue
        rows = max(t.shape[0] for _, t in group)
        table = torch.cat([t.expand(rows, *t.shape[1:]) for _, t in group], 1)
        unique, inverse = np.unique(scope, axis=0, return_inverse=True)
        place = torch.from_numpy(inverse.reshape(-1)).to(table.device)
        total = table.new_zeros(rows, len(unique), *table.shape[2:]).index_add(1, place, table)
        merged.append(Potential(unique, total))
    return tuple(merged)
