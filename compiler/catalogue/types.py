"""Mistakes with kinds of values: E03xx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ebmlang.compiler.diagnostics import Diagnostic, Label, did_you_mean


@dataclass(frozen=True, eq=False, repr=False)
class WrongKind(Diagnostic):
    """A value of one kind where another kind is needed.

    Arithmetic takes numbers, conditions take truth values, and class values only stand as
    subscripts, in comparisons and in onehot.
    """

    code: ClassVar[str] = "E0301"
    found: str = ""
    wanted: str = ""
    what: str = ""
    advice: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"{self.what} takes {self.wanted}, not {self.found}"

    def label(self) -> str:
        return self.found

    def expected(self) -> str:
        return self.wanted

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class WrongArgumentCount(Diagnostic):
    """A function is called with too few or too many arguments."""

    code: ClassVar[str] = "E0302"
    function: str = ""
    found: int = 0
    wanted: str = ""
    example: str = ""

    def message(self) -> str:
        return f"`{self.function}` takes {self.wanted}, not {self.found}"

    def expected(self) -> str:
        return self.wanted

    def hint(self) -> str:
        return self.example and f"for example {self.example}"


@dataclass(frozen=True, eq=False, repr=False)
class TermNotScalar(Diagnostic):
    """A term must be one number per example."""

    code: ClassVar[str] = "E0303"
    name: str = ""
    found: str = ""
    places: tuple[Label, ...] = ()
    what: str = "the term"

    def message(self) -> str:
        return f"{self.what} `{self.name}` is {self.found}, and not one number"

    def label(self) -> str:
        return self.found

    def expected(self) -> str:
        return "a scalar"

    def hint(self) -> str:
        if self.found.startswith("class"):
            return "read a number from a table: w[c], with w : real[K]"
        return "sum it: sum(...), mean(...) or ||...||^2"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class DeclaredOtherwise(Diagnostic):
    """A value does not have the type that is declared for it."""

    code: ClassVar[str] = "E0304"
    name: str = ""
    found: str = ""
    declared: str = ""
    advice: str = ""
    places: tuple[Label, ...] = ()
    now: str = "its value is"

    def message(self) -> str:
        return f"`{self.name}` is declared {self.declared}, but {self.now} {self.found}"

    def label(self) -> str:
        return self.found

    def expected(self) -> str:
        return self.declared

    def hint(self) -> str:
        return self.advice or f"declare it {self.found}, or change the value"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class ConditionExpected(Diagnostic):
    """A guard or a property must be true or false."""

    code: ClassVar[str] = "E0305"
    found: str = ""
    what: str = ""

    def message(self) -> str:
        return f"{self.what} must be a condition, not {self.found}"

    def expected(self) -> str:
        return "a condition such as i < j"

    def hint(self) -> str:
        return "compare: i != j, x >= 0"


@dataclass(frozen=True, eq=False, repr=False)
class IntegerExpected(Diagnostic):
    """A subscript must be an integer or a class."""

    code: ClassVar[str] = "E0306"
    found: str = ""

    def message(self) -> str:
        return f"a subscript must be an integer, not {self.found}"

    def expected(self) -> str:
        return "a plate index, an integer expression or a class variable"

    def hint(self) -> str:
        if self.found.startswith("real"):
            return "real numbers cannot select entries; division of integers is written //"
        if self.found.startswith("bool"):
            return "a mask is a factor, mask * x, or a guard: sum(x[i], over = i in 0..n if mask[i])"
        return ""


@dataclass(frozen=True, eq=False, repr=False)
class SizeExpected(Diagnostic):
    """A size must be an integer expression over sizes."""

    code: ClassVar[str] = "E0307"
    found: str = ""
    advice: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"a size cannot be {self.found}"

    def expected(self) -> str:
        return "integers, integer hyperparameters, + - * // % and ^"

    def hint(self) -> str:
        return self.advice

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class UnknownAttribute(Diagnostic):
    """A value has no such part."""

    code: ClassVar[str] = "E0308"
    name: str = ""
    known: tuple[str, ...] = ()

    def message(self) -> str:
        return f"there is no `.{self.name}`"

    def expected(self) -> str:
        return "`.T`, or the name of a part"

    def hint(self) -> str:
        return did_you_mean(self.name, (*self.known, "T"))


@dataclass(frozen=True, eq=False, repr=False)
class BadOption(Diagnostic):
    """An option has a value that it cannot have."""

    code: ClassVar[str] = "E0313"
    name: str = ""
    found: str = ""
    wanted: str = ""
    advice: str = ""

    def message(self) -> str:
        name = self.name if " " in self.name else f"`{self.name}`"
        return f"{name} cannot be {self.found}"

    def expected(self) -> str:
        return self.wanted

    def hint(self) -> str:
        return self.advice


@dataclass(frozen=True, eq=False, repr=False)
class MisplacedDraw(Diagnostic):
    """A distribution stands where no value is drawn."""

    code: ClassVar[str] = "E0314"
    name: str = ""

    def message(self) -> str:
        return f"`{self.name}(...)` draws a value; that is only done for start values and after `~`"

    def hint(self) -> str:
        return "declare it: random eps : real[n] ~ normal()"


@dataclass(frozen=True, eq=False, repr=False)
class HyperKind(Diagnostic):
    """A hyperparameter is int, real or bool."""

    code: ClassVar[str] = "E0315"
    found: str = ""

    def message(self) -> str:
        return f"a hyperparameter cannot be {self.found}"

    def expected(self) -> str:
        return "int, real or bool, with or without a shape"

    def hint(self) -> str:
        return "a choice among cases is an observed variable: observed c : class[K]"


@dataclass(frozen=True, eq=False, repr=False)
class IntegerVariable(Diagnostic):
    """Variables are real, bool or class[K]; `int` is for hyperparameters."""

    code: ClassVar[str] = "E0316"
    name: str = ""

    def message(self) -> str:
        return f"`{self.name}` cannot be int: only hyperparameters are"

    def expected(self) -> str:
        return "real, bool or class[K]"

    def hint(self) -> str:
        return "a whole number among K cases is class[K]"


@dataclass(frozen=True, eq=False, repr=False)
class NumberTooLarge(Diagnostic):
    """A number that no floating point value can hold."""

    code: ClassVar[str] = "E0317"
    text: str = ""

    def message(self) -> str:
        shown = self.text if len(self.text) <= 40 else f"{self.text[:20]}... ({len(self.text):,} characters)"
        return f"`{shown}` is too large"

    def expected(self) -> str:
        return "a number below 1.8e308"


@dataclass(frozen=True, eq=False, repr=False)
class DivisionByZero(Diagnostic):
    """A division by the number 0."""

    code: ClassVar[str] = "E0322"
    op: str = ""

    def message(self) -> str:
        return f"`{self.op}` divides by zero"

    def expected(self) -> str:
        return "a divisor other than 0"


@dataclass(frozen=True, eq=False, repr=False)
class ClassesDiffer(Diagnostic):
    """Class values with different numbers of classes stand side by side."""

    code: ClassVar[str] = "E0324"
    left: str = ""
    right: str = ""
    what: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"{self.what}: {self.left} and {self.right} have different cases"

    def label(self) -> str:
        return f"{self.left} and {self.right}"

    def expected(self) -> str:
        return "the same number of classes"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class NoSuchClass(Diagnostic):
    """A number stands for a case that the class does not have: cases count from 0."""

    code: ClassVar[str] = "E0325"
    found: str = ""
    type: str = ""
    last: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"{self.found} is not a case of {self.type}"

    def expected(self) -> str:
        return f"a whole number from 0 to {self.last}"

    def related(self) -> Sequence[Label]:
        return self.places
