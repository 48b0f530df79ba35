"""Facts about expressions as functions of the sought block: dependence, smoothness, sign.

Everything here is proven from the rows of the built-ins table, never by sampling. A fact that
cannot be proven is reported as unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler import typed
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


class Dependence:
    """Tells which values depend on the sought block; remembers every node it has been asked."""

    def __init__(self, graph: FactorGraph, sought: frozenset[str]) -> None:
        self.graph = graph
        self.sought = sought
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
        if name in self.sought:
            return True
        let = self.graph.lets.get(name)
        if let is None:
            return False
        if name not in self._lets:
            self._lets[name] = self(let.value)
        return self._lets[name]


def smoothness(graph: FactorGraph, root: Expr, depends: Dependence) -> Smoothness:
    """The worst grade of any operation on the way from the sought block to the value."""
    worst, because = 0, ""
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen or not depends(node):
            continue
        seen.add(id(node))
        grade = ROUGHNESS.index(_own_grade(node, depends))
        if grade > worst:
            worst, because = grade, typed.text(node)
        if isinstance(node, Read) and node.name in graph.lets:
            stack.append(graph.lets[node.name].value)
        stack.extend(node.children())
    return Smoothness(ROUGHNESS[worst], because)


def _own_grade(node: Expr, depends: Dependence) -> str:
    match node:
        case Apply(function="pow", arguments=(_, exponent)):
            return _power_grade(exponent, depends)
        case Apply(function="where", arguments=(condition, _, _)):
            return "kink" if depends(condition) else "smooth"
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


_NONNEGATIVE_FUNCTIONS = frozenset(
    {
        "exp",
        "abs",
        "square",
        "sqrt",
        "relu",
        "softplus",
        "sigmoid",
        "huber",
        "norm",
        "norm_squared",
        "softmax",
        "cosh",
    }
)


def nonnegative(graph: FactorGraph, node: Expr) -> bool:
    """Whether a value is proven >= 0 (entry by entry) by declarations and arithmetic."""
    value = number(node)
    if value is not None:
        return value >= 0
    match node:
        case SizeOf():
            return node.size.known_positive(0) is True
        case Read(name=name) if name in graph.lets:
            return nonnegative(graph, graph.lets[name].value)
        case Read(name=name):
            variable = graph.model.variable(name)
            if variable is None:
                return False
            if variable.type.kind == "bool":
                return True
            domain = variable.domain
            if domain.name == "interval":
                low = number(domain.arguments[0])
                return low is not None and low >= 0
            return domain.name in ("nonnegative", "positive", "simplex")
        case Pick(base=base):
            return nonnegative(graph, base)
        case Apply(function="add" | "mul" | "div" | "maximum" | "minimum", arguments=(a, b)):
            if node.function == "mul" and a is b:
                return True
            return nonnegative(graph, a) and nonnegative(graph, b)
        case Apply(function="pow", arguments=(a, b)):
            exponent = number(b)
            return (exponent is not None and exponent % 2 == 0) or nonnegative(graph, a)
        case Apply(function=name) if name in _NONNEGATIVE_FUNCTIONS:
            return True
        case Apply(function="sum" | "mean" | "max" | "min" | "prod", arguments=(a,)):
            return nonnegative(graph, a)
        case Fold(function="sum" | "mean" | "max" | "prod", body=body):
            return nonnegative(graph, body)
    return False


_LINEAR_FUNCTIONS = frozenset({"sum", "mean", "neg", "transpose", "trace", "diag", "cumsum", "reshape"})
_BILINEAR_FUNCTIONS = frozenset({"mul", "matmul", "dot", "outer"})
_JOINING_FUNCTIONS = frozenset({"add", "sub", "concat", "stack"})


def degree(node: Expr, depends: Dependence) -> int | None:
    """The degree of a value as a polynomial in the sought block; None when it is not proven one."""
    if not depends(node):
        return 0
    if isinstance(node, typed.Scan):
        return _scan_degree(node, depends)
    parts = [degree(c, depends) for c in node.children()]
    match node:
        case Read(name=name):
            let = depends.graph.lets.get(name)
            return 1 if let is None else degree(let.value, depends)
        case Apply(function=function, arguments=arguments):
            if any(p is None for p in parts):
                return None
            known = [p for p in parts if p is not None]
            if function in _LINEAR_FUNCTIONS or function in _JOINING_FUNCTIONS:
                return max(known)
            if function in _BILINEAR_FUNCTIONS or function == "einsum":
                return sum(known)
            if function == "div" and known[1] == 0:
                return known[0]
            if function == "where" and known[0] == 0:
                return max(known)
            if function in ("square", "norm_squared"):
                return 2 * known[0]
            if function == "pow" and known[1] == 0:
                exponent = number(arguments[1])
                whole = exponent is not None and exponent >= 0 and float(exponent).is_integer()
                return known[0] * int(exponent) if whole and exponent is not None else None
            return None
        case Pick():
            return parts[0] if all(p == 0 for p in parts[1:]) else None
        case Fold(function="sum" | "mean"):
            return parts[0] if all(p == 0 for p in parts[1:]) else None
        case typed.Carry():
            return 1
        case typed.Pack() | typed.Tabulate() | typed.OverExamples(function="sum" | "mean"):
            return None if any(p is None for p in parts) else max(p for p in parts if p is not None)
    return None


def _scan_degree(scan: typed.Scan, depends: Dependence) -> int | None:
    """Cells that are affine in the cells before them and in the block keep the degree of the starts."""
    bodies = [degree(state.body, depends) for state in scan.states]
    if any(d is None or d > 1 for d in bodies):
        return None
    starts = [degree(start, depends) for state in scan.states for start in state.starts]
    return None if any(d is None for d in starts) else max(1, *(d for d in starts if d is not None), 1)
