"""The record of a training run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebmlang.errors import DataError

_SHOWN = 5
"""Steps at each end of the table of a long run."""

_WIDEST = 78
_COLUMN = 12


@dataclass(frozen=True, slots=True)
class Record:
    """One step, as it was before the parameters moved. `step` and `epoch` count from 1.

    loss: the loss of the batch. terms: the mean of each term over its rows. gradient: the norm of the
    gradient of all parameters, along their domains. unconverged: rows whose search inside ended early, of
    `rows`. seconds: since the beginning of the run. Where several lines ran, these are about the first one,
    and `lines` has the loss of each that ran by its label, or its number. validation: the loss of the rows
    that were held out, where it was asked for after this step.
    """

    step: int
    epoch: int
    loss: float
    terms: Mapping[str, float]
    gradient: float
    rows: int
    unconverged: int
    seconds: float
    lines: Mapping[str, float] = field(default_factory=dict)
    validation: float | None = None

    @staticmethod
    def of_json(found: Mapping[str, Any]) -> Record:
        """The record of a JSON object; null is NaN."""

        def number(value: float | None) -> float:
            return math.nan if value is None else value

        tables = {key: {n: number(v) for n, v in found.get(key, {}).items()} for key in ("terms", "lines")}
        plain = {key: number(found[key]) for key in ("loss", "gradient")}
        return Record(**{**found, **plain, **tables})

    def to_json(self) -> dict[str, Any]:
        """A JSON object; numbers that are not finite are null, and what was not asked for is left out."""
        lines = {n: _finite(v) for n, v in self.lines.items()}
        return {
            "step": self.step,
            "epoch": self.epoch,
            "loss": _finite(self.loss),
            "terms": {n: _finite(v) for n, v in self.terms.items()},
            "gradient": _finite(self.gradient),
            "rows": self.rows,
            "unconverged": self.unconverged,
            "seconds": round(self.seconds, 4),
            **({"lines": lines} if lines else {}),
            **({"validation": _finite(self.validation)} if self.validation is not None else {}),
        }


@dataclass(frozen=True, slots=True)
class History:
    """The steps of a run, in order. `stopped` says why it ended early; empty where it did not.

    Reads as `history["loss"]`, `history["gradient"]`, `history["seconds"]`, or by the name of a term: float64
    [steps]. Iterates over `Record`s.
    """

    records: tuple[Record, ...]
    stopped: str = ""
    names: tuple[str, ...] = field(default=())
    """Terms in the order of the model."""

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """A column by name; a term called like another column is `term.NAME`, a line `line.NAME`.

        What a step has not is NaN.
        """
        own = ("step", "epoch", "loss", "gradient", "rows", "unconverged", "seconds")
        if name in own:
            return np.array([getattr(r, name) for r in self.records], dtype=np.float64)
        if name == "validation":
            found = [r.validation for r in self.records]
            return np.array([np.nan if v is None else v for v in found], dtype=np.float64)
        if name.startswith("line."):
            return np.array([r.lines.get(name[5:], np.nan) for r in self.records], dtype=np.float64)
        term = name.removeprefix("term.")
        if term not in self.names:
            raise KeyError(f"no column {name!r}; there are: {', '.join((*own, *self.names))}")
        return np.array([r.terms.get(term, np.nan) for r in self.records], dtype=np.float64)

    @property
    def loss(self) -> NDArray[np.float64]:
        """The loss of every step, [steps]."""
        return self["loss"]

    def json_lines(self) -> str:
        """One JSON object per step, a line each."""
        return "".join(f"{json.dumps(r.to_json())}\n" for r in self.records)

    def plot(self, path: str | Path | None = None) -> Any:
        """The loss and the terms over the steps, as a figure of matplotlib; saved where a path is given.

        Raises DataError without matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise DataError("drawing a history needs matplotlib", "pip install 'ebmlang[plot]'") from None
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self["step"], self.loss, color="black", label="loss")
        for name in self.names if len(self.names) > 1 else ():
            axes.plot(self["step"], self[f"term.{name}"], linewidth=1, label=name)
        axes.set_xlabel("step")
        axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure

    def __str__(self) -> str:
        shown = [n for n in self.names if len(self.names) > 1]
        room = (_WIDEST - 2 * 7 - 3 * _COLUMN) // _COLUMN
        shown = shown[:room]
        head = [f"{'step':>7}{'epoch':>7}", *(_cell(n) for n in ("loss", *shown, "gradient", "seconds"))]
        lines = ["".join(head)]
        cut = len(self.records) > 2 * _SHOWN + 1
        ends = (self.records[:_SHOWN], self.records[-_SHOWN:]) if cut else (self.records, ())
        lines += [_row(r, shown) for r in ends[0]]
        if cut:
            lines.append(f"{'...':>7}")
        lines += [_row(r, shown) for r in ends[1]]
        if self.stopped:
            lines.append(self.stopped)
        return "\n".join(lines)


def _row(r: Record, shown: Sequence[str]) -> str:
    numbers = (r.loss, *(r.terms.get(n, math.nan) for n in shown), r.gradient)
    cells = "".join(f"{x:>{_COLUMN}.5g}" for x in numbers)
    return f"{r.step:>7,}{r.epoch:>7,}{cells}{r.seconds:>{_COLUMN}.2f}"


def _cell(name: str) -> str:
    short = name if len(name) < _COLUMN else f"{name[: _COLUMN - 2]}."
    return f"{short:>{_COLUMN}}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
