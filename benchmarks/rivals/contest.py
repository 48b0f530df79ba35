"""A problem with an answer of ours and those of others, all taken to the same energy and timed in turns."""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks.measure import Row, processor_in_turns, shown

WITHIN = 1e-6
"""How far above the best known energy an answer may be, relative to that energy."""

BUDGET = 6.0
"""Processor seconds after which a loop that has not reached the energy is given up."""

MOST_STEPS = 100_000

TOLERANCES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""What `Contest.loosened` is tried with, from loose to tight."""

Answer = Any


@dataclass(frozen=True, slots=True)
class Loop:
    """An iteration written by hand: `run(steps)` starts anew and returns the answer after that many steps.

    The least number of steps that reaches the energy is found before anything is timed, so that the loop
    spends nothing on knowing when to stop. `settings` are tried in turn (step lengths, tolerances); the
    quickest of them counts.
    """

    name: str
    run: Callable[..., Answer]
    settings: tuple[float, ...] = ()
    first: int = 8
    budget: float = BUDGET


@dataclass(frozen=True, slots=True)
class Solver:
    """A solver that stops by itself. `settings` are tolerances from loose to tight: the first that reaches
    the energy counts."""

    name: str
    run: Callable[..., Answer]
    settings: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Absent:
    """A rival that is not installed here."""

    name: str
    needs: str


Rival = Loop | Solver | Absent


@dataclass(frozen=True, slots=True)
class Contest:
    """`ours` runs through the public interface; models are compiled before. `energy` is computed in float64
    by an independent formula. `bars` says for some rivals what ours / theirs must not exceed. `scale` is what
    an excess of energy is relative to; None for the best energy itself.

    `loosened` runs ours with a tolerance. Rivals spend nothing beyond the wanted energy; with it neither does
    ours: the loosest of `TOLERANCES` that reaches the energy counts, and `ours`, which stops by itself, gets
    a line of its own.
    """

    name: str
    ours: Callable[[], Answer]
    energy: Callable[[Answer], float]
    rivals: tuple[Rival, ...]
    bars: dict[str, float]
    scale: float | None = None
    loosened: Callable[[float], Answer] | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    run: Callable[[], Answer]
    energy: float
    seconds: float
    how: str


def available(*names: str) -> bool:
    """Whether all of these modules are installed."""
    return all(importlib.util.find_spec(name) is not None for name in names)


def rows_of(contest: Contest) -> list[Row]:
    """One line per rival: both processor times, how far above the best energy each ends, and the ratio."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _rows(contest)


def _rows(contest: Contest) -> list[Row]:
    contest.ours()
    first = contest.energy(contest.ours())
    present = [r for r in contest.rivals if not isinstance(r, Absent)]
    # Solvers that stop by themselves, at their tightest, may know a lower energy than ours.
    best = min([first, *_tightest(contest, present)])
    scale = abs(best) if contest.scale is None else contest.scale
    goal = best + WITHIN * scale
    lines = []
    own = _Entry("ours", contest.ours, first, 0.0, "")
    if contest.loosened is not None:
        loose = _loosest(contest, contest.loosened, goal, own)
        default = replace(own, name="ours at its default tolerance")
        lines.append(_line(contest, default, loose, best, scale))
        own = loose
    for rival in contest.rivals:
        if isinstance(rival, Absent):
            lines.append(
                Row(f"{contest.name}: {rival.name}", "", f"{rival.needs} not installed", "", "", None)
            )
            continue
        print(f"  {contest.name}: {rival.name}", flush=True)
        entry = _entered(rival, contest.energy, goal)
        lines.append(_line(contest, entry, own, best, scale))
    return lines


def _loosest(contest: Contest, run: Callable[[float], Answer], goal: float, default: _Entry) -> _Entry:
    """Ours at the loosest tolerance that reaches the energy; as it stops by itself where none does."""
    for tolerance in TOLERANCES:
        energy = contest.energy(run(tolerance))
        if energy <= goal:
            return _Entry("ours", partial(run, tolerance), energy, 0.0, f"; ours at tolerance {tolerance:g}")
    return default


def _tightest(contest: Contest, rivals: Iterable[Rival]) -> Iterable[float]:
    for rival in rivals:
        if isinstance(rival, Solver):
            setting = rival.settings[-1:]
            yield contest.energy(rival.run(*setting))


def _line(contest: Contest, entry: _Entry, ours: _Entry, best: float, scale: float) -> Row:
    pair = processor_in_turns(ours.run, entry.run)
    bar = contest.bars.get(entry.name)
    mine, theirs = (ours.energy - best) / scale, (entry.energy - best) / scale
    there = mine <= WITHIN
    ratio = f"{pair.ratio:.2g}" if theirs <= WITHIN else f"< {pair.ratio:.2g}"
    return Row(
        f"{contest.name}: {entry.name}{entry.how}{ours.how}",
        f"{shown(pair.ours)} ({_excess(mine)})",
        f"{shown(pair.theirs)} ({_excess(theirs)})",
        ratio,
        "" if bar is None else f"<= {bar:.2g}",
        None if bar is None and there else there and (bar is None or pair.ratio <= bar),
    )


def _excess(value: float) -> str:
    return f"+{max(value, 0.0):.0e}" if value <= WITHIN else f"+{value:.0e}, not there"


def _entered(rival: Loop | Solver, energy: Callable[[Answer], float], goal: float) -> _Entry:
    """The rival at the setting that reaches the energy in the least time; else where it got."""
    tries = (
        [_steps(rival, s, energy, goal) for s in rival.settings or (None,)]
        if isinstance(rival, Loop)
        else list(_settings(rival, energy, goal))
    )
    there = [t for t in tries if t.energy <= goal]
    return min(there, key=lambda t: t.seconds) if there else min(tries, key=lambda t: t.energy)


def _settings(rival: Solver, energy: Callable[[Answer], float], goal: float) -> Iterable[_Entry]:
    for setting in rival.settings or (None,):
        arguments = () if setting is None else (setting,)

        def run(arguments: tuple[float, ...] = arguments) -> Answer:
            return rival.run(*arguments)

        run()
        seconds, answer = _timed(run)
        entry = _Entry(
            rival.name, run, energy(answer), seconds, f", tolerance {setting:g}" if arguments else ""
        )
        yield entry
        if entry.energy <= goal:
            return


def _steps(rival: Loop, setting: float | None, energy: Callable[[Answer], float], goal: float) -> _Entry:
    """Lengthen the loop by halves until the energy is reached, then go back by bisection."""
    arguments = () if setting is None else (setting,)
    words = "" if setting is None else f", step {setting:g}"

    def entry(steps: int) -> _Entry:
        def run() -> Answer:
            return rival.run(steps, *arguments)

        seconds, answer = _timed(run)
        return _Entry(rival.name, run, energy(answer), seconds, f"{words}, {steps} steps")

    rival.run(1, *arguments)
    low, steps = 0, rival.first
    begin = time.process_time()
    found = entry(steps)
    # A loop whose own line search gives up takes no longer when it may take more steps.
    while found.energy > goal and time.process_time() - begin < 3 * rival.budget and steps < MOST_STEPS:
        low, steps = steps, steps + max(1, steps // 2)
        found = entry(steps)
    high = steps
    while found.energy <= goal and high - low > max(1, high // 20):
        middle = (low + high) // 2
        nearer = entry(middle)
        if nearer.energy <= goal:
            high, found = middle, nearer
        else:
            low = middle
    return found


def _timed(run: Callable[[], Answer]) -> tuple[float, Answer]:
    begin = time.process_time()
    answer = run()
    return time.process_time() - begin, answer
