"""Results for people: a summary table that fits 80 columns, the same as JSON, and progress."""

from __future__ import annotations

import io
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ebmlang.runtime.training.history import Record

Numbers = NDArray[Any]
_SHOWN_ROWS = 5
_QUIET_SECONDS = 2.0
"""Without a terminal a line is written at most this often."""


class WorstRow(NamedTuple):
    """A row that did not converge. `row` counts from 0 over all chunks."""

    row: int
    energy: float
    iterations: int
    status: str


@dataclass
class Summary:
    """What is told about a result, gathered chunk by chunk: its size does not grow with the rows.

    Means are taken over the rows whose energy is finite.
    """

    rows: int = 0
    finite: int = 0
    converged: int = 0
    method: str = ""
    because: str = ""
    worst: list[WorstRow] = field(default_factory=list)
    """The few rows of highest energy among those that did not converge."""
    violations: dict[str, float] = field(default_factory=dict)
    """The largest violation of each hard constraint over all rows."""
    _total: float = 0.0
    _terms: dict[str, float] = field(default_factory=dict)
    _batch: dict[str, list[float]] = field(default_factory=dict)
    _steps: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    """How many rows took 0, 1, 2, ... iterations."""

    def add(
        self,
        energy: Numbers,
        terms: Mapping[str, Numbers],
        batch_terms: Mapping[str, Numbers],
        converged: Numbers,
        iterations: Numbers,
        status: Sequence[str],
    ) -> None:
        """Add a chunk of r rows: energy, converged and iterations [r], terms [r] or one number for all
        rows, batch terms one number each, and r sentences."""
        finite = np.isfinite(energy)
        self.finite += int(finite.sum())
        self.converged += int(converged.sum())
        self._total += float(energy[finite].sum(dtype=np.float64))
        for name, values in terms.items():
            each = np.broadcast_to(values, energy.shape)[finite]
            self._terms[name] = self._terms.get(name, 0.0) + float(each.sum(dtype=np.float64))
        for name, value in batch_terms.items():
            self._batch.setdefault(name, []).append(float(value))
        counts = np.bincount(iterations, minlength=len(self._steps))
        counts[: len(self._steps)] += self._steps
        self._steps = counts
        self._add_worst(energy, converged, iterations, status)
        self.rows += len(energy)

    def add_violations(self, violations: Mapping[str, Numbers]) -> None:
        """Keep the largest violation of each constraint, from the violations [r] of a chunk."""
        for name, values in violations.items():
            found = float(np.max(values)) if len(values) else 0.0
            self.violations[name] = max(self.violations.get(name, 0.0), found)

    def _add_worst(
        self, energy: Numbers, converged: Numbers, iterations: Numbers, status: Sequence[str]
    ) -> None:
        left = np.flatnonzero(~converged)
        # NaN counts as worse than any number
        order = left[np.argsort(-np.nan_to_num(energy[left], nan=np.inf, posinf=np.inf), kind="stable")]
        self.worst += [
            WorstRow(self.rows + int(i), float(energy[i]), int(iterations[i]), status[i])
            for i in order[:_SHOWN_ROWS]
        ]
        self.worst.sort(key=lambda w: (-w.energy if math.isfinite(w.energy) else -math.inf, w.row))
        del self.worst[_SHOWN_ROWS:]

    @property
    def mean_energy(self) -> float:
        return self._total / self.finite if self.finite else math.nan

    @property
    def mean_terms(self) -> dict[str, float]:
        return {name: total / self.finite if self.finite else math.nan for name, total in self._terms.items()}

    @property
    def batch_terms(self) -> dict[str, float]:
        """Mean over the chunks; a question with batch terms is never cut, so usually of one."""
        return {name: sum(values) / len(values) for name, values in self._batch.items()}

    @property
    def shares(self) -> dict[str, float]:
        """Each term's part of the sum of the absolute means, because energies may be negative."""
        means = self.mean_terms
        whole = math.fsum(abs(mean) for mean in means.values())
        return {name: abs(mean) / whole if whole > 0 else math.nan for name, mean in means.items()}

    @property
    def median_iterations(self) -> float:
        """The exact median; 0 without rows."""
        if not self.rows:
            return 0.0
        ends = np.cumsum(self._steps)
        low, high = np.searchsorted(ends, [(self.rows - 1) // 2, self.rows // 2], side="right")
        return float(low + high) / 2

    @property
    def most_iterations(self) -> int:
        taken = np.flatnonzero(self._steps)
        return int(taken[-1]) if taken.size else 0

    def to_json(self) -> dict[str, Any]:
        """A JSON object; numbers that are not finite are null."""
        shares, means = self.shares, self.mean_terms
        return {
            "rows": self.rows,
            "finite": self.finite,
            "energy": _number(self.mean_energy),
            "terms": {name: {"mean": _number(means[name]), "share": _number(shares[name])} for name in means},
            "batch_terms": {name: _number(value) for name, value in self.batch_terms.items()},
            "converged": self.converged,
            "iterations": {"median": self.median_iterations, "max": self.most_iterations},
            "method": self.method,
            "because": self.because,
            "violations": {name: _number(value) for name, value in self.violations.items()},
            "worst": [{**worst._asdict(), "energy": _number(worst.energy)} for worst in self.worst],
        }

    def print(self, title: str, written: str = "", file: IO[str] | None = None) -> None:
        """Write the tables to `file`, stdout if not given: in colour on a terminal, plain elsewhere."""
        from rich.console import Console

        file = sys.stdout if file is None else file
        if not file.isatty():
            # Files and pipes get 80 columns, whatever the window behind them, and no spaces at line ends.
            shown = io.StringIO()
            self._print_to(Console(file=shown, width=80, highlight=False, markup=False), title, written)
            file.writelines(f"{line.rstrip()}\n" for line in shown.getvalue().splitlines())
            return
        self._print_to(Console(file=file, highlight=False, markup=False), title, written)

    def _print_to(self, console: Console, title: str, written: str) -> None:
        from rich.text import Text

        console.print(Text(title, style="bold"))
        console.print()
        console.print(self._term_table())
        console.print()
        console.print(self._fact_table(written))
        if self.worst:
            left = self.rows - self.converged
            heading = f"{left:,} of {self.rows:,} rows did not converge; those of highest energy:"
            console.print()
            console.print(Text(heading, style="yellow"))
            console.print(self._worst_table())

    def _term_table(self) -> Table:
        table = _table(("term", "left"), ("mean energy", "right"), ("share", "right"))
        shares = self.shares
        for name, mean in self.mean_terms.items():
            _row(table, name, f"{mean:,.6g}", _percent(shares[name]))
        for name, value in self.batch_terms.items():
            _row(table, f"{name} (batch)", f"{value:,.6g}", "")
        _row(table, "total", f"{self.mean_energy:,.6g}", "", style="bold")
        return table

    def _fact_table(self, written: str) -> Table:
        table = _table(("", "left"), ("", "left"), header=False)
        if self.finite < self.rows:
            _row(
                table,
                "non-finite",
                f"{self.rows - self.finite:,} of {self.rows:,} rows, left out of the means",
            )
        style = "green" if self.converged == self.rows else "yellow"
        _row(table, "converged", f"{self.converged:,} of {self.rows:,} rows", style=style)
        _row(table, "iterations", f"median {self.median_iterations:,.6g}, most {self.most_iterations:,}")
        if self.violations:
            shown = ", ".join(f"{name} {value:.2g}" for name, value in self.violations.items())
            _row(table, "largest violation", shown)
        _row(table, "method", self.method or "none: nothing was sought")
        if self.because:
            _row(table, "because", self.because)
        if written:
            _row(table, "written", written)
        return table

    def _worst_table(self) -> Table:
        table = _table(("row", "right"), ("energy", "right"), ("iterations", "right"), ("status", "left"))
        for worst in self.worst:
            _row(table, str(worst.row), f"{worst.energy:,.6g}", f"{worst.iterations:,}", worst.status)
        return table


# --- progress -----------------------------------------------------------------------------------

Progress = Callable[[int, int], None]
"""`progress(rows, steps)`: how many rows are finished in all, and the step of the present chunk."""


TrainingProgress = Callable[["Record", "int | None"], None]
"""`progress(record, steps)`: the step that has been taken, and how many there will be."""


@contextmanager
def progress(title: str, total: int, file: IO[str] | None = None, unit: str = "rows") -> Iterator[Progress]:
    """A callback that shows how far it is, on stderr if no file is given.

    On a terminal a bar; elsewhere a line now and then, none at all for what takes under two seconds.
    """
    file = sys.stderr if file is None else file
    if not file.isatty():
        yield _lines(title, total, file, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + ", step {task.fields[steps]}"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(file=file), transient=True) as bars:
        task = bars.add_task(title, total=total, steps=0)

        def update(rows: int, steps: int) -> None:
            bars.update(task, completed=rows, steps=steps)

        yield update


@contextmanager
def training_progress(total: int | None, file: IO[str] | None = None) -> Iterator[TrainingProgress]:
    """The same for the steps of training, with the loss."""
    file = sys.stderr if file is None else file
    if not file.isatty():
        yield _training_lines(total, file)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("train"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps, loss {task.fields[loss]:.5g}"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(file=file), transient=True) as bars:
        task = bars.add_task("train", total=total, loss=math.nan)

        def update(record: Record, steps: int | None) -> None:
            bars.update(task, completed=record.step, loss=record.loss)

        yield update


@contextmanager
def no_progress() -> Iterator[Progress]:
    """A callback that shows nothing."""
    yield lambda rows, steps: None


def _training_lines(total: int | None, file: IO[str]) -> TrainingProgress:
    last = time.monotonic()

    def update(record: Record, steps: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _QUIET_SECONDS:
            last = now
            of = f" of {total:,}" if total is not None else ""
            print(f"train: {record.step:,}{of} steps, loss {record.loss:.5g}", file=file, flush=True)

    return update


def _lines(title: str, total: int, file: IO[str], unit: str) -> Progress:
    last = time.monotonic()

    def update(rows: int, steps: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _QUIET_SECONDS:
            last = now
            print(f"{title}: {rows:,} of {total:,} {unit}, step {steps:,}", file=file, flush=True)

    return update


# --- helpers ------------------------------------------------------------------------------------


def _table(*columns: tuple[str, str], header: bool = True) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=True, padding=(0, 1), show_header=header, header_style="dim")
    for name, side in columns:
        table.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    return table


def _row(table: Table, *cells: str, style: str = "") -> None:
    from rich.text import Text

    # Text, because a string would be read as markup, and names may hold brackets.
    table.add_row(*(Text(cell) for cell in cells), style=style or None)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if math.isfinite(share) else ""


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
