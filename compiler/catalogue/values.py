"""Mistakes with where values may lie and what they may depend on: E03xx too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ebmlang.compiler.diagnostics import Diagnostic, Label


@dataclass(frozen=True, eq=False, repr=False)
class BatchTermPerExample(Diagnostic):
    """A `batch energy` must be one number for the whole batch."""

    code: ClassVar[str] = "E0309"
    name: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`batch energy {self.name}` has one value per example"

    def expected(self) -> str:
        return "one number for the batch"

    def hint(self) -> str:
        return "reduce over the examples: mean(..., over = batch), or remove `batch`"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class CoupledTerm(Diagnostic):
    """A term that looks at other examples must say so.

    Rows are independent problems unless a term is declared `batch energy`.
    """

    code: ClassVar[str] = "E0310"
    name: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"the value of `{self.name}` depends on the other examples of the batch"

    def hint(self) -> str:
        return "declare it `batch energy`, and make it one number for the batch"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class DomainMisfit(Diagnostic):
    """A domain does not fit the variable."""

    code: ClassVar[str] = "E0311"
    domain: str = ""
    found: str = ""
    wanted: str = ""
    places: tuple[Label, ...] = ()
    part: str = ""

    def message(self) -> str:
        if self.part:
            return f"{self.part} the domain `{self.domain}` is {self.found}"
        return f"the domain `{self.domain}` does not fit {self.found}"

    def label(self) -> str:
        return self.found

    def expected(self) -> str:
        return self.wanted

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class DependsOnExample(Diagnostic):
    """A value that is shared by all examples is computed from one that differs by example."""

    code: ClassVar[str] = "E0312"
    name: str = ""
    places: tuple[Label, ...] = ()
    what: str = "its value"
    advice: str = "use only hyperparameters, params and shared values here"

    def message(self) -> str:
        return f"`{self.name}` is shared by all examples, but {self.what} differs by example"

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class LateDefault(Diagnostic):
    """The default of a hyperparameter reads something that is only known later.

    Hyperparameters are known before any data: a default reads numbers and hyperparameters that
    are declared before it.
    """

    code: ClassVar[str] = "E0318"
    name: str = ""
    reads: str = ""
    places: tuple[Label, ...] = ()
    what: str = "default"

    def message(self) -> str:
        return (
            f"the {self.what} of the hyperparameter `{self.name}` reads `{self.reads}`, which is known later"
        )

    def expected(self) -> str:
        return "numbers and earlier hyperparameters"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class ReadsUnknown(Diagnostic):
    """Something that has to be given is computed from an unknown.

    Guards, the rows of an edge list, bounds of domains and defaults of observed variables shape
    the problem: they may read indices, hyperparameters, observed and random values.
    """

    code: ClassVar[str] = "E0319"
    what: str = ""
    name: str = ""
    advice: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"{self.what} depends on the unknown `{self.name}`"

    def expected(self) -> str:
        return "indices, hyperparameters, observed and random values"

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class EmptyInterval(Diagnostic):
    """An interval whose lower bound lies above its upper bound holds no value."""

    code: ClassVar[str] = "E0320"
    low: str = ""
    high: str = ""

    def message(self) -> str:
        return f"the interval [{self.low}, {self.high}] is empty"

    def expected(self) -> str:
        return "the lower bound first"

    def hint(self) -> str:
        return f"[{self.high}, {self.low}]"


@dataclass(frozen=True, eq=False, repr=False)
class OutsideDomain(Diagnostic):
    """A default, or a start in an open domain, is not in the declared domain."""

    code: ClassVar[str] = "E0321"
    name: str = ""
    value: str = ""
    domain: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.name}` is declared {self.domain}, but its value is {self.value}"

    def label(self) -> str:
        return self.value

    def expected(self) -> str:
        return f"a value that is {self.domain}"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class SameForAll(Diagnostic):
    """A reduction over the examples of a value that is the same for all of them."""

    code: ClassVar[str] = "E0323"
    function: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.function}` over the batch, but the value is the same for every example"

    def expected(self) -> str:
        return "a value that differs by example"

    def hint(self) -> str:
        return "leave out the reduction: the value already is one for all"

    def related(self) -> Sequence[Label]:
        return self.places
