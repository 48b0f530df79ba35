"""A quadratic that bends everywhere at least as much as a smooth energy does.

f lies below its tangent at any point plus half of L times the squared distance when L bounds the second
derivative from above (the descent lemma: Bertsekas 1999, proposition A.24). For a function phi of an affine
argument A x + b with phi'' <= c the Hessian of phi(A x + b) is at most that of c/2 ||A x + b||^2. So the
energy is rewritten term by term into squares of its affine parts, whose one constant Hessian is measured when
values are bound: its largest eigenvalue is the L of gradient steps that need no test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.facts import number
from ebmlang.compiler.notation import text
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.squares import square_root
from ebmlang.compiler.typed import Apply, Expr, Fold, OverExamples, Read, Tabulate

_BENDS = {
    "square": (2.0, 2.0),
    "softplus": (0.0, 0.25),
    "sigmoid": (-1 / (6 * math.sqrt(3)), 1 / (6 * math.sqrt(3))),
    "tanh": (-4 / (3 * math.sqrt(3)), 4 / (3 * math.sqrt(3))),
    "atan": (-9 / (8 * math.sqrt(3)), 9 / (8 * math.sqrt(3))),
    "erf": (-math.sqrt(8 / (math.pi * math.e)), math.sqrt(8 / (math.pi * math.e))),
    "sin": (-1.0, 1.0),
    "cos": (-1.0, 1.0),
    "huber": (0.0, 1.0),
    "silu": (-0.037, 0.5),
    "gelu": (-0.11, math.sqrt(2 / math.pi)),
}
"""The least and the largest second derivative of functions of one number, rounded outwards."""

_SQUARED = {
    "sqrt": (0.0, 1.0, -0.5),
    "log": (-0.25, 2.0, -1.0),
}
"""Of functions of c + u^2 along u, with c > 0: the extremes for c = 1, and the power of c they go with."""

UPWARD, EITHER = 1, 0
"""What is to be bounded: the curvature (that of the negative: `-UPWARD`), or both."""


class _UnboundedError(Exception):
    """A part whose curvature is not proven to be bounded."""


def majorant_of(block: Block, parts: tuple[Expr, ...]) -> tuple[tuple[Expr, ...], str]:
    """For every part of an energy a value, at most quadratic in the block, whose Hessian is at least that of
    the part; and why. Nothing and "" where no bound is proven."""
    rewriting = _Rewriting(block)
    try:
        found = tuple(rewriting.of(part, UPWARD) for part in parts)
    except _UnboundedError:
        return (), ""
    return found, ", ".join(rewriting.because)


@dataclass(frozen=True, slots=True)
class _Rewriting:
    """Rewrites values of one block; `because` gathers what was used of which function."""

    block: Block
    because: dict[str, None] = field(default_factory=dict)

    def of(self, node: Expr, sign: int) -> Expr:
        if self.block.calculus.degrees.affine(node):
            return node
        if sign != EITHER and self.block.calculus.quadratic(node):
            return node if sign == UPWARD else algebra.negative(node)
        match node:
            case Read(name=name) if name in self.block.graph.lets:
                return self.of(self.block.graph.lets[name].value, sign)
            case Fold(function="sum" | "mean", body=body, over=over, guard=guard):
                moving = any(self.block.depends.moves(a) for a in over)
                if moving or (guard is not None and self.block.depends(guard)):
                    raise _UnboundedError
                return replace(node, body=self.of(body, sign))
            case Fold(function="logsumexp", body=body, guard=guard):
                if guard is not None and self.block.depends(guard):
                    raise _UnboundedError
                return replace(node, function="sum", body=self._half_square(node, body, (0.0, 0.5), sign))
            case OverExamples(function="sum" | "mean", body=body) | Tabulate(body=body):
                return replace(node, body=self.of(body, sign))
            case Apply():
                return self._apply(node, sign)
        raise _UnboundedError

    def _apply(self, node: Apply, sign: int) -> Expr:
        depends = self.block.depends
        match node.function, node.arguments:
            case "add", (a, b):
                return algebra.plus(self.of(a, sign), self.of(b, sign))
            case "sub", (a, b):
                return algebra.plus(self.of(a, sign), self.of(b, -sign))
            case "neg", (a,):
                return self.of(a, -sign)
            case (("mul" | "dot"), (a, b)) if not (depends(a) and depends(b)):
                return self._scaled(node, *((b, a) if depends(a) else (a, b)), sign)
            case "div", (a, b) if not depends(b):
                return self._scaled(node, algebra.over(algebra.constant(1.0, b.span), b), a, sign)
            case (("sum" | "mean"), (a,)):
                return replace(node, arguments=(self.of(a, sign),))
            case "logsumexp", (a,):
                # The covariance of a distribution over entries of a vector has no eigenvalue above 1/2.
                squares = self._half_square(node, a, (0.0, 0.5), sign)
                return replace(node, function="sum", arguments=(squares,))
        argument, low, high = self._entrywise(node)
        return self._half_square(node, argument, (low, high), sign)

    def _scaled(self, node: Apply, weight: Expr, value: Expr, sign: int) -> Expr:
        """A fixed weight times a value, entry by entry, or summed as a dot product."""
        ranges = self.block.calculus.ranges(weight)
        if ranges.nonpositive:
            weight, sign = algebra.negative(weight), -sign
        elif not ranges.nonnegative:
            weight, sign = algebra.elementwise("abs", weight), EITHER
        bound = self.of(value, sign)
        if node.function == "dot":
            return replace(node, arguments=(weight, bound))
        return algebra.times(weight, bound)

    def _half_square(
        self, node: Expr, argument: Expr, bends: tuple[Expr | float, Expr | float], sign: int
    ) -> Expr:
        """c/2 u^2 with the c that the sign asks for."""
        if not self.block.calculus.degrees.affine(argument):
            raise _UnboundedError
        low, high = (b if isinstance(b, Expr) else algebra.constant(b, node.span) for b in bends)
        up, down = high, algebra.negative(low)
        bend = _larger(up, down) if sign == EITHER else up if sign == UPWARD else down
        known = number(bend)
        self.because[f"`{text(node)}` by at most {text(bend) if known is None else f'{known:.4g}'}"] = None
        if known == 0:
            return algebra.elementwise("mul", bend, argument)
        half = algebra.times(algebra.constant(0.5, node.span), bend)
        return algebra.times(half, algebra.elementwise("square", argument))

    # --- functions of one number ---

    def _entrywise(self, node: Apply) -> tuple[Expr, Expr | float, Expr | float]:
        """(u, least, largest): an entry as a function of the affine u, and how it bends along u."""
        depends = self.block.depends
        match node.function, node.arguments:
            case name, (u, *rest) if name in _BENDS and not any(map(depends, rest)):
                return u, *_BENDS[name]
            case "log", (Apply(function="cosh", arguments=(u,)),):
                return u, 0.0, 1.0
            case "log", (Apply(function="sigmoid", arguments=(u,)),):
                return u, -0.25, 0.0
            case "log1p", (Apply(function="exp", arguments=(u,)),):
                return u, 0.0, 0.25
            case "log", (Apply(function="add", arguments=(a, b)),) if _is_one_and_exp(a, b):
                return (a if number(b) == 1 else b).children()[0], 0.0, 0.25
            case "log1p", (q,) if (root := square_root(q)) is not None:
                return root, *_SQUARED["log"][:2]
            case name, (Apply(function="add", arguments=(a, b)),) if name in _SQUARED:
                constant, square = (b, a) if depends(a) else (a, b)
                root = square_root(square)
                positive = not depends(constant) and self.block.calculus.ranges(constant).positive
                if root is not None and positive:
                    low, high, exponent = _SQUARED[name]
                    scale = algebra.power(constant, algebra.constant(exponent, node.span))
                    return root, _times(low, scale), _times(high, scale)
        raise _UnboundedError


def _is_one_and_exp(a: Expr, b: Expr) -> bool:
    first, second = (b, a) if number(b) == 1 else (a, b)
    return number(first) == 1 and isinstance(second, Apply) and second.function == "exp"


def _larger(a: Expr, b: Expr) -> Expr:
    x, y = number(a), number(b)
    if x is None or y is None:
        return algebra.elementwise("maximum", a, b)
    return a if x >= y else b


def _times(factor: float, scale: Expr) -> Expr:
    return algebra.times(algebra.constant(factor, scale.span), scale)
