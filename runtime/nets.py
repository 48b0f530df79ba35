"""Nets at run time: modules of torch, and calls of them on values with examples and plates in front."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ebmlang.compiler.sizes import Size
from ebmlang.errors import DataError
from ebmlang.runtime.layers import THINNING, Dropout, Thinning
from ebmlang.runtime.leads import joined
from ebmlang.runtime.seeded import Rows

Shape = tuple[int, ...]

Tap = Callable[["Net", Sequence[Tensor], Sequence[Tensor]], None]


@dataclass(frozen=True, slots=True)
class NetSpec:
    """One declared net: shapes of inputs and results, how inputs reach the module, and what makes it.

    `make` takes the values of `sizes` and is None for a net from outside; one with a `source` is the moving
    average of that net; its `decay` is a number or the name of what computes it. `line` is
    where the file declares it. One that is declared in plates of the sizes
    `at` has a list of modules, the last plate running fastest.
    """

    name: str
    inputs: tuple[tuple[Size, ...], ...]
    outputs: tuple[tuple[Size, ...], ...]
    form: str
    make: Callable[..., nn.Module] | None
    sizes: tuple[str, ...]
    line: int = 0
    source: str = ""
    decay: float | str = 0.0
    at: tuple[Size, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Net:
    """A net with its sizes known: a function of tensors [*lead, *declared shape].

    The leading dimensions of the inputs broadcast against each other; results are [*lead, *shape], one tensor
    or a tuple. Parameters are used in the precision of the inputs. `state` has parameters and buffers, those
    of the module, or what stands for them where it is `lent`. `seed` and `rows` are those of a training step,
    in which dropout is on; `drops` says whether there is any. One row stands for all that a call is of. `tap`
    hears of every call: the net, its inputs and its results.
    """

    spec: NetSpec
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    module: nn.Module
    dtype: torch.dtype
    device: torch.device
    at: Shape = ()
    entries: tuple[Net, ...] = ()
    seed: int | None = None
    rows: Rows | None = None
    state: tuple[tuple[str, Tensor], ...] = ()
    kinds: frozenset[tuple[torch.device, torch.dtype | None]] = frozenset()
    drops: bool = False
    lent: bool = False
    tap: Tap | None = None

    @staticmethod
    def of(
        spec: NetSpec,
        inputs: tuple[Shape, ...],
        outputs: tuple[Shape, ...],
        module: nn.Module,
        dtype: torch.dtype,
        device: torch.device,
        at: Shape = (),
    ) -> Net:
        """A net, and with it those of every position of its plate. Raises DataError for another number."""
        if not at:
            state = (*module.named_parameters(), *module.named_buffers())
            drops = any(isinstance(part, Dropout) for part in module.modules())
            kinds = frozenset((p.device, p.dtype if p.is_floating_point() else None) for _, p in state)
            return Net(spec, inputs, outputs, module, dtype, device, state=state, kinds=kinds, drops=drops)
        if not isinstance(module, nn.ModuleList) or len(module) != math.prod(at):
            raise DataError(
                f"the net `{spec.name}` needs {math.prod(at)} modules, one for every position of its plate",
                "pass a torch.nn.ModuleList of that length",
            )
        entries = tuple(Net.of(spec, inputs, outputs, m, dtype, device) for m in module)
        return Net(spec, inputs, outputs, module, dtype, device, at, entries)

    def changed(self, **fields: Any) -> Net:
        """The same net with other fields, also at every position of its plate."""
        return replace(self, **fields, entries=tuple(e.changed(**fields) for e in self.entries))

    def over(self, state: Mapping[int, Tensor]) -> Net:
        """The same net over other parameters and buffers, by the ids of its own."""
        found = tuple((n, state.get(id(p), p)) for n, p in self.state)
        return replace(self, state=found, lent=True, entries=tuple(e.over(state) for e in self.entries))

    @property
    def alike(self) -> Net:
        """The same net for values that all examples share: one mask, whichever examples there are."""
        return self if self.rows is None else self.changed(rows=np.zeros(1, dtype=np.int64))

    @property
    def thinned(self) -> bool:
        """Whether there are masks."""
        return self.seed is not None and (self.drops or any(e.drops for e in self.entries))

    def by_row(self, lead: Shape) -> Shape:
        """Leading dimensions, with an entry for every row of which there is a mask."""
        if not self.thinned or self.rows is None or len(self.rows) == 1 or lead[:1] == (len(self.rows),):
            return lead
        if lead[:1] != (1,):
            raise RuntimeError(f"{self} is called for {lead} with the masks of {len(self.rows)} rows")
        return (len(self.rows), *lead[1:])

    def __getitem__(self, index: int | Tensor | tuple[int | Tensor, ...]) -> NetAt:
        """The nets of a plate at indices: numbers, or tensors that line up with the leading dimensions."""
        flat: int | Tensor = 0
        for one, size in zip(index if isinstance(index, tuple) else (index,), self.at, strict=True):
            flat = flat * size + one
        return NetAt(self, flat)

    def __str__(self) -> str:
        return f"the net `{self.spec.name}`, declared in line {self.spec.line},"

    def __call__(self, *values: Tensor) -> Any:
        found = self._answer(*values)
        if self.tap is not None:
            self.tap(self, values, found if isinstance(found, tuple) else (found,))
        return found

    def _answer(self, *values: Tensor) -> Any:
        if self._direct(values[0]):
            found = self._run(values[0])
            return found if self.spec.form == "features" or self.outputs[0] else found.squeeze(-1)
        pairs = list(zip(values, self.inputs, strict=True))
        lead = self.by_row(joined(*(v.shape[: v.ndim - len(s)] for v, s in pairs)))
        found = [v if v.shape == (*lead, *s) else v.expand(*lead, *s) for v, s in pairs]
        results = self._thinned(found, lead)
        return results[0] if len(results) == 1 else results

    def takes(self, value: Tensor) -> bool:
        """Whether a call with this value alone is one of the module itself, in its own precision."""
        return self._direct(value) and not self._elsewhere(value.dtype)

    def _direct(self, value: Tensor) -> bool:
        """Whether the module takes the value as it is: one input and one result, along the last dimension."""
        if not len(self.inputs) == len(self.outputs) == 1 or self.thinned:
            return False
        # Of one row per example there is nothing to rearrange.
        rows = self.spec.form == "flat" and len(self.outputs[0]) < 2 and value.shape[1:] == self.inputs[0]
        one = self.spec.form == "features" or (rows and value.ndim == 2)
        return one and value.is_floating_point()

    def _thinned(self, values: list[Tensor], lead: Shape) -> tuple[Tensor, ...]:
        if self.seed is None or self.rows is None or not self.drops:
            return self._results(values, lead)
        times = math.prod(lead) // max(len(self.rows), 1)
        token = THINNING.set(Thinning(self.seed, self.spec.name, self.rows, times))
        try:
            return self._results(values, lead)
        finally:
            THINNING.reset(token)

    def _results(self, values: list[Tensor], lead: Shape) -> tuple[Tensor, ...]:
        match self.spec.form:
            case "features" | "flat":
                return self._vectors(values, lead)
            case "sequence":
                return (self._sequence(values[0], lead),)
        return self._arrays(values, lead)

    def _vectors(self, values: list[Tensor], lead: Shape) -> tuple[Tensor, ...]:
        """Inputs side by side in the last dimension; the result is cut into the declared ones."""
        flat = self.spec.form == "flat"
        inner: Shape = () if flat else self.outputs[0][:-1]
        width = self._width(self.inputs)
        pairs = zip(values, self.inputs, strict=True)
        parts = [v.reshape(*lead, math.prod(s)) if flat and len(s) != 1 else v for v, s in pairs]
        parts = [p if p.is_floating_point() else p.to(self.dtype) for p in parts]
        # One dimension of rows: what dropout and fused kernels see.
        joined = torch.cat(parts, -1) if len(parts) > 1 else parts[0]
        rows = (math.prod(lead), *inner, width)
        found = self._run(joined if joined.shape == rows else joined.reshape(rows))
        widths = [math.prod(s) if flat else s[-1] for s in self.outputs]
        pieces = found.split(widths, -1) if len(widths) > 1 else (found,)
        shapes = [(*lead, *s) for s in self.outputs]
        return tuple(p if p.shape == s else p.reshape(s) for p, s in zip(pieces, shapes, strict=True))

    def _width(self, shapes: tuple[Shape, ...]) -> int:
        return sum(math.prod(s) if self.spec.form == "flat" else s[-1] for s in shapes)

    def _sequence(self, value: Tensor, lead: Shape) -> Tensor:
        """The states of all steps or the last one; backward states end at the first step."""
        states, last = self._run(value.reshape(math.prod(lead), *self.inputs[0]))
        (shape,) = self.outputs
        if len(shape) == 1:
            last = last[0] if isinstance(last, tuple) else last
            states = torch.cat((last[-2], last[-1]), -1) if last.shape[-1] != shape[-1] else last[-1]
        return states.reshape(*lead, *shape)  # type: ignore[no-any-return]

    def _arrays(self, values: list[Tensor], lead: Shape) -> tuple[Tensor, ...]:
        """Inputs as arrays with one dimension in front."""
        rows = [v.reshape(math.prod(lead), *s) for v, s in zip(values, self.inputs, strict=True)]
        found = self._run(*rows)
        results = tuple(found) if isinstance(found, tuple | list) else (found,)
        count = math.prod(lead)
        if len(results) != len(self.outputs):
            raise DataError(
                f"{self} returned {len(results)} results where {len(self.outputs)} are declared",
                "let the module return a tensor, or a tuple of as many as the declaration names",
            )
        for result, shape in zip(results, self.outputs, strict=True):
            if not isinstance(result, Tensor) or tuple(result.shape) != (count, *shape):
                got = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
                raise DataError(
                    f"{self} returned {got} for inputs {', '.join(str(list(r.shape)) for r in rows)}; "
                    f"the declaration says {[count, *shape]}",
                    "the first dimension holds the examples; change the module or the declared types",
                )
        return tuple(r.to(self.dtype).reshape(*lead, *s) for r, s in zip(results, self.outputs, strict=True))

    def _run(self, *inputs: Tensor) -> Any:
        wanted = next((v.dtype for v in inputs if v.is_floating_point()), self.dtype)
        cast = self._elsewhere(wanted)
        return torch.func.functional_call(self.module, cast, inputs) if cast else self.module(*inputs)

    def _elsewhere(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Parameters and buffers that have another precision or device, brought here; differentiable in the
        own ones, and made anew for every call, since a step of training changes them in place."""
        if not self.lent and self.kinds <= {(self.device, dtype), (self.device, None)}:
            return {}
        return {
            n: p.to(self.device, dtype if p.is_floating_point() else p.dtype)
            for n, p in self.state
            if self.lent or p.device != self.device or (p.is_floating_point() and p.dtype != dtype)
        }


@dataclass(frozen=True, slots=True, eq=False)
class NetAt:
    """One net of a plate, or at every position another one, as a function of the same inputs."""

    net: Net
    index: int | Tensor

    def __call__(self, *values: Tensor) -> Any:
        if isinstance(self.index, int) or not self.index.ndim:
            return self._one(int(self.index))(*values)
        net = self.net
        leads = [v.shape[: v.ndim - len(s)] for v, s in zip(values, net.inputs, strict=True)]
        lead = net.by_row(joined(*leads, self.index.shape))
        flat = self.index.expand(lead).reshape(-1)
        if not flat.numel():
            empty = tuple(values[0].new_zeros(*lead, *s) for s in net.outputs)
            return empty[0] if len(empty) == 1 else empty
        order = flat.argsort(stable=True)
        counts = flat.bincount().tolist()
        pairs = zip(values, net.inputs, strict=True)
        rows = [v.expand(*lead, *s).reshape(-1, *s).index_select(0, order).split(counts) for v, s in pairs]
        # Every net gets the positions that ask for it; the results go back to where these came from.
        masks = self._rows(order, lead).split(counts)
        found = [self._one(k, masks[k])(*(r[k] for r in rows)) for k, count in enumerate(counts) if count]
        several = [f if isinstance(f, tuple) else (f,) for f in found]
        back = order.argsort()
        results = tuple(torch.cat(parts).index_select(0, back) for parts in zip(*several, strict=True))
        shaped = tuple(r.reshape(*lead, *s) for r, s in zip(results, net.outputs, strict=True))
        return shaped[0] if len(shaped) == 1 else shaped

    def _rows(self, order: Tensor, lead: Shape) -> Tensor:
        """The place among the rows of every position, for the masks of dropout."""
        rows = self.net.rows
        return order // (order.numel() // len(rows)) if rows is not None else order

    def _one(self, k: int, places: Tensor | None = None) -> Net:
        net = self.net.entries[k]
        if not net.thinned or net.rows is None or places is None:
            return net
        return replace(net, rows=net.rows[places.cpu().numpy()])


@dataclass(frozen=True, slots=True, eq=False)
class Nets:
    """The nets of one bound model, by name."""

    own: Mapping[str, Net]

    def __getitem__(self, name: str) -> Net:
        return self.own[name]

    def numbers(self) -> dict[int, Tensor]:
        """Every parameter and buffer of real numbers once, by its id."""
        nets = (one for net in self.own.values() for one in (net, *net.entries))
        return {id(p): p for net in nets for _, p in net.state if p.is_floating_point()}

    def over(self, state: Mapping[int, Tensor]) -> Nets:
        """The same nets over other parameters and buffers, by the ids of their own. Dropout is off."""
        return Nets({n: net.changed(seed=None, rows=None).over(state) for n, net in self.own.items()})

    def to(self, dtype: torch.dtype) -> Nets:
        """The same nets for values of another precision."""
        return Nets({n: net.changed(dtype=dtype) for n, net in self.own.items()})

    def thinned(self, seed: int, rows: Rows) -> Nets:
        """The same nets in a training step, with dropout drawn from a seed and the numbers of the rows."""
        if not any(one.drops for net in self.own.values() for one in (net, *net.entries)):
            return self
        return Nets({n: net.changed(seed=seed, rows=rows) for n, net in self.own.items()})

    @property
    def thinned_rows(self) -> Rows | None:
        """The numbers of the rows that masks are drawn for; None where there are no masks."""
        nets = (one for net in self.own.values() for one in (net, *net.entries))
        return next((net.rows for net in nets if net.thinned), None)

    def of_rows(self, rows: Rows) -> Nets:
        """The same nets with the masks of other rows."""
        return Nets({n: net.changed(rows=rows) for n, net in self.own.items()})

    def tapped(self, tap: Tap | None) -> Nets:
        """The same nets, of whose calls somebody hears, or nobody."""
        return Nets({n: net.changed(tap=tap) for n, net in self.own.items()})

    def repeated(self, count: int) -> Nets:
        """The same nets for values whose rows stand `count` times each, side by side."""
        rows = {n: None if net.rows is None else np.repeat(net.rows, count) for n, net in self.own.items()}
        return Nets({n: net.changed(rows=rows[n]) for n, net in self.own.items()})


NONE = Nets({})

MakeModules = Callable[[tuple[NetSpec, ...], Mapping[str, int]], Mapping[str, nn.Module]]
"""Specs and sizes to modules by name. Raises DataError for a net that is not there."""


def make_modules(seed: int, extern: Mapping[str, nn.Module] | None = None) -> MakeModules:
    """Fresh modules, keyed by seed and name, beside the given ones."""

    def made(specs: tuple[NetSpec, ...], sizes: Mapping[str, int]) -> dict[str, nn.Module]:
        modules = dict(extern or {})
        for spec in specs:
            if spec.name not in modules:
                modules[spec.name] = make_module(spec, sizes, seed, modules)
        return modules

    return made


def make_module(
    spec: NetSpec, sizes: Mapping[str, int], seed: int, others: Mapping[str, nn.Module]
) -> nn.Module:
    """A net with fresh parameters, as torch initialises its layers, from a generator keyed by seed and name.

    Raises DataError for an extern net, and for sizes of which torch makes no layer.
    """
    if spec.source:
        return average_of(others[spec.source])
    if spec.make is None:
        raise DataError(
            f"the net `{spec.name}`, declared in line {spec.line}, is extern and was not given",
            f'load(..., nets={{"{spec.name}": module}}) or --bind {spec.name}=package.module:make',
        )
    if not spec.at:
        return _fresh(spec, spec.make, sizes, f"{seed}/{spec.name}/net")
    make, count = spec.make, math.prod(s.evaluate(sizes) for s in spec.at)
    modules = [_fresh(spec, make, sizes, f"{seed}/{spec.name}[{k}]/net") for k in range(count)]
    for k, module in enumerate(modules):
        _name_dropout(module, f"{k}.")
    return nn.ModuleList(modules).eval()


def _fresh(
    spec: NetSpec, make: Callable[..., nn.Module], sizes: Mapping[str, int], purpose: str
) -> nn.Module:
    """One module with parameters drawn for a purpose."""
    key = hashlib.blake2b(purpose.encode(), digest_size=8).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(key, "little") >> 1)
        try:
            module = make(*(sizes[name] for name in spec.sizes))
        except (ValueError, RuntimeError) as error:
            raise DataError(f"the net `{spec.name}` cannot be made: {error}", "check its sizes") from None
    _name_dropout(module, "")
    return module.eval()


def _name_dropout(module: nn.Module, prefix: str) -> None:
    """Tell every dropout layer its place, from which its masks are drawn."""
    for layer, part in module.named_modules():
        if isinstance(part, Dropout):
            part.layer = f"{prefix}{layer}"


def average_of(module: nn.Module) -> nn.Module:
    """A copy whose parameters no gradient reaches."""
    import copy

    return copy.deepcopy(module).requires_grad_(False).eval()


@torch.no_grad()
def average_step(shadow: nn.Module, module: nn.Module, decay: float) -> None:
    """shadow = decay * shadow + (1 - decay) * module, in place."""
    for own, other in zip(shadow.parameters(), module.parameters(), strict=True):
        own.lerp_(other.to(own.device, own.dtype), 1 - decay)
    for mine, theirs in zip(shadow.buffers(), module.buffers(), strict=True):
        mine.copy_(theirs)


def bound_nets(
    specs: tuple[NetSpec, ...],
    sizes: Mapping[str, int],
    modules: Mapping[str, nn.Module],
    dtype: torch.dtype,
    device: torch.device,
) -> Nets:
    """Nets with their sizes, for values of this precision."""

    def shapes(declared: tuple[tuple[Size, ...], ...]) -> tuple[Shape, ...]:
        return tuple(tuple(s.evaluate(sizes) for s in shape) for shape in declared)

    def net(spec: NetSpec) -> Net:
        at = tuple(s.evaluate(sizes) for s in spec.at)
        return Net.of(spec, shapes(spec.inputs), shapes(spec.outputs), modules[spec.name], dtype, device, at)

    return Nets({spec.name: net(spec) for spec in specs})
