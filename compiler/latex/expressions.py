"""Typed expressions in LaTeX.

An array is written whole, `D z`, or entry by entry, `x_{i}`: the indices `at`, one text for every dimension,
are pushed down to the names. A reduction of what has no notation as a whole - entries stretched along new
axes, sums along one axis - is written over indices of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ebmlang.compiler import builtins, typed
from ebmlang.compiler.latex import arrays, functions
from ebmlang.compiler.latex.functions import ATOM, BIG, NEVER, POWER, PRODUCT, SIGN, SUM, Piece, Spelling
from ebmlang.compiler.latex.symbols import (
    ALSO,
    NEXT_ROW,
    SUM_SIGN,
    Symbol,
    beside,
    fenced,
    label,
    number_latex,
    shifted,
    size_latex,
    subscript,
    symbol_of,
    word,
)
from ebmlang.compiler.sizes import ONE, ZERO, Size
from ebmlang.compiler.typed import Apply, Axes, Axis, Expr, Pick

At = tuple[str, ...] | None
"""One index for every dimension, or None for the whole array."""

LETTERS = "ijklpqrsuvabcdefgh"


@dataclass(frozen=True, slots=True)
class Printer:
    """Writes expressions of one model. `held` are the indices that plates stand at inside of an entry,
    `taken` the letters that cannot be an index."""

    names: Mapping[str, Symbol]
    taken: frozenset[str]
    held: tuple[tuple[Axis, str], ...] = ()

    # --- the ways in ---

    def value(self, node: Expr) -> str:
        """A value, whole where that has a notation."""
        return self.piece(node, None).text

    def summand(self, operator: str, node: Expr) -> str:
        """A value with a sum in front of it."""
        body = self.piece(node, None)
        return _signed(body, lambda positive: Piece(f"{operator} {positive.within(BIG)}", BIG)).text

    def entry(self, node: Expr) -> tuple[str, tuple[str, ...]]:
        """One entry of an array, and the indices that it stands at."""
        at, inner = self.fresh(node.type.rank)
        return inner.piece(node, at).text, at

    def condition(self, node: Expr, at: At = ()) -> Piece:
        """What is true or false."""
        match node:
            case Apply(function=f, arguments=(a, b)) if f in functions.LOGIC:
                sides = (self._inner(self.condition, node, c, at).within(PRODUCT) for c in (a, b))
                return Piece(f" {functions.LOGIC[f]} ".join(sides), SUM)
            case Apply(function="not", arguments=(a,)):
                return Piece(f"\\lnot {self.condition(a, at).within(ATOM)}", PRODUCT)
            case Apply(function=f, arguments=(a, b)) if f in functions.RELATIONS:
                logical = a.type.kind == "bool" and b.type.kind == "bool"
                write = self.condition if logical else self.piece
                sides = (self._inner(write, node, c, at).within(PRODUCT if logical else SUM) for c in (a, b))
                return Piece(f" {functions.RELATIONS[f]} ".join(sides), PRODUCT - 1)
        return self.piece(node, at)

    def piece(self, node: Expr, at: At) -> Piece:
        """The expression, at indices or whole."""
        if not node.type.shape:
            at = ()
        if at is None and arrays.needs_entries(node):
            inside, inner = self.fresh(node.type.rank)
            return Piece(f"\\left[ {inner.piece(node, inside).text} \\right]_{{{subscript(inside)}}}", ATOM)
        match node:
            case typed.Constant() | typed.SizeOf():
                return _number(node)
            case typed.Position():
                return self._position(node)
            case typed.Read():
                symbol = self.names.get(node.name)
                return Piece(symbol.at(at or ()) if symbol is not None else label(node.name), ATOM)
            case Pick():
                return self._pick(node, at)
            case typed.Fold():
                return self._fold(node, at)
            case typed.OverExamples():
                return self._over_examples(node, at)
            case typed.Carry():
                cell = shifted(word(node.axis.names[0]), Size.of(node.offset))
                rest = list(at) if at is not None else [":"] * node.dim
                return Piece(symbol_of(node.name).at((*rest[: node.dim], cell, *rest[node.dim :])), ATOM)
            case Apply():
                return self._apply(node, at)
        return self._array(node, at)

    def _array(self, node: Expr, at: At) -> Piece:
        """What has no notation for its entries: the whole with indices."""
        match node:
            case typed.Pack():
                if at is not None and at[0].isdigit():
                    return self.piece(node.items[int(at[0])], at[1:])
                body = Piece(f"({', '.join(self.piece(i, None).text for i in node.items)})", ATOM)
            case typed.Tabulate():
                if at is not None:
                    own = len(node.over)
                    held = tuple((a, shifted(i, a.start)) for a, i in zip(node.over, at, strict=False))
                    return replace(self, held=(*self.held, *held)).piece(node.body, at[own:])
                below = subscript([name for a in node.over for name in self.axis_names(a)])
                body = Piece(f"{fenced(self.piece(node.body, None).text)}_{{{below}}}", ATOM)
            case typed.Solve():
                given = ", ".join(self.piece(i, None).text for i in node.inputs)
                symbol = symbol_of(f"{node.nested.part}.{node.which}")
                return Piece(
                    f"{symbol.base}^{{\\ast}}_{{{subscript((*symbol.below, *(at or ())))}}}({given})", POWER
                )
            case typed.Scan():
                return Piece(self.names[node.state.name].at(at or ()), ATOM)
            case _:
                raise AssertionError(f"{type(node).__name__} has no formula")
        return body if at is None else Piece(f"{body.text}_{{{subscript(at)}}}", ATOM)

    # --- indices ---

    def fresh(self, count: int) -> tuple[tuple[str, ...], Printer]:
        """New letters for indices, and the printer inside of their scope."""
        free = [letter for letter in LETTERS if letter not in self.taken]
        letters = tuple(free[:count]) if len(free) >= count else tuple(f"i_{k}" for k in range(count))
        return letters, replace(self, taken=self.taken | set(letters))

    def axis_names(self, axis: Axis) -> tuple[str, ...]:
        held = next((text for a, text in self.held if a is axis), None)
        return (held,) if held is not None else tuple(map(word, axis.names))

    def _position(self, node: typed.Position) -> Piece:
        text = self.axis_names(node.axis)[node.column]
        return Piece(text, SUM if " " in text else ATOM)

    def _pick(self, node: Pick, at: At) -> Piece:
        rest = iter(at) if at is not None else None
        parts: list[str] = []
        sizes = iter(node.base.type.shape)
        for s in node.subscripts:
            if isinstance(s, typed.NewAxis):
                if rest is not None:
                    next(rest)
                continue
            size = next(sizes)
            if isinstance(s, typed.SliceOf):
                parts.append(_slice(s, size) if rest is None else shifted(next(rest), s.start))
            else:
                own = None if rest is None else tuple(next(rest) for _ in s.type.shape)
                parts.append(self.piece(s, own).text)
        if rest is None:
            while parts and parts[-1] == ":":
                parts.pop()
            if not parts:
                return self.piece(node.base, None)
        elif not isinstance(node.base, typed.Read):
            return self.piece(node.base, tuple(parts))
        if isinstance(node.base, typed.Read):
            symbol = self.names.get(node.base.name)
            return Piece(symbol.at(parts) if symbol is not None else label(node.base.name), ATOM)
        return Piece(f"{self.piece(node.base, None).within(ATOM + 1)}_{{{subscript(parts)}}}", ATOM)

    # --- reductions ---

    def range(self, axis: Axis) -> str:
        """`i=0`, `n-1`: what stands below and above a big operator, or only below it."""
        if axis.rows is not None:
            return f"_{{({', '.join(self.axis_names(axis))}) \\in {self.value(axis.rows)}}}"
        if axis.guard is not None or axis.size is None:
            return f"_{{{self.bounds(axis)}}}"
        last = axis.start + axis.size - ONE
        return f"_{{{self.axis_names(axis)[0]}={size_latex(axis.start)}}}^{{{size_latex(last)}}}"

    def bounds(self, axis: Axis) -> str:
        """`0 <= i < n`, or the rows that an axis runs over."""
        if axis.guard is not None:
            parts = [*map(self.bounds, axis.parents), self.condition(axis.guard).text]
            return ALSO.join(parts)
        if axis.rows is not None:
            return f"({', '.join(self.axis_names(axis))}) \\in {self.value(axis.rows)}"
        assert axis.size is not None
        stop = size_latex(axis.start + axis.size)
        return f"{size_latex(axis.start)} \\le {self.axis_names(axis)[0]} \\lt {stop}"

    def big(self, operator: str, axes: Axes, guard: Expr | None) -> str:
        """One big operator for each axis; one for all of them where entries are left out."""
        if guard is not None:
            below = ALSO.join([*map(self.bounds, axes), self.condition(guard).text])
            return f"{operator}_{{{below}}}"
        if operator in ("\\max", "\\min"):
            return f"{operator}_{{{ALSO.join(map(self.bounds, axes))}}}"
        return " ".join(f"{operator}{self.range(a)}" for a in axes)

    def _fold(self, node: typed.Fold, at: At) -> Piece:
        inner = replace(self, taken=self.taken | {n for a in node.over for n in a.names})
        return self.reduced(
            node.function,
            lambda operator: inner.big(operator, node.over, node.guard),
            inner.piece(node.body, at),
            [a.size for a in node.over],
        )

    def reduced(
        self, function: str, big: Callable[[str], str], body: Piece, sizes: Sequence[Size | None]
    ) -> Piece:
        """A reduction over indices; `big` writes an operator with its range."""
        if function in functions.BIG_OPERATORS:
            operator = big(functions.BIG_OPERATORS[function])
            if function == "sum":
                return _signed(body, lambda positive: Piece(f"{operator} {positive.within(BIG)}", BIG))
            return Piece(f"{operator} {body.within(BIG)}", BIG)
        match function:
            case "mean":
                count = _product(sizes)
                if count is not None:
                    operator = f"\\frac{{1}}{{{count}}} {big(SUM_SIGN)}"
                    return _signed(body, lambda positive: Piece(f"{operator} {positive.within(BIG)}", BIG))
            case "logsumexp":
                return Piece(f"\\log {big(SUM_SIGN)} \\exp{fenced(body.text)}", BIG)
            case "entropy":
                return Piece(f"-{big(SUM_SIGN)} {body.within(PRODUCT)} \\log{fenced(body.text)}", SIGN, BIG)
        return Piece(f"{big(_operator(function))} {fenced(body.text)}", POWER)

    def _over_examples(self, node: typed.OverExamples, at: At) -> Piece:
        whole = at is not None and arrays.needs_whole(node.body)
        body = self.piece(node.body, None if whole or node.function == "cov" else at)
        operator = functions.BIG_OPERATORS.get(node.function, _operator(node.function))
        text = f"{operator}_{{\\text{{batch}}}} "
        if operator in functions.BIG_OPERATORS.values():
            return Piece(text + body.within(BIG), BIG)
        text += fenced(body.text)
        return Piece(f"{text}_{{{subscript(at)}}}" if at and node.function == "cov" else text, POWER)

    # --- functions ---

    def _inner(self, write: Callable[[Expr, At], Piece], node: Expr, child: Expr, at: At) -> Piece:
        """An operand at the indices that its own shape has: a size of 1 stands at 0."""
        return write(child, self._child(node, child, at))

    def _child(self, node: Expr, child: Expr, at: At) -> At:
        if at is None or not child.type.shape:
            return None if child.type.shape else ()
        pairs = zip(child.type.shape, node.type.shape, at, strict=True)
        return tuple("0" if own == ONE and size != ONE else i for own, size, i in pairs)

    def _apply(self, node: Apply, at: At) -> Piece:
        row = builtins.BUILTINS[node.function]
        if node.function in (*functions.RELATIONS, *functions.LOGIC, "not"):
            return Piece(f"\\mathbb{{1}}[{self.condition(node, at).text}]", ATOM)
        if node.function in arrays.PRODUCTS:
            return arrays.product(self, node, at)
        match row.form:
            case "operator":
                return self._operator(node, at)
            case "elementwise":
                return self._elementwise(node, at)
            case "reduction":
                return arrays.reduction(self, node, at)
        return arrays.function(self, node, at)

    def _operator(self, node: Apply, at: At) -> Piece:
        parts = node.arguments
        match node.function:
            case "neg":
                inner = self._inner(self.piece, node, parts[0], at)
                return Piece(f"-{inner.within(BIG)}", SIGN, inner.strength if inner.strength >= BIG else ATOM)
            case "add" | "sub":
                return self._sum(node, at)
            case "mul":
                return self._times(node, at)
            case "div":
                above, below = (self._inner(self.piece, node, p, at) for p in parts)
                return _signed(above, lambda positive: _fraction(positive, below.text))
            case "pow":
                base = self._inner(self.piece, node, parts[0], at).within(ATOM)
                power = self._inner(self.piece, node, parts[1], at).text
                entries = "" if at is not None else "\\odot "
                return Piece(f"{base}^{{{entries}{power}}}", POWER)
        return self._elementwise(node, at)

    def _sum(self, node: Apply, at: At) -> Piece:
        """Sums lean to the left: a loop, so that their length is no depth of recursion."""
        parts: list[str] = []
        left: Expr = node
        own = at
        while isinstance(left, Apply) and left.function in ("add", "sub"):
            first, second = left.arguments
            piece = self._inner(self.piece, left, second, own)
            if not _nothing(second):
                minus = left.function == "sub"
                shown = piece.within(BIG if minus else SUM)
                if shown.startswith("-") and not minus:
                    parts.append(f" - {shown[1:]}")
                else:
                    parts.append(f" {'-' if minus else '+'} {shown}")
            own = self._child(left, first, own)
            left = first
        if not _nothing(left) or not parts:
            parts.append(self.piece(left, own).within(SUM))
        shown = "".join(reversed(parts))
        if shown.startswith(" "):  # what stands in front is an array of zeros
            shown = shown.removeprefix(" + ").replace(" - ", "-", 1)
        return Piece(shown, SUM)

    def _times(self, node: Apply, at: At) -> Piece:
        left, right = node.arguments
        if _one(left) or _one(right):
            return self._inner(self.piece, node, right if _one(left) else left, at)
        a, b = (self._inner(self.piece, node, c, at) for c in (left, right))
        entries = at is None and bool(left.type.shape and right.type.shape)
        return _signed(a, lambda positive: _joined(positive, b, entries))

    def _elementwise(self, node: Apply, at: At) -> Piece:
        if node.function == "where":
            return self._cases(node, at)
        pieces = [self._inner(self.piece, node, c, at) for c in node.arguments]
        if node.function == "abs":
            return Piece(fenced(pieces[0].text, "\\lvert", "\\rvert"), ATOM)
        if node.function == "huber":
            below = pieces[1].text if len(pieces) > 1 else f"{node.option('delta'):g}"
            return Piece(f"\\mathrm{{huber}}_{{{below}}}{fenced(pieces[0].text)}", POWER)
        return self.spelled(functions.ELEMENTWISE.get(node.function), node.function, pieces)

    def spelled(self, found: Spelling | None, name: str, pieces: Sequence[Piece]) -> Piece:
        """A function in its notation, or with its name."""
        if found is None:
            return Piece(f"{_operator(name)}{fenced(', '.join(p.text for p in pieces))}", POWER)
        texts = [
            p.text if need == NEVER else p.within(need) for p, need in zip(pieces, found.places, strict=True)
        ]
        return Piece(found.form.format(*texts), found.strength)

    def _cases(self, node: Apply, at: At) -> Piece:
        rows: list[str] = []
        while True:
            test, then, other = node.arguments
            shown = self._inner(self.condition, node, test, at).text
            inside = self._child(node, then, at)
            while isinstance(then, Apply) and then.function == "where":
                further, then_, else_ = then.arguments
                also = self._inner(self.condition, then, further, inside).text
                first = self._inner(self.piece, then, then_, inside).text
                rows.append(f"{first} & \\text{{if }} {shown},\\ {also}")
                inside, then = self._child(then, else_, inside), else_
            rows.append(f"{self.piece(then, inside).text} & \\text{{if }} {shown}")
            at = self._child(node, other, at)
            if not (isinstance(other, Apply) and other.function == "where"):
                break
            node = other
        rows.append(f"{self.piece(other, at).text} & \\text{{otherwise}}")
        return Piece(f"\\begin{{cases}} {NEXT_ROW.join(rows)} \\end{{cases}}", BIG)


def _operator(name: str) -> str:
    return f"\\mathrm{{{name.replace('_', ' ')}}}"


def _slice(s: typed.SliceOf, size: Size) -> str:
    if s.start == ZERO and s.stop == size:
        return ":"
    return f"{size_latex(s.start)} : {size_latex(s.stop)}"


def _product(sizes: Sequence[Size | None]) -> str | None:
    known = ONE
    for size in sizes:
        if size is None:
            return None
        known = known * size
    return size_latex(known)


def _signed(piece: Piece, write: Callable[[Piece], Piece]) -> Piece:
    """What is written of a piece, with a minus in front of the piece moved in front of the whole."""
    if piece.strength != SIGN:
        return write(piece)
    whole = write(Piece(piece.text[1:], piece.behind))
    return Piece(f"-{whole.text}", SIGN, whole.strength)


def _fraction(above: Piece, below: str) -> Piece:
    if below == "1":
        return above
    if "\\frac" in above.text and above.strength >= BIG:
        return Piece(f"\\frac{{1}}{{{below}}} {above.text}", min(above.strength, PRODUCT))
    return Piece(f"\\frac{{{above.text}}}{{{below}}}", POWER)


def _joined(a: Piece, b: Piece, entries: bool) -> Piece:
    first, second = a.within(PRODUCT), b.within(BIG)
    joint = " \\odot " if entries else " \\cdot " if second[0].isdigit() else beside(first, second)
    return Piece(f"{first}{joint}{second}", BIG if b.strength == BIG else PRODUCT)


def _number(node: typed.Constant | typed.SizeOf) -> Piece:
    if isinstance(node, typed.SizeOf):
        text = size_latex(node.size)
        if len(node.size.terms) > 1:
            return Piece(text, SUM)
        return Piece(text, SIGN if text[0] == "-" else PRODUCT if " " in text else ATOM)
    text = number_latex(node.value)
    return Piece(
        text, SIGN if text[0] == "-" else PRODUCT if "cdot" in text else POWER if "^" in text else ATOM
    )


def _one(node: Expr) -> bool:
    return isinstance(node, typed.Constant) and node.value == 1 and node.type.scalar


def _nothing(node: Expr) -> bool:
    return isinstance(node, Apply) and node.function == "zeros"
