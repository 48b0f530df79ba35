"""`jacobian(e, x)`: the derivatives of every entry of a value along every entry of a variable or let.

It is written out as an expression, by forward mode along all unit directions at once: the direction has an
index of its own, and an array over that index is the Jacobian. So everything that is known of expressions -
shapes, curvature, derivatives of a second order, code - holds for it without a rule of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ebmlang.compiler import ast, typed
from ebmlang.compiler.catalogue.later import NotBuilt
from ebmlang.compiler.catalogue.types import BadOption
from ebmlang.compiler.codegen.canonical import Canonical
from ebmlang.compiler.derivatives import NoDerivativeError, Tangent
from ebmlang.compiler.derivatives.algebra import constant, widened
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


def jacobian(checker: Expressions, scope: Scope, values: tuple[ast.Expr, ast.Expr], span: Span) -> Expr:
    """The checked call: real, of the shape of the value and then that of the variable.

    What is sought along a let is the change of the value when the let moves and nothing else does.
    """
    value, along = checker.check(values[0], scope), checker.check(values[1], scope)
    if "error" in (value.type.kind, along.type.kind):
        return checker.error(span)
    if not checker.numeric(value, "`jacobian`", scope):
        return checker.error(span)
    node = values[1]
    entry = scope.find(node.text) if isinstance(node, ast.Name) else None
    if not isinstance(along, Read) or not isinstance(entry, Declared | LetEntry) or along.type.kind != "real":
        shown = f"`{checker.report.source.extract(node.span)}`"
        checker.report.add(BadOption(node.span, "the second argument of `jacobian`", shown, _WANTED))
        return checker.error(span)
    return _written(checker, checker.as_real(value), along, span)


def _written(checker: Expressions, value: Expr, along: Read, span: Span) -> Expr:
    lets = checker.lets
    depends = Dependence(cast(FactorGraph, _Values(lets.defined)), frozenset((along.name,)))
    if _meets_examples(value, depends, lets):
        checker.report.add(NotBuilt(span, "the Jacobian of a value that joins the examples of a batch"))
        return checker.error(span)
    try:
        change = Tangent(depends, Canonical())(value) if depends(value) else constant(0.0, span)
    except NoDerivativeError as error:
        checker.report.add(NotBuilt(span, "the Jacobian of this value", _advice(str(error))))
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
    """What stands in the way. A net is a module, and its layers are not written out."""
    if "`net`" in reason:
        return "a net is no formula: write the layers out, as in sigmoid(W @ x + b)"
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
