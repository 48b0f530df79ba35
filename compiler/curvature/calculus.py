"""Convexity of typed expressions as functions of the sought block.

Disciplined convex programming (Grant, Boyd & Ye 2006) with proven ranges: a function that is
convex on the range of its argument, and increasing there where the argument is convex, is convex.
Every claim is about each entry of a value. A function is taken on the set where it is defined:
`-log(x)` is convex there. Proofs may carry conditions on given values.
"""

from __future__ import annotations

import math
from typing import Literal

from ebmlang.compiler import typed
from ebmlang.compiler.curvature import behaviour as functions
from ebmlang.compiler.curvature.behaviour import Behaviour
from ebmlang.compiler.curvature.obligation import Obligation, Proof, both, folded
from ebmlang.compiler.curvature.products import form_curves
from ebmlang.compiler.curvature.ranges import Ranges
from ebmlang.compiler.curvature.same import same
from ebmlang.compiler.curvature.scalars import SCALAR, compositions
from ebmlang.compiler.curvature.signs import nonnegative, nonpositive
from ebmlang.compiler.degrees import Degrees
from ebmlang.compiler.facts import Dependence, number
from ebmlang.compiler.typed import Apply, Expr, Fold, Pack, Pick, Read, Tabulate

Want = Literal["convex", "concave"]

_ENTRIES = frozenset({"sum", "mean", "cumsum", "trace", "transpose", "reshape", "diag", "concat", "stack"})
"""Sums of entries with weights >= 0, and entries moved about."""

_REDUCED = {"max": "convex", "logsumexp": "convex", "min": "concave"}
"""Increasing in every entry, with their curvature."""

MOST_SETTLED = 24
"""Scalar compositions that are handed to computer algebra, per question."""


class Calculus:
    """Proofs about the nodes of one block; each is worked out once."""

    def __init__(self, depends: Dependence) -> None:
        self.depends = depends
        self.graph = depends.graph
        self.degrees = Degrees(depends)
        self.ranges = Ranges(depends.graph, depends.sought)
        self._memo: dict[tuple[int, Want], tuple[Expr, Proof | None]] = {}
        self._curvatures: dict[int, str] = {}
        self._settled = 0

    def prove(self, node: Expr, want: Want) -> Proof | None:
        """The conditions under which every entry of a value is convex (concave); None: not proven."""
        key = (id(node), want)
        found = self._memo.get(key)
        if found is None:
            proof = () if self.degrees.affine(node) else self._prove(node, want)
            found = (node, proof)
            self._memo[key] = found
        return found[1]

    def convex(self, node: Expr) -> Proof | None:
        return self.prove(node, "convex")

    def concave(self, node: Expr) -> Proof | None:
        return self.prove(node, "concave")

    def quadratic(self, node: Expr) -> bool:
        """Whether a value is proven a polynomial of degree 2 or less."""
        degree = self.degrees(node)
        return degree is not None and degree <= 2

    def blame(self, node: Expr) -> Expr:
        """The innermost part that is proven neither convex nor concave though its parts are."""
        while True:
            for child in self._inside(node):
                if self.depends(child) and self.convex(child) is None and self.concave(child) is None:
                    node = child
                    break
            else:
                return node

    def _inside(self, node: Expr) -> tuple[Expr, ...]:
        let = self.graph.lets.get(node.name) if isinstance(node, Read) else None
        return node.children() if let is None else (let.value,)

    # --- kinds of nodes ---

    def _prove(self, node: Expr, want: Want) -> Proof | None:
        match node:
            case Read(name=name):
                let = self.graph.lets.get(name)
                return None if let is None else self.prove(let.value, want)
            case Pick(base=base):
                if any(self.depends(c) for c in node.children()[1:]):
                    return None
                return self.prove(base, want)
            case Pack(items=items):
                return both(*(self.prove(i, want) for i in items))
            case Fold():
                return self._fold(node, want)
            case Tabulate(body=body, over=over):
                moving = any(self.depends.moves(a) for a in over)
                return None if moving else folded(self.prove(body, want), over, None)
            case typed.OverExamples(function=name, body=body):
                return self._reduction(name, body, want)
            case Apply():
                return self._apply(node, want)
        return None

    def _fold(self, node: Fold, want: Want) -> Proof | None:
        guard = node.guard
        if guard is not None and self.depends(guard):
            return None
        if any(self.depends.moves(a) for a in node.over):
            return None
        return folded(self._reduction(node.function, node.body, want), node.over, guard)

    def _reduction(self, name: str, body: Expr, want: Want) -> Proof | None:
        """A reduction of the entries of `body`."""
        if name in ("sum", "mean", "stack"):
            return self.prove(body, want)
        if name in _REDUCED:
            return self.prove(body, want) if _REDUCED[name] == want else None
        if name in ("var", "std", "norm", "norm_squared"):
            return self._length(name, body) if want == "convex" else None
        if name == "entropy":
            return () if want == "concave" and self.degrees.affine(body) else None
        return None

    def _length(self, name: str, body: Expr) -> Proof | None:
        if self.degrees.affine(body):
            return ()
        if name in ("norm", "norm_squared"):
            # Increasing in every entry that is >= 0, decreasing in those <= 0.
            if self.ranges(body).nonnegative:
                return self.convex(body)
            if self.ranges(body).nonpositive:
                return self.concave(body)
        return None

    # --- applications ---

    def _apply(self, node: Apply, want: Want) -> Proof | None:
        name = node.function
        proof = self._by_rule(node, want)
        if proof is not None:
            return proof
        if name in ("dot", "matmul", "sum") and self.degrees(node) == 2:
            return form_curves(node, want, self.degrees, self.ranges)
        return self._settle(node, want) if name in SCALAR else None

    def _by_rule(self, node: Apply, want: Want) -> Proof | None:
        name, arguments = node.function, node.arguments
        other: Want = "concave" if want == "convex" else "convex"
        match name, arguments:
            case "add", (a, b):
                return both(self.prove(a, want), self.prove(b, want))
            case "sub", (a, b):
                return both(self.prove(a, want), self.prove(b, other))
            case "neg", (a,):
                return self.prove(a, other)
            case "gather", (a, index):
                return None if self.depends(index) else self.prove(a, want)
            case "norm", (a,):
                order = node.option("order")
                whole = isinstance(order, float) and order >= 1
                return self._reduction("norm", a, want) if whole else None
            case "maximum" | "minimum", (a, b):
                right = (name == "maximum") == (want == "convex")
                return both(self.prove(a, want), self.prove(b, want)) if right else None
            case "where", (condition, a, b):
                fixed = not self.depends(condition)
                return both(self.prove(a, want), self.prove(b, want)) if fixed else None
            case "mul" | "matmul" | "dot" | "outer", (a, b):
                return self._product(node, a, b, want)
            case "div", (a, b):
                return self._quotient(a, b, want)
            case "pow", (a, b):
                return self._power(a, b, want)
            case "xlogy", (a, b):
                return self._entropic(a, b, want)
            case "huber", (a, delta):
                if self.depends(delta):
                    return None
                shape = self._composed(functions.behaviour("huber", self.ranges(a)), a, want)
                return None if shape is None else both(shape, nonnegative(delta, self.ranges))
            case "sqrt", (a,) if want == "convex" and self._squares(a):
                return ()
            case "logabsdet", (Read(name=x),) if want == "concave":
                v = self.graph.model.variable(x)
                inside = v is not None and v.domain.name in ("psd", "positive_definite")
                return () if inside and x in self.depends.sought else None
        if name in _ENTRIES:
            return both(*(self.prove(a, want) for a in arguments))
        if name in _REDUCED or name in ("var", "std", "norm_squared", "entropy"):
            return self._reduction(name, arguments[0], want)
        if len(arguments) == 1:
            return self._composed(functions.behaviour(name, self.ranges(arguments[0])), arguments[0], want)
        return None

    def _composed(self, f: Behaviour, argument: Expr, want: Want) -> Proof | None:
        """A function of one number after another one."""
        if f.curvature not in (want, "affine"):
            return None
        if self.degrees.affine(argument):
            return ()
        if not f.total:
            return None
        if f.trend == "increasing":
            return self.prove(argument, want)
        if f.trend == "decreasing":
            return self.prove(argument, "concave" if want == "convex" else "convex")
        return None

    def _product(self, node: Apply, a: Expr, b: Expr, want: Want) -> Proof | None:
        """A product with one fixed side; or a square."""
        if self.depends(a) and self.depends(b):
            if node.function == "mul" and same(a, b):
                return self._composed(functions.behaviour("square", self.ranges(a)), a, want)
            return None
        weight, value = (b, a) if self.depends(a) else (a, b)
        return self._weighed(weight, value, want)

    def _weighed(self, weight: Expr, value: Expr, want: Want) -> Proof | None:
        """A value whose entries are multiplied by fixed ones, and perhaps added up."""
        other: Want = "concave" if want == "convex" else "convex"
        straight, sign = self.prove(value, want), nonnegative(weight, self.ranges)
        if straight is not None and sign == ():
            return straight
        turned = self.prove(value, other)
        if straight is not None and sign is not None and turned is None:
            return both(straight, sign)
        return None if turned is None else both(turned, nonpositive(weight, self.ranges))

    def _quotient(self, a: Expr, b: Expr, want: Want) -> Proof | None:
        if not self.depends(b):
            return self._weighed(b, a, want)
        below = self.ranges(b)
        if not self.depends(a):
            # c / b is c times a function that is convex and decreasing above 0.
            inverse = functions.power(-1.0, below)
            straight = self._composed(inverse, b, want)
            if straight is not None:
                return both(straight, nonnegative(a, self.ranges))
            turned = self._composed(inverse, b, "concave" if want == "convex" else "convex")
            return None if turned is None else both(turned, nonpositive(a, self.ranges))
        if want == "convex" and below.positive and self.degrees.affine(b):
            # A square over a positive affine value (Boyd & Vandenberghe 2004, 3.1.5).
            match a:
                case Apply(function="square" | "norm_squared", arguments=(r,)) if self.degrees.affine(r):
                    return ()
                case Apply(function="pow", arguments=(r, p)) if number(p) == 2 and self.degrees.affine(r):
                    return ()
        return None

    def _power(self, a: Expr, b: Expr, want: Want) -> Proof | None:
        exponent = number(b)
        if exponent is not None and math.isfinite(exponent):
            return self._composed(functions.power(exponent, self.ranges(a)), a, want)
        base = self.ranges(a)
        if self.depends(a) or not base.positive or want != "convex":
            return None
        if self.degrees.affine(b):
            return ()
        if base.low >= 1:
            return self.convex(b)
        return self.concave(b) if base.high <= 1 else None

    def _entropic(self, a: Expr, b: Expr, want: Want) -> Proof | None:
        """x * log(y)."""
        if not self.depends(a):
            # The logarithm of a concave value is concave.
            logarithm = self._composed(functions.behaviour("log", self.ranges(b)), b, "concave")
            if logarithm is None:
                return None
            return both(logarithm, (nonnegative if want == "concave" else nonpositive)(a, self.ranges))
        if want == "convex" and same(a, b) and self.degrees.affine(a):
            return ()
        if not self.depends(b) and self.ranges(b).positive:
            if self.degrees.affine(a):
                return ()
            if self.ranges(b).low >= 1:
                return self.prove(a, want)
        return None

    def _squares(self, node: Expr) -> bool:
        """Whether a value is a sum of squares of affine values and of constants >= 0: its root is a
        length. Weights must be proven."""
        if not self.depends(node):
            return self.ranges(node).nonnegative
        match node:
            case Apply(function="square" | "norm_squared" | "var", arguments=(r,)):
                return self.degrees.affine(r)
            case Apply(function="pow", arguments=(r, p)):
                return number(p) == 2 and self.degrees.affine(r)
            case Apply(function="add", arguments=(a, b)):
                return self._squares(a) and self._squares(b)
            case Apply(function="mul", arguments=(a, b)) if same(a, b):
                return self.degrees.affine(a)
            case Apply(function="mul", arguments=(a, b)) if not (self.depends(a) and self.depends(b)):
                weight, value = (b, a) if self.depends(a) else (a, b)
                return self.ranges(weight).nonnegative and self._squares(value)
            case Apply(function="div", arguments=(a, b)) if not self.depends(b):
                return self.ranges(b).nonnegative and self._squares(a)
            case Apply(function="sum" | "mean" | "reshape" | "cumsum", arguments=(a,)):
                return self._squares(a)
            case Apply(function="dot", arguments=(a, b)) if same(a, b):
                return self.degrees.affine(a)
            case Apply(function="matmul", arguments=(a, b)) if a.type.rank == 1 and same(a, b):
                return self.degrees.affine(a)
            case Fold(function="sum" | "mean", body=body, over=over, guard=guard):
                fixed = guard is None or not self.depends(guard)
                return fixed and not any(self.depends.moves(a) for a in over) and self._squares(body)
            case Read(name=name) if name in self.graph.lets:
                return self._squares(self.graph.lets[name].value)
            case Pick(base=base):
                return not any(self.depends(c) for c in node.children()[1:]) and self._squares(base)
            case Tabulate(body=body, over=over):
                return not any(self.depends.moves(a) for a in over) and self._squares(body)
        return False

    def _settle(self, node: Apply, want: Want) -> Proof | None:
        """A scalar composition, by the sign of its second derivative."""
        known = self._curvatures.get(id(node))
        if known is None:
            known = ""
            for found in compositions(node, self.degrees, self.ranges):
                if not known and self._settled < MOST_SETTLED:
                    # Computer algebra is imported by the first question that needs it.
                    from ebmlang.compiler.curvature.algebra import curvature

                    self._settled += 1
                    known = curvature(found)
            self._curvatures[id(node)] = known
        return () if known in (want, "affine") else None


__all__ = ["Calculus", "Obligation", "Proof", "Want"]
