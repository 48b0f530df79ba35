"""Values where nets and maps that are trained are constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ebmlang.compiler import notation, typed
from ebmlang.compiler.curvature.ranges import Ranges
from ebmlang.compiler.curvature.same import same
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.nets.net import Net
from ebmlang.compiler.typed import Apply, Constant, Expr, Fold, Level, Pick, Read, Scan, Variable
from ebmlang.compiler.types import REAL, Type

FROZEN, STOPPED, UNKNOWN, SOLVED = "average ", "stopped ", "recurrence ", "minimum "
CONSTANT = "constant "
"""Beginnings of names for values that stand for themselves; no program can use them."""

_TO_ZERO = frozenset(
    {
        "linear", "mlp", "conv", "convnet", "resnet_small", "embedding", "layer_norm", "rnn", "gru", "lstm",
        "transformer",
    }
)  # fmt: skip
"""Constructors with parameters under which every result is 0: those of the last layer are 0, and a recurrent
layer without weights keeps its first state, which is 0."""

_TO_ANY = frozenset({"linear", "mlp", "convnet", "resnet_small", "embedding", "layer_norm", "transformer"})
"""Constructors whose last parameters are a bias, or rows, which every result may equal at once."""

_OF_ZERO = frozenset(
    {
        "neg", "transpose", "reshape", "gather", "diag", "trace", "sum", "mean", "max", "min", "std", "var",
        "cov", "norm", "norm_squared", "abs", "square", "sqrt", "relu", "tanh", "sin", "sinh", "tan", "asin",
        "atan", "erf", "expm1", "log1p", "huber", "gelu", "silu", "floor", "ceil", "round", "sign", "sort",
        "cumsum",
    }
)  # fmt: skip
"""Functions that are 0 where their first operand is."""

_PRODUCTS = frozenset({"mul", "matmul", "dot", "outer", "einsum"})
_DELICATE = {
    "div": 1, "floordiv": 1, "mod": 1, "log": 0, "pow": 0, "inverse": 0, "linear_solve": 0, "logabsdet": 0,
    "lgamma": 0, "xlogy": 1,
}  # fmt: skip
"""Functions that do not exist everywhere, and the operand that decides."""

_FOLDS_OF_ZERO = frozenset({"sum", "mean", "std", "var"})
_SPREADS = frozenset({"std", "var", "cov"})


def can_be_zero(net: Net) -> bool:
    if net.build is None:
        return False
    affine = net.build.constructor != "layer_norm" or bool(net.build.option("affine"))
    return net.build.constructor in _TO_ZERO and affine


def can_be_any(net: Net) -> bool:
    """Whether every constant vector, the same at all positions, is a value of the net for all inputs."""
    if net.build is None or net.build.constructor not in _TO_ANY:
        return False
    options = dict(net.build.options)
    return bool(options.get("bias", True)) and bool(options.get("affine", True))


@dataclass(frozen=True, slots=True)
class Case:
    """What is constant: nets and parameters in `trained`, at 0 or at a value that all of one type share
    (`alike`); unknowns in `settled` are 0."""

    trained: frozenset[str]
    alike: bool
    settled: frozenset[str] = frozenset()


@dataclass
class Constants:
    """Rewrites values for one case: what becomes 0, or the same for all examples, is found.

    `undefined` is set where a value may not exist in this case, as 0 / 0.
    """

    graph: FactorGraph
    case: Case
    ranges: Ranges
    memo: dict[int, tuple[Expr, Expr]] = field(default_factory=dict)
    carries: tuple[typed.Axis, ...] = ()
    undefined: bool = False

    def __call__(self, node: Expr) -> Expr:
        found = self.memo.get(id(node))
        if found is None:
            found = (node, self._value(node))
            self.memo[id(node)] = found
        return found[1]

    def _value(self, node: Expr) -> Expr:
        match node:
            case Read(name=name):
                return self._read(node, name)
            case Apply(function="net" | "net_slope"):
                return self._net(node)
            case Apply(function="stop", arguments=(inner,)):
                # Training does not follow the slope of the loss there: what is lowest says nothing.
                stopped = self.graph.depends(inner, self.case.trained)
                return opaque(node, STOPPED) if stopped else self(inner)
            case Scan():
                return self._scan(node)
            case typed.Carry() if node.axis in self.carries:
                return zero(node.type, node)
            case typed.Carry():
                return opaque(node, UNKNOWN)
            case typed.Solve():
                return opaque(node, SOLVED)
        children = tuple(self(c) for c in node.children())
        if isinstance(node, Apply) and not self._defined(node, children):
            self.undefined = True
        return self.simpler(typed.rebuilt(node, children))

    def _defined(self, node: Apply, parts: tuple[Expr, ...]) -> bool:
        """Whether a division or a logarithm exists in this case, as far as it reads what is constant."""
        delicate = _DELICATE.get(node.function)
        if delicate is None or parts[delicate] is node.arguments[delicate]:
            return True
        value = self.ranges(parts[delicate])
        if node.function == "pow":
            return self.ranges(parts[1]).positive or value.positive
        return value.positive or (value.negative and node.function == "div") or _generic(parts[delicate])

    # --- what is put in ---

    def _read(self, node: Read, name: str) -> Expr:
        let = self.graph.lets.get(name)
        if let is not None:
            return self(let.value)
        if name in self.case.settled:
            return zero(node.type, node)
        if name not in self.case.trained:
            return node
        variable = self.graph.model.variable(name)
        assert variable is not None
        if self.case.alike and variable.type.rank <= 1 and variable.domain.name == "reals":
            return shared(node.type, node)
        return zero(node.type, node) if holds_zero(variable, self.ranges) else node

    def _net(self, node: Apply) -> Expr:
        own = node.arguments[0]
        net = self.graph.model.net(own.name) if isinstance(own, Read) else None
        if net is None:
            return node
        if net.source:
            return opaque(node, f"{FROZEN}{net.name} ")
        if net.name in self.case.trained:
            if node.function == "net_slope" and can_be_zero(net):
                return zero(node.type, node)
            if self.case.alike and can_be_any(net):
                return shared(node.type, node)
            if not self.case.alike and can_be_zero(net):
                return zero(node.type, node)
        return typed.rebuilt(node, (own, *(self(a) for a in node.arguments[1:])))

    def _scan(self, scan: Scan) -> Expr:
        """A recurrence is 0 where it starts at 0 and every step keeps it there."""
        inside = replace(self, memo={}, carries=(*self.carries, scan.axis))
        still = all(is_zero(inside(part)) for part in scan.children())
        self.undefined = self.undefined or inside.undefined
        if still:
            return zero(scan.type, scan)
        return opaque(scan, UNKNOWN)

    # --- what follows ---

    def simpler(self, node: Expr) -> Expr:
        match node:
            case Apply():
                return self._apply(node)
            case Pick(base=base):
                return _cell(node) or (zero(node.type, node) if is_zero(base) else node)
            case Fold(function=name, body=body):
                alike = name in ("std", "var") and not _moves(body, node.over)
                return zero(node.type, node) if alike or _empty(name, body) else node
            case typed.OverExamples(function=name, body=body):
                return self._over_examples(node, name, body)
            case typed.Tabulate(body=body):
                return zero(node.type, node) if is_zero(body) else node
            case typed.Pack(items=items):
                return zero(node.type, node) if all(map(is_zero, items)) else node
        return node

    def _over_examples(self, node: Expr, name: str, body: Expr) -> Expr:
        if body.level is not Level.EXAMPLE:
            if name in _SPREADS:
                return zero(node.type, node)
            if name in ("mean", "max", "min"):
                return body
        return zero(node.type, node) if _empty(name, body) else node

    def _apply(self, node: Apply) -> Expr:
        name, parts = node.function, node.arguments
        if name in _PRODUCTS:
            return zero(node.type, node) if any(map(is_zero, parts)) else node
        if name in _OF_ZERO or name in ("concat", "stack", "maximum", "minimum"):
            counted = parts if name not in _OF_ZERO else parts[:1]
            return zero(node.type, node) if all(map(is_zero, counted)) else node
        match name:
            case "add":
                return _sum(node, parts[0], parts[1])
            case "sub":
                if same(*parts) or all(map(is_zero, parts)):
                    return zero(node.type, node)
                return parts[0] if is_zero(parts[1]) and parts[0].type == node.type else node
            case "div":
                below = self.ranges(parts[1])
                safe = is_zero(parts[0]) and (below.positive or below.negative)
                return zero(node.type, node) if safe else node
            case "pow":
                safe = is_zero(parts[0]) and self.ranges(parts[1]).positive
                return zero(node.type, node) if safe else node
            case "where":
                if same(parts[1], parts[2]) and parts[1].type == node.type:
                    return parts[1]
                return zero(node.type, node) if all(map(is_zero, parts[1:])) else node
        return node


def _sum(node: Apply, a: Expr, b: Expr) -> Expr:
    if is_zero(a) and is_zero(b):
        return zero(node.type, node)
    if is_zero(a) and b.type == node.type:
        return b
    return a if is_zero(b) and a.type == node.type else node


def _generic(node: Expr) -> bool:
    """Whether a value is positive for some constant that all trained values share: a length of it."""
    match node:
        case Apply(function="norm" | "norm_squared" | "abs", arguments=(Read(name=name),)):
            return name.startswith(CONSTANT)
        case Apply(function="mul", arguments=(a, b)):
            return _generic(a) and _generic(b)
        case Apply(function="sqrt" | "square", arguments=(a,)):
            return _generic(a)
    return False


def _empty(function: str, body: Expr) -> bool:
    return function in _FOLDS_OF_ZERO and is_zero(body)


def _moves(body: Expr, over: typed.Axes) -> bool:
    return any(axis in over for axis in body.axes)


def _cell(node: Pick) -> Expr | None:
    """An entry of a table whose entries are all alike."""
    base = node.base
    if not isinstance(base, typed.Tabulate) or _moves(base.body, base.over):
        return None
    own = node.subscripts[: len(base.over)]
    rest = node.subscripts[len(base.over) :]
    single = all(isinstance(s, Expr) and s.type.scalar for s in own) and len(own) == len(base.over)
    whole = all(isinstance(s, typed.SliceOf) for s in rest)
    return base.body if single and whole and base.body.type.shape == node.type.shape else None


# --- values that are put in ---------------------------------------------------------------------


def zero(type_: Type, at: Expr) -> Expr:
    if type_.scalar:
        return Constant(REAL, (), Level.CONSTANT, False, at.span, 0.0)
    return Apply(type_, (), Level.CONSTANT, False, at.span, "zeros", (), (("shape", type_.shape),))


def shared(type_: Type, at: Expr) -> Expr:
    """The constant that everything trained of one type equals."""
    return Read(type_, (), Level.SHARED, False, at.span, f"{CONSTANT}{type_}")


def opaque(node: Expr, kind: str) -> Expr:
    """A value of which nothing is known but that it stays what it is."""
    places = " ".join(str(axis.order) for axis in node.axes)
    name = f"{kind}{notation.text(node)} {places}".rstrip()
    return Read(node.type, node.axes, node.level, node.coupled, node.span, name)


def is_zero(node: Expr) -> bool:
    match node:
        case Constant(value=value):
            return not isinstance(value, bool) and value == 0
        case typed.SizeOf(size=size):
            return size.constant == 0
        case Apply(function="zeros"):
            return True
    return False


def holds_zero(variable: Variable, ranges: Callable[[Expr], object]) -> bool:
    """Whether 0 lies in the domain of a parameter."""
    match variable.domain.name:
        case "reals" | "nonnegative" | "psd":
            return True
        case "interval":
            ends = [a.value for a in variable.domain.arguments if isinstance(a, Constant)]
            sizes = [a.size.constant for a in variable.domain.arguments if isinstance(a, typed.SizeOf)]
            known = [float(v) for v in (*ends, *sizes) if v is not None]
            return len(known) == 2 and min(known) <= 0 <= max(known)
    return False
