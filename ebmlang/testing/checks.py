"""What every energy must satisfy, one function for each property.

Each check takes a model and values (a `Case`, or a plain dictionary of arrays), works in float64, raises
`CheckFailed` with what was found, and returns how often something happened that a reader should know.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import Tensor

from ebmlang.api import Model
from ebmlang.compiler import typed
from ebmlang.errors import DataError
from ebmlang.runtime.bind import Bound
from ebmlang.testing.case import Case, CheckFailed
from ebmlang.testing.evaluate import Energies, Values, bound_to, energies, evaluation_module, scalars_of
from ebmlang.testing.strategies import property_of, stated_domain

Remarks = Counter[str]

NOT_CHECKED = "not checked: "
"""A remark that begins so means that the check did not look at these values."""

SUM_TOLERANCE = 1e-9
"""Relative to 1 + the sum of absolute values: only the order of additions may differ."""

APPROXIMATE = 1e-6
"""`a ~= b` means |a - b| <= this times (1 + the larger of |a| and |b|)."""

ROUNDING = 1e-9
"""`a <= b` and `a >= b` may be missed by this much, relative in the same way; `<` and `>` by nothing."""


def check_finite(model: Model, values: Values) -> Remarks:
    """Every term is a number or +inf. NaN and -inf fail."""
    with torch.no_grad():
        found = energies(bound_to(model, evaluation_module(model), values))
    remarks: Remarks = Counter()
    for name, term in (*found.terms.items(), ("the total energy", found.total)):
        words = f"the term `{name}`" if name in found.terms else name
        rows = term.reshape(-1)
        bad = torch.isnan(rows) | (rows == -torch.inf)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            where = f" in row {row}" if rows.numel() > 1 else ""
            raise CheckFailed(f"{words} is {float(rows[row])}{where}")
    if bool(torch.isinf(found.total).any()):
        remarks["examples of energy +inf"] += 1
    return remarks


def check_batch_equals_loop(model: Model, values: Values) -> Remarks:
    """The energies of a row do not depend on the rows beside it.

    Terms of the whole batch are exempt: they are declared to look at all examples.
    """
    module = evaluation_module(model)
    batch_terms = {term.name for term in module.TERMS if term.batch}
    with torch.no_grad():
        together = energies(bound_to(model, module, values))
        rows = together.total.shape[0]
        alone = [energies(bound_to(model, module, _row(module, values, row))) for row in range(rows)]
    for name, term in together.terms.items():
        if name in batch_terms:
            continue
        all_rows = term.reshape(-1).expand(rows)
        each = torch.stack([one.terms[name].reshape(()) for one in alone])
        _require_equal(f"the term `{name}`", "in the batch", all_rows, "alone", each, all_rows.abs())
    return Counter()


def _row(module: object, values: Values, row: int) -> Case:
    """One example of the values."""
    per_example = {spec.name for spec in module.VARIABLES if spec.per_example}  # type: ignore[attr-defined]
    arrays = {n: np.asarray(a)[row : row + 1] if n in per_example else a for n, a in values.items()}
    return Case(arrays, values.hypers if isinstance(values, Case) else {})


def check_terms_sum(model: Model, values: Values) -> Remarks:
    """Terms sum to the total, the positions of a plated term to the term, and where the compiler has
    split the energy into a smooth part and absolute values, the parts to the total."""
    bound = bound_to(model, evaluation_module(model), values)
    with torch.no_grad():
        found = energies(bound)
        unknown = {name: bound.values[name] for name in bound.module.SOUGHT}
        held = {n: v for n, v in bound.values.items() if n not in bound.module.SOUGHT}
        held |= bound.instance.prepare(held)
        factors = bound.instance.factors(unknown, held)
        total, size = _summed(found)
        _require_equal("the energy", "total", found.total, "sum of the terms", total, size)
        for name, factor in factors.items():
            batch = found.terms[name].ndim
            positions = factor.flatten(batch).sum(-1) if factor.ndim > batch else factor
            scale = factor.abs().flatten(batch).sum(-1) if factor.ndim > batch else factor.abs()
            words = f"the term `{name}`"
            _require_equal(words, "whole", found.terms[name], "sum of its positions", positions, scale)
        if bound.module.SPLIT and not bound.module.JOINT:
            parts = bound.instance.smooth(unknown, held)
            for name, weight in bound.instance.absolute(held).items():
                value = unknown[name]
                lead = 1 + dict(vars(bound.module).get("LENGTHS", ())).get(name, value.ndim - 1)
                grouped = value.reshape(*value.shape[:lead], -1).norm(dim=-1)
                first = weight.expand_as(value).reshape(*value.shape[:lead], -1)[..., 0]
                parts = parts + (first * grouped).flatten(1).sum(-1)
            _require_equal("the energy", "total", found.total, "smooth part and absolute values", parts, size)
    return Counter()


def _summed(found: Energies) -> tuple[Tensor, Tensor]:
    """The sum of all terms per row, and of their absolute values."""
    total = size = torch.zeros_like(found.total)
    for term in found.terms.values():
        total, size = total + term, size + term.abs()
    return total, size


def _require_equal(
    what: str, left_name: str, left: Tensor, right_name: str, right: Tensor, scale: Tensor
) -> None:
    slack = SUM_TOLERANCE * (1 + torch.nan_to_num(scale, posinf=0.0))
    same = (left == right) | ((left - right).abs() <= slack) | (torch.isnan(left) & torch.isnan(right))
    if not bool(same.all()):
        row = int((~same.reshape(-1)).nonzero()[0])
        a, b = (float(side.expand(same.shape).reshape(-1)[row]) for side in (left, right))
        where = f" in row {row}" if same.numel() > 1 else ""
        raise CheckFailed(f"{what}{where}: {left_name} {a!r}, {right_name} {b!r}")


# --- declared properties ------------------------------------------------------------------------


def check_properties(model: Model, values: Values, name: str | None = None) -> Remarks:
    """The declared properties, or the one of this name, hold at the values.

    A property is left out where the values lie outside the domains that it states, and without `name` also
    where it quantifies a name that has no value (draw with `values(model, for_property=NAME)`).
    """
    module = evaluation_module(model)
    bound = bound_to(model, module, values)
    remarks: Remarks = Counter()
    chosen = model.checked.properties if name is None else (property_of(model, name),)
    for p in chosen:
        missing = [q.name for q in p.quantified if q.name not in values]
        if missing and name is not None:
            raise DataError(f"no value for `{missing[0]}`, which `{name}` quantifies", "pass one")
        if missing:
            remarks[f"{NOT_CHECKED}`{p.name}` needs a value for {', '.join(missing)}"] += 1
            continue
        if not _applies(p, bound, values):
            remarks["examples outside the stated domain"] += 1
            continue
        if p.hindrance:
            remarks[f"examples with drawn unknowns instead of answers: {p.hindrance}"] += 1
        own = {q.name: _tensor(values, q) for q in p.quantified if q.name not in bound.values}
        with torch.no_grad():
            sides = bound.instance.property(p.name, {**bound.values, **own})
        _require_claim(p, claim(model, p), sides)
    return remarks


def _tensor(values: Values, q: typed.Variable) -> Tensor:
    kind = {"real": torch.float64, "bool": torch.bool}.get(q.type.kind, torch.long)
    return torch.as_tensor(np.asarray(values[q.name])).to(kind)


def _applies(p: typed.Property, bound: Bound, values: Values) -> bool:
    """Whether the values lie in the domains that the property states."""
    hypers = scalars_of(bound)
    stated = [q for q in p.quantified if q.domain.name != "reals" and q.type.kind == "real"]
    return all(bool(stated_domain(q, hypers).inside(_tensor(values, q), ROUNDING).all()) for q in stated)


def _require_claim(p: typed.Property, text: str, sides: tuple[Tensor, ...]) -> None:
    if p.relation is None:
        if not bool(sides[0].bool().all()):
            raise CheckFailed(f"the property `{p.name}` is false: {text}")
        return
    left, right = torch.broadcast_tensors(sides[0].double(), sides[1].double())
    scale = 1 + torch.maximum(left.abs(), right.abs())
    match p.relation:
        case "~=":
            holds = (left == right) | ((left - right).abs() <= APPROXIMATE * scale)
        case "==":
            holds = left == right
        case "!=":
            holds = (left != right) & ~torch.isnan(left) & ~torch.isnan(right)
        case "<":
            holds = left < right
        case ">":
            holds = left > right
        case "<=":
            holds = (left <= right) | (left - right <= ROUNDING * scale)
        case _:
            holds = (left >= right) | (right - left <= ROUNDING * scale)
    if not bool(holds.all()):
        at = int((~holds.reshape(-1)).nonzero()[0])
        a, b = float(left.reshape(-1)[at]), float(right.reshape(-1)[at])
        raise CheckFailed(f"the property `{p.name}` is false: {text}, found {a:.10g} and {b:.10g}")


def claim(model: Model, p: typed.Property) -> str:
    """What a property claims, as the file words it."""
    text = model.checked.source.extract(p.span)
    return " ".join(text[text.find("{") + 1 : text.rfind("}")].split())
