"""Single entries of array expressions: `(W @ s)[i]` as `sum(W[i, j] * s[j], over = j)`.

Arrays are opened only as far as they depend on the unknowns; everything else is picked from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ebmlang.compiler import notation, typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.facts import Dependence
from ebmlang.compiler.indexing import pick
from ebmlang.compiler.sizes import ONE, ZERO, Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.typed import Apply, Axis, Expr, Fold, Level, NewAxis, Pick, Position, Read, SliceOf
from ebmlang.compiler.types import BOOL, INT, Shape, Type

Index = tuple[Expr, ...]

_FIRST = 5 * 10**8
"""New axes come after those of the program."""

_OPEN = (Read, Apply, Pick, typed.Pack, Fold, typed.Tabulate)
"""Values that depend on unknowns only through what stands in them."""

_BY_ENTRY = ("operator", "comparison", "elementwise")


class NotLifted(Exception):
    """The value cannot be written entry by entry."""

    def __init__(self, because: str) -> None:
        super().__init__(because)
        self.because = because


@dataclass(slots=True)
class Entries:
    """Opens arrays for one question; every axis that it makes is new."""

    depends: Dependence
    made: int = 0

    def axis(self, size: Size, label: str = "k") -> Axis:
        self.made += 1
        return Axis(label, (label,), _FIRST + self.made, ZERO, size)

    # --- scalars, one step at a time ---

    def opened(self, node: Expr) -> Expr:
        """A scalar with its outermost named value, subscript or reduction written out; the node itself
        where there is none."""
        match node:
            case Read(name=name) if name in self.depends.graph.lets:
                return self.depends.graph.lets[name].value
            case Pick(base=Read(name=name)) if name in self.depends.sought:
                return node
            case Pick(base=Apply(function="net") as base):
                found = self._picked(node, ())
                return node if isinstance(found, Pick) and found.base is base else found
            case Pick() if self.depends(node.base):
                return self._picked(node, ())
            case Apply(function="net") if self._of_numbers(node):
                return self._applied(node, ())
            case Apply(function="sum" | "mean", arguments=(a,)):
                return self._reduced(node.function, a, lambda x: x, node.type.kind, node.span)
            case Apply(function="norm_squared", arguments=(a,)):
                return self._reduced("sum", a, lambda x: apply("mul", (x, x), "real"), "real", node.span)
            case Apply(function="norm", arguments=(a,)) if node.option("order") == 1.0 and node.type.scalar:
                return self._reduced("sum", a, lambda x: apply("abs", (x,), "real"), "real", node.span)
            case Apply(function="trace", arguments=(a,)):
                axis = self.axis(a.type.shape[0])
                at = position(axis, node.span)
                return fold("sum", self.entry(a, (at, at)), (axis,), node.type, node.span)
            case Apply(function="dot" | "matmul" | "einsum"):
                return self.entry(node, ())
        return node

    def _reduced(self, function: str, a: Expr, of: Callable[[Expr], Expr], kind: str, span: Span) -> Expr:
        axes = tuple(self.axis(size) for size in a.type.shape)
        body = of(self.entry(a, tuple(position(x, span) for x in axes)))
        return fold(function, body, axes, Type(kind), span) if axes else body  # type: ignore[arg-type]

    def fresh_fold(self, node: Fold) -> Fold:
        """The same reduction over axes of its own, so that it can stand beside itself."""
        copies = {}
        for axis in node.over:
            self.made += 1
            copies[axis] = replace(axis, order=_FIRST + self.made)
        move = {a: _moved(copy) for a, copy in copies.items()}
        body = relocated(node.body, move)
        guard = relocated(node.guard, move) if node.guard is not None else None
        return replace(node, body=body, guard=guard, over=tuple(copies.values()))

    # --- entries ---

    def entry(self, node: Expr, index: Index) -> Expr:
        """The entry of an array at an index (of a scalar: the scalar itself, opened inside)."""
        try:
            return self._entry(node, index)
        except NotLifted:
            plain = None if index else self.by_single_reads(node)
            if plain is None:
                raise
            return plain

    def _entry(self, node: Expr, index: Index) -> Expr:
        if not self.depends(node):
            return pick(node, index, node.span) if index else node
        match node:
            case Read(name=name):
                let = self.depends.graph.lets.get(name)
                if let is not None:
                    return self.entry(let.value, index)
                return pick(node, index, node.span) if index else node
            case Pick():
                return self._picked(node, index)
            case typed.Tabulate():
                return self._cell(node, index)
            case Fold():
                own = self.fresh_fold(node)
                guard = None if own.guard is None else self.entry(own.guard, ())
                return fold(
                    own.function,
                    self.entry(own.body, index),
                    own.over,
                    own.type.with_shape(()),
                    own.span,
                    guard,
                )
            case typed.Pack(items=items):
                return self._packed(items, index)
            case Apply():
                return self._applied(node, index)
        raise NotLifted(f"`{notation.text(node)}` looks at all of it")

    def _picked(self, node: Pick, index: Index) -> Expr:
        """Subscripts put together: those of the node, read at the index."""
        rest = list(index)
        inner: list[Expr] = []
        dims = iter(node.base.type.shape)
        for s in node.subscripts:
            if isinstance(s, NewAxis):
                rest.pop(0)
                continue
            size = next(dims)
            if isinstance(s, SliceOf):
                inner.append(_plus(rest.pop(0), s.start))
            else:
                own = tuple(rest.pop(0) for _ in range(s.type.rank))
                inner.append(self.entry(s, own) if own or self.depends(s) else s)
            del size
        if any(self.depends(s) for s in inner) and self.depends(node.base):
            raise NotLifted(f"`{notation.text(node)}` has an unknown subscript")
        return self.entry(node.base, tuple(inner))

    def _cell(self, node: typed.Tabulate, index: Index) -> Expr:
        return self.entry(self.cell(node, index), index[len(node.over) :])

    def cell(self, node: typed.Tabulate, index: Index) -> Expr:
        """What stands in a cell, whose position is the beginning of an index."""
        moves: dict[Axis, Callable[[Position], Expr]] = {}
        for axis, at in zip(node.over, index, strict=False):
            if axis.guard is not None:
                raise NotLifted(f"`{notation.text(node)}` holds selected cells")
            moves[axis] = _at(axis, at)
        return relocated(node.body, moves)

    # --- what is not opened ---

    def by_single_reads(self, node: Expr) -> Expr | None:
        """A scalar without lets that reads unknowns one entry at a time, so that their cases give all its
        values although some function inside looks at a whole array: `||x - C[c[i]]||`. None of others."""
        plain = self.inlined(node)
        seen: set[int] = set()
        stack = [plain]
        while stack:
            inner = stack.pop()
            if id(inner) in seen:
                continue
            seen.add(id(inner))
            if not self.depends(inner):
                continue
            # A recurrence runs over indices of its own, at which unknowns would be read; what looks across
            # examples reads those of others.
            if inner.coupled or not isinstance(inner, _OPEN):
                return None
            match inner:
                case Pick(base=Read(name=name)) if name in self.depends.sought:
                    if not inner.type.scalar or not all(isinstance(s, Expr) for s in inner.subscripts):
                        return None
                    stack += [s for s in inner.subscripts if isinstance(s, Expr)]
                case Read(name=name) if name in self.depends.sought and not inner.type.scalar:
                    return None
                case _:
                    stack += inner.children()
        return plain

    def inlined(self, node: Expr) -> Expr:
        """A value with the lets that depend on the unknowns written out."""
        lets = self.depends.graph.lets

        def out(inner: Expr) -> Expr | None:
            match inner:
                case Pick(base=Read(name=name), subscripts=at) if name in lets and self.depends(inner):
                    return self._inlined_cell(lets[name].value, at, inner)
                case Read(name=name) if name in lets and self.depends(inner):
                    return self.inlined(lets[name].value)
            return None

        return typed.mapped(node, out)

    def _inlined_cell(self, value: Expr, subscripts: tuple[typed.Subscript, ...], node: Expr) -> Expr | None:
        """A cell of an array that is defined in a plate, by its own subscripts."""
        if not isinstance(value, typed.Tabulate):
            return None
        own, rest = subscripts[: len(value.over)], subscripts[len(value.over) :]
        index = tuple(s for s in own if isinstance(s, Expr) and s.type.scalar)
        if len(index) < len(value.over):
            return None
        body = self.inlined(self.cell(value, index))
        return pick(body, rest, node.span) if rest else body

    def _packed(self, items: tuple[Expr, ...], index: Index) -> Expr:
        first, rest = index[0], index[1:]
        cases = [self.entry(item, rest) for item in items]
        found = cases[-1]
        for number in range(len(cases) - 2, -1, -1):
            at = constant(number, first.span)
            kind = "real" if "real" in (found.type.kind, cases[number].type.kind) else found.type.kind
            found = apply("where", (apply("eq", (first, at), "bool"), cases[number], found), kind)
        return found

    def _applied(self, node: Apply, index: Index) -> Expr:
        form = BUILTINS[node.function].form
        if form in _BY_ENTRY and node.function != "matmul":
            own = [self.entry(a, _stretched(a.type.shape, index)) for a in node.arguments]
            return typed.rebuilt(replace(node, type=node.type.with_shape(())), tuple(own))
        match node.function, node.arguments:
            case "matmul", (a, b):
                return self._matmul(node, a, b, index)
            case "dot", (a, b):
                return self._products((a, b), ("i", "i"), "", index, node)
            case "outer", (a, b):
                return self._products((a, b), ("i", "j"), "ij", index, node)
            case "einsum", parts:
                inputs, output = str(node.option("spec")).split("->")
                return self._products(parts, tuple(inputs.split(",")), output, index, node)
            case "transpose", (a,):
                return self.entry(a, (*index[:-2], index[-1], index[-2]))
            case "diag", (a,) if node.option("make"):
                same = apply("eq", index, "bool")
                zero = constant(0, node.span)
                return apply("where", (same, self.entry(a, index[:1]), zero), node.type.kind)
            case "diag", (a,):
                return self.entry(a, (index[0], index[0]))
            case "onehot", (a, *_):
                # As numbers: a class may only be compared with a class.
                return apply("eq", (self.entry(a, index[:-1]), index[-1]), "bool")
            case "gather", (a, at):
                return self.entry(a, (self.entry(at, index[: at.type.rank]), *index[at.type.rank :]))
            case (("sum" | "mean"), (a,)):
                return self._along(node, a, index)
            case (("norm_squared" | "trace"), _):
                return self.entry(self.opened(node), index)
            case "net", parts if self._of_numbers(node):
                # Whole arrays go in as they are, and what is unknown is a number of its own.
                made = typed.rebuilt(node, tuple(self.entry(a, ()) if self.depends(a) else a for a in parts))
                return pick(made, index, node.span) if index else made
        raise NotLifted(f"`{notation.text(node)}` looks at all of it")

    def _of_numbers(self, node: Apply) -> bool:
        """Whether all operands that are unknown are single values."""
        return all(a.type.scalar or not self.depends(a) for a in node.arguments)

    def _matmul(self, node: Apply, a: Expr, b: Expr, index: Index) -> Expr:
        left, right = "ik"[2 - a.type.rank :], "kj"[: b.type.rank]
        output = ("i" if a.type.rank == 2 else "") + ("j" if b.type.rank == 2 else "")
        return self._products((a, b), (left, right), output, index, node)

    def _products(
        self, parts: tuple[Expr, ...], inputs: tuple[str, ...], output: str, index: Index, node: Apply
    ) -> Expr:
        """A sum of products over named indices, as in einsum."""
        at: dict[str, Expr] = dict(zip(output, index, strict=True))
        over: list[Axis] = []
        for letters, part in zip(inputs, parts, strict=True):
            for letter, size in zip(letters, part.type.shape, strict=True):
                if letter not in at:
                    axis = self.axis(size, letter)
                    over.append(axis)
                    at[letter] = position(axis, node.span)
        body: Expr | None = None
        for letters, part in zip(inputs, parts, strict=True):
            own = self.entry(part, tuple(at[x] for x in letters))
            body = own if body is None else apply("mul", (body, own), _joined(body, own))
        assert body is not None
        return fold("sum", body, tuple(over), Type(node.type.kind), node.span) if over else body

    def _along(self, node: Apply, a: Expr, index: Index) -> Expr:
        axis = node.option("axis")
        if not isinstance(axis, int):
            return self.entry(self.opened(node), ())
        own = self.axis(a.type.shape[axis])
        place = a.type.rank + axis
        inner = (*index[:place], position(own, node.span), *index[place:])
        return fold(node.function, self.entry(a, inner), (own,), node.type.with_shape(()), node.span)


# --- making nodes -------------------------------------------------------------------------------


def apply(function: str, arguments: Index, kind: str) -> Apply:
    """A built-in of scalars."""
    return Apply(
        Type(kind),  # type: ignore[arg-type]
        typed.merge_axes(arguments),
        max(a.level for a in arguments),
        any(a.coupled for a in arguments),
        arguments[0].span,
        function,
        arguments,
    )


def fold(
    function: str, body: Expr, over: typed.Axes, type_: Type, span: Span, guard: Expr | None = None
) -> Fold:
    parts = (body,) if guard is None else (body, guard)
    axes = tuple(a for a in typed.merge_axes(parts) if a not in over)
    level, coupled = max(p.level for p in parts), any(p.coupled for p in parts)
    return Fold(type_, axes, level, coupled, span, function, body, over, guard)


def position(axis: Axis, span: Span) -> Position:
    return Position(INT, (axis,), Level.CONSTANT, False, span, axis, 0)


def constant(value: int, span: Span) -> Expr:
    return typed.Constant(INT, (), Level.CONSTANT, False, span, value)


def conjunction(a: Expr | None, b: Expr | None) -> Expr | None:
    """Both conditions."""
    if a is None or b is None:
        return a if b is None else b
    return apply("and", (a, b), "bool")


def factor_of_count(node: Fold) -> Expr:
    """How many positions a reduction has, as a number."""
    count = Size.of(1)
    for axis in node.over:
        if axis.size is None:
            raise NotLifted(f"`{notation.text(node)}` divides by a count that the data decides")
        count = count * axis.size
    return typed.SizeOf(INT, (), Level.CONSTANT, False, node.span, count)


def relocated(root: Expr, moves: Mapping[Axis, Callable[[Position], Expr]]) -> Expr:
    """The value with the positions on some axes replaced."""
    memo: dict[int, Expr] = {}

    def visit(node: Expr) -> Expr:
        done = memo.get(id(node))
        if done is None:
            if isinstance(node, Position):
                done = moves[node.axis](node) if node.axis in moves else node
            else:
                done = typed.rebuilt(node, tuple(visit(c) for c in node.children()))
            memo[id(node)] = done
        return done

    return visit(root)


def _moved(axis: Axis) -> Callable[[Position], Expr]:
    return lambda node: replace(node, axis=axis, axes=(axis,))


def _at(axis: Axis, index: Expr) -> Callable[[Position], Expr]:
    """What a position on the axis is in cell number `index` of its table."""

    def found(node: Position) -> Expr:
        if axis.rows is None:
            return _plus(index, axis.start)
        column = constant(node.column, node.span)
        return pick(axis.rows, (index, column) if axis.rows.type.rank == 2 else (index,), node.span)

    return found


def _plus(index: Expr, start: Size) -> Expr:
    if start == ZERO:
        return index
    return apply("add", (index, typed.SizeOf(INT, (), Level.CONSTANT, False, index.span, start)), "int")


def _stretched(shape: Shape, index: Index) -> Index:
    """The index into an operand that fills the shape by repetition."""
    if not shape:
        return ()
    return tuple(constant(0, at.span) if size == ONE else at for size, at in zip(shape, index, strict=True))


def _joined(a: Expr, b: Expr) -> str:
    return "real" if "real" in (a.type.kind, b.type.kind) else "int"


__all__ = ["BOOL", "Entries", "NotLifted", "apply", "conjunction", "factor_of_count", "fold", "relocated"]
