"""Searches by scipy from many starts, which no claim of a minimum may lose against."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import NonlinearConstraint, minimize
from torch import Tensor

from tests.campaign.blocks import CLASSES, REALS, N, Values
from tests.campaign.models import Drawn

STARTS = 4
STEPS = 200
LOW = {"nonnegative": 0.0, "positive": 1e-12, "simplex": 0.0}


@dataclass(frozen=True)
class Row:
    """One row of a question: the model, what is sought in it, and the values of everything else."""

    drawn: Drawn
    sought: tuple[str, ...]
    held: Values

    @property
    def reals(self) -> tuple[str, ...]:
        return tuple(name for name in self.sought if name != "c")

    def values(self, z: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        """All values by name for a flat vector of the real unknowns."""
        found, at = dict(self.held), 0
        for name in self.reals:
            size = int(np.prod(REALS[name], dtype=int))
            found[name] = z[at : at + size].reshape(REALS[name])
            at += size
        if c is not None:
            found["c"] = c
        return found

    def energy(self, z: Any, c: Tensor | None = None) -> float:
        with torch.no_grad():
            return float(self.drawn.energy(self.values(torch.as_tensor(z), c)))

    def both(self, z: Any, c: Tensor | None = None) -> tuple[float, Any]:
        """The energy, divided by the model's scale, and its gradient."""
        leaf = torch.tensor(z, dtype=torch.float64, requires_grad=True)
        value = self.drawn.energy(self.values(leaf, c)) / self.drawn.scale
        if not value.requires_grad:
            return float(value), np.zeros_like(z)
        (slope,) = torch.autograd.grad(value, leaf)
        return float(value), np.nan_to_num(slope.numpy())

    def violation(self, z: Any) -> float:
        """By how much the constraints and the domains are violated at most."""
        v = self.values(torch.as_tensor(z))
        found = [0.0]
        for rule in self.drawn.rules:
            c = rule.value(v)
            found.append(float((c.abs() if rule.equal else c.clamp(min=0)).max()))
        for name in self.reals:
            domain, value = self.drawn.domains.get(name, ""), v[name]
            if domain == "simplex":
                found += [abs(float(value.sum()) - 1), float(-value.min())]
            elif domain == "sphere":
                found.append(abs(float(value.norm()) - 1))
            else:
                low, high = self.bounds_of(name)
                found += [float((low - value).max()), float((value - high).max())]
        return max(found)

    def bounds_of(self, name: str) -> tuple[float, float]:
        domain = self.drawn.domains.get(name, "")
        if domain.startswith("["):
            low, high = domain.strip("[]").split(",")
            return float(low), float(high)
        return LOW.get(domain, -np.inf), np.inf

    def bounds(self, within: float = np.inf) -> list[tuple[float, float]]:
        found = []
        for name in self.reals:
            low, high = self.bounds_of(name)
            pair = (max(low, -within), min(high, within))
            found += [pair] * int(np.prod(REALS[name], dtype=int))
        return found

    def conditions(self) -> list[tuple[Callable[[Values], Tensor], bool]]:
        """What scipy needs besides bounds: functions of the values, and whether they are 0 or at most 0."""
        found = [(rule.value, rule.equal) for rule in self.drawn.rules]
        if "x" in self.reals and self.drawn.domains["x"] == "simplex":
            found.append((lambda v: v["x"].sum()[None] - 1, True))
        if "x" in self.reals and self.drawn.domains["x"] == "sphere":
            found.append((lambda v: v["x"].square().sum()[None] - 1, True))
        return found


def states(row: Row) -> Iterator[Tensor | None]:
    """Every state of the countable unknowns that are sought."""
    if "c" not in row.sought:
        yield None
        return
    for state in itertools.product(range(CLASSES), repeat=N):
        yield torch.tensor(state)


def best(row: Row, starts: list[Any], c: Tensor | None = None, within: float = np.inf) -> tuple[float, Any]:
    """The lowest feasible energy that scipy finds from some starts, and where."""
    lowest, where = np.inf, None
    bounds, conditions = row.bounds(within), row.conditions()
    for start in starts:
        z0 = np.clip(start, [b[0] for b in bounds], [b[1] for b in bounds])
        for z in _searched(row, z0, bounds, conditions, c):
            if not np.isfinite(z).all() or row.violation(z) > 1e-8:
                continue
            energy = row.energy(z, c)
            if energy < lowest:
                lowest, where = energy, z
    return lowest, where


def _searched(row: Row, z0: Any, bounds: list[Any], conditions: list[Any], c: Tensor | None) -> list[Any]:
    function = lambda z: row.both(z, c)  # noqa: E731
    if not len(z0):
        return [z0]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if not conditions:
            options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": STEPS}
            found = minimize(function, z0, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
            return [found.x]
        rules = [_scipy_rule(row, f, equal) for f, equal in conditions]
        found = minimize(
            function, z0, jac=True, bounds=bounds, constraints=rules, method="SLSQP",
            options={"ftol": 1e-14, "maxiter": STEPS},
        )  # fmt: skip
        return [np.clip(found.x, [b[0] for b in bounds], [b[1] for b in bounds])]


def _scipy_rule(row: Row, function: Callable[[Values], Tensor], equal: bool) -> NonlinearConstraint:
    def value(z: Any) -> Any:
        return function(row.values(torch.as_tensor(z))).numpy()

    def slope(z: Any) -> Any:
        leaf = torch.tensor(z, dtype=torch.float64, requires_grad=True)
        c = function(row.values(leaf))
        rows = [torch.autograd.grad(e, leaf, retain_graph=True)[0].numpy() for e in c if e.requires_grad]
        return np.stack(rows) if rows else np.zeros((c.shape[0], len(z)))

    return NonlinearConstraint(value, 0.0 if equal else -np.inf, 0.0, jac=slope)
