"""Values that a model computes from what is given, without a search: predictions, and what states become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.typed import Constant, Expr, Let, Level, Term
from ebmlang.compiler.typed import Model as CheckedModel
from ebmlang.compiler.types import REAL
from ebmlang.compiler.unread import lets_under, own_parts
from ebmlang.inference import Inference, given_arrays
from ebmlang.questions import Asked
from ebmlang.runtime.arrays import as_tensor
from ebmlang.runtime.bind import Bound, Settings, check_examples, fill
from ebmlang.runtime.search import Search

if TYPE_CHECKING:
    from ebmlang.api import Model

Wanted = Mapping[str, Expr]
"""Expressions of a checked model under names that no declaration has."""


def computing(model: CheckedModel, wanted: Wanted, given: frozenset[str]) -> CheckedModel:
    """The model with wanted values as lets, and nothing that they do not need but what is `given`."""
    found = [Let(name, value, "", value.span) for name, value in wanted.items()]
    needed = needed_for(model, wanted) | given
    kept = tuple(v for v in model.variables if v.role in ("hyper", "param", "random") or v.name in needed)
    parts = (*wanted.values(), *(part for v in kept for part in own_parts(v)))
    lets = lets_under(model, parts)
    zero = Constant(REAL, (), Level.CONSTANT, False, model.span, 0.0)
    nothing = Term("nothing", "energy", False, (), None, zero, "", model.span)
    return replace(
        model,
        variables=kept,
        lets=(*lets, *found),
        terms=(nothing,),
        constraints=(),
        questions=(),
        properties=(),
    )


def updated(state: str) -> str:
    """The name of what a state becomes. A declared name cannot be this one: `update` is reserved."""
    return f"update.{state}"


def needed_for(model: CheckedModel, wanted: Wanted) -> frozenset[str]:
    """The variables that values are computed from."""
    graph = FactorGraph(model, ())
    return frozenset(name for value in wanted.values() for name in graph.inputs(value))


@dataclass(slots=True)
class Computed:
    """Wanted values for one example after the other.

    What the names and shapes of given values settle is settled by the first example, and anew by an example
    that has others. `purpose` tells the code apart that the model keeps.
    """

    model: Model
    wanted: Wanted
    settings: Settings
    purpose: str
    _bound: Bound | None = None
    _given: frozenset[str] = frozenset()

    @property
    def reads(self) -> frozenset[str]:
        """The variables that the values are computed from."""
        return needed_for(self.model.checked, self.wanted)

    def begin(self) -> None:
        """Look at the parameters anew."""
        self._bound = None

    @property
    def sizes(self) -> Mapping[str, int]:
        """The sizes, once there was an example."""
        return self._bound.sizes if self._bound is not None else {}

    @torch.no_grad()
    def values(self, given: Mapping[str, Any]) -> dict[str, Tensor]:
        """The wanted values of one example, each with a first dimension of 1. Raises DataError."""
        bound = self._moved(given) or self._settled(given)
        held = {**bound.values, **bound.instance.prepare(bound.values)}
        found = bound.instance.lets({}, held)
        shaped = {name: torch.as_tensor(found[name]) for name in self.wanted}
        return {n: v if v.ndim > len(self.wanted[n].type.shape) else v[None] for n, v in shaped.items()}

    def _settled(self, given: Mapping[str, Any]) -> Bound:
        self._given = frozenset(given)
        smaller = computing(self.model.checked, self.wanted, self._given)
        asked = Asked(smaller, (), None, None, (), f"{self.purpose} {' '.join(sorted(given))}")
        arrays = given_arrays(self.model.ranks, given)
        run = Inference.settled(self.model, arrays, {}, self.settings, Search(""), asked, frozenset())
        self._bound = run.bound_rows(0, 1)
        return self._bound

    def _moved(self, given: Mapping[str, Any]) -> Bound | None:
        """The bound model with other values; None for values of other names or shapes."""
        bound = self._bound
        if bound is None or given.keys() != self._given:
            return None
        dtype, device = bound.settings.dtype, bound.settings.device
        fresh = {name: as_tensor(bound.specs[name], value, dtype, device) for name, value in given.items()}
        if any(value.shape != bound.values[name].shape for name, value in fresh.items()):
            return None
        check_examples(bound, fresh, frozenset(), 0)
        kept = {n: v for n, v in bound.values.items() if bound.specs[n].role in ("hyper", "param")}
        values = {**kept, **fresh}
        fill(bound.instance, bound.specs, bound.shapes, values, frozenset(), bound.settings)
        return replace(bound, values=values)
