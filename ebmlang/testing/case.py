"""Values that a check is run on, and how they are written down so that they can be pasted back."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_LINE = 96


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Case(Mapping[str, Any]):
    """Arrays by variable name, and the hyperparameters that were drawn because nothing set them.

    Variables that differ by example are [rows, *shape], the others [*shape]. It is a mapping, so
    `model.energy(**case)` works once the model has its hyperparameters.
    """

    arrays: Mapping[str, Array]
    hypers: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __repr__(self) -> str:
        hypers = "".join(f", {name}={literal(value)}" for name, value in self.hypers.items())
        return f"values({dict_literal(self.arrays)}{hypers})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis prints it."""
        printer.text(repr(self))


class CheckFailed(AssertionError):
    """A check does not hold. `message` says what was found and what was expected."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


def literal(value: Any) -> str:
    """A number or an array as Python that makes it again, to the bit; nan and inf by these names."""
    if isinstance(value, np.ndarray):
        return literal(value.tolist())
    if isinstance(value, list):
        return f"[{', '.join(literal(item) for item in value)}]"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return repr(value)


def dict_literal(arrays: Mapping[str, Array]) -> str:
    """The arrays as a dictionary, on one line where it fits."""
    entries = [f'"{name}": {literal(array)}' for name, array in arrays.items()]
    line = f"{{{', '.join(entries)}}}"
    return line if len(line) <= _LINE else "{" + "".join(f"\n    {entry}," for entry in entries) + "\n}"


def program(call: str, source: str, model: str | None, hypers: Mapping[str, Any], case: Case) -> str:
    """A Python program that fails as the check did.

    `call` is what follows `testing.`; `source` is the path of the model, `model` its name where the file
    holds several. A model that was given as text is expected under the name `text`.
    """
    named = {**({} if model is None else {"model": model}), **hypers, **case.hypers}
    options = "".join(f", {_option(name, value)}" for name, value in named.items())
    opened = f"loads(text{options})" if source == "<text>" else f"load({source!r}{options})"
    body = (
        "import ebmlang",
        "from ebmlang import testing",
        "",
        f"m = ebmlang.{opened}",
        f"values = {dict_literal(case.arrays)}",
        f"testing.{call}",
    )
    text = "\n".join(body)
    special = sorted(set(re.findall(r"(?<=[\[ =(-])(?:inf|nan)(?=[\],})])", text)))
    return f"from math import {', '.join(special)}\n\n{text}" if special else text


def _option(name: str, value: Any) -> str:
    """An argument of `load`; names that Python reserves go in by their text."""
    return f"**{{{name!r}: {literal(value)}}}" if keyword.iskeyword(name) else f"{name}={literal(value)}"
