"""Objective lines and properties. They are checked last: they may read every term."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.binders import KEPT_NAMES
from ebmlang.compiler.catalogue.model import (
    NoQuestionTarget,
    NotGiven,
    NotSought,
    SameLabel,
    SoughtAndGiven,
    WrongModifier,
)
from ebmlang.compiler.catalogue.names import (
    DeclaredTwice,
    KeptName,
    RepeatedName,
    UnknownMethod,
)
from ebmlang.compiler.catalogue.syntax import RepeatedPart
from ebmlang.compiler.catalogue.types import (
    BadOption,
    ConditionExpected,
    DeclaredOtherwise,
    IntegerVariable,
    TermNotScalar,
)
from ebmlang.compiler.declarations import UNKNOWN_ROLES, Declarations
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.losses.amortized import BY, Amortized, Amortizing
from ebmlang.compiler.losses.expand import Expansion
from ebmlang.compiler.losses.table import WRITTEN, find_written
from ebmlang.compiler.naming import method_name, read_method, read_sampler, read_summer
from ebmlang.compiler.operators import Operators
from ebmlang.compiler.programmes import Programmes, positive_count
from ebmlang.compiler.scope import (
    Bound,
    Declared,
    Entry,
    Index,
    LetEntry,
    NetEntry,
    PartEntry,
    Scope,
    SizeEntry,
    TermEntry,
    Unbuilt,
    declared_at,
    origins,
)
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.sizing import read_type
from ebmlang.compiler.substitution import Lets, substitute
from ebmlang.compiler.training import read_optimiser
from ebmlang.compiler.typed import Expr, Level, Method, NamedLoss
from ebmlang.compiler.types import ERROR
from ebmlang.compiler.wishes import bent_costs

if TYPE_CHECKING:
    from ebmlang.compiler.answers import Answered

SEARCHED_VERBS = frozenset({"infer", "plan"})
"""Questions for the unknowns of lowest energy."""

LATER_CLAUSES = ("by", "on", "every", "steps")
"""Clauses of `marginalize` and `sample` that are checked as far as they go, and not built."""

_TRAINING_CLAUSES = {
    "by": "a loss goes with `train`",
    "on": "a data set goes with `train`",
    "every": "`every` goes with `train` and `plan`",
    "at": "a temperature goes with `marginalize` and `sample`",
    "steps": "a step limit is an option of the method: using lbfgs(steps = 100)",
}

CALLERS_OBJECTIVE = "objective_of_caller"
"""The property that stands for what a caller minimises: a claim about no answer."""

_CLAIMS = ("~=", "<=", ">=", "<", ">", "==", "!=")


@dataclass(slots=True)
class Questions:
    """Checks the questions and the properties of one model."""

    expressions: Expressions
    scope: Scope
    declarations: Declarations
    programmes: Programmes
    found: list[typed.Question] = field(default_factory=list)
    properties: list[typed.Property] = field(default_factory=list)
    labels: dict[str, ast.Identifier] = field(default_factory=dict)
    property_names: dict[str, ast.Identifier] = field(default_factory=dict)
    answers: Callable[[frozenset[str]], Answered] = field(init=False)

    @property
    def report(self) -> Report:
        return self.expressions.report

    def check(self, node: ast.Question | ast.Property, stage: str = "") -> None:
        """A line of the model, or of one of its stages; terms can be read in it."""
        if isinstance(node, ast.Question):
            self.question(node, stage)
        else:
            self.property(node)
        self.expressions.in_property = False

    # --- questions ---

    def question(self, node: ast.Question, stage: str) -> None:
        """A question with its names resolved. Verbs that are not built yet are checked all the same."""
        label = self._label(node.label)
        clauses = self._once(node.clauses)
        if not node.targets and node.verb != "train":
            self.report.add(NoQuestionTarget(node.span, node.verb))
            return
        targets = self._listed(node.targets, [self._target(t, node.verb) for t in node.targets])
        names = self._spelled_out(clauses["given"].names) if "given" in clauses else ()
        given = self._listed(names, [self._given(t) for t in names])
        for name in names:
            if name.text in targets and name.text in given:
                self.report.add(SoughtAndGiven(name.span, name.text))
        of = self._objective(clauses.get("of"))
        if node.verb == "train" and "of" in clauses and clauses["of"].value is not None:
            for mistake in bent_costs(node, clauses["of"].value, self.scope):
                self.report.add(mistake)
        self._clauses(node, clauses)
        loss = None
        named = self._named_loss(node, clauses) if node.verb == "train" else None
        if named is not None:
            loss, of = named
        prediction: tuple[Expr, ...] = ()
        amortized = self._amortized(node, clauses) if node.verb == "amortize" and targets else None
        if amortized is not None:
            loss, of, prediction = amortized.loss, amortized.of, amortized.prediction
        optimiser = None
        if node.verb in typed.TRAINING and "using" in clauses:
            optimiser = read_optimiser(clauses["using"], self.report, tuple(self.programmes.schedules))
        using = self._method(clauses.get("using"), node.verb)
        beta = self._temperature(clauses.get("at"), node.verb)
        timed = node.verb in (*typed.TRAINING, "plan")
        turn = self._turn(clauses, stage) if timed else typed.Turn()
        unread = () if timed else LATER_CLAUSES
        later = tuple((word, clause.span) for word, clause in clauses.items() if word in unread)
        shown = " ".join(self.report.source.extract(node.span).split())
        self.found.append(
            typed.Question(
                node.verb,
                label,
                targets,
                of,
                given,
                using,
                shown,
                node.doc,
                node.span,
                beta,
                optimiser,
                later,
                turn,
                loss,
                prediction,
            )
        )

    def _label(self, node: ast.Identifier | None) -> str | None:
        """The label of a line, which no other line may have."""
        if node is None:
            return None
        other = self.labels.setdefault(node.text, node)
        if other is not node:
            self.report.add(SameLabel(node.span, node.text, (Label(other.span, "the other one"),)))
        return node.text

    def _once(self, clauses: tuple[ast.Clause, ...]) -> dict[str, ast.Clause]:
        """The clauses of a line by their word."""
        found: dict[str, ast.Clause] = {}
        for clause in clauses:
            if clause.word in found:
                self.report.add(RepeatedPart(clause.span, clause.word))
            found.setdefault(clause.word, clause)
        return found

    def _turn(self, clauses: dict[str, ast.Clause], stage: str) -> typed.Turn:
        """When a `train` line runs."""

        def count(word: str) -> Size | None:
            clause = clauses.get(word)
            if clause is None or clause.value is None:
                return None
            return positive_count(self.expressions, self.scope, clause.value, word)

        on = clauses["on"].name if "on" in clauses else None
        return typed.Turn(count("steps"), count("every"), on.text if on is not None else "", stage)

    def _listed(self, nodes: tuple[ast.Dotted, ...], good: list[bool]) -> tuple[str, ...]:
        """The names that are right, each once."""
        names: list[str] = []
        for node, fine in zip(nodes, good, strict=True):
            if node.text in names:
                self.report.add(RepeatedName(node.span, node.text, "this list"))
            elif fine:
                names.append(node.text)
        return tuple(names)

    def _target(self, node: ast.Dotted, verb: str) -> bool:
        entry = self.scope.find(node.text)
        if isinstance(entry, Declared) and entry.role in UNKNOWN_ROLES:
            return True
        if isinstance(entry, NetEntry) and verb == "train":
            return True
        if isinstance(entry, LetEntry) and verb == "plan":
            return True  # what a policy does is a value
        if self._quiet(entry, node):
            return False
        known = tuple(n for n in self.scope.entries if _has_role(self.scope, n, UNKNOWN_ROLES))
        role = "" if entry is None else _described(entry)
        places = declared_at(entry, f"`{node.text}` is declared here") if role else ()
        self.report.add(NotSought(node.span, node.text, role, known, places))
        return False

    def _quiet(self, entry: Entry | None, node: ast.Dotted) -> bool:
        """Whether a name was reported elsewhere: where it is declared, or where it is used first."""
        entry = entry or self.scope.find(node.parts[0].text)
        if isinstance(entry, Unbuilt) or (entry is None and node.text in self.scope.unknown):
            return True
        return isinstance(entry, Bound) and entry.value.type.kind == "error"

    def _spelled_out(self, nodes: tuple[ast.Dotted, ...]) -> tuple[ast.Dotted, ...]:
        """The names after `given`, a part as all of its unknowns."""
        found: list[ast.Dotted] = []
        for node in nodes:
            own: tuple[str, ...] = ()
            if isinstance(self.scope.find(node.text), PartEntry):
                inside = (n for n in self.scope.entries if n.startswith(f"{node.text}."))
                own = tuple(n for n in inside if _has_role(self.scope, n, ("latent",)))
            parts = (tuple(ast.Identifier(w, node.span) for w in n.split(".")) for n in own)
            found += [ast.Dotted(words, node.span) for words in parts] or [node]
        return tuple(found)

    def _given(self, node: ast.Dotted) -> bool:
        entry = self.scope.find(node.text)
        if isinstance(entry, Declared) and entry.role != "hyper":
            return True
        if self._quiet(entry, node):
            return False
        roles = ("observed", "latent", "param", "random")
        known = tuple(n for n in self.scope.entries if _has_role(self.scope, n, roles))
        role = "" if entry is None else _described(entry)
        places = declared_at(entry, f"`{node.text}` is declared here") if role else ()
        self.report.add(NotGiven(node.span, node.text, role, known, places))
        return False

    def _objective(self, clause: ast.Clause | None) -> Expr | None:
        if clause is None or clause.value is None:
            return None
        value = self.expressions.value(clause.value, self.scope)
        if value.type.kind == "error":
            return None
        if not value.type.scalar or not value.type.numeric:
            places = origins(self.scope, value)
            self.report.add(TermNotScalar(clause.value.span, "of", str(value.type), places, "what follows"))
            return None
        return value

    def _temperature(self, clause: ast.Clause | None, verb: str) -> Expr | None:
        """`at beta = VALUE`: the inverse temperature, a number that is known without data."""
        if clause is None or clause.value is None or verb not in ("marginalize", "sample"):
            return None
        value = self.expressions.value(clause.value, self.scope)
        if value.type.kind == "error":
            return None
        known = value.type.scalar and value.type.numeric and value.level is Level.CONSTANT
        if not known:
            shown = self.report.source.extract(clause.value.span)
            wanted = "a positive number, or a hyperparameter"
            self.report.add(BadOption(clause.value.span, "beta", f"`{shown}`", wanted))
            return None
        return value

    def _clauses(self, node: ast.Question, clauses: dict[str, ast.Clause]) -> None:
        if node.verb in SEARCHED_VERBS:
            for word, advice in _TRAINING_CLAUSES.items():
                if word in clauses and (word, node.verb) != ("every", "plan"):
                    self.report.add(WrongModifier(clauses[word].span, word, f"`{node.verb}`", advice))
            return
        by = clauses.get("by")
        if by is None or by.value is None:
            return
        name = method_name(by.value)
        losses = BY if node.verb == "amortize" else tuple(row.name for row in WRITTEN)
        if node.verb in ("train", "amortize") and name not in losses:
            shown = name or self.report.source.extract(by.value.span)
            self.report.add(UnknownMethod(by.value.span, shown, losses, "loss"))

    def _named_loss(
        self, node: ast.Question, clauses: dict[str, ast.Clause]
    ) -> tuple[NamedLoss, Expr | None] | None:
        """The loss after `by`, and the objective that it stands for; None after a mistake."""
        by = clauses.get("by")
        row = find_written(method_name(by.value)) if by is not None and by.value is not None else None
        if by is None or row is None:
            return None
        if "of" in clauses:
            self.report.add(
                WrongModifier(clauses["of"].span, "of", "`by`", "`of` writes a loss out, `by` names it")
            )
            return None
        label = node.label.text if node.label is not None else None
        arguments = by.value.arguments if isinstance(by.value, ast.Call) else ()
        return Expansion(self.declarations, row, label, by.span).objective(arguments)

    def _amortized(self, node: ast.Question, clauses: dict[str, ast.Clause]) -> Amortized | None:
        """What an `amortize` line learns, and by which loss; None after a mistake."""
        by = clauses.get("by")
        name = method_name(by.value) if by is not None and by.value is not None else ""
        if node.prediction is None or name not in ("", *BY):
            return None
        if "of" in clauses:
            advice = "what is lowered follows from `by`"
            self.report.add(WrongModifier(clauses["of"].span, "of", "`amortize`", advice))
            return None
        label = node.label.text if node.label is not None else None
        return Amortizing(self.declarations, label).read(node, name)

    def _method(self, clause: ast.Clause | None, verb: str) -> Method | None:
        """`using NAME` or `using NAME(option = number, ...)`."""
        if clause is None or clause.value is None or verb in typed.TRAINING:
            return None
        if verb == "sample":
            return read_sampler(clause.value, clause.span, self.report)
        if verb == "marginalize":
            return read_summer(clause.value, clause.span, self.report)
        return read_method(clause.value, clause.span, self.report)

    # --- properties ---

    def property(self, node: ast.Property) -> None:
        """A declared property. A quantified name that is a variable of the model stands for it."""
        first = self.property_names.setdefault(node.name.text, node.name)
        if first is not node.name:
            places = (Label(first.span, "first declared here"),)
            self.report.add(DeclaredTwice(node.name.span, node.name.text, places))
        inner = self.scope.child()
        quantified = [self._quantified(q, inner) for q in node.quantified]
        if any(q is None for q in quantified):
            return
        self.expressions.in_property = True
        relation, left, right = self._claim(node.claim, inner)
        why = ""
        broken = "error" in (left.type.kind, "" if right is None else right.type.kind)
        if not broken and node.name.text != CALLERS_OBJECTIVE:
            left, right, why = self._with_answers(node.claim, inner, left, right)
        if left.type.kind == "error" or (right is not None and right.type.kind == "error"):
            return
        if relation is None and left.type.kind != "bool":
            self.report.add(ConditionExpected(node.claim.span, str(left.type), "a property"))
            return
        variables = tuple(q for q in quantified if q is not None)
        self.properties.append(
            typed.Property(node.name.text, variables, relation, left, right, node.doc, node.span, why)
        )

    def _with_answers(
        self, claim: ast.Expr, inner: Scope, left: Expr, right: Expr | None
    ) -> tuple[Expr, Expr | None, str]:
        """Both sides of a claim with answers in the place of unknowns, and why they are not there."""
        lets = self.expressions.lets
        quantified = frozenset(inner.entries)
        sides = (left,) if right is None else (left, right)
        read = frozenset().union(*(lets.sources_of(side) for side in sides)) - quantified
        if not any(_has_role(self.scope, n, ("latent",)) for n in read & self.scope.entries.keys()):
            return left, right, ""
        found = self.answers(quantified)
        if not found.values:
            return left, right, found.hindrance
        # An unknown is a let of what it is computed from, so that `with` reaches through it.
        known = {n: typed.Let(n, value, "", value.span) for n, value in found.values.items()}
        self.expressions.lets = Lets({**lets.defined, **known})
        _, left, right = self._claim(claim, inner)
        self.expressions.lets = lets
        left = substitute(left, found.values, lets)[0]
        return left, None if right is None else substitute(right, found.values, lets)[0], ""

    def _quantified(self, node: ast.Quantified, inner: Scope) -> typed.Variable | None:
        name = node.name
        type_ = read_type(node.type, self.scope, self.report)
        if type_.kind == "int":
            self.report.add(IntegerVariable(node.type.span, name.text))
            return None
        if type_ == ERROR:
            inner.unknown.add(name.text)
            return None
        if name.text in KEPT_NAMES:
            self.report.add(KeptName(name.span, name.text, KEPT_NAMES[name.text]))
            return None
        entry = self.scope.find(name.text)
        level = Level.SHARED
        if isinstance(entry, Declared) and entry.role != "hyper":
            level = entry.level
            if entry.type != type_:
                places = declared_at(entry, f"`{name.text}` is declared {entry.type}")
                advice = "a quantified name that is a variable stands for it"
                found, wanted = str(type_), str(entry.type)
                self.report.add(
                    DeclaredOtherwise(node.type.span, name.text, found, wanted, advice, places, "here it is")
                )
                return None
        elif entry is not None:
            self.report.add(DeclaredTwice(name.span, name.text, declared_at(entry)))
            return None
        if name.text in inner.entries:
            self.report.add(RepeatedName(name.span, name.text, "this list"))
            return None
        inner.entries[name.text] = Declared(type_, level, "latent", -1, name.span)
        domain = self.declarations.domain(node.domain, type_, name.text, level)
        return typed.Variable(name.text, "latent", type_, domain, level, False, None, "", node.span)

    def _claim(self, node: ast.Expr, scope: Scope) -> tuple[str | None, Expr, Expr | None]:
        while isinstance(node, ast.Parenthesised):
            node = node.inner
        if not isinstance(node, ast.Binary) or node.op not in _CLAIMS:
            return None, self.expressions.value(node, scope), None
        left = self.expressions.value(node.left, scope)
        right = self.expressions.value(node.right, scope)
        if "error" not in (left.type.kind, right.type.kind):
            # Checked as a comparison, then kept as two sides: a failure shows both.
            whole = Operators(self.expressions, scope).operator(node.op, left, right, node.span)
            if whole.type.kind == "error":
                return node.op, whole, None
        return node.op, left, right


def _has_role(scope: Scope, name: str, roles: tuple[str, ...]) -> bool:
    entry = scope.entries[name]
    return isinstance(entry, Declared) and entry.role in roles


def _described(entry: Entry) -> str:
    match entry:
        case Declared(role="hyper") | SizeEntry():
            return "a hyperparameter"
        case Declared(role=role):
            return role
        case LetEntry() | Bound():
            return "a let"
        case TermEntry():
            return "a term"
        case Index():
            return "an index"
        case PartEntry():
            return "a part"
        case NetEntry():
            return "a net"
        case Unbuilt(what=what):
            return what
