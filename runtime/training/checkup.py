"""Looks at one line of training, and the numbers that they come to.

A number has a name: what it is, and after a dot of what, as in `std.enc`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ebmlang.compiler.vitals import Vitals
from ebmlang.runtime.training.look import ENERGIES, Look
from ebmlang.runtime.training.moved import Moved, gradient_squares
from ebmlang.runtime.training.shards import Shards

EVERY = 50
"""Steps from one look to the next where nobody says."""

_FEWEST_ROWS = 16
"""Results without which nothing is said of how they spread."""

_MOST_SIDE = 128
"""Of the matrix whose singular values are found."""

_UNITS_ROWS = 512
"""Rows in which a unit, or an entry, that is never in use counts as dead."""

_CODE_VISITS = 16
"""Rows for each case of a code in which one that is never chosen counts as dead."""


@dataclass(slots=True, eq=False)
class Idle:
    """For how many rows, of those that were looked at, each of some units has not been in use, int64 [n]."""

    rows: Tensor
    limit: int

    def saw(self, active: Tensor, rows: int) -> float:
        """Note what was in use, bool [n], in so many rows. The share that has been idle for too long."""
        self.rows = torch.where(active.cpu(), 0, self.rows + rows)
        return float((self.rows >= self.limit).double().mean())


@dataclass(slots=True)
class Checkup:
    """How one line is looked at: every so many steps, and at the first one; 0: never. `name` is put behind
    numbers that are about the whole line, where there are several lines. `targets` are what the line moves:
    the parameters of a target are told about together."""

    vitals: Vitals
    targets: Sequence[str]
    every: int = EVERY
    name: str = ""
    idle: dict[str, Idle] = field(default_factory=dict)

    def look(self, step: int) -> Look | None:
        """A look at a step that is due."""
        due = self.every and (step == 1 or step % self.every == 0)
        return Look(self.vitals) if due else None

    @torch.no_grad()
    def numbers(
        self, look: Look, parameters: Sequence[Moved], shards: Shards | None = None
    ) -> dict[str, float]:
        """What a look has seen, and the gradients of the parameters, as numbers by name."""
        squares = shards.gradient_squares if shards is not None else gradient_squares
        found = self._spread(look)
        found |= self._gradients(parameters, squares([m.leaf for m in parameters]))
        found |= self._energies(look)
        found |= self._idle(look)
        return found

    def _of(self, what: str) -> str:
        return f"{what}.{self.name}" if self.name else what

    # --- representations ---

    def _spread(self, look: Look) -> dict[str, float]:
        """Of each representation, in the call where its results are most alike: the mean and the least
        standard deviation of an entry, the root of the mean square, and the effective rank."""
        found: dict[str, float] = {}
        for name in self.vitals.representations:
            calls = [torch.cat(rows).double() for key, rows in look.results.items() if _head(key) == name]
            spreads = [_spread(x) for x in calls if len(x) >= _FEWEST_ROWS and x.shape[1] > 1]
            if spreads:
                least = min(spreads, key=lambda spread: spread.mean)
                found[f"std.{name}"] = least.mean
                found[f"least_std.{name}"] = least.least
                found[f"size.{name}"] = float(least.rows.square().mean().sqrt())
                found[f"rank.{name}"] = effective_rank(least.rows)
        return found

    # --- gradients ---

    def _gradients(self, parameters: Sequence[Moved], squares: Tensor) -> dict[str, float]:
        """The norm for each target; NaN where no gradient reaches it. For nets of several layers also the
        root mean square of the weakest matrix as a share of that of the strongest one."""
        found: dict[str, float] = {}
        for target in self.targets:
            own = [k for k, m in enumerate(parameters) if m.name == target or m.name.startswith(f"{target}.")]
            if not own:
                continue
            there = squares[own].isfinite().all(1)
            total = squares[own][there, 0].sum().sqrt()
            found[f"gradient.{target}"] = float(total) if bool(there.any()) else torch.nan
            matrices = [k for k in own if parameters[k].leaf.ndim > 1]
            sizes = (squares[matrices, 0] / squares[matrices, 1]).nan_to_num(0.0).sqrt()
            if target in self.vitals.nets and len(sizes) > 1 and float(sizes.max()) > 0:
                found[f"weakest.{target}"] = float(sizes.min() / sizes.max())
        return found

    # --- energies ---

    def _energies(self, look: Look) -> dict[str, float]:
        """Mean energies of the data and of the negatives, the gap, the standard deviation among the data, and
        the mean acceptance of the chains."""
        found: dict[str, float] = {}
        rows = {of: torch.cat(parts).double() for of, parts in look.energies.items()}
        if len(rows) == len(ENERGIES):
            data, negatives = (rows[of] for of in ENERGIES)
            found[self._of("data_energy")] = float(data.mean())
            found[self._of("negative_energy")] = float(negatives.mean())
            found[self._of("gap")] = float(negatives.mean() - data.mean())
            found[self._of("energy_std")] = float(data.std(correction=0))
        if look.acceptance:
            found[self._of("acceptance")] = float(torch.cat(look.acceptance).double().mean())
        return found

    # --- what is not in use ---

    def _idle(self, look: Look) -> dict[str, float]:
        """Shares of units on the flat part of their activation, by net; of codes that are not chosen; of
        entries that are always 0."""
        found: dict[str, float] = {}
        codes = {name for name, _ in self.vitals.codes}
        for name, seen in look.used.items():
            limit = _CODE_VISITS * len(seen) if name in codes else _UNITS_ROWS
            found[f"unused.{name}"] = self._counted(name, seen, look.rows, limit)
        for name in self.vitals.nets:
            layers = {key: seen for key, seen in look.active.items() if _head(key) == name}
            shares = [
                (self._counted(key, seen, look.rows, _UNITS_ROWS), len(seen)) for key, seen in layers.items()
            ]
            if shares:
                found[f"stuck.{name}"] = sum(s * n for s, n in shares) / sum(n for _, n in shares)
        return found

    def _counted(self, name: str, seen: Tensor, rows: int, limit: int) -> float:
        if name not in self.idle:
            self.idle[name] = Idle(torch.zeros(len(seen), dtype=torch.int64), limit)
        return self.idle[name].saw(seen, rows)

    # --- what a checkpoint holds ---

    def state(self) -> dict[str, Any]:
        """The counts that the next look depends on."""
        return {name: {"rows": one.rows, "limit": one.limit} for name, one in self.idle.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.idle = {name: Idle(one["rows"], one["limit"]) for name, one in state.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _Spread:
    """Of rows [n, d]: the mean and the least of the standard deviations of their entries."""

    rows: Tensor
    mean: float
    least: float


def _spread(rows: Tensor) -> _Spread:
    # Twice as fast as `std(0)`, which walks down the columns.
    deviations = ((rows - rows.mean(0)).square().sum(0) / (len(rows) - 1)).sqrt()
    return _Spread(rows, float(deviations.mean()), float(deviations.min()))


def effective_rank(rows: Tensor) -> float:
    """The exponential of the entropy of the singular values of centred rows [n, d], scaled to sum 1 (Roy &
    Vetterli 2007); 0 where all rows are the same.

    Where both n and d are large, some of the rows are taken, evenly out of all of them.
    """
    many = min(rows.shape) > _MOST_SIDE
    some = rows[:: -(-len(rows) // _MOST_SIDE)].double() if many else rows.double()
    centred = some - some.mean(0)
    gram = centred @ centred.T if len(some) < some.shape[1] else centred.T @ centred
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    # Eigenvalues are exact to a share of the largest one: what is below is rounding.
    values = torch.where(values > 1e-7 * values[-1], values, 0)
    total = values.sum()
    if not bool(total > 0):
        return 0.0
    return float(torch.exp(torch.special.entr(values / total).sum()))


def _head(key: str) -> str:
    return key.split("/")[0]
