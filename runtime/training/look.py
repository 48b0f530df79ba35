"""One look at a step of training: what nets, units, codes and energies do while a loss is computed.

A look listens to the evaluation that the step needs anyway; only named values that choose a case are computed
for it. What it notes is gathered from all processes of a run, so that each of them knows the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ebmlang.compiler.vitals import Vitals
from ebmlang.runtime.bind import Bound, net_specs
from ebmlang.runtime.gathering import gathered
from ebmlang.runtime.nets import Net, Nets

ENERGIES = ("data", "negatives")
"""Whose energies are told apart."""

MOST_ROWS = 1024
"""Results of a net in one call that are looked at, evenly out of all of them."""

MOST_CALLS = 4
"""Calls of a net that are looked at, the first ones."""

_FLAT = 0.99
"""A unit of a bounded activation counts as stuck from this share of its range on: the slope of tanh is 0.02
there."""

_WATCHED: tuple[tuple[type[nn.Module], Callable[[Tensor], Tensor]], ...] = (
    (nn.ReLU, lambda y: y > 0),
    (nn.Tanh, lambda y: y.abs() < _FLAT),
    (nn.Sigmoid, lambda y: (2 * y - 1).abs() < _FLAT),
)
"""Activations with flat parts, and where their results are not on one."""

_KINDS: tuple[type[nn.Module], ...] = tuple(kind for kind, _ in _WATCHED)


@dataclass(slots=True, eq=False)
class Look:
    """What is noted. results: of each representation the results of its calls whose inputs differ by example,
    [rows, entries]. active: by net, layer and number of units, which units are not stuck, bool [units].
    used: which cases of a code were chosen, and which entries of an unknown are not 0, bool [count].
    energies: of the rows of the data, and of the negatives, in parts. acceptance: of chains, in parts.
    rows: examples that were looked at."""

    vitals: Vitals
    results: dict[str, list[Tensor]] = field(default_factory=dict)
    active: dict[str, Tensor] = field(default_factory=dict)
    used: dict[str, Tensor] = field(default_factory=dict)
    energies: dict[str, list[Tensor]] = field(default_factory=dict)
    acceptance: list[Tensor] = field(default_factory=list)
    rows: int = 0
    _calls: dict[str, int] = field(default_factory=dict)

    # --- what is told ---

    @contextmanager
    def listening(self, bound: Bound) -> Iterator[Bound]:
        """The same bound model; what its nets do inside the block is noted. Call it once per evaluation."""
        self._calls = {}
        if not net_specs(bound.module):
            yield bound
            return
        instance = cast(Any, bound.instance)
        own: Nets = instance.nets
        hooks = [
            layer.register_forward_hook(partial(self._fired, f"{name}/{path}"))
            for name in self.vitals.nets
            for path, layer in own[name].module.named_modules()
            if isinstance(layer, _KINDS)
        ]
        try:
            yield replace(bound, instance=replace(instance, nets=own.tapped(self._called)))
        finally:
            for hook in hooks:
                hook.remove()

    def energy(self, of: str, rows: Tensor) -> None:
        """The energies of rows [B], `of` one of ENERGIES."""
        self.energies.setdefault(of, []).append(gathered(rows.detach()))

    def accepted(self, acceptance: Tensor) -> None:
        """The shares of proposals that chains have taken, [R]."""
        self.acceptance.append(gathered(acceptance.detach()))

    def chosen(self, bound: Bound, name: str, cases: Tensor) -> None:
        """The cases of a code of the model, int64 [B, ...]."""
        count = dict(self.vitals.codes)[name].evaluate(bound.sizes)
        found = torch.bincount(cases.detach().flatten().clamp(0, count - 1), minlength=count) > 0
        self._add(self.used, name, found)

    def found(self, bound: Bound, unknown: Mapping[str, Tensor]) -> None:
        """What was searched for each example, and what is chosen by named values, for rows of the data."""
        self.rows += int(gathered(torch.ones(bound.batch, 1)).shape[0])
        for name in self.vitals.entries:
            if name in unknown:
                self._add(self.used, name, (unknown[name] != 0).flatten(0, -2).any(0))
        for name, _ in self.vitals.codes:
            if name in unknown:
                self.chosen(bound, name, unknown[name])

    # --- what is heard ---

    def _called(self, net: Net, inputs: Sequence[Tensor], results: Sequence[Tensor]) -> None:
        name, lead = net.spec.name, results[0].ndim - len(net.outputs[0])
        number = self._calls.get(name, 0)
        if name not in self.vitals.representations or not lead or number >= MOST_CALLS:
            return
        self._calls[name] = number + 1
        count = math.prod(results[0].shape[:lead])
        rows = torch.cat([r.detach().reshape(count, -1) for r in results], -1)
        differ = torch.stack([(v[1:] != v[:1]).any() for v in inputs if v.ndim]).any()
        whole = gathered(rows[:: -(-count // MOST_ROWS)])
        if bool(gathered(differ[None]).any()):
            # Parts of a batch are calls of their own; the same call of each of them is one.
            self.results.setdefault(f"{name}/{number}", []).append(whole)

    def _fired(self, key: str, layer: nn.Module, inputs: Any, result: Tensor) -> None:
        apart = next(test for kind, test in _WATCHED if isinstance(layer, kind))
        with torch.no_grad():
            # The entries of a feature map are one unit.
            y = result.movedim(1, -1) if result.ndim == 4 else result
            found = apart(y).flatten(0, -2).any(0) if y.ndim > 1 else apart(y)
        self._add(self.active, f"{key}/{len(found)}", found)

    def _add(self, to: dict[str, Tensor], key: str, seen: Tensor) -> None:
        """Units that are in use here or in what was seen before."""
        seen = gathered(seen[None]).any(0)
        to[key] = seen | to[key] if key in to else seen
