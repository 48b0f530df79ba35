"""Derivative rows of the built-ins table as expressions.

A row is written in the language, in terms of the operands x, y, z and the options of the function.
Its operators are those of Python apart from `^`, so Python's own parser reads it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import lru_cache

from ebmlang.compiler.builtins import BUILTINS, CONSTANTS
from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.derivatives.algebra import NoDerivativeError
from ebmlang.compiler.typed import Apply, Expr

_OPERANDS = "xyz"

_BINARY: dict[type[ast.operator], Callable[[Expr, Expr], Expr]] = {
    ast.Add: algebra.plus,
    ast.Sub: algebra.minus,
    ast.Mult: algebra.times,
    ast.Div: algebra.over,
    ast.Pow: algebra.power,
    ast.FloorDiv: lambda a, b: algebra.elementwise("floordiv", a, b),
}
_COMPARISON = {ast.Gt: "gt", ast.Lt: "lt", ast.GtE: "ge", ast.LtE: "le"}


def partial(node: Apply, operand: int) -> Expr:
    """The derivative of an elementwise function along one operand, entry by entry.

    Raises NoDerivativeError when the table has none.
    """
    rows = BUILTINS[node.function].derivative
    if operand >= len(rows) or not rows[operand]:
        raise NoDerivativeError(f"`{node.function}` has no derivative row")
    names: dict[str, Expr] = dict(zip(_OPERANDS, node.arguments, strict=False))
    for key, value in node.static:
        if isinstance(value, int | float):
            names[key] = algebra.constant(float(value), node.span)
    if node.function == "huber" and len(node.arguments) == 2:
        names["delta"] = node.arguments[1]
    return _built(_parsed(rows[operand]), names, node)


@lru_cache(maxsize=256)
def _parsed(text: str) -> ast.expr:
    return ast.parse(text.replace("^", "**"), mode="eval").body


def _built(tree: ast.expr, names: Mapping[str, Expr], node: Apply) -> Expr:
    def built(part: ast.expr) -> Expr:
        return _built(part, names, node)

    match tree:
        case ast.Constant(value=int() | float() as value):
            return algebra.constant(float(value), node.span)
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.Name(id=name):
            return algebra.constant(float(CONSTANTS[name]), node.span)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return algebra.negative(built(operand))
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](built(left), built(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return algebra.compared(_COMPARISON[type(op)], built(left), built(right))
        case ast.BoolOp(op=ast.And(), values=[left, right]):
            return algebra.compared("and", built(left), built(right))
        case ast.Call(func=ast.Name(id="where"), args=[condition, a, b]):
            return algebra.where(built(condition), built(a), built(b))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return algebra.elementwise(name, *(built(a) for a in arguments))
    raise AssertionError(ast.unparse(tree))
