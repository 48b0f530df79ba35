"""Values to a bound model: sizes solved, shapes and domains checked, defaults and starts filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.compiler.codegen.names import field_name
from ebmlang.compiler.diagnostics import did_you_mean
from ebmlang.compiler.sizes import BATCH, Size, SizeError
from ebmlang.errors import DataError
from ebmlang.runtime.arrays import as_tensor, check_classes, check_finite
from ebmlang.runtime.discrete.stocks import ARRANGED, check_whole, stock_of
from ebmlang.runtime.domain_base import Domain, DomainError
from ebmlang.runtime.domains import DOMAINS
from ebmlang.runtime.generated import Draws, GeneratedModel
from ebmlang.runtime.kept import Kept
from ebmlang.runtime.nested.solves import Solves
from ebmlang.runtime.nets import NONE, MakeModules, Nets, NetSpec, bound_nets, make_modules
from ebmlang.runtime.seeded import Rows
from ebmlang.runtime.spec import VariableSpec

MOST_ELEMENTS = 2**40
"""Entries of one array; beyond it a size is a mistake, whatever memory there is."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How values are bound.

    `first_row` is the global number of the first example, `rows` the numbers of all of them where they do not
    follow each other; `largest_bytes` bounds one array, and `chunk_bytes` what the rows of one chunk may need
    together.
    """

    dtype: torch.dtype
    device: torch.device
    seed: int = 0
    first_row: int = 0
    largest_bytes: int = 2**36
    chunk_bytes: int = 2**36
    rows: Rows | None = field(default=None, compare=False)

    def row_numbers(self, batch: int) -> Rows:
        """The global numbers of the examples, on which draws depend."""
        return self.rows if self.rows is not None else self.first_row + np.arange(batch, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A generated model with its numbers: `values` holds everything that is known, by name.

    Tensors of variables that differ by example are [B or 1, *shape]; `given` names what the caller
    passed. `shapes` are the shapes of one example. `part` is the module of the real unknowns alone where
    countable ones are sought beside them, `blocks` are those of groups that take turns; `beta` the inverse
    temperature at which the module's `SUMMED` unknowns are summed out; `kept` what the model keeps from one
    question to the next, if it does.
    """

    module: ModuleType
    instance: GeneratedModel
    specs: Mapping[str, VariableSpec]
    shapes: Mapping[str, tuple[int, ...]]
    sizes: Mapping[str, int]
    values: Mapping[str, Tensor]
    given: frozenset[str]
    batch: int
    settings: Settings
    part: ModuleType | None = None
    blocks: tuple[ModuleType, ...] = ()
    beta: float = 1.0
    kept: Kept | None = None


def bind(
    module: ModuleType,
    hypers: Mapping[str, Any],
    given: Mapping[str, Any],
    settings: Settings,
    sought: frozenset[str],
    incomplete: frozenset[str] = frozenset(),
    nets: MakeModules | None = None,
) -> Bound:
    """Bind a generated module.

    `given` holds arrays by variable name; `incomplete` names observed ones whose missing entries
    are NaN and will be found. `nets` gives the modules of nets, fresh ones keyed by the seed if left out.
    Raises DataError for anything that does not fit.
    """
    specs: dict[str, VariableSpec] = {v.name: v for v in module.VARIABLES}
    _known(given, specs)
    tensors = {
        name: as_tensor(specs[name], value, settings.dtype, settings.device)
        for name, value in given.items()
        if specs[name].role != "hyper"
    }
    sizes = _sizes(module, specs, hypers, tensors)
    _requirements(module, sizes)
    shapes = {name: _shape(spec, sizes) for name, spec in specs.items() if spec.role != "hyper"}
    batch = _batch(specs, shapes, tensors)
    _requirements(module, {**sizes, BATCH: batch})
    _bounded(specs, shapes, batch, settings)
    for name, tensor in tensors.items():
        spec = specs[name]
        tensors[name] = _laid_out(spec, tensor, shapes[name])
        if spec.classes is not None:
            check_classes(spec, tensor, spec.classes.evaluate(sizes))
        if name not in incomplete:
            check_finite(spec, tensor)
    found = _nets(module, sizes, settings, nets or make_modules(settings.seed))
    instance, arrays = _instance(module, specs, hypers, sizes, batch, settings, found)
    values = {**arrays, **tensors}
    fill(instance, specs, shapes, values, sought, settings)
    bound = Bound(module, instance, specs, shapes, sizes, values, frozenset(tensors), batch, settings)
    _check_domains(bound, hypers, incomplete)
    return bound


# --- names and sizes ----------------------------------------------------------------------------


def _known(given: Mapping[str, Any], specs: Mapping[str, VariableSpec]) -> None:
    for name in given:
        spec = specs.get(name)
        if spec is None:
            known = [s.name for s in specs.values() if s.role != "hyper"]
            raise DataError(
                f"the model has no variable `{name}`",
                did_you_mean(name, known) or f"it has {', '.join(known)}",
            )
        if spec.role == "hyper":
            raise DataError(f"`{name}` is a hyperparameter", f"set it when loading: {_setting(name)}")


def _setting(name: str) -> str:
    """How a hyperparameter is set; that of a part, `p.k`, is no word of Python."""
    in_python = f"{name}=..." if name.isidentifier() else f'**{{"{name}": ...}}'
    return f"load(..., {in_python}) or --set {name}=..."


def _sizes(
    module: ModuleType,
    specs: Mapping[str, VariableSpec],
    hypers: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> dict[str, int]:
    """Every integer hyperparameter: set, by default, or solved from the shapes of the data."""
    sizes: dict[str, int] = {}
    source: dict[str, str] = {}
    integers = [s.name for s in specs.values() if s.role == "hyper" and s.kind == "int" and not s.shape]
    for name in integers:
        if name in hypers:
            sizes[name] = _integer(name, hypers[name])
            source[name] = f"{name} = {sizes[name]} was set"
    for name in integers:
        if name not in sizes and specs[name].start:
            scope = {**{n: sizes.get(n, 0) for n in integers}}
            value = _bare(module, specs, scope).start(name, {})
            sizes[name] = int(value)
            source[name] = f"{name} = {sizes[name]} by default"
    pending: list[tuple[str, Size, int]] = []
    for name, tensor in tensors.items():
        pending += [(name, size, found) for size, found in zip(*_dims(specs[name], tensor), strict=True)]
    _solve(pending, sizes, source, specs)
    for name in integers:
        if name not in sizes:
            users = [s.name for s in specs.values() if any(name in d.names() for d in s.shape)]
            where = f": the shape of {', '.join(f'`{u}`' for u in users[:3])} needs it" if users else ""
            raise DataError(
                f"nothing gives the size `{name}`{where}",
                f"set it: {_setting(name)}",
            )
    return sizes


def _bare(module: ModuleType, specs: Mapping[str, VariableSpec], scope: Mapping[str, Any]) -> GeneratedModel:
    """An instance good enough to ask for defaults of hyperparameters."""
    fields = {s.name: scope.get(s.name, 0) for s in specs.values() if s.role == "hyper" and not s.shape}
    draws = Draws(0, np.zeros(1, dtype=np.int64), frozenset(), torch.float64, torch.device("cpu"))
    return make(module, fields, 1, torch.float64, torch.device("cpu"), draws)


def make(
    module: ModuleType,
    hypers: Mapping[str, Any],
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    draws: Draws,
    nets: Nets = NONE,
) -> GeneratedModel:
    """An instance of the module's class."""
    named = {field_name(name): value for name, value in hypers.items()}
    if net_specs(module):
        named["nets"] = nets
    nested = vars(module).get("NESTED")
    if nested is not None:
        named["solves"] = Solves(nested, draws.seed, dtype, device)
    instance: GeneratedModel = module.MODEL(**named, batch=batch, dtype=dtype, device=device, draw=draws)
    return instance


def net_specs(module: ModuleType) -> tuple[NetSpec, ...]:
    """The nets of a generated module."""
    found: tuple[NetSpec, ...] = vars(module).get("NETS", ())
    return found


def _nets(module: ModuleType, sizes: Mapping[str, int], settings: Settings, make_them: MakeModules) -> Nets:
    specs = net_specs(module)
    if not specs:
        return NONE
    modules = make_them(specs, sizes)
    return bound_nets(specs, sizes, modules, settings.dtype, settings.device)


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not float(value).is_integer():
        raise DataError(f"the hyperparameter `{name}` is an int, not {value}", f"{name}=64")
    return int(value)


def _dims(spec: VariableSpec, tensor: Tensor) -> tuple[Sequence[Size], Sequence[int]]:
    """Declared sizes beside the found ones; the leading dimension of examples left out."""
    rank, found = len(spec.shape), list(tensor.shape)
    if tensor.ndim == rank:
        return spec.shape, found
    if tensor.ndim == rank + 1 and spec.per_example:
        return spec.shape, found[1:]
    extra = (
        f", or {rank + 1} with one entry per example"
        if spec.per_example
        else ": it is shared by all examples"
    )
    raise DataError(
        f"`{spec.name}` is declared {spec} and has the shape {found}: {tensor.ndim} dimensions",
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


def _requirements(module: ModuleType, sizes: Mapping[str, int]) -> None:
    for requirement in module.REQUIREMENTS:
        if BATCH in requirement.size.names() and BATCH not in sizes:
            continue  # asked again once the examples are counted
        if _value(requirement.size, sizes) < 0:
            used = ", ".join(f"{n} = {sizes[n]}" for n in sorted(requirement.size.names()))
            raise DataError(f"{requirement.reason} (with {used})", "check the sizes of the data")


def _shape(spec: VariableSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    shape = tuple(_value(size, sizes) for size in spec.shape)
    for size, value in zip(spec.shape, shape, strict=True):
        if value < 0:
            raise DataError(
                f"`{spec.name}` is declared {spec}, and {size} is {value}", "check the sizes that were set"
            )
    return shape


def _batch(
    specs: Mapping[str, VariableSpec], shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]
) -> int:
    """The number of examples; 1 when every value is shared."""
    found: dict[str, int] = {}
    for name, tensor in tensors.items():
        if specs[name].per_example and tensor.ndim == len(shapes[name]) + 1:
            found[name] = tensor.shape[0]
    if len(set(found.values())) > 1:
        shown = ", ".join(f"`{name}` has {count:,}" for name, count in found.items())
        raise DataError(
            f"the numbers of examples differ: {shown}",
            "a value that is the same for all examples is passed without the leading dimension",
        )
    return next(iter(found.values()), 1)


def _bounded(
    specs: Mapping[str, VariableSpec],
    shapes: Mapping[str, tuple[int, ...]],
    batch: int,
    settings: Settings,
) -> None:
    """Refuse arrays that cannot be held before anything of their size is made."""
    width = 8 if settings.dtype == torch.float64 else 4
    for name, shape in shapes.items():
        count = batch if specs[name].per_example else 1
        for size in shape:
            count *= size
        if count > MOST_ELEMENTS or count * width > settings.largest_bytes:
            dims = " x ".join(f"{s:,}" for s in ((batch, *shape) if specs[name].per_example else shape))
            limit = settings.largest_bytes / 2**30
            raise DataError(
                f"`{name}` would hold {dims} = {count:,} numbers, {count * width / 2**30:,.1f} GiB; "
                f"the limit is {limit:,.1f} GiB",
                "check the sizes; rows can be taken in parts with --max-memory",
            )


def _laid_out(spec: VariableSpec, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    return tensor[None] if spec.per_example and tensor.ndim == len(shape) else tensor


# --- defaults, starts, domains ------------------------------------------------------------------


def _instance(
    module: ModuleType,
    specs: Mapping[str, VariableSpec],
    hypers: Mapping[str, Any],
    sizes: Mapping[str, int],
    batch: int,
    settings: Settings,
    nets: Nets,
) -> tuple[GeneratedModel, dict[str, Tensor]]:
    """The instance, and array-valued hyperparameters as tensors."""
    scalars: dict[str, Any] = dict(sizes)
    shared = frozenset(s.name for s in specs.values() if not s.per_example)
    draws = Draws(settings.seed, settings.row_numbers(batch), shared, settings.dtype, settings.device)
    arrays: dict[str, Tensor] = {}
    for spec in specs.values():
        if spec.role != "hyper" or (spec.kind == "int" and not spec.shape):
            continue
        placeholder = {
            s.name: scalars.get(s.name, 0) for s in specs.values() if s.role == "hyper" and not s.shape
        }
        value = hypers.get(spec.name)
        if value is None:
            if not spec.start:
                raise DataError(
                    f"the hyperparameter `{spec.name}` has no value",
                    _setting(spec.name),
                )
            instance = make(module, placeholder, batch, settings.dtype, settings.device, draws, nets)
            value = instance.start(spec.name, arrays)
        if spec.shape:
            shape = tuple(_value(size, sizes) for size in spec.shape)
            tensor = as_tensor(spec, value, settings.dtype, settings.device)
            if tensor.ndim and tuple(tensor.shape) != shape:
                raise DataError(
                    f"the hyperparameter `{spec.name}` is {spec}, not of the shape {list(tensor.shape)}",
                    "pass that shape",
                )
            arrays[spec.name] = tensor.expand(shape).contiguous()
        else:
            scalars[spec.name] = _scalar(spec, value)
    return make(module, scalars, batch, settings.dtype, settings.device, draws, nets), arrays


def _scalar(spec: VariableSpec, value: Any) -> float | bool:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise DataError(
            f"the hyperparameter `{spec.name}` is {spec}, not {value!r}", f"{spec.name}=0.5"
        ) from None
    if number != number:
        raise DataError(f"the hyperparameter `{spec.name}` is NaN", f"{spec.name}=0.5")
    return bool(number) if spec.kind == "bool" else number


def fill(
    instance: GeneratedModel,
    specs: Mapping[str, VariableSpec],
    shapes: Mapping[str, tuple[int, ...]],
    values: dict[str, Tensor],
    sought: frozenset[str],
    settings: Settings,
) -> None:
    """Defaults of observed variables and draws of random ones that nobody gave."""
    for spec in specs.values():
        if spec.name in values or spec.name in sought or spec.role not in ("observed", "random"):
            continue
        if not spec.start:
            raise DataError(
                f"no value for the observed variable `{spec.name}` ({spec})",
                f"pass {spec.name}=..., or ask for it: find=['{spec.name}'] or --find {spec.name}",
            )
        values[spec.name] = expanded(spec, instance.start(spec.name, values), shapes[spec.name], settings)


def expanded(spec: VariableSpec, value: Tensor | float, shape: tuple[int, ...], settings: Settings) -> Tensor:
    """A start or default stretched to the declared shape, with the leading dimension where it belongs."""
    kind = {"real": settings.dtype, "bool": torch.bool}.get(spec.kind, torch.long)
    tensor = torch.as_tensor(value, device=settings.device).to(kind)
    if not spec.per_example:
        return tensor.expand(shape)
    if tensor.ndim > len(shape):
        return tensor.expand(tensor.shape[0], *shape)
    return tensor.expand(shape)[None]


def domain_of(bound: Bound, spec: VariableSpec) -> Domain:
    """The domain of a variable with its bounds; raises DataError when it is empty."""
    inside = spec.name in bound.module.INTERIOR
    make_domain = DOMAINS["open_simplex" if inside else spec.domain]
    try:
        if not spec.domain_values:
            return make_domain()
        return make_domain(*bound.instance.domain(spec.name, bound.values))
    except DomainError as error:
        raise DataError(f"`{spec.name}`: {error}", "check the bounds") from None


def chosen_of(bound: Bound, spec: VariableSpec) -> int | None:
    """How many entries of a subset are true; None of everything else."""
    if spec.domain != "subset":
        return None
    (chosen,) = bound.instance.domain(spec.name, bound.values)
    return int(torch.as_tensor(chosen).reshape(-1)[0])


def _check_domains(bound: Bound, hypers: Mapping[str, Any], incomplete: frozenset[str]) -> None:
    """Domains of hyperparameters and given values are facts that proofs use: they must hold."""
    for spec in bound.specs.values():
        if spec.domain == "reals" or spec.name in incomplete:
            continue
        if spec.domain in ARRANGED:
            if spec.name in bound.values and spec.role != "hyper":
                stock = stock_of(spec, bound.shapes[spec.name][-1], chosen_of(bound, spec))
                check_whole(spec, bound.values[spec.name], stock)
            continue
        if spec.role == "hyper" and not spec.shape:
            number = getattr(bound.instance, field_name(spec.name))
            value = torch.tensor(float(number), dtype=torch.float64)[None]
        elif spec.name in bound.values and spec.role in ("hyper", "observed"):
            value = bound.values[spec.name]
            value = value if spec.per_example else value[None]
        else:
            continue
        domain = domain_of(bound, spec)
        atol = 1e-9 if value.dtype == torch.float64 else 1e-5
        inside = domain.inside(value, atol)
        if not bool(inside.all()):
            count = int((~inside).sum())
            shown = f" (it is {float(value):g})" if value.numel() == 1 else f" in {count:,} places"
            raise DataError(
                f"`{spec.name}` is not {domain.describe()}{shown}",
                "the model states it as a fact; change the value",
            )
