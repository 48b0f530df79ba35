"""Typed expressions in the language's own notation: for findings, reports and golden tests."""

from __future__ import annotations

from collections.abc import Iterator

from ebmlang.compiler.indexing import affine
from ebmlang.compiler.sizes import ZERO, Size
from ebmlang.compiler.typed import (
    Apply,
    Axis,
    Carry,
    Constant,
    Expr,
    Fold,
    LentNet,
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
    State,
    Tabulate,
    walk,
)


def cell_text(name: str, axis: Axis, offset: int, dim: int) -> str:
    """`s[t + 1]`, or `s[.., t + 1]` where the index counts the second dimension."""
    shift = f" {'-' if offset < 0 else '+'} {abs(offset)}" if offset else ""
    return f"{name}[{'.., ' * dim}{axis.names[0]}{shift}]"


def scan_lines(scan: Scan, states: tuple[State, ...]) -> Iterator[str]:
    """What a Scan computes, one assignment a line: the cells it starts from, then every step."""
    stop = scan.axis.start + (scan.axis.size or ZERO)
    for state in states:
        first = stop + state.offset if scan.backward else ZERO
        for k, start in enumerate(state.starts):
            yield f"{state.name}[{'.., ' * state.dim}{first + k}] = {text(start)}"
    for state in states:
        cell = cell_text(state.name, scan.axis, state.offset, state.dim)
        yield f"{cell} = {text(state.body)} for {scan.axis}"


_INFIX = {
    "add": ("+", 4), "sub": ("-", 4), "mul": ("*", 5), "div": ("/", 5), "floordiv": ("//", 5),
    "mod": ("%", 5), "matmul": ("@", 5), "pow": ("^", 7), "lt": ("<", 3), "le": ("<=", 3),
    "gt": (">", 3), "ge": (">=", 3), "eq": ("==", 3), "ne": ("!=", 3), "and": ("and", 2), "or": ("or", 1),
}  # fmt: skip

_OWN_AXIS = {"softmax": -1, "cumsum": -1, "sort": -1, "logsumexp": -1}
"""The axis that a function takes when `over` does not say otherwise."""


def text(node: Expr, strength: int = 0) -> str:
    """The expression in the language's own notation, for findings, reports and golden tests.

    `strength` is how tightly the place binds: 4 a sum, 5 a product, 6 a sign, 7 a power, 9 a
    subscript. What binds less gets parentheses. A Tabulate that is no slice has no notation of its own.
    """
    match node:
        case Constant() | SizeOf():
            return _number_text(node, strength)
        case Position():
            return node.axis.names[node.column]
        case Read():
            return node.name
        case Pick():
            return f"{text(node.base, 9)}[{_subscripts_text(node)}]"
        case Pack():
            return f"[{', '.join(text(i) for i in node.items)}]"
        case Scatter():
            where = ", ".join(text(s) if isinstance(s, Expr) else ".." for s in node.subscripts)
            return f"scatter({text(node.value)}, [{where}])"
        case Fold():
            return f"{node.function}({text(node.body)}, over = {_over_text(node)})"
        case Tabulate():
            return _window_text(node) or f"[{text(node.body)} for {', '.join(map(str, node.over))}]"
        case OverExamples():
            return f"{node.function}({text(node.body)}, over = batch)"
        case Solve():
            given = [f"{n} = {text(i)}" for n, i in zip(node.nested.given, node.inputs, strict=True)]
            given += [f"{n} = {_lent_text(x)}" for n, x in zip(node.nested.nets, node.nets, strict=True)]
            return f"(solve {node.nested.model.name} with {', '.join(given)}).{node.which}"
        case Carry():
            return cell_text(node.name, node.axis, node.offset, node.dim)
        case Scan():
            return f"[{'; '.join(scan_lines(node, node.states))}]"
        case Apply():
            if node.function in _INFIX and len(node.arguments) == 2:
                return _infix_text(node, strength)
            return _call_text(node, strength)
    raise AssertionError(type(node).__name__)


def _lent_text(lent: LentNet) -> str:
    indices = f"[{', '.join(map(text, lent.indices))}]" if lent.indices else ""
    return f"{lent.net.name}{indices}"


def _number_text(node: Constant | SizeOf, strength: int) -> str:
    if isinstance(node, SizeOf):
        plain = node.size.name is not None or node.size.constant is not None
        body, own = str(node.size), 6 if plain else 6 - min(len(node.size.terms), 2)
    elif isinstance(node.value, bool):
        body, own = str(node.value).lower(), 9
    else:
        body, own = repr(node.value).removesuffix(".0"), 6
    return f"({body})" if strength > own and not body.replace(".", "").isalnum() else body


def _infix_text(node: Apply, strength: int) -> str:
    _, own = _INFIX[node.function]
    if node.function == "pow":
        body = f"{text(node.arguments[0], 8)}^{text(node.arguments[1], 7)}"
        return f"({body})" if own < strength else body
    # Long sums lean to the left: a loop, so that their length is no depth of recursion.
    parts: list[str] = []
    left: Expr = node
    while (
        isinstance(left, Apply) and _INFIX.get(left.function, ("", 0))[1] == own and (own != 3 or not parts)
    ):
        parts.append(f" {_INFIX[left.function][0]} {text(left.arguments[1], own + 1)}")
        left = left.arguments[0]
    body = text(left, own + (own == 3)) + "".join(reversed(parts))
    return f"({body})" if own < strength else body


def _call_text(node: Apply, strength: int) -> str:
    first = text(node.arguments[0]) if node.arguments else ""
    match node.function:
        case "net":
            return net_call_text(node, [text(a) for a in node.arguments[1:]])
        case "net_slope":
            return _slope_text(node)
        case "neg":
            body = f"-{text(node.arguments[0], 6)}"
            return f"({body})" if strength > 5 else body
        case "transpose":
            return f"{text(node.arguments[0], 9)}.T"
        case "abs" if "|" not in first:
            return f"|{first}|"
        case "norm_squared":
            body = f"||{first}||^2" if "|" not in first else f"norm({first})^2"
            return f"({body})" if strength > 7 else body
        case "norm" if "|" not in first and node.option("order") in (1.0, 2.0):
            return f"||{first}||" + "_1" * (node.option("order") == 1.0)
    shown = [text(a) for a in node.arguments]
    if node.function == "huber" and len(shown) == 2:
        shown[1] = f"delta = {shown[1]}"
    if node.function == "einsum":
        shown.insert(0, f'"{node.option("spec")}"')
    return f"{node.function}({', '.join([*shown, *_options_text(node)])})"


def _slope_text(node: Apply) -> str:
    """`D f(x)[v, w]`: a derivative of a net at its inputs, along weights and directions."""
    at, inputs = node.option("at"), node.option("inputs")
    assert isinstance(at, int)
    assert isinstance(inputs, int)
    shown = [text(a) for a in node.arguments[1:]]
    call = net_call_text(node, shown[: at + inputs])
    return f"D {call}[{', '.join(shown[at + inputs :])}]"


def net_call_text(node: Apply, arguments: list[str]) -> str:
    """`f(x)`, `f[l](x)`; one of several results is counted from 0: `f(x).1`."""
    at, several = node.option("at"), node.option("of") != 1
    assert isinstance(at, int)
    index = f"[{', '.join(arguments[:at])}]" if at else ""
    result = f".{node.option('output')}" if several else ""
    return f"{text(node.arguments[0])}{index}({', '.join(arguments[at:])}){result}"


def _options_text(node: Apply) -> Iterator[str]:
    """What of the static part a program says; the rest follows from shapes."""
    for key, value in node.static:
        match key, value:
            case "axis", int():
                first = -node.arguments[0].type.rank if node.function == "concat" else None
                if value != _OWN_AXIS.get(node.function, first) and node.function != "stack":
                    yield f"over = {value}"
            case "order", float() if value != 2.0:
                yield f"order = {value!r}".removesuffix(".0")
            case "delta", float() if value != 1.0:
                yield f"delta = {value!r}".removesuffix(".0")
            case "shape", tuple():
                sizes = value[:1] if node.function == "identity" else value
                yield from map(str, sizes)
            case "size", Size():
                yield str(value)


def _over_text(node: Fold) -> str:
    guard = f" if {text(node.guard)}" if node.guard is not None else ""
    if len(node.over) > 1:
        return f"({', '.join(map(str, node.over))}{guard})"
    axis = node.over[0]
    cases = (n for n in walk(node.body) if isinstance(n, Position) and n.axis is axis)
    if axis.rows is None and any(n.type.kind == "class" for n in cases):
        return axis.names[0]  # the values of a class variable
    return f"{axis}{guard}"


def _window_text(node: Tabulate) -> str:
    """A slice that moves: the entries of an array, tabulated in their order; empty for anything else."""
    over, body = list(node.over), node.body
    if not isinstance(body, Pick):
        return ""
    shown: list[str] = []
    for s, size in zip(body.subscripts, body.base.type.shape, strict=False):
        form = affine(s) if isinstance(s, Expr) else None
        if isinstance(s, Expr) and not any(a in node.over for a in s.axes):
            shown.append(text(s))
        elif isinstance(s, SliceOf) and not over:
            shown.append(_slice_text(str(s.start), str(s.stop), size))
        elif form is not None and over and dict(form[0]).get(over[0]) == 1:
            axis = over.pop(0)
            assert axis.size is not None
            steps, first = tuple(p for p in form[0] if p[0] is not axis), form[1] + axis.start
            if any(a in node.over for a, _ in steps):
                return ""
            shown.append(
                _slice_text(_affine_text(steps, first), _affine_text(steps, first + axis.size), size)
            )
        else:
            return ""
    return "" if over else f"{text(body.base, 9)}[{', '.join(shown)}]"


def _affine_text(steps: tuple[tuple[Axis, int], ...], rest: Size) -> str:
    """A linear form of indices: t, 2 * t + 1, t - p."""
    names = " + ".join(a.names[0] if c == 1 else f"{c} * {a.names[0]}" for a, c in steps)
    if not names or rest == ZERO:
        return names or str(rest)
    return f"{names} - {str(rest)[1:]}" if str(rest).startswith("-") else f"{names} + {rest}"


def _slice_text(start: str, stop: str, size: Size) -> str:
    return f"{'' if start == str(ZERO) else start}..{'' if stop == str(size) else stop}"


def _subscripts_text(node: Pick) -> str:
    """The subscripts, without whole dimensions at the end."""
    dims = iter(node.base.type.shape)
    shown: list[str] = []
    for s in node.subscripts:
        if isinstance(s, NewAxis):
            shown.append("None")
            continue
        size = next(dims)
        if isinstance(s, SliceOf):
            shown.append(_slice_text(str(s.start), str(s.stop), size))
        else:
            shown.append(text(s))
    while len(shown) > 1 and shown[-1] == "..":
        shown.pop()
    return ", ".join(shown)
