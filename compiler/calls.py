"""Calls: built-in functions, reductions with `over =`, and functions of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.builtins import BUILTINS, CALLABLE, Builtin
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.model import TooManyNodes
from ebmlang.compiler.catalogue.names import RecursiveFunction, UnknownArgument, UnknownFunction
from ebmlang.compiler.catalogue.shapes import EinsumSpec, EmptyRange, ShapesDiffer, WrongRank
from ebmlang.compiler.catalogue.types import (
    BadOption,
    ConditionExpected,
    DeclaredOtherwise,
    MisplacedDraw,
    WrongArgumentCount,
    WrongKind,
)
from ebmlang.compiler.diagnostics import Label
from ebmlang.compiler.scope import Bound, Declared, Index, LetEntry, Scope, Unbuilt, origins
from ebmlang.compiler.shapes import CallSite, apply_rule
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.sizing import read_size, read_type
from ebmlang.compiler.source import Span
from ebmlang.compiler.substitution import substitute
from ebmlang.compiler.typed import Expr, Level
from ebmlang.compiler.types import ERROR, INT, Kind, Type, join_kinds, stretched

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions

LARGEST_MODEL = 2_000_000
"""Operations after functions are expanded."""

_TWO_OPERANDS = {"max": "maximum", "min": "minimum"}


@dataclass(frozen=True, slots=True)
class Calls:
    """Checks calls in one scope."""

    checker: Expressions
    scope: Scope

    def call(self, node: ast.Call) -> Expr:
        name = node.function.text
        entry = self.scope.find(name)
        if name in self.checker.functions.declared:
            return self.user_function(node, self.checker.functions.declared[name])
        if isinstance(entry, Unbuilt):
            for argument in node.arguments:
                if isinstance(argument.value, ast.Expr):
                    self.checker.check(argument.value, self.scope)
            return self.checker.error(node.span)
        if name not in CALLABLE:
            known = (*CALLABLE, *self.checker.functions.declared)
            places = (Label(entry.span, f"`{name}` is declared here"),) if entry is not None else ()
            self.checker.report.add(
                UnknownFunction(node.function.span, name, known, entry is not None, places)
            )
            return self.checker.error(node.span)
        return self.builtin_call(node, name)

    # --- built-ins ---

    def builtin_call(self, node: ast.Call, name: str) -> Expr:
        report = self.checker.report
        row = BUILTINS[name]
        if row.form == "later":
            report.add(NotBuilt(node.span, f"`{name}(...)`"))
            return self.checker.error(node.span)
        positional = [a for a in node.arguments if a.name is None]
        named = {a.name.text: a for a in node.arguments if a.name is not None}
        over = named.get("over")
        if row.form == "reduction" or name == "cov":
            if over is not None and not isinstance(over.value, ast.Number | ast.Unary):
                return self.reduce(node, row, positional, over)
        spec = None
        if positional and isinstance(positional[0].value, ast.Text):
            if name != "einsum":
                report.add(BadOption(positional[0].span, name, "a text", "a value"))
                return self.checker.error(node.span)
            spec = positional.pop(0).value.value  # type: ignore[union-attr]
        elif name == "einsum":
            report.add(EinsumSpec(node.span, "", "the first argument is the specification in quotes"))
            return self.checker.error(node.span)
        if any(isinstance(a.value, ast.Text) for a in positional):
            report.add(BadOption(node.span, name, "a text", "a value"))
            return self.checker.error(node.span)
        if row.form in ("reduction", "axis") and name not in _TWO_OPERANDS and len(positional) != 1:
            return self.wrong_count(row, len(positional), node.span)
        operands = tuple(self.checker.check(a.value, self.scope) for a in positional)  # type: ignore[arg-type]
        options: dict[str, object] = {}
        for key, argument in named.items():
            value = self.option(argument, row)
            if value is None:
                return self.checker.error(node.span)
            options[key] = value
        return self.builtin(name, operands, node.span, options, spec)

    def option(self, argument: ast.Argument, row: Builtin) -> object:
        """A named argument: a number known when compiling, or an expression for `delta`."""
        assert argument.name is not None
        report, name = self.checker.report, argument.name.text
        known = tuple(key for key, _ in row.options)
        takes_axis = row.form in ("reduction", "axis", "matrix") or "over" in known
        if name not in known and not (name == "over" and takes_axis):
            report.add(UnknownArgument(argument.name.span, name, row.name, (*known, "over") if takes_axis else known))
            return None
        if isinstance(argument.value, ast.Reduction | ast.OverBatch | ast.Text):
            report.add(BadOption(argument.span, name, "an index", "a number"))
            return None
        value = self.checker.check(argument.value, self.scope)
        if value.type.kind == "error":
            return None
        if isinstance(value, typed.SizeOf) and value.size.constant is not None:
            return value.size.constant
        if isinstance(value, typed.Constant):
            return float(value.value)
        if name == "delta" and value.type.scalar and value.type.numeric:
            return value
        report.add(BadOption(argument.span, name, f"`{typed.text(value)}`", "a number"))
        return None

    def wrong_count(self, row: Builtin, found: int, span: Span) -> Expr:
        low, high = row.operands
        wanted = f"{low} argument{'s' * (low != 1)}" if low == high else f"{low} to {high} arguments"
        self.checker.report.add(WrongArgumentCount(span, row.name, found, wanted, row.example))
        return self.checker.error(span)

    def builtin(
        self,
        name: str,
        operands: tuple[Expr, ...],
        span: Span,
        options: dict[str, object] | None = None,
        spec: str | None = None,
    ) -> Expr:
        """A built-in function on checked operands."""
        options = options or {}
        if len(operands) == 2 and name in _TWO_OPERANDS and "over" not in options:
            name = _TWO_OPERANDS[name]
        row = BUILTINS[name]
        if row.form == "distribution":
            return self.distribution(row, operands, span)
        low, high = row.operands
        if name != "einsum" and not low <= len(operands) <= (1 if name in _TWO_OPERANDS else high):
            return self.wrong_count(row, len(operands), span)
        if any(o.type.kind == "error" for o in operands):
            return self.checker.error(span)
        for operand in operands:
            discrete = row.form == "shape" or name in ("where", "transpose", "onehot")
            if not operand.type.numeric and not discrete:
                self.checker._numeric(operand, f"`{name}`", self.scope)
                return self.checker.error(span)
        if row.form == "elementwise":
            return self.elementwise(row, operands, options, span)
        site = CallSite(row, operands, options, spec, span, self.scope, self.checker.report)
        found = apply_rule(site)
        if found is None:
            return self.checker.error(span)
        kept = operands[:1] if name in ("reshape", "onehot") else () if row.form == "constructor" else operands
        return self.checker.apply(name, kept, found[0], span, found[1])

    def elementwise(
        self, row: Builtin, operands: tuple[Expr, ...], options: dict[str, object], span: Span
    ) -> Expr:
        shape = operands[0].type.shape
        for operand in operands[1:]:
            common = stretched(shape, operand.type.shape)
            if common is None:
                first = operands[0]
                places = origins(self.scope, first, operand)
                self.checker.report.add(
                    ShapesDiffer(span, str(first.type), str(operand.type), f"`{row.name}`", "", places)
                )
                return self.checker.error(span)
            shape = common
        if row.name == "where" and operands[0].type.kind != "bool":
            found = str(operands[0].type)
            self.checker.report.add(ConditionExpected(operands[0].span, found, "the first argument of `where`"))
            return self.checker.error(span)
        if row.name == "not" and operands[0].type.kind != "bool":
            self.checker.report.add(ConditionExpected(operands[0].span, str(operands[0].type), "the argument of `not`"))
            return self.checker.error(span)
        kind: Kind = row.result if row.result != "same" else "real"
        if row.result == "same":
            values = operands[1:] if row.name == "where" else operands
            kind = values[0].type.kind
            for value in values[1:]:
                kind = kind if kind == value.type.kind else join_kinds(kind, value.type.kind)
        delta = options.get("delta")
        if isinstance(delta, Expr):
            return self.checker.apply(row.name, (*operands, delta), Type(kind, shape), span)
        static = tuple((key, options.get(key, default)) for key, default in row.options)
        return self.checker.apply(row.name, operands, Type(kind, shape), span, static)

    def distribution(self, row: Builtin, operands: tuple[Expr, ...], span: Span) -> Expr:
        target = self.checker.draws
        if target is None:
            self.checker.report.add(MisplacedDraw(span, row.name))
            return self.checker.error(span)
        low, high = row.operands
        if not low <= len(operands) <= high:
            return self.wrong_count(row, len(operands), span)
        if any(o.type.kind == "error" for o in operands):
            return self.checker.error(span)
        wanted: Kind = {"bernoulli": "bool", "categorical": "class"}.get(row.name, "real")  # type: ignore[assignment]
        if target.kind != wanted and not (wanted == "bool" and target.kind == "real"):
            self.checker.report.add(WrongKind(span, f"values for {target}", f"{wanted} variables", f"`{row.name}`"))
            return self.checker.error(span)
        for operand in operands:
            if row.name == "categorical":
                if operand.type.rank != 1 or operand.type.shape[0] != target.classes:
                    wanted_text = f"a vector of {target.classes} probabilities"
                    self.checker.report.add(
                        WrongRank(operand.span, row.name, str(operand.type), wanted_text, origins(self.scope, operand))
                    )
                    return self.checker.error(span)
            elif stretched(operand.type.shape, target.shape) != target.shape:
                what = f"`{row.name}` for {target}"
                places = origins(self.scope, operand)
                self.checker.report.add(
                    ShapesDiffer(operand.span, str(target), str(operand.type), what, "", places)
                )
                return self.checker.error(span)
        return self.checker.apply(row.name, operands, target, span)

    # --- reductions over an index, the examples, or a variable ---

    def reduce(self, node: ast.Call, row: Builtin, positional: list[ast.Argument], over: ast.Argument) -> Expr:
        report = self.checker.report
        if len(positional) != 1 or not isinstance(positional[0].value, ast.Expr):
            return self.wrong_count(row, len(positional), node.span)
        extra = [a for a in node.arguments if a.name is not None and a.name.text not in ("over", "draws")]
        if extra:
            assert extra[0].name is not None
            report.add(UnknownArgument(extra[0].name.span, extra[0].name.text, row.name, ("over",)))
            return self.checker.error(node.span)
        body_node = positional[0].value
        if isinstance(over.value, ast.OverBatch):
            return self.over_examples(row, self.checker.check(body_node, self.scope), node.span)
        if isinstance(over.value, ast.Reduction):
            return self.over_index(row, body_node, over.value, node.span)
        return self.over_variable(row, body_node, over, node.span)

    def over_examples(self, row: Builtin, body: Expr, span: Span) -> Expr:
        if body.type.kind == "error":
            return body
        if not self.checker._numeric(body, f"`{row.name}`", self.scope):
            return self.checker.error(span)
        type_ = Type("real" if row.result == "same" else row.result, body.type.shape)
        if row.name == "cov":
            if body.type.rank != 1:
                places = origins(self.scope, body)
                report = WrongRank(body.span, "cov over the batch", str(body.type), "one vector per example", places)
                self.checker.report.add(report)
                return self.checker.error(span)
            type_ = Type("real", body.type.shape * 2)
        if row.name in ("argmax", "argmin", "all", "any", "entropy"):
            self.checker.report.add(NotBuilt(span, f"`{row.name}` over the batch"))
            return self.checker.error(span)
        return typed.OverExamples(type_, body.axes, Level.SHARED, True, span, row.name, body)

    def over_index(self, row: Builtin, body_node: ast.Expr, node: ast.Reduction, span: Span) -> Expr:
        bound = self.bind_axes(node.binders, node.guard)
        if bound is None:
            return self.checker.error(span)
        inner, axes, guard = bound
        body = self.checker.check(body_node, inner)
        if body.type.kind == "error":
            return body
        if not self.checker._numeric(body, f"`{row.name}`", self.scope):
            return self.checker.error(span)
        if row.name in ("argmax", "argmin", "cov") or (row.name in ("std", "var") and guard is not None):
            self.checker.report.add(NotBuilt(span, f"`{row.name}` over an index with this form"))
            return self.checker.error(span)
        kind = row.result if row.result != "same" else "real" if body.type.kind == "bool" else body.type.kind
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

    def bind_axes(
        self, binders: tuple[ast.Binder, ...], guard_node: ast.Expr | None
    ) -> tuple[Scope, typed.Axes, Expr | None] | None:
        """A scope with the indices of a plate or a reduction, their axes and the guard."""
        scope = self.scope.child()
        axes: list[typed.Axis] = []
        for binder in binders:
            axis = self.axis(binder, scope)
            if axis is None:
                return None
            axes.append(axis)
        scope.axes = (*self.scope.axes, *axes)
        if guard_node is None:
            return scope, tuple(axes), None
        guard_scope = scope.child(guarded=True)
        guard = self.checker.check(guard_node, guard_scope)
        if guard.type.kind == "error":
            return None
        if guard.type != Type("bool"):
            self.checker.report.add(ConditionExpected(guard.span, str(guard.type), "a guard"))
            return None
        scope.guarded = True
        return scope, tuple(axes), guard

    def axis(self, binder: ast.Binder, scope: Scope) -> typed.Axis | None:
        report = self.checker.report
        names = tuple(n.text for n in binder.names)
        if binder.rows is not None:
            return self.rows_axis(binder, names, scope)
        assert binder.start is not None and binder.stop is not None
        start = read_size(binder.start, scope, report)
        stop = read_size(binder.stop, scope, report)
        if start is None or stop is None:
            return None
        size = stop - start
        if size.constant is not None and size.constant <= 0:
            report.add(EmptyRange(binder.start.span.to(binder.stop.span), f"{start}..{stop}"))
            return None
        if size.known_positive(0) is None:
            reason = f"the range {start}..{stop} runs backwards"
            self.checker.requirements.append(typed.Requirement(size, reason, binder.span))
        axis = self.checker.new_axis(names, start, size)
        scope.entries[names[0]] = Index(axis, 0, INT, binder.names[0].span)
        return axis

    def rows_axis(self, binder: ast.Binder, names: tuple[str, ...], scope: Scope) -> typed.Axis | None:
        assert binder.rows is not None
        report = self.checker.report
        rows = self.checker.check(binder.rows, scope)
        if rows.type.kind == "error":
            return None
        columns = rows.type.shape[1].constant if rows.type.rank == 2 else 1 if rows.type.rank == 1 else None
        if not rows.type.integral or columns != len(names):
            wanted = f"a list of {len(names)} indices a row, such as class[n][M, {len(names)}]"
            found = str(rows.type)
            report.add(WrongRank(binder.rows.span, "for", found, wanted, origins(self.scope, rows)))
            return None
        if rows.level is Level.EXAMPLE:
            report.add(NotBuilt(binder.rows.span, "a list of rows that differs by example", "declare it `shared observed`"))
            return None
        axis = self.checker.new_axis(names, ZERO, rows.type.shape[0], rows)
        for column, name in enumerate(binder.names):
            type_ = Type(rows.type.kind, (), rows.type.classes)
            scope.entries[name.text] = Index(axis, column, type_, name.span)
        return axis

    def over_variable(self, row: Builtin, body_node: ast.Expr, over: ast.Argument, span: Span) -> Expr:
        """`min(e, over = c)`: over the values of a class variable, one axis of its cases."""
        value = over.value
        assert isinstance(value, ast.Expr)
        entry = self.scope.find(value.text) if isinstance(value, ast.Name) else None
        if not isinstance(value, ast.Name) or not isinstance(entry, Declared):
            checked = self.checker.check(value, self.scope)
            if checked.type.kind != "error":
                found = f"`{typed.text(checked)}`"
                wanted = "an axis number, `i in 0..n`, `batch` or a class variable"
                self.checker.report.add(BadOption(over.span, "over", found, wanted))
            return self.checker.error(span)
        if entry.role == "random":
            self.checker.report.add(NotBuilt(over.span, "a reduction over draws of a random variable"))
            return self.checker.error(span)
        if entry.type.kind != "class" or not entry.type.scalar:
            what = f"a reduction over {entry.type}"
            self.checker.report.add(NotBuilt(over.span, what, "a reduction over values needs a scalar class variable"))
            return self.checker.error(span)
        body = self.checker.check(body_node, self.scope)
        if body.type.kind == "error":
            return body
        axis = self.checker.new_axis((value.text,), ZERO, entry.type.classes)
        position = typed.Position(entry.type, (axis,), Level.CONSTANT, False, value.span, axis, 0)
        body = substitute(body, {value.text: position}, self.checker.lets)
        if axis not in body.axes:
            wanted = f"an expression that depends on `{value.text}`"
            self.checker.report.add(BadOption(over.span, "over", f"`{value.text}` here", wanted))
            return self.checker.error(span)
        return self.fold(row.name, body, (axis,), None, Type("real", body.type.shape), span)

    # --- functions of the model ---

    def user_function(self, node: ast.Call, fn: ast.Fn) -> Expr:
        checker, name = self.checker, node.function.text
        if name in checker.functions.expanding:
            at = checker.functions.expanding.index(name)
            through = tuple(checker.functions.expanding[at + 1 :])
            checker.report.add(RecursiveFunction(node.function.span, name, through))
            return checker.error(node.span)
        arguments = self.arguments_of(node, fn)
        if arguments is None:
            return checker.error(node.span)
        if checker.node_count > LARGEST_MODEL:
            checker.report.add(TooManyNodes(node.span, LARGEST_MODEL))
            return checker.error(node.span)
        return self.expand(fn, arguments, node.span)

    def arguments_of(self, node: ast.Call, fn: ast.Fn) -> dict[str, Expr] | None:
        checker = self.checker
        names = [p.name.text for p in fn.parameters]
        given: dict[str, Expr] = {}
        failed = False
        for i, argument in enumerate(node.arguments):
            key = argument.name.text if argument.name is not None else names[i] if i < len(names) else ""
            if argument.name is not None and key not in names:
                checker.report.add(UnknownArgument(argument.name.span, key, fn.name.text, tuple(names)))
                return None
            if not isinstance(argument.value, ast.Expr):
                checker.report.add(BadOption(argument.span, key or "an argument", "an index", "a value"))
                return None
            value = checker.check(argument.value, self.scope)
            failed = failed or value.type.kind == "error"
            given[key or f"#{i}"] = value
        if len(node.arguments) != len(names) or set(given) != set(names):
            wanted = f"{len(names)} argument{'s' * (len(names) != 1)} ({', '.join(names)})"
            checker.report.add(WrongArgumentCount(node.span, fn.name.text, len(node.arguments), wanted))
            return None
        return None if failed else given

    def expand(self, fn: ast.Fn, arguments: dict[str, Expr], span: Span) -> Expr:
        """The body of a function with its arguments in place; sizes of its types are solved."""
        checker = self.checker
        root = self.scope
        while root.parent is not None:
            root = root.parent
        scope = Scope(None, {n: e for n, e in root.entries.items() if _visible(e)}, dict(root.sizes))
        scope.guarded = self.scope.guarded
        for parameter in fn.parameters:
            value = arguments[parameter.name.text]
            if not self.fits(parameter, value, scope, fn, span):
                return checker.error(span)
            scope.entries[parameter.name.text] = Bound(value, parameter.name.span)
        checker.functions.expanding.append(fn.name.text)
        result = checker.check(fn.value, scope)
        checker.functions.expanding.pop()
        if result.type.kind == "error" or fn.result is None:
            return result
        declared = read_type(fn.result, scope, checker.report, generic=True)
        return self.declared_result(fn, result, declared)

    def declared_result(self, fn: ast.Fn, result: Expr, declared: Type) -> Expr:
        if declared == ERROR:
            return self.checker.error(result.span)
        kinds = (result.type.kind, declared.kind)
        if result.type.shape != declared.shape or (kinds[0] != kinds[1] and kinds != ("int", "real")):
            self.checker.report.add(
                DeclaredOtherwise(fn.value.span, fn.name.text, str(result.type), str(declared))
            )
            return self.checker.error(result.span)
        return result

    def fits(self, parameter: ast.Parameter, value: Expr, scope: Scope, fn: ast.Fn, span: Span) -> bool:
        """Whether an argument has the declared type; a size that is a new name takes its size."""
        checker = self.checker
        dims = [d for group in parameter.type.dims for d in group]
        if parameter.type.name.text in ("real", "bool", "int") and len(dims) == value.type.rank:
            for dim, size in zip(dims, value.type.shape, strict=True):
                if isinstance(dim, ast.Name) and scope.find_size(dim.text) is None:
                    scope.sizes[dim.text] = size
        declared = read_type(parameter.type, scope, checker.report, generic=True)
        if declared == ERROR:
            return False
        numbers = declared.kind == "real" and value.type.numeric
        if value.type.shape != declared.shape or not (numbers or declared.kind == value.type.kind):
            name = f"{fn.name.text}({parameter.name.text})"
            places = (Label(parameter.span, "declared here"), *origins(self.scope, value))
            advice = "pass a value of the declared type"
            checker.report.add(
                DeclaredOtherwise(value.span, name, str(value.type), str(declared), advice, places)
            )
            return False
        return True


def _visible(entry: object) -> bool:
    """What a function sees besides its parameters: hyperparameters and lets of constants."""
    if isinstance(entry, Declared):
        return entry.role == "hyper"
    if isinstance(entry, LetEntry):
        return entry.value is not None and entry.value.level is Level.CONSTANT
    return isinstance(entry, Unbuilt)


