"""Expressions of the syntax tree to typed expressions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ebmlang.compiler import ast, notation, typed
from ebmlang.compiler.builtins import CALLABLE, CONSTANTS
from ebmlang.compiler.calls import Calls
from ebmlang.compiler.catalogue.model import TermInTerm, TooDeepExpression, TooManyNodes
from ebmlang.compiler.catalogue.names import (
    HiddenName,
    NotAValue,
    UnknownName,
    UsedBeforeDefinition,
)
from ebmlang.compiler.catalogue.shapes import ItemsDiffer, SizeArithmetic
from ebmlang.compiler.catalogue.types import (
    BadOption,
    ClassesDiffer,
    NoSuchClass,
    NumberTooLarge,
    UnknownAttribute,
    WrongKind,
)
from ebmlang.compiler.composition.members import Members
from ebmlang.compiler.constants import constant_of
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.indexing import Prover
from ebmlang.compiler.measure import DEEPEST_EXPRESSION, DEEPEST_NESTING, LARGEST_EXPRESSION, Measure
from ebmlang.compiler.nets.calls import NetCalls
from ebmlang.compiler.operators import Operators
from ebmlang.compiler.replacements import Replacements
from ebmlang.compiler.scope import (
    Bound,
    Declared,
    Entry,
    Functions,
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
from ebmlang.compiler.sizes import Size, SizeError
from ebmlang.compiler.source import Span
from ebmlang.compiler.subscripts import Subscripts
from ebmlang.compiler.substitution import Lets
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import BOOL, ERROR, INT, REAL, Type, common_kind

_NORM_ORDERS = {"1": 1.0, "2": 2.0, "inf": float("inf")}

MOST_DIGITS = 18
"""Longer whole numbers are real numbers: they would not fit the integers of a tensor library."""


@dataclass(slots=True)
class Expressions:
    """Checks expressions of one model, and holds what statements of the model share.

    `terms_readable` is on in questions and properties, `in_property` in the latter, `defining` while
    the body of a function is tried; where `costs_count` is off, the total is without costs. `draws` is
    the type that a distribution has to fill, where one may stand, `distributions` are those of the random
    variables so far, `hidden` are variables that no statement declares, and `defined_now` the name of the let
    that a statement defines. The counts tell how much a statement has made.
    """

    report: Report
    functions: Functions
    prover: Prover
    requirements: list[typed.Requirement] = field(default_factory=list)
    terms: list[typed.Term] = field(default_factory=list)
    lets: Lets = field(default_factory=Lets)
    local_lets: dict[str, Span] = field(default_factory=dict)
    measure: Measure = field(default_factory=Measure)
    summed: dict[bool, Expr] = field(default_factory=dict)
    costs_count: bool = True
    terms_readable: bool = False
    in_property: bool = False
    defining: bool = False
    too_deep: bool = False
    defined_now: str = ""
    draws: Type | None = None
    distributions: dict[str, typed.Apply] = field(default_factory=dict)
    hidden: list[typed.Variable] = field(default_factory=list)
    axis_count: int = 0
    axis_labels: dict[str, int] = field(default_factory=dict)
    node_count: int = 0
    expansions: int = 0
    depth: int = 0

    def check(self, node: ast.Expr, scope: Scope) -> Expr:
        """The typed expression; after a mistake one of the error type."""
        self.depth += 1
        try:
            if self.depth > DEEPEST_NESTING:
                return self._too_deep(node.span, DEEPEST_NESTING)
            return _CHECKS[type(node)](self, node, scope)
        except SizeError as error:
            self.report.add(SizeArithmetic(node.span, str(error)))
            return self.error(node.span)
        finally:
            self.depth -= 1

    def value(self, node: ast.Expr, scope: Scope) -> Expr:
        """A whole value of a statement: checked, and small enough for the passes that follow."""
        nodes, expansions = self.node_count, self.expansions
        self.too_deep = False
        found = self.check(node, scope)
        if self.node_count - nodes <= DEEPEST_EXPRESSION and self.expansions == expansions:
            return found
        depth, size = self.measure.of(found)
        if depth > DEEPEST_EXPRESSION:
            return self._too_deep(node.span, DEEPEST_EXPRESSION)
        if size > LARGEST_EXPRESSION:
            self.report.add(TooManyNodes(node.span, LARGEST_EXPRESSION))
            return self.error(node.span)
        return found

    def _too_deep(self, span: Span, limit: int) -> Expr:
        # Once for a statement: what is nested too deep usually is so in several places.
        if not self.too_deep:
            self.report.add(TooDeepExpression(span, limit))
        self.too_deep = True
        return self.error(span)

    # --- making nodes ---

    def error(self, span: Span) -> Expr:
        return typed.Constant(ERROR, (), Level.CONSTANT, False, span, 0.0)

    def apply(
        self, function: str, arguments: tuple[Expr, ...], type_: Type, span: Span, static: Any = ()
    ) -> Expr:
        self.node_count += 1
        axes: typed.Axes = ()
        level, coupled = Level.CONSTANT, False
        for argument in arguments:
            if argument.axes and argument.axes is not axes:
                axes = typed.merge_axes(arguments) if axes else argument.axes
            if argument.level > level:
                level = argument.level
            coupled = coupled or argument.coupled
        return typed.Apply(type_, axes, level, coupled, span, function, arguments, static)

    def as_real(self, value: Expr) -> Expr:
        """The same number, of the kind real: what is declared real never behaves as an integer."""
        if value.type.kind not in ("int", "bool"):
            return value
        constant = constant_of(value)
        if constant is not None:
            return typed.Constant(REAL, (), Level.CONSTANT, False, value.span, float(constant))
        one = typed.Constant(REAL, (), Level.CONSTANT, False, value.span, 1.0)
        return self.apply("mul", (one, value), Type("real", value.type.shape), value.span)

    def filled(self, value: Expr, type_: Type) -> Expr:
        """The value stretched to a declared shape."""
        if value.type.shape == type_.shape:
            return value
        shape = (("shape", type_.shape),)
        zeros = self.apply("zeros", (), Type("real", type_.shape), value.span, shape)
        return self.apply("add", (zeros, value), type_, value.span)

    def new_axis(
        self, names: tuple[str, ...], start: Size, size: Size | None, rows: Expr | None = None
    ) -> typed.Axis:
        base = "_".join(names)
        count = self.axis_labels.get(base, 0) + 1
        label = base if count == 1 else f"{base}_{count}"
        while count > 1 and label in self.axis_labels:
            count += 1
            label = f"{base}_{count}"
        self.axis_labels[base] = count
        self.axis_labels.setdefault(label, 1)
        self.axis_count += 1
        return typed.Axis(label, names, self.axis_count, start, size, rows)

    def copied_axis(self, axis: typed.Axis) -> typed.Axis:
        """An axis of its own that runs over the same range, and reads the same."""
        self.axis_count += 1
        return replace(axis, order=self.axis_count)

    # --- leaves ---

    def _number(self, node: ast.Number, scope: Scope) -> Expr:
        text = node.text.replace("_", "")
        if text.isdigit():
            if len(text) <= MOST_DIGITS:
                return typed.SizeOf(INT, (), Level.CONSTANT, False, node.span, Size.of(int(text)))
            text += ".0"
        value = float(text)
        if value == float("inf"):
            self.report.add(NumberTooLarge(node.span, node.text))
            return self.error(node.span)
        return typed.Constant(REAL, (), Level.CONSTANT, False, node.span, value)

    def _name(self, node: ast.Name, scope: Scope) -> Expr:
        entry = scope.find(node.text)
        if entry is not None:
            return self._entry(node, entry, scope)
        name, span = node.text, node.span
        if name == "total" and self.terms_readable:
            return self.total(span)
        if name in CONSTANTS:
            value = CONSTANTS[name]
            type_ = BOOL if isinstance(value, bool) else REAL
            return typed.Constant(type_, (), Level.CONSTANT, False, span, value)
        if name == "total":
            self.report.add(TermInTerm(span, "total"))
        elif name in self.functions.declared:
            places = (Label(self.functions.declared[name].name.span, "declared here"),)
            self.report.add(NotAValue(span, name, "a function", places))
        elif name not in scope.unknown:
            self._unknown(node, scope)
        return self.error(span)

    def _unknown(self, node: ast.Name, scope: Scope) -> None:
        """A name that nothing visible declares, reported once."""
        scope.unknown.add(node.text)
        hidden = scope.outside.scope.find(node.text) if scope.outside is not None else None
        if isinstance(hidden, LetEntry) and hidden.value is None:
            places = declared_at(hidden, f"`{node.text}` is defined here")
            self.report.add(UsedBeforeDefinition(node.span, node.text, places))
        elif hidden is not None and scope.outside is not None:
            places = declared_at(hidden, f"`{node.text}` is declared here")
            self.report.add(HiddenName(node.span, node.text, scope.outside.function, places))
        elif node.text in CALLABLE:
            self.report.add(NotAValue(node.span, node.text, "a built-in function"))
        else:
            known = (*scope.names(), *CONSTANTS, *(("total",) if self.terms_readable else ()))
            local = self.local_lets.get(node.text)
            places = () if local is None else (Label(local, f"`{node.text}` is defined in a plate"),)
            self.report.add(UnknownName(node.span, node.text, known, "", places))

    def _entry(self, node: ast.Name, entry: Entry, scope: Scope) -> Expr:
        match entry:
            case Declared():
                return typed.Read(entry.type, (), entry.level, False, node.span, node.text)
            case SizeEntry():
                return typed.SizeOf(INT, (), Level.CONSTANT, False, node.span, entry.size)
            case Bound():
                self.expansions += 1
                return entry.value
            case Index(axis=axis):
                level = axis.rows.level if axis.rows is not None else Level.CONSTANT
                return typed.Position(entry.type, (axis,), level, False, node.span, axis, entry.column)
            case LetEntry(value=None):
                places = declared_at(entry, f"`{node.text}` is defined here")
                own = node.text == self.defined_now
                self.report.add(
                    UsedBeforeDefinition(node.span, node.text, () if own else places, self.defined_now)
                )
            case LetEntry(value=value) if value is not None:
                return typed.Read(value.type, (), value.level, value.coupled, node.span, node.text)
            case TermEntry(term=term):
                if self.terms_readable and term is not None:
                    return self.term_value(term)
                places = declared_at(entry, f"`{node.text}` is a term")
                self.report.add(TermInTerm(node.span, node.text, places))
            case PartEntry():
                places = declared_at(entry, f"`{node.text}` is a part")
                self.report.add(NotAValue(node.span, node.text, "a part", places))
            case Unbuilt(what="a constraint"):
                places = declared_at(entry, "declared here")
                self.report.add(NotAValue(node.span, node.text, entry.what, places))
            case NetEntry():
                places = declared_at(entry, "declared here")
                self.report.add(NotAValue(node.span, node.text, "a net", places))
        return self.error(node.span)

    def term_value(self, term: typed.Term) -> Expr:
        """A term as a number: the sum over its plates."""
        self.expansions += 1
        value = term.value
        if not term.axes:
            return value
        parts = (value,) if term.guard is None else (value, term.guard)
        level, coupled = max(p.level for p in parts), any(p.coupled for p in parts)
        return typed.Fold(REAL, (), level, coupled, value.span, "sum", value, term.axes, term.guard)

    def total(self, span: Span) -> Expr:
        """The sum of the terms, as a tree that is not deeper than their number needs."""
        known = self.summed.get(self.costs_count)
        if known is not None:
            return known
        values = [self.term_value(t) for t in self.terms if self.costs_count or t.kind != typed.SKIPPED_KIND]
        while len(values) > 1:
            pairs = zip(values[::2], values[1::2], strict=False)
            summed = [self.apply("add", pair, REAL, span) for pair in pairs]
            values = summed + values[len(summed) * 2 :]
        none = typed.Constant(REAL, (), Level.CONSTANT, False, span, 0.0)
        found = self.summed[self.costs_count] = values[0] if values else none
        self.measure.keep(found)
        return found

    # --- kinds ---

    def numeric(self, operand: Expr, what: str, scope: Scope) -> bool:
        """Whether arithmetic can use a value; the error type counts as no, without a report."""
        if operand.type.numeric:
            return operand.type.kind != "error"
        advice = ""
        if operand.type.kind == "class" and not isinstance(operand, typed.Position):
            advice = f"as numbers: onehot({notation.text(operand)}, {operand.type.classes})"
        elif operand.type.kind == "class":
            advice = "rows of a list name entries: they stand in subscripts and comparisons"
        places = origins(scope, operand)
        self.report.add(WrongKind(operand.span, str(operand.type), "numbers", what, advice, places))
        return False

    def is_case(self, value: Expr, type_: Type, scope: Scope) -> bool:
        """Whether a constant is one of the cases of a class; anything else passes."""
        if type_.kind != "class" or type_.classes is None or not isinstance(value, typed.SizeOf):
            return True
        low = value.size.known_positive(0, self.prover.floors)
        high = (type_.classes - 1 - value.size).known_positive(0, self.prover.floors)
        if low is False or high is False:
            places = origins(scope, value)
            last = str(type_.classes - 1)
            self.report.add(NoSuchClass(value.span, str(value.size), str(type_), last, places))
            return False
        return True

    # --- compound expressions ---

    def _unary(self, node: ast.Unary, scope: Scope) -> Expr:
        return Operators(self, scope).unary(node)

    def _binary(self, node: ast.Binary, scope: Scope) -> Expr:
        return Operators(self, scope).binary(node)

    def _parenthesised(self, node: ast.Parenthesised, scope: Scope) -> Expr:
        return self.check(node.inner, scope)

    def _absolute(self, node: ast.Absolute, scope: Scope) -> Expr:
        return Calls(self, scope).builtin("abs", (self.check(node.inner, scope),), node.span)

    def _norm(self, node: ast.Norm, scope: Scope) -> Expr:
        operand = self.check(node.inner, scope)
        order = _NORM_ORDERS.get(node.order)
        if order is None:
            if not (node.order.isdecimal() and 0 < float(node.order) < float("inf")):
                wanted = "a positive whole number or inf, as in ||x||_1"
                self.report.add(BadOption(node.span, "the order of a norm", f"`{node.order}`", wanted))
                return self.error(node.span)
            order = float(node.order)
        return Calls(self, scope).builtin("norm", (operand,), node.span, {"order": order})

    def _call_entry(self, node: ast.CallEntry, scope: Scope) -> Expr:
        return NetCalls(self, scope).call_entry(node)

    def _component(self, node: ast.Component, scope: Scope) -> Expr:
        return NetCalls(self, scope).component(node)

    def _list(self, node: ast.ListExpr, scope: Scope) -> Expr:
        items = tuple(self.check(i, scope) for i in node.items)
        if not items:
            self.report.add(ItemsDiffer(node.span, "at least one item"))
            return self.error(node.span)
        return self.packed(items, "this list", node.span, scope)

    def packed(self, items: tuple[Expr, ...], what: str, span: Span, scope: Scope) -> Expr:
        """Items of one shape along a new first dimension."""
        if any(i.type.kind == "error" for i in items):
            return self.error(span)
        first = items[0]
        for item in items[1:]:
            if item.type.shape != first.type.shape:
                places = origins(scope, first, item)
                self.report.add(ItemsDiffer(item.span, str(first.type), str(item.type), what, places))
                return self.error(span)
        common = self.common(items, what, scope)
        if common is None:
            return self.error(span)
        type_ = common.with_shape((Size.of(len(items)), *first.type.shape))
        level = max(i.level for i in items)
        coupled = any(i.coupled for i in items)
        self.node_count += 1
        return typed.Pack(type_, typed.merge_axes(items), level, coupled, span, items)

    def common(self, items: tuple[Expr, ...], what: str, scope: Scope) -> Type | None:
        """The kind that holds all items, as a scalar type; None after a report."""
        common = common_kind(i.type for i in items)
        if common is not None:
            return common
        first = items[0]
        other = next(i for i in items if common_kind((first.type, i.type)) is None)
        places = origins(scope, first, other)
        if first.type.kind == other.type.kind:
            self.report.add(ClassesDiffer(other.span, str(first.type), str(other.type), what, places))
        else:
            names = f"{first.type} and {other.type}"
            self.report.add(WrongKind(other.span, names, "values of one kind", what, "", places))
        return None

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Expr:
        member = Members(self, scope).member(node)
        if member is not None:
            return member
        base = self.check(node.base, scope)
        if base.type.kind == "error":
            return base
        if node.name.text == "T":
            return Calls(self, scope).builtin("transpose", (base,), node.span)
        self.report.add(UnknownAttribute(node.name.span, node.name.text))
        return self.error(node.span)

    def _call(self, node: ast.Call, scope: Scope) -> Expr:
        return Calls(self, scope).call(node)

    def _index(self, node: ast.Index, scope: Scope) -> Expr:
        return Subscripts(self, scope).index(node)

    def _substitution(self, node: ast.Substitution, scope: Scope) -> Expr:
        return Replacements(self, scope).substitution(node)


_CHECKS: dict[type, Callable[[Expressions, Any, Scope], Expr]] = {
    ast.Number: Expressions._number,
    ast.Name: Expressions._name,
    ast.Unary: Expressions._unary,
    ast.Binary: Expressions._binary,
    ast.Call: Expressions._call,
    ast.CallEntry: Expressions._call_entry,
    ast.Index: Expressions._index,
    ast.Attribute: Expressions._attribute,
    ast.Parenthesised: Expressions._parenthesised,
    ast.Substitution: Expressions._substitution,
    ast.ListExpr: Expressions._list,
    ast.Absolute: Expressions._absolute,
    ast.Norm: Expressions._norm,
    ast.Component: Expressions._component,
}
