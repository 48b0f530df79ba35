"""The slow evaluator: what a checked model means, entry by entry, in plain Python.

It shares nothing with the code generator. Plates and reductions are loops over their indices,
guards are `if`, examples are taken one after the other, and arithmetic is that of Python numbers.
It is the oracle for everything that is generated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import optimize

from ebmlang.compiler import notation, typed
from ebmlang.compiler.nested import inner_model
from ebmlang.compiler.typed import Axis, Expr, Model

Array = Any
"""A numpy array of float64, int64 or bool; scalars have no dimensions."""

Place = Mapping[int, int]
"""Where each open axis stands, by the order of the axis: 0 is its first position."""


@dataclass
class Reference:
    """Values of expressions of one model.

    `sizes` are the integer hyperparameters, `shared` the other values that are the same for all
    examples, `rows` one mapping per example, `nets` functions of plain arrays.
    """

    model: Model
    sizes: Mapping[str, int]
    shared: Mapping[str, Array]
    rows: Sequence[Mapping[str, Array]]
    lets: dict[tuple[str, int], Array] = field(default_factory=dict)
    cells: dict[tuple[int, str], dict[int, Array]] = field(default_factory=dict)
    nets: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    # --- whole models ---

    def let(self, name: str, row: int) -> Array:
        found = next(x for x in self.model.lets if x.name == name)
        return self.value(found.value, row, {})

    def factor(self, term: typed.Term, row: int) -> list[float | None]:
        """The value at every position of the plates, in order; None where the guard is false."""
        places = self._places(term.axes, row, {})
        return [
            float(self.value(term.value, row, at)) if self._holds(term.guard, row, at) else None
            for at in places
        ]

    def term(self, term: typed.Term, row: int) -> float:
        return sum(v for v in self.factor(term, row) if v is not None)

    def demand(self, constraint: typed.Constraint, row: int, static: bool) -> list[Array]:
        """What a constraint bounds, at every position of its plates; where the guard is false nothing when
        that is known early (`static`), else 0."""
        cells = []
        for at in self._places(constraint.axes, row, {}):
            if self._holds(constraint.guard, row, at):
                cells.append(_real(self.value(constraint.value, row, at)))
            elif not static:
                cells.append(np.zeros([s.evaluate(self.sizes) for s in constraint.value.type.shape]))
        return cells

    # --- expressions ---

    def value(self, node: Expr, row: int, at: Place) -> Array:
        match node:
            case typed.Constant(value=value):
                return np.asarray(value)
            case typed.SizeOf(size=size):
                return np.asarray(size.evaluate(self.sizes))
            case typed.Position(axis=axis, column=column):
                return np.asarray(self._index(axis, column, row, at))
            case typed.Read(name=name):
                return self._read(name, row)
            case typed.Apply():
                return self._apply(node, row, at)
            case typed.Pick():
                return self._pick(node, row, at)
            case typed.Pack(items=items):
                return _joined([self.value(i, row, at) for i in items], node.type.kind)
            case typed.Fold():
                return self._fold(node, row, at)
            case typed.Tabulate(body=body, over=over):
                shape = [self._count(axis, row) for axis in over]
                cells = [self.value(body, row, place) for place in self._places(over, row, at)]
                return np.asarray(cells).reshape(*shape, *cells[0].shape) if cells else np.zeros(shape)
            case typed.Carry(axis=axis, name=name, offset=offset):
                return self.cells[axis.order, name][self._index(axis, 0, row, at) + offset]
            case typed.Scan():
                return self._scan(node, row, at)
            case typed.Solve():
                return self._solve(node, row, at)
            case typed.OverExamples(function=name, body=body):
                every = np.asarray([_real(self.value(body, r, at)) for r in range(len(self.rows))])
                if name == "cov":
                    return _covariance(every)
                if name == "stack":
                    return every
                return _each(lambda *entries: _FOLDS[name](list(entries)), *every)
        raise AssertionError(type(node).__name__)

    def _read(self, name: str, row: int) -> Array:
        if name in self.sizes:
            return np.asarray(self.sizes[name])
        if name in self.shared:
            return np.asarray(self.shared[name])
        if name in self.rows[row]:
            return np.asarray(self.rows[row][name])
        if (name, row) not in self.lets:
            self.lets[name, row] = self.let(name, row)
        return self.lets[name, row]

    def _scan(self, node: typed.Scan, row: int, at: Place) -> Array:
        """All states of a recurrence step by step; the cells of one of them as an array."""
        axis = node.axis
        count = self._count(axis, row)
        stop = axis.start.evaluate(self.sizes) + count
        tables: list[dict[int, Array]] = []
        for state in node.states:
            first = stop + state.offset if node.backward else 0
            starts = [self.value(start, row, at) for start in state.starts]
            tables.append({first + k: start for k, start in enumerate(starts)})
        for state, table in zip(node.states, tables, strict=True):
            self.cells[axis.order, state.name] = table
        for position in reversed(range(count)) if node.backward else range(count):
            place = {**at, axis.order: position}
            for state, table in zip(node.states, tables, strict=True):
                cell = self.value(state.body, row, place)
                table[self._index(axis, 0, row, place) + state.offset] = cell
        table, kind = tables[node.which], node.type.kind
        ordered = [_real(table[k]) if kind == "real" else table[k] for k in sorted(table)]
        assert sorted(table) == list(range(len(ordered)))
        return np.stack(ordered, axis=node.state.dim)

    def _solve(self, node: typed.Solve, row: int, at: Place) -> Array:
        """The minimum of a nested model without bounds, by quasi-Newton steps with differences."""
        nested, model = node.nested, inner_model(node)
        sizes = {name: size.evaluate(self.sizes) for name, size in nested.sizes}
        inputs = (self.value(value, row, at) for value in node.inputs)
        given = dict(zip(nested.given, inputs, strict=True))
        nets = {n: self.nets[lent.net.name] for n, lent in zip(nested.nets, node.nets, strict=True)}
        sought = [v for v in model.variables if v.name in nested.sought]
        shapes = [tuple(s.evaluate(sizes) for s in v.type.shape) for v in sought]
        ends = np.cumsum([math.prod(shape) for shape in shapes])

        def unknown(x: Array) -> dict[str, Array]:
            parts = zip(sought, np.split(x, ends[:-1]), shapes, strict=True)
            return {v.name: part.reshape(shape) for v, part, shape in parts}

        def energy(x: Array) -> float:
            inner = Reference(model, sizes, given, [unknown(x)], nets=nets)
            return float(sum(inner.term(term, 0) for term in model.terms))

        found = optimize.minimize(energy, np.zeros(ends[-1]), method="BFGS", options={"gtol": 1e-9})
        return unknown(found.x)[node.which]

    # --- axes ---

    def _count(self, axis: Axis, row: int) -> int:
        if axis.rows is not None:
            return len(self.value(axis.rows, row, {}))
        assert axis.size is not None
        return axis.size.evaluate(self.sizes)

    def _index(self, axis: Axis, column: int, row: int, at: Place) -> int:
        if axis.rows is not None:
            entry = self.value(axis.rows, row, {})[at[axis.order]]
            return int(entry[column] if np.ndim(entry) else entry)
        return axis.start.evaluate(self.sizes) + at[axis.order]

    def _places(self, axes: typed.Axes, row: int, at: Place) -> Iterator[Place]:
        for positions in itertools.product(*(range(self._count(axis, row)) for axis in axes)):
            yield {**at, **{axis.order: p for axis, p in zip(axes, positions, strict=True)}}

    def _holds(self, guard: Expr | None, row: int, at: Place) -> bool:
        """Guards are decided from left to right: what an `and` excludes is not looked at."""
        if guard is None:
            return True
        if isinstance(guard, typed.Apply) and guard.function == "and":
            return all(self._holds(part, row, at) for part in guard.arguments)
        if isinstance(guard, typed.Apply) and guard.function == "or":
            return any(self._holds(part, row, at) for part in guard.arguments)
        return bool(self.value(guard, row, at))

    def _fold(self, node: typed.Fold, row: int, at: Place) -> Array:
        kept = [p for p in self._places(node.over, row, at) if self._holds(node.guard, row, p)]
        cells = [self.value(node.body, row, p) for p in kept]
        if node.type.kind == "real":
            cells = [_real(c) for c in cells]
        if not cells:
            shape = [s.evaluate(self.sizes) for s in node.type.shape]
            return np.full(shape, _FOLDS[node.function]([]))
        return _each(lambda *entries: _FOLDS[node.function](list(entries)), *cells)

    # --- subscripts ---

    def _pick(self, node: typed.Pick, row: int, at: Place) -> Array:
        base = self.value(node.base, row, at)
        spots: list[list[Any]] = []
        shape: list[int] = []
        dims = iter(base.shape)
        for s in node.subscripts:
            if isinstance(s, typed.NewAxis):
                shape.append(1)
                continue
            size = next(dims)
            if isinstance(s, typed.SliceOf):
                chosen = list(range(s.start.evaluate(self.sizes), s.stop.evaluate(self.sizes)))
                shape.append(len(chosen))
            else:
                index = self.value(s, row, at)
                chosen = [int(i) for i in index.flatten()]
                shape += index.shape
            assert all(0 <= i < size for i in chosen), f"{notation.text(node)} leaves its array"
            spots.append(chosen)
        cells = [base[place] for place in itertools.product(*spots)]
        return np.asarray(cells, dtype=base.dtype).reshape(shape)

    # --- functions ---

    def _apply(self, node: typed.Apply, row: int, at: Place) -> Array:
        if node.function in ("and", "or", "where"):
            return self._lazy(node, row, at)
        if node.function == "net":
            return self._net(node, row, at)
        values = [self.value(a, row, at) for a in node.arguments]
        name = node.function
        if name in SCALAR:
            values = [np.asarray(v).astype(float) for v in values] if node.type.kind == "real" else values
            return _each(SCALAR[name], *_stretched(values))
        options = dict(node.static)
        if name in ("zeros", "ones", "identity", "reshape", "onehot", "top_softmax"):
            return self._shaped(name, values, options)
        if name == "huber":
            delta = [np.asarray(options["delta"])] if "delta" in options else []
            return _each(_huber, *_stretched([_real(v) for v in (*values, *delta)]))
        if name in _FOLDS and ("axis" in options or "dims" in options):
            return _reduced(name, values[0], options, node.type.kind)
        return ARRAYS[name](values, options)

    def _net(self, node: typed.Apply, row: int, at: Place) -> Array:
        own, *arguments = node.arguments
        assert isinstance(own, typed.Read)
        found = self.nets[own.name](*(self.value(a, row, at) for a in arguments))
        return np.asarray(found if node.option("of") == 1 else found[node.option("output")])

    def _lazy(self, node: typed.Apply, row: int, at: Place) -> Array:
        first = self.value(node.arguments[0], row, at)
        if node.function == "where" and not np.shape(first):
            # Decided before it is computed: what is left out may have no value.
            chosen = self.value(node.arguments[1 if first else 2], row, at)
            shape = [s.evaluate(self.sizes) for s in node.type.shape]
            return np.broadcast_to(_real(chosen) if node.type.kind == "real" else chosen, shape)
        if node.function == "where":
            branches = [self.value(a, row, at) for a in node.arguments[1:]]
            if node.type.kind == "real":
                branches = [_real(b) for b in branches]
            return _each(lambda c, a, b: a if c else b, *_stretched([first, *branches]))
        second = self.value(node.arguments[1], row, at)
        decide = all if node.function == "and" else any
        return _each(lambda a, b: decide((a, b)), *_stretched([first, second]))

    def _shaped(self, name: str, values: list[Array], options: dict[str, Any]) -> Array:
        if name == "onehot":
            count = options["size"].evaluate(self.sizes)
            return np.asarray([[float(i == k) for k in range(count)] for i in values[0].flatten()]).reshape(
                *values[0].shape, count
            )
        if name == "top_softmax":
            count = options["size"].evaluate(self.sizes)
            return _along(lambda line: _top_softmax(line, count))(values, options)
        shape = [s.evaluate(self.sizes) for s in options["shape"]]
        if name == "reshape":
            return np.asarray(list(values[0].flatten())).reshape(shape)
        cells = [
            float(name == "ones" or (name == "identity" and i == j)) for i, j in np.ndindex(*_two(shape))
        ]
        return np.asarray(cells).reshape(shape)


# --- numbers ------------------------------------------------------------------------------------


def _quiet(function: Callable[..., float]) -> Callable[..., float]:
    """The value that floating-point arithmetic gives where Python's math raises."""

    def safe(*numbers: Any) -> float:
        try:
            return function(*(float(x) for x in numbers))
        except (ValueError, ZeroDivisionError, OverflowError):
            return math.nan

    return safe


def _divide(x: float, y: float) -> float:
    if y == 0:
        return math.nan if x == 0 or math.isnan(x) else math.copysign(math.inf, x) * math.copysign(1, y)
    return x / y


def _log(x: float) -> float:
    return math.log(x) if x > 0 else (-math.inf if x == 0 else math.nan)


def _exp(x: float) -> float:
    return math.inf if x > 709.7 else math.exp(x)


def _power(x: Any, y: Any) -> Any:
    if isinstance(x, int | np.integer) and isinstance(y, int | np.integer) and y >= 0:
        return int(x) ** int(y)
    x, y = float(x), float(y)
    if x == 0 and y < 0:
        return math.inf
    if x < 0 and not y.is_integer():
        return math.nan
    try:
        return x**y
    except OverflowError:
        return math.inf


def _sigmoid(x: float) -> float:
    return 0.0 if x <= -700 else 1 / (1 + math.exp(-x))


def _softplus(x: float) -> float:
    return x if x > 30 else math.log1p(math.exp(x))


def _normal_share(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def _xlogy(x: float, y: float) -> float:
    return 0.0 if x == 0 else x * _log(y)


def _huber(x: float, delta: float) -> float:
    return x * x / 2 if abs(x) <= delta else delta * (abs(x) - delta / 2)


def _wrap(x: float) -> float:
    return (x + math.pi) % (2 * math.pi) - math.pi


def _remainder(x: Any, y: Any) -> Any:
    return x % y if y else math.nan


def _floor(x: Any, y: Any) -> Any:
    return x // y if y else _divide(x, y)


def _signum(x: Any) -> Any:
    return x if isinstance(x, bool | np.bool_) else (x > 0) * 1 - (x < 0) * 1


SCALAR: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y if not _truths(x, y) else int(x) + int(y),
    "sub": lambda x, y: x - y if not _truths(x, y) else int(x) - int(y),
    "mul": lambda x, y: x * y if not _truths(x, y) else int(x) * int(y),
    "div": lambda x, y: _divide(float(x), float(y)),
    "floordiv": _floor,
    "mod": _remainder,
    "pow": _power,
    "stop": lambda x: x,
    "neg": lambda x: -x if not _truths(x) else -int(x),
    "lt": lambda x, y: bool(x < y),
    "le": lambda x, y: bool(x <= y),
    "gt": lambda x, y: bool(x > y),
    "ge": lambda x, y: bool(x >= y),
    "eq": lambda x, y: bool(x == y),
    "ne": lambda x, y: bool(x != y),
    "not": lambda x: not x,
    "exp": _quiet(_exp),
    "log": _quiet(_log),
    "log1p": _quiet(lambda x: -math.inf if x == -1 else math.log1p(x)),
    "expm1": _quiet(math.expm1),
    "sqrt": _quiet(math.sqrt),
    "square": _quiet(lambda x: x * x),
    "abs": abs,
    "sign": _signum,
    "floor": _quiet(math.floor),
    "ceil": _quiet(math.ceil),
    "round": _quiet(round),
    "sin": _quiet(math.sin),
    "cos": _quiet(math.cos),
    "tan": _quiet(math.tan),
    "asin": _quiet(math.asin),
    "acos": _quiet(math.acos),
    "atan": _quiet(math.atan),
    "sinh": _quiet(math.sinh),
    "cosh": _quiet(math.cosh),
    "tanh": _quiet(math.tanh),
    "erf": _quiet(math.erf),
    "lgamma": _quiet(math.lgamma),
    "sigmoid": _quiet(_sigmoid),
    "relu": _quiet(lambda x: x if x != x else max(x, 0.0)),
    "softplus": _quiet(_softplus),
    "gelu": _quiet(lambda x: x * _normal_share(x)),
    "silu": _quiet(lambda x: x * _sigmoid(x)),
    "wrap": _quiet(_wrap),
    "atan2": _quiet(math.atan2),
    "xlogy": _quiet(_xlogy),
    "maximum": lambda x, y: (x or y) if _truths(x, y) else _top([x, y]),
    "minimum": lambda x, y: (x and y) if _truths(x, y) else _bottom([x, y]),
    "clamp": lambda x, low, high: _bottom([_top([x, low]), high]),
}


def _truths(*values: Any) -> bool:
    return all(isinstance(v, bool | np.bool_) for v in values)


# --- reductions ---------------------------------------------------------------------------------


def _top(x: list[Any], default: float = -math.inf) -> Any:
    """The largest number; one that is not a number spoils it, as in tensors."""
    if any(v != v for v in x):
        return math.nan
    return max((int(v) if _truths(v) else v for v in x), default=default)


def _bottom(x: list[Any]) -> Any:
    if any(v != v for v in x):
        return math.nan
    return min((int(v) if _truths(v) else v for v in x), default=math.inf)


def _mean(x: list[Any]) -> float:
    return sum(x) / len(x) if x else math.nan


def _variance(x: list[Any]) -> float:
    if len(x) < 2:
        return math.nan
    mean = _mean(x)
    return float(sum((v - mean) ** 2 for v in x) / (len(x) - 1))


def _logsumexp(x: list[Any]) -> float:
    top = _top(x)
    if not math.isfinite(top):
        return float(top)
    return float(top + math.log(sum(math.exp(v - top) for v in x)))


def _product(x: list[Any]) -> Any:
    total = 1
    for v in x:
        total = total * (int(v) if _truths(v) else v)
    return total


_FOLDS: dict[str, Callable[[list[Any]], Any]] = {
    "sum": lambda x: sum(int(v) if _truths(v) else v for v in x),
    "mean": _mean,
    "prod": _product,
    "max": _top,
    "min": _bottom,
    "std": lambda x: math.sqrt(_variance(x)),
    "var": _variance,
    "logsumexp": _logsumexp,
    "entropy": lambda x: -sum(_xlogy(v, v) for v in x),
    "argmax": lambda x: x.index(max(x)),
    "argmin": lambda x: x.index(min(x)),
    "all": lambda x: all(bool(v) for v in x),
    "any": lambda x: any(bool(v) for v in x),
}

REDUCTIONS = frozenset(_FOLDS)


def _reduced(name: str, x: Array, options: dict[str, Any], kind: str) -> Array:
    values = _real(x) if kind == "real" else x
    if "axis" in options and options.get("axis") is not None:
        axis = options["axis"] % x.ndim
        rest = [range(n) for i, n in enumerate(x.shape) if i != axis]
        cells = []
        for place in itertools.product(*rest):
            line = [values[(*place[:axis], i, *place[axis:])] for i in range(x.shape[axis])]
            cells.append(_FOLDS[name](line))
        return np.asarray(cells).reshape([n for i, n in enumerate(x.shape) if i != axis])
    return np.asarray(_FOLDS[name](list(values.flatten())))


# --- arrays -------------------------------------------------------------------------------------


def _matmul(values: list[Array], options: dict[str, Any]) -> Array:
    a, b = values
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    out = np.zeros((*left.shape[:-1], right.shape[-1]), dtype=np.result_type(left, right))
    for front in np.ndindex(*left.shape[:-2]):
        for i, j in np.ndindex(left.shape[-2], right.shape[-1]):
            cells = [left[(*front, i, k)] * right[(*front, k, j)] for k in range(left.shape[-1])]
            out[(*front, i, j)] = sum(cells)
    if a.ndim == 1:
        out = out[..., 0, :]
    return out[..., 0] if b.ndim == 1 else out


def _transpose(values: list[Array], options: dict[str, Any]) -> Array:
    (a,) = values
    shape = (*a.shape[:-2], a.shape[-1], a.shape[-2])
    return np.asarray([a[(*p[:-2], p[-1], p[-2])] for p in np.ndindex(shape)]).reshape(shape)


def _norm(values: list[Array], options: dict[str, Any]) -> Array:
    entries = [abs(float(v)) for v in values[0].flatten()]
    order = options["order"]
    if math.isinf(order):
        return np.asarray(_top(entries))
    if len(entries) == 1:
        return np.asarray(entries[0])
    return np.asarray(sum(v**order for v in entries) ** (1 / order))


def _einsum(values: list[Array], options: dict[str, Any]) -> Array:
    inputs, output = options["spec"].split("->")
    names = inputs.split(",")
    sizes = {
        c: n for letters, v in zip(names, values, strict=True) for c, n in zip(letters, v.shape, strict=True)
    }
    out = np.zeros([sizes[c] for c in output])
    for place in itertools.product(*(range(n) for n in sizes.values())):
        at = dict(zip(sizes, place, strict=True))
        product = 1.0
        for letters, v in zip(names, values, strict=True):
            product *= float(v[tuple(at[c] for c in letters)])
        out[tuple(at[c] for c in output)] += product
    return out


def _eliminate(a: Array, b: Array) -> tuple[Array, float]:
    """x with a @ x = b, and the determinant of a, by Gauss elimination with pivoting."""
    n = len(a)
    m = [[float(v) for v in row] for row in a]
    r = [[float(v) for v in row] for row in b]
    determinant = 1.0
    for k in range(n):
        pivot = max(range(k, n), key=lambda i: abs(m[i][k]))
        if m[pivot][k] == 0:
            return np.full(np.shape(b), math.nan), 0.0
        if pivot != k:
            m[k], m[pivot], r[k], r[pivot] = m[pivot], m[k], r[pivot], r[k]
            determinant = -determinant
        determinant *= m[k][k]
        for i in range(n):
            if i != k:
                factor = m[i][k] / m[k][k]
                m[i] = [x - factor * y for x, y in zip(m[i], m[k], strict=True)]
                r[i] = [x - factor * y for x, y in zip(r[i], r[k], strict=True)]
    return np.asarray([[v / m[i][i] for v in r[i]] for i in range(n)]), determinant


def _solve(values: list[Array], options: dict[str, Any]) -> Array:
    a, b = values
    return _eliminate(a, b[:, None])[0][:, 0] if options["vector"] else _eliminate(a, b)[0]


def _diag(values: list[Array], options: dict[str, Any]) -> Array:
    (a,) = values
    n = len(a)
    if options["make"]:
        return np.asarray([[a[i] if i == j else a[i] * 0 for j in range(n)] for i in range(n)])
    return np.asarray([a[i, i] for i in range(n)])


def _covariance(x: Array) -> Array:
    rows, columns = x.shape
    if rows < 2:
        return np.full((columns, columns), math.nan)
    means = [_mean([float(x[r, c]) for r in range(rows)]) for c in range(columns)]
    return np.asarray(
        [
            [
                sum((x[r, i] - means[i]) * (x[r, j] - means[j]) for r in range(rows)) / (rows - 1)
                for j in range(columns)
            ]
            for i in range(columns)
        ]
    )


def _along(one: Callable[[list[Any]], list[Any]]) -> Callable[[list[Array], dict[str, Any]], Array]:
    """A function of a line of numbers, for every line along an axis."""

    def function(values: list[Array], options: dict[str, Any]) -> Array:
        (x,) = values
        axis = options["axis"] % x.ndim
        out = np.empty(x.shape, dtype=object)
        for place in np.ndindex(*(n for i, n in enumerate(x.shape) if i != axis)):
            spots = [(*place[:axis], i, *place[axis:]) for i in range(x.shape[axis])]
            for spot, v in zip(spots, one([x[s] for s in spots]), strict=True):
                out[spot] = v
        return _plain(out)

    return function


def _softmax(line: list[Any]) -> list[Any]:
    top = max(line)
    weights = [math.exp(v - top) for v in line]
    return [w / sum(weights) for w in weights]


def _top_softmax(line: list[Any], count: int) -> list[Any]:
    chosen = sorted(range(len(line)), key=lambda i: -line[i])[:count]
    shares = dict(zip(chosen, _softmax([line[i] for i in chosen]), strict=True))
    return [shares.get(i, 0.0) for i in range(len(line))]


def _cumsum(line: list[Any]) -> list[Any]:
    return [sum(int(v) if _truths(v) else v for v in line[: i + 1]) for i in range(len(line))]


def _concat(values: list[Array], options: dict[str, Any]) -> Array:
    axis = options["axis"] % values[0].ndim
    shape = list(values[0].shape)
    shape[axis] = sum(v.shape[axis] for v in values)
    out = np.empty(shape, dtype=object)
    offset = 0
    for v in values:
        for place in np.ndindex(*v.shape):
            out[(*place[:axis], place[axis] + offset, *place[axis + 1 :])] = v[place]
        offset += v.shape[axis]
    return _plain(out)


ARRAYS: dict[str, Callable[[list[Array], dict[str, Any]], Array]] = {
    "matmul": _matmul,
    "transpose": _transpose,
    "dot": _matmul,
    "outer": lambda v, o: np.asarray([[float(x) * float(y) for y in v[1]] for x in v[0]]),
    "norm": _norm,
    "norm_squared": lambda v, o: np.asarray(sum(float(x) ** 2 for x in v[0].flatten())),
    "einsum": _einsum,
    "diag": _diag,
    "trace": lambda v, o: np.asarray(sum(v[0][i, i] for i in range(len(v[0])))),
    "det": lambda v, o: np.asarray(_eliminate(v[0], v[0])[1]),
    "logabsdet": lambda v, o: np.asarray(_log(abs(_eliminate(v[0], v[0])[1]))),
    "inverse": lambda v, o: _eliminate(v[0], np.eye(len(v[0])))[0],
    "linear_solve": _solve,
    "cov": lambda v, o: _covariance(_real(v[0])),
    "softmax": _along(_softmax),
    "cumsum": _along(_cumsum),
    "sort": _along(sorted),
    "concat": _concat,
    "stack": lambda v, o: _joined(v, ""),
    "gather": lambda v, o: np.asarray([v[0][int(i)] for i in v[1].flatten()]).reshape(
        *v[1].shape, *v[0].shape[1:]
    ),
}


# --- building arrays ----------------------------------------------------------------------------


def _each(function: Callable[..., Any], *arrays: Array) -> Array:
    """A function of numbers, at every place of arrays of one shape."""
    out = np.empty(np.shape(arrays[0]), dtype=object)
    for place in np.ndindex(*np.shape(arrays[0])):
        out[place] = function(*(_number(a[place]) for a in arrays))
    return _plain(out)


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, np.generic | np.ndarray) else x


def _plain(cells: Array) -> Array:
    """An array of objects as one of bools, integers or reals."""
    kinds = {type(v) for v in cells.flatten()}
    dtype = bool if kinds <= {bool} and kinds else np.int64 if kinds <= {int, bool} and kinds else np.float64
    return cells.astype(dtype)


def _real(x: Array) -> Array:
    return np.asarray(x).astype(np.float64)


def _stretched(values: Sequence[Array]) -> list[Array]:
    shape = np.broadcast_shapes(*(np.shape(v) for v in values))
    rank = len(shape)
    return [np.broadcast_to(np.reshape(v, np.shape(v) or [1] * rank), shape) for v in values]


def _joined(values: list[Array], kind: str) -> Array:
    cells = [_real(v) for v in values] if kind == "real" else list(values)
    return np.asarray(cells)


def _two(shape: list[int]) -> tuple[int, int]:
    return (shape[0], shape[1]) if len(shape) == 2 else (math.prod(shape), 1)
