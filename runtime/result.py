"""What a question answers with: values, energies, and a sentence per row about how its search ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from torch import Tensor


class Status(Enum):
    """How the search of one row ended. The value is the sentence the user reads; `{}` takes the details.

    Only CONVERGED and MANY claim that a first-order condition holds. CONVERGED says nothing about other
    minima: where the energy is not convex, a converged row is a stationary point that does not lie above the
    start. MANY is said of a quadratic energy with directions along which it does not change.
    """

    CONVERGED = "converged: stationary within the tolerance"
    MANY = "converged: a minimum, one of many{}"
    UNBOUNDED = "unbounded{}"
    SETTLED = "settled: the best energy has not fallen for a while, at the smallest step size"
    BLIND = "no slope: the energy jumps, and nothing shows which way is down"
    RECEDING = "no minimum was reached: the slope is small, but no smaller than around the answer"
    PRECISION = "no further decrease possible in {}, tolerance not reached"
    STEP_LIMIT = "step limit reached before the tolerance"
    TIME_LIMIT = "time limit reached before the tolerance"
    NON_FINITE = "non-finite energy{}; stopped at the last finite point"
    NON_FINITE_START = "non-finite energy{} at the start"
    NON_FINITE_GRADIENT = "non-finite gradient{}; stopped there"
    INFEASIBLE = "no feasible point was found: {}"
    VIOLATED = "stopped before the constraints held: {}"
    OUTSIDE = "start outside the domain"
    EXACT = "exact: no other assignment has a lower energy"
    LOCAL = "local: no change of a single entry lowers the energy"
    EXCHANGED = "local: no exchange of two entries lowers the energy"
    IMPOSSIBLE = "impossible: every assignment has the energy inf"
    NO_FINITE_STATE = "no assignment of finite energy was found"

    @property
    def converged(self) -> bool:
        """Whether the answer meets the tolerance of a first-order condition."""
        return self in (Status.CONVERGED, Status.MANY)

    def sentence(self, detail: str = "") -> str:
        """The sentence with its details filled in."""
        return self.value.format(detail)


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for B rows. Also reads as `result["z"]` and `result.z`.

    values: every unknown and every `let`, name -> [B, *shape]; those named in `shared` are the same for
    all rows and have no dimension of the rows, [*shape].
    energy: [B]. terms: name -> [B], plates summed. factors: name -> [B, *plate]. batch_terms: name -> [].
    converged: bool [B]. status: B sentences. iterations: int64 [B].
    method: the name of the method; because: why it was chosen; certificate: what is known about the answer.
    violations: by how much each constraint is violated at most, name -> [B]; 0 where it holds.
    multipliers: of each constraint, name -> [B, *its shape] (without [B] where all rows share it): the answer
    is stationary for energy + sum(multiplier * value), with value = left - right, and right - left for `>=`;
    not negative for inequalities. Empty where nothing was sought under constraints.
    gap: None, or how much the energy can be above the minimum at most (a duality gap), [B].
    marginals: the probability of every case of unknowns that were summed out first, name -> [B, *shape, K],
    and the mean of real ones, [B, *shape];
    `energy` is the free energy then, and nothing is known of terms.
    An answer that is known without its energy works out `energy`, terms, factors and lets when one of them is
    first read, from the values as they were when the question was asked.
    trace: None, or energy per iteration [steps + 1, B]; its first row is the start.
    """

    values: Mapping[str, Tensor]
    energy: Tensor
    terms: Mapping[str, Tensor]
    converged: Tensor
    status: tuple[str, ...]
    iterations: Tensor
    method: str
    because: str
    certificate: str
    factors: Mapping[str, Tensor] = field(default_factory=dict)
    batch_terms: Mapping[str, Tensor] = field(default_factory=dict)
    trace: Tensor | None = None
    shared: frozenset[str] = frozenset()
    violations: Mapping[str, Tensor] = field(default_factory=dict)
    multipliers: Mapping[str, Tensor] = field(default_factory=dict)
    gap: Tensor | None = None
    marginals: Mapping[str, Tensor] = field(default_factory=dict)
    _later: Later | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def pending(self) -> bool:
        """Whether the energy is still to be worked out."""
        return self._later is not None and self._later.found is None

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.values[name]
        except KeyError:
            known = ", ".join(sorted(self.values))
            raise KeyError(f"no value called {name!r}; there are: {known}") from None

    def __getattr__(self, name: str) -> Tensor:
        # Only called for names that are no field, or one that is worked out later. Underscores stay out, or
        # copying and pickling would recurse.
        if name in _WORKED_OUT and self._later is not None:
            for known in _WORKED_OUT:
                object.__setattr__(self, known, getattr(self._later.result(), known))
            found: Tensor = getattr(self, name)
            return found
        if not name.startswith("_") and name != "values" and name in self.values:
            return self.values[name]
        raise AttributeError(f"the result has no {name!r}")


_WORKED_OUT = ("energy", "terms", "factors", "batch_terms", "shared")


@dataclass(slots=True, eq=False)
class Later:
    """A report that is made when it is first asked for."""

    make: Callable[[], Result] | None
    found: Result | None = None

    def result(self) -> Result:
        if self.make is not None:
            self.found, self.make = self.make(), None
        assert self.found is not None
        return self.found


@dataclass(frozen=True, slots=True, eq=False)
class Growing(Mapping[str, Tensor]):
    """Values of which some are there, and the others come with the report."""

    known: Mapping[str, Tensor]
    later: Later

    def __getitem__(self, name: str) -> Tensor:
        found = self.known.get(name)
        return self.later.result().values[name] if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter(self.later.result().values)

    def __len__(self) -> int:
        return len(self.later.result().values)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def result_later(known: Mapping[str, Tensor], later: Later, **fields: Any) -> Result:
    """A result whose energy, and what else is reported beside its values, comes later."""
    result = Result.__new__(Result)
    empty: dict[str, Any] = {"trace": None, "violations": {}, "multipliers": {}, "gap": None, "marginals": {}}
    for name, value in {**empty, **fields, "values": Growing(known, later), "_later": later}.items():
        object.__setattr__(result, name, value)
    return result
