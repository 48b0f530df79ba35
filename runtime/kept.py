"""What a loaded model keeps from one question to the next, so that the same work is not done twice.

Everything is found again by the contents of the values that it was computed from: a tensor that was changed
in place, or an array whose memory a tensor shares, is another value.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

Values = Mapping[str, Tensor]
T = TypeVar("T")

LARGEST = 2**26
"""Bytes of values and of a result that are kept; what is larger is computed anew."""

_MOST_SHAPES = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    inputs: Values
    result: Any

    def serves(self, held: Values) -> bool:
        return all(name in held and _same(value, held[name]) for name, value in self.inputs.items())


@dataclass(slots=True, eq=False)
class Remembered:
    """The last result, with the values that it was computed from."""

    entry: _Entry | None = None

    def find(self, held: Values) -> Any:
        """The result for values equal to those of the last one; else None."""
        entry = self.entry
        return entry.result if entry is not None and entry.serves(held) else None

    def keep(self, held: Values, names: Iterable[str], result: Any, size: int) -> None:
        """Remember a result of `size` bytes that was computed from the named values alone."""
        inputs = {name: held[name] for name in names}
        if size + sum(v.nbytes for v in inputs.values()) <= LARGEST:
            self.entry = _Entry({n: v.detach().clone() for n, v in inputs.items()}, result)


@dataclass(slots=True, eq=False)
class ByShape(Generic[T]):
    """What shapes settle; the shapes seen last are kept."""

    found: dict[Hashable, T] = field(default_factory=dict)

    def find(self, shapes: Hashable) -> T | None:
        return self.found.get(shapes)

    def keep(self, shapes: Hashable, value: T) -> None:
        if shapes not in self.found and len(self.found) >= _MOST_SHAPES:
            self.found.clear()
        self.found[shapes] = value


@dataclass(slots=True, eq=False)
class Kept:
    """For one generated module and its hyperparameters.

    By the shapes of a question: what binding has settled, `frames`, the memory that a row needs,
    `footprints`, and the pattern of the Hessian with the places of its entries, `layouts`. For one set of
    sizes and settings: the last result of what its method prepares, the recursion over a rollout or the form
    of a mixture.
    """

    frames: ByShape[Any] = field(default_factory=ByShape)
    footprints: ByShape[int] = field(default_factory=ByShape)
    layouts: ByShape[Any] = field(default_factory=ByShape)
    _prepared: tuple[Hashable, Remembered] | None = None

    def prepared(self, settings: Hashable) -> Remembered:
        """Where the result of these sizes and settings is kept."""
        found = self._prepared
        if found is None or found[0] != settings:
            found = self._prepared = (settings, Remembered())
        return found[1]

    @property
    def bytes_per_row(self) -> int:
        """What was noted last, 0 where nothing was."""
        return next(reversed(self.footprints.found.values()), 0)


def _same(a: Tensor, b: Tensor) -> bool:
    alike = a.shape == b.shape and a.dtype == b.dtype and a.device == b.device
    return alike and torch.equal(a, b)
