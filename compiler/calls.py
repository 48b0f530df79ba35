"""Calls of built-in functions: their arguments, options, and the kind of the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebmlang.compiler import ast, typed
from ebmlang.compiler.builtins import BUILTINS, CALLABLE, Builtin
from ebmlang.compiler.cases import as_case
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.names import RepeatedName, UnknownArgument, UnknownFunction
from ebmlang.compiler.catalogue.shapes import EinsumSpec, ShapesDiffer, WrongRank
from ebmlang.compiler.catalogue.types import (
    BadOption,
    ConditionExpected,
    MisplacedDraw,
    WrongArgumentCount,
    WrongKind,
)
from ebmlang.compiler.constants import constant_of
from ebmlang.compiler.densities import written_out
from ebmlang.compiler.functions import UserFunctions
from ebmlang.compiler.jacobians import derivative
from ebmlang.compiler.nets.calls import NetCalls
from ebmlang.compiler.reductions import Reductions, enough_entries, reduced_entries
from ebmlang.compiler.scope import Bound, NetEntry, Scope, Unbuilt, declared_at, origins
from ebmlang.compiler.shapes import SPELLED, CallSite, apply_rule
from ebmlang.compiler.source import Span
from ebmlang.compiler.subscripts import Subscripts
from ebmlang.compiler.typed import Expr
from ebmlang.compiler.types import Kind, Type, stretched

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions

_TWO_OPERANDS = {"max": "maximum", "min": "minimum"}

_AXIS_ELSEWHERE = ("axis", "dim", "dims")
"""What other array languages call `over`."""

_KEPT_OPERANDS = {"reshape": 1, "onehot": 1, "top_softmax": 1}
"""Functions whose other operands are sizes: they end up in the static part."""

_DRAWN: dict[str, Kind] = {"bernoulli": "bool", "categorical": "class"}

_OVER_EXAMPLES = ("cov", "stack")
"""Functions that are no reductions and take `over = batch` all the same."""

Options = dict[str, object]


@dataclass(slots=True, eq=False)
class Calls:
    """Checks calls in one scope."""

    checker: Expressions
    scope: Scope

    def call(self, node: ast.Call) -> Expr:
        name = node.function.text
        fn = self.checker.functions.declared.get(name)
        if fn is not None:
            return UserFunctions(self.checker, self.scope).call(node, fn)
        entry = self.scope.find(name)
        if isinstance(entry, NetEntry):
            return NetCalls(self.checker, self.scope).call(node, entry)
        unbuilt = isinstance(entry, Unbuilt) or (
            isinstance(entry, Bound) and entry.value.type.kind == "error"
        )
        if name in CALLABLE and not unbuilt:
            return self._builtin_call(node, BUILTINS[name])
        for argument in node.arguments:
            if isinstance(argument.value, ast.Expr):
                self.checker.check(argument.value, self.scope)
        if not unbuilt and f"{name}()" not in self.scope.unknown:
            self.scope.unknown.add(f"{name}()")
            known = (*CALLABLE, *self.checker.functions.declared)
            places = declared_at(entry, f"`{name}` is declared here")
            self.checker.report.add(
                UnknownFunction(node.function.span, name, known, entry is not None, places)
            )
        return self.checker.error(node.span)

    # --- arguments ---

    def _builtin_call(self, node: ast.Call, row: Builtin) -> Expr:
        checker, name = self.checker, row.name
        positional = [a.value for a in node.arguments if a.name is None]
        named: dict[str, ast.Argument] = {}
        for argument in node.arguments:
            if argument.name is not None and named.setdefault(argument.name.text, argument) is not argument:
                where = f"the call of `{name}`"
                checker.report.add(RepeatedName(argument.span, argument.name.text, where))
                return checker.error(node.span)
        spec = positional[0].value if positional and isinstance(positional[0], ast.Text) else None
        if name == "einsum" and spec is not None:
            del positional[0]
        elif name == "einsum":
            checker.report.add(EinsumSpec(node.span, "", "the first argument is the specification in quotes"))
            return checker.error(node.span)
        values = [v for v in positional if isinstance(v, ast.Expr)]
        if len(values) < len(positional):
            text = next(v for v in positional if not isinstance(v, ast.Expr))
            checker.report.add(BadOption(text.span, f"an argument of `{name}`", "a text", "a value"))
            return checker.error(node.span)
        over = named.get("over")
        reduces = row.form == "reduction" or name in _OVER_EXAMPLES
        if over is not None and reduces and not _is_number(over.value):
            if len(values) != 1:
                return self._wrong_count(row, len(values), node.span)
            return Reductions(checker, self.scope).reduce(node, row, values[0], over)
        if row.form in ("derivative", "written"):
            return self._by_form(row, values, tuple(named), node.span)
        operands = tuple(checker.check(v, self.scope) for v in values)
        options: Options = {}
        for key, argument in named.items():
            option = self._option(argument, row)
            if option is None:
                return checker.error(node.span)
            options[key] = option
        return self.builtin(name, operands, node.span, options, spec)

    def _by_form(self, row: Builtin, values: list[ast.Expr], named: tuple[str, ...], span: Span) -> Expr:
        if named:
            self.checker.report.add(UnknownArgument(span, named[0], row.name, (), ""))
            return self.checker.error(span)
        if len(values) != row.operands[0]:
            return self._wrong_count(row, len(values), span)
        if row.form == "written":
            return written_out(self.checker, self.scope, row, values, span)
        return derivative(self.checker, self.scope, row.name, (values[0], values[1]), span)

    def _option(self, argument: ast.Argument, row: Builtin) -> object:
        """A named argument: a number known when compiling, or an expression for `delta`."""
        assert argument.name is not None
        report, name = self.checker.report, argument.name.text
        known = tuple(key for key, _ in row.options)
        if row.form in ("reduction", "axis"):
            known = (*known, "over")
        if name not in known:
            if row.name == "norm" and name == "over":
                advice = "write sqrt(sum(square(x), over = 1))"
                report.add(NotBuilt(argument.span, "`norm` along an axis", advice))
            else:
                advice = "the axis is named by `over`" if "over" in known and name in _AXIS_ELSEWHERE else ""
                report.add(UnknownArgument(argument.name.span, name, row.name, known, advice))
            return None
        if not isinstance(argument.value, ast.Expr):
            found = "a text" if isinstance(argument.value, ast.Text) else "an index"
            report.add(BadOption(argument.span, name, found, "a number"))
            return None
        value = self.checker.check(argument.value, self.scope)
        if value.type.kind == "error":
            return None
        number = constant_of(value)
        shown = f"`{report.source.extract(argument.value.span)}`"
        if name == "delta":
            if number is not None and number <= 0:
                report.add(BadOption(argument.value.span, name, shown, "a positive number"))
                return None
            if number is None and value.type.scalar and value.type.numeric:
                return value
        if number is None:
            wanted = "a scalar" if name == "delta" else "a number"
            report.add(BadOption(argument.value.span, name, shown, wanted))
        return number

    def _wrong_count(self, row: Builtin, found: int, span: Span) -> Expr:
        low, high = row.operands
        wanted = f"{low} argument{'s' * (low != 1)}" if low == high else f"{low} to {high} arguments"
        if row.name == "uniform":
            wanted = "no argument, or 2 arguments"
        example = row.example
        if found > high and row.name in _TWO_OPERANDS:
            example = f"{row.name}([x, y, z])"
        elif found > high and row.options:
            example = f"{row.name}({', '.join('xyz'[:high])}, {row.options[0][0]} = ...)"
        self.checker.report.add(WrongArgumentCount(span, row.name, found, wanted, example))
        return self.checker.error(span)

    # --- checked operands ---

    def builtin(
        self,
        name: str,
        operands: tuple[Expr, ...],
        span: Span,
        options: Options | None = None,
        spec: str | None = None,
    ) -> Expr:
        """A built-in function on checked operands."""
        options = options or {}
        if len(operands) == 2 and name in _TWO_OPERANDS:
            if "over" in options:
                advice = f"{name}(x, y) compares two values entry by entry"
                self.checker.report.add(UnknownArgument(span, "over", f"{name}(x, y)", (), advice))
                return self.checker.error(span)
            name = _TWO_OPERANDS[name]
        row = BUILTINS[name]
        low, high = row.operands
        if not (low if name != "einsum" else 1) <= len(operands) <= (1 if name in _TWO_OPERANDS else high):
            return self._wrong_count(row, len(operands), span)
        if any(o.type.kind == "error" for o in operands):
            return self.checker.error(span)
        if row.form == "distribution":
            return self._distribution(row, operands, span)
        discrete = row.form == "shape" or name in ("where", "transpose", "onehot")
        for operand in operands:
            if not discrete and not self.checker.numeric(operand, f"`{SPELLED.get(name, name)}`", self.scope):
                return self.checker.error(span)
        if row.form == "elementwise":
            return self._elementwise(row, operands, options, span)
        if not self._entries_fit(name, operands):
            return self.checker.error(span)
        kind = None
        if name in ("concat", "stack"):
            kind = self.checker.common(operands, f"`{name}`", self.scope)
            if kind is None:
                return self.checker.error(span)
        site = CallSite(row, operands, options, spec, span, self.scope, self.checker.report, kind)
        found = apply_rule(site)
        if found is None or not self._spread_fits(site):
            return self.checker.error(span)
        kept = () if row.form == "constructor" else operands[: _KEPT_OPERANDS.get(name)]
        return self.checker.apply(name, kept, found[0], span, found[1])

    def _spread_fits(self, site: CallSite) -> bool:
        """`std`, `var` and `cov` are taken of at least two entries."""
        count = reduced_entries(site.row.name, site.operands[0].type, site.options) if site.operands else None
        if count is None:
            return True
        places = origins(self.scope, *site.operands)
        return enough_entries(self.checker, site.row.name, count, site.span, places)

    def _entries_fit(self, name: str, operands: tuple[Expr, ...]) -> bool:
        """The positions that `gather` and `onehot` take must lie inside."""
        if name == "gather" and operands[0].type.shape and operands[1].type.integral:
            array, index = operands
            inside = Subscripts(self.checker, self.scope).entry(index, index.span, array.type.shape[0], array)
            return inside is not None
        if name == "onehot" and operands[0].type.integral and isinstance(operands[1], typed.SizeOf):
            value, count = operands[0], operands[1].size
            inside = Subscripts(self.checker, self.scope).entry(value, value.span, count, value)
            return inside is not None
        return True

    def _elementwise(self, row: Builtin, operands: tuple[Expr, ...], options: Options, span: Span) -> Expr:
        checker = self.checker
        shape = operands[0].type.shape
        for operand in operands[1:]:
            common = stretched(shape, operand.type.shape)
            if common is None:
                first = operands[0]
                places = origins(self.scope, first, operand)
                checker.report.add(
                    ShapesDiffer(span, str(first.type), str(operand.type), f"`{row.name}`", "", places)
                )
                return checker.error(span)
            shape = common
        condition = {"where": "the first argument of `where`", "not": "the argument of `not`"}.get(row.name)
        if condition is not None and operands[0].type.kind != "bool":
            checker.report.add(ConditionExpected(operands[0].span, str(operands[0].type), condition))
            return checker.error(span)
        result = Type("real" if row.result == "same" else row.result)
        if row.result == "same":
            values = operands[1:] if row.name == "where" else operands
            cases = next((v.type for v in values if v.type.kind == "class"), None)
            values = tuple(as_case(v, cases, checker.prover.floors) for v in values)
            operands = (*operands[:1], *values) if row.name == "where" else values
            joined = checker.common(values, f"`{row.name}`", self.scope)
            if joined is None:
                return checker.error(span)
            result = joined
        result = result.with_shape(shape)
        delta = options.get("delta")
        if isinstance(delta, Expr):
            return checker.apply(row.name, (*operands, delta), result, span)
        static = tuple((key, options.get(key, default)) for key, default in row.options)
        return checker.apply(row.name, operands, result, span, static)

    # --- distributions ---

    def _distribution(self, row: Builtin, operands: tuple[Expr, ...], span: Span) -> Expr:
        checker, target = self.checker, self.checker.draws
        if target is None:
            checker.report.add(MisplacedDraw(span, row.name))
            return checker.error(span)
        if row.name == "uniform" and len(operands) == 1:
            return self._wrong_count(row, 1, span)
        wanted = _DRAWN.get(row.name, "real")
        if target.kind != wanted and not (wanted == "bool" and target.kind == "real"):
            what = f"`{row.name}`"
            checker.report.add(WrongKind(span, f"a variable of type {target}", f"{wanted} variables", what))
            return checker.error(span)
        for operand in operands:
            if not checker.numeric(operand, f"`{row.name}`", self.scope):
                return checker.error(span)
            if row.name == "categorical":
                if operand.type.rank != 1 or operand.type.shape[0] != target.classes:
                    text = f"a vector of {target.classes} probabilities"
                    places = origins(self.scope, operand)
                    checker.report.add(WrongRank(operand.span, row.name, str(operand.type), text, places))
                    return checker.error(span)
            elif stretched(operand.type.shape, target.shape) != target.shape:
                what = f"`{row.name}` for {target}"
                places = origins(self.scope, operand)
                found = ShapesDiffer(operand.span, str(target), str(operand.type), what, "", places)
                checker.report.add(found)
                return checker.error(span)
        if not self._parameters_fit(row, operands):
            return checker.error(span)
        return checker.apply(row.name, operands, target, span)

    def _parameters_fit(self, row: Builtin, operands: tuple[Expr, ...]) -> bool:
        """Whether parameters that are plain numbers make a distribution."""
        numbers = [constant_of(o) for o in operands]
        report = self.checker.report
        for i, number in enumerate(numbers):
            if number is None:
                continue
            wrong = ""
            if row.name == "normal" and i == 1 and number < 0:
                wrong = "a standard deviation of at least 0"
            elif row.name == "bernoulli" and not 0 <= number <= 1:
                wrong = "a probability between 0 and 1"
            if wrong:
                report.add(BadOption(operands[i].span, f"an argument of `{row.name}`", f"{number:g}", wrong))
                return False
        if row.name == "uniform" and len(numbers) == 2:
            low, high = numbers
            if low is not None and high is not None and low > high:
                found = f"{low:g} and {high:g}"
                report.add(
                    BadOption(operands[0].span, "the bounds of `uniform`", found, "the lower bound first")
                )
                return False
        return self._probabilities(row, operands)

    def _probabilities(self, row: Builtin, operands: tuple[Expr, ...]) -> bool:
        if row.name != "categorical" or not isinstance(operands[0], typed.Pack):
            return True
        numbers = [constant_of(i) for i in operands[0].items]
        known = [n for n in numbers if n is not None]
        if len(known) == len(numbers) and (min(known) < 0 or abs(sum(known) - 1) > 1e-6):
            found = f"[{', '.join(f'{n:g}' for n in known)}]"
            wanted = "probabilities that are at least 0 and sum to 1"
            self.checker.report.add(
                BadOption(operands[0].span, "the argument of `categorical`", found, wanted)
            )
            return False
        return True


def _is_number(value: ast.Expr | ast.Reduction | ast.OverBatch | ast.Text) -> bool:
    """Whether `over = value` names an axis."""
    while isinstance(value, ast.Parenthesised):
        value = value.inner
    return isinstance(value, ast.Number | ast.Unary | ast.Text)
