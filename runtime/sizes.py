"""Sizes solved from what was set and from the shapes of the data; every clash is named."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ebmlang.compiler.sizes import BATCH, Size, SizeError
from ebmlang.errors import DataError
from ebmlang.runtime.spec import Requirement, VariableSpec

Shapes = Mapping[str, tuple[int, ...]]
Default = Callable[[str, Mapping[str, int]], Any]
"""The default of a hyperparameter, from the sizes that are known."""

MOST_ELEMENTS = 2**40
"""Entries of one array; beyond it a size is a mistake, whatever memory there is."""


@dataclass(frozen=True, slots=True, eq=False)
class Extent:
    """How large a question is: every size, the shapes of one example by variable, the number of examples."""

    sizes: Mapping[str, int]
    shapes: Shapes
    batch: int


def extent_of(
    specs: Mapping[str, VariableSpec],
    requirements: Sequence[Requirement],
    hypers: Mapping[str, Any],
    found: Shapes,
    default: Default,
) -> Extent:
    """The extent of a question whose values have the shapes `found`. Raises DataError where they clash."""
    sizes = _sizes(specs, hypers, found, default)
    _required(requirements, sizes)
    shapes = {name: shape_of(spec, sizes) for name, spec in specs.items() if spec.role != "hyper"}
    batch = _batch(specs, shapes, found)
    _required(requirements, {**sizes, BATCH: batch})
    return Extent(sizes, shapes, batch)


def _sizes(
    specs: Mapping[str, VariableSpec],
    hypers: Mapping[str, Any],
    found: Shapes,
    default: Default,
) -> dict[str, int]:
    """Every integer hyperparameter: set, by default, or solved from the shapes of the data."""
    sizes: dict[str, int] = {}
    source: dict[str, str] = {}
    integers = [s.name for s in specs.values() if s.role == "hyper" and s.kind == "int" and not s.shape]
    for name in integers:
        if name in hypers:
            sizes[name] = _integer(name, hypers[name])
            source[name] = f"{name} = {sizes[name]} was set"
    pending: list[tuple[str, Size, int]] = []
    for name, shape in found.items():
        pending += [(name, size, count) for size, count in zip(*_dims(specs[name], shape), strict=True)]
    waiting = [name for name in integers if name not in sizes and specs[name].start]
    progress = True
    while progress:
        # A default goes before the data, unless it is computed from sizes that the data has.
        ready = [name for name in waiting if all(n in sizes for n in specs[name].needs)]
        for name in ready:
            sizes[name] = int(default(name, {n: sizes.get(n, 0) for n in integers}))
            source[name] = f"{name} = {sizes[name]} by default"
        waiting = [name for name in waiting if name not in ready]
        known = len(sizes)
        _solve([p for p in pending if not p[1].names() & set(waiting)], sizes, source, specs)
        progress = bool(waiting) and (bool(ready) or len(sizes) > known)
    _solve(pending, sizes, source, specs)
    for name in integers:
        if name not in sizes:
            _refuse_unsolved(name, pending, sizes, specs)
            users = [s.name for s in specs.values() if any(name in d.names() for d in s.shape)]
            where = f": the shape of {', '.join(f'`{u}`' for u in users[:3])} needs it" if users else ""
            raise DataError(
                f"nothing gives the size `{name}`{where}",
                f"set it: {setting(name)}",
            )
    return sizes


def setting(name: str) -> str:
    """How a hyperparameter is set; that of a part, `p.k`, is no word of Python."""
    in_python = f"{name}=..." if name.isidentifier() else f'**{{"{name}": ...}}'
    return f"load(..., {in_python}) or --set {name}=..."


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not float(value).is_integer():
        raise DataError(f"the hyperparameter `{name}` is an int, not {value}", f"{name}=64")
    return int(value)


def _dims(spec: VariableSpec, shape: tuple[int, ...]) -> tuple[Sequence[Size], Sequence[int]]:
    """Declared sizes beside the found ones; the leading dimension of examples left out."""
    rank, found = len(spec.shape), list(shape)
    if len(found) == rank:
        return spec.shape, found
    if len(found) == rank + 1 and spec.per_example:
        return spec.shape, found[1:]
    extra = (
        f", or {rank + 1} with one entry per example"
        if spec.per_example
        else ": it is shared by all examples"
    )
    raise DataError(
        f"`{spec.name}` is declared {spec} and has the shape {found}: {len(found)} dimensions",
        f"pass {rank} dimension{'s' * (rank != 1)}{extra}",
    )


def _solve(
    pending: list[tuple[str, Size, int]],
    sizes: dict[str, int],
    source: dict[str, str],
    specs: Mapping[str, VariableSpec],
) -> None:
    """Names first, then sizes that are linear in one unknown name, until nothing is left."""
    exact = [p for p in pending if p[1].name is not None]
    others = [p for p in pending if p[1].name is None]
    for variable, size, found in exact:
        name = size.name
        assert name is not None
        if name not in sizes:
            sizes[name] = found
            source[name] = f"`{variable}` has {name} = {found}"
        elif sizes[name] != found:
            _conflict(specs[variable], size, found, sizes, source)
    progress = True
    while others and progress:
        progress = False
        for entry in list(others):
            variable, size, found = entry
            unknown = [n for n in size.names() if n not in sizes]
            if not unknown:
                if _value(size, sizes) != found:
                    _conflict(specs[variable], size, found, sizes, source)
            elif len(unknown) == 1:
                solved = _linear(size, unknown[0], found, sizes)
                if solved is None:
                    continue
                sizes[unknown[0]] = solved
                source[unknown[0]] = f"`{variable}` has {size} = {found}"
            else:
                continue
            others.remove(entry)
            progress = True


def _linear(size: Size, name: str, found: int, sizes: Mapping[str, int]) -> int | None:
    form = size.substitute({n: Size.of(v) for n, v in sizes.items()}).linear_in(name)
    if form is None or form[1].constant is None:
        return None
    rest = found - form[1].constant
    return rest // form[0] if rest % form[0] == 0 and rest // form[0] >= 0 else None


def _refuse_unsolved(
    name: str,
    pending: list[tuple[str, Size, int]],
    sizes: Mapping[str, int],
    specs: Mapping[str, VariableSpec],
) -> None:
    """Raise DataError where the data has a dimension that is linear in `name`, and no number gives it."""
    for variable, size, found in pending:
        open_names = [n for n in size.names() if n not in sizes]
        form = size.substitute({n: Size.of(v) for n, v in sizes.items()})
        if open_names == [name] and form.linear_in(name) is not None:
            raise DataError(
                f"`{variable}` is declared {specs[variable]}, and no whole number `{name}` makes {size} the "
                f"{found} that the data has there",
                "change the data, or the declaration",
            )


def _conflict(
    spec: VariableSpec, size: Size, found: int, sizes: Mapping[str, int], source: Mapping[str, str]
) -> None:
    expected = _value(size, sizes)
    reasons = [source[n] for n in sorted(size.names()) if n in source]
    shown = f"{size} = {expected}" if size.constant is None else str(expected)
    why = f" ({', '.join(reasons)})" if reasons else ""
    raise DataError(
        f"`{spec.name}` is declared {spec} with {shown}{why}, but the data has {found} there",
        "change the data, or set the sizes: load(..., n=64) or --set n=64",
    )


def _value(size: Size, sizes: Mapping[str, int]) -> int:
    try:
        return size.evaluate(sizes)
    except SizeError as error:
        raise DataError(str(error), "check the sizes that were set") from None


def _required(requirements: Sequence[Requirement], sizes: Mapping[str, int]) -> None:
    for requirement in requirements:
        if BATCH in requirement.size.names() and BATCH not in sizes:
            continue  # asked again once the examples are counted
        if _value(requirement.size, sizes) < 0:
            used = ", ".join(f"{n} = {sizes[n]}" for n in sorted(requirement.size.names()))
            raise DataError(f"{requirement.reason} (with {used})", "check the sizes of the data")


def shape_of(spec: VariableSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    shape = tuple(_value(size, sizes) for size in spec.shape)
    for size, value in zip(spec.shape, shape, strict=True):
        if value < 0:
            raise DataError(
                f"`{spec.name}` is declared {spec}, and {size} is {value}", "check the sizes that were set"
            )
    return shape


def _batch(specs: Mapping[str, VariableSpec], shapes: Shapes, found: Shapes) -> int:
    """The number of examples; 1 when every value is shared."""
    counts: dict[str, int] = {}
    for name, shape in found.items():
        if specs[name].per_example and len(shape) == len(shapes[name]) + 1:
            counts[name] = shape[0]
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"`{name}` has {count:,}" for name, count in counts.items())
        raise DataError(
            f"the numbers of examples differ: {shown}",
            "a value that is the same for all examples is passed without the leading dimension",
        )
    return next(iter(counts.values()), 1)


def require_room(
    specs: Mapping[str, VariableSpec], extent: Extent, dtype: torch.dtype, largest_bytes: int
) -> int:
    """The bytes of the largest variable.

    Raises DataError for an array that cannot be held, before anything of its size is made.
    """
    width, most = 8 if dtype == torch.float64 else 4, 0
    for name, shape in extent.shapes.items():
        dims = (extent.batch, *shape) if specs[name].per_example else shape
        count = math.prod(dims)
        most = max(most, count * width)
        if count > MOST_ELEMENTS or count * width > largest_bytes:
            shown = " x ".join(f"{s:,}" for s in dims)
            raise DataError(
                f"`{name}` would hold {shown} = {count:,} numbers, {count * width / 2**30:,.1f} GiB; "
                f"the limit is {largest_bytes / 2**30:,.1f} GiB",
                "check the sizes; rows can be taken in parts with --max-memory",
            )
    return most
