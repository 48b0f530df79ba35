"""Forward mode: how a value changes along a direction of the sought variables.

Applied to the parts of a gradient it gives the product of the Hessian with the direction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ebmlang.compiler import typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.derivatives import algebra
from ebmlang.compiler.derivatives.algebra import NoDerivativeError, apply, constant, times, widened
from ebmlang.compiler.derivatives.arrays import matmul, outer, scatter, transposed
from ebmlang.compiler.derivatives.rules import deviation_slope, reached, spread_back, variance_slope
from ebmlang.compiler.derivatives.scans import Key, Loop, changed, group_key
from ebmlang.compiler.derivatives.slopes import net_change
from ebmlang.compiler.derivatives.templates import partial
from ebmlang.compiler.facts import Dependence, direction_name
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.typed import Apply, Expr, Fold, OverExamples, Pack, Pick, Read, Scan, Tabulate

_LINEAR = frozenset({"neg", "transpose", "trace", "diag", "cumsum", "sum", "mean", "reshape"})
"""Functions of one array that are linear: the change of the value is the function of the change."""

_BILINEAR = frozenset({"mul", "matmul", "dot", "outer", "einsum"})


@dataclass(slots=True)
class Tangent:
    """Forward mode over expressions that `canonical` has made unique.

    Inside of a recurrence cells move too; what does not read them is left to the one `outside`.
    """

    depends: Dependence
    canonical: Callable[[Expr], Expr]
    outside: Tangent | None = None
    cells: Dependence | None = None
    _loops: dict[Key, tuple[Expr, ...]] = field(default_factory=dict)
    _known: dict[int, Expr] = field(default_factory=dict)

    def __call__(self, node: Expr) -> Expr:
        """The change of a value that moves with the sought variables; it may be narrow.

        Raises NoDerivativeError.
        """
        node = self.canonical(node)
        if self.outside is not None and self.cells is not None and not self.cells(node):
            return self.outside(node)
        found = self._known.get(id(node))
        if found is None:
            found = self._known[id(node)] = self.canonical(self._of(node))
        return found

    def _of(self, node: Expr) -> Expr:
        if not self.depends(node):
            return constant(0.0, node.span)
        match node:
            case Read() if node.name in self.depends.sought:
                return Read(
                    node.type, node.axes, node.level, node.coupled, node.span, direction_name(node.name)
                )
            case Read():
                return self(self.depends.graph.lets[node.name].value)
            case Apply():
                return self._apply(node)
            case Fold():
                return self._fold(node)
            case OverExamples(function="sum"):
                change = self(node.body)
                return algebra.sum_examples(change)
            case Pick():
                change = widened(self(node.base), node.base.type.shape)
                return pick(change, node.subscripts, node.span)
            case typed.Scatter():
                change = widened(self(node.value), node.value.type.shape)
                return scatter(change, node.subscripts, node.over, node)
            case Pack():
                shape = node.type.shape[1:]
                items = tuple(widened(self(item), shape) for item in node.items)
                return typed.rebuilt(node, items)
            case Scan():
                return self._scan(node)
            case Tabulate():
                return typed.rebuilt(node, (widened(self(node.body), node.body.type.shape),))
        raise NoDerivativeError(f"{type(node).__name__} has no derivative")

    def _apply(self, node: Apply) -> Expr:
        name, arguments = node.function, node.arguments
        if name in _LINEAR:
            factor, change = algebra.taken_apart(widened(self(arguments[0]), arguments[0].type.shape))
            if change is None:
                change, factor = widened(self(arguments[0]), arguments[0].type.shape), None
            value = algebra.negative(change) if name == "neg" else typed.rebuilt(node, (change,))
            return value if factor is None else times(factor, value)
        if name in ("concat", "stack"):
            return typed.rebuilt(node, tuple(widened(self(a), a.type.shape) for a in arguments))
        if name == "gather":
            return typed.rebuilt(node, (widened(self(arguments[0]), arguments[0].type.shape), arguments[1]))
        if name in _BILINEAR:
            return algebra.total(self._with(node, i) for i, a in enumerate(arguments) if self.depends(a))
        special = _SPECIAL.get(name)
        if special is not None:
            return special(self, node)
        form = BUILTINS[name].form
        if form == "net":
            moving = [(i, a) for i, a in enumerate(arguments) if self.depends(a)]
            return algebra.total([net_change(node, i, self(a)) for i, a in moving])
        if form == "comparison":
            return constant(0.0, node.span)
        if form not in ("elementwise", "operator"):
            raise NoDerivativeError(f"`{name}` has no second derivative row")
        parts = [times(self(a), partial(node, i)) for i, a in enumerate(arguments) if self.depends(a)]
        return algebra.total(parts)

    def _with(self, node: Apply, operand: int) -> Expr:
        """A product with one operand replaced by its change."""
        arguments = list(node.arguments)
        change = self(arguments[operand])
        if node.function == "mul":
            return times(change, arguments[1 - operand])
        arguments[operand] = widened(change, arguments[operand].type.shape)
        if node.function == "matmul":
            return matmul(arguments[0], arguments[1])
        if node.function == "outer":
            return outer(arguments[0], arguments[1])
        return apply(node.function, tuple(arguments), node.type.shape, node.static)

    def _scan(self, node: Scan) -> Expr:
        key = group_key(node)
        if key not in self._loops:
            graph = self.depends.graph
            loop = Loop(node, graph.lets, self.canonical, len(self._loops))

            def inside(names: frozenset[str]) -> Tangent:
                moving = Dependence(graph, self.depends.sought | names)
                return Tangent(moving, self.canonical, self, Dependence(graph, names))

            self._loops[key] = changed(loop, self, inside, direction_name)
        return self._loops[key][node.which]

    def _fold(self, node: Fold) -> Expr:
        zero = constant(0.0, node.span)
        change = widened(self(node.body), node.body.type.shape)
        match node.function:
            case "sum" | "mean" if node.guard is None:
                if node.function == "sum":
                    return algebra.sum_axes(change, node.over)
                return _folded(node, "mean", change, None)
            case "sum" | "mean":
                return _folded(node, node.function, change, node.guard)
            case "logsumexp":
                share = algebra.elementwise("exp", algebra.minus(node.body, node))
                weighted = times(share, change)
                if node.guard is not None:
                    weighted = algebra.where(node.guard, weighted, zero)
                return algebra.sum_axes(weighted, node.over)
        raise NoDerivativeError(f"`{node.function}` over an index")


def _folded(node: Fold, function: str, body: Expr, guard: Expr | None) -> Expr:
    parts = (body,) if guard is None else (body, guard)
    axes = tuple(a for a in typed.merge_axes(parts) if a not in node.over)
    level, coupled = max(p.level for p in parts), any(p.coupled for p in parts)
    return Fold(body.type, axes, level, coupled, node.span, function, body, node.over, guard)


# --- functions with a change of their own form --------------------------------------------------


def _sub(tangent: Tangent, node: Apply) -> Expr:
    a, b = node.arguments
    if not tangent.depends(b):
        return tangent(a)
    return algebra.minus(tangent(a), tangent(b))


def _add(tangent: Tangent, node: Apply) -> Expr:
    return algebra.plus(tangent(node.arguments[0]), tangent(node.arguments[1]))


def _div(tangent: Tangent, node: Apply) -> Expr:
    top, bottom = node.arguments
    change = algebra.over(tangent(top), bottom)
    if not tangent.depends(bottom):
        return change
    return algebra.minus(change, times(node, algebra.over(tangent(bottom), bottom)))


def _where(tangent: Tangent, node: Apply) -> Expr:
    condition, a, b = node.arguments
    return algebra.where(condition, tangent(a), tangent(b))


def _stop(tangent: Tangent, node: Apply) -> Expr:
    return constant(0.0, node.span)


def _norm_squared(tangent: Tangent, node: Apply) -> Expr:
    (x,) = node.arguments
    twice = times(constant(2.0, node.span), times(x, tangent(x)))
    return algebra.sum_entries(widened(twice, x.type.shape))


def _norm(tangent: Tangent, node: Apply) -> Expr:
    (x,) = node.arguments
    if node.option("order") != 2.0:
        raise NoDerivativeError("a norm that is not Euclidean")
    one = constant(1.0, node.span)
    length = algebra.where(algebra.compared("gt", node, constant(0.0, node.span)), node, one)
    return algebra.over(algebra.sum_entries(widened(times(x, tangent(x)), x.type.shape)), length)


def _reduced(tangent: Tangent, node: Apply, weight: Expr) -> Expr:
    (x,) = node.arguments
    weighted = widened(times(weight, tangent(x)), x.type.shape)
    return apply("sum", (weighted,), node.type.shape, node.static)


def _logsumexp(tangent: Tangent, node: Apply) -> Expr:
    share = algebra.elementwise("exp", algebra.minus(node.arguments[0], spread_back(node, node)))
    return _reduced(tangent, node, share)


def _entropy(tangent: Tangent, node: Apply) -> Expr:
    slope = algebra.plus(algebra.elementwise("log", node.arguments[0]), constant(1.0, node.span))
    return algebra.negative(_reduced(tangent, node, slope))


def _var(tangent: Tangent, node: Apply) -> Expr:
    return _reduced(tangent, node, variance_slope(node))


def _std(tangent: Tangent, node: Apply) -> Expr:
    return algebra.over(_reduced(tangent, node, deviation_slope(node)), node)


def _extreme(tangent: Tangent, node: Apply) -> Expr:
    reaches, count = reached(node)
    return algebra.over(_reduced(tangent, node, reaches), count)


def _softmax(tangent: Tangent, node: Apply) -> Expr:
    axis = node.option("axis")
    assert isinstance(axis, int)
    weighted = times(node, tangent(node.arguments[0]))
    mean = algebra.kept_dimension(
        algebra.sum_axis(widened(weighted, node.type.shape), axis), axis, node.type.rank
    )
    return algebra.minus(weighted, times(mean, node))


def _inverse(tangent: Tangent, node: Apply) -> Expr:
    change = widened(tangent(node.arguments[0]), node.type.shape)
    return algebra.negative(matmul(matmul(node, change), node))


def _logabsdet(tangent: Tangent, node: Apply) -> Expr:
    (a,) = node.arguments
    inverse = apply("inverse", (a,), a.type.shape)
    return algebra.sum_entries(times(transposed(inverse), widened(tangent(a), a.type.shape)))


def _det(tangent: Tangent, node: Apply) -> Expr:
    return times(node, _logabsdet(tangent, node))


def _linear_solve(tangent: Tangent, node: Apply) -> Expr:
    a, b = node.arguments
    right = widened(tangent(b), b.type.shape)
    if tangent.depends(a):
        right = algebra.minus(right, matmul(widened(tangent(a), a.type.shape), node))
    return apply("linear_solve", (a, right), node.type.shape, node.static)


_SPECIAL: dict[str, Callable[[Tangent, Apply], Expr]] = {
    "add": _add,
    "sub": _sub,
    "div": _div,
    "where": _where,
    "stop": _stop,
    "norm_squared": _norm_squared,
    "norm": _norm,
    "logsumexp": _logsumexp,
    "entropy": _entropy,
    "var": _var,
    "std": _std,
    "max": _extreme,
    "min": _extreme,
    "det": _det,
    "softmax": _softmax,
    "top_softmax": _softmax,
    "inverse": _inverse,
    "logabsdet": _logabsdet,
    "linear_solve": _linear_solve,
}
