"""How each built-in is written: one function per form, and exceptions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ebmlang.compiler import typed
from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.codegen.layout import (
    ATOM,
    COMPARE,
    POWER,
    PRODUCT,
    SUM,
    UNARY,
    Code,
    Layout,
    align,
    layout_of,
)
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.typed import Apply, Level

if TYPE_CHECKING:
    from ebmlang.compiler.codegen.expressions import Emitter

_INFIX = {
    "add": ("+", SUM), "sub": ("-", SUM), "mul": ("*", PRODUCT), "div": ("/", PRODUCT),
    "lt": ("<", COMPARE), "le": ("<=", COMPARE), "gt": (">", COMPARE), "ge": (">=", COMPARE),
    "eq": ("==", COMPARE), "ne": ("!=", COMPARE),
}  # fmt: skip

_MATH = frozenset(
    "exp log log1p expm1 sqrt sin cos tan asin acos atan sinh cosh tanh erf lgamma atan2".split()
)
"""Functions of Python's math module, for operands that are Python numbers."""


def write_apply(e: Emitter, node: Apply) -> Code:
    """The code of a built-in applied to operands."""
    writer = _BY_NAME.get(node.function) or _BY_FORM[BUILTINS[node.function].form]
    return writer(e, node)


def _result(e: Emitter, node: Apply, text: str, strength: int = ATOM) -> Code:
    where = layout_of(node)
    return Code(text, strength, where.batch, where.axes, where.rank, node.type.kind)


def _infix(e: Emitter, node: Apply) -> Code:
    where = layout_of(node)
    symbol, strength = _INFIX[node.function]
    exact = node.type.kind == "int" or (strength == COMPARE and all(a.type.kind != "bool" for a in node.arguments))
    left, right = (e._emit(a) if exact else e.real(a) for a in node.arguments)
    if left.python and right.python:
        text = f"{left.at(strength)} {symbol} {right.at(strength + 1)}"
        return Code(text, strength, False, (), 0, node.type.kind, True)
    texts = []
    for side, code in enumerate((left, right)):
        own = align(code, where)
        needed = strength + (side if node.function in ("sub", "div") or strength == COMPARE else 0)
        texts.append(code.at(needed) if own == code.text else own)
    return _result(e, node, f"{texts[0]} {symbol} {texts[1]}", strength)


def _neg(e: Emitter, node: Apply) -> Code:
    (operand,) = e.operands(node, node.type.kind == "real")
    code = Code(f"-{operand.at(UNARY)}", UNARY, operand.batch, operand.axes, operand.rank, node.type.kind, operand.python)
    return code


def _pow(e: Emitter, node: Apply) -> Code:
    base, exponent = e.operands(node, node.type.kind == "real")
    if base.python and exponent.python:
        return Code(f"{base.at(ATOM)} ** {exponent.at(ATOM)}", POWER, False, (), 0, node.type.kind, True)
    where = layout_of(node)
    if exponent.text == "2" and base.dims == where.batch + len(where.axes) + where.rank:
        return _result(e, node, f"{base.at(ATOM)}.square()")
    if base.python:
        return _result(e, node, f"torch.pow({base.text}, {align(exponent, where)})")
    shown = align(exponent, where) if not exponent.python else exponent.at(ATOM)
    return _result(e, node, f"{_atom(align(base, where))} ** {_atom(shown)}", POWER)


def _atom(text: str) -> str:
    return text if text.replace("_", "").replace(".", "").isalnum() or text.endswith((")", "]")) else f"({text})"


def _logical(e: Emitter, node: Apply) -> Code:
    left, right = e.operands(node, False)
    if left.python and right.python:
        word = node.function
        return Code(f"({left.text} {word} {right.text})", ATOM, False, (), 0, "bool", True)
    where = layout_of(node)
    texts = [align(e.tensor(c), where) for c in (left, right)]
    return _result(e, node, f"torch.logical_{node.function}({', '.join(texts)})")


def _elementwise(e: Emitter, node: Apply) -> Code:
    row = BUILTINS[node.function]
    codes = e.operands(node, node.function != "not")
    if all(c.python for c in codes):
        if node.function in _MATH:
            inside = ", ".join(c.text for c in codes)
            return Code(f"math.{node.function}({inside})", ATOM, False, (), 0, "real", True)
        codes = [e.tensor(c) for c in codes]
    where = layout_of(node)
    texts = [align(e.tensor(c), where) for c in codes]
    options = {key: value for key, value in node.static}
    if not row.torch.startswith(("torch.", "F.")):
        texts = [_atom(t) for t in texts]
    return _result(e, node, row.torch.format(*texts, **options), _strength(row.torch))


def _strength(template: str) -> int:
    """How tightly a filled template binds: a call does, a sum does not."""
    return SUM if template.endswith((" torch.pi", "}")) else ATOM


def _huber(e: Emitter, node: Apply) -> Code:
    where = layout_of(node)
    operand = e.real(node.arguments[0])
    delta = node.option("delta")
    if len(node.arguments) == 2:
        limit = e.real(node.arguments[1])
        shown = limit.text if limit.python else align(limit, where)
        return _result(e, node, f"functions.huber({align(e.tensor(operand), where)}, {shown})")
    return _result(e, node, f"functions.huber({align(e.tensor(operand), where)}, {delta})")


def _where(e: Emitter, node: Apply) -> Code:
    where = layout_of(node)
    condition = e._emit(node.arguments[0])
    real = node.type.kind == "real"
    branches = [e.real(a) if real else e._emit(a) for a in node.arguments[1:]]
    if condition.python and all(b.python for b in branches):
        text = f"({branches[0].text} if {condition.text} else {branches[1].text})"
        return Code(text, ATOM, False, (), 0, node.type.kind, True)
    shown = align(e.tensor(condition), where)
    if not condition.python and all(b.python for b in branches) and real:
        branches[0] = e.tensor(branches[0])
    texts = [b.text if b.python else align(b, where) for b in branches]
    return _result(e, node, f"torch.where({shown}, {texts[0]}, {texts[1]})")


def _clamp(e: Emitter, node: Apply) -> Code:
    where = layout_of(node)
    value, low, high = e.operands(node)
    shown = align(e.tensor(value), where)
    if low.python and high.python and not value.python:
        return _result(e, node, f"{_atom(shown)}.clamp({low.text}, {high.text})")
    bounds = [align(e.tensor(c), where) for c in (low, high)]
    return _result(e, node, f"torch.clamp({shown}, {bounds[0]}, {bounds[1]})")


# --- reductions ---------------------------------------------------------------------------------


def _dims(count: int) -> str:
    return "-1" if count == 1 else str(tuple(range(-count, 0)))


def _reduction(e: Emitter, node: Apply) -> Code:
    row = BUILTINS[node.function]
    inner = node.arguments[0]
    keep = node.function in ("all", "any", "argmax", "argmin")
    operand = e._emit(inner) if keep else e.real(inner)
    axis, dims = node.option("axis"), node.option("dims")
    if dims == 0:
        return _scalar_reduction(e, node, operand)
    operand = e.tensor(operand)
    if isinstance(axis, int):
        if "{first}" in row.torch:
            return _result(e, node, f"{operand.at(ATOM)}.{node.function}({axis})")
        return _result(e, node, row.torch.format(operand.at(ATOM), dim=axis))
    assert isinstance(dims, int)
    dim = _dims(dims)
    return _result(e, node, row.torch.format(operand.at(ATOM), dim=dim, first=-dims))


def _scalar_reduction(e: Emitter, node: Apply, operand: Code) -> Code:
    """A reduction of one number."""
    if node.function in ("argmax", "argmin"):
        return Code("0", ATOM, False, (), 0, "int", True)
    if node.function == "entropy":
        return _result(e, node, f"torch.special.entr({e.tensor(operand).text})")
    if node.function in ("std", "var"):
        return _result(e, node, f"{e.tensor(operand).at(ATOM)} * math.nan", PRODUCT)
    return operand


def _along_axis(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e.real(node.arguments[0]))
    return _result(e, node, BUILTINS[node.function].torch.format(operand.at(ATOM), last=node.option("axis")))


def _norm(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e.real(node.arguments[0]))
    dims = node.option("dims")
    assert isinstance(dims, int)
    squared = node.function == "norm_squared"
    if dims == 0:
        return _result(e, node, f"{operand.at(ATOM)}.{'square' if squared else 'abs'}()")
    if squared:
        return _result(e, node, f"{operand.at(ATOM)}.square().sum({_dims(dims)})")
    order = node.option("order")
    if order == 1.0:
        return _result(e, node, f"{operand.at(ATOM)}.abs().sum({_dims(dims)})")
    shown = "math.inf" if order == float("inf") else f"{order:g}"
    return _result(e, node, f"torch.linalg.vector_norm({operand.text}, {shown}, {_dims(dims)})")


# --- matrices -----------------------------------------------------------------------------------


def _matmul(e: Emitter, node: Apply) -> Code:
    left, right = (e.tensor(c) for c in e.operands(node))
    a, b = left.rank, right.rank
    if a == 1 and b == 1:
        where = Layout(left.batch or right.batch, node.axes, 1)
        return _result(e, node, f"({align(left, where)} * {align(right, where)}).sum(-1)")
    bare_left, bare_right = left.dims == a, right.dims == b
    if a == 2 and b == 1:
        if bare_left and not bare_right:
            return _result(e, node, f"F.linear({right.text}, {left.text})")
        if bare_left:
            return _result(e, node, f"{left.at(PRODUCT)} @ {right.at(PRODUCT + 1)}", PRODUCT)
        column = _lead(right, node, 1)
        return _result(e, node, f"({_lead(left, node, 2)} @ {_atom(column)}.unsqueeze(-1)).squeeze(-1)")
    if a == 1 and b == 2:
        if bare_right:
            return _result(e, node, f"{left.at(PRODUCT)} @ {right.at(PRODUCT + 1)}", PRODUCT)
        row = _lead(left, node, 1)
        return _result(e, node, f"({_atom(row)}.unsqueeze(-2) @ {_lead(right, node, 2)}).squeeze(-2)")
    return _result(e, node, f"{_atom(_lead(left, node, a))} @ {_atom(_lead(right, node, b))}", PRODUCT)


def _lead(code: Code, node: Apply, rank: int) -> str:
    """An operand with its leading dimensions lined up, its own last ones untouched."""
    where = layout_of(node)
    return align(code, Layout(where.batch, where.axes, rank))


def _transpose(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e._emit(node.arguments[0]))
    return _result(e, node, f"{operand.at(ATOM)}.mT")


def _dot(e: Emitter, node: Apply) -> Code:
    left, right = (_lead(e.tensor(c), node, 1) for c in e.operands(node))
    return _result(e, node, f"({_atom(left)} * {_atom(right)}).sum(-1)")


def _outer(e: Emitter, node: Apply) -> Code:
    left, right = (_lead(e.tensor(c), node, 1) for c in e.operands(node))
    return _result(e, node, f"{_atom(left)}.unsqueeze(-1) * {_atom(right)}.unsqueeze(-2)", PRODUCT)


def _einsum(e: Emitter, node: Apply) -> Code:
    spec = node.option("spec")
    assert isinstance(spec, str)
    inputs, output = spec.split("->")
    codes = [e.tensor(c) for c in e.operands(node)]
    if all(c.dims == c.rank for c in codes):
        return _result(e, node, f'torch.einsum("{spec}", {", ".join(c.text for c in codes)})')
    spread = ",".join("..." + letters for letters in inputs.split(","))
    texts = [_lead(c, node, c.rank) for c in codes]
    return _result(e, node, f'torch.einsum("{spread}->...{output}", {", ".join(texts)})')


def _unary_matrix(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e.real(node.arguments[0]))
    return _result(e, node, BUILTINS[node.function].torch.format(operand.at(ATOM)))


def _diag(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e.real(node.arguments[0]))
    if node.option("make"):
        return _result(e, node, f"torch.diag_embed({operand.text})")
    return _result(e, node, f"{operand.at(ATOM)}.diagonal(dim1=-2, dim2=-1)")


def _linear_solve(e: Emitter, node: Apply) -> Code:
    matrix, right = (e.tensor(c) for c in e.operands(node))
    left = _lead(matrix, node, 2)
    if node.option("vector"):
        column = _atom(_lead(right, node, 1))
        return _result(e, node, f"torch.linalg.solve({left}, {column}.unsqueeze(-1)).squeeze(-1)")
    return _result(e, node, f"torch.linalg.solve({left}, {_lead(right, node, 2)})")


def _cov(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e.real(node.arguments[0]))
    return _result(e, node, f"functions.covariance({operand.text})")


# --- rearranging --------------------------------------------------------------------------------


def _joined(e: Emitter, node: Apply) -> Code:
    where = layout_of(node)
    axis = node.option("axis")
    real = node.type.kind == "real"
    codes = [e.tensor(e.real(a) if real else e._emit(a)) for a in node.arguments]
    rank = node.arguments[0].type.rank
    same = all(c.batch == where.batch and c.axes == where.axes for c in codes)
    if node.function == "stack":
        texts = [align(c, Layout(where.batch, where.axes, rank)) for c in codes]
        inside = f"({', '.join(texts)},)" if same else f"torch.broadcast_tensors({', '.join(texts)})"
        return _result(e, node, f"torch.stack({inside}, {axis})")
    if same:
        return _result(e, node, f"torch.cat(({', '.join(c.text for c in codes)},), {axis})")
    texts = [align(c, Layout(where.batch, where.axes, rank)) for c in codes]
    return _result(e, node, f"functions.concat(({', '.join(texts)},), {axis}, {rank})")


def _reshape(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e._emit(node.arguments[0]))
    shape = node.option("shape")
    assert isinstance(shape, tuple)
    sizes = ", ".join(e.size(s) for s in shape if isinstance(s, Size))
    lead = operand.dims - operand.rank
    if lead == 0:
        return _result(e, node, f"{operand.at(ATOM)}.reshape({sizes})")
    return _result(e, node, f"{operand.at(ATOM)}.flatten({lead}).unflatten({lead}, ({sizes},))")


def _gather(e: Emitter, node: Apply) -> Code:
    from ebmlang.compiler.codegen.picks import Picks
    from ebmlang.compiler.indexing import pick
    from ebmlang.compiler.sizes import ZERO

    array, index = node.arguments
    rest = tuple(typed.SliceOf(ZERO, size) for size in array.type.shape[1:])
    return Picks(e).pick(pick(array, (index, *rest), node.span))


def _onehot(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e._emit(node.arguments[0]))
    size = node.option("size")
    assert isinstance(size, Size)
    return _result(e, node, f"F.one_hot({operand.text}.long(), {e.size(size)}).to(self.dtype)")


def _constructor(e: Emitter, node: Apply) -> Code:
    shape = node.option("shape")
    assert isinstance(shape, tuple)
    sizes = ", ".join(e.size(s) for s in (shape[:1] if node.function == "identity" else shape))
    name = {"zeros": "zeros", "ones": "ones", "identity": "eye"}[node.function]
    return Code(
        f"torch.{name}({sizes}, dtype=self.dtype, device=self.device)", ATOM, False, (), len(shape), "real"
    )


def _distribution(e: Emitter, node: Apply) -> Code:
    """A draw that fills the declared type; `self.draw` keys it by seed, name and row."""
    shape = ", ".join(e.size(s) for s in node.type.shape)
    comma = "," if node.type.rank == 1 else ""
    codes = e.operands(node)
    where = layout_of(node)
    texts = [c.text if c.python else align(c, where) for c in codes]
    arguments = "".join(f", {t}" for t in texts)
    number = e.draws
    e.draws += 1
    text = f"self.draw.{node.function}({e.target!r}, {number}, ({shape}{comma}){arguments})"
    return Code(text, ATOM, e.target_batch or node.level is Level.EXAMPLE, (), node.type.rank, node.type.kind)


_BY_FORM: dict[str, Callable[[Emitter, Apply], Code]] = {
    "operator": _infix,
    "comparison": _infix,
    "elementwise": _elementwise,
    "reduction": _reduction,
    "axis": _along_axis,
    "matrix": _unary_matrix,
    "constructor": _constructor,
    "distribution": _distribution,
}

_BY_NAME: dict[str, Callable[[Emitter, Apply], Code]] = {
    "neg": _neg,
    "pow": _pow,
    "floordiv": _elementwise,
    "mod": _elementwise,
    "and": _logical,
    "or": _logical,
    "huber": _huber,
    "where": _where,
    "clamp": _clamp,
    "matmul": _matmul,
    "transpose": _transpose,
    "dot": _dot,
    "outer": _outer,
    "norm": _norm,
    "norm_squared": _norm,
    "einsum": _einsum,
    "diag": _diag,
    "linear_solve": _linear_solve,
    "cov": _cov,
    "concat": _joined,
    "stack": _joined,
    "reshape": _reshape,
    "gather": _gather,
    "onehot": _onehot,
}
