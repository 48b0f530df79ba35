"""Products, norms, reductions and functions of arrays in LaTeX."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ebmlang.compiler import builtins, typed
from ebmlang.compiler.latex import functions
from ebmlang.compiler.latex.functions import ATOM, BIG, POWER, PRODUCT, Piece
from ebmlang.compiler.latex.symbols import TIMES, beside, fenced, size_latex, subscript
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.typed import Apply, Expr, Pick

if TYPE_CHECKING:
    from ebmlang.compiler.latex.expressions import At, Printer

PRODUCTS = ("matmul", "transpose")


def needs_entries(node: Expr) -> bool:
    """Whether an array has no notation as a whole, and is written entry by entry."""
    match node:
        case Pick():
            if any(isinstance(s, typed.NewAxis) for s in node.subscripts):
                return True
            return not isinstance(node.base, typed.Read) and needs_entries(node.base)
        case typed.Fold() | typed.OverExamples():
            return bool(node.type.shape) and needs_entries(node.body)
        case Apply(function="einsum" | "where"):
            return bool(node.type.shape)
        case Apply(function="matmul"):
            return bool(node.type.shape) and any(needs_entries(a) for a in node.arguments)
        case Apply():
            row = builtins.BUILTINS[node.function]
            if row.form == "reduction":
                return bool(node.type.shape)
            if row.form in ("operator", "elementwise", "comparison"):
                return any(needs_entries(a) for a in node.arguments if a.type.shape)
    return False


def needs_whole(node: Expr) -> bool:
    """Whether an entry is only written as the whole with an index."""
    return isinstance(node, Apply) and builtins.BUILTINS[node.function].form in (
        "axis",
        "matrix",
        "shape",
        "net",
    )


def product(printer: Printer, node: Apply, at: At) -> Piece:
    """Matrix products and transposes."""
    if at is None or not at:
        return _transpose(printer, node) if node.function == "transpose" else _matmul(printer, node)
    if node.function == "transpose":
        return printer.piece(node.arguments[0], (*at[:-2], at[-1], at[-2]))
    if any(needs_entries(a) for a in node.arguments):
        return _sum_of_products(printer, node, at)
    return Piece(f"{fenced(_matmul(printer, node).text)}_{{{subscript(at)}}}", ATOM)


def _sum_of_products(printer: Printer, node: Apply, at: tuple[str, ...]) -> Piece:
    """An entry of a product whose factors are written entry by entry."""
    left, right = node.arguments
    (j,), inner = printer.fresh(1)
    rows = at[: left.type.rank - 1]
    first = inner.piece(left, (*rows, j)).within(PRODUCT)
    rest = at[len(rows) :] if right.type.rank <= 2 else at[-1:]
    batch = at[: right.type.rank - 2] if right.type.rank > 2 else ()
    second = inner.piece(right, (*batch, j, *rest)).within(PRODUCT)
    return Piece(f"\\sum_{{{j}}} {first} {second}", BIG)


def _matmul(printer: Printer, node: Apply) -> Piece:
    """`A x`, `x^T A`, `x^T y`; a row times a matrix stands as a column unless more follows."""
    left, right = node.arguments
    if left.type.rank == 0 or right.type.rank == 0:
        raise AssertionError("a product of matrices has no scalar operand")
    if left.type.rank == 1 and right.type.rank == 1:
        return Piece(f"{_row(printer, left)} {printer.piece(right, None).within(PRODUCT)}", PRODUCT)
    if left.type.rank == 1:
        return Piece(f"{_transposed(printer, right)} {printer.piece(left, None).within(POWER)}", PRODUCT)
    first, second = (printer.piece(a, None).within(PRODUCT) for a in (left, right))
    return Piece(f"{first}{beside(first, second)}{second}", PRODUCT)


def inner(printer: Printer, left: Expr, right: Expr) -> Piece:
    """The inner product of two vectors."""
    return Piece(f"{_row(printer, left)} {printer.piece(right, None).within(PRODUCT)}", PRODUCT)


def _row(printer: Printer, vector: Expr) -> str:
    """A vector as a row: `x^T`, and `x^T A` for a row times a matrix."""
    if isinstance(vector, Apply) and vector.function == "matmul" and vector.arguments[0].type.rank == 1:
        left, right = vector.arguments
        return f"{_row(printer, left)} {printer.piece(right, None).within(PRODUCT)}"
    if isinstance(vector, Apply) and vector.function == "mul" and vector.arguments[0].type.scalar:
        factor, rest = vector.arguments
        return f"{printer.piece(factor, ()).within(PRODUCT)} {_row(printer, rest)}"
    return f"{printer.piece(vector, None).within(ATOM)}^\\top"


def _transposed(printer: Printer, matrix: Expr) -> str:
    if isinstance(matrix, Apply) and matrix.function == "transpose":
        return printer.piece(matrix.arguments[0], None).within(PRODUCT)
    return f"{printer.piece(matrix, None).within(ATOM)}^\\top"


def _transpose(printer: Printer, node: Apply) -> Piece:
    return Piece(_transposed(printer, node.arguments[0]), POWER)


# --- reductions ---------------------------------------------------------------------------------


def reduction(printer: Printer, node: Apply, at: At) -> Piece:
    """Of all entries, or along one axis of them."""
    body = node.arguments[0]
    axis, rank = node.option("axis"), body.type.rank
    if rank == 0:
        return (
            printer.piece(body, ())
            if node.function in ("sum", "mean", "max", "min", "prod")
            else _named(printer, node)
        )
    reduced = range(rank) if not isinstance(axis, int) else (rank + axis,)
    if node.function == "entropy" and not isinstance(axis, int) and not needs_entries(body):
        return Piece(f"\\mathrm{{H}}{fenced(printer.piece(body, None).text)}", POWER)
    if (
        node.function in ("std", "var", "argmax", "argmin")
        and not isinstance(axis, int)
        and not needs_entries(body)
    ):
        return _named(printer, node)
    letters, inner_printer = printer.fresh(len(reduced))
    own, outside = iter(letters), iter(at or ())
    indices = tuple(next(own) if k in reduced else next(outside) for k in range(rank))
    sizes = [body.type.shape[k] for k in reduced]
    return printer.reduced(
        node.function,
        lambda operator: f"{operator}_{{{subscript(letters)}}}",
        inner_printer.piece(body, indices),
        sizes,
    )


def _named(printer: Printer, node: Apply) -> Piece:
    return Piece(f"\\mathrm{{{node.function}}}{fenced(printer.piece(node.arguments[0], None).text)}", POWER)


# --- functions of arrays ------------------------------------------------------------------------


def function(printer: Printer, node: Apply, at: At) -> Piece:
    """Functions that are no operator and not entry by entry."""
    special = _special(printer, node, at)
    if special is not None:
        return special
    pieces = [printer.piece(a, None) for a in node.arguments]
    options = [size_latex(s) for s in _sizes(node)]
    if node.function == "concat" or node.function == "stack":
        body = Piece(f"({'; '.join(p.text for p in pieces)})", ATOM)
    elif node.function == "reshape":
        body = Piece(f"\\mathrm{{reshape}}_{{{TIMES.join(options)}}}{fenced(pieces[0].text)}", POWER)
    else:
        body = printer.spelled(functions.MATRIX.get(node.function), node.function, pieces)
    return body if not at else Piece(f"{body.within(POWER)}_{{{subscript(at)}}}", ATOM)


def _special(printer: Printer, node: Apply, at: At) -> Piece | None:
    """Notations of their own."""
    parts = node.arguments
    match node.function:
        case "norm" | "norm_squared":
            return _norm(printer, node)
        case "dot":
            return _dot(printer, parts[0], parts[1])
        case "outer":
            if at:
                texts = (printer.piece(p, (i,)).within(PRODUCT) for p, i in zip(parts, at, strict=True))
                return Piece(" ".join(texts), PRODUCT)
            return Piece(
                f"{printer.piece(parts[0], None).within(PRODUCT)} {_row(printer, parts[1])}", PRODUCT
            )
        case "gather" if at:
            return _gathered(printer, parts[0], parts[1], at)
        case "einsum":
            return _einsum(printer, node, at or ())
        case "zeros":
            return Piece("0", ATOM)
        case "ones":
            return Piece("1" if at else "\\mathbf{1}", ATOM)
        case "identity":
            return Piece(f"\\mathbb{{1}}[{at[0]} = {at[1]}]" if at else "I", ATOM)
        case "onehot" if at:
            return Piece(f"\\mathbb{{1}}[{printer.piece(parts[0], at[:-1]).text} = {at[-1]}]", ATOM)
        case "net":
            return _net(printer, node, at)
        case "net_slope":
            return _slope(printer, node, at)
    return None


def _norm(printer: Printer, node: Apply) -> Piece:
    body = node.arguments[0]
    squared = node.function == "norm_squared"
    order = node.option("order")
    if needs_entries(body) and order in (None, 2.0):
        letters, inner_printer = printer.fresh(body.type.rank)
        entry = inner_printer.piece(body, letters).within(ATOM)
        total = f"\\sum_{{{subscript(letters)}}} {entry}^2"
        return Piece(total, BIG) if squared else Piece(f"\\sqrt{{{total}}}", ATOM)
    text = fenced(printer.piece(body, None).text, "\\lVert", "\\rVert")
    if squared:
        return Piece(f"{text}^2", POWER)
    if order == float("inf"):
        return Piece(f"{text}_\\infty", ATOM)
    return Piece(text if order == 2.0 else f"{text}_{{{order:g}}}", ATOM)


def _dot(printer: Printer, left: Expr, right: Expr) -> Piece:
    if needs_entries(left) or needs_entries(right):
        (i,), inner_printer = printer.fresh(1)
        texts = [inner_printer.piece(p, (i,)).within(PRODUCT) for p in (left, right)]
        return Piece(f"\\sum_{{{i}}} {' '.join(texts)}", BIG)
    return inner(printer, left, right)


def _gathered(printer: Printer, base: Expr, index: Expr, at: tuple[str, ...]) -> Piece:
    own = printer.piece(index, at[: index.type.rank] if index.type.rank else ()).text
    return printer.piece(base, (own, *at[index.type.rank :]))


def _einsum(printer: Printer, node: Apply, at: tuple[str, ...]) -> Piece:
    spec = node.option("spec")
    assert isinstance(spec, str)
    inputs, output = spec.split("->")
    summed = list(dict.fromkeys(c for c in inputs if c.isalpha() and c not in output))
    letters, inner_printer = printer.fresh(len(summed))
    index = dict(zip(output, at, strict=True)) | dict(zip(summed, letters, strict=True))
    factors = [
        inner_printer.piece(part, tuple(index[c] for c in own)).within(PRODUCT)
        for part, own in zip(node.arguments, inputs.split(","), strict=True)
    ]
    text = factors[0]
    for factor in factors[1:]:
        text += beside(text, factor) + factor
    return Piece(f"\\sum_{{{subscript(letters)}}} {text}", BIG) if letters else Piece(text, PRODUCT)


def _net(printer: Printer, node: Apply, at: At) -> Piece:
    """`f(x)`: the net is the first operand, the indices of its plates follow."""
    places, several = node.option("at"), node.option("of") not in (None, 1)
    assert isinstance(places, int)
    own = [printer.piece(a, None).text for a in node.arguments[1 : 1 + places]]
    own += [str(node.option("output"))] if several else []
    net = node.arguments[0]
    assert isinstance(net, typed.Read)
    given = ", ".join(printer.piece(a, None).text for a in node.arguments[1 + places :])
    text = f"{printer.names[net.name].at(own)}{fenced(given)}"
    return Piece(text, POWER) if not at else Piece(f"{text}_{{{subscript(at)}}}", ATOM)


def _slope(printer: Printer, node: Apply, at: At) -> Piece:
    """`D f(x)[v, w]`: a derivative of a net, along weights of its result and directions of its inputs."""
    places, inputs = node.option("at"), node.option("inputs")
    assert isinstance(places, int)
    assert isinstance(inputs, int)
    end = 1 + places + inputs
    call = _net(printer, replace(node, arguments=node.arguments[:end]), None).text
    along = ", ".join(printer.piece(a, None).text for a in node.arguments[end:])
    text = f"\\mathrm{{D}} {call}" + (fenced(along, "[", "]") if along else "")
    return Piece(text, POWER) if not at else Piece(f"{text}_{{{subscript(at)}}}", ATOM)


def _sizes(node: Apply) -> tuple[Size, ...]:
    found = node.option("shape")
    return tuple(s for s in found if isinstance(s, Size)) if isinstance(found, tuple) else ()
