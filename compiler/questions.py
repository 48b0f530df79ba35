"""Objective lines and properties."""

from __future__ import annotations

from collections.abc import Callable

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.model import NoQuestionTarget, NotSought, SameLabel
from ebmlang.compiler.catalogue.names import UnknownArgument, UnknownMethod
from ebmlang.compiler.catalogue.syntax import RepeatedPart
from ebmlang.compiler.catalogue.types import BadOption, ConditionExpected, TermNotScalar
from ebmlang.compiler.diagnostics import Label
from ebmlang.compiler.domains import Domain
from ebmlang.compiler.expressions import Expressions
from ebmlang.compiler.methods import COMMON, METHODS, MethodRow, find_method
from ebmlang.compiler.scope import Declared, Scope, origins
from ebmlang.compiler.sizing import read_type
from ebmlang.compiler.typed import Expr, Level, Method
from ebmlang.compiler.types import ERROR, Type

BUILT_VERBS = frozenset({"infer"})


def check_question(
    node: ast.Question, expressions: Expressions, scope: Scope, others: tuple[typed.Question, ...]
) -> typed.Question | None:
    """A question with its names resolved. Verbs that are not built yet are checked all the same."""
    report = expressions.report
    label = node.label.text if node.label is not None else None
    for other in others:
        if label is not None and other.label == label:
            assert node.label is not None
            report.add(SameLabel(node.label.span, label, (Label(other.span, "the other one"),)))
    clauses: dict[str, ast.Clause] = {}
    for clause in node.clauses:
        if clause.word in clauses:
            report.add(RepeatedPart(clause.span, clause.word))
        clauses[clause.word] = clause
    if not node.targets and node.verb not in ("train",):
        report.add(NoQuestionTarget(node.span, node.verb))
        return None
    targets = [_target(t, node.verb, expressions, scope) for t in node.targets]
    given = [_given(t, expressions, scope) for t in clauses["given"].names] if "given" in clauses else []
    of = _objective(clauses.get("of"), expressions, scope)
    using = _method(clauses.get("using"), node.verb, expressions)
    if node.verb in BUILT_VERBS:
        for word in ("by", "on", "every", "at", "steps"):
            if word in clauses:
                report.add(NotBuilt(clauses[word].span, f"`{word}` with `{node.verb}`"))
    text = " ".join(report.source.extract(node.span).split())
    kept = tuple(t for t in targets if t)
    return typed.Question(
        node.verb, label, kept, of, tuple(g for g in given if g), using, text, node.doc, node.span
    )


def _target(node: ast.Dotted, verb: str, expressions: Expressions, scope: Scope) -> str:
    name = node.text
    entry = scope.find(name)
    known = tuple(n for n in scope.names() if _unknown(scope, n))
    if isinstance(entry, Declared) and entry.role not in ("latent", "param"):
        places = (Label(entry.span, f"`{name}` is declared {entry.role}"),)
        role = entry.role if entry.role != "hyper" else "a hyperparameter"
        expressions.report.add(NotSought(node.span, name, role, known, places))
    elif not isinstance(entry, Declared):
        if entry is None or verb in BUILT_VERBS:
            expressions.report.add(NotSought(node.span, name, "", known))
    return name


def _unknown(scope: Scope, name: str) -> bool:
    entry = scope.find(name)
    return isinstance(entry, Declared) and entry.role in ("latent", "param")


def _given(node: ast.Dotted, expressions: Expressions, scope: Scope) -> str:
    expressions.check(ast.Name(node.text, node.span), scope)
    return node.text


def _objective(clause: ast.Clause | None, expressions: Expressions, scope: Scope) -> Expr | None:
    if clause is None or clause.value is None:
        return None
    expressions.terms_readable = True
    value = expressions.check(clause.value, scope)
    expressions.terms_readable = False
    if value.type.kind == "error":
        return None
    if not value.type.scalar:
        span = clause.value.span
        expressions.report.add(TermNotScalar(span, "of", str(value.type), origins(scope, value)))
        return None
    return value


def _method(clause: ast.Clause | None, verb: str, expressions: Expressions) -> Method | None:
    """`using NAME` or `using NAME(option = number, ...)`."""
    if clause is None or clause.value is None:
        return None
    value = clause.value
    name, arguments = "", ()
    if isinstance(value, ast.Call):
        name, arguments = value.function.text, value.arguments
    elif isinstance(value, ast.Name):
        name = value.text
    row = find_method(name)
    if verb not in BUILT_VERBS:
        return Method(name, (), clause.span)
    if row is None:
        expressions.report.add(UnknownMethod(value.span, name or "this", tuple(r.name for r in METHODS)))
        return None
    return Method(name, _options(row, arguments, expressions), clause.span)


def _options(
    row: MethodRow, arguments: tuple[ast.Argument, ...], expressions: Expressions
) -> tuple[tuple[str, float | int | bool | str], ...]:
    known = dict((*row.options, *COMMON))
    found: dict[str, float | int | bool | str] = {}
    for argument in arguments:
        if argument.name is None or argument.name.text not in known:
            name = argument.name.text if argument.name is not None else "a value without a name"
            expressions.report.add(UnknownArgument(argument.span, name, row.name, tuple(known)))
            continue
        text = argument.value.text.replace("_", "") if isinstance(argument.value, ast.Number) else ""
        name, kind = argument.name.text, known[argument.name.text]
        wanted = "a positive number" if kind == "positive" else "a whole number of at least 1"
        if not text or float(text) <= 0 or (kind != "positive" and not float(text).is_integer()):
            shown = expressions.report.source.extract(argument.value.span)
            expressions.report.add(BadOption(argument.span, name, shown, wanted))
            continue
        found[name] = float(text) if kind == "positive" else int(float(text))
    return tuple(found.items())


def check_property(
    node: ast.Property,
    expressions: Expressions,
    scope: Scope,
    read_domain: Callable[[ast.DomainExpr | None, Type, str], Domain],
) -> typed.Property | None:
    """A declared property. A quantified name that is a variable of the model stands for it."""
    inner = scope.child()
    quantified: list[typed.Variable] = []
    for q in node.quantified:
        type_ = read_type(q.type, scope, expressions.report)
        if type_.kind == "permutation":
            expressions.report.add(NotBuilt(q.type.span, "a property over permutations"))
            return None
        if type_ == ERROR:
            return None
        entry = scope.find(q.name.text)
        level = entry.level if isinstance(entry, Declared) else Level.SHARED
        if not isinstance(entry, Declared):
            inner.entries[q.name.text] = Declared(type_, level, "latent", -1, q.name.span)
        elif entry.type != type_:
            found = f"`{q.name.text}`"
            expressions.report.add(BadOption(q.span, found, str(type_), f"{entry.type}, as declared"))
            return None
        domain = read_domain(q.domain, type_, q.name.text)
        quantified.append(typed.Variable(q.name.text, "latent", type_, domain, level, False, None, "", q.span))
    expressions.terms_readable = expressions.approximate = True
    relation, left, right = _claim(node.claim, expressions, inner)
    expressions.terms_readable = expressions.approximate = False
    if left.type.kind == "error" or (right is not None and right.type.kind == "error"):
        return None
    if relation is None and left.type.kind != "bool":
        expressions.report.add(ConditionExpected(node.claim.span, str(left.type), "a property"))
        return None
    return typed.Property(node.name.text, tuple(quantified), relation, left, right, node.doc, node.span)


def _claim(node: ast.Expr, expressions: Expressions, scope: Scope) -> tuple[str | None, Expr, Expr | None]:
    while isinstance(node, ast.Parenthesised):
        node = node.inner
    if isinstance(node, ast.Binary) and node.op in ("~=", "<=", ">=", "<", ">", "==", "!="):
        left, right = expressions.check(node.left, scope), expressions.check(node.right, scope)
        if "error" not in (left.type.kind, right.type.kind):
            op = "==" if node.op == "~=" else node.op
            whole = expressions.operator(op, left, right, node.span, scope)
            if whole.type.kind == "error":
                return node.op, whole, None
        return node.op, left, right
    return None, expressions.check(node, scope), None
