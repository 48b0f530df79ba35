"""Expressions of the syntax tree to typed expressions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ebmlang.compiler import ast, typed
from ebmlang.compiler.calls import Calls
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.model import ApproximateOutside, TermInTerm
from ebmlang.compiler.catalogue.names import NotAValue, UnknownName, UsedBeforeDefinition
from ebmlang.compiler.catalogue.shapes import ItemsDiffer, OutOfRange, ShapesDiffer, TooManySubscripts
from ebmlang.compiler.catalogue.types import IntegerExpected, NumberTooLarge, UnknownAttribute, WrongKind
from ebmlang.compiler.builtins import BUILTINS, CALLABLE, CONSTANTS
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.indexing import affine, misses, pick, requirement
from ebmlang.compiler.scope import (
    Bound,
    Declared,
    Entry,
    Functions,
    Index,
    LetEntry,
    Scope,
    TermEntry,
    Unbuilt,
    origins,
)
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.sizing import read_size
from ebmlang.compiler.source import Span
from ebmlang.compiler.substitution import substitute
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import BOOL, ERROR, INT, REAL, Kind, Type, join_kinds, stretched

_OPERATOR_NAMES = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floordiv", "%": "mod", "@": "matmul", "^": "pow",
    "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne", "and": "and", "or": "or",
}  # fmt: skip


@dataclass(slots=True)
class Expressions:
    """Checks expressions of one model. `terms_readable` is on in questions and properties;
    `draws` is the type that a distribution has to fill, where one may stand."""

    report: Report
    functions: Functions
    requirements: list[typed.Requirement] = field(default_factory=list)
    terms: list[typed.Term] = field(default_factory=list)
    lets: dict[str, typed.Let] = field(default_factory=dict)
    terms_readable: bool = False
    approximate: bool = False
    draws: Type | None = None
    axis_count: int = 0
    axis_labels: set[str] = field(default_factory=set)
    node_count: int = 0

    def check(self, node: ast.Expr, scope: Scope) -> Expr:
        """The typed expression; after a mistake one of the error type."""
        return _CHECKS[type(node)](self, node, scope)

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

    def new_axis(self, names: tuple[str, ...], start: Size, size: Size | None, rows: Expr | None = None) -> typed.Axis:
        label = base = "_".join(names)
        suffix = 2
        while label in self.axis_labels:
            label = f"{base}_{suffix}"
            suffix += 1
        self.axis_labels.add(label)
        self.axis_count += 1
        return typed.Axis(label, names, self.axis_count, start, size, rows)

    # --- leaves ---

    def _number(self, node: ast.Number, scope: Scope) -> Expr:
        text = node.text.replace("_", "")
        if text.isdigit():
            if len(text) <= 18:
                return typed.SizeOf(INT, (), Level.CONSTANT, False, node.span, Size.of(int(text)))
            text += ".0"
        value = float(text)
        if value == float("inf"):
            self.report.add(NumberTooLarge(node.span, node.text))
            return self.error(node.span)
        return typed.Constant(REAL, (), Level.CONSTANT, False, node.span, value)

    def _name(self, node: ast.Name, scope: Scope) -> Expr:
        size = scope.find_size(node.text)
        if size is not None:
            return typed.SizeOf(INT, (), Level.CONSTANT, False, node.span, size)
        entry = scope.find(node.text)
        if entry is not None:
            return self._entry(node, entry, scope)
        if node.text == "total" and self.terms_readable:
            return self.total(node.span)
        if node.text in CONSTANTS:
            value = CONSTANTS[node.text]
            type_ = BOOL if isinstance(value, bool) else REAL
            return typed.Constant(type_, (), Level.CONSTANT, False, node.span, value)
        if node.text == "total":
            self.report.add(TermInTerm(node.span, "total"))
        elif node.text in self.functions.declared:
            self.report.add(NotAValue(node.span, node.text, "a function"))
        elif node.text in CALLABLE:
            self.report.add(NotAValue(node.span, node.text, "a built-in function"))
        else:
            self.report.add(UnknownName(node.span, node.text, tuple(scope.names())))
        return self.error(node.span)

    def _entry(self, node: ast.Name, entry: Entry, scope: Scope) -> Expr:
        match entry:
            case Declared():
                return typed.Read(entry.type, (), entry.level, False, node.span, node.text)
            case Bound():
                return entry.value
            case Index():
                level = entry.axis.rows.level if entry.axis.rows is not None else Level.CONSTANT
                return typed.Position(
                    entry.type, (entry.axis,), level, False, node.span, entry.axis, entry.column
                )
            case LetEntry(value=None) | TermEntry(term=None):
                places = (Label(entry.span, f"`{node.text}` is defined here"),)
                self.report.add(UsedBeforeDefinition(node.span, node.text, places))
            case LetEntry(value=value) if value is not None:
                return typed.Read(value.type, (), value.level, value.coupled, node.span, node.text)
            case TermEntry(term=term) if term is not None:
                if self.terms_readable:
                    return self.term_value(term)
                places = (Label(entry.span, f"`{node.text}` is a term"),)
                self.report.add(TermInTerm(node.span, node.text, places))
            case Unbuilt():
                if entry.what == "function":
                    self.report.add(NotAValue(node.span, node.text, "a net"))
        return self.error(node.span)

    def term_value(self, term: typed.Term) -> Expr:
        """A term as a number: the sum over its plates."""
        if not term.axes:
            return term.value
        value = term.value
        return typed.Fold(REAL, (), value.level, value.coupled, value.span, "sum", value, term.axes, term.guard)

    def total(self, span: Span) -> Expr:
        result: Expr = typed.Constant(REAL, (), Level.CONSTANT, False, span, 0.0)
        for i, term in enumerate(self.terms):
            value = self.term_value(term)
            result = self.apply("add", (result, value), REAL, span) if i else value
        return result

    # --- operators ---

    def _unary(self, node: ast.Unary, scope: Scope) -> Expr:
        operand = self.check(node.operand, scope)
        if not self._numeric(operand, f"`{node.op}`", scope) or node.op == "+":
            return operand
        if isinstance(operand, typed.SizeOf):
            return typed.SizeOf(INT, (), Level.CONSTANT, False, node.span, -operand.size)
        if isinstance(operand, typed.Constant) and not isinstance(operand.value, bool):
            return typed.Constant(operand.type, (), Level.CONSTANT, False, node.span, -operand.value)
        kind: Kind = "int" if operand.type.kind == "bool" else operand.type.kind
        return self.apply("neg", (operand,), Type(kind, operand.type.shape), node.span)

    def _binary(self, node: ast.Binary, scope: Scope) -> Expr:
        op = node.op
        if op == "^" and isinstance(node.left, ast.Norm) and node.left.order == "2":
            if isinstance(node.right, ast.Number) and node.right.text == "2":
                return Calls(self, scope).builtin("norm_squared", (self.check(node.left.inner, scope),), node.span)
        if op == "*":
            product = self._x_log_x(node, scope)
            if product is not None:
                return product
        left, right = self.check(node.left, scope), self.check(node.right, scope)
        if left.type.kind == "error" or right.type.kind == "error":
            return self.error(node.span)
        if op == "~=" and not self.approximate:
            self.report.add(ApproximateOutside(node.op_span))
            return self.error(node.span)
        return self.operator(op, left, right, node.span, scope)

    def operator(self, op: str, left: Expr, right: Expr, span: Span, scope: Scope) -> Expr:
        """An infix operator on checked operands."""
        if op == "@":
            if not (self._numeric(left, "`@`", scope) and self._numeric(right, "`@`", scope)):
                return self.error(span)
            return Calls(self, scope).builtin("matmul", (left, right), span)
        name = _OPERATOR_NAMES[op]
        if BUILTINS[name].form == "comparison":
            if not self._comparable(op, left, right, scope):
                return self.error(span)
            kind: Kind = "bool"
        else:
            if not (self._numeric(left, f"`{op}`", scope) and self._numeric(right, f"`{op}`", scope)):
                return self.error(span)
            folded = self._fold_sizes(op, left, right, span)
            if folded is not None:
                return folded
            kind = "real" if op == "/" else join_kinds(left.type.kind, right.type.kind)
        a, b = left.type.shape, right.type.shape
        shape = a if a == b else stretched(a, b)
        if shape is None:
            places = origins(scope, left, right)
            self.report.add(ShapesDiffer(span, str(left.type), str(right.type), f"`{op}`", "", places))
            return self.error(span)
        return self.apply(name, (left, right), Type(kind, shape), span)

    @staticmethod
    def _fold_sizes(op: str, left: Expr, right: Expr, span: Span) -> Expr | None:
        """Integer arithmetic of sizes stays a size, so that subscripts can be proven inside."""
        if not (isinstance(left, typed.SizeOf) and isinstance(right, typed.SizeOf)):
            return None
        a, b = left.size, right.size
        match op:
            case "+":
                size = a + b
            case "-":
                size = a - b
            case "*":
                size = a * b
            case "//" if b != ZERO:
                size = a // b
            case "%" if b != ZERO:
                size = a % b
            case _:
                return None
        return typed.SizeOf(INT, (), Level.CONSTANT, False, span, size)

    def _x_log_x(self, node: ast.Binary, scope: Scope) -> Expr | None:
        """`x * log(x)` means xlogy(x, x), which is 0 at 0."""
        for log, other in ((node.right, node.left), (node.left, node.right)):
            if not (isinstance(log, ast.Call) and log.function.text == "log" and len(log.arguments) == 1):
                continue
            inner = log.arguments[0].value
            factor: ast.Expr | None = None
            if isinstance(other, ast.Binary) and other.op == "*" and other.right == inner:
                factor, other = other.left, other.right
            if other != inner or scope.find("log") is not None:
                continue
            value = self.check(other, scope)
            if not self._numeric(value, "`*`", scope):
                return self.error(node.span)
            result = self.apply("xlogy", (value, value), Type("real", value.type.shape), node.span)
            if factor is None:
                return result
            return self.operator("*", self.check(factor, scope), result, node.span, scope)
        return None

    def _numeric(self, operand: Expr, what: str, scope: Scope) -> bool:
        if operand.type.numeric:
            return operand.type.kind != "error"
        classes = operand.type.classes
        advice = f"as numbers: onehot({typed.text(operand)}, {classes})" if operand.type.kind == "class" else ""
        places = origins(scope, operand)
        self.report.add(WrongKind(operand.span, str(operand.type), "numbers", what, advice, places))
        return False

    def _comparable(self, op: str, left: Expr, right: Expr, scope: Scope) -> bool:
        kinds = {left.type.kind, right.type.kind}
        if op in ("and", "or"):
            for side in (left, right):
                if side.type.kind != "bool":
                    found = str(side.type)
                    self.report.add(WrongKind(side.span, found, "conditions", f"`{op}`", "compare: x > 0"))
                    return False
            return True
        if "class" in kinds and kinds <= {"class", "int"}:
            return True
        if "permutation" in kinds or "class" in kinds:
            found = f"{left.type} and {right.type}"
            self.report.add(WrongKind(right.span, found, "values of one kind", f"`{op}`"))
            return False
        return True

    # --- compound expressions ---

    def _parenthesised(self, node: ast.Parenthesised, scope: Scope) -> Expr:
        return self.check(node.inner, scope)

    def _absolute(self, node: ast.Absolute, scope: Scope) -> Expr:
        return Calls(self, scope).builtin("abs", (self.check(node.inner, scope),), node.span)

    def _norm(self, node: ast.Norm, scope: Scope) -> Expr:
        operand = self.check(node.inner, scope)
        order = {"1": 1.0, "2": 2.0, "inf": float("inf")}.get(node.order)
        if order is None:
            order = float(node.order) if node.order.isdigit() else -1.0
        return Calls(self, scope).builtin("norm", (operand,), node.span, {"order": order})

    def _list(self, node: ast.ListExpr, scope: Scope) -> Expr:
        items = tuple(self.check(i, scope) for i in node.items)
        if not items:
            self.report.add(ItemsDiffer(node.span, "at least one item", "none", "this list"))
            return self.error(node.span)
        if any(i.type.kind == "error" for i in items):
            return self.error(node.span)
        first = items[0]
        kind: Kind = first.type.kind
        for item in items[1:]:
            if item.type.shape != first.type.shape:
                places = origins(scope, first, item)
                self.report.add(ItemsDiffer(item.span, str(first.type), str(item.type), "this list", places))
                return self.error(node.span)
            kind = kind if kind == item.type.kind else join_kinds(kind, item.type.kind)
        type_ = Type(kind, (Size.of(len(items)), *first.type.shape), first.type.classes)
        level = max(i.level for i in items)
        coupled = any(i.coupled for i in items)
        return typed.Pack(type_, typed.merge_axes(items), level, coupled, node.span, items)

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Expr:
        base = self.check(node.base, scope)
        if base.type.kind == "error":
            return base
        if node.name.text == "T":
            return Calls(self, scope).builtin("transpose", (base,), node.span)
        self.report.add(UnknownAttribute(node.name.span, node.name.text))
        return self.error(node.span)

    def _call(self, node: ast.Call, scope: Scope) -> Expr:
        return Calls(self, scope).call(node)

    def _substitution(self, node: ast.Substitution, scope: Scope) -> Expr:
        inner = self.check(node.inner, scope)
        replaced: dict[str, Expr] = {}
        for binding in node.bindings:
            value = self.check(binding.value, scope)
            entry = scope.find(binding.name.text)
            if isinstance(entry, Unbuilt):
                self.report.add(NotBuilt(binding.span, f"replacing {entry.what}"))
                return self.error(node.span)
            name = ast.Name(binding.name.text, binding.name.span)
            old = self.check(name, scope)
            if "error" in (old.type.kind, value.type.kind, inner.type.kind):
                return self.error(node.span)
            if not isinstance(old, typed.Read):
                self.report.add(NotAValue(binding.name.span, binding.name.text, "not a variable or a let"))
                return self.error(node.span)
            if stretched(value.type.shape, old.type.shape) != old.type.shape:
                places = origins(scope, old, value)
                what = f"replacing `{binding.name.text}`"
                self.report.add(
                    ShapesDiffer(binding.span, str(old.type), str(value.type), what, "", places)
                )
                return self.error(node.span)
            replaced[binding.name.text] = value
        return substitute(inner, replaced, self.lets)

    # --- subscripts ---

    def _index(self, node: ast.Index, scope: Scope) -> Expr:
        base = self.check(node.base, scope)
        subscripts = [self._subscript(s, scope) for s in node.subscripts]
        if base.type.kind == "error" or any(s is None for s in subscripts):
            return self.error(node.span)
        used = sum(not isinstance(s, typed.NewAxis) for s in subscripts)
        if used > base.type.rank:
            places = origins(scope, base)
            self.report.add(TooManySubscripts(node.span, used, str(base.type), places))
            return self.error(node.span)
        final: list[typed.Subscript] = []
        dims = iter(base.type.shape)
        for s, written in zip(subscripts, node.subscripts, strict=True):
            if isinstance(s, typed.NewAxis):
                final.append(s)
                continue
            checked = self._inside(s, written, next(dims), base, scope)
            if checked is None:
                return self.error(node.span)
            final.append(checked)
        final.extend(typed.SliceOf(ZERO, size) for size in dims)
        self.node_count += 1
        return pick(base, tuple(final), node.span)

    def _subscript(self, node: ast.Expr | ast.Slice, scope: Scope) -> typed.Subscript | ast.Slice | None:
        if isinstance(node, ast.Slice):
            return node
        if isinstance(node, ast.Name) and node.text == "None" and scope.find("None") is None:
            return typed.NewAxis()
        value = self.check(node, scope)
        if value.type.kind == "error":
            return None
        if not value.type.integral:
            self.report.add(IntegerExpected(node.span, str(value.type)))
            return None
        return value

    def _inside(
        self,
        s: typed.Subscript | ast.Slice | None,
        written: ast.Expr | ast.Slice,
        size: Size,
        base: Expr,
        scope: Scope,
    ) -> typed.Subscript | None:
        """The subscript with its bounds proven, or left as a requirement on sizes."""
        if isinstance(s, ast.Slice):
            return self._slice(s, size, base, scope)
        assert isinstance(s, Expr)
        if s.type.kind == "class":
            if s.type.classes != size:
                places = origins(scope, base, s)
                reach = f"{s.type.classes} - 1"
                self.report.add(OutOfRange(written.span, typed.text(s), reach, str(size), places))
                return None
            return s
        form = affine(s)
        if form is None:
            return s
        if not form[0] and form[1].constant is not None and form[1].constant < 0:
            # A negative constant counts from the end, as in Python.
            s = typed.SizeOf(INT, (), Level.CONSTANT, False, s.span, size + form[1])
            form = affine(s)
            assert form is not None
        reached = misses(form, size)
        if reached is None or scope.guarded:
            return s
        if reached[1]:
            places = origins(scope, base)
            self.report.add(OutOfRange(written.span, typed.text(s), reached[0], str(size), places))
            return None
        self.requirements.extend(requirement(form, size, typed.text(s), written.span))
        return s

    def _slice(self, node: ast.Slice, size: Size, base: Expr, scope: Scope) -> typed.SliceOf | None:
        start = read_size(node.start, scope, self.report) if node.start is not None else ZERO
        stop = read_size(node.stop, scope, self.report) if node.stop is not None else size
        if start is None or stop is None:
            return None
        if start.constant is not None and start.constant < 0:
            start = size + start
        if stop.constant is not None and stop.constant < 0:
            stop = size + stop
        for room, reach in ((start, start), (size - stop, stop), (stop - start, stop)):
            inside = room.known_positive(0)
            if inside is False:
                places = origins(scope, base)
                shown = f"{start}..{stop}"
                self.report.add(OutOfRange(node.span, shown, str(reach), str(size), places))
                return None
            if inside is None:
                reason = f"the slice {start}..{stop} does not fit into 0..{size}"
                self.requirements.append(typed.Requirement(room, reason, node.span))
        return typed.SliceOf(start, stop)


_CHECKS: dict[type, Callable[[Expressions, Any, Scope], Expr]] = {
    ast.Number: Expressions._number,
    ast.Name: Expressions._name,
    ast.Unary: Expressions._unary,
    ast.Binary: Expressions._binary,
    ast.Call: Expressions._call,
    ast.Index: Expressions._index,
    ast.Attribute: Expressions._attribute,
    ast.Parenthesised: Expressions._parenthesised,
    ast.Substitution: Expressions._substitution,
    ast.ListExpr: Expressions._list,
    ast.Absolute: Expressions._absolute,
    ast.Norm: Expressions._norm,
}
