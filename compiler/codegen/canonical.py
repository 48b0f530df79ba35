"""Equal subexpressions made one node, so that each is computed once."""

from __future__ import annotations

from ebmlang.compiler import typed
from ebmlang.compiler.typed import (
    Apply,
    Carry,
    Constant,
    Expr,
    Fold,
    NewAxis,
    OverExamples,
    Pack,
    Pick,
    Position,
    Read,
    Scan,
    Scatter,
    SizeOf,
    SliceOf,
    Solve,
    Tabulate,
)

Key = tuple[object, ...]


class Canonical:
    """Interns expressions: structurally equal ones become the same object."""

    def __init__(self) -> None:
        self._known: dict[Key, Expr] = {}
        self._memo: dict[int, Expr] = {}
        # Keeps originals alive: the memo is keyed by their ids.
        self._kept: list[Expr] = []

    def __call__(self, node: Expr) -> Expr:
        done = self._memo.get(id(node))
        if done is None:
            rebuilt = typed.rebuilt(node, tuple(self(c) for c in node.children()))
            done = self._known.setdefault(self._key(rebuilt), rebuilt)
            self._memo[id(node)] = done
            self._memo[id(done)] = done
            self._kept += (node, done)
        return done

    def _key(self, node: Expr) -> Key:
        children = tuple(id(c) for c in node.children())
        match node:
            case Constant():
                return ("constant", type(node.value), str(node.value))
            case SizeOf():
                return ("size", node.size)
            case Position():
                return ("position", node.axis.order, tuple(p.order for p in node.axis.parents), node.column)
            case Read():
                return ("read", node.name)
            case Apply():
                return ("apply", node.function, children, node.static, node.type)
            case Pick():
                return ("pick", children, tuple(_subscript_key(s) for s in node.subscripts))
            case Scatter():
                subscripts = tuple(_subscript_key(s) for s in node.subscripts)
                return ("scatter", children, subscripts, tuple(a.order for a in node.over), node.type)
            case Pack():
                return ("pack", children)
            case Fold():
                return ("fold", node.function, children, tuple(a.order for a in node.over))
            case Tabulate():
                return ("tabulate", children, tuple(a.order for a in node.over))
            case OverExamples():
                return ("examples", node.function, children)
            case Solve():
                return ("solve", node.nested.part, id(node.nested), children, node.which)
            case Carry():
                axes = tuple(a.order for a in node.axes)
                return ("carry", node.axis.order, node.name, node.offset, axes, node.level)
            case Scan():
                names = tuple((s.name, len(s.starts)) for s in node.states)
                return ("scan", node.axis.order, children, names, node.which, node.backward)
        raise AssertionError(type(node).__name__)


def _subscript_key(s: typed.Subscript) -> object:
    match s:
        case SliceOf():
            return (s.start, s.stop)
        case NewAxis():
            return None
    return "index"
