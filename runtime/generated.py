"""The base of generated classes, the draws they ask for, and loading a generated module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebmlang.compiler.codegen.names import method_name
from ebmlang.runtime import seeded
from ebmlang.runtime.seeded import Rows

Values = Mapping[str, Tensor]
Array = NDArray[Any]
Arrays = Mapping[str, Array]
Entries = Sequence[Array] | Array
"""Entries of a state or an action, each [R]."""

EnergyAndGradient = tuple[Tensor, dict[str, Tensor]]
"""The energy, and its gradient along every sought variable by name."""

Report = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]
"""Terms, factors and named values."""

HessianPlaces = list[tuple[int, int, Tensor, Tensor]]
"""For each entry: the number of its value, its sign, the numbers of its row and its column."""

Scopes = dict[int, tuple[Tensor | None, tuple[tuple[Tensor, ...], ...]]]
"""By table: where it counts (None: everywhere), and the subscripts of each entry that it joins."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Random values keyed by seed, name, number of the draw and global row.

    `rows` are the row numbers of the examples; variables in `shared` are drawn once for all.
    """

    seed: int
    rows: Rows
    shared: frozenset[str]
    dtype: torch.dtype
    device: torch.device

    def _rows(self, name: str) -> Rows:
        return np.zeros(1, dtype=np.int64) if name in self.shared else self.rows

    def _tensor(self, name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
        tensor = torch.from_numpy(values).to(self.device, self.dtype)
        return tensor[0] if name in self.shared else tensor

    def normal(
        self,
        name: str,
        number: int,
        shape: tuple[int, ...],
        mean: Tensor | float = 0.0,
        std: Tensor | float = 1.0,
    ) -> Tensor:
        """mean + std * noise, [B, *shape] ([*shape] when shared); differentiable in both."""
        noise = seeded.normal(self.seed, f"{name}/{number}", self._rows(name), shape)
        return mean + std * self._tensor(name, noise)

    def uniform(
        self,
        name: str,
        number: int,
        shape: tuple[int, ...],
        low: Tensor | float = 0.0,
        high: Tensor | float = 1.0,
    ) -> Tensor:
        """Uniform in (low, high)."""
        return low + (high - low) * self._uniform(name, number, shape)

    def bernoulli(self, name: str, number: int, shape: tuple[int, ...], p: Tensor | float) -> Tensor:
        """True with probability p."""
        return self._uniform(name, number, shape) < p

    def categorical(self, name: str, number: int, shape: tuple[int, ...], p: Tensor) -> Tensor:
        """A class with the probabilities p [..., K], which need not sum to 1."""
        steps = p.cumsum(-1)
        u = self._uniform(name, number, shape) * steps[..., -1]
        return (u[..., None] >= steps).sum(-1).clamp(max=p.shape[-1] - 1)

    def _uniform(self, name: str, number: int, shape: tuple[int, ...]) -> Tensor:
        return self._tensor(name, seeded.uniform(self.seed, f"{name}/{number}", self._rows(name), shape))


NUMBERED = "numbers of rows"
"""Among the held values while nets are thinned: the global numbers of the rows that the others are of, int64
[B], on which the masks of dropout depend. No variable has a space in its name."""


class GeneratedModel:
    """What every generated class offers. Methods named `start_X`, `domain_X` and `property_X`
    exist for the variables and properties whose tables say so."""

    batch: int
    dtype: torch.dtype
    device: torch.device
    draw: Draws

    def following(self, held: Values) -> Self:
        """The same functions with the masks of dropout of the rows that `held` is of."""
        if NUMBERED not in held:
            return self
        own = cast(Any, self)
        thinned: Self = replace(own, nets=own.nets.of_rows(held[NUMBERED].cpu().numpy()))
        return thinned

    def prepare(self, held: Values) -> dict[str, Tensor]:
        raise NotImplementedError

    def terms(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        raise NotImplementedError

    def energy(self, unknown: Values, held: Values) -> Tensor:
        raise NotImplementedError

    def energy_and_gradient(self, unknown: Values, held: Values) -> EnergyAndGradient:
        raise NotImplementedError

    def gradient(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        raise NotImplementedError

    def smooth_and_gradient(self, unknown: Values, held: Values) -> EnergyAndGradient:
        raise NotImplementedError

    def hessian_times(self, unknown: Values, held: Values, direction: Values) -> dict[str, Tensor]:
        raise NotImplementedError

    def hessian_entries(self, unknown: Values, held: Values) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def hessian_places(self, held: Values, number: Values) -> HessianPlaces:
        raise NotImplementedError

    def normal_times(self, unknown: Values, held: Values, direction: Values) -> dict[str, Tensor]:
        raise NotImplementedError

    def smooth(self, unknown: Values, held: Values) -> Tensor:
        raise NotImplementedError

    def absolute(self, held: Values) -> dict[str, Tensor]:
        raise NotImplementedError

    def majorant(self, unknown: Values, held: Values) -> Tensor:
        raise NotImplementedError

    def obligations(self, held: Values) -> dict[str, Tensor]:
        """Values by the text of what must hold of them, for the method of the plan."""
        return {}

    def tables(self, unknown: Values, held: Values) -> dict[int, Tensor]:
        raise NotImplementedError

    def scopes(self, unknown: Values, held: Values) -> Scopes:
        raise NotImplementedError

    def constraints(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return {}

    def closed_form(self, held: Values) -> dict[str, Tensor]:
        raise NotImplementedError

    def scores(self, unknown: Values, held: Values) -> list[tuple[Tensor, Tensor]]:
        raise NotImplementedError

    def rest(self, unknown: Values, held: Values) -> Tensor:
        raise NotImplementedError

    def maxima(self, unknown: Values, held: Values) -> list[tuple[Tensor, list[Tensor]]]:
        raise NotImplementedError

    def without_kinks(self, unknown: Values, held: Values) -> Tensor:
        raise NotImplementedError

    def first_states(self, held: Values) -> dict[str, Tensor]:
        raise NotImplementedError

    def next_states(self, states: Values, unknown: Values, held: Values) -> dict[str, Tensor]:
        raise NotImplementedError

    def cost_of_states(self, states: Values, unknown: Values, held: Values) -> Tensor:
        raise NotImplementedError

    def limits_of_states(self, states: Values, unknown: Values, held: Values) -> dict[str, Tensor]:
        raise NotImplementedError

    def cost_slopes(self, states: Values, unknown: Values, held: Values) -> dict[str, Tensor]:
        raise NotImplementedError

    def step_slopes(self, states: Values, unknown: Values, held: Values, seeds: Values) -> dict[str, Tensor]:
        raise NotImplementedError

    def stage_bends(
        self, states: Values, unknown: Values, held: Values, seeds: Values, direction: Values
    ) -> dict[str, Tensor]:
        raise NotImplementedError

    def next_entries(self, t: int, states: Entries, action: Entries, held: Arrays) -> tuple[Array, ...]:
        raise NotImplementedError

    def factors(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return {}

    def lets(self, unknown: Values, held: Values) -> dict[str, Tensor]:
        return {}

    def report(self, unknown: Values, held: Values) -> Report:
        """Terms, factors and lets together."""
        return self.terms(unknown, held), self.factors(unknown, held), self.lets(unknown, held)

    def start(self, name: str, held: Values) -> Tensor | float:
        """The default, start or draw of a variable."""
        function: Callable[[Values], Tensor | float] = getattr(self, method_name("start", name))
        return function(held)

    def domain(self, name: str, held: Values) -> tuple[Tensor, ...]:
        """Bounds or mask of a variable's domain."""
        function: Callable[[Values], tuple[Tensor, ...]] = getattr(self, method_name("domain", name))
        return function(held)

    def property(self, name: str, held: Values) -> tuple[Tensor, ...]:
        """The sides of a property."""
        function: Callable[[Values], tuple[Tensor, ...]] = getattr(self, method_name("property", name))
        return function(held)


def load_text(text: str, name: str) -> ModuleType:
    """A generated module from its text; tracebacks show its lines."""
    import linecache

    filename = f"<ebmlang {name}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    module = ModuleType(f"ebmlang_generated_{name}")
    # dataclass looks its module up by name while the class body is processed.
    import sys

    sys.modules[module.__name__] = module
    try:
        exec(compile(text, filename, "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    return module
