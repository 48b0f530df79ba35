"""Hypothesis strategies made from a model's declarations: sizes, hyperparameters, variables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor

from ebmlang.api import Model
from ebmlang.compiler import typed
from ebmlang.compiler.domains import find_domain
from ebmlang.compiler.sizes import Size, SizeError
from ebmlang.errors import DataError
from ebmlang.runtime.arrays import as_tensor
from ebmlang.runtime.bind import make
from ebmlang.runtime.discrete.stocks import ARRANGED, stock_of
from ebmlang.runtime.domain_base import Domain, DomainError
from ebmlang.runtime.domains import DOMAINS
from ebmlang.runtime.generated import Draws, GeneratedModel
from ebmlang.runtime.spec import VariableSpec
from ebmlang.testing import draws
from ebmlang.testing.case import Array, Case
from ebmlang.testing.evaluate import evaluation_module

MOST_ROWS = 3
_MOST_ASSIGNMENTS = 400
_LARGEST_SIZES = (4, 8, 16, 40)
_MOST_TRIED = 20_000
_CPU = torch.device("cpu")


def values(
    model: Model,
    *,
    rows: tuple[int, int] = (1, MOST_ROWS),
    blanks: bool = False,
    for_property: str | None = None,
) -> st.SearchStrategy[Case]:
    """A strategy for everything that an energy of the model is computed from.

    Sizes that `load` did not set are small, even where they have a default: an energy must hold for every
    size. A hyperparameter that was not set is drawn from its declared domain, takes its default, or any
    number when it declares neither. Variables lie in their domains, random ones are drawn from their
    distributions. `rows` bounds the number of examples. With `blanks` some entries of `missing` variables
    are NaN, as `infer` takes them (energies do not). With `for_property` the variables that this property
    quantifies lie in the domains stated there (the declared ones where it states none), and names of its own
    are drawn too.

    Raises DataError when no sizes fit, or when a variable is of a kind that cannot be drawn.
    """
    plan = _plan(model, for_property)

    @st.composite
    def drawn(draw: st.DrawFn) -> Case:
        return _case(draw, plan, rows, blanks)

    return drawn()


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What a strategy works from. `assignments` are the sizes to choose from, small ones first."""

    model: Model
    module: ModuleType
    variables: tuple[VariableSpec, ...]
    quantified: tuple[typed.Variable, ...]
    assignments: tuple[Mapping[str, int], ...]


def _plan(model: Model, name: str | None) -> _Plan:
    module = evaluation_module(model)
    specs: tuple[VariableSpec, ...] = module.VARIABLES
    quantified = property_of(model, name).quantified if name is not None else ()
    free = _free_sizes(model, module)
    assignments = tuple(itertools.islice(_assignments(model, module, free), _MOST_ASSIGNMENTS))
    if not assignments:
        tried = f"no small values of {', '.join(free)} fit" if free else "the sizes that were set do not fit"
        raise DataError(f"{tried} the declarations and subscripts of the model", "set sizes: --set n=10")
    return _Plan(model, module, _ordered(model, specs), quantified, assignments)


def property_of(model: Model, name: str) -> typed.Property:
    """A declared property. Raises DataError when there is none of this name."""
    known = {p.name: p for p in model.checked.properties}
    if name not in known:
        raise DataError(f"the model has no property `{name}`", f"it has {', '.join(known) or 'none'}")
    return known[name]


# --- sizes --------------------------------------------------------------------------------------


def _free_sizes(model: Model, module: ModuleType) -> tuple[str, ...]:
    """Integers that nothing sets: those in a shape, and others without a default."""
    in_shapes: set[str] = set()
    for spec in module.VARIABLES:
        sizes = (*spec.shape, *(() if spec.classes is None else (spec.classes,)))
        in_shapes |= {name for size in sizes for name in size.names()}
    integers = [s for s in module.VARIABLES if _is_integer(s)]
    return tuple(
        s.name for s in integers if s.name not in model.hypers and (s.name in in_shapes or not s.start)
    )


def _is_integer(spec: VariableSpec) -> bool:
    return spec.role == "hyper" and spec.kind == "int" and not spec.shape


def _assignments(model: Model, module: ModuleType, free: tuple[str, ...]) -> Iterator[dict[str, int]]:
    """Sizes that fit every declaration, by their sum; larger ones are tried where no small ones do."""
    fixed = _set_sizes(model, module)
    for largest in _LARGEST_SIZES:
        while largest > 2 and largest ** len(free) > _MOST_TRIED:
            largest -= 1
        tried = sorted(itertools.product(range(1, largest + 1), repeat=len(free)), key=lambda s: (sum(s), s))
        fitting = (dict(zip(free, sizes, strict=True)) for sizes in tried[:_MOST_TRIED])
        found = [sizes for sizes in fitting if _fits(module, _with_defaults(module, {**fixed, **sizes}))]
        if found:
            yield from found
            return
        if not free:
            return


def _set_sizes(model: Model, module: ModuleType) -> dict[str, int]:
    """Integers that were set when the model was loaded."""
    integers = {s.name for s in module.VARIABLES if _is_integer(s)}
    return {name: int(value) for name, value in model.hypers.items() if name in integers}


def _with_defaults(module: ModuleType, sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes and the defaults of the other integers, which may be computed from them."""
    found = dict(sizes)
    for spec in module.VARIABLES:
        if _is_integer(spec) and spec.name not in found:
            found[spec.name] = int(_instance(module, found, 1, 0).start(spec.name, {}))
    return found


def _fits(module: ModuleType, sizes: Mapping[str, int]) -> bool:
    try:
        if any(requirement.size.evaluate(sizes) < 0 for requirement in module.REQUIREMENTS):
            return False
        return all(_spec_fits(module, spec, sizes) for spec in module.VARIABLES)
    except (SizeError, DomainError):
        return False


def _spec_fits(module: ModuleType, spec: VariableSpec, sizes: Mapping[str, int]) -> bool:
    shape = tuple(size.evaluate(sizes) for size in spec.shape)
    classes = 1 if spec.classes is None else spec.classes.evaluate(sizes)
    if min((*shape, classes)) < 1:
        return False
    if _is_integer(spec) and spec.domain != "reals":
        value = torch.tensor([sizes[spec.name]], dtype=torch.float64)
        return bool(_domain(_instance(module, sizes, 1, 0), spec.name, spec, {}).inside(value, 0.0).all())
    if not spec.domain_values and spec.domain not in ARRANGED:
        DOMAINS[spec.domain]().check(shape)
    return True


# --- one case -----------------------------------------------------------------------------------


def _case(draw: st.DrawFn, plan: _Plan, rows: tuple[int, int], blanks: bool) -> Case:
    sizes = _sizes(draw, plan.assignments)
    batch = draw(st.integers(*rows))
    set_by_caller = plan.model.hypers
    integers = _with_defaults(plan.module, {**_set_sizes(plan.model, plan.module), **sizes})
    hypers: dict[str, Any] = dict(integers)
    tensors: dict[str, Tensor] = {}
    for spec in (s for s in plan.variables if s.role == "hyper" and not _is_integer(s)):
        if spec.name in set_by_caller:
            value = set_by_caller[spec.name]
        else:
            value = _hyper(draw, plan, spec, hypers, tensors)
        if spec.shape:
            shape = _shape(spec.shape, hypers)
            tensors[spec.name] = as_tensor(spec, value, torch.float64, _CPU).expand(shape)
        hypers[spec.name] = value
    known = _variables(draw, plan, hypers, tensors, batch)
    for spec in (s for s in plan.variables if blanks and s.missing and _entrywise(s)):
        known[spec.name][~draws.truths(draw, known[spec.name].shape)] = np.nan
    settled = set_by_caller.keys() | integers.keys()
    chosen = {n: v for n, v in hypers.items() if n in sizes or n not in settled}
    return Case(known, chosen)


def _sizes(draw: st.DrawFn, assignments: tuple[Mapping[str, int], ...]) -> dict[str, int]:
    """One of the assignments, drawn size by size, so that the shrinker lowers each for itself."""
    chosen: dict[str, int] = {}
    left = assignments
    for name in assignments[0]:
        chosen[name] = draw(st.sampled_from(sorted({sizes[name] for sizes in left})))
        left = tuple(sizes for sizes in left if sizes[name] == chosen[name])
    return chosen


def _hyper(
    draw: st.DrawFn, plan: _Plan, spec: VariableSpec, hypers: Mapping[str, Any], known: Mapping[str, Tensor]
) -> Any:
    """Drawn from the declared domain, or the default; any number when it has neither."""
    instance = _instance(plan.module, hypers, 1, 0)
    shape = _shape(spec.shape, hypers)
    if spec.start and (spec.domain == "reals" or draw(st.booleans())):
        default = instance.start(spec.name, known)
        if not spec.shape:
            return bool(default) if spec.kind == "bool" else float(default)
        return as_tensor(spec, default, torch.float64, _CPU).expand(shape).numpy().copy()
    value = _value(draw, spec, _domain(instance, spec.name, spec, known), shape, hypers)
    return value if spec.shape else value.item()


def _variables(
    draw: st.DrawFn, plan: _Plan, hypers: Mapping[str, Any], arrays: Mapping[str, Tensor], batch: int
) -> dict[str, Array]:
    seed = draw(st.integers(0, 1000)) if any(s.role == "random" for s in plan.variables) else 0
    instance = _instance(plan.module, hypers, batch, seed)
    stated = {q.name: q for q in plan.quantified}
    known, found = dict(arrays), {}
    for spec in (s for s in plan.variables if s.role != "hyper"):
        shape = _shape(spec.shape, hypers)
        whole_shape = (batch, *shape) if spec.per_example else shape
        if spec.role == "random" and spec.start:
            start = as_tensor(spec, instance.start(spec.name, known), torch.float64, _CPU)
            known[spec.name] = start.expand(whole_shape)
            found[spec.name] = known[spec.name].numpy().copy()
            continue
        if spec.domain in ARRANGED:
            chosen = _chosen(instance, spec, known)
            found[spec.name] = _arrangement(draw, stock_of(spec, shape[-1], chosen), whole_shape, spec)
            known[spec.name] = torch.from_numpy(found[spec.name])
            continue
        domain = _domain(instance, spec.name, spec, known)
        own = stated.get(spec.name)
        if own is not None and own.domain.name != "reals":
            domain = stated_domain(own, hypers)
        _check(domain, whole_shape)
        found[spec.name] = _value(draw, spec, domain, whole_shape, hypers)
        known[spec.name] = torch.from_numpy(found[spec.name])
    declared = {s.name for s in plan.variables}
    for name, q in stated.items():
        if name not in declared:
            spec = VariableSpec(
                name, "quantified", q.type.kind, q.type.shape, q.type.classes, domain=q.domain.name
            )
            if q.arranged:
                own_shape = _shape(spec.shape, hypers)
                chosen = int(_number(q.domain.arguments[0], hypers) or 0) if q.domain.arguments else None
                stock = stock_of(spec, own_shape[-1], chosen)
                found[name] = _arrangement(draw, stock, own_shape, spec)
                continue
            found[name] = _value(draw, spec, stated_domain(q, hypers), _shape(spec.shape, hypers), hypers)
    return found


def _chosen(instance: GeneratedModel, spec: VariableSpec, known: Mapping[str, Tensor]) -> int | None:
    """How many entries of a subset are true; None of a permutation."""
    if not spec.domain_values:
        return None
    (chosen,) = instance.domain(spec.name, known)
    return int(torch.as_tensor(chosen).reshape(-1)[0])


def _arrangement(
    draw: st.DrawFn, stock: tuple[int, ...], shape: tuple[int, ...], spec: VariableSpec
) -> Array:
    """Permutations or subsets along the last dimension; the simplest one is in the order of the stock."""
    count = math.prod(shape[:-1])
    found = np.array([draw(st.permutations(stock)) for _ in range(count)], np.int64).reshape(shape)
    return found.astype(bool) if spec.kind == "bool" else found


def _value(
    draw: st.DrawFn, spec: VariableSpec, domain: Domain, shape: tuple[int, ...], sizes: Mapping[str, Any]
) -> Array:
    """An array of the kind and the domain of a variable."""
    match spec.kind:
        case "bool":
            return draws.truths(draw, shape)
        case "class":
            assert spec.classes is not None
            return draws.whole(draw, 0, spec.classes.evaluate(sizes) - 1, shape)
        case "int":
            least = 1 if spec.domain == "positive" else None
            drawn = torch.from_numpy(draws.whole(draw, -3, 8, shape)).double()
            nearest = domain.nearest(drawn).round().clamp(min=least)
            assume(bool(domain.inside(nearest, 0.0).all()))
            return nearest.long().numpy()
    found = draws.inside(draw, domain, shape)
    return found.numpy().copy()


def _entrywise(spec: VariableSpec) -> bool:
    """Whether the domain binds every entry by itself, so that some may be left out."""
    rule = find_domain(spec.domain)
    return rule is not None and rule.rank == 0


def _check(domain: Domain, shape: tuple[int, ...]) -> None:
    """Leave out what has no point in it: an interval whose ends cross, a mask that allows nothing."""
    try:
        domain.check(shape)
    except DomainError:
        assume(False)


def _domain(instance: GeneratedModel, name: str, spec: VariableSpec, known: Mapping[str, Tensor]) -> Domain:
    if not spec.domain_values:
        return DOMAINS[spec.domain]()
    return DOMAINS[spec.domain](*instance.domain(name, known))


def stated_domain(q: typed.Variable, hypers: Mapping[str, Any]) -> Domain:
    """The domain of a quantified name. Raises DataError when a bound is not plain arithmetic."""
    bounds = [_number(argument, hypers) for argument in q.domain.arguments]
    if any(bound is None for bound in bounds) or q.domain.where is not None:
        raise DataError(
            f"the domain of `{q.name}` in the property is too involved to draw from",
            "write its bounds with numbers and hyperparameters",
        )
    return DOMAINS[q.domain.name](*bounds)


def _number(node: typed.Expr, hypers: Mapping[str, Any]) -> float | None:
    """A bound made of numbers, sizes, hyperparameters and the four operations."""
    match node:
        case typed.Constant():
            return float(node.value)
        case typed.SizeOf():
            return float(node.size.evaluate(hypers))
        case typed.Read() if isinstance(hypers.get(node.name), int | float):
            return float(hypers[node.name])
        case typed.Apply(function="neg", arguments=(operand,)):
            inner = _number(operand, hypers)
            return None if inner is None else -inner
        case typed.Apply(function=name, arguments=(left, right)):
            a, b = _number(left, hypers), _number(right, hypers)
            if a is None or b is None:
                return None
            known = {"add": a + b, "sub": a - b, "mul": a * b, "div": a / b if b else None}
            return known.get(name)
    return None


# --- helpers ------------------------------------------------------------------------------------


def _instance(module: ModuleType, hypers: Mapping[str, Any], batch: int, seed: int) -> GeneratedModel:
    """The generated class with the hyperparameters known so far; the others are 0."""
    scalars = [s for s in module.VARIABLES if s.role == "hyper" and not s.shape]
    shared = frozenset(s.name for s in module.VARIABLES if not s.per_example)
    drawn = Draws(seed, np.arange(batch, dtype=np.int64), shared, torch.float64, _CPU)
    return make(module, {s.name: hypers.get(s.name, 0) for s in scalars}, batch, torch.float64, _CPU, drawn)


def _shape(sizes: tuple[Size, ...], values: Mapping[str, Any]) -> tuple[int, ...]:
    integers = {name: value for name, value in values.items() if isinstance(value, int)}
    return tuple(size.evaluate(integers) for size in sizes)


def _ordered(model: Model, specs: tuple[VariableSpec, ...]) -> tuple[VariableSpec, ...]:
    """Declaration order, but a variable whose domain or distribution reads others comes after them."""
    by_name = {spec.name: spec for spec in specs}
    needs = {v.name: _needed(model, v) & by_name.keys() for v in model.checked.variables}
    order: dict[str, VariableSpec] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            words = f"the domains of {', '.join(trail)} depend on each other"
            raise DataError(words, "give the values yourself")
        for other in sorted(needs[name]):
            visit(other, (*trail, name))
        order.setdefault(name, by_name[name])

    for spec in specs:
        visit(spec.name, ())
    return tuple(order.values())


def _needed(model: Model, variable: typed.Variable) -> set[str]:
    """Names that the domain of a variable, and the distribution of a random one, are computed from."""
    lets = {let.name: let.value for let in model.checked.lets}
    roots = [*variable.domain.arguments, variable.domain.where]
    if variable.role in ("random", "hyper"):
        roots.append(variable.init)
    found: set[str] = set()
    pending = [name for root in roots if root is not None for name in typed.reads(root)]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += typed.reads(lets[name]) if name in lets else ()
    return found - {variable.name}
