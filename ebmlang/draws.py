"""What is told about draws: a table of 80 columns, and the same as JSON, gathered chunk by chunk."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from ebmlang.runtime.samplers.samples import Samples

_SHOWN = 12
"""Entries of a variable that get a line of their own."""


@dataclass(slots=True)
class Quantity:
    """Sums about one entry of a variable, or about all of its entries, over rows and draws that are
    finite."""

    count: int = 0
    total: float = 0.0
    square: float = 0.0
    rhat: float = math.nan
    bulk: float = math.nan
    tail: float = math.nan

    def add(self, draws: Tensor, rhat: Tensor, bulk: Tensor, tail: Tensor) -> None:
        values = draws.double()
        values = values[values.isfinite()]
        self.count += int(values.numel())
        self.total += float(values.sum())
        self.square += float(values.square().sum())
        self.rhat = float(np.fmax(self.rhat, _extreme(rhat, np.fmax)))
        self.bulk = float(np.fmin(self.bulk, _extreme(bulk, np.fmin)))
        self.tail = float(np.fmin(self.tail, _extreme(tail, np.fmin)))

    def to_json(self) -> dict[str, float | None]:
        mean = self.total / self.count if self.count else math.nan
        variance = self.square / self.count - mean**2 if self.count else math.nan
        found = {
            "mean": mean,
            "deviation": math.sqrt(max(variance, 0.0)) if variance == variance else math.nan,
            "rhat": self.rhat,
            "ess_bulk": self.bulk,
            "ess_tail": self.tail,
        }
        return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _extreme(values: Tensor, pick: np.ufunc) -> float:
    flat = values.detach().cpu().numpy().reshape(-1)
    return float(pick.reduce(flat)) if flat.size else math.nan


@dataclass(slots=True)
class DrawSummary:
    """What is told about all rows; its size does not grow with them."""

    rows: int = 0
    good: int = 0
    method: str = ""
    because: str = ""
    certificate: str = ""
    beta: float = 1.0
    shape: tuple[int, int] = (0, 0)
    quantities: dict[str, Quantity] = field(default_factory=dict)
    accepted: float = 0.0
    divergences: int = 0
    steps: list[float] = field(default_factory=list)
    """Least and largest step size, where there is one."""
    failures: Counter[str] = field(default_factory=Counter)
    """How many rows ended in each way that is not good, by the first word of its sentence; and one
    sentence."""
    sentences: dict[str, str] = field(default_factory=dict)

    def add(self, found: Samples) -> None:
        """Count a chunk in."""
        self.method, self.because, self.beta = found.method, found.because, found.beta
        self.certificate = found.certificate
        self.shape = (found.energy.shape[1], found.energy.shape[2])
        self.good += int(found.converged.sum())
        self.accepted += float(found.acceptance.mean(1).sum())
        self.divergences += int(found.divergences.sum())
        steps = found.step[found.step.isfinite()].tolist()
        self.steps = [min([*self.steps, *steps]), max([*self.steps, *steps])] if self.steps or steps else []
        for name, draws in {**found.values, "energy": found.energy}.items():
            self._add_variable(name, draws, found)
        for sentence, fine in zip(found.status, found.converged.tolist(), strict=True):
            if not fine:
                kind = sentence.partition(":")[0]
                self.failures[kind] += 1
                self.sentences.setdefault(kind, sentence)
        self.rows += len(found.status)

    def _add_variable(self, name: str, draws: Tensor, found: Samples) -> None:
        lead = 2 if name in found.shared else 3
        own = (found.rhat[name], found.bulk[name], found.tail[name])
        size = math.prod(draws.shape[lead:])
        whole = size == 1 or size > _SHOWN or (self.rows or len(found.status) > 1)
        if whole:
            self.quantities.setdefault(name, Quantity()).add(draws, *own)
            return
        for index in np.ndindex(*draws.shape[lead:]):
            entry = f"{name}[{', '.join(map(str, index))}]"
            at = (..., *index)
            self.quantities.setdefault(entry, Quantity()).add(draws[at], *(value[at] for value in own))

    def to_json(self) -> dict[str, Any]:
        chains, draws = self.shape
        return {
            "rows": self.rows,
            "good": self.good,
            "chains": chains,
            "draws": draws,
            "method": self.method,
            "because": self.because,
            "certificate": self.certificate,
            "beta": self.beta,
            "quantities": {name: q.to_json() for name, q in self.quantities.items()},
            "acceptance": self.accepted / self.rows if self.rows else None,
            "divergences": self.divergences,
            "step": self.steps or None,
            "failures": {
                kind: {"rows": n, "first": self.sentences[kind]} for kind, n in self.failures.items()
            },
        }

    def text(self, title: str, written: str | None) -> str:
        """The summary for people."""
        chains, draws = self.shape
        lines = [title, "", f"  {'':<20}{'mean':>12}{'deviation':>12}{'R-hat':>9}{'bulk':>10}{'tail':>10}"]
        for name, quantity in self.quantities.items():
            lines.append(_line(name, quantity.to_json()))
        if self.rows > 1:
            lines += ["", "  of all rows and entries: the largest R-hat, the least effective draws"]
        lines.append("")
        lines += _fact("draws", f"{draws:,} of each of {chains:,} chains" + self._law())
        lines += _fact("sampler", f"{self.method}: {self.because}")
        lines += _fact("law", self.certificate)
        if self.steps:
            low, high = self.steps
            shown = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
            accepted = self.accepted / max(self.rows, 1)
            lines += _fact("step", f"{shown}, acceptance {accepted:.2f}, {self.divergences:,} divergences")
        lines += _fact("good", f"{self.good:,} of {self.rows:,} rows")
        for kind, count in self.failures.most_common():
            lines += _fact(
                "warning",
                f"{count:,} rows: {self.sentences[kind]}" if self.rows > 1 else self.sentences[kind],
            )
        if written:
            lines += _fact("written", written)
        return "\n".join(lines)

    def _law(self) -> str:
        return "" if self.beta == 1.0 else f", from exp(-{self.beta:.4g} E)"


def _line(name: str, numbers: dict[str, float | None]) -> str:
    shown = name if len(name) <= 20 else f"{name[:17]}..."
    cells = [("mean", 12, ".5g"), ("deviation", 12, ".5g"), ("rhat", 9, ".3f"), ("ess_bulk", 10, ",.0f")]
    cells.append(("ess_tail", 10, ",.0f"))
    text = f"  {shown:<20}"
    for key, width, form in cells:
        value = numbers[key]
        text += f"{'-' if value is None else format(value, form):>{width}}"
    return text


def _fact(word: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        78,
        initial_indent=f"  {word:<10}",
        subsequent_indent=" " * 12,
        break_long_words=False,
        break_on_hyphens=False,
    )
