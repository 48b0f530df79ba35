"""Mistakes with names: E02xx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ebmlang.compiler.diagnostics import Diagnostic, Label, Severity, did_you_mean, listing


@dataclass(frozen=True, eq=False, repr=False)
class UnknownName(Diagnostic):
    """A name that nothing declares.

    Names are hyperparameters, variables, lets, plate indices and, in questions and properties, terms.
    """

    code: ClassVar[str] = "E0201"
    name: str = ""
    known: tuple[str, ...] = ()
    note: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"nothing is called `{self.name}`" + (" here" if self.places else "")

    def expected(self) -> str:
        return "a declared name"

    def hint(self) -> str:
        if self.places:
            return "a `let` in a plate is known in that plate: move it out, or use it there"
        return (
            did_you_mean(self.name, self.known)
            or self.note
            or f"declare it: observed {self.name} : real, latent {self.name} : real or let {self.name} = ..."
        )

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class DeclaredTwice(Diagnostic):
    """Two declarations of one name."""

    code: ClassVar[str] = "E0202"
    name: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.name}` is declared twice"

    def hint(self) -> str:
        return "rename one of them"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class UnknownType(Diagnostic):
    """A type that does not exist.

    Types are real, int (hyperparameters), bool, class[K] and permutation[n], each with a shape.
    """

    code: ClassVar[str] = "E0203"
    name: str = ""
    known: tuple[str, ...] = ()

    def message(self) -> str:
        return f"`{self.name}` is not a type"

    def expected(self) -> str:
        return listing(self.known)

    def hint(self) -> str:
        return did_you_mean(self.name, self.known) or _FOREIGN_TYPES.get(self.name, "")


@dataclass(frozen=True, eq=False, repr=False)
class UnknownDomain(Diagnostic):
    """A domain that does not exist."""

    code: ClassVar[str] = "E0204"
    name: str = ""
    known: tuple[str, ...] = ()

    def message(self) -> str:
        return f"`{self.name}` is not a domain"

    def expected(self) -> str:
        return "[lo, hi], " + listing(self.known)

    def hint(self) -> str:
        return did_you_mean(self.name, self.known)


@dataclass(frozen=True, eq=False, repr=False)
class UnknownFunction(Diagnostic):
    """A call of something that is not a function."""

    code: ClassVar[str] = "E0205"
    name: str = ""
    known: tuple[str, ...] = ()
    value: bool = False
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return (
            f"`{self.name}` is a value, not a function"
            if self.value
            else f"there is no function `{self.name}`"
        )

    def hint(self) -> str:
        return (
            f"entries are read with brackets: {self.name}[i]; a product is written {self.name} * (...)"
            if self.value
            else _FOREIGN_FUNCTIONS.get(self.name, "")
            or did_you_mean(self.name, self.known)
            or f"define it: fn {self.name}(x: real) -> real = ..."
        )

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class NotAValue(Diagnostic):
    """A function, a net, a part or a constraint is used as a value."""

    code: ClassVar[str] = "E0206"
    name: str = ""
    what: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"`{self.name}` is {self.what}, not a value"

    def hint(self) -> str:
        if self.what == "a constraint":
            return "give what it bounds a name: let, and read that here"
        if self.what == "a part":
            return f"name what is meant in it: {self.name}.z"
        return f"call it: {self.name}(...)"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class UsedBeforeDefinition(Diagnostic):
    """A value is used above the line that defines it.

    Lets are defined from top to bottom. Variables may be used anywhere, but a start value, a
    default or a distribution only reads unknowns that are declared above it.
    """

    code: ClassVar[str] = "E0207"
    name: str = ""
    places: tuple[Label, ...] = ()
    reader: str = ""

    def message(self) -> str:
        if self.reader == self.name:
            return f"`{self.name}` is used in its own definition"
        return f"`{self.name}` is used before it is defined"

    def hint(self) -> str:
        if self.reader == self.name:
            return "a value is computed from others; a start may be a number, or what is given"
        return "move the definition up"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class RecursiveFunction(Diagnostic):
    """A function calls itself, directly or through others."""

    code: ClassVar[str] = "E0208"
    name: str = ""
    through: tuple[str, ...] = ()

    def message(self) -> str:
        return f"`{self.name}` calls itself" + (f" through {', '.join(self.through)}" if self.through else "")

    def hint(self) -> str:
        return "a recurrence over an index is written with `let s[t+1] = ...`"


@dataclass(frozen=True, eq=False, repr=False)
class UnknownArgument(Diagnostic):
    """A named argument that the function does not take."""

    code: ClassVar[str] = "E0209"
    name: str = ""
    function: str = ""
    known: tuple[str, ...] = ()
    advice: str = ""

    def message(self) -> str:
        return f"`{self.function}` has no argument `{self.name}`"

    def expected(self) -> str:
        return listing(self.known) if self.known else "arguments without names"

    def hint(self) -> str:
        return self.advice or did_you_mean(self.name, self.known)


@dataclass(frozen=True, eq=False, repr=False)
class UnknownMethod(Diagnostic):
    """`using` names a method that does not exist, or `by` a loss."""

    code: ClassVar[str] = "E0210"
    name: str = ""
    known: tuple[str, ...] = ()
    what: str = "method"

    def message(self) -> str:
        return f"there is no {self.what} `{self.name}`"

    def expected(self) -> str:
        return listing(self.known)

    def hint(self) -> str:
        leave_out = "leave out `using`: the method is chosen by structure" if self.what == "method" else ""
        return did_you_mean(self.name, self.known) or leave_out


@dataclass(frozen=True, eq=False, repr=False)
class KeptName(Diagnostic):
    """A declaration takes a name that has a fixed meaning: `total` is the sum of all terms."""

    code: ClassVar[str] = "E0211"
    name: str = ""
    meaning: str = ""

    def message(self) -> str:
        return f"`{self.name}` cannot be declared: it is {self.meaning}"

    def hint(self) -> str:
        return "choose another name"


@dataclass(frozen=True, eq=False, repr=False)
class HiddenName(Diagnostic):
    """A function reads a value of the model that it does not see.

    A function sees its parameters, hyperparameters, and lets that are computed from these alone.
    """

    code: ClassVar[str] = "E0212"
    name: str = ""
    function: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"the function `{self.function}` does not see `{self.name}`"

    def expected(self) -> str:
        return "a parameter of the function or a hyperparameter"

    def hint(self) -> str:
        return f"make `{self.name}` a parameter, and pass it in the call"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class RepeatedName(Diagnostic):
    """One name stands twice in a list: of arguments, of targets, of options."""

    code: ClassVar[str] = "E0213"
    name: str = ""
    where: str = ""

    def message(self) -> str:
        return f"`{self.name}` stands twice in {self.where}"

    def hint(self) -> str:
        return "keep one of them"


@dataclass(frozen=True, eq=False, repr=False)
class UnusedHyper(Diagnostic):
    """A hyperparameter that nothing uses."""

    code: ClassVar[str] = "W0201"
    severity: ClassVar[Severity] = "warning"
    name: str = ""

    def message(self) -> str:
        return f"the hyperparameter `{self.name}` is never used"

    def hint(self) -> str:
        return "remove it, or use it"


_FOREIGN_FUNCTIONS = {
    "pow": "a power is written x^2",
    "power": "a power is written x^2",
    "matmul": "a matrix product is written A @ x",
    "transpose": "the transpose is written A.T",
    "ln": "the natural logarithm is log(x)",
    "len": "sizes have names: model m(n: int) { observed y : real[n] }",
    "size": "sizes have names: model m(n: int) { observed y : real[n] }",
    "shape": "sizes have names: model m(n: int) { observed y : real[n] }",
    "eye": "the identity matrix is identity(n)",
    "inv": "the inverse is inverse(A)",
    "solve": "a linear system is solved by linear_solve(A, b)",
    "average": "the mean is mean(x)",
    "ema": "a moving average is declared: net target : real[n] -> real[d] = ema(enc, decay = 0.99)",
    "if": "a choice is written where(condition, a, b)",
}

_FOREIGN_TYPES = {
    "float": "real numbers are `real`",
    "double": "real numbers are `real`; the precision is chosen when the model runs (--dtype float64)",
    "number": "real numbers are `real`",
    "vector": "a vector is real[n]",
    "matrix": "a matrix is real[n, m]",
    "tensor": "an array is real[n, m, ...]",
    "Tensor": "an array is real[n, m, ...]",
    "string": "there are no strings; a choice among K cases is class[K]",
    "boolean": "truth values are `bool`",
    "integer": "a hyperparameter is `int`; an unknown among K cases is class[K]",
}
