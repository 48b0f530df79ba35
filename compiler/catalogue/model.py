"""Mistakes in the build of a model: E05xx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ebmlang.compiler.diagnostics import Diagnostic, Label, did_you_mean, listing


@dataclass(frozen=True, eq=False, repr=False)
class PlateSubscripts(Diagnostic):
    """The subscripts of a plated name must be the indices of its plates, in order."""

    code: ClassVar[str] = "E0501"
    name: str = ""
    found: str = ""
    wanted: str = ""

    def message(self) -> str:
        where = "does not name its plates" if self.wanted else "stands in no plate"
        return f"`{self.name}[{self.found}]` {where}"

    def expected(self) -> str:
        return f"`{self.name}[{self.wanted}]`" if self.wanted else f"`{self.name}` without subscripts"


@dataclass(frozen=True, eq=False, repr=False)
class NoTerms(Diagnostic):
    """A model without a term has no energy, and nothing can be asked of it.

    A model of lets and nets alone, without unknowns and questions, may be a part of another one: an encoder,
    a block of a network. By itself it cannot be loaded. `others` are models of the file that have terms.
    """

    code: ClassVar[str] = "E0502"
    name: str = ""
    others: tuple[str, ...] = ()

    def message(self) -> str:
        return f"the model `{self.name}` has no term"

    def expected(self) -> str:
        return "at least one `energy`, `regularizer` or `cost`"

    def hint(self) -> str:
        if self.others:
            return f"name another model of the file: {listing(self.others)}"
        return "energy fit = ||y - f(z)||^2"


@dataclass(frozen=True, eq=False, repr=False)
class NotSought(Diagnostic):
    """A question asks for something that is not unknown.

    Questions in a file name latents and params; a `plan` line may also name a let, whose values are then the
    actions. Other roles are chosen when asking: `ebmlang infer FILE --given x --find y`.
    """

    code: ClassVar[str] = "E0503"
    name: str = ""
    role: str = ""
    known: tuple[str, ...] = ()
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return (
            f"`{self.name}` is {self.role}, and a question in a file asks for latents and params"
            if self.role
            else f"nothing unknown is called `{self.name}`"
        )

    def expected(self) -> str:
        return listing(self.known) if self.known else "a latent or a param"

    def hint(self) -> str:
        if self.role == "a let" and "." in self.name:
            return "what `solve` finds is a value: `use` makes its unknowns those of this model"
        return did_you_mean(self.name, self.known) or (
            f"ask at the command line: --find {self.name}" if self.role == "observed" else ""
        )

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class SameLabel(Diagnostic):
    """Two questions carry the same name."""

    code: ClassVar[str] = "E0504"
    name: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        return f"two questions are called `{self.name}`"

    def hint(self) -> str:
        return "rename one of them: it is what --objective names"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class Misplaced(Diagnostic):
    """A statement stands where it cannot.

    A plate holds terms, let cells, constraints, use, solve and nets; variables and questions
    stand directly in the model.
    """

    code: ClassVar[str] = "E0505"
    what: str = ""
    where: str = ""
    advice: str = ""

    def message(self) -> str:
        return f"{self.what} cannot stand in {self.where}"

    def hint(self) -> str:
        return self.advice


@dataclass(frozen=True, eq=False, repr=False)
class ApproximateOutside(Diagnostic):
    """`~=` compares within a tolerance; only the claim of a property has one."""

    code: ClassVar[str] = "E0506"
    inside: bool = False

    def message(self) -> str:
        if self.inside:
            return "`~=` compares the two sides of a property, not parts of them"
        return "`~=` belongs into a property"

    def hint(self) -> str:
        return "write two properties" if self.inside else "compare with == or <= here"


@dataclass(frozen=True, eq=False, repr=False)
class TermInTerm(Diagnostic):
    """A term, or `total`, stands in an expression of the model.

    Terms are what the energy is summed from. Questions and properties may read them.
    """

    code: ClassVar[str] = "E0507"
    name: str = ""
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        if self.name == "total":
            return "`total` is the sum of all terms: it cannot stand inside of one"
        return f"the term `{self.name}` cannot stand inside an expression of the model"

    def hint(self) -> str:
        return "name the common part with `let`"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class MissingStart(Diagnostic):
    """A `random` variable is declared by a distribution."""

    code: ClassVar[str] = "E0508"
    name: str = ""
    found: str = ""

    def message(self) -> str:
        return f"`{self.name}` needs a distribution after `~`, not {self.found}"

    def expected(self) -> str:
        return "normal(...), uniform(...), bernoulli(...) or categorical(...)"


@dataclass(frozen=True, eq=False, repr=False)
class WrongModifier(Diagnostic):
    """A word that this kind of declaration does not take."""

    code: ClassVar[str] = "E0509"
    word: str = ""
    role: str = ""
    advice: str = ""

    def message(self) -> str:
        return f"`{self.word}` does not go with {self.role}"

    def hint(self) -> str:
        return self.advice


@dataclass(frozen=True, eq=False, repr=False)
class NoQuestionTarget(Diagnostic):
    """A question that needs a name has none."""

    code: ClassVar[str] = "E0510"
    verb: str = ""

    def message(self) -> str:
        return f"`{self.verb}` does not say what to seek"

    def expected(self) -> str:
        return "the name of an unknown"

    def hint(self) -> str:
        return f"{self.verb} z"


@dataclass(frozen=True, eq=False, repr=False)
class CellsMissing(Diagnostic):
    """A let of an array declares cells that are never defined."""

    code: ClassVar[str] = "E0511"
    name: str = ""
    shaped: bool = True

    def message(self) -> str:
        if not self.shaped:
            return f"`{self.name}` is declared, but never defined"
        return f"the array `{self.name}` is declared, but its cells are never defined"

    def hint(self) -> str:
        if not self.shaped:
            return f"give it a value: let {self.name} = ..."
        return "define them: for t in 0..T { let " + self.name + "[t] = ... }"


@dataclass(frozen=True, eq=False, repr=False)
class TooManyNodes(Diagnostic):
    """Writing out functions, local lets and replacements made the model larger than the limit."""

    code: ClassVar[str] = "E0512"
    limit: int = 0

    def message(self) -> str:
        return f"written out, this is more than {self.limit:,} operations"

    def hint(self) -> str:
        return "name intermediate values with `let`, and call functions on them"


@dataclass(frozen=True, eq=False, repr=False)
class ModelMissing(Diagnostic):
    """The file has several models, and the one asked for is not among them."""

    code: ClassVar[str] = "E0513"
    name: str = ""
    known: tuple[str, ...] = ()

    def message(self) -> str:
        return f"there is no model `{self.name}` in the file"

    def expected(self) -> str:
        return listing(self.known)

    def hint(self) -> str:
        return did_you_mean(self.name, self.known)


@dataclass(frozen=True, eq=False, repr=False)
class SoughtAndGiven(Diagnostic):
    """A question seeks a variable and takes it as given at once."""

    code: ClassVar[str] = "E0514"
    name: str = ""

    def message(self) -> str:
        return f"`{self.name}` is both sought and given"

    def hint(self) -> str:
        return "name it once: what is given is held, what is sought is found"


@dataclass(frozen=True, eq=False, repr=False)
class TooDeepExpression(Diagnostic):
    """An expression holds more operations inside one another than the limit."""

    code: ClassVar[str] = "E0515"
    limit: int = 0

    def message(self) -> str:
        return f"more than {self.limit} operations inside one another"

    def hint(self) -> str:
        return "name parts of it with `let`, or write the sum over an index: sum(..., over = i in 0..n)"


@dataclass(frozen=True, eq=False, repr=False)
class NotGiven(Diagnostic):
    """What follows `given` must be a variable of the model."""

    code: ClassVar[str] = "E0516"
    name: str = ""
    role: str = ""
    known: tuple[str, ...] = ()
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        if self.role:
            return f"`{self.name}` is {self.role}; only variables can be given"
        return f"no variable is called `{self.name}`"

    def expected(self) -> str:
        return listing(self.known) if self.known else "a variable"

    def hint(self) -> str:
        return did_you_mean(self.name, self.known)

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class TooManyModelMistakes(Diagnostic):
    """The check stopped after the limit of mistakes."""

    code: ClassVar[str] = "E0517"
    limit: int = 0

    def message(self) -> str:
        return f"more than {self.limit} mistakes; the rest of the model was not checked"


@dataclass(frozen=True, eq=False, repr=False)
class PlansInCircle(Diagnostic):
    """Each of some `plan` lines takes as given what another one of them plans: none can be asked first.

    A line with `given g` is asked after the line that plans g, with its answer as the value of g.
    """

    code: ClassVar[str] = "E0518"
    names: tuple[str, ...] = ()
    places: tuple[Label, ...] = ()

    def message(self) -> str:
        names = listing([f"`{name}`" for name in self.names], "and")
        return f"plans wait for each other in a circle: {names} are given"

    def hint(self) -> str:
        together = ", ".join(self.names)
        return f"leave `given` out of the line to ask first, or plan them together: plan {together}"

    def related(self) -> Sequence[Label]:
        return self.places


@dataclass(frozen=True, eq=False, repr=False)
class NotARelation(Diagnostic):
    """A constraint compares two numbers with `<=`, `>=` or `==`.

    A strict inequality has no nearest point, and `!=` forbids next to nothing.
    """

    code: ClassVar[str] = "E0520"
    name: str = ""
    found: str = ""

    def message(self) -> str:
        what = f"joined by `{self.found}`" if self.found else "a single value"
        return f"the constraint `{self.name}` is {what}, not an equation or an inequality"

    def expected(self) -> str:
        return "<=, >= or == between two numbers"

    def hint(self) -> str:
        match self.found:
            case "<" | ">":
                return f"write {self.found}=: the nearest point of a strict inequality lies on its boundary"
            case "!=":
                return "state which side: g(x) >= 0.1, or give a term that grows near equality"
            case "~=":
                return "write ==, or bound the distance: (a - b)^2 <= 0.01"
            case "and":
                return "write two constraints"
            case "or":
                return "constraints hold together; a choice needs a term or a discrete unknown"
        return "say what it has to be: subject to NAME : g(x) <= 0"
