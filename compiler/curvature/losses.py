"""Robust losses: functions of a residual that grow with its magnitude."""

from __future__ import annotations

from dataclasses import replace

from ebmlang.compiler import typed
from ebmlang.compiler.curvature.calculus import Calculus
from ebmlang.compiler.curvature.interval import NONNEGATIVE
from ebmlang.compiler.curvature.same import same
from ebmlang.compiler.curvature.scalars import SCALAR, Composition, regular
from ebmlang.compiler.facts import number
from ebmlang.compiler.typed import Apply, Expr, Read

RESIDUAL = "residual'"
"""The placeholder of the residual in a loss; no name of the language has a prime."""

MOST_OPERATIONS = 20


def loss_of(node: Expr, calculus: Calculus) -> tuple[Expr, Expr, int] | None:
    """(residual, loss, sign) of an expression that is a loss entry by entry, or minus one; or None.

    The expression is sign * loss. The loss is twice differentiable up to kinks of its slope, and
    increasing in the magnitude of the residual: huber, and increasing functions of a square such
    as `log(1 + r^2)` or `-exp(-r^2)`.
    """
    match node:
        case Apply(function="huber", arguments=(r, *rest)):
            if any(calculus.depends(a) for a in rest) or not all(calculus.ranges(a).positive for a in rest):
                return None
            return r, replace(node, arguments=(_placeholder(r), *rest)), 1
    square = _inner_square(node, calculus)
    if square is None or square is node:
        return None
    found = Composition(node, square, NONNEGATIVE, calculus.ranges, calculus.degrees)
    if not regular(node, square, calculus.degrees, calculus.ranges):
        return None
    from ebmlang.compiler.curvature.algebra import trend

    direction = trend(found)
    if not direction:
        return None
    assert isinstance(square, Apply)
    loss = _replaced(node, square, _placed(square), calculus)
    if direction < 0:
        loss = Apply(loss.type, loss.axes, loss.level, loss.coupled, loss.span, "neg", (loss,))
    return square.arguments[0], loss, direction


def _placeholder(r: Expr) -> Read:
    return Read(r.type, r.axes, r.level, False, r.span, RESIDUAL)


def _placed(square: Apply) -> Expr:
    hole = _placeholder(square.arguments[0])
    rest = square.arguments[1:] if square.function == "pow" else (hole,) * (len(square.arguments) - 1)
    return replace(square, arguments=(hole, *rest))


def _inner_square(node: Expr, calculus: Calculus) -> Expr | None:
    """The one square through which an expression depends on the block."""
    found: Expr | None = None
    stack, operations = [node], 0
    while stack:
        part = stack.pop()
        if not calculus.depends(part):
            continue
        operations += 1
        let = calculus.graph.lets.get(part.name) if isinstance(part, Read) else None
        if operations > MOST_OPERATIONS:
            return None
        if _is_square(part):
            if found is not None and not same(found, part):
                return None
            found = part
        elif let is not None:
            stack.append(let.value)
        elif isinstance(part, Apply) and part.function in SCALAR:
            stack.extend(part.arguments)
        else:
            return None
    return found


def _is_square(node: Expr) -> bool:
    match node:
        case Apply(function="square"):
            return True
        case Apply(function="pow", arguments=(_, p)):
            return number(p) == 2
        case Apply(function="mul", arguments=(a, b)):
            return same(a, b)
    return False


def _replaced(node: Expr, old: Expr, new: Expr, calculus: Calculus) -> Expr:
    if not calculus.depends(node):
        return node
    if node is old or same(node, old):
        return new
    if isinstance(node, Read):
        return _replaced(calculus.graph.lets[node.name].value, old, new, calculus)
    return typed.rebuilt(node, tuple(_replaced(c, old, new, calculus) for c in node.children()))
