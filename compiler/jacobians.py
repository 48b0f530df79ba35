"""`jacobian(e, x)`: the derivatives of every entry of a value along every entry of a variable or let, and
`grad(e, x)`, that of a number.

It is written out as an expression, by forward mode along all unit directions at once: the direction has an
index of its own, and an array over that index is the Jacobian. So everything that is known of expressions -
shapes, curvature, derivatives of a second order, code - holds for it without a rule of its own. A gradient is
written by reverse mode where one pass does it: of a number for each example, along what differs by example.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.types import BadOption
from ebmlang.compiler.codegen.canonical import Canonical
from ebmlang.compiler.derivatives import Adjoint, NoDerivativeError, Tangent
from ebmlang.compiler.derivatives.algebra import constant, total, widened
from ebmlang.compiler.entries import apply
from ebmlang.compiler.facts import Dependence, direction_name
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.scope import Declared, LetEntry, Scope
from ebmlang.compiler.sizes import ZERO
from ebmlang.compiler.source import Span
from ebmlang.compiler.substitution import Lets, substitute
from ebmlang.compiler.typed import Axis, Expr, Let, Level, Position, Read, Tabulate
from ebmlang.compiler.types import INT, REAL, Shape

if TYPE_CHECKING:
    from ebmlang.compiler.expressions import Expressions

_WANTED = "the name of a real variable or of a let"


@dataclass(frozen=True, slots=True)
class _Values:
    """The part of a factor graph that derivatives read: while a model is checked there is no more of it."""

    lets: Mapping[str, Let]


def derivative(
    checker: Expressions, scope: Scope, name: str, values: tuple[ast.Expr, ast.Expr], span: Span
) -> Expr:
    """The checked call of `jacobian` or `grad`: real, of the shape of the value, then that of the variable.

    What is sought along a let is the change of the value when the let moves and nothing else does.
    """
    value, along = checker.check(values[0], scope), checker.check(values[1], scope)
    if "error" in (value.type.kind, along.type.kind):
        return checker.error(span)
    if not checker.numeric(value, f"`{name}`", scope):
        return checker.error(span)
    node = values[1]
    entry = scope.find(node.text) if isinstance(node, ast.Name) else None
    if not isinstance(along, Read) or not isinstance(entry, Declared | LetEntry) or along.type.kind != "real":
        shown = f"`{checker.report.source.extract(node.span)}`"
        checker.report.add(BadOption(node.span, f"the second argument of `{name}`", shown, _WANTED))
        return checker.error(span)
    if name == "grad" and not value.type.scalar:
        advice = "jacobian(e, x) takes arrays, sum(e) makes one number of them"
        what = "the first argument of `grad`"
        checker.report.add(BadOption(values[0].span, what, str(value.type), "one number", advice))
        return checker.error(span)
    return _written(checker, name, checker.as_real(value), along, span)


def _written(checker: Expressions, name: str, value: Expr, along: Read, span: Span) -> Expr:
    lets = checker.lets
    depends = Dependence(cast(FactorGraph, _Values(lets.defined)), frozenset((along.name,)))
    what = "gradient" if name == "grad" else "Jacobian"
    if _meets_examples(value, depends, lets):
        checker.report.add(NotBuilt(span, f"the {what} of a value that joins the examples of a batch"))
        return checker.error(span)
    try:
        if not depends(value):
            return widened(constant(0.0, span), (*value.type.shape, *along.type.shape))
        # Reverse mode sums over what the variable does not vary along: plates, and the examples of a batch.
        if name == "grad" and not value.axes and along.level >= value.level:
            parts = Adjoint(depends, Canonical()).gradient([(value, constant(1.0, span))])[along.name]
            return widened(total(parts), along.type.shape)
        change = Tangent(depends, Canonical())(value)
    except NoDerivativeError as error:
        checker.report.add(NotBuilt(span, f"the {what} of this value", _advice(str(error))))
        return checker.error(span)
    directions = _axes(checker, along.type.shape)
    unit = {direction_name(along.name): _unit(checker, along.type.shape, directions, span)}
    change, visited = substitute(widened(change, value.type.shape), unit, Lets())
    checker.node_count += visited
    checker.expansions += 1
    rows = _axes(checker, value.type.shape)
    entry = pick(change, tuple(_at(a, span) for a in rows), span) if rows else change
    return _array(entry, (*rows, *directions), (*value.type.shape, *along.type.shape), span)


def _advice(reason: str) -> str:
    """What stands in the way."""
    return f"{reason.replace(' second derivative row', ' written derivative')}; write it in other functions"


def _meets_examples(value: Expr, depends: Dependence, lets: Lets) -> bool:
    """Whether a value that moves is reduced over the examples on the way."""
    seen = set(depends.sought)
    stack = [value]
    while stack:
        for node in typed.walk(stack.pop()):
            if isinstance(node, typed.OverExamples) and depends(node):
                return True
            if isinstance(node, Read) and node.name in lets.defined and node.name not in seen:
                seen.add(node.name)
                stack.append(lets.defined[node.name].value)
    return False


def _axes(checker: Expressions, shape: Shape) -> tuple[Axis, ...]:
    return tuple(checker.new_axis(("entry",), ZERO, size) for size in shape)


def _at(axis: Axis, span: Span) -> Expr:
    return Position(INT, (axis,), Level.CONSTANT, False, span, axis, 0)


def _unit(checker: Expressions, shape: Shape, directions: tuple[Axis, ...], span: Span) -> Expr:
    """The direction with a 1 at the entry that the indices of `directions` say, and 0 elsewhere."""
    one = constant(1.0, span)
    if not shape:
        return one
    own = _axes(checker, shape)
    same = [apply("eq", (_at(a, span), _at(b, span)), "bool") for a, b in zip(own, directions, strict=True)]
    both = same[0]
    for part in same[1:]:
        both = apply("and", (both, part), "bool")
    return _array(apply("where", (both, one, constant(0.0, span)), "real"), own, shape, span)


def _array(entry: Expr, over: tuple[Axis, ...], shape: Shape, span: Span) -> Expr:
    """An array of one entry for every position of the indices."""
    if not over:
        return entry
    free = tuple(a for a in entry.axes if a not in over)
    return Tabulate(REAL.with_shape(shape), free, entry.level, entry.coupled, span, entry, over)
