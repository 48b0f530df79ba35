"""Facts about expressions as functions of the sought block: dependence and smoothness.

Everything here is proven from the rows of the built-ins table, never by sampling. A fact that
cannot be proven is reported as unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ebmlang.compiler import notation, typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.typed import Apply, Constant, Expr, Fold, Pick, Read, SizeOf

ROUGHNESS = ("smooth", "piecewise", "kink", "steps")
"""From the best to the worst: twice differentiable, differentiable apart from a null set without
kinks a minimiser sits in, kinks, piecewise constant."""


@dataclass(frozen=True, slots=True)
class Smoothness:
    """How smooth a value is in the sought block, and the operation that makes it no smoother."""

    grade: str
    because: str


def direction_name(variable: str) -> str:
    """What stands for the direction of a variable in derivatives; no program can use this name."""
    return f"direction of {variable}"


class Dependence:
    """Tells which values depend on the sought block; remembers every node it has been asked."""

    def __init__(self, graph: FactorGraph, sought: frozenset[str]) -> None:
        self.graph = graph
        self.sought = sought
        # Derivatives along a direction move with it as they move with the sought variables.
        self._moving = sought | {direction_name(name) for name in sought}
        # The node stands beside its answer: an id may be used again once its node is gone.
        self._memo: dict[int, tuple[Expr, bool]] = {}
        self._lets: dict[str, bool] = {}

    def __call__(self, node: Expr) -> bool:
        found = self._memo.get(id(node))
        if found is not None:
            return found[1]
        if isinstance(node, Read):
            known = self.reads(node.name)
        elif isinstance(node, typed.Carry):
            known = True  # it moves from step to step: no value of it can be computed beforehand
        elif isinstance(node, typed.Scan):
            known = self._scan(node)
        else:
            axes = (*node.axes, *node.over) if isinstance(node, Fold | typed.Tabulate) else node.axes
            known = any(self(c) for c in node.children()) or any(self.moves(a) for a in axes)
        self._memo[id(node)] = (node, known)
        return known

    def _scan(self, scan: typed.Scan) -> bool:
        """Whether anything but its own carries makes a recurrence depend on the sought block."""
        parts = scan.children()
        bound = {n.axis for part in parts for n in typed.walk(part) if isinstance(n, typed.Scan)}
        bound.add(scan.axis)
        for node in (n for part in parts for n in typed.walk(part)):
            if isinstance(node, Read) and self.reads(node.name):
                return True
            if isinstance(node, typed.Carry) and node.axis not in bound:
                return True
            over = node.over if isinstance(node, Fold | typed.Tabulate) else ()
            if any(self.moves(a) for a in (*node.axes, *over)):
                return True
        return False

    def moves(self, axis: typed.Axis) -> bool:
        """Whether the rows or the selection that an axis runs over depend on the sought block."""
        parts = (axis.rows, axis.guard)
        return any(p is not None and self(p) for p in parts) or any(self.moves(p) for p in axis.parents)

    def reads(self, name: str) -> bool:
        """Whether a variable is sought, or a let computed from a sought one."""
        if name in self._moving:
            return True
        let = self.graph.lets.get(name)
        if let is None:
            return False
        if name not in self._lets:
            self._lets[name] = self(let.value)
        return self._lets[name]


Positive = Callable[[Expr], bool]
"""Whether every entry of a value is proven > 0."""


def smoothness(graph: FactorGraph, root: Expr, depends: Dependence, positive: Positive) -> Smoothness:
    """The worst grade of any operation on the way from the sought block to the value."""
    worst, because = 0, ""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen or not depends(node):
            continue
        seen.add(id(node))
        grade = ROUGHNESS.index(_own_grade(node, depends, positive))
        if grade > worst:
            worst, because = grade, notation.text(node)
        if isinstance(node, Read) and node.name in graph.lets:
            stack.append(graph.lets[node.name].value)
        for child in node.children():
            stack.extend(_below(graph, child) if _hides(graph, node, child, depends) else (child,))
    return Smoothness(ROUGHNESS[worst], because)


def _opened(graph: FactorGraph, node: Expr) -> Expr:
    """What stands behind the name of a let."""
    while isinstance(node, Read) and node.name in graph.lets:
        node = graph.lets[node.name].value
    return node


def _below(graph: FactorGraph, node: Expr) -> tuple[Expr, ...]:
    return _opened(graph, node).children()


def _hides(graph: FactorGraph, node: Expr, child: Expr, depends: Dependence) -> bool:
    """Whether a function of a length has no kink where the length is 0: it is infinite there, as 1 / ||u||
    and log(||u||) are, or twice differentiable, as ||u||^4 is."""
    length = _opened(graph, child)
    if not isinstance(length, Apply) or length.function not in ("norm", "abs"):
        return False
    if length.function == "norm" and length.option("order") != 2.0:
        return False
    match node:
        case Apply(function="div", arguments=(a, b)):
            return b is child and not depends(a)
        case Apply(function="log"):
            return True
        case Apply(function="square"):
            return True
        case Apply(function="pow", arguments=(a, p)):
            power = number(p)
            return a is child and power is not None and (power < 0 or power >= 2)
    return False


_BENT = frozenset({"relu", "std"})
"""Convex functions of grade `piecewise` whose slope jumps."""


def bent(graph: FactorGraph, root: Expr, depends: Dependence) -> Expr | None:
    """A convex function below the root whose slope jumps, unless its square or Huber loss is taken."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen or not depends(node):
            continue
        seen.add(id(node))
        if isinstance(node, Apply | Fold) and node.function in _BENT:
            return node
        if isinstance(node, Read) and node.name in graph.lets:
            stack.append(graph.lets[node.name].value)
        for child in node.children():
            flat = _flattens(node, child) and isinstance(child, Apply) and child.function == "relu"
            stack.extend(child.children() if flat else (child,))
    return None


def _flattens(node: Expr, child: Expr) -> bool:
    """Whether a function has the slope 0 where this argument of it is 0."""
    match node:
        case Apply(function="square" | "norm_squared" | "huber", arguments=(a, *_)):
            return a is child
        case Apply(function="pow", arguments=(a, p)):
            power = number(p)
            return a is child and power is not None and power > 1
    return False


def _own_grade(node: Expr, depends: Dependence, positive: Positive) -> str:
    match node:
        case Apply(function="pow", arguments=(base, exponent)):
            return "smooth" if positive(base) else _power_grade(exponent, depends)
        case Apply(function="sqrt", arguments=(base,)):
            # The slope at 0 is infinite; a root of squares has a kink there.
            return "smooth" if positive(base) else "kink"
        case Apply(function="where", arguments=(condition, _, _)):
            return "kink" if depends(condition) else "smooth"
        case Apply(function="net", arguments=(Read(name=name), *_)):
            net = depends.graph.model.net(name)
            return "steps" if net is None else net.grade
        case Apply(function="net_slope", arguments=(Read(name=name), *_)):
            net = depends.graph.model.net(name)
            return "smooth" if net is not None and net.grade == "smooth" else "steps"
        case Apply(function=name):
            row = BUILTINS[name]
            if row.form == "comparison":
                # A comparison only matters through what it selects, and `where` is graded for it.
                return "steps"
            return row.smoothness
        case Fold(function=name) | typed.OverExamples(function=name):
            return BUILTINS[name].smoothness
        case Pick():
            moving = any(depends(s) for s in node.subscripts if isinstance(s, Expr))
            return "steps" if moving else "smooth"
        case typed.Solve():
            from ebmlang.compiler.nested import grade  # loaded late: it analyses the nested problem

            return grade(node)
    return "smooth"


def _power_grade(exponent: Expr, depends: Dependence) -> str:
    if depends(exponent):
        return "smooth"
    value = number(exponent)
    if value is None:
        return "kink"
    if float(value).is_integer():
        return "smooth"
    return "smooth" if value > 2 else "kink"


def number(node: Expr) -> float | None:
    """The value of a constant expression, or None."""
    match node:
        case Constant():
            return float(node.value)
        case SizeOf():
            value = node.size.constant
            return None if value is None else float(value)
        case Apply(function="neg", arguments=(a,)):
            inner = number(a)
            return None if inner is None else -inner
        case Apply(function="add" | "sub" | "mul" | "div" as op, arguments=(a, b)):
            x, y = number(a), number(b)
            if x is None or y is None or (op == "div" and y == 0):
                return None
            return {"add": x + y, "sub": x - y, "mul": x * y, "div": x / y if y else 0.0}[op]
    return None
