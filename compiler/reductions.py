"""Reductions with `over =`: an index, the examples, or the values of a class variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import mul
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.binders import Binders
from ebmlang.compiler.builtins import Builtin
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.names import UnknownArgument
from ebmlang.compiler.catalogue.shapes import TooFewEntries, WrongRank
from ebmlang.compiler.catalogue.types import BadOption
from ebmlang.compiler.catalogue.values import SameForAll
from ebmlang.compiler.scope import Declared, Scope, origins
from ebmlang.compiler.sizes import BATCH, ONE, ZERO, Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.substitution import substitute
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import Kind, Type

if TYPE_CHECKING:
    from ebmlang.compiler.diagnostics import Label
    from ebmlang.compiler.expressions import Expressions

_OVER = "an axis number, `i in 0..n`, `batch` or a class variable"


@dataclass(frozen=True, slots=True)
class Reductions:
    """Checks the reductions of one scope that are not along a numbered axis."""

    checker: Expressions
    scope: Scope

    def reduce(self, node: ast.Call, row: Builtin, body: ast.Expr, over: ast.Argument) -> Expr:
        report = self.checker.report
        for argument in node.arguments:
            name = argument.name
            if name is not None and name.text != "over" and not (name.text == "draws" and self._random(over)):
                advice = (
                    "draws are counted when reducing over a random variable" if name.text == "draws" else ""
                )
                report.add(UnknownArgument(name.span, name.text, row.name, ("over",), advice))
                return self.checker.error(node.span)
        match over.value:
            case ast.OverBatch():
                return self.over_examples(row, self.checker.check(body, self.scope), node.span)
            case ast.Reduction():
                return self.over_index(row, body, over.value, node.span)
        return self.over_variable(row, body, over, node.span)

    def _random(self, over: ast.Argument) -> bool:
        entry = self.scope.find(over.value.text) if isinstance(over.value, ast.Name) else None
        return isinstance(entry, Declared) and entry.role == "random"

    def over_examples(self, row: Builtin, body: Expr, span: Span) -> Expr:
        checker = self.checker
        if not checker.numeric(body, f"`{row.name}`", self.scope):
            return checker.error(span)
        same = body.level is not Level.EXAMPLE
        places = origins(self.scope, body) if same or row.name == "cov" else ()
        if same and row.name != "stack":  # stacked, what is the same for all still has one row for each
            checker.report.add(SameForAll(span, row.name, places))
            return checker.error(span)
        type_ = Type("real" if row.result == "same" else row.result, body.type.shape)
        if row.name == "cov":
            if body.type.rank != 1:
                wanted = "one vector per example"
                checker.report.add(WrongRank(body.span, "cov over the batch", str(body.type), wanted, places))
                return checker.error(span)
            type_ = Type("real", body.type.shape * 2)
        if row.name == "stack":
            type_ = Type(body.type.kind, (Size.of(BATCH), *body.type.shape))
        if row.name in ("argmax", "argmin", "all", "any", "entropy"):
            checker.report.add(NotBuilt(span, f"`{row.name}` over the batch"))
            return checker.error(span)
        checker.node_count += 1
        return typed.OverExamples(type_, body.axes, Level.SHARED, True, span, row.name, body)

    def over_index(self, row: Builtin, body_node: ast.Expr, node: ast.Reduction, span: Span) -> Expr:
        checker = self.checker
        bound = Binders(checker, self.scope).bind(node.binders, node.guard)
        if bound is None:
            return checker.error(span)
        inner, axes, guard = bound
        body = checker.check(body_node, inner)
        if not checker.numeric(body, f"`{row.name}`", inner):
            return checker.error(span)
        if row.name in ("argmax", "argmin", "cov") or (row.name in ("std", "var") and guard is not None):
            guarded = " with a guard" if guard is not None else ""
            checker.report.add(NotBuilt(span, f"`{row.name}` over an index{guarded}"))
            return checker.error(span)
        if not enough_entries(checker, row.name, _product([a.size for a in axes]), span):
            return checker.error(span)
        kind: Kind = "int" if body.type.kind == "bool" else body.type.kind
        kind = kind if row.result == "same" else row.result
        return self.fold(row.name, body, axes, guard, Type(kind, body.type.shape), span)

    def fold(
        self, function: str, body: Expr, axes: typed.Axes, guard: Expr | None, type_: Type, span: Span
    ) -> Expr:
        parts = (body,) if guard is None else (body, guard)
        free = tuple(a for a in typed.merge_axes(parts) if a not in axes)
        level = max(p.level for p in parts)
        coupled = any(p.coupled for p in parts)
        self.checker.node_count += 1
        return typed.Fold(type_, free, level, coupled, span, function, body, axes, guard)

    def over_variable(self, row: Builtin, body_node: ast.Expr, over: ast.Argument, span: Span) -> Expr:
        """`min(e, over = c)`: over the values of a class variable, one axis of its cases."""
        checker, value = self.checker, over.value
        assert isinstance(value, ast.Expr)
        body = checker.check(body_node, self.scope)
        entry = self.scope.find(value.text) if isinstance(value, ast.Name) else None
        if not isinstance(value, ast.Name) or not isinstance(entry, Declared):
            found = checker.check(value, self.scope)
            if found.type.kind != "error":
                shown = checker.report.source.extract(value.span)
                checker.report.add(BadOption(value.span, "over", f"`{shown}`", _OVER))
            return checker.error(span)
        if entry.role == "random":
            checker.report.add(NotBuilt(over.span, "a reduction over draws of a random variable"))
            return checker.error(span)
        if entry.type.kind != "class" or not entry.type.scalar:
            advice = "an index runs over entries: over = i in 0..n"
            checker.report.add(
                BadOption(value.span, "over", f"`{value.text}`, which is {entry.type}", _OVER, advice)
            )
            return checker.error(span)
        if not checker.numeric(body, f"`{row.name}`", self.scope):
            return checker.error(span)
        if row.name in ("argmax", "argmin", "cov", "all", "any"):
            checker.report.add(NotBuilt(span, f"`{row.name}` over a class variable"))
            return checker.error(span)
        axis = checker.new_axis((value.text,), ZERO, entry.type.classes)
        position = typed.Position(entry.type, (axis,), Level.CONSTANT, False, value.span, axis, 0)
        body, visited = substitute(body, {value.text: position}, checker.lets)
        checker.node_count += visited
        checker.expansions += 1
        if axis not in body.axes:
            wanted = "a variable that the reduced expression depends on"
            checker.report.add(BadOption(value.span, "over", f"`{value.text}` here", wanted))
            return checker.error(span)
        if not enough_entries(checker, row.name, axis.size, span):
            return checker.error(span)
        return self.fold(row.name, body, (axis,), None, Type("real", body.type.shape), span)


def reduced_entries(name: str, operand: Type, options: Mapping[str, object]) -> Size | None:
    """How many entries a spread is taken of; None for every other function, and where the axis is wrong."""
    if name not in _SPREADS:
        return None
    axis = options.get("over", 0 if name == "cov" else None)
    if axis is None:
        return _product(operand.shape)
    if isinstance(axis, (int, float)) and -operand.rank <= axis < operand.rank:
        return operand.shape[int(axis)]
    return None


def enough_entries(
    checker: Expressions, name: str, count: Size | None, span: Span, places: tuple[Label, ...] = ()
) -> bool:
    """A spread needs two entries: a mistake if there are fewer, a requirement if sizes are not known.

    `count` is None for the rows of an edge list, which only data has.
    """
    if name not in _SPREADS or count is None:
        return True
    holds = checker.prover.room(count - 2, count).holds
    if holds is False:
        checker.report.add(TooFewEntries(span, name, str(count), places))
    elif holds is None:
        shown = checker.report.source.extract(span)
        reason = f"{shown} is taken of {count} entries and needs at least 2"
        checker.requirements.append(typed.Requirement(count - 2, reason, span))
    return holds is not False


_SPREADS = ("std", "var", "cov")


def _product(sizes: Sequence[Size | None]) -> Size | None:
    known = [size for size in sizes if size is not None]
    return reduce(mul, known, ONE) if len(known) == len(sizes) else None
