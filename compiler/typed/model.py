"""The checked model: variables, terms, questions and parts, with typed expressions in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ebmlang.compiler import ast
from ebmlang.compiler.domains import Domain
from ebmlang.compiler.nets.net import Net
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.source import Source, Span
from ebmlang.compiler.typed.expressions import Axes, Expr, Level, Solve
from ebmlang.compiler.types import Type

Role = Literal["hyper", "observed", "latent", "param", "random"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Variable:
    """A declared value. `init` is its default, its start or its distribution."""

    name: str
    role: Role
    type: Type
    domain: Domain
    level: Level
    missing: bool
    init: Expr | None
    doc: str
    span: Span

    @property
    def unknown(self) -> bool:
        """Whether the file's questions may seek it."""
        return self.role in ("latent", "param")

    @property
    def per_example(self) -> bool:
        return self.level is Level.EXAMPLE

    @property
    def arranged(self) -> bool:
        """Whether its values are the arrangements of a fixed stock: an order, or a subset of fixed size."""
        return self.domain.rule.geometry == "discrete"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Let:
    """A named value. Cells that are defined in a plate form one array (a `Tabulate`)."""

    name: str
    value: Expr
    doc: str
    span: Span


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Term:
    """One summand of the energy; `value` is a scalar over the axes of its plates."""

    name: str
    kind: ast.TermKind
    batch: bool
    axes: Axes
    guard: Expr | None
    value: Expr
    doc: str
    span: Span


Relation = Literal["<=", "=="]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Constraint:
    """`value <= 0` or `value == 0`, entry by entry, at every position of its plates.

    `value` is the difference of the two sides: left - right, and right - left for `>=`. `written` is the
    relation as the file words it.
    """

    name: str
    axes: Axes
    guard: Expr | None
    relation: Relation
    value: Expr
    written: str
    doc: str
    span: Span


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Method:
    """What follows `using`: a name and its options."""

    name: str
    options: tuple[tuple[str, float | int | bool | str], ...]
    span: Span


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Optimiser:
    """What follows `using` in a `train` line: what moves the parameters, with the options that are set."""

    name: str
    options: tuple[tuple[str, float | int | bool | str | tuple[float, ...]], ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Turn:
    """When a `train` line runs: `repeats` times (once if None) in every minibatch that `every` divides (in
    all of them if None), on the data set `on` (the main one if empty), while the stage runs (the end if
    empty). A `plan` line is asked again after `every` actions."""

    repeats: Size | None = None
    every: Size | None = None
    on: str = ""
    stage: str = ""


SKIPPED_KIND = "cost"
"""The kind of term that training leaves out unless `of` names it: what is to become cheap by acting must not
become cheap by believing."""


TRAINING: tuple[ast.Verb, ...] = ("train", "amortize")
"""The verbs of lines that move parameters."""


@dataclass(frozen=True, slots=True)
class Negatives:
    """Values of the variable of a loss that the model itself makes: `steps` of a sampler that begins at the
    data, or, if `persistent`, where the last visit of the row ended. A share `refresh` of the chains begins
    at the data all the same."""

    sampler: Method
    steps: int
    persistent: bool
    refresh: float


@dataclass(frozen=True, slots=True)
class NamedLoss:
    """What a `train` line names with `by`: the loss, the variable whose energy it shapes, the text of the
    objective that it stands for, and the random variables that it brings along. Where `negatives` are drawn
    from the model, the text is for people, and the line has no `of`. `compared` are the energies of the data
    and of the values that the loss pushes up, where it names some."""

    name: str
    variable: str
    text: str
    draws: tuple[str, ...] = ()
    negatives: Negatives | None = None
    compared: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Question:
    """An objective line. A `train` line has an `optimiser` in place of `using`, and its `turn` in the
    programme of training; where it names a `loss`, `of` is what that stands for. An `amortize` line is one,
    with the `prediction` of its target, and where it is drawn, with its deviation. `later` are the clauses
    that are understood and not built, as (word, place)."""

    verb: ast.Verb
    label: str | None
    targets: tuple[str, ...]
    of: Expr | None
    given: tuple[str, ...]
    using: Method | None
    text: str
    doc: str
    span: Span
    beta: Expr | None = None
    optimiser: Optimiser | None = None
    later: tuple[tuple[str, Span], ...] = ()
    turn: Turn = Turn()
    loss: NamedLoss | None = None
    prediction: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Property:
    """A claim about the energy for all values of the quantified variables.

    `relation` compares `left` with `right`; a bare condition has no relation. Unknowns that are read and not
    quantified are answers of the `infer` line; where they cannot be, `hindrance` says why.
    """

    name: str
    quantified: tuple[Variable, ...]
    relation: str | None
    left: Expr
    right: Expr | None
    doc: str
    span: Span
    hindrance: str = ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Requirement:
    """A size that must be at least 0 once sizes are known, for instance so that a subscript fits.

    `reason` says in words what would go wrong.
    """

    size: Size
    reason: str
    span: Span


@dataclass(frozen=True, slots=True)
class Placed:
    """A part of a model: what the statement `word` calls it, the model that it is a copy of, and how many
    plates stand around it."""

    name: str
    model: str
    word: str
    plates: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Solved:
    """One `solve ... as part`: the minimum of `model` as values of the model around it.

    `formula` holds the unknowns in closed form, in the names of `model`; else `search` is one of the
    nodes that stand for the answer of a search. Both are empty where the part has no unknowns.
    """

    part: str
    model: Model
    formula: tuple[tuple[str, Expr], ...]
    search: Solve | None
    span: Span


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Update:
    """What a state becomes after every minibatch."""

    state: str
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of training that has lines of its own."""

    name: str
    steps: Size


@dataclass(frozen=True, slots=True)
class Programme:
    """What training moves beside parameters, and in which stages.

    `schedules` are observed variables whose default follows the step, `states` parameters that `updates`
    move in place of an optimiser; those in `episodic` begin anew with every episode, and move with every
    action in it, while training leaves them alone.
    """

    schedules: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    episodic: tuple[str, ...] = ()
    updates: tuple[Update, ...] = ()
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Model:
    name: str
    source: Source
    variables: tuple[Variable, ...]
    lets: tuple[Let, ...]
    terms: tuple[Term, ...]
    constraints: tuple[Constraint, ...]
    questions: tuple[Question, ...]
    properties: tuple[Property, ...]
    requirements: tuple[Requirement, ...]
    doc: str
    span: Span
    nets: tuple[Net, ...] = ()
    solved: tuple[Solved, ...] = ()
    parts: tuple[Placed, ...] = ()
    programme: Programme = Programme()

    def variable(self, name: str) -> Variable | None:
        return next((v for v in self.variables if v.name == name), None)

    def net(self, name: str) -> Net | None:
        return next((n for n in self.nets if n.name == name), None)

    @property
    def hypers(self) -> tuple[Variable, ...]:
        return tuple(v for v in self.variables if v.role == "hyper")
