"""Follows a run from its first record on, and says what its health tells by the rules."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from ebmlang.runtime.training.history import HealthWarning, Record
from ebmlang.runtime.training.rules import RULES, SPAN, Reading, Rule

_MOST_LOOKS = 20
"""Looks that rules see, beside the first one: the last ones."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule, and what it is about (empty: the run)."""

    rule: str
    about: str

    @property
    def name(self) -> str:
        return f"{self.rule} of {self.about}" if self.about else self.rule


@dataclass(slots=True)
class _State:
    """Of one rule and one thing: looks in a row at which it was wrong, and what has been said of it."""

    wrong: int = 0
    said: bool = False
    over: bool = False


@dataclass(slots=True)
class Judge:
    """What it says depends on the records alone, so that a run that goes on after a restart is judged as if
    it had not been interrupted. `descends`: the loss is one that should not rise; `sampled`: the negatives
    are drawn from the model. Each thing is said once, and once that it is over."""

    descends: bool = False
    sampled: bool = False
    _begun: Reading | None = None
    _looks: deque[Reading] = field(default_factory=lambda: deque(maxlen=_MOST_LOOKS))
    _first: list[float] = field(default_factory=list)
    _last: deque[float] = field(default_factory=lambda: deque(maxlen=SPAN))
    _early: int = 0
    _rows: int = 0
    _states: dict[tuple[str, str], _State] = field(default_factory=dict)

    def heard(self, record: Record) -> Record:
        """The record with what there is to say after it."""
        if len(self._first) < SPAN:
            self._first.append(record.loss)
        self._last.append(record.loss)
        self._early += record.unconverged
        self._rows += record.rows
        if not record.health:
            return record
        early, self._early, self._rows = self._early / max(self._rows, 1), 0, 0
        seen = Reading(
            record.step, record.health, record.loss, tuple(self._first), tuple(self._last), early,
            self.descends, self.sampled,
        )  # fmt: skip
        self._looks.append(seen)
        self._begun = self._begun or seen
        said = [
            w for rule in RULES for about in _things(rule, seen) if (w := self._judged(rule, about, seen))
        ]
        return replace(record, warnings=tuple(said)) if said else record

    def _judged(self, rule: Rule, about: str, seen: Reading) -> HealthWarning | None:
        """What one rule has to say of one thing now, if that is new."""
        state = self._states.setdefault((rule.name, about), _State())
        assert self._begun is not None
        looks = tuple(self._looks)
        message = rule.judge(looks if looks[0] is self._begun else (self._begun, *looks), about)
        state.wrong = state.wrong + 1 if message else 0
        if state.wrong >= rule.looks and not state.said:
            state.said = True
            return HealthWarning(rule.name, about, seen.step, message, rule.advice)
        if not message and state.said and not state.over:
            state.over = True
            return HealthWarning(rule.name, about, seen.step, "", "", over=True)
        return None

    def now(self) -> tuple[Broken, ...]:
        """The rules that are broken, in the order of the table."""
        return tuple(
            Broken(rule.name, about)
            for rule in RULES
            for (name, about), state in self._states.items()
            if name == rule.name and state.wrong >= rule.looks
        )


def _things(rule: Rule, seen: Reading) -> list[str]:
    """What a rule has to judge: everything that there is such a number of, or the run."""
    if not rule.number:
        return [""]
    whole = [""] if rule.number in seen.numbers else []
    return whole + [n.partition(".")[2] for n in seen.numbers if n.startswith(f"{rule.number}.")]
