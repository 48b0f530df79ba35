"""Scalar compositions: values computed entry by entry from one argument and fixed numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ebmlang.compiler.curvature.interval import Interval
from ebmlang.compiler.curvature.ranges import Ranges
from ebmlang.compiler.curvature.same import same
from ebmlang.compiler.degrees import Degrees
from ebmlang.compiler.facts import number
from ebmlang.compiler.typed import Apply, Expr, Read

SCALAR = frozenset(
    {"add", "sub", "mul", "div", "neg", "pow", "exp", "log", "log1p", "expm1", "sqrt", "square", "sinh"}
) | {"cosh", "tanh", "sigmoid", "softplus", "silu", "xlogy", "atan", "erf"}
"""Functions that computer algebra differentiates."""

MOST_OPERATIONS = 30


@dataclass(frozen=True, slots=True)
class Composition:
    """`value` as a function of `argument`, which lies in `within`; all else in it is fixed."""

    value: Expr
    argument: Expr
    within: Interval
    ranges: Ranges
    depends: Degrees

    def leaf(self, node: Expr) -> bool:
        """Whether the node is the argument itself."""
        return node is self.argument or same(node, self.argument)


def compositions(node: Expr, degrees: Degrees, ranges: Ranges) -> Iterator[Composition]:
    """The ways in which a value is a function of one affine argument: the largest affine parts
    taken for the argument, or the smallest ones."""
    for whole in (True, False):
        found = _argument(node, degrees, whole)
        if found is None or found is node or not degrees.affine(found):
            continue
        if regular(node, found, degrees, ranges):
            yield Composition(node, found, ranges(found), ranges, degrees)


def _argument(node: Expr, degrees: Degrees, whole: bool) -> Expr | None:
    """The one part that depends on the block, all of whose uses say the same."""
    found: Expr | None = None
    stack, operations = [node], 0
    while stack:
        part = stack.pop()
        if not degrees.depends(part):
            continue
        operations += 1
        if operations > MOST_OPERATIONS:
            return None
        let = degrees.depends.graph.lets.get(part.name) if isinstance(part, Read) else None
        if let is not None and not (whole and degrees.affine(part)):
            stack.append(let.value)
        elif isinstance(part, Apply) and part.function in SCALAR and not (whole and degrees.affine(part)):
            stack.extend(part.arguments)
        elif found is None:
            found = part
        elif not same(found, part):
            return None
    return found


def regular(node: Expr, argument: Expr, degrees: Degrees, ranges: Ranges) -> bool:
    """Whether a composition is twice differentiable on one interval of its argument, and undefined
    outside of it: no pole and no kink lies between two points where it is defined."""
    if not degrees.depends(node) or node is argument or same(node, argument):
        return True
    if isinstance(node, Read):
        return regular(degrees.depends.graph.lets[node.name].value, argument, degrees, ranges)
    assert isinstance(node, Apply)
    if not all(regular(a, argument, degrees, ranges) for a in node.arguments):
        return False
    match node.function, node.arguments:
        case "div", (_, b):
            return not degrees.depends(b) or ranges(b).positive or ranges(b).negative
        case "log" | "sqrt", (a,):
            return _ends_once(a, degrees, ranges)
        case "log1p", (a,):
            return degrees.affine(a) or ranges(a).low > -1
        case "xlogy", (_, b):
            return _ends_once(b, degrees, ranges)
        case "pow", (a, b):
            return _regular_power(a, b, degrees, ranges)
    return True


def _ends_once(a: Expr, degrees: Degrees, ranges: Ranges) -> bool:
    """Whether a >= 0 holds everywhere, away from 0, or on one side of a point."""
    return degrees.affine(a) or ranges(a).positive


def _regular_power(a: Expr, b: Expr, degrees: Degrees, ranges: Ranges) -> bool:
    exponent = number(b)
    if exponent is None or degrees.depends(b):
        return ranges(a).positive
    if exponent % 1 != 0:
        return _ends_once(a, degrees, ranges)
    return exponent >= 0 or ranges(a).positive or ranges(a).negative
