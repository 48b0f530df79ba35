"""The degree of a value as a polynomial in the sought block."""

from __future__ import annotations

from ebmlang.compiler import typed
from ebmlang.compiler.facts import Dependence, number
from ebmlang.compiler.typed import Apply, Expr, Fold, Pick, Read

_LINEAR = frozenset(
    {"sum", "mean", "neg", "transpose", "trace", "diag", "cumsum", "reshape", "gather", "add", "sub"}
) | {"concat", "stack"}
_BILINEAR = frozenset({"mul", "matmul", "dot", "outer", "einsum"})
_DOUBLING = frozenset({"square", "norm_squared", "var", "cov"})


class Degrees:
    """Degrees, worked out once per node; None where a value is not proven a polynomial."""

    def __init__(self, depends: Dependence) -> None:
        self.depends = depends
        self._memo: dict[int, tuple[Expr, int | None]] = {}

    def __call__(self, node: Expr) -> int | None:
        found = self._memo.get(id(node))
        if found is None:
            found = (node, self._degree(node) if self.depends(node) else 0)
            self._memo[id(node)] = found
        return found[1]

    def affine(self, node: Expr) -> bool:
        found = self(node)
        return found is not None and found <= 1

    def _degree(self, node: Expr) -> int | None:
        match node:
            case Read(name=name):
                let = self.depends.graph.lets.get(name)
                return 1 if let is None or name in self.depends.sought else self(let.value)
            case Pick(base=base):
                fixed = not any(self.depends(c) for c in node.children()[1:])
                return self(base) if fixed else None
            case Fold(function="sum" | "mean", body=body, guard=guard):
                moving = any(self.depends.moves(a) for a in node.over)
                fixed = (guard is None or not self.depends(guard)) and not moving
                return self(body) if fixed else None
            case Fold(function="var", body=body, guard=None):
                moving = any(self.depends.moves(a) for a in node.over)
                return None if moving else _twice(self(body))
            case typed.Tabulate(body=body):
                return None if any(self.depends.moves(a) for a in node.over) else self(body)
            case typed.OverExamples(function="sum" | "mean" | "stack", body=body):
                return self(body)
            case typed.OverExamples(function="var" | "cov", body=body):
                return _twice(self(body))
            case typed.Pack(items=items):
                return _largest([self(i) for i in items])
            case typed.Carry():
                return 1
            case typed.Scan():
                return self._scanned(node)
            case Apply():
                return self._applied(node)
        return None

    def _scanned(self, node: typed.Scan) -> int | None:
        """Cells that are affine in the cells before them and in the block keep the degree of the starts."""
        bodies = _largest([self(state.body) for state in node.states])
        if bodies is None or bodies > 1:
            return None
        starts = _largest([self(start) for state in node.states for start in state.starts])
        return None if starts is None else max(1, starts)

    def _applied(self, node: Apply) -> int | None:
        name, arguments = node.function, node.arguments
        if name == "gather" and self.depends(arguments[1]):
            return None
        if name in _LINEAR:
            return _largest([self(a) for a in arguments])
        if name in _BILINEAR:
            return _added([self(a) for a in arguments])
        if name in _DOUBLING:
            return _twice(self(arguments[0]))
        match name:
            case "net":
                own = arguments[0]
                net = self.depends.graph.model.net(own.name) if isinstance(own, Read) else None
                return _largest([self(a) for a in arguments[1:]]) if net is not None and net.affine else None
            case "div" if not self.depends(arguments[1]):
                return self(arguments[0])
            case "where" if not self.depends(arguments[0]):
                return _largest([self(a) for a in arguments[1:]])
            case "linear_solve" if not self.depends(arguments[0]):
                return self(arguments[1])
            case "pow":
                exponent = number(arguments[1])
                base = self(arguments[0])
                if base is not None and exponent is not None and exponent >= 0 and exponent % 1 == 0:
                    return base * int(exponent)
        return None


def _largest(parts: list[int | None]) -> int | None:
    known = [p for p in parts if p is not None]
    return max(known) if len(known) == len(parts) else None


def _added(parts: list[int | None]) -> int | None:
    known = [p for p in parts if p is not None]
    return sum(known) if len(known) == len(parts) else None


def _twice(degree: int | None) -> int | None:
    return None if degree is None else 2 * degree
