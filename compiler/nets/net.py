"""What a checked model knows about its nets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ebmlang.compiler.sizes import Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.types import Shape, Type

OptionValue: TypeAlias = "Size | float | bool | str | tuple[Size, ...]"

Form = Literal["features", "flat", "array", "sequence"]
"""How inputs reach a module: their last dimensions side by side, at every position of the others; all their
entries side by side; each as an array; or one sequence, of which all states or the last one are kept."""

Grade = Literal["smooth", "piecewise", "kink"]


@dataclass(frozen=True, slots=True)
class Signature:
    """The declared types of the inputs and of the results."""

    inputs: tuple[Type, ...]
    outputs: tuple[Type, ...]

    def __str__(self) -> str:
        return f"{_types(self.inputs)} -> {_types(self.outputs)}"

    @property
    def types(self) -> tuple[Type, ...]:
        return (*self.inputs, *self.outputs)

    @property
    def aligned(self) -> bool:
        """Whether all types share every dimension but the last: the net works at each position of these."""
        first = self.outputs[0].shape
        return all(t.rank > 0 and t.shape[:-1] == first[:-1] for t in self.types)

    @property
    def width_in(self) -> Size:
        """Numbers that enter at one position."""
        return _width(self.inputs, self.aligned)

    @property
    def width_out(self) -> Size:
        return _width(self.outputs, self.aligned)


def _types(types: tuple[Type, ...]) -> str:
    shown = ", ".join(map(str, types))
    return shown if len(types) == 1 else f"({shown})"


def _width(types: tuple[Type, ...], aligned: bool) -> Size:
    one = Size.of(1)
    parts = [t.shape[-1] if aligned else math.prod(t.shape, start=one) for t in types]
    return sum(parts[1:], start=parts[0])


@dataclass(frozen=True, slots=True)
class Build:
    """A constructor with its options, all of them, in the order of the table."""

    constructor: str
    options: tuple[tuple[str, OptionValue], ...]

    def option(self, name: str) -> OptionValue:
        return next(value for key, value in self.options if key == name)

    def __str__(self) -> str:
        shown = ", ".join(f"{key} = {option_text(value)}" for key, value in self.options)
        return f"{self.constructor}({shown})"


def option_text(value: OptionValue) -> str:
    """An option as the language writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True, eq=False)
class Net:
    """A declared net.

    `build` is None for an extern one, and for a moving average of another net: that has a `source` and a
    `decay`, a number or the name of the observed variable that computes it. `at` are
    the sizes of the plates that it is declared in, one module for every position of them.
    `grade` is how smooth a call is in its inputs, `affine` whether it is affine in all of them together.
    """

    name: str
    signature: Signature
    form: Form
    build: Build | None
    at: Shape
    grade: Grade
    affine: bool
    doc: str
    span: Span
    source: str = ""
    decay: float | str = 0.0

    @property
    def extern(self) -> bool:
        return self.build is None and not self.source

    def __str__(self) -> str:
        """The declaration, without its name."""
        if self.source:
            decay = self.decay if isinstance(self.decay, str) else f"{self.decay:g}"
            return f"{self.signature} = ema({self.source}, decay = {decay})"
        return f"{self.signature}" if self.build is None else f"{self.signature} = {self.build}"
