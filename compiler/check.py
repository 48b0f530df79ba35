"""Syntax tree to checked model: names, roles, domains, shapes and levels of everything declared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ebmlang.compiler import ast, typed
from ebmlang.compiler.answers import Answered, answers
from ebmlang.compiler.binders import KEPT_NAMES, Binders, declare
from ebmlang.compiler.catalogue.model import (
    Misplaced,
    NoTerms,
    TooManyModelMistakes,
)
from ebmlang.compiler.catalogue.names import DeclaredTwice, KeptName, UnusedHyper
from ebmlang.compiler.collector import collector_paused
from ebmlang.compiler.composition.joining import Joined
from ebmlang.compiler.composition.library import Library, Models, in_order
from ebmlang.compiler.composition.placing import Around
from ebmlang.compiler.constraints import relation
from ebmlang.compiler.declarations import Declarations
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.floors import Floors, floors_of
from ebmlang.compiler.functions import UserFunctions
from ebmlang.compiler.hierarchy import check_levels
from ebmlang.compiler.indexing import Prover
from ebmlang.compiler.letting import LetStatements
from ebmlang.compiler.losses.amortized import begun
from ebmlang.compiler.nets.declare import NetStatements
from ebmlang.compiler.nets.targets import targets_as_nets
from ebmlang.compiler.nets.tuples import taken_apart
from ebmlang.compiler.programmes import Programmes
from ebmlang.compiler.questions import Questions
from ebmlang.compiler.scope import (
    Entry,
    Functions,
    LetEntry,
    PartEntry,
    Scope,
    TermEntry,
    Unbuilt,
    broken,
)
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.source import NOWHERE, Source
from ebmlang.compiler.terms import TermStatements
from ebmlang.compiler.training import check_training

MOST_MISTAKES = 50
"""Errors after which a model is given up: what follows is rarely news."""


def check_module(module: ast.Module, report: Report, library: Library) -> tuple[typed.Model, ...]:
    """The models of a file that could be checked, in its order; mistakes go to the report."""
    models = library.models(module, report)
    first: dict[str, ast.Identifier] = {}
    for model in module.models:
        name = first.setdefault(model.name.text, model.name)
        if name is not model.name:
            places = (Label(name.span, "first declared here"),)
            report.add(DeclaredTwice(model.name.span, name.text, places))
    for model in in_order(module, report, models):
        found = check_model(model, report, models)
        if first[model.name.text] is not model.name:
            continue
        if found is not None:
            models.own[model.name.text] = found
        else:
            models.broken.add(model.name.text)
        if len(report.errors) > MOST_MISTAKES:
            break
    return tuple(models.own[name] for name in first if name in models.own)


def check_model(model: ast.Model, report: Report, models: Models) -> typed.Model | None:
    """Check one model; None when a mistake makes it unusable (the report has it)."""
    before = len(report.errors)
    with collector_paused():
        checked = _ModelChecker(report, before, models, model.name.text).check(model)
    return checked if len(report.errors) == before else None


@dataclass(slots=True)
class _ModelChecker:
    report: Report
    errors_before: int
    models: Models
    name: str
    scope: Scope = field(default_factory=Scope)
    later: list[tuple[ast.Question | ast.Property, str]] = field(default_factory=list)
    updates: list[ast.Update] = field(default_factory=list)
    constraints: list[typed.Constraint] = field(default_factory=list)
    answered: dict[frozenset[str], Answered] = field(default_factory=dict)
    expressions: Expressions = field(init=False)
    declarations: Declarations = field(init=False)
    lets: LetStatements = field(init=False)
    questions: Questions = field(init=False)
    joined: Joined = field(init=False)
    nets: NetStatements = field(init=False)
    programmes: Programmes = field(init=False)
    terms: TermStatements = field(init=False)

    def __post_init__(self) -> None:
        self.expressions = Expressions(self.report, Functions(Scope()), Prover({}))
        self.declarations = Declarations(self.expressions, self.scope)
        self.lets = LetStatements(self.expressions, self.scope)
        self.terms = TermStatements(self.expressions, self.scope)
        self.programmes = Programmes(self.expressions, self.scope, self.declarations)
        self.questions = Questions(self.expressions, self.scope, self.declarations, self.programmes)
        self.nets = NetStatements(self.expressions, self.scope)
        around = Around(self.expressions, self.declarations, self.scope, self.constraints, self.nets.found)
        self.joined = Joined(around, self.models, self.programmes)
        self.lets.nested = self.joined.cells
        self.questions.answers = self.answers

    @property
    def source(self) -> Source:
        return self.report.source

    @property
    def failed(self) -> bool:
        return len(self.report.errors) > self.errors_before

    def check(self, model: ast.Model) -> typed.Model:
        model = replace(model, body=targets_as_nets(taken_apart(model.body)))
        floors = floors_of(model)
        self.expressions.prover = Prover(floors.least, floors.loose)
        self.declarations.declare_hypers(model.hypers)
        self.declare_all(model.body)
        self.declarations.hypers(model.hypers)
        self.nets.define(model.body)
        self.statements(model.body, self.scope)
        self.nets.decays(self.programmes)
        self.expressions.terms_readable = True
        for update in self.updates:
            self.programmes.update(update)
        # Properties come last: what they read of unknowns is what the questions ask for.
        for node, stage in sorted(self.later, key=lambda pair: isinstance(pair[0], ast.Property)):
            self.questions.check(node, stage)
        self.expressions.terms_readable = False
        self.lets.finish()
        alone = self.failed or self.models.broken or self.values_alone()
        if not self.expressions.terms and not alone:
            self.report.add(NoTerms(model.name.span, model.name.text))
        if not self.failed:
            self.unused_hypers(model)
        checked = replace(
            self.so_far(),
            requirements=self.requirements(floors),
            doc=model.doc,
            span=model.span,
            programme=self.programmes.found(),
        )
        if not self.failed:
            check_training(checked, self.report)
            check_levels(checked, self.report)
        return checked

    def so_far(self) -> typed.Model:
        """What has been checked up to here."""
        return typed.Model(
            self.name,
            self.source,
            (*self.expressions.hidden, *begun(self.declarations.variables, self.questions.found)),
            tuple(self.expressions.lets.defined.values()),
            tuple(self.expressions.terms),
            tuple(self.constraints),
            tuple(self.questions.found),
            tuple(self.questions.properties),
            (),
            "",
            NOWHERE,
            tuple(self.nets.found),
            tuple(self.joined.solved),
            tuple(self.joined.placed),
        )

    def values_alone(self) -> bool:
        """Whether the model computes values for others that have it as a part: nothing is unknown in it, and
        nothing asks."""
        values = self.expressions.lets.defined or self.nets.found
        unknown = any(v.role == "latent" for v in self.declarations.variables)
        return bool(values) and not unknown and not self.questions.found

    def answers(self, quantified: frozenset[str]) -> Answered:
        """Unknowns as what the first `infer` line finds, for a property that quantifies these names."""
        if self.failed:
            return Answered()
        held = quantified & {v.name for v in self.declarations.variables}
        # `infer` is reserved: no part of the model has such a name.
        part = f"infer.{len(self.answered)}" if self.answered else "infer"
        if held not in self.answered:
            self.answered[held] = answers(self.so_far(), held, part)
        return self.answered[held]

    def requirements(self, floors: Floors) -> tuple[typed.Requirement, ...]:
        """What is left to hold when sizes are known, each size once."""
        assumed = floors.requirements(self.expressions.prover.assumed)
        found: dict[Size, typed.Requirement] = {}
        for requirement in (*assumed, *self.expressions.requirements):
            found.setdefault(requirement.size, requirement)
        return tuple(found.values())

    def statements(self, body: tuple[ast.Statement, ...], scope: Scope) -> None:
        for statement in body:
            if self.report.failed and len(self.report.errors) - self.errors_before > MOST_MISTAKES:
                self.report.add(TooManyModelMistakes(statement.span, MOST_MISTAKES))
                return
            if scope is not self.scope and isinstance(statement, _NOT_IN_PLATES):
                self.misplaced(statement)
            else:
                _STATEMENTS[type(statement)](self, statement, scope)

    # --- names ---

    def declare_all(self, body: tuple[ast.Statement, ...]) -> None:
        """Everything but local lets is visible in the whole model."""
        functions = self.expressions.functions.declared
        for position, s in enumerate(body):
            match s:
                case ast.Variable():
                    self.declarations.declare_variable(s, position)
                case ast.Schedule():
                    self.programmes.declare_schedule(s, position)
                case ast.StateDecl():
                    self.programmes.declare_state(s, position)
                case ast.Fn():
                    self.declare_function(s, functions)
                case ast.Let(value=None):
                    self.lets.declare_array(s)
                case ast.Let():
                    self.declare(s.name, LetEntry(None, s.name.span))
                case _:
                    self.declare_inside(s)
        for name, fn in functions.items():
            first = self.scope.find(name)
            if first is not None:
                ordered = sorted((first.span, fn.name.span))
                places = (Label(ordered[0], "first declared here"),)
                self.report.add(DeclaredTwice(ordered[1], name, places))

    def declare(self, name: ast.Identifier, entry: Entry) -> None:
        declare(name, entry, self.scope, self.report)

    def declare_function(self, node: ast.Fn, functions: dict[str, ast.Fn]) -> None:
        if node.name.text in KEPT_NAMES:
            self.report.add(KeptName(node.name.span, node.name.text, KEPT_NAMES[node.name.text]))
            return
        first = functions.setdefault(node.name.text, node)
        if first is not node:
            places = (Label(first.name.span, "first declared here"),)
            self.report.add(DeclaredTwice(node.name.span, node.name.text, places))

    def declare_inside(self, s: ast.Statement) -> None:
        """Names that a statement declares in the model, also from inside plates."""
        match s:
            case ast.Term():
                self.declare(s.name, TermEntry(None, s.name.span))
            case ast.Subject():
                self.declare(s.name, Unbuilt("a constraint", s.name.span))
            case ast.LetCell():
                self.lets.declare_cell(s)
            case ast.Net():
                self.nets.declare(s)
            case ast.Part() | ast.Compose():
                self.declare(s.name, PartEntry(s.reference.path[-1].text, s.name.span))
            case ast.Plate() | ast.Stage():
                for inner in s.body:
                    self.declare_inside(inner)

    def unused_hypers(self, model: ast.Model) -> None:
        if not model.hypers:
            return
        # A word count is exact enough for a warning, and cheap; comments are no use.
        text = _COMMENT.sub("", self.source.extract(model.span))
        words = Counter(_WORD.findall(text))
        for hyper in model.hypers:
            if words[self.source.extract(hyper.name.span)] < 2:
                self.report.add(UnusedHyper(hyper.name.span, hyper.name.text))

    # --- declarations ---

    def variable(self, node: ast.Variable, scope: Scope) -> None:
        self.declarations.variable(node)

    def fn(self, node: ast.Fn, scope: Scope) -> None:
        if self.expressions.functions.declared.get(node.name.text) is node:
            UserFunctions(self.expressions, self.scope).define(node)

    def let(self, node: ast.Let, scope: Scope) -> None:
        self.lets.let(node, scope)

    def let_cell(self, node: ast.LetCell, scope: Scope) -> None:
        self.lets.cell(node, scope)

    # --- plates ---

    def plate(self, node: ast.Plate, scope: Scope) -> None:
        bound = Binders(self.expressions, scope).bind(node.binders, node.guard)
        if bound is None:
            self.forget(node.body)
            return
        inner, _, _ = bound
        for s in node.body:
            if not isinstance(s, ast.Let) or s.value is None:
                continue
            entry = LetEntry(None, s.name.span)
            self.expressions.local_lets[s.name.text] = s.name.span
            if not declare(s.name, entry, inner, self.report) and s.name.text not in inner.entries:
                inner.entries[s.name.text] = broken(s.name.span)
        self.statements(self.after_recurrences(node.body, inner), inner)

    def after_recurrences(self, body: tuple[ast.Statement, ...], scope: Scope) -> tuple[ast.Statement, ...]:
        """What is left of a plate once its recurrences are defined: terms see whole arrays."""
        recurrences = self.lets.recurrences
        if not recurrences.found_in(body, scope):
            return body
        recurrences.check(body, scope, self.terms.guard(scope))
        return tuple(
            s
            for s in body
            if not isinstance(s, ast.Let)
            and not (isinstance(s, ast.LetCell) and not self.lets.is_start(s, scope))
        )

    def misplaced(self, node: ast.Statement) -> None:
        what = f"`{self.source.extract(node.span).split(maxsplit=1)[0]}`"
        advice = "move it out of the plate"
        if isinstance(node, ast.Variable):
            advice = "declare an array outside, and index it in the plate: latent x : real[T]"
        self.report.add(Misplaced(node.span, what, "a plate", advice))
        if isinstance(node, ast.Variable | ast.StateDecl):
            self.scope.unknown.add(node.name.text)

    def forget(self, body: tuple[ast.Statement, ...]) -> None:
        """Names of a plate that could not be checked stay quiet wherever they are used."""
        for s in body:
            if isinstance(s, ast.Term | ast.LetCell | ast.Subject):
                self.lets.pending.pop(s.name.text, None)
                self.terms.silence(s.name)
            elif isinstance(s, ast.Plate):
                self.forget(s.body)

    # --- terms and constraints ---

    def term(self, node: ast.Term, scope: Scope) -> None:
        self.terms.term(node, scope)

    def subject(self, node: ast.Subject, scope: Scope) -> None:
        self.terms.subscripts(node.name, node.subscripts, scope)
        found = relation(self.expressions, node, scope)
        if found is None or self.scope.find(node.name.text) is None:
            return
        guard = self.terms.guard(scope)
        self.constraints.append(
            typed.Constraint(
                node.name.text,
                scope.axes,
                guard,
                found.relation,
                found.value,
                found.written,
                node.doc,
                node.span,
            )
        )

    # --- parts ---

    def compose(self, node: ast.Compose, scope: Scope) -> None:
        self.terms.subscripts(node.name, node.subscripts, scope)
        if node.word == "use":
            self.joined.use(node, scope, self.terms.guard(scope))
        else:
            self.joined.solve(node, scope)

    def part(self, node: ast.Part, scope: Scope) -> None:
        self.terms.subscripts(node.name, node.subscripts, scope)
        self.joined.part(node, scope)

    def net(self, node: ast.Net, scope: Scope) -> None:
        """Nets were checked before everything else, apart from averages of nets of parts."""
        self.nets.define_later(node)

    # --- the programme of training ---

    def schedule(self, node: ast.Schedule, scope: Scope) -> None:
        self.programmes.schedule(node)

    def state(self, node: ast.StateDecl, scope: Scope) -> None:
        self.programmes.state(node)

    def stage(self, node: ast.Stage, scope: Scope) -> None:
        self.later += ((line, node.name.text) for line in self.programmes.stage(node))

    # --- what sees all terms, wherever it stands ---

    def postpone_update(self, node: ast.Update, scope: Scope) -> None:
        self.updates.append(node)

    def postpone(self, node: Any, scope: Scope) -> None:
        self.later.append((node, ""))


_COMMENT = re.compile(r"#[^\n]*")
_WORD = re.compile(r"[^\W\d]\w*")

_NOT_IN_PLATES = (
    ast.Variable, ast.Question, ast.Property, ast.Fn, ast.Stage, ast.Schedule, ast.StateDecl, ast.Update,
)  # fmt: skip

_STATEMENTS: dict[type, Callable[[_ModelChecker, Any, Scope], None]] = {
    ast.Variable: _ModelChecker.variable,
    ast.Let: _ModelChecker.let,
    ast.LetCell: _ModelChecker.let_cell,
    ast.Fn: _ModelChecker.fn,
    ast.Plate: _ModelChecker.plate,
    ast.Term: _ModelChecker.term,
    ast.Subject: _ModelChecker.subject,
    ast.Question: _ModelChecker.postpone,
    ast.Property: _ModelChecker.postpone,
    ast.Net: _ModelChecker.net,
    ast.StateDecl: _ModelChecker.state,
    ast.Update: _ModelChecker.postpone_update,
    ast.Part: _ModelChecker.part,
    ast.Compose: _ModelChecker.compose,
    ast.Schedule: _ModelChecker.schedule,
    ast.Stage: _ModelChecker.stage,
}
