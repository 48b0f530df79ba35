"""Mistakes in what is to be trained: E054x."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ebmlang.compiler.diagnostics import Diagnostic, Label, Severity, listing


@dataclass(frozen=True, eq=False, repr=False)
class NothingToTrain(Diagnostic):
    """Training finds parameters, and the model declares none.

    A `param` is unknown and shared by all examples; a `latent` has one value per example and is found by
    `infer`.
    """

    code: ClassVar[str] = "E0541"
    name: str = ""

    def message(self) -> str:
        return f"there is nothing to train: the model `{self.name}` has no `param`"

    def expected(self) -> str:
        return "at least one `param` of real numbers"

    def hint(self) -> str:
        return "param W : real[n, k] = normal()"


@dataclass(frozen=True, eq=False, repr=False)
class CannotTrain(Diagnostic):
    """A variable that is to be trained cannot be.

    It must be a `param` of real numbers, and some term must depend on it: what no term reads has no gradient.
    """

    code: ClassVar[str] = "E0542"
    name: str = ""
    because: str = ""
    advice: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.name}` cannot be trained: {self.because}"

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class OptimiserDomain(Diagnostic):
    """An optimiser assumes that nothing but its own steps moves a parameter, and the parameter has a domain
    that it must be brought back to after every step."""

    code: ClassVar[str] = "E0543"
    optimiser: str = ""
    name: str = ""
    domain: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"{self.optimiser} cannot train `{self.name}`, which lives in {self.domain}"

    def expected(self) -> str:
        return "parameters of all real numbers, or of an open set such as positive"

    def hint(self) -> str:
        return "using adam(lr = 1e-2)"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class Collapses(Diagnostic):
    """Where nets, or maps given by parameters, say the same about all data, every term that reads them is as
    low as it can be: training may end there, with a representation that tells nothing apart.

    What forbids it: a term on the spread of the batch (`use vicreg`), a contrastive term, a reconstruction of
    what is given, or a target that is an average of the encoder, `net target = ema(enc, decay = 0.99)`. Where
    a gradient is stopped, training does not follow the slope of the loss, and nothing is said.
    """

    code: ClassVar[str] = "W0544"
    severity: ClassVar[Severity] = "warning"
    constant: tuple[str, ...] = ()
    minimal: tuple[str, ...] = ()
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        names, terms = _quoted(self.constant), _quoted(self.minimal)
        them = "it is" if len(self.constant) == 1 else "they are"
        low = "is" if len(self.minimal) == 1 else "are"
        return f"{names} can collapse: where {them} constant, {terms} {low} at the lowest value of all"

    def hint(self) -> str:
        return "add a term on the spread of the batch, or a reconstruction, or compare with an ema of it"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class LossMisfit(Diagnostic):
    """A loss that a `train` line names with `by` is not defined for the model.

    Score matching needs real variables without a border, the losses that compare neighbours need variables
    that can be counted; the energy must be a formula, without unknowns that are searched for.
    """

    code: ClassVar[str] = "E0545"
    loss: str = ""
    because: str = ""
    advice: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.loss}` does not fit: {self.because}"

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class Untrained(Diagnostic):
    """The model has `train` lines, and none of them moves a parameter or a net that its terms read: it stays
    where it starts, for good.

    Name it in a line, or leave the names out, which moves everything. What is meant to stay is a
    `shared observed` value, which the data gives, or a hyperparameter.
    """

    code: ClassVar[str] = "W0546"
    severity: ClassVar[Severity] = "warning"
    names: tuple[str, ...] = ()
    line: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        stay = "it stays as it starts" if len(self.names) == 1 else "they stay as they start"
        return f"no `train` line moves {_quoted(self.names)}: {stay}"

    def hint(self) -> str:
        return self.line

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class CostTrained(Diagnostic):
    """A `train` line lowers nothing but costs, by changing what they are made of.

    A `cost` says what is wanted. A line may lower it by what leads there: what acts, through the states that
    follow. A parameter or a net that stands in the cost itself would only learn to find everything cheap.
    What a cost is to learn, it learns from what was met: `energy fit = (to_go - V(s0))^2`. A policy that
    stands in the cost goes into a value of its own, `let a = pi(s)`. A cost that is such a value, or a sum or
    a multiple of it, is made of what the value is made of, unless the steps of a recurrence read it.
    """

    code: ClassVar[str] = "E0547"
    name: str = ""
    cost: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.name}` stands in the cost `{self.cost}`, which would be low by saying so"

    def hint(self) -> str:
        return f"fit `{self.name}` to what was met, in an `energy`; or name what acts: let a = ..."

    def related(self) -> Sequence[Label]:
        return self.places


def _quoted(names: tuple[str, ...]) -> str:
    return listing([f"`{name}`" for name in names], "and")
