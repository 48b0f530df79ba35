"""How to search for the answer of a question."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ebmlang.runtime.bind import Bound
from ebmlang.runtime.driver import Limits, Starts

Values = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Search:
    """How to search. `method` overrides the one of the plan. `within` is how many seconds it may take,
    `deadline` when these are over, a time of `time.monotonic`."""

    method: str = ""
    steps: int | None = None
    tol: float | None = None
    restarts: int | None = None
    seed: int = 0
    trace: bool = False
    within: float | None = None
    deadline: float | None = None

    def begun(self) -> Search:
        """The same with the time running from now on."""
        return self if self.within is None else replace(self, deadline=time.monotonic() + self.within)


def limits_of(bound: Bound, search: Search, options: Mapping[str, Any]) -> tuple[Limits, Starts]:
    steps = int(first_given(search.steps, options.get("steps"), Limits().steps))
    restarts = int(first_given(search.restarts, options.get("restarts"), 1))
    starts = Starts(search.seed, bound.settings.first_row, restarts, bound.settings.rows)
    tol = first_given(search.tol, options.get("tol"), None)
    return Limits(steps, tol, search.deadline), starts


def first_given(*choices: Any) -> Any:
    return next((c for c in choices if c is not None), None)
