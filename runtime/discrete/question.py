"""A bound question with discrete unknowns: its entries, what is given of them, and its energy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ebmlang.compiler.tables import SLACK
from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound, chosen_of
from ebmlang.runtime.discrete.network import Field, Network, Numbers, RawTable, checked, network_of
from ebmlang.runtime.discrete.stocks import ARRANGED, check_given, shuffled, stock_of
from ebmlang.runtime.generated import NUMBERED
from ebmlang.runtime.spec import ConstraintSpec, TableSpec

Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Discrete unknowns of a bound model.

    `rows` is the number of separate problems: 1 when all examples form one. `fixed` int64 [rows, N]
    holds the case of given entries and -1 elsewhere, or is None. `other` are sought values that are
    held while the discrete ones vary. `strict`: tables that no energy can have raise DataError.
    """

    bound: Bound
    fields: tuple[Field, ...]
    fixed: Tensor | None
    held: Mapping[str, Tensor]
    other: Values
    strict: bool = True

    @property
    def joint(self) -> bool:
        found: bool = self.bound.module.JOINT
        return found

    @property
    def rows(self) -> int:
        return 1 if self.joint else self.bound.batch

    @property
    def cases(self) -> Numbers:
        return np.concatenate([np.full(f.count, f.cases, np.int64) for f in self.fields])

    @property
    def arranged(self) -> bool:
        """Whether entries of some unknown are an arrangement of a stock, so that they do not vary alone."""
        return any(own.stock for own in self.fields)

    def without_given(self) -> Question:
        """The same with every entry open."""
        return replace(self, fixed=None)

    def some_assignment(self) -> Tensor:
        """One that may be, with what is given: int64 [rows, N]."""
        parts = []
        for own in self.fields:
            plain = np.zeros((self.rows, own.count), np.int64)
            if own.stock:
                given = None
                if self.fixed is not None:
                    given = self.fixed[:, own.offset : own.offset + own.count].cpu().numpy()
                    given = given.reshape(self.rows, -1, len(own.stock))
                same = np.zeros((self.rows, own.count // len(own.stock), len(own.stock)))
                plain = shuffled(own.stock, same, given).reshape(self.rows, -1)
            parts.append(plain)
        found = torch.from_numpy(np.concatenate(parts, 1)).to(self.bound.settings.device)
        return found if self.fixed is None else torch.where(self.fixed >= 0, self.fixed, found)

    # --- values ---

    def values(self, assignment: Tensor) -> dict[str, Tensor]:
        """Assignments int64 [R, N] as values of the unknowns: [R, *shape]; joint ones have R = 1."""
        found = {}
        for own in self.fields:
            part = assignment[:, own.offset : own.offset + own.count]
            value = part.reshape(assignment.shape[0], *own.shape)
            value = value[0] if self.joint else value
            found[own.name] = value.bool() if own.kind == "bool" else value
        return found

    def energies(self, assignment: Tensor, rows: Tensor, *, graph: bool = False) -> Tensor:
        """The energy of assignments [R, N] of the given rows [R], float64 [R]; differentiable in the held
        values with `graph`."""
        with torch.set_grad_enabled(graph and torch.is_grad_enabled()):
            if self.joint:
                each = [
                    self._allowed({**self.values(a[None]), **self.other}, self.held, 1) for a in assignment
                ]
                return torch.cat(each)
            own = self.bound.module.ROW_VALUES | {NUMBERED}
            held = {n: _taken(v, rows) if n in own else v for n, v in self.held.items()}
            other = {n: _taken(v, rows) for n, v in self.other.items()}
            return self._allowed({**self.values(assignment), **other}, held, assignment.shape[0])

    def _allowed(self, unknown: Values, held: Values, rows: int) -> Tensor:
        """Energies [rows], inf where a hard constraint does not hold; `rows` is 1 in a joint problem."""
        instance = self.bound.instance.following(held)
        found = instance.energy(unknown, held).to(torch.float64)
        found = found.sum().reshape(1) if self.joint else found.reshape(-1).expand(rows)
        known: tuple[ConstraintSpec, ...] = vars(self.bound.module).get("CONSTRAINTS", ())
        specs = [s for s in known if not s.given]
        values = instance.constraints(unknown, held) if specs else {}
        for spec in specs:
            off = values[spec.name].double()
            off = off.abs() if spec.relation == "==" else off
            off = off.reshape(1 if self.joint or not spec.per_example else off.shape[0], -1)
            broken = ~(off <= SLACK).all(1)
            found = torch.where(broken, math.inf, found)
        return found

    @property
    def affine(self) -> str:
        """`together` where the energy is affine in all entries as numbers, `each` where it is in those of
        each unknown with the others held; "" where that is not known, or entries are given."""
        known: str = vars(self.bound.module).get("AFFINE", "")
        return known if self.fixed is None and not self.other else ""

    def slopes(self, assignment: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of an affine energy: its values [R] at assignments [R, N] of the given rows [R] (None: one of
        each), and what it rises by when an entry is set, beyond the entry being clear, [R, N]; float64.
        Differentiable in the held values."""
        own = self.bound.module.ROW_VALUES | {NUMBERED}
        held = self.held
        if rows is not None:
            held = {n: _taken(v, rows) if n in own else v for n, v in held.items()}
        instance, count = self.bound.instance.following(held), assignment.shape[0]
        energy, along = instance.energy_and_gradient(self.values(assignment), held)
        parts = [along[f.name].expand(count, *f.shape).reshape(count, f.count) for f in self.fields]
        return energy.double().reshape(-1).expand(count), torch.cat(parts, 1).double()

    # --- tables ---

    def networks(self) -> list[Network]:
        """The energy as tables: one network for all rows, or one for each where the entries that a
        term joins differ by example."""
        module, instance = self.bound.module, self.bound.instance.following(self.held)
        tables = instance.tables(self.other, self.held)
        scopes = instance.scopes(self.other, self.held)
        raw = [self._raw(spec, tables[spec.key], scopes[spec.key]) for spec in module.TABLES]
        if all(not isinstance(r, list) for r in raw):
            return [
                network_of(self.fields, [r for r in raw if isinstance(r, RawTable)], self.rows, self.fixed)
            ]
        found = []
        for row in range(self.rows):
            own = [r[row] if isinstance(r, list) else _row(r, row) for r in raw]
            fixed = self.fixed[row : row + 1] if self.fixed is not None else None
            found.append(network_of(self.fields, own, 1, fixed))
        return found

    def _raw(
        self, spec: TableSpec, table: Tensor, scope: tuple[Tensor | None, tuple[tuple[Tensor, ...], ...]]
    ) -> RawTable | list[RawTable]:
        """A table with its scope; a list of one for every row where scopes differ."""
        mask, reads = scope
        plates = table.shape[1 : 1 + spec.plates]
        kept = _kept(mask, plates, table.device)
        entries = [self._entries(name, at, plates) for name, at in zip(spec.variables, reads, strict=True)]
        shape = (table.shape[0], math.prod(plates), *table.shape[1 + spec.plates :])
        table = table.reshape(shape)
        count = max([e.shape[0] for e in entries], default=1)
        if self.joint:
            return self._joint_table(spec, table, entries, kept)
        chosen = torch.nonzero(kept.any(0))[:, 0]
        offsets = [self._field(name).offset for name in spec.variables]
        if count == 1:
            own = _stacked([e[0] for e in entries], chosen, offsets)
            return self._checked(RawTable(spec.term, own, table.index_select(1, chosen)))
        found = []
        for row in range(self.rows):
            here = torch.nonzero(kept[row if kept.shape[0] > 1 else 0])[:, 0]
            own = _stacked([e[row if e.shape[0] > 1 else 0] for e in entries], here, offsets)
            part = table[row : row + 1] if table.shape[0] > 1 else table
            found.append(self._checked(RawTable(spec.term, own, part.index_select(1, here))))
        return found

    def _checked(self, raw: RawTable) -> RawTable:
        return checked(raw) if self.strict else raw

    def _entries(self, name: str, at: tuple[Tensor, ...], plates: torch.Size) -> Tensor:
        """The entry of a variable at each position, without its offset: [B or 1, P]. Subscripts outside
        of the variable give -1."""
        own = self._field(name)
        shape = own.shape[1:] if own.rows else own.shape
        if not at:
            return torch.zeros(1, math.prod(plates), dtype=torch.int64, device=self.bound.settings.device)
        index = torch.zeros((), dtype=torch.int64, device=at[0].device)
        outside = torch.zeros((), dtype=torch.bool, device=at[0].device)
        for subscript, size in zip(at, shape, strict=True):
            index = index * size + subscript
            outside = outside | (subscript < 0) | (subscript >= size)
        index = torch.where(outside, -1, index)
        return index.expand(index.shape[0], *plates).reshape(index.shape[0], -1)

    def _field(self, name: str) -> Field:
        return next(f for f in self.fields if f.name == name)

    def _joint_table(self, spec: TableSpec, table: Tensor, entries: list[Tensor], kept: Tensor) -> RawTable:
        """All examples in one network: the examples become one more plate."""
        batch = self.bound.batch
        fields = [self._field(name) for name in spec.variables]
        if not spec.per_example:
            batch = 1
        kept = kept.expand(batch, kept.shape[1]).reshape(-1)
        chosen = torch.nonzero(kept)[:, 0]
        wide = table.expand(batch, *table.shape[1:]).reshape(1, -1, *table.shape[2:])
        each = torch.arange(batch, device=table.device)[:, None]
        shifted = [
            (e + each * (f.count // max(f.shape[0], 1)) if f.rows else e + 0 * each)
            .expand(batch, -1)
            .reshape(-1)
            for e, f in zip(entries, fields, strict=True)
        ]
        inside = [
            torch.where((e >= 0).expand(batch, -1).reshape(-1), s, -1)
            for e, s in zip(entries, shifted, strict=True)
        ]
        own = _stacked(inside, chosen, [f.offset for f in fields])
        return self._checked(RawTable(spec.term, own, wide.index_select(1, chosen)))


def question_of(bound: Bound, observed: Values, held: Mapping[str, Tensor], other: Values) -> Question:
    """The discrete part of a bound question. `observed` holds masks (True: given) by variable."""
    batch = bound.batch if bound.module.JOINT else 1
    fields: list[Field] = []
    offset = 0
    for name in bound.module.SOUGHT:
        spec = bound.specs[name]
        if spec.kind == "real":
            continue
        rows = bound.module.JOINT and spec.per_example
        shape = (batch, *bound.shapes[name]) if rows else tuple(bound.shapes[name])
        cases = 2 if spec.classes is None else spec.classes.evaluate(bound.sizes)
        if cases < 1:
            raise DataError(f"`{name}` is {spec} with no classes", "set a number of classes of at least 1")
        stock = stock_of(spec, shape[-1], chosen_of(bound, spec)) if spec.domain in ARRANGED else ()
        fields.append(Field(name, spec.kind, offset, shape, cases, rows, stock))
        offset += fields[-1].count
    question = Question(bound, tuple(fields), None, held, other)
    if not observed:
        return question
    rows_count = question.rows
    device = bound.settings.device
    fixed = torch.full((rows_count, offset), -1, dtype=torch.int64, device=device)
    for own in fields:
        mask = observed.get(own.name)
        if mask is not None:
            value = bound.values[own.name].to(torch.int64)
            known = torch.where(mask, value, -1).reshape(-1, math.prod(own.shape) if own.shape else 1)
            fixed[:, own.offset : own.offset + own.count] = known
            if own.stock:
                check_given(own.name, known.reshape(-1, len(own.stock)), own.stock)
    return replace(question, fixed=fixed) if bool((fixed >= 0).any()) else question


def _taken(value: Tensor, rows: Tensor) -> Tensor:
    return value if value.shape[0] == 1 else value.index_select(0, rows)


def _kept(mask: Tensor | None, plates: torch.Size, device: torch.device) -> Tensor:
    count = math.prod(plates)
    if mask is None:
        return torch.ones(1, count, dtype=torch.bool, device=device)
    return mask.expand(mask.shape[0], *plates).reshape(mask.shape[0], count)


def _stacked(entries: list[Tensor], chosen: Tensor, offsets: list[int]) -> Numbers:
    """Scopes of the chosen positions, [P, k]. Raises DataError for an entry that does not exist."""
    if not entries:
        return np.zeros((len(chosen), 0), np.int64)
    own = torch.stack([e.index_select(0, chosen) for e in entries], 1)
    if bool((own < 0).any()):
        raise DataError(
            "a subscript of a discrete unknown reaches outside of it",
            "correct the index list, or guard the plate",
        )
    found: Numbers = own.cpu().numpy().astype(np.int64)
    return found + np.array(offsets, np.int64)


def _row(raw: RawTable | list[RawTable], row: int) -> RawTable:
    assert isinstance(raw, RawTable)
    part = raw.table[row : row + 1] if raw.table.shape[0] > 1 else raw.table
    return replace(raw, table=part)
