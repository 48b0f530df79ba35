"""One question over all rows of its data, in chunks that fit into memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ebmlang import starting
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.diagnostics import did_you_mean
from ebmlang.compiler.methods import method_names
from ebmlang.errors import DataError
from ebmlang.questions import line_of
from ebmlang.runtime import ask, footprint, posing, report
from ebmlang.runtime.bind import Settings
from ebmlang.runtime.certificates import certificate
from ebmlang.runtime.driver import Progress
from ebmlang.runtime.marginal import beta_of, checked_beta
from ebmlang.runtime.memory import keep_freed, rows_that_fit
from ebmlang.runtime.nested.watching import watched
from ebmlang.runtime.result import Result
from ebmlang.runtime.search import Search
from ebmlang.runtime.seeded import Rows
from ebmlang.runtime.threads import threads_for

if TYPE_CHECKING:
    from ebmlang.api import Model
    from ebmlang.questions import Asked

Take = Callable[[str, int, int], Any]
"""(name, first row, end row) -> the array of these rows."""

Pick = Callable[[str, Rows], Any]
"""(name, rows) -> the array of these rows, in the order of `rows`."""

Ranks = Mapping[str, tuple[int, bool]]
"""Declared rank of each variable, and whether it differs by example."""


@dataclass(frozen=True, slots=True)
class Given:
    """Values by name, read when they are needed. `shapes` are those of the whole arrays; `counts`
    holds the number of examples, None for values that are the same for all examples. `finite` names those
    that cannot hold NaN, as whole numbers cannot."""

    shapes: Mapping[str, tuple[int, ...]]
    counts: Mapping[str, int | None]
    take: Take
    pick: Pick
    finite: frozenset[str] = frozenset()

    def names(self) -> frozenset[str]:
        return frozenset(self.shapes)

    @property
    def rows(self) -> int:
        """The number of examples; raises DataError when values disagree."""
        found = {n: c for n, c in self.counts.items() if c is not None}
        if len(set(found.values())) > 1:
            shown = ", ".join(f"`{name}` has {count:,}" for name, count in found.items())
            raise DataError(
                f"the numbers of examples differ: {shown}",
                "a value that is the same for all examples is passed without the leading dimension",
            )
        return next(iter(found.values()), 1)

    def row_shapes(self) -> tuple[tuple[str, tuple[int, ...], bool], ...]:
        """Name and shape of every value, and whether examples have their own; without their number."""
        own = {n: count is not None for n, count in self.counts.items()}
        return tuple((n, s[1:] if own[n] else s, own[n]) for n, s in sorted(self.shapes.items()))

    def entries(self, rows: int) -> int:
        """How many numbers so many examples have, with those that they share."""
        own = {n for n, count in self.counts.items() if count is not None}
        return sum(rows * math.prod(s[1:]) if n in own else math.prod(s) for n, s in self.shapes.items())

    def chunk(self, start: int, stop: int) -> dict[str, Any]:
        return {
            n: self.take(n, start, stop) if self.counts[n] is not None else self.take(n, 0, -1)
            for n in self.shapes
        }

    def pieces(self, name: str, limit: int) -> Iterator[Any]:
        """The entries of one value, in pieces of rows that take about `limit` bytes each."""
        count = self.counts[name]
        if count is None:
            yield self.take(name, 0, -1)
            return
        step = rows_that_fit(_SCANNED_BYTES * math.prod(self.shapes[name][1:]), limit)
        for start in range(0, count, step):
            yield self.take(name, start, min(start + step, count))


def given_arrays(ranks: Ranks, values: Mapping[str, Any]) -> Given:
    """Values that are in memory."""
    arrays = {n: v if isinstance(v, Tensor) else _array(n, v) for n, v in values.items()}

    def take(name: str, start: int, stop: int) -> Any:
        return arrays[name] if stop < 0 else arrays[name][start:stop]

    def pick(name: str, rows: Rows) -> Any:
        array = arrays[name]
        return array[torch.from_numpy(rows).to(array.device)] if isinstance(array, Tensor) else array[rows]

    whole = frozenset(n for n, a in arrays.items() if not isinstance(a, Tensor) and a.dtype.kind in "biu")
    return given_lazily(ranks, {n: tuple(a.shape) for n, a in arrays.items()}, take, pick, whole)


def _array(name: str, value: Any) -> Any:
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"`{name}` is not an array: {error}", "pass rows of one length") from None


def given_lazily(
    ranks: Ranks,
    shapes: Mapping[str, tuple[int, ...]],
    take: Take,
    pick: Pick,
    finite: frozenset[str] = frozenset(),
) -> Given:
    """Values of known shapes that are read chunk by chunk, or row by row."""
    counts: dict[str, int | None] = {}
    for name, shape in shapes.items():
        rank, per_example = ranks.get(name, (len(shape), False))
        counts[name] = shape[0] if per_example and len(shape) == rank + 1 else None
    return Given(dict(shapes), counts, take, pick, finite)


_SCANNED_BYTES = 16
"""Per entry while it is looked at: the number, a copy in another dtype, and what is asked of it."""

_MEASURED_ROWS = 8
"""Rows that are evaluated once to see how much memory a row takes."""

PLAN_STARTS = 4
"""Starts of a plan whose cost is not convex: the declared one, or what is left of the plan before, and three
courses of actions."""


def _many_minima(asked: Asked, module: ModuleType) -> bool:
    """Whether the search of a `plan` line along a rollout may end in one of several minima, and the file does
    not say how many starts it has."""
    planned = asked.question is not None and asked.question.verb == "plan"
    convex = vars(module).get("CONVEX", False)
    along = module.METHOD in ("ilqr", "multiple_shooting")
    return planned and along and not convex and "restarts" not in module.OPTIONS


@dataclass(slots=True)
class Inference:
    """The question of one call."""

    model: Model
    given: Given
    masks: Mapping[str, Any]
    settings: Settings
    search: Search
    asked: Asked
    plan: Plan
    module: ModuleType
    incomplete: frozenset[str]
    part: ModuleType | None = None
    blocks: tuple[ModuleType, ...] = ()
    starts: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(
        model: Model,
        given: Given,
        masks: Mapping[str, Any],
        settings: Settings,
        search: Search,
        *,
        find: Sequence[str] | None = None,
        of: str | None = None,
        objective: str | None = None,
        using: str | None = None,
        starts: Mapping[str, Any] | None = None,
    ) -> Inference:
        """Settle roles and method. Raises DataError where nothing fits."""
        incomplete = incomplete_names(model, given, masks, settings.chunk_bytes)
        asked = model.asked(find, given.names(), of, objective, incomplete)
        return Inference.settled(model, given, masks, settings, search, asked, incomplete, using, starts)

    @staticmethod
    def settled(
        model: Model,
        given: Given,
        masks: Mapping[str, Any],
        settings: Settings,
        search: Search,
        asked: Asked,
        incomplete: frozenset[str],
        using: str | None = None,
        starts: Mapping[str, Any] | None = None,
    ) -> Inference:
        """The same with the roles settled already."""
        if using is not None and using not in method_names():
            known = method_names()
            raise DataError(
                f"there is no method `{using}`",
                did_you_mean(using, known) or f"methods are {', '.join(known)}",
            )
        plan, module = model.compiled(asked, using)
        if plan.method is None and asked.sought:
            raise DataError(plan.because, "give these variables, or ask for others with find")
        part = part_of(model, asked, plan)
        blocks = blocks_of(model, asked, plan)
        begun = starting.checked(model.checked, asked, starts or {})
        if search.restarts is None and _many_minima(asked, module):
            search = replace(search, restarts=PLAN_STARTS)
        # A question is compiled once: what that takes is no part of the time of the first answer.
        return Inference(
            model,
            given,
            masks,
            settings,
            search.begun(),
            asked,
            plan,
            module,
            incomplete,
            part,
            blocks,
            begun,
        )

    # --- chunks ---

    def chunk_size(self) -> int:
        """Rows that fit into the memory limit together."""
        rows = self.given.rows
        if rows <= 1 or self.module.JOINT or not self.asked.sought:
            return max(rows, 1)
        needed = self._bytes_per_row(min(rows, _MEASURED_ROWS)) * self._side_by_side()
        return min(rows, rows_that_fit(needed, self.settings.chunk_bytes))

    def _bytes_per_row(self, count: int) -> int:
        """Memory that a row needs while it is searched, measured once for questions of the same shapes."""
        shapes, kept = self._shapes(), self.model.kept(self.module)
        known = kept.footprints.find(shapes)
        if known is not None:
            return known
        first = self.bound_rows(0, count)
        observed = {name: self.mask(first, name, 0, first.batch) for name in self.incomplete}
        found = footprint.bytes_per_row(first, observed)
        # What countable unknowns need may depend on which entries are given.
        if self.part is None and not self.plan.block.discrete:
            kept.footprints.keep(shapes, found)
        return found

    def _shapes(self) -> Hashable:
        return self.given.row_shapes(), self.settings.dtype, str(self.settings.device), self.incomplete

    def work(self, rows: int) -> int:
        """Bytes that the answer of so many rows goes through in every step, as far as they are known."""
        own = self.model.kept(self.module).footprints.find(self._shapes()) or 0
        return rows * own * self._side_by_side() + self.given.entries(rows) * self.settings.dtype.itemsize

    def _side_by_side(self) -> int:
        """Points of every row that are evaluated at once: starts, and around each of them what is drawn."""
        method, options = self.search.method, self.module.OPTIONS
        own = not method or method == self.module.METHOD
        return self._restarts() * footprint.courses(method or self.module.METHOD, options if own else {})

    def _restarts(self) -> int:
        """Starts per row, which are searched side by side: by the call, else by the line of the file."""
        return int(self.search.restarts or self.module.OPTIONS.get("restarts") or 1)

    def chunks(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Result]:
        """Answers for consecutive rows."""
        rows, size = self.given.rows, self.chunk_size()
        if rows == 0:
            raise DataError("the data holds no examples", "pass at least one row")
        keep_freed()
        for start in range(0, rows, size):
            stop = min(start + size, rows)

            def heard(p: Progress, done: int = start) -> None:
                assert progress is not None
                ended = p.finished if not self.module.JOINT else (stop - done if p.finished else 0)  # noqa: B023
                progress(done + ended, p.iteration)

            with threads_for(self.work(stop - start)):
                found = self._answer(start, stop, heard if progress is not None else None)
            yield found

    def all(self, progress: Callable[[int, int], None] | None = None) -> Result:
        """All rows as one result."""
        return joined(self.module, list(self.chunks(progress)))

    # --- one chunk ---

    def _discrete(self, name: str) -> bool:
        return any(v.name == name and v.type.kind != "real" for v in self.model.checked.variables)

    def bound_rows(self, start: int, stop: int) -> Any:
        """The model with the values of some rows."""
        values = self.given.chunk(start, stop)
        for name in self.incomplete & values.keys():
            if self._discrete(name):
                values[name] = holes_filled(values[name])
        settings = (
            self.settings if start == self.settings.first_row else replace(self.settings, first_row=start)
        )
        bound = self.model.bound(self.module, values, settings, self.incomplete)
        line = line_of(self.model.checked, self.asked.summed)
        beta = checked_beta(beta_of(line.beta, bound)) if line is not None else 1.0
        kept = self.model.kept(self.module)
        begun = starting.rows_of(bound, self.starts, start, stop) if self.starts else {}
        return replace(bound, part=self.part, blocks=self.blocks, beta=beta, kept=kept, starts=begun)

    def _answer(self, start: int, stop: int, progress: Callable[[Progress], None] | None) -> Result:
        bound = self.bound_rows(start, stop)
        if not self.asked.sought:
            found = watched(bound, lambda: report.evaluate(bound, {}, posing.held_values(bound)))
            return report.with_shared(found, self.module)
        observed = {name: self.mask(bound, name, start, stop) for name in self.incomplete}
        return report.with_shared(ask.infer(bound, self.search, observed, progress), self.module)

    def mask(self, bound: Any, name: str, start: int, stop: int) -> Tensor:
        """True where the value is given."""
        value: Tensor = bound.values[name]
        missing = holes(self.given.chunk(start, stop)[name]) if self._discrete(name) else torch.isnan(value)
        return mask_of(value, missing, self.masks.get(name), slice(start, stop))


def mask_of(value: Tensor, missing: Tensor, own: Any, rows: slice | Rows) -> Tensor:
    """True where a value of some rows is given, [rows or 1, ...]: where it is not `missing`, and where the
    caller's `own` mask of all rows, or of any, does not hide it."""
    mask = ~missing.to(value.device)
    mask = mask if mask.ndim == value.ndim else mask[None]
    if own is None:
        return mask
    array = torch.as_tensor(np.asarray(own))
    array = array[rows] if array.ndim == value.ndim else array[None]
    return mask & array.to(value.device, torch.bool)


def part_of(model: Model, asked: Asked, plan: Plan) -> ModuleType | None:
    """The module of the real unknowns alone, where countable ones are sought beside them, or of the real ones
    that are integrated out before others are sought."""
    if asked.summed:
        real = any(v.name in asked.summed and v.type.kind == "real" for v in model.checked.variables)
        inner = replace(asked, sought=asked.summed, summed=(), question=None)
        return model.compiled(inner, None)[1] if real and plan.method is not None else None
    if plan.structure.find("mixed") is None:
        return None
    # What follows `using` is about all unknowns at once.
    line = replace(asked.question, using=None) if asked.question is not None else None
    return model.compiled(replace(asked, sought=real_names(plan), question=line), None)[1]


def blocks_of(model: Model, asked: Asked, plan: Plan) -> tuple[ModuleType, ...]:
    """The modules of the groups of unknowns that take turns."""
    line = replace(asked.question, using=None) if asked.question is not None else None
    groups = [tuple(part.block.query.sought) for part in plan.parts]
    return tuple(model.compiled(replace(asked, sought=names, question=line), None)[1] for names in groups)


def real_names(plan: Plan) -> tuple[str, ...]:
    return tuple(v.name for v in plan.block.sought if v.type.kind == "real")


def incomplete_names(
    model: Model, given: Given, masks: Mapping[str, Any], chunk_bytes: int
) -> frozenset[str]:
    """Given variables of which some entries are to be found."""
    variables = {v.name: v for v in model.checked.variables}
    found = set()
    for name, mask in masks.items():
        _check_mask(name, mask, variables, given)
        if not bool(np.asarray(mask).astype(bool).all()):
            found.add(name)
    for name in given.names() - found:
        variable = variables.get(name)
        if variable is not None and variable.missing and any(map(_has_nan, given.pieces(name, chunk_bytes))):
            found.add(name)
    return frozenset(found)


def holes(value: Any) -> Tensor:
    """True where a value of a discrete variable is missing."""
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    return torch.isnan(tensor) if tensor.is_floating_point() else torch.zeros_like(tensor, dtype=torch.bool)


def holes_filled(value: Any) -> Any:
    """The value with 0 in place of what is missing; the mask of what is given says that it is not."""
    if isinstance(value, Tensor):
        return value.nan_to_num(nan=0.0) if value.is_floating_point() else value
    array = np.asarray(value)
    return np.nan_to_num(array, nan=0.0) if array.dtype.kind == "f" else array


def _has_nan(value: Any) -> bool:
    if isinstance(value, Tensor):
        return bool(torch.isnan(value).any())
    part = np.asarray(value)
    return part.dtype.kind == "f" and bool(np.isnan(part).any())


def _check_mask(name: str, mask: Any, variables: Mapping[str, Any], given: Given) -> None:
    variable = variables.get(name)
    clamped = variable is not None and variable.role == "latent" and variable.type.kind != "real"
    if variable is None or (variable.role != "observed" and not clamped):
        known = [v.name for v in variables.values() if v.role == "observed"]
        raise DataError(
            f"observed= names `{name}`, which is no observed variable",
            did_you_mean(name, known) or f"there are {', '.join(known)}",
        )
    if name not in given.shapes:
        raise DataError(f"observed= masks `{name}`, which has no value", f"pass {name}=... too")
    array = np.asarray(mask)
    if array.dtype.kind not in "bui" or array.ndim not in (
        len(given.shapes[name]),
        variable.type.rank,
        variable.type.rank + 1,
    ):
        raise DataError(
            f"the mask of `{name}` is not an array of true and false of its shape",
            "True = observed, False = to be found",
        )


def joined(module: ModuleType, parts: list[Result]) -> Result:
    """Results of consecutive rows as one."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def rows(of: Callable[[Result], Mapping[str, Tensor]], name: str) -> Tensor:
        return torch.cat([of(p)[name] for p in parts])

    traces = [p.trace for p in parts]
    gaps = [p.gap for p in parts if p.gap is not None]
    gap = torch.cat(gaps) if len(gaps) == len(parts) else None
    return replace(
        first,
        values={n: v if n in first.shared else rows(lambda p: p.values, n) for n, v in first.values.items()},
        energy=torch.cat([p.energy for p in parts]),
        terms={n: rows(lambda p: p.terms, n) for n in first.terms},
        factors={n: rows(lambda p: p.factors, n) for n in first.factors},
        converged=torch.cat([p.converged for p in parts]),
        status=tuple(s for p in parts for s in p.status),
        iterations=torch.cat([p.iterations for p in parts]),
        violations={n: rows(lambda p: p.violations, n) for n in first.violations},
        multipliers={n: rows(lambda p: p.multipliers, n) for n in first.multipliers},
        certificate=_joined_certificate(module, parts, gap),
        gap=gap,
        marginals={n: rows(lambda p: p.marginals, n) for n in first.marginals},
        trace=_joined_traces([t for t in traces if t is not None]) if traces[0] is not None else None,
    )


def _joined_certificate(module: ModuleType, parts: list[Result], gap: Tensor | None) -> str:
    """What is known of all rows: parts that know the same say it once."""
    texts = list(dict.fromkeys(p.certificate for p in parts))
    if len(texts) == 1:
        return texts[0]
    if not any(p.violations for p in parts):
        return certificate(module, parts[0].method, torch.cat([p.converged for p in parts]), gap)
    return "; ".join(texts)


def _joined_traces(traces: list[Tensor]) -> Tensor:
    """Traces side by side; a shorter one keeps its last energy."""
    longest = max(t.shape[0] for t in traces)
    filled = [
        torch.cat([t, t[-1:].expand(longest - t.shape[0], -1)]) if t.shape[0] < longest else t for t in traces
    ]
    return torch.cat(filled, dim=1)
