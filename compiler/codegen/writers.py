"""How each built-in is written: one function per form, and exceptions by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ebmlang.compiler.builtins import BUILTINS
from ebmlang.compiler.codegen.arrays import ARRAY_WRITERS
from ebmlang.compiler.codegen.layout import (
    ATOM,
    COMPARE,
    POWER,
    PRODUCT,
    SUM,
    UNARY,
    Code,
    aligned,
    layout_of,
    python_number,
)
from ebmlang.compiler.codegen.nets import write_call, write_slope
from ebmlang.compiler.codegen.writing import lead, result
from ebmlang.compiler.facts import number
from ebmlang.compiler.typed import Apply, Level, NewAxis, Pick, SizeOf

if TYPE_CHECKING:
    from ebmlang.compiler.codegen.expressions import Emitter

_INFIX = {
    "add": ("+", SUM),
    "sub": ("-", SUM),
    "mul": ("*", PRODUCT),
    "div": ("/", PRODUCT),
    "lt": ("<", COMPARE),
    "le": ("<=", COMPARE),
    "gt": (">", COMPARE),
    "ge": (">=", COMPARE),
    "eq": ("==", COMPARE),
    "ne": ("!=", COMPARE),
}

_ARITHMETIC = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "pow": lambda a, b: a**b,
}

NUMBER_FUNCTIONS = frozenset(
    [
        "exp",
        "log",
        "log1p",
        "expm1",
        "sqrt",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "erf",
        "lgamma",
        "atan2",
    ]
)
"""Functions of Python's math module that functions.py has for plain numbers, without exceptions."""


def write_apply(e: Emitter, node: Apply) -> Code:
    """The code of a built-in applied to operands."""
    writer = _BY_NAME.get(node.function) or ARRAY_WRITERS.get(node.function)
    return (writer or _BY_FORM[BUILTINS[node.function].form])(e, node)


# --- arithmetic ---------------------------------------------------------------------------------


def _infix(e: Emitter, node: Apply) -> Code:
    symbol, strength = _INFIX[node.function]
    if strength == COMPARE:
        boolean = any(a.type.kind == "bool" for a in node.arguments)
        codes = [e.real(a) if boolean else e.code(a) for a in node.arguments]
    else:
        codes = [e.of_kind(a, node.type.kind) for a in node.arguments]
    left, right = codes
    if left.python and right.python:
        return _python_infix(node, left, right, symbol, strength)
    where = layout_of(node)
    left, right = aligned(left, where), aligned(right, where)
    # Comparisons are never chained; on the right of a * another * or @ binds no tighter.
    first = left.at(strength + (strength == COMPARE))
    second = right.at(strength + (node.function != "add"))
    return result(e, node, f"{first} {symbol} {second}", strength)


def _python_infix(node: Apply, left: Code, right: Code, symbol: str, strength: int) -> Code:
    if node.function == "div" and not _plain(node):
        return python_number(f"functions.divide({left.text}, {right.text})", "real")
    text = f"{left.at(strength + (strength == COMPARE))} {symbol} {right.at(strength + 1)}"
    return python_number(text, node.type.kind, strength)


def _plain(node: Apply) -> bool:
    """Whether Python's own operator gives a finite number, as can be told from the constants."""
    if node.function == "div":
        divisor = node.arguments[1]
        value = number(divisor)
        whole = isinstance(divisor, SizeOf) and divisor.size.known_positive(1) is True
        return whole or (value is not None and value != 0)
    values = [number(a) for a in node.arguments]
    if any(v is None for v in values):
        return False
    try:
        found = _ARITHMETIC[node.function](*values)
    except (ArithmeticError, ValueError):
        return False
    return isinstance(found, float) and math.isfinite(found)


def _neg(e: Emitter, node: Apply) -> Code:
    operand = e.of_kind(node.arguments[0], node.type.kind)
    text = f"-{operand.at(UNARY)}"
    return Code(text, UNARY, operand.batch, operand.axes, operand.rank, operand.kind, operand.python)


def _pow(e: Emitter, node: Apply) -> Code:
    base, exponent = (e.of_kind(a, node.type.kind) for a in node.arguments)
    where = layout_of(node)
    if base.python and exponent.python:
        if _plain(node):
            return python_number(f"{base.at(ATOM)} ** {exponent.at(ATOM)}", node.type.kind, POWER)
        if node.type.kind == "int":
            return python_number(f"{base.at(ATOM)} ** {exponent.at(ATOM)}", "int", POWER)
        return python_number(f"functions.power({base.text}, {exponent.text})", "real")
    if exponent.text in ("2", "2.0") and exponent.python:
        return result(e, node, f"{base.at(ATOM)}.square()")
    if base.python:
        return result(e, node, f"torch.pow({base.text}, {aligned(exponent, where).text})")
    shown = aligned(exponent, where)
    return result(e, node, f"{aligned(base, where).at(ATOM)} ** {shown.at(ATOM)}", POWER)


def _division(e: Emitter, node: Apply) -> Code:
    """`//` and `%`; of whole numbers a zero divisor is a mistake in the data, and is named."""
    kind = node.type.kind
    left, right = (e.of_kind(a, kind) for a in node.arguments)
    where = layout_of(node)
    inside = ", ".join(aligned(e.tensor(c), where).text for c in (left, right))
    known = number(node.arguments[1])
    if kind == "int" and (known is None or known == 0):
        name = "whole_floor_divide" if node.function == "floordiv" else "whole_remainder"
        return result(e, node, f"functions.{name}({inside})", kind="int")
    return result(e, node, BUILTINS[node.function].torch.replace("{0}, {1}", inside), kind=kind)


# --- entry by entry -----------------------------------------------------------------------------


def _elementwise(e: Emitter, node: Apply) -> Code:
    row = BUILTINS[node.function]
    kind = node.type.kind if row.result == "same" else "real"
    codes = [e.of_kind(a, kind) for a in node.arguments]
    if all(c.python for c in codes) and node.function in NUMBER_FUNCTIONS:
        module = "math" if _finite(node) else "functions"
        return python_number(f"{module}.{node.function}({', '.join(c.text for c in codes)})", "real")
    where = layout_of(node)
    shown = [aligned(e.tensor(c), where) for c in codes]
    inside = row.torch.startswith(("torch.", "F.", "functions.")) and row.torch.endswith(")")
    options = dict(node.static)
    text = row.torch.format(*(c.text if inside else c.at(ATOM) for c in shown), **options)
    return result(e, node, text, ATOM if inside else SUM, kind)


def _exp(e: Emitter, node: Apply) -> Code:
    return _softmax(e, node) or _elementwise(e, node)


def _softmax(e: Emitter, node: Apply) -> Code | None:
    """`exp(x - logsumexp(x))` along the last axis, where nothing else asks for the logarithm: in one pass."""
    match e.canonical(node.arguments[0]):
        case Apply(function="sub", arguments=(x, total)) as inner:
            parts = [inner, e.canonical(total)]
        case _:
            return None
    match parts[-1]:
        case Pick(base=base, subscripts=(*_, NewAxis())) as kept if kept.type.rank == x.type.rank:
            parts.append(e.canonical(base))
    match parts[-1]:
        case Apply(function="logsumexp", arguments=(of,)) as found if e.canonical(of) is e.canonical(x):
            last = found.option("axis") == -1 if len(parts) > 2 else found.option("dims") == 1
        case _:
            return None
    if not last or not all(map(e.written_here, parts)):
        return None
    return result(e, node, f"functions.shares({e.tensor(e.real(x)).text})", ATOM, "real")


def _finite(node: Apply) -> bool:
    """Whether a function of constants has a finite value in Python's math module."""
    values = [number(a) for a in node.arguments]
    if any(v is None for v in values):
        return False
    try:
        return math.isfinite(getattr(math, node.function)(*values))
    except (ArithmeticError, ValueError):
        return False


def _magnitude(e: Emitter, node: Apply) -> Code:
    """abs and sign: of truth values they are the value itself."""
    (argument,) = node.arguments
    code = e.code(argument)
    if code.kind == "bool" and node.type.kind == "bool":
        return code
    if code.python and node.function == "abs":
        return python_number(f"abs({code.text})", code.kind)
    return _elementwise(e, node)


def _extreme(e: Emitter, node: Apply) -> Code:
    codes = [e.of_kind(a, node.type.kind) for a in node.arguments]
    if all(c.python for c in codes):
        word = "max" if node.function == "maximum" else "min"
        return python_number(f"{word}({', '.join(c.text for c in codes)})", node.type.kind)
    return _elementwise(e, node)


def _not(e: Emitter, node: Apply) -> Code:
    operand = e.converted(e.code(node.arguments[0]), "bool")
    if operand.python:
        return python_number(f"(not {operand.text})", "bool")
    return result(e, node, f"torch.logical_not({operand.text})", kind="bool")


def _logical(e: Emitter, node: Apply) -> Code:
    left, right = (e.converted(e.code(a), "bool") for a in node.arguments)
    if left.python and right.python:
        return python_number(f"({left.text} {node.function} {right.text})", "bool")
    where = layout_of(node)
    texts = [aligned(e.tensor(c), where).text for c in (left, right)]
    return result(e, node, f"torch.logical_{node.function}({', '.join(texts)})", kind="bool")


def _huber(e: Emitter, node: Apply) -> Code:
    where = layout_of(node)
    delta = repr(node.option("delta"))
    if len(node.arguments) == 2:
        delta = aligned(e.real(node.arguments[1]), where).text
    argument = node.arguments[0]
    if isinstance(argument, Apply) and argument.function == "sub" and e.written_here(argument):
        # PyTorch's huber_loss takes the difference itself, which halves the memory traffic.
        left, right = (e.real(side) for side in argument.arguments)
        if not (left.python or right.python):
            sides = f"{aligned(left, where).text}, {delta}, {aligned(right, where).text}"
            return result(e, node, f"functions.huber({sides})")
    shown = aligned(e.tensor(e.real(argument)), where).text
    return result(e, node, f"functions.huber({shown}, {delta})")


def _where(e: Emitter, node: Apply) -> Code:
    kind = node.type.kind
    condition = e.converted(e.code(node.arguments[0]), "bool")
    branches = [e.of_kind(a, kind) for a in node.arguments[1:]]
    if condition.python and all(b.python for b in branches):
        return python_number(f"({branches[0].text} if {condition.text} else {branches[1].text})", kind)
    where = layout_of(node)
    if kind == "real" and [b.text for b in branches] == ["1.0", "0.0"]:
        return result(e, node, aligned(e.converted(e.tensor(condition), "real"), where).text)
    if all(b.python for b in branches):
        branches[0] = e.tensor(branches[0])
    texts = [aligned(c, where).text for c in (e.tensor(condition), *branches)]
    return result(e, node, f"torch.where({', '.join(texts)})", kind=kind)


def _clamp(e: Emitter, node: Apply) -> Code:
    where = layout_of(node)
    kind = "int" if node.type.kind == "bool" else node.type.kind
    value, low, high = (e.of_kind(a, kind) for a in node.arguments)
    shown = aligned(e.tensor(value), where)
    if low.python and high.python:
        # A sum or difference is a tensor of its own.
        name = "clamp_" if e.in_place and shown.strength == SUM and kind == "real" else "clamp"
        return result(e, node, f"{shown.at(ATOM)}.{name}({low.text}, {high.text})", kind=kind)
    bounds = [aligned(e.tensor(c), where).text for c in (low, high)]
    return result(e, node, f"functions.clamp({shown.text}, {bounds[0]}, {bounds[1]})", kind=kind)


# --- along dimensions ---------------------------------------------------------------------------


def _dims(count: int) -> str:
    return "-1" if count == 1 else str(tuple(range(-count, 0)))


def _reduction(e: Emitter, node: Apply) -> Code:
    row = BUILTINS[node.function]
    operand = _counted(e, node)
    axis, dims = node.option("axis"), node.option("dims")
    if dims == 0:
        return _scalar_reduction(e, node, operand)
    operand = e.tensor(operand)
    kind = {"argmax": "int", "argmin": "int"}.get(node.function, operand.kind)
    if isinstance(axis, int):
        if "{first}" in row.torch:
            return result(e, node, f"{operand.at(ATOM)}.{node.function}({axis})", kind=kind)
        return result(e, node, _filled(row.torch, operand, dim=axis), kind=kind)
    assert isinstance(dims, int)
    return result(e, node, _filled(row.torch, operand, dim=_dims(dims), first=-dims), kind=kind)


def _counted(e: Emitter, node: Apply) -> Code:
    """The operand of a reduction, of the kind that PyTorch reduces exactly."""
    (inner,) = node.arguments
    match node.function:
        case "all" | "any":
            return e.of_kind(inner, "bool")
        case "argmax" | "argmin":
            return e.real(inner) if inner.type.kind == "bool" else e.code(inner)
        case "sum" | "prod" | "max" | "min" if node.type.kind == "int":
            return e.of_kind(inner, "int")
    return e.real(inner)


def _filled(template: str, operand: Code, **fields: object) -> str:
    called = template.startswith(("torch.", "F.", "functions."))
    return template.format(operand.text if called else operand.at(ATOM), **fields)


def _scalar_reduction(e: Emitter, node: Apply, operand: Code) -> Code:
    """A reduction of one number."""
    if node.function in ("argmax", "argmin"):
        return python_number("0", "int")
    if node.function == "entropy":
        return result(e, node, f"torch.special.entr({e.tensor(operand).text})")
    if node.function in ("std", "var"):
        return result(e, node, f"{e.tensor(operand).at(PRODUCT)} * math.nan", PRODUCT)
    return operand


def _pairs(e: Emitter, node: Apply) -> Code | None:
    """`||u[p] - v[r]||^2`, where each side runs over something that the other one does not."""
    (inner,) = node.arguments
    match inner:
        case Apply(function="sub", arguments=(left, right)) if node.function == "norm_squared":
            vectors = left.type.rank == right.type.rank == 1 and left.type.shape == right.type.shape
            if not vectors or not e.written_here(e.canonical(inner)):
                return None
        case _:
            return None
    reach = [
        {*(a.order for a in s.axes), *((None,) if s.level is Level.EXAMPLE else ())} for s in (left, right)
    ]
    if reach[0] <= reach[1] or reach[1] <= reach[0]:
        return None
    a, b = (lead(e.tensor(e.real(side)), node, 1) for side in (left, right))
    return result(e, node, f"distances.square_distances({a.text}, {b.text})")


def _along_axis(e: Emitter, node: Apply) -> Code:
    operand = e.tensor(e.of_kind(node.arguments[0], node.type.kind))
    text = _filled(BUILTINS[node.function].torch, operand, last=node.option("axis"))
    return result(e, node, text, kind=operand.kind)


def _norm(e: Emitter, node: Apply) -> Code:
    pairs = _pairs(e, node)
    if pairs is not None:
        return pairs
    operand = e.tensor(e.real(node.arguments[0]))
    dims = node.option("dims")
    assert isinstance(dims, int)
    squared = node.function == "norm_squared"
    if dims == 0:
        return result(e, node, f"{operand.at(ATOM)}.{'square' if squared else 'abs'}()")
    if squared:
        return result(e, node, f"{operand.at(ATOM)}.square().sum({_dims(dims)})")
    order = node.option("order")
    if order == 1.0:
        return result(e, node, f"{operand.at(ATOM)}.abs().sum({_dims(dims)})")
    shown = "math.inf" if order == float("inf") else f"{order:g}"
    return result(e, node, f"torch.linalg.vector_norm({operand.text}, {shown}, {_dims(dims)})")


Writer = Callable[["Emitter", Apply], Code]

_BY_FORM: dict[str, Writer] = {
    "operator": _infix,
    "comparison": _infix,
    "elementwise": _elementwise,
    "reduction": _reduction,
    "axis": _along_axis,
}

_BY_NAME: dict[str, Writer] = {
    "net": write_call,
    "net_slope": write_slope,
    "exp": _exp,
    "neg": _neg,
    "pow": _pow,
    "floordiv": _division,
    "mod": _division,
    "and": _logical,
    "or": _logical,
    "not": _not,
    "abs": _magnitude,
    "sign": _magnitude,
    "maximum": _extreme,
    "minimum": _extreme,
    "huber": _huber,
    "where": _where,
    "clamp": _clamp,
    "norm": _norm,
    "norm_squared": _norm,
}
