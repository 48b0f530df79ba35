"""Syntax tree to checked model: names, roles, domains, shapes and levels of everything declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ebmlang.compiler import ast, typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.calls import Calls
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.model import (
    MissingStart,
    Misplaced,
    NoTerms,
    NothingSized,
    PlateSubscripts,
    WrongModifier,
)
from ebmlang.compiler.catalogue.names import DeclaredTwice, KeptName, UnknownDomain, UnusedHyper, UsedBeforeDefinition
from ebmlang.compiler.catalogue.types import (
    BatchTermPerExample,
    CoupledTerm,
    DeclaredOtherwise,
    DependsOnExample,
    DomainMisfit,
    HyperKind,
    IntegerVariable,
    TermNotScalar,
    WrongArgumentCount,
)
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.domains import DOMAINS, REALS, Domain, find_domain
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.questions import check_property, check_question
from ebmlang.compiler.scope import Bound, Declared, Entry, Functions, Index, LetEntry, Scope, TermEntry, Unbuilt, origins
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.sizing import read_type
from ebmlang.compiler.source import Source, Span
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import ERROR, Type, stretched

KEPT_NAMES = {"total": "the sum of all terms", "batch": "the examples"}


def check_model(model: ast.Model, report: Report) -> typed.Model | None:
    """Check one model; None when a mistake makes it unusable (the report has it)."""
    before = len(report.errors)
    checked = _ModelChecker(report).check(model)
    return checked if len(report.errors) == before else None


@dataclass(slots=True)
class _ModelChecker:
    report: Report
    scope: Scope = field(default_factory=Scope)
    variables: list[typed.Variable] = field(default_factory=list)
    questions: list[typed.Question] = field(default_factory=list)
    properties: list[typed.Property] = field(default_factory=list)
    pending_arrays: dict[str, ast.Let] = field(default_factory=dict)
    expressions: Expressions = field(init=False)

    def __post_init__(self) -> None:
        self.expressions = Expressions(self.report, Functions())

    @property
    def source(self) -> Source:
        return self.report.source

    def check(self, model: ast.Model) -> typed.Model:
        for hyper in model.hypers:
            self.hyper(hyper)
        self.declare_all(model.body)
        for statement in model.body:
            _STATEMENTS[type(statement)](self, statement, self.scope)
        for name, let in self.pending_arrays.items():
            self.report.add(NothingSized(let.span, name))
        if not self.expressions.terms and not self.report.failed:
            self.report.add(NoTerms(model.name.span, model.name.text))
        self.unused_hypers(model)
        return typed.Model(
            model.name.text,
            self.source,
            tuple(self.variables),
            tuple(self.expressions.lets.values()),
            tuple(self.expressions.terms),
            tuple(self.questions),
            tuple(self.properties),
            tuple(self.expressions.requirements),
            model.doc,
            model.span,
        )

    # --- names ---

    def declare(self, name: ast.Identifier, entry: Entry, scope: Scope | None = None) -> None:
        scope = scope or self.scope
        first = scope.find(name.text)
        if name.text in KEPT_NAMES:
            self.report.add(KeptName(name.span, name.text, KEPT_NAMES[name.text]))
        elif first is not None or scope.find_size(name.text) is not None:
            places = (Label(first.span, "first declared here"),) if first is not None else ()
            self.report.add(DeclaredTwice(name.span, name.text, places))
        else:
            scope.entries[name.text] = entry

    def declare_all(self, body: tuple[ast.Statement, ...]) -> None:
        """Variables, functions and nets are visible in the whole model."""
        functions = self.expressions.functions.declared
        for position, s in enumerate(body):
            match s:
                case ast.Variable():
                    type_ = self.variable_type(s)
                    level = Level.EXAMPLE
                    if s.shared or s.per == "batch" or s.role == "param":
                        level = Level.SHARED
                    entry: Entry = Declared(type_, level, s.role, position, s.name.span)
                    if type_ == ERROR:
                        entry = Bound(self.expressions.error(s.name.span), s.name.span)
                    self.declare(s.name, entry)
                case ast.Fn():
                    if s.name.text in functions:
                        places = (Label(functions[s.name.text].name.span, "first declared here"),)
                        self.report.add(DeclaredTwice(s.name.span, s.name.text, places))
                    functions[s.name.text] = s
                case ast.Let(value=None):
                    self.pending_arrays[s.name.text] = s
                case ast.Let():
                    self.declare(s.name, LetEntry(None, s.name.span))
                case ast.Net():
                    self.declare(s.name, Unbuilt("function", s.name.span))
                case ast.StateDecl() | ast.Schedule():
                    self.declare(s.name, Unbuilt("a state", s.name.span))
                case ast.LetTuple():
                    for name in s.names:
                        self.declare(name, Unbuilt("a tuple", name.span))
                case ast.Part() | ast.Compose():
                    self.declare(s.name, Unbuilt("a part", s.name.span))
        self.declare_terms(body)

    def declare_terms(self, body: tuple[ast.Statement, ...]) -> None:
        for s in body:
            if isinstance(s, ast.Term | ast.Subject):
                self.declare(s.name, TermEntry(None, s.name.span))
            elif isinstance(s, ast.LetCell) and self.scope.find(s.name.text) is None:
                self.declare(s.name, LetEntry(None, s.name.span))
            elif isinstance(s, ast.Plate):
                self.declare_terms(s.body)

    # --- hyperparameters ---

    def hyper(self, node: ast.Hyper) -> None:
        type_ = read_type(node.type, self.scope, self.report)
        if type_.kind in ("class", "permutation"):
            self.report.add(HyperKind(node.type.span, str(type_)))
            type_ = ERROR
        if type_.kind == "int" and type_.scalar:
            self.declare(node.name, Declared(type_, Level.CONSTANT, "hyper", -1, node.name.span))
            self.scope.entries.pop(node.name.text, None)
            self.scope.sizes[node.name.text] = Size.of(node.name.text)
        elif type_ == ERROR:
            self.declare(node.name, Bound(self.expressions.error(node.name.span), node.name.span))
        else:
            self.declare(node.name, Declared(type_, Level.CONSTANT, "hyper", -1, node.name.span))
        domain = self.domain(node.domain, type_, node.name.text)
        init = self.init(node.default, type_, node.name.text, Level.CONSTANT, draws=False)
        self.variables.append(
            typed.Variable(node.name.text, "hyper", type_, domain, Level.CONSTANT, False, init, "", node.span)
        )

    def unused_hypers(self, model: ast.Model) -> None:
        text = self.source.text
        for hyper in model.hypers:
            name = hyper.name.text
            # A word search is exact enough for a warning, and cheap.
            if _count_word(text, name, hyper.span.end, model.span.end) + _count_word(
                text, name, model.span.start, hyper.span.start
            ) == 0:
                self.report.add(UnusedHyper(hyper.name.span, name))

    # --- variables ---

    def variable_type(self, node: ast.Variable) -> Type:
        type_ = read_type(node.type, self.scope, self.report)
        if type_.kind == "int":
            self.report.add(IntegerVariable(node.type.span, node.name.text))
            return ERROR
        if type_.kind == "permutation":
            self.report.add(NotBuilt(node.type.span, "a permutation variable"))
            return ERROR
        return type_

    def variable(self, node: ast.Variable, scope: Scope) -> None:
        entry = self.scope.find(node.name.text)
        if not isinstance(entry, Declared) or entry.span != node.name.span:
            return
        self.modifiers(node)
        domain = self.domain(node.domain, entry.type, node.name.text)
        if node.role == "random":
            init = self.random_init(node, entry.type)
        else:
            reach = Level.SHARED if node.role == "param" else entry.level
            init = self.init(node.init, entry.type, node.name.text, reach, draws=True, before=entry.position)
        self.variables.append(
            typed.Variable(
                node.name.text, node.role, entry.type, domain, entry.level, node.missing, init, node.doc, node.span
            )
        )

    def modifiers(self, node: ast.Variable) -> None:
        if node.missing and node.role != "observed":
            advice = "only given values can be missing"
            self.report.add(WrongModifier(node.span, "missing", f"`{node.role}`", advice))
        if node.missing and node.type.name.text != "real":
            self.report.add(NotBuilt(node.span, f"missing entries of {node.type.name.text} values"))
        if node.missing and node.shared:
            self.report.add(NotBuilt(node.span, "missing entries of a shared value"))
        if node.per == "batch" and node.role in ("observed", "param"):
            advice = "a value for all examples is `shared observed` or `param`"
            self.report.add(WrongModifier(node.span, "per batch", f"`{node.role}`", advice))
        if node.per == "episode":
            self.report.add(WrongModifier(node.span, "per episode", f"`{node.role}`", "it goes with `state`"))

    def random_init(self, node: ast.Variable, type_: Type) -> Expr | None:
        assert node.init is not None
        if not isinstance(node.init, ast.Call) or BUILTINS.get(node.init.function.text, BUILTINS["add"]).form != "distribution":
            found = f"`{self.source.extract(node.init.span)}`"
            self.report.add(MissingStart(node.init.span, node.name.text, found))
            return None
        return self.init(node.init, type_, node.name.text, Level.EXAMPLE, draws=True)

    def init(
        self, node: ast.Expr | None, type_: Type, name: str, reach: Level, *, draws: bool, before: int | None = None
    ) -> Expr | None:
        """A default, a start or a distribution; it must fill the declared type."""
        if node is None or type_ == ERROR:
            return None
        self.expressions.draws = type_ if draws else None
        value = self.expressions.check(node, self.scope)
        self.expressions.draws = None
        if value.type.kind == "error":
            return None
        kinds = (value.type.kind, type_.kind)
        number = kinds[0] in ("int", "real", "bool") and kinds[1] == "real"
        fits = kinds[0] == kinds[1] or number or kinds == ("int", "class")
        if not fits or stretched(value.type.shape, type_.shape) != type_.shape:
            places = origins(self.scope, value)
            self.report.add(DeclaredOtherwise(node.span, name, str(value.type), str(type_), "", places))
            return None
        if value.level > reach or value.coupled:
            self.report.add(DependsOnExample(node.span, name, origins(self.scope, value)))
            return None
        self.known_before(value, name, before, node.span)
        return value

    def known_before(self, value: Expr, name: str, before: int | None, span: Span) -> None:
        """A start may read what is given, and unknowns that are declared above."""
        for read in typed.reads(value):
            entry = self.scope.find(read)
            late = isinstance(entry, Declared) and entry.role in ("latent", "param", "random")
            if late and isinstance(entry, Declared) and before is not None and entry.position >= before:
                places = (Label(entry.span, f"`{read}` is declared here"),)
                self.report.add(UsedBeforeDefinition(span, read, places))

    def domain(self, node: ast.DomainExpr | None, type_: Type, name: str) -> Domain:
        if node is None or type_ == ERROR:
            return REALS
        rule = find_domain(node.name.text)
        if rule is None:
            known = tuple(r.name for r in DOMAINS if r.name not in ("reals", "interval"))
            self.report.add(UnknownDomain(node.name.span, node.name.text, known))
            return REALS
        arguments = [self.expressions.check(a.value, self.scope) for a in node.arguments if isinstance(a.value, ast.Expr)]
        if not rule.built or (node.arguments and rule.name == "simplex"):
            self.report.add(NotBuilt(node.span, f"the domain `{self.source.extract(node.span)[3:]}`"))
            return REALS
        if len(arguments) != rule.arguments:
            wanted = f"{rule.arguments} arguments"
            self.report.add(WrongArgumentCount(node.span, node.name.text, len(arguments), wanted))
            return REALS
        places = (Label(node.span, rule.meaning),)
        square = rule.name in ("psd", "positive_definite")
        wanted = "" if type_.kind in rule.kinds else f"{' or '.join(rule.kinds)} values"
        if type_.rank < rule.rank:
            wanted = f"at least {rule.rank} dimension{'s' * (rule.rank > 1)}"
        elif square and type_.shape[-1] != type_.shape[-2]:
            wanted = "a square matrix"
        elif rule.name in ("SO3", "SE2") and any(s.constant != 3 for s in type_.shape[-rule.rank :]):
            wanted = "real[3, 3]" if rule.name == "SO3" else "real[3]: x, y and the angle"
        if wanted:
            self.report.add(DomainMisfit(node.span, rule.name, str(type_), wanted, places))
            return REALS
        for argument in arguments:
            if argument.type.kind != "error" and stretched(argument.type.shape, type_.shape) != type_.shape:
                self.report.add(
                    DomainMisfit(argument.span, rule.name, str(type_), f"bounds that fit {type_}", origins(self.scope, argument))
                )
                return REALS
        where = self.domain_mask(node, rule.masked, type_)
        return Domain(rule.name, tuple(arguments), where)

    def domain_mask(self, node: ast.DomainExpr, masked: bool, type_: Type) -> Expr | None:
        if node.where is None:
            return None
        where = self.expressions.check(node.where, self.scope)
        if where.type.kind == "error":
            return None
        if not masked or where.type.kind != "bool" or where.type.shape != type_.shape:
            wanted = f"bool{str(type_)[4:]} after `where`" if masked else "`where` goes with simplex"
            self.report.add(DomainMisfit(node.where.span, node.name.text, str(where.type), wanted))
            return None
        return where

    # --- lets and functions ---

    def let(self, node: ast.Let, scope: Scope) -> None:
        if node.value is None:
            if node.type is not None:
                read_type(node.type, scope, self.report)
            return
        value = self.expressions.check(node.value, scope)
        if node.type is not None:
            declared = read_type(node.type, scope, self.report)
            value = self.as_declared(value, declared, node)
        if scope is not self.scope:
            self.declare(node.name, Bound(value, node.name.span), scope)
            return
        self.define_let(node.name, value, node.doc, node.span)

    def as_declared(self, value: Expr, declared: Type, node: ast.Let) -> Expr:
        if value.type.kind == "error" or declared == ERROR:
            return self.expressions.error(node.span)
        same = value.type.kind == declared.kind or (value.type.numeric and declared.kind == "real")
        if value.type.shape != declared.shape or not same:
            assert node.value is not None
            places = origins(self.scope, value)
            found = str(value.type)
            self.report.add(DeclaredOtherwise(node.value.span, node.name.text, found, str(declared), "", places))
            return self.expressions.error(node.span)
        return value

    def define_let(self, name: ast.Identifier, value: Expr, doc: str, span: Span) -> None:
        entry = self.scope.find(name.text)
        if not isinstance(entry, LetEntry) or entry.span != name.span:
            return
        if value.type.kind == "error":
            self.scope.entries[name.text] = Bound(value, name.span)
            return
        self.scope.entries[name.text] = LetEntry(value, name.span)
        self.expressions.lets[name.text] = typed.Let(name.text, value, doc, span)

    def let_cell(self, node: ast.LetCell, scope: Scope) -> None:
        """`let d[t] = ...` in the plate of t defines the array d; anything else is a recurrence."""
        name = node.name.text
        axes = scope.axes
        pending = self.pending_arrays.pop(name, None)
        indices = [scope.find(s.text) if isinstance(s, ast.Name) else None for s in node.subscripts]
        plain = len(indices) == len(axes) and all(
            isinstance(i, Index) and i.axis is a for i, a in zip(indices, axes, strict=False)
        )
        from_zero = all(a.start == Size.of(0) and a.rows is None for a in axes)
        if not plain or not axes or not from_zero or scope.guarded:
            self.report.add(NotBuilt(node.span, f"the recurrence `let {name}[...] = ...`"))
            self.scope.entries[name] = Unbuilt("a recurrence", node.name.span)
            return
        value = self.expressions.check(node.value, scope)
        if value.type.kind == "error":
            self.scope.entries[name] = Bound(value, node.name.span)
            return
        shape = tuple(a.size for a in axes if a.size is not None) + value.type.shape
        array = typed.Tabulate(
            value.type.with_shape(shape), (), value.level, value.coupled, node.span, value, axes
        )
        if pending is not None and pending.type is not None:
            declared = read_type(pending.type, self.scope, Report(self.source))
            if declared != ERROR and declared.shape != shape:
                self.report.add(DeclaredOtherwise(node.span, name, str(array.type), str(declared)))
        self.define_let(node.name, array, node.doc, node.span)

    def fn(self, node: ast.Fn, scope: Scope) -> None:
        """Check the body once with arguments of the declared types, for its own mistakes."""
        sizes = self.scope.child()
        arguments: dict[str, Expr] = {}
        for p in node.parameters:
            if p.name.text in arguments:
                self.report.add(DeclaredTwice(p.name.span, p.name.text))
            type_ = read_type(p.type, sizes, self.report, generic=True)
            arguments[p.name.text] = typed.Read(type_, (), Level.CONSTANT, False, p.span, p.name.text)
        if any(a.type == ERROR for a in arguments.values()) or self.expressions.functions.declared.get(node.name.text) is not node:
            return
        Calls(self.expressions, sizes).expand(node, arguments, node.span)

    # --- terms and plates ---

    def plate(self, node: ast.Plate, scope: Scope) -> None:
        bound = Calls(self.expressions, scope).bind_axes(node.binders, node.guard)
        if bound is None:
            self.forget(node.body)
            return
        inner, _, guard = bound
        for name in (n for b in node.binders for n in b.names):
            if scope.find(name.text) is not None or scope.find_size(name.text) is not None:
                first = scope.find(name.text)
                places = (Label(first.span, "first declared here"),) if first is not None else ()
                self.report.add(DeclaredTwice(name.span, name.text, places))
        inner.guard = guard
        for statement in node.body:
            if isinstance(statement, ast.Variable | ast.Question | ast.Property | ast.Fn | ast.Stage | ast.Schedule):
                what = f"`{self.source.extract(statement.span).split()[0]}`"
                advice = "declare an array outside, and index it in the plate: latent x : real[T]"
                self.report.add(Misplaced(statement.span, what, "a plate", advice if isinstance(statement, ast.Variable) else ""))
                continue
            _STATEMENTS[type(statement)](self, statement, inner)

    def forget(self, body: tuple[ast.Statement, ...]) -> None:
        """Names of a plate that could not be checked stay quiet wherever they are used."""
        for s in body:
            if isinstance(s, ast.Term | ast.LetCell | ast.Subject):
                self.scope.entries[s.name.text] = Bound(self.expressions.error(s.span), s.name.span)
            elif isinstance(s, ast.Plate):
                self.forget(s.body)

    def term(self, node: ast.Term, scope: Scope) -> None:
        self.plate_subscripts(node.name, node.subscripts, scope)
        value = self.expressions.check(node.value, scope)
        name = node.name.text
        entry = self.scope.find(name)
        if value.type.kind == "error":
            self.scope.entries[name] = Bound(value, node.name.span)
            return
        if not value.type.scalar or not value.type.numeric:
            self.report.add(TermNotScalar(node.value.span, name, str(value.type), origins(scope, value)))
            self.scope.entries[name] = Bound(self.expressions.error(node.span), node.name.span)
            return
        if node.batch and value.level is Level.EXAMPLE:
            self.report.add(BatchTermPerExample(node.value.span, name))
        elif not node.batch and value.coupled:
            self.report.add(CoupledTerm(node.value.span, name, origins(scope, value)))
        if isinstance(entry, TermEntry) and entry.span == node.name.span:
            guard = self.plate_guard(scope)
            term = typed.Term(name, node.kind, node.batch, scope.axes, guard, value, node.doc, node.span)
            self.scope.entries[name] = TermEntry(term, node.name.span)
            self.expressions.terms.append(term)

    def plate_guard(self, scope: Scope | None) -> Expr | None:
        """The guards of all enclosing plates together."""
        guard: Expr | None = None
        while scope is not None:
            own = scope.guard
            if own is not None:
                guard = own if guard is None else self.expressions.apply("and", (own, guard), own.type, own.span)
            scope = scope.parent
        return guard

    def plate_subscripts(
        self, name: ast.Identifier, subscripts: tuple[ast.Expr | ast.Slice, ...], scope: Scope
    ) -> None:
        wanted = [n for axis in scope.axes for n in axis.names]
        found = [s.text if isinstance(s, ast.Name) else self.source.extract(s.span) for s in subscripts]
        if subscripts and found != wanted:
            end = subscripts[-1].span
            span = name.span.to(Span(end.start, end.end + 1))
            self.report.add(PlateSubscripts(span, name.text, ", ".join(found), ", ".join(wanted)))

    # --- what later versions build ---

    def unbuilt(self, node: Any, scope: Scope) -> None:
        what = {
            ast.Net: "a `net`",
            ast.LetTuple: "a `let` with several names",
            ast.StateDecl: "a `state`",
            ast.Update: "an `update`",
            ast.Part: "a `part`",
            ast.Subject: "a constraint (`subject to`)",
            ast.Schedule: "a `schedule`",
            ast.Stage: "a `stage`",
        }.get(type(node))
        if what is None:
            what = f"`{node.word}`"
        self.report.add(NotBuilt(node.span, what))
        if isinstance(node, ast.Subject):
            self.scope.entries[node.name.text] = Bound(self.expressions.error(node.span), node.name.span)

    def question(self, node: ast.Question, scope: Scope) -> None:
        found = check_question(node, self.expressions, self.scope, tuple(self.questions))
        if found is not None:
            self.questions.append(found)

    def property(self, node: ast.Property, scope: Scope) -> None:
        found = check_property(node, self.expressions, self.scope, self.domain)
        if found is not None:
            self.properties.append(found)


def _count_word(text: str, word: str, start: int, end: int) -> int:
    count, at = 0, text.find(word, start, end)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(word) : at + len(word) + 1]
        if not (before.isalnum() or before == "_" or after.isalnum() or after == "_"):
            count += 1
        at = text.find(word, at + 1, end)
    return count


_STATEMENTS: dict[type, Callable[[_ModelChecker, Any, Scope], None]] = {
    ast.Variable: _ModelChecker.variable,
    ast.Let: _ModelChecker.let,
    ast.LetCell: _ModelChecker.let_cell,
    ast.Fn: _ModelChecker.fn,
    ast.Plate: _ModelChecker.plate,
    ast.Term: _ModelChecker.term,
    ast.Question: _ModelChecker.question,
    ast.Property: _ModelChecker.property,
    ast.Net: _ModelChecker.unbuilt,
    ast.LetTuple: _ModelChecker.unbuilt,
    ast.StateDecl: _ModelChecker.unbuilt,
    ast.Update: _ModelChecker.unbuilt,
    ast.Part: _ModelChecker.unbuilt,
    ast.Compose: _ModelChecker.unbuilt,
    ast.Subject: _ModelChecker.unbuilt,
    ast.Schedule: _ModelChecker.unbuilt,
    ast.Stage: _ModelChecker.unbuilt,
}
