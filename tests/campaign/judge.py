"""Every claim of an answer, held against what rivals find."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import ebmlang
from tests.campaign.blocks import REALS
from tests.campaign.models import Drawn, data, draw
from tests.campaign.rivals import STARTS, Row, best, states

BEATEN, MOVED = 1e-6, 1e-5
"""Shares of the energy by which a claimed minimum, and a claimed stationary point, may lose at most."""

MINIMUM = ("exact", "the minimum of a convex", "optimal")


@dataclass
class Tally:
    """What was asked and found: counts of statuses by method, wrong claims, and remarks on what is not
    wrong."""

    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def judge_model(seed: int, tally: Tally) -> None:
    """Draw a model, ask it for random sets of its variables, and judge the answers."""
    rng = np.random.default_rng(seed)
    drawn = draw(rng)
    observed, given = data(rng, drawn)
    names = [*drawn.reads(), *(["c"] if drawn.countable else [])]
    if not names:
        return
    count = 2 ** len(names) - 1
    for code in rng.choice(count, size=min(3, count), replace=False) + 1:
        sought = tuple(name for at, name in enumerate(names) if code >> at & 1)
        values = observed | {k: v for k, v in given.items() if k not in sought}
        _ask(f"seed {seed}, find {sought}", drawn, sought, values, given, tally)


def _ask(
    title: str,
    drawn: Drawn,
    sought: tuple[str, ...],
    values: dict[str, Any],
    given: dict[str, Any],
    tally: Tally,
) -> None:
    used = {"x", "z", "s"} & set(drawn.reads()) | {"y"}
    values = {k: v for k, v in values.items() if k not in REALS or k in used or k not in sought}
    try:
        model = ebmlang.loads(drawn.text)
        answer = model.infer(data=values, find=list(sought), dtype="float64")
    except ebmlang.EbmError as error:
        tally.statuses[f"refused: {str(error).splitlines()[0][:80]}"] += 1
        return
    _findings(title, drawn, sought, values, given, model, tally)
    for at in range(len(answer.status)):
        row = Row(drawn, sought, _held(values, at))
        _judge(f"{title}, row {at}", row, answer, at, given, tally)


def _held(values: dict[str, Any], at: int) -> dict[str, torch.Tensor]:
    shared = ("A", "B", "Q", "P")
    return {k: torch.as_tensor(v if k in shared else v[at]) for k, v in values.items()}


def _flat(row: Row, values: Any, at: int) -> Any:
    parts = [np.asarray(values[name][at], dtype=float).ravel() for name in row.reals]
    return np.concatenate(parts) if parts else np.zeros(0)


def _judge(title: str, row: Row, answer: Any, at: int, given: dict[str, Any], tally: Tally) -> None:
    status, energy = answer.status[at], float(answer.energy[at])
    kind = status.split(":")[0].split(";")[0][:40]
    tally.statuses[f"{answer.method}: {kind}"] += 1
    where = f"{title}: {answer.method}, {status!r}"
    z = _flat(row, answer.values, at)
    c = answer.values["c"][at] if "c" in row.sought else None
    scale = row.drawn.scale
    own = row.energy(z, c)
    if np.isfinite(energy) and abs(own - energy) > 1e-8 * (scale + abs(own)):
        tally.wrong.append(f"{where}: the energy is {own:.9g}, not {energy:.9g}")
    starts = _starts(row, z, given, at)
    if status.startswith("unbounded"):
        _unbounded(where, row, starts, c, tally)
    elif status.startswith("no feasible"):
        _infeasible(where, row, starts, tally)
    elif status.startswith(("converged", "exact")):
        if row.violation(z) > 1e-6:
            tally.wrong.append(f"{where}: violated by {row.violation(z):.3g}")
        _not_beaten(where, row, answer.certificate, z, c, energy, starts, tally)


def _starts(row: Row, z: Any, given: dict[str, Any], at: int) -> list[Any]:
    rng = np.random.default_rng(at)
    made = [_flat(row, given, at), np.nan_to_num(z)]
    made += [rng.normal(size=z.shape) * rng.choice([0.3, 3.0]) for _ in range(STARTS - 2)]
    return made


def _not_beaten(
    where: str, row: Row, certificate: str, z: Any, c: Any, energy: float, starts: list[Any], tally: Tally
) -> None:
    minimum = certificate.startswith(MINIMUM)
    others = list(states(row)) if "c" in row.sought and minimum else [c]
    few = starts if len(others) == 1 else starts[:2]
    found = [best(row, few if minimum else [z], state) for state in others]
    lowest = min(pair[0] for pair in found)
    share = BEATEN if minimum else MOVED
    if lowest < energy - share * (row.drawn.scale + abs(energy)):
        text = f"{where}: {certificate[:40]!r} has {energy:.9g}, scipy {lowest:.9g}"
        _, slope = row.both(z, c)
        saddle = not minimum and not row.conditions() and _still(row, z, slope)
        (tally.remarks if saddle else tally.wrong).append(text + (" (from a saddle)" if saddle else ""))


def _still(row: Row, z: Any, slope: Any) -> bool:
    """Whether the slope leads nowhere within the bounds: scipy left a saddle with the help of rounding."""
    low, high = (np.array(side) for side in zip(*row.bounds(), strict=True))
    return bool(np.abs(np.clip(z - slope, low, high) - z).max() < 1e-6)


def _unbounded(where: str, row: Row, starts: list[Any], c: Any, tally: Tally) -> None:
    """In larger and larger boxes the minimum must fall, and not ever less."""
    lows, found = [], starts[1]
    for within in (1e2, 1e4, 1e6):
        far = found / max(np.abs(found).max(), 1e-9) * within
        low, at = best(row, [starts[0], found, far], c, within)
        lows.append(low / row.drawn.scale)
        found = found if at is None else at
    falls = -np.diff(lows)
    if not (falls[1] > 0.5 * falls[0] and falls[0] > 1e-3):
        tally.wrong.append(f"{where}: within 1e2, 1e4, 1e6 scipy has {lows}")


def _infeasible(where: str, row: Row, starts: list[Any], tally: Tally) -> None:
    """No rival may find a feasible point."""
    lowest, _ = best(row, starts)
    if np.isfinite(lowest):
        tally.wrong.append(f"{where}: scipy found a feasible point of energy {lowest:.6g}")


def _findings(
    title: str,
    drawn: Drawn,
    sought: tuple[str, ...],
    values: dict[str, Any],
    given: dict[str, Any],
    model: Any,
    tally: Tally,
) -> None:
    """Findings without conditions, at random points of the domain on a line."""
    if "c" in sought:
        return
    known = {f.property for f in model.choice(find=list(sought)).structure.findings if not f.obligations}
    row = Row(drawn, sought, _held(values, 0))
    rng = np.random.default_rng(0)
    for _ in range(5):
        a = _flat(row, given, 0)
        step = _flat(row, given, 1) - a if rng.random() < 0.5 else rng.normal(size=a.shape) * 0.3
        e = [row.energy(a + t * step) / drawn.scale for t in (0.0, 0.25, 0.5, 0.75)]
        if not all(np.isfinite(e)):
            continue
        slack = 1e-8 * (1 + max(map(abs, e)))
        bend, third = e[0] - 2 * e[1] + e[2], e[3] - 3 * e[2] + 3 * e[1] - e[0]
        inside = row.violation(a + 0.5 * step) <= 1e-9 or "positive" not in drawn.domains["x"]
        checks = {
            "convex": bend >= -slack or not inside,
            "concave": bend <= slack or not inside,
            "affine": abs(bend) <= slack,
            "quadratic": abs(third) <= slack,
        }
        for name, holds in checks.items():
            if name in known and not holds:
                tally.wrong.append(f"{title}: is not {name}: {e}")
