"""The table of schedules: values that follow the step of training, and how each of them is computed.

A schedule is an expression in `step`, the number of minibatches that are done: 0 in the first one. Outside of
training the step is infinite, and a schedule stands at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

from ebmlang.compiler.derivatives import algebra as a
from ebmlang.compiler.typed import Expr

STEP = "schedule.step"
"""The hidden hyperparameter that schedules read. A declared name cannot be this one: `schedule` is
reserved."""

TRAINING = "training.on"
"""The hidden hyperparameter that `dropout` reads: 0, and 1 in a step of training."""

Build = Callable[[Expr, tuple[Expr, ...], dict[str, Expr]], Expr]


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """One kind of schedule. `values` are its arguments in order, `counts` numbers of steps by name; `build`
    takes the step, the arguments and the counts. It stays between its values, and 0 where `to_zero`."""

    name: str
    values: tuple[str, ...]
    counts: tuple[str, ...]
    build: Build
    title: str
    to_zero: bool = False

    @property
    def example(self) -> str:
        """As a file spells it."""
        numbers = {"a": "1", "b": "0.1", "warmup": "100", "steps": "1000"}
        parts = [*(numbers[v] for v in self.values), *(f"{name} = {numbers[name]}" for name in self.counts)]
        return f"{self.name}({', '.join(parts)})"


def _number(value: float, near: Expr) -> Expr:
    return a.constant(value, near.span)


def _share(step: Expr, steps: Expr) -> Expr:
    """How much of the way is gone, from 0 to 1."""
    return a.elementwise("clamp", a.over(step, steps), _number(0.0, step), _number(1.0, step))


def _between(start: Expr, end: Expr, share: Expr) -> Expr:
    return a.plus(a.times(a.minus(_number(1.0, share), share), start), a.times(share, end))


def _wave(share: Expr) -> Expr:
    """(1 - cos(pi x)) / 2: from 0 to 1, flat at both ends."""
    turned = a.elementwise("cos", a.times(_number(pi, share), share))
    return a.times(_number(0.5, share), a.minus(_number(1.0, share), turned))


def _constant(step: Expr, values: tuple[Expr, ...], counts: dict[str, Expr]) -> Expr:
    return values[0]


def _linear(step: Expr, values: tuple[Expr, ...], counts: dict[str, Expr]) -> Expr:
    return _between(values[0], values[1], _share(step, counts["steps"]))


def _cosine(step: Expr, values: tuple[Expr, ...], counts: dict[str, Expr]) -> Expr:
    return _between(values[0], values[1], _wave(_share(step, counts["steps"])))


def _exponential(step: Expr, values: tuple[Expr, ...], counts: dict[str, Expr]) -> Expr:
    start, end = values
    return a.times(start, a.power(a.over(end, start), _share(step, counts["steps"])))


def _warmup_cosine(step: Expr, values: tuple[Expr, ...], counts: dict[str, Expr]) -> Expr:
    # The first step is not wasted on a rate of 0: it has 1/warmup of the peak.
    first = _share(a.plus(step, _number(1.0, step)), counts["warmup"])
    later = _share(a.minus(step, counts["warmup"]), a.minus(counts["steps"], counts["warmup"]))
    falling = a.minus(_number(1.0, step), _wave(later))
    return a.times(values[0], a.times(first, falling))


SCHEDULES: tuple[ScheduleRow, ...] = (
    ScheduleRow("constant", ("a",), (), _constant, "the same at every step"),
    ScheduleRow("linear", ("a", "b"), ("steps",), _linear, "a straight line, then b"),
    ScheduleRow("cosine", ("a", "b"), ("steps",), _cosine, "half a wave of a cosine, then b"),
    ScheduleRow(
        "exponential", ("a", "b"), ("steps",), _exponential, "the same factor at every step, then b; a, b > 0"
    ),
    ScheduleRow(
        "warmup_cosine",
        ("a",),
        ("warmup", "steps"),
        _warmup_cosine,
        "a line up to a, half a wave down to 0",
        to_zero=True,
    ),
)

PIECEWISE = "piecewise"
"""`piecewise([a, b, c], at = [100, 200])`: the last value whose step is reached."""


def find_schedule(name: str) -> ScheduleRow | None:
    return next((row for row in SCHEDULES if row.name == name), None)


def schedule_names() -> tuple[str, ...]:
    return (*(row.name for row in SCHEDULES), PIECEWISE)


def piecewise(step: Expr, values: tuple[Expr, ...], at: tuple[Expr, ...]) -> Expr:
    """The first value, and each following one from its step on."""
    found = values[0]
    for value, begin in zip(values[1:], at, strict=True):
        found = a.elementwise("where", a.compared("lt", step, begin), found, value)
    return found
