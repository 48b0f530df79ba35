"""Generated PyTorch beside the reference evaluator, for one model and one question."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.query import Query
from ebmlang.compiler.source import Source
from ebmlang.runtime.bind import Bound, Settings, bind
from ebmlang.runtime.constrained.problem import flat
from ebmlang.runtime.generated import load_text
from ebmlang.runtime.posing import held_values, make_problem
from ebmlang.runtime.problem import Problem, View
from ebmlang.runtime.spec import ConstraintSpec
from tests.properties.energies import PER_EXAMPLE, SIZES, values
from tests.reference import Reference
from tests.runtime.hessians import hessians

ROWS = 3


class Rejected(Exception):
    """The checker refused the text."""


def checked(text: str) -> typed.Model:
    found = pipeline.check_source(Source("<random>", text))
    if found.failed:
        raise Rejected(str(found.diagnostics[0].diagnostic))
    return found.models[-1]


@dataclass
class Asked:
    """A model, what is sought, and the generated module."""

    model: typed.Model
    sought: tuple[str, ...]
    dtype: torch.dtype = torch.float64

    @cached_property
    def plan(self) -> Plan:
        return pipeline.plan_for(pipeline.graph_of(self.model), Query(self.sought))

    @cached_property
    def text(self) -> str:
        return pipeline.generate_for(self.plan).text

    @cached_property
    def module(self) -> ModuleType:
        return load_text(self.text, self.model.name)

    def bound(
        self, shared: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], repeated: tuple[str, ...] = ()
    ) -> Bound:
        """Values bound with a row for each example; those in `repeated` are passed once for all."""
        hypers = {v.name for v in self.model.hypers}
        numbers = {**SIZES, **{k: v for k, v in shared.items() if k in hypers}}
        given = {k: v for k, v in shared.items() if k not in hypers}
        for name in rows[0]:
            given[name] = np.asarray(rows[0][name]) if name in repeated else np.stack([r[name] for r in rows])
        settings = Settings(self.dtype, torch.device("cpu"))
        return bind(self.module, numbers, given, settings, frozenset(self.sought))

    def unknown(self, bound: Bound) -> dict[str, Tensor]:
        return {name: bound.values[name] for name in self.sought}


def close(found: Any, expected: Any, what: str, tol: float = 1e-7) -> None:
    """Equal up to rounding. Infinite and NaN count as one: a factor taken out of a sum may turn one
    into the other."""
    a, b = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    a, b = np.broadcast_arrays(a, b)
    scale = 1 + np.abs(np.where(np.isfinite(b), b, 0))
    with np.errstate(invalid="ignore"):
        wrong = ~((np.abs(a - b) <= tol * scale) | (a == b) | (~np.isfinite(a) & ~np.isfinite(b)))
    assert not wrong.any(), f"{what}: generated {a}, reference {b}"


def check_text(text: str, seed: int) -> None:
    """Everything that must hold of the code generated for a model."""
    model = checked(text)
    rng = np.random.default_rng(seed)
    shared, rows = values(rng, ROWS)
    reals = [v.name for v in model.variables if v.type.kind == "real" and v.role != "hyper"]
    share = rng.choice([0.0, 0.3, 0.6, 1.0])
    asked = Asked(model, tuple(n for n in reals if rng.random() < share))
    compare(asked, shared, rows)
    repeated = tuple(n for n in PER_EXAMPLE if rng.random() < 0.5)
    same = [{**r, **{n: rows[0][n] for n in repeated}} for r in rows]
    compare(asked, shared, same, repeated)
    gradient(asked, shared, rows, rng)
    derivatives(asked, shared, rows, rng)
    loop(asked, shared, rows)
    split(asked, shared, same, repeated)


def _reference(asked: Asked, shared: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Reference:
    return Reference(asked.model, SIZES, shared, rows)


def compare(
    asked: Asked, shared: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], repeated: tuple[str, ...] = ()
) -> None:
    """Terms, factors, lets and energy are those of the reference."""
    bound = asked.bound(shared, rows, repeated)
    reference = _reference(asked, shared, rows)
    unknown, held = asked.unknown(bound), held_values(bound)
    terms = bound.instance.terms(unknown, held)
    factors = bound.instance.factors(unknown, held)
    batch_sum, total = 0.0, np.zeros(bound.batch)
    for term in asked.model.terms:
        found = terms[term.name]
        assert found.dtype == asked.dtype, f"{term.name} is {found.dtype}"
        rows_here = range(1 if term.batch else bound.batch)
        expected = [reference.term(term, row) for row in rows_here]
        close(found.detach(), expected if found.ndim else expected[0], f"term {term.name}")
        own = np.broadcast_to(np.asarray(expected, dtype=float), (bound.batch,))
        per_row = next(t for t in asked.module.TERMS if t.name == term.name).per_example
        batch_sum += own.sum() if per_row else own[0]
        total = total + own
        if term.axes:
            _compare_factors(term, factors[term.name], reference, bound.batch)
    lets = bound.instance.lets(unknown, held)
    for let in asked.model.lets:
        found = lets[let.name]
        expected_rows = [reference.let(let.name, row) for row in range(bound.batch)]
        for row, value in enumerate(expected_rows):
            mine = found[min(row, found.shape[0] - 1)] if let.name in asked.module.ROW_LETS else found
            assert tuple(mine.shape) == np.shape(value), f"let {let.name} has the shape {tuple(mine.shape)}"
            close(mine.detach(), value, f"let {let.name}")
    for together, alone in zip(bound.instance.report(unknown, held), (terms, factors, lets), strict=True):
        assert together.keys() == alone.keys()
        for name, value in together.items():
            close(value.detach(), alone[name].detach().numpy(), f"{name} in the report")
    _compare_constraints(asked, bound, reference)
    energy = bound.instance.energy(unknown, held).detach()
    close(energy, batch_sum if asked.module.JOINT else total if energy.ndim else total[0], "energy")


def _compare_constraints(asked: Asked, bound: Bound, reference: Reference) -> None:
    values = bound.instance.constraints(asked.unknown(bound), held_values(bound))
    assert [c.name for c in asked.model.constraints] == list(values)
    for constraint, limit in zip(asked.model.constraints, asked.plan.block.graph.limits, strict=True):
        found = flat(values[constraint.name], ConstraintSpec(limit.name, "", limit.per_example), bound.batch)
        for row in range(bound.batch):
            cells = reference.demand(constraint, row, static=limit.mask is None)
            expected = np.concatenate([c.flatten() for c in cells]) if cells else np.zeros(0)
            assert found.shape[1] == len(expected), f"constraint {limit.name}"
            close(found[row].detach(), expected, f"constraint {limit.name}")


def _compare_factors(term: typed.Term, found: Tensor, reference: Reference, batch: int) -> None:
    static = term.guard is None or term.guard.level is not typed.Level.EXAMPLE
    for row in range(batch):
        expected = [v for v in reference.factor(term, row) if v is not None or not static]
        per_row = term.value.level is typed.Level.EXAMPLE or not static
        mine = found[min(row, found.shape[0] - 1)] if per_row else found
        close(mine.detach().flatten(), [v if v is not None else 0.0 for v in expected], f"factor {term.name}")


def loop(asked: Asked, shared: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """All rows together give what each gives alone, where no term looks across rows."""
    if any(t.batch for t in asked.model.terms):
        return
    bound = asked.bound(shared, rows)
    terms = bound.instance.terms(asked.unknown(bound), held_values(bound))
    for row, example in enumerate(rows):
        one = asked.bound(shared, [example])
        alone = one.instance.terms(asked.unknown(one), held_values(one))
        for name, value in alone.items():
            mine = terms[name]
            together = mine[min(row, mine.shape[0] - 1)] if mine.ndim else mine
            close(together.detach(), value.detach().reshape(()), f"row {row} of {name}")


def gradient(
    asked: Asked, shared: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], rng: np.random.Generator
) -> None:
    """The gradient of the energy is that of central differences, away from kinks."""
    if not asked.sought:
        return
    bound = asked.bound(shared, rows)
    held = held_values(bound)
    leaves = {n: v.clone().requires_grad_() for n, v in asked.unknown(bound).items()}
    value = bound.instance.energy(leaves, held).sum()
    if not value.requires_grad:
        return
    value.backward()
    way = {n: torch.from_numpy(rng.normal(size=tuple(v.shape))) for n, v in leaves.items()}
    slope = sum(float((way[n] * v.grad).sum()) for n, v in leaves.items() if v.grad is not None)
    with torch.no_grad():

        def at(step: float) -> float:
            moved = {n: v + step * way[n] for n, v in leaves.items()}
            return float(bound.instance.energy(moved, held).detach().sum())

        h = 1e-6
        forward, backward = (at(h) - at(0)) / h, (at(0) - at(-h)) / h
        central = (at(h) - at(-h)) / (2 * h)
    if not np.isfinite([forward, backward]).all() or abs(forward - backward) > 1e-3 * (1 + abs(central)):
        return
    if math.isnan(slope) and _may_be_empty(asked.model):
        return
    size = abs(at(0.0)) * 1e-8 + 1e-4 * (1 + abs(central))
    assert abs(slope - central) <= size, f"gradient {slope}, differences {central}"


def derivatives(
    asked: Asked, shared: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], rng: np.random.Generator
) -> None:
    """Derivatives that were written out are those of automatic differentiation, where these are finite."""
    if not asked.sought:
        return
    bound = asked.bound(shared, rows)
    held, written = held_values(bound), asked.module.WRITTEN
    leaves = {n: v.clone().requires_grad_() for n, v in asked.unknown(bound).items()}
    way = {n: torch.from_numpy(rng.normal(size=tuple(v.shape))) for n, v in leaves.items()}
    energy = bound.instance.energy(leaves, held)
    slopes = _slopes(energy.sum(), leaves, True)
    plain = {n: v.detach() for n, v in leaves.items()}
    with torch.no_grad():
        if "energy_and_gradient" in written:
            found, mine = bound.instance.energy_and_gradient(plain, held)
            close(found, energy.detach(), "energy beside its gradient")
            _same(mine, slopes, plain, "gradient")
        if "smooth_and_gradient" in written:
            smooth, mine = bound.instance.smooth_and_gradient(plain, held)
            with torch.enable_grad():
                value = bound.instance.smooth(leaves, held)
                expected = _slopes(value.sum(), leaves, False)
            close(smooth, value.detach(), "smooth part beside its gradient")
            _same(mine, expected, plain, "gradient of the smooth part")
    if "hessian_times" in written:
        along = sum(((slopes[n] * way[n]).sum() for n in leaves), torch.zeros((), dtype=torch.float64))
        expected = _slopes(along, leaves, False)
        if all(bool(torch.isfinite(v).all()) for v in slopes.values()):
            _same(bound.instance.hessian_times(plain, held, way), expected, plain, "product with the Hessian")
            _matrices(make_problem(bound, {}), plain)


MOST_MEASURED = 60


def _matrices(problem: Problem, values: Mapping[str, Tensor]) -> None:
    """Matrices in patterns, shared ones included, are those of automatic differentiation."""
    space = problem.space
    if View.HESSIAN not in problem.views or not 0 < space.size <= MOST_MEASURED or space.rows == 0:
        return
    own = {u.name: values[u.name] for u in space.unknowns}
    lifted = {u.name: own[u.name].reshape(-1, *u.shape) for u in space.unknowns}
    x = space.pack({n: v[None] for n, v in lifted.items()} if space.joint else lifted)
    for part, at in ((problem, x), (problem.select(torch.zeros(1, dtype=torch.int64)), x[:1])):
        expected = torch.from_numpy(hessians(part, at))
        if bool(torch.isfinite(expected).all()):
            close(part.hessian(at).dense().expand_as(expected), expected, "matrix of the Hessian")


def _slopes(total: Tensor, leaves: Mapping[str, Tensor], again: bool) -> dict[str, Tensor]:
    if not total.requires_grad:
        return {n: torch.zeros_like(v) for n, v in leaves.items()}
    found = torch.autograd.grad(total, list(leaves.values()), create_graph=again, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def _same(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], like: Mapping[str, Tensor], what: str
) -> None:
    for name, value in like.items():
        theirs = expected[name].detach() + 0.0
        mine = torch.where(torch.isfinite(theirs), found[name].expand(value.shape), theirs)
        close(mine, theirs, f"{what} along {name}", 1e-6)


def _may_be_empty(model: typed.Model) -> bool:
    """Whether a guard may leave a maximum or a mean without entries: it is then infinite or NaN."""
    roots = [*(t.value for t in model.terms), *(x.value for x in model.lets)]
    folds = [n for root in roots for n in typed.walk(root) if isinstance(n, typed.Fold)]
    return any(n.guard is not None and n.function not in ("sum", "prod") for n in folds)


def split(
    asked: Asked, shared: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], repeated: tuple[str, ...]
) -> None:
    """Smooth part plus weighted absolute values is the energy, up to what the unknowns do not move."""
    if not asked.module.SPLIT:
        return
    bound = asked.bound(shared, rows, repeated)
    held = held_values(bound)
    here = asked.unknown(bound)
    there = {n: v * 0.3 - 0.2 for n, v in here.items()}

    def parts(unknown: dict[str, Tensor]) -> Tensor:
        total = bound.instance.smooth(unknown, held)
        for name, weight in bound.instance.absolute(held).items():
            value = unknown[name]
            entries = weight * value.abs()
            row = name in PER_EXAMPLE and not asked.module.JOINT
            total = total + (
                entries.expand(bound.batch, *value.shape[1:]).flatten(1).sum(1)
                if row
                else entries.expand(bound.batch, *value.shape[1:]).sum()
                if name in PER_EXAMPLE
                else entries.expand(value.shape).sum()
            )
        return total

    difference = parts(here) - parts(there)
    expected = bound.instance.energy(here, held) - bound.instance.energy(there, held)
    if asked.module.JOINT:
        difference, expected = difference.sum(), expected.sum()
    close(difference, expected, "smooth part plus absolute values")
