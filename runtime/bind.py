"""Values to a bound model: sizes solved, shapes and domains checked, defaults and starts filled in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.compiler.codegen.names import field_name
from ebmlang.compiler.diagnostics import did_you_mean
from ebmlang.errors import DataError
from ebmlang.runtime.arrays import as_tensor, check_classes, check_finite
from ebmlang.runtime.discrete.stocks import ARRANGED, check_whole, stock_of
from ebmlang.runtime.domain_base import Domain, DomainError
from ebmlang.runtime.domains import DOMAINS
from ebmlang.runtime.generated import Draws, GeneratedModel
from ebmlang.runtime.kept import Kept
from ebmlang.runtime.kernels import compiled_model
from ebmlang.runtime.nested.solves import Solves
from ebmlang.runtime.nets import NONE, MakeModules, Nets, NetSpec, bound_nets, make_modules
from ebmlang.runtime.seeded import Rows
from ebmlang.runtime.sizes import Extent, Shapes, extent_of, require_room, setting, shape_of
from ebmlang.runtime.spec import VariableSpec


@dataclass(frozen=True, slots=True)
class Settings:
    """How values are bound.

    `first_row` is the global number of the first example, `rows` the numbers of all of them where they do not
    follow each other; `largest_bytes` bounds one array, and `chunk_bytes` what the rows of one chunk may need
    together. With `torch_compile` written derivatives become kernels.
    """

    dtype: torch.dtype
    device: torch.device
    seed: int = 0
    first_row: int = 0
    largest_bytes: int = 2**36
    chunk_bytes: int = 2**36
    rows: Rows | None = field(default=None, compare=False)
    torch_compile: bool = False

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
    question to the next, if it does. `starts` holds starts in place of the declared ones, [*shape] or
    [B, *shape] each.
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
    starts: Mapping[str, Tensor] = field(default_factory=dict)


def bind(
    module: ModuleType,
    hypers: Mapping[str, Any],
    given: Mapping[str, Any],
    settings: Settings,
    sought: frozenset[str],
    incomplete: frozenset[str] = frozenset(),
    nets: MakeModules | None = None,
    kept: Kept | None = None,
) -> Bound:
    """Bind a generated module.

    `given` holds arrays by variable name; `incomplete` names observed ones whose missing entries
    are NaN and will be found. `nets` gives the modules of nets, fresh ones keyed by the seed if left out.
    `kept` belongs to the module and to these hyperparameters, and saves what the last question has settled.
    Raises DataError for anything that does not fit.
    """
    specs: dict[str, VariableSpec] = {v.name: v for v in module.VARIABLES}
    _known(given, specs)
    tensors = {
        name: as_tensor(specs[name], value, settings.dtype, settings.device)
        for name, value in given.items()
        if specs[name].role != "hyper"
    }
    key = _frame_key(hypers, tensors, settings)
    known: Frame | None = None if kept is None or key is None else kept.frames.find(key)
    frame = known or _frame(module, specs, hypers, {n: tuple(t.shape) for n, t in tensors.items()}, settings)
    if frame.most_bytes > settings.largest_bytes:
        require_room(specs, frame.extent, settings.dtype, settings.largest_bytes)
    for name, tensor in tensors.items():
        spec = specs[name]
        tensors[name] = _laid_out(spec, tensor, frame.extent.shapes[name])
        if spec.classes is not None:
            check_classes(spec, tensor, spec.classes.evaluate(frame.extent.sizes), settings.first_row)
        if name not in incomplete:
            check_finite(spec, tensor, settings.first_row)
    bound = _bound(module, specs, frame, tensors, settings, nets or make_modules(settings.seed), sought)
    for spec in specs.values():
        if spec.name not in incomplete and not (known is not None and _is_number(spec)):
            _check_domain(bound, spec)
    if kept is not None and key is not None and not frame.arrays:
        kept.frames.keep(key, frame)
    return bound


def _bound(
    module: ModuleType,
    specs: Mapping[str, VariableSpec],
    frame: Frame,
    tensors: Mapping[str, Tensor],
    settings: Settings,
    nets: MakeModules,
    sought: frozenset[str],
) -> Bound:
    """The module with its numbers, defaults and draws of what nobody gave among them."""
    extent = frame.extent
    found = _nets(module, extent.sizes, settings, nets)
    instance = _instance(module, specs, frame.scalars, extent.batch, settings, found)
    values = {**frame.arrays, **tensors}
    fill(instance, specs, extent.shapes, values, sought, settings)
    given = frozenset(tensors)
    return Bound(module, instance, specs, extent.shapes, extent.sizes, values, given, extent.batch, settings)


# --- what hyperparameters and shapes settle -----------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What follows from hyperparameters and the shapes of values alone.

    `scalars` holds every hyperparameter that is one number, sizes included; `arrays` the others. `most_bytes`
    is what the largest variable takes.
    """

    extent: Extent
    scalars: Mapping[str, int | float | bool]
    arrays: Mapping[str, Tensor]
    most_bytes: int


def _frame_key(hypers: Mapping[str, Any], tensors: Mapping[str, Tensor], settings: Settings) -> Hashable:
    """What a frame can be found by again; None where a hyperparameter could change in place."""
    if not all(isinstance(value, int | float) for value in hypers.values()):
        return None
    shapes = tuple([(name, tensor.shape) for name, tensor in tensors.items()])
    return shapes, settings.dtype, settings.device, settings.seed


def _frame(
    module: ModuleType,
    specs: Mapping[str, VariableSpec],
    hypers: Mapping[str, Any],
    found: Shapes,
    settings: Settings,
) -> Frame:
    def default(name: str, scope: Mapping[str, int]) -> Any:
        draws = Draws(0, np.zeros(1, dtype=np.int64), frozenset(), torch.float64, torch.device("cpu"))
        return make(module, _numbers(specs, scope), 1, draws.dtype, draws.device, draws).start(name, {})

    extent = extent_of(specs, module.REQUIREMENTS, hypers, found, default)
    most = require_room(specs, extent, settings.dtype, settings.largest_bytes)
    scalars: dict[str, Any] = dict(extent.sizes)
    arrays: dict[str, Tensor] = {}
    for spec in specs.values():
        if spec.role != "hyper" or spec.name in scalars:
            continue
        value = hypers.get(spec.name)
        if value is None:
            if not spec.start:
                raise DataError(f"the hyperparameter `{spec.name}` has no value", setting(spec.name))
            bare = _instance(module, specs, _numbers(specs, scalars), extent.batch, settings, NONE)
            value = bare.start(spec.name, arrays)
        if spec.shape:
            arrays[spec.name] = _array(spec, value, shape_of(spec, extent.sizes), settings)
        else:
            scalars[spec.name] = _scalar(spec, value)
    return Frame(extent, scalars, arrays, most)


def _numbers(specs: Mapping[str, VariableSpec], known: Mapping[str, Any]) -> dict[str, Any]:
    """Every hyperparameter that is one number; 0 for those that are not known yet."""
    return {s.name: known.get(s.name, 0) for s in specs.values() if _is_number(s)}


def _is_number(spec: VariableSpec) -> bool:
    return spec.role == "hyper" and not spec.shape


def _array(spec: VariableSpec, value: Any, shape: tuple[int, ...], settings: Settings) -> Tensor:
    tensor = as_tensor(spec, value, settings.dtype, settings.device)
    if tensor.ndim and tuple(tensor.shape) != shape:
        raise DataError(
            f"the hyperparameter `{spec.name}` is {spec}, not of the shape {list(tensor.shape)}",
            "pass that shape",
        )
    return tensor.expand(shape).contiguous()


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


# --- instances ---


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
            raise DataError(f"`{name}` is a hyperparameter", f"set it when loading: {setting(name)}")


def make(
    module: ModuleType,
    hypers: Mapping[str, Any],
    batch: int,
    dtype: torch.dtype,
    device: torch.device,
    draws: Draws,
    nets: Nets = NONE,
    torch_compile: bool = False,
) -> GeneratedModel:
    """An instance of the module's class."""
    named = {field_name(name): value for name, value in hypers.items()}
    if net_specs(module):
        named["nets"] = nets
    nested = vars(module).get("NESTED")
    if nested is not None:
        named["solves"] = Solves(nested, draws.seed, dtype, device)
    model: Any = compiled_model(module) if torch_compile else module.MODEL
    instance: GeneratedModel = model(**named, batch=batch, dtype=dtype, device=device, draw=draws)
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


def _laid_out(spec: VariableSpec, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    return tensor[None] if spec.per_example and tensor.ndim == len(shape) else tensor


# --- defaults, starts, domains ------------------------------------------------------------------


def _instance(
    module: ModuleType,
    specs: Mapping[str, VariableSpec],
    scalars: Mapping[str, Any],
    batch: int,
    settings: Settings,
    nets: Nets,
) -> GeneratedModel:
    shared = frozenset([s.name for s in specs.values() if not s.per_example])
    draws = Draws(settings.seed, settings.row_numbers(batch), shared, settings.dtype, settings.device)
    return make(module, scalars, batch, settings.dtype, settings.device, draws, nets, settings.torch_compile)


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


def check_examples(
    bound: Bound, values: Mapping[str, Tensor], incomplete: frozenset[str], rows: int | Rows
) -> None:
    """Check further values of a bound model as `bind` does: classes, NaN, domains. `rows` is the number of
    the first one, or those of all. Raises DataError."""
    there = replace(bound, values={**bound.values, **values})
    for name, value in values.items():
        spec = bound.specs[name]
        if spec.classes is not None:
            check_classes(spec, value, spec.classes.evaluate(bound.sizes), rows)
        if name not in incomplete:
            check_finite(spec, value, rows, whole=False)
            _check_domain(there, spec)


def _check_domain(bound: Bound, spec: VariableSpec) -> None:
    """The domain of a hyperparameter or a given value is a fact that proofs use: it must hold."""
    if spec.domain == "reals":
        return
    if spec.domain in ARRANGED:
        if spec.name in bound.values and spec.role != "hyper":
            stock = stock_of(spec, bound.shapes[spec.name][-1], chosen_of(bound, spec))
            check_whole(spec, bound.values[spec.name], stock)
        return
    if _is_number(spec):
        number = getattr(bound.instance, field_name(spec.name))
        value = torch.tensor(float(number), dtype=torch.float64)[None]
    elif spec.name in bound.values and spec.role in ("hyper", "observed"):
        value = bound.values[spec.name]
        value = value if spec.per_example else value[None]
    else:
        return
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
