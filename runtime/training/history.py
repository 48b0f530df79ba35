"""The record of a training run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebmlang.errors import DataError

_SHOWN = 5
"""Steps at each end of the table of a long run."""

_WIDEST = 78
_COLUMN = 12


@dataclass(frozen=True, slots=True)
class HealthWarning:
    """What a rule says after a step: its name, the net or variable that it is `about` (empty: the run), what
    is wrong, and one thing to try. `over`: it is not wrong any more."""

    rule: str
    about: str
    step: int
    message: str
    advice: str
    over: bool = False

    @property
    def name(self) -> str:
        """The rule, and what it is about."""
        return f"{self.rule} of {self.about}" if self.about else self.rule

    def __str__(self) -> str:
        if self.over:
            return f"warning[{self.rule}]: it is over for {self.about or 'the run'} at step {self.step:,}"
        parts = (f"warning[{self.rule}]: step {self.step:,}: {self.message}", f"  try: {self.advice}")
        return "\n".join(fill(part, _WIDEST, subsequent_indent="  ") for part in parts)


@dataclass(frozen=True, slots=True)
class Record:
    """One step, as it was before the parameters moved. `step` and `epoch` count from 1.

    loss: the loss of the batch. terms: the mean of each term over its rows. gradient: the norm of the
    gradient of all parameters, along their domains. unconverged: rows whose search inside ended early, of
    `rows`. seconds: since the beginning of the run. Where several lines ran, these are about the first one,
    and `lines` has the loss of each that ran by its label, or its number. validation: the loss of the rows
    that were held out, where it was asked for after this step. health: what a look at the step found, by
    name; empty where there was none. warnings: what is said of the run after this step.
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
    health: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[HealthWarning, ...] = ()

    @staticmethod
    def of_json(found: Mapping[str, Any]) -> Record:
        """The record of a JSON object; null is NaN."""

        def number(value: float | None) -> float:
            return math.nan if value is None else value

        keys = ("terms", "lines", "health")
        tables = {key: {n: number(v) for n, v in found.get(key, {}).items()} for key in keys}
        plain = {key: number(found[key]) for key in ("loss", "gradient")}
        said = tuple(HealthWarning(step=found["step"], **w) for w in found.get("warnings", ()))
        return Record(**{**found, **plain, **tables, "warnings": said})

    def to_json(self) -> dict[str, Any]:
        """A JSON object; numbers that are not finite are null, and what was not asked for is left out."""
        lines = {n: _finite(v) for n, v in self.lines.items()}
        health = {n: _finite(v) for n, v in self.health.items()}
        said = [{k: v for k, v in asdict(w).items() if k != "step"} for w in self.warnings]
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
            **({"health": health} if health else {}),
            **({"warnings": said} if said else {}),
        }


@dataclass(frozen=True, slots=True)
class History:
    """The steps of a run, in order. `stopped` says why it ended early; empty where it did not. `failed_on` is
    the rule that ended it, where one was to.

    Reads as `history["loss"]`, `history["gradient"]`, `history["seconds"]`, or by the name of a term, or of
    what a look found: float64 [steps]. Iterates over `Record`s.
    """

    records: tuple[Record, ...]
    stopped: str = ""
    names: tuple[str, ...] = field(default=())
    """Terms in the order of the model."""
    failed_on: str = ""

    @property
    def warnings(self) -> tuple[HealthWarning, ...]:
        """What was said of the run, in order, also that a warning is over."""
        return tuple(w for r in self.records for w in r.warnings)

    @property
    def health(self) -> tuple[str, ...]:
        """The names of what looks found."""
        return tuple(dict.fromkeys(n for r in self.records for n in r.health))

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """A column by name; a term called like another column is `term.NAME`, a line `line.NAME`, what looks
        found `health.NAME`.

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
        look = name.removeprefix("health.")
        if term not in self.names and look in self.health:
            return np.array([r.health.get(look, np.nan) for r in self.records], dtype=np.float64)
        if term not in self.names:
            known = (*own, *self.names, *self.health)
            raise KeyError(f"no column {name!r}; there are: {', '.join(known)}")
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
        lines += [str(w) for w in self.warnings if not w.over]
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
