"""Shape rules of the built-ins that are not elementwise.

Every rule takes the call and gives the type of the result and what is known when compiling
(`static`), or reports a mistake and gives None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ebmlang.compiler import typed
from ebmlang.compiler.builtins import Builtin
from ebmlang.compiler.catalogue.shapes import (
    EinsumSpec,
    ItemsDiffer,
    MatrixProduct,
    NoSuchAxis,
    ReshapeSize,
    ShapesDiffer,
    WrongRank,
)
from ebmlang.compiler.catalogue.types import BadOption, SizeExpected, WrongKind
from ebmlang.compiler.diagnostics import Report
from ebmlang.compiler.scope import Scope, origins
from ebmlang.compiler.sizes import ONE, Size
from ebmlang.compiler.sizing import fits_memory, is_dimension
from ebmlang.compiler.source import Span
from ebmlang.compiler.types import REAL, Kind, Shape, Type, join_kinds

SPELLED = {"matmul": "@", "transpose": ".T", "norm_squared": "||...||^2"}
"""Built-ins that a program writes as an operator."""

Static = tuple[tuple[str, object], ...]
Result = tuple[Type, Static] | None


@dataclass(frozen=True, slots=True)
class CallSite:
    """One call: the row of the table, the operands, and the options as constants or sizes."""

    row: Builtin
    operands: tuple[typed.Expr, ...]
    options: dict[str, object]
    spec: str | None
    span: Span
    scope: Scope
    report: Report = field(repr=False)
    items: Type | None = None
    """The scalar type that holds the items of a list, where the call makes one."""

    @property
    def types(self) -> tuple[Type, ...]:
        return tuple(o.type for o in self.operands)

    @property
    def name(self) -> str:
        """How a program spells the function."""
        return SPELLED.get(self.row.name, self.row.name)

    def wrong_rank(self, operand: typed.Expr, wanted: str) -> None:
        places = origins(self.scope, operand)
        self.report.add(WrongRank(operand.span, self.name, str(operand.type), wanted, places))

    def result_kind(self) -> Kind:
        if self.row.result != "same":
            return self.row.result
        kinds = [t.kind for t in self.types]
        kind = kinds[0]
        for other in kinds[1:]:
            kind = kind if kind == other else join_kinds(kind, other)
        return kind


def integer_option(site: CallSite, name: str, default: int | None) -> int | None:
    value = site.options.get(name, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    site.report.add(BadOption(site.span, name, str(value), "a whole number"))
    return default


def axis_from_end(site: CallSite, rank: int, default: int | None, type_: Type) -> int | None:
    """The axis that `over` names, counted from the end (-1 is the last one)."""
    axis = integer_option(site, "over", default)
    if axis is None:
        return None
    if not -rank <= axis < rank:
        places = origins(site.scope, *site.operands)
        site.report.add(NoSuchAxis(site.span, str(axis), str(type_), places, rank))
        return None
    return axis - rank if axis >= 0 else axis


# --- reductions and functions along an axis -----------------------------------------------------


def reduction(site: CallSite) -> Result:
    """All entries, or the axis of `over`; logsumexp takes the last axis by itself."""
    operand = site.operands[0]
    rank = operand.type.rank
    kind = site.result_kind()
    if site.row.result == "same" and operand.type.kind == "bool":
        kind = "int"
    if rank == 0:
        if "over" in site.options:
            axis_from_end(site, 0, 0, operand.type)
            return None
        return Type(kind), (("dims", 0),)
    if "over" in site.options or (site.row.name == "logsumexp" and rank > 1):
        axis = axis_from_end(site, rank, -1, operand.type)
        if axis is None:
            return None
        shape = operand.type.shape
        return Type(kind, shape[:axis] + shape[rank + axis + 1 :]), (("axis", axis),)
    return Type(kind), (("dims", rank),)


def along_axis(site: CallSite) -> Result:
    operand = site.operands[0]
    if operand.type.scalar:
        site.wrong_rank(operand, "an array")
        return None
    axis = axis_from_end(site, operand.type.rank, -1, operand.type)
    if axis is None:
        return None
    counts = site.row.name == "cumsum" and operand.type.kind == "bool"
    return Type("int" if counts else site.result_kind(), operand.type.shape), (("axis", axis),)


# --- matrices -----------------------------------------------------------------------------------


def matmul(site: CallSite) -> Result:
    left, right = site.types
    kind = join_kinds(left.kind, right.kind)
    a, b = left.shape, right.shape
    if not a or not b or (len(a) > 2 and len(b) == 1) or (len(b) > 2 and len(a) == 1):
        pass
    elif len(a) <= 2 and len(b) <= 2 and a[-1] == b[0]:
        return Type(kind, a[:-1] + b[1:]), ()
    elif len(a) == len(b) > 2 and a[:-2] == b[:-2] and a[-1] == b[-2]:
        return Type(kind, a[:-1] + b[-1:]), ()
    advice = ""
    if not a or not b:
        advice = "a scalar is multiplied with *"
    elif len(a) == 2 and len(b) <= 2 and a[0] == b[0]:
        advice = f"did you mean {_transposed(site.operands[0], 'A')} @ {_short(site.operands[1], 'B')}?"
    elif len(a) == len(b) == 2 and a[1] == b[1]:
        advice = f"did you mean {_short(site.operands[0], 'A')} @ {_transposed(site.operands[1], 'B')}?"
    places = origins(site.scope, *site.operands)
    site.report.add(MatrixProduct(site.span, str(left), str(right), advice, places))
    return None


def _short(operand: typed.Expr, instead: str) -> str:
    """The name of an operand in a hint."""
    return operand.name if isinstance(operand, typed.Read) else instead


def _transposed(operand: typed.Expr, instead: str) -> str:
    if isinstance(operand, typed.Apply) and operand.function == "transpose":
        return _short(operand.arguments[0], instead)
    return f"{_short(operand, instead)}.T"


def transpose(site: CallSite) -> Result:
    operand = site.operands[0]
    if operand.type.rank < 2:
        site.wrong_rank(operand, "a matrix")
        return None
    shape = operand.type.shape
    return operand.type.with_shape((*shape[:-2], shape[-1], shape[-2])), ()


def _vectors(site: CallSite) -> bool:
    for operand in site.operands:
        if operand.type.rank != 1:
            site.wrong_rank(operand, "vectors")
            return False
    return True


def dot(site: CallSite) -> Result:
    if not _vectors(site):
        return None
    left, right = site.types
    if left.shape != right.shape:
        advice = "both vectors need the same length"
        places = origins(site.scope, *site.operands)
        site.report.add(ShapesDiffer(site.span, str(left), str(right), "`dot`", advice, places))
        return None
    return REAL, ()


def outer(site: CallSite) -> Result:
    if not _vectors(site):
        return None
    return Type("real", site.types[0].shape + site.types[1].shape), ()


def norm(site: CallSite) -> Result:
    order = site.options.get("order", 2.0)
    if not isinstance(order, int | float) or not order > 0:
        site.report.add(BadOption(site.span, "order", f"{order}", "a positive number or inf"))
        return None
    static: Static = (("dims", site.types[0].rank),)
    return REAL, static if site.row.name == "norm_squared" else (("order", float(order)), *static)


def einsum(site: CallSite) -> Result:
    spec = site.spec
    if spec is None:
        site.report.add(EinsumSpec(site.span, "", "the first argument is the specification in quotes"))
        return None
    found = _einsum_shape(spec.replace(" ", ""), site.types)
    if isinstance(found, str):
        site.report.add(EinsumSpec(site.span, spec, found, origins(site.scope, *site.operands)))
        return None
    return Type("real", found), (("spec", spec.replace(" ", "")),)


def _einsum_shape(spec: str, types: tuple[Type, ...]) -> Shape | str:
    """The shape of the result, or what is wrong."""
    match = re.fullmatch(r"([A-Za-z]*(?:,[A-Za-z]*)*)->([A-Za-z]*)", spec)
    if not match:
        return "a specification is letters, commas and one ->, as in ij,jk->ik"
    inputs, output = match[1].split(","), match[2]
    if len(inputs) != len(types):
        return f"it names {len(inputs)} operands, and there are {len(types)}"
    sizes: dict[str, Size] = {}
    for letters, found in zip(inputs, types, strict=True):
        if len(letters) != found.rank:
            return f"`{letters}` has {len(letters)} indices, and the operand is {found}"
        for letter, size in zip(letters, found.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                return f"the index {letter} has the sizes {sizes[letter]} and {size}"
    for letter in output:
        if letter not in sizes:
            return f"the index {letter} of the result stands in no operand"
        if output.count(letter) > 1:
            return f"the index {letter} stands twice in the result"
    return tuple(sizes[letter] for letter in output)


def _square(site: CallSite, operand: typed.Expr) -> bool:
    shape = operand.type.shape
    if len(shape) != 2 or shape[0] != shape[1]:
        site.wrong_rank(operand, "a square matrix")
        return False
    return True


def square_to_scalar(site: CallSite) -> Result:
    return (Type(site.result_kind()), ()) if _square(site, site.operands[0]) else None


def square_to_square(site: CallSite) -> Result:
    return (Type("real", site.types[0].shape), ()) if _square(site, site.operands[0]) else None


def diag(site: CallSite) -> Result:
    operand = site.operands[0]
    shape = operand.type.shape
    if len(shape) == 1:
        return operand.type.with_shape((shape[0], shape[0])), (("make", True),)
    if len(shape) != 2 or shape[0] != shape[1]:
        site.wrong_rank(operand, "a vector or a square matrix")
        return None
    return operand.type.with_shape(shape[:1]), (("make", False),)


def linear_solve(site: CallSite) -> Result:
    matrix, right = site.operands
    if not _square(site, matrix):
        return None
    shape = right.type.shape
    if not shape or len(shape) > 2 or shape[0] != matrix.type.shape[0]:
        site.wrong_rank(right, f"a vector or matrix with {matrix.type.shape[0]} rows on the right")
        return None
    return Type("real", shape), (("vector", len(shape) == 1),)


def cov(site: CallSite) -> Result:
    operand = site.operands[0]
    if operand.type.rank != 2:
        site.wrong_rank(operand, "a matrix whose rows are observations")
        return None
    size = operand.type.shape[1]
    return Type("real", (size, size)), ()


# --- rearranging --------------------------------------------------------------------------------


def _same_items(site: CallSite, ignore: int | None) -> bool:
    first = site.operands[0]
    for other in site.operands[1:]:
        a, b = list(first.type.shape), list(other.type.shape)
        if ignore is not None and len(a) == len(b):
            a[ignore] = b[ignore] = ONE
        if a != b:
            places = origins(site.scope, first, other)
            what = f"`{site.row.name}`"
            site.report.add(ItemsDiffer(other.span, str(first.type), str(other.type), what, places))
            return False
    return True


def concat(site: CallSite) -> Result:
    first = site.operands[0]
    if first.type.scalar:
        site.wrong_rank(first, "arrays (scalars are collected with [a, b])")
        return None
    axis = axis_from_end(site, first.type.rank, 0, first.type)
    if axis is None or not _same_items(site, axis):
        return None
    total = sum((o.type.shape[axis] for o in site.operands[1:]), first.type.shape[axis])
    shape = list(first.type.shape)
    shape[axis] = total
    assert site.items is not None
    return site.items.with_shape(tuple(shape)), (("axis", axis),)


def stack(site: CallSite) -> Result:
    if not _same_items(site, None):
        return None
    shape = (Size.of(len(site.operands)), *site.types[0].shape)
    assert site.items is not None
    return site.items.with_shape(shape), (("axis", -len(shape)),)


def _size_operand(site: CallSite, operand: typed.Expr) -> Size | None:
    if isinstance(operand, typed.SizeOf):
        return operand.size if is_dimension(operand.size, operand.span, site.report) else None
    site.report.add(SizeExpected(operand.span, f"`{site.report.source.extract(operand.span)}`"))
    return None


def reshape(site: CallSite) -> Result:
    sizes = [_size_operand(site, o) for o in site.operands[1:]]
    if any(s is None for s in sizes):
        return None
    shape = tuple(s for s in sizes if s is not None)
    before = site.types[0]
    count, wanted = _count(before.shape), _count(shape)
    if count != wanted:
        after = before.with_shape(shape)
        places = origins(site.scope, site.operands[0])
        site.report.add(ReshapeSize(site.span, str(before), str(after), str(wanted), str(count), places))
        return None
    return before.with_shape(shape), (("shape", shape),)


def _count(shape: Shape) -> Size:
    total = ONE
    for size in shape:
        total = total * size
    return total


def gather(site: CallSite) -> Result:
    array, index = site.operands
    if array.type.scalar:
        site.wrong_rank(array, "an array")
        return None
    if not index.type.integral:
        site.report.add(WrongKind(index.span, str(index.type), "integers or classes", "`gather`"))
        return None
    return array.type.with_shape(index.type.shape + array.type.shape[1:]), ()


def onehot(site: CallSite) -> Result:
    value, count = site.operands
    size = _size_operand(site, count)
    if size is None:
        return None
    if not value.type.integral:
        site.report.add(WrongKind(value.span, str(value.type), "a class or an integer", "`onehot`"))
        return None
    return Type("real", (*value.type.shape, size)), (("size", size),)


def top_softmax(site: CallSite) -> Result:
    value, count = site.operands
    size = _size_operand(site, count)
    if size is None:
        return None
    if value.type.scalar:
        site.wrong_rank(value, "an array")
        return None
    if not value.type.numeric:
        site.report.add(WrongKind(value.span, str(value.type), "numbers", "`top_softmax`"))
        return None
    return Type("real", value.type.shape), (("axis", -1), ("size", size))


def constructor(site: CallSite) -> Result:
    sizes = [_size_operand(site, o) for o in site.operands]
    if any(s is None for s in sizes):
        return None
    shape = tuple(s for s in sizes if s is not None)
    if site.row.name == "identity":
        shape = (shape[0], shape[0])
    if not fits_memory(shape, f"`{site.row.name}`", site.span, site.report):
        return None
    return Type("real", shape), (("shape", shape),)


RULES: dict[str, Callable[[CallSite], Result]] = {
    "matmul": matmul,
    "transpose": transpose,
    "dot": dot,
    "outer": outer,
    "norm": norm,
    "norm_squared": norm,
    "einsum": einsum,
    "diag": diag,
    "trace": square_to_scalar,
    "det": square_to_scalar,
    "logabsdet": square_to_scalar,
    "inverse": square_to_square,
    "linear_solve": linear_solve,
    "cov": cov,
    "concat": concat,
    "stack": stack,
    "reshape": reshape,
    "gather": gather,
    "onehot": onehot,
    "top_softmax": top_softmax,
}


def apply_rule(site: CallSite) -> Result:
    """The type of a call whose operands have been checked for their number."""
    match site.row.form:
        case "reduction":
            return reduction(site)
        case "axis":
            return along_axis(site)
        case "constructor":
            return constructor(site)
    return RULES[site.row.name](site)
