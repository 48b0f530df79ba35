"""Quadratic forms: products that are a matrix between the same vector on both sides."""

from __future__ import annotations

from ebmlang.compiler import notation
from ebmlang.compiler.curvature.obligation import Obligation, Proof, both
from ebmlang.compiler.curvature.ranges import Ranges
from ebmlang.compiler.curvature.same import same
from ebmlang.compiler.curvature.signs import nonnegative, nonpositive
from ebmlang.compiler.degrees import Degrees
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.typed import Apply, Expr, Read

Link = tuple[Expr, bool]
"""A matrix of a product and whether it stands transposed."""

Weight = Expr | None
"""A number that a product is multiplied with or divided by; None for -1."""


def form_curves(node: Apply, want: str, degrees: Degrees, ranges: Ranges) -> Proof | None:
    """Whether a product is `w v' M' A M v` with v affine in the block, A positive semidefinite and w a fixed
    number: w >= 0 for `convex`, w <= 0 for `concave`."""
    sides = _sides(node)
    if sides is None:
        return None
    depends = degrees.depends
    left, v, front = _column(sides[0], depends)
    right, w, back = _column(sides[1], depends)
    if not (same(v, w) and degrees.affine(v)):
        return None
    middle = [(m, not turned) for m, turned in reversed(left)] + right
    if any(depends(m) for m, _ in middle):
        return None
    while len(middle) >= 2 and _turned(middle[0], middle[-1]):
        middle = middle[1:-1]
    if len(middle) > 1:
        return None
    shape = semidefinite(middle[0][0], ranges) if middle else ()
    return None if shape is None else both(_scaled([*front, *back], want, ranges), shape)


def _scaled(weights: list[Weight], want: str, ranges: Ranges) -> Proof | None:
    """Whether a product of numbers is >= 0 (convex) or <= 0 (concave); one of them may be of unknown sign."""
    sign = 1 if want == "convex" else -1
    unknown: list[Expr] = []
    for weight in weights:
        if weight is None:
            sign = -sign
            continue
        if ranges(weight).nonnegative:
            continue
        if ranges(weight).nonpositive:
            sign = -sign
        else:
            unknown.append(weight)
    if not unknown:
        return () if sign > 0 else None
    if len(unknown) > 1:
        return None
    return (nonnegative if sign > 0 else nonpositive)(unknown[0], ranges)


def _sides(node: Apply) -> tuple[Expr, Expr] | None:
    """The two vectors of an inner product, or the two arrays multiplied entry by entry under a sum."""
    match node:
        case Apply(function="dot", arguments=(a, b)):
            return a, b
        case Apply(function="matmul", arguments=(a, b)) if a.type.rank == 1 and b.type.rank == 1:
            return a, b
        case Apply(function="sum", arguments=(Apply(function="mul", arguments=(a, b)),)):
            whole = node.option("dims") is not None and a.type.shape == b.type.shape and a.type.rank > 0
            return (a, b) if whole else None
    return None


def _column(v: Expr, depends: Dependence) -> tuple[list[Link], Expr, list[Weight]]:
    """Matrices in front of a vector (or of the columns of a matrix), outermost first, the rest, and the
    numbers that stand in front of any of them."""
    links: list[Link] = []
    weights: list[Weight] = []
    while isinstance(v, Apply):
        match v.function, v.arguments:
            case "neg", (a,):
                weights.append(None)
                v = a
            case "mul", (a, b) if a.type.scalar and not depends(a):
                weights.append(a)
                v = b
            case (("mul" | "div"), (a, b)) if b.type.scalar and not depends(b):
                weights.append(b)
                v = a
            case "matmul", (a, b) if a.type.rank == 2 and b.type.rank >= 1:
                links += _chain(a, False)
                v = b
            case "matmul", (a, b) if a.type.rank == 1 and b.type.rank == 2:
                links += _chain(b, True)
                v = a
            case _:
                break
    return links, v, weights


def _chain(a: Expr, turned: bool) -> list[Link]:
    match a:
        case Apply(function="transpose", arguments=(inner,)) if a.type.rank == 2:
            return _chain(inner, not turned)
        case Apply(function="matmul", arguments=(x, y)) if x.type.rank == 2 and y.type.rank == 2:
            parts = (_chain(y, True), _chain(x, True)) if turned else (_chain(x, False), _chain(y, False))
            return [*parts[0], *parts[1]]
    return [(a, turned)]


def _turned(a: Link, b: Link) -> bool:
    return a[1] != b[1] and same(a[0], b[0])


def semidefinite(a: Expr, ranges: Ranges) -> Proof | None:
    """Whether a matrix that the block does not move is positive semidefinite."""
    proven = _semidefinite(a, ranges)
    if proven is not None:
        return proven
    if a.type.rank != 2 or a.axes or a.type.kind != "real":
        return None
    return (Obligation(a, f"{notation.text(a)} is positive semidefinite", "psd"),)


def _semidefinite(a: Expr, ranges: Ranges) -> Proof | None:
    match a:
        case Read(name=name):
            let = ranges.graph.lets.get(name)
            if let is not None:
                return _semidefinite(let.value, ranges)
            v = ranges.graph.model.variable(name)
            checked = v is not None and v.role in ("hyper", "observed") and not v.missing
            inside = v is not None and v.domain.name in ("psd", "positive_definite")
            return () if checked and inside and a.type.rank == 2 else None
        case Apply(function="identity" | "cov"):
            return ()
        case Apply(function="diag", arguments=(v,)) if v.type.rank == 1:
            return nonnegative(v, ranges)
        case Apply(function="add", arguments=(x, y)) if x.type == y.type:
            return both(_semidefinite(x, ranges), _semidefinite(y, ranges))
        case Apply(function="mul", arguments=(x, y)) if x.type.scalar or y.type.scalar:
            scale, matrix = (x, y) if x.type.scalar else (y, x)
            inner = _semidefinite(matrix, ranges)
            return None if inner is None else both(inner, nonnegative(scale, ranges))
        case Apply(function="div", arguments=(x, y)) if y.type.scalar:
            inner = _semidefinite(x, ranges)
            return None if inner is None else both(inner, nonnegative(y, ranges))
        case Apply(function="transpose" | "inverse", arguments=(x,)):
            return _semidefinite(x, ranges)
        case Apply(function="outer", arguments=(x, y)) if same(x, y):
            return ()
        case Apply(function="matmul"):
            middle = _chain(a, False)
            while len(middle) >= 2 and _turned(middle[0], middle[-1]):
                middle = middle[1:-1]
            if not middle:
                return ()
            return _semidefinite(middle[0][0], ranges) if len(middle) == 1 else None
    return None
