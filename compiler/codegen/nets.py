"""Nets in the generated module: calls of them, the functions that make them, and their table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebmlang.compiler.codegen.layout import ATOM, Code
from ebmlang.compiler.codegen.lines import INDENT
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.codegen.writing import lead, result
from ebmlang.compiler.nets.constructors import constructor
from ebmlang.compiler.nets.net import Net
from ebmlang.compiler.typed import Apply, Expr, Level, Model, Read
from ebmlang.compiler.types import Type

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebmlang.compiler.codegen.expressions import Emitter
    from ebmlang.compiler.sizes import Size


def write_call(e: Emitter, node: Apply) -> Code:
    """A call, on arguments whose leading dimensions are lined up; several results in one line."""
    own, *rest = node.arguments
    count, number, at = node.option("of"), node.option("output"), node.option("at")
    assert isinstance(own, Read)
    assert isinstance(count, int)
    assert isinstance(number, int)
    assert isinstance(at, int)
    indices, arguments = rest[:at], rest[at:]
    shown = [lead(e.tensor(_operand(e, a)), node, a.type.rank).text for a in arguments]
    text = f"{_chosen(e, node, own.name, indices, rest)}({', '.join(shown)})"
    if count == 1:
        return result(e, node, text, ATOM, "real")
    key = (own.name, *(id(e.canonical(a)) for a in rest))
    if key not in e.net_results:
        names = tuple(e.fresh(f"{local_name(own.name)}_{k}") for k in range(count))
        e.line(names, text)
        e.net_results[key] = names
    return result(e, node, e.net_results[key][number], ATOM, "real")


def write_slope(e: Emitter, node: Apply) -> Code:
    """A derivative of a net: its inputs, then weights and directions."""
    own, *rest = node.arguments
    at, inputs, count = node.option("at"), node.option("inputs"), node.option("of")
    assert isinstance(own, Read)
    assert isinstance(at, int)
    assert isinstance(inputs, int)
    shown = [lead(e.tensor(_operand(e, a)), node, a.type.rank).text for a in rest[at:]]
    parts = [
        _chosen(e, node, own.name, rest[:at], rest[: at + inputs]),
        _tuple(shown[:inputs]), _tuple(shown[inputs:]), repr(node.option("along")), repr(node.option("free")),
    ]  # fmt: skip
    if count != 1:
        parts.append(repr(node.option("output")))
    return result(e, node, f"slopes.of_net({', '.join(parts)})", ATOM, "real")


def _chosen(e: Emitter, node: Apply, name: str, indices: list[Expr], seen: list[Expr]) -> str:
    """A net, and of a plate of them the one at the indices; `seen` is all that its results depend on."""
    which = f"[{', '.join(_index(e, node, i) for i in indices)}]" if indices else ""
    shared = all(s.level is not Level.EXAMPLE for s in seen)
    # Rows of shared values are no examples: the masks of dropout need to be told.
    return f'self.nets["{name}"]{".alike" if shared else ""}{which}'


def _operand(e: Emitter, argument: Expr) -> Code:
    return e.real(argument) if argument.type.kind != "class" else e.code(argument)


def _index(e: Emitter, node: Apply, index: Expr) -> str:
    """An index of a plate: a Python number, or a tensor that lines up with the arguments."""
    code = e.code(index)
    return code.text if code.python else lead(code, node, 0).text


def nets_text(model: Model, size: Callable[[Size], str]) -> str:
    """The functions that make the nets, and the table of all nets; `size` writes a size of the table."""
    if not model.nets:
        return ""
    made = [text for net in model.nets if (text := _function(net)) is not None]
    rows = "\n".join(f"{INDENT}{_spec(net, model, size)}," for net in model.nets)
    return "\n\n".join([*made, f"NETS = (\n{rows}\n)\n"])


def _function(net: Net) -> str | None:
    """The function that makes a net with fresh parameters."""
    if net.build is None:
        return None
    row = constructor(net.build.constructor)
    assert row is not None
    lines = row.lines(net.signature, net.build)
    if len(lines) == 1:
        body = f"{INDENT}return {lines[0]}\n"
    else:
        inner = "".join(f"{INDENT * 2}{line},\n" for line in lines)
        body = f"{INDENT}return nn.Sequential(\n{inner}{INDENT})\n"
    arguments = ", ".join(f"{local_name(name)}: int" for name in _sizes(net))
    doc = f'{INDENT}"""The net {net.name} : {net.signature}."""'
    return f"def {_maker(net)}({arguments}) -> nn.Module:\n{doc}\n{body}"


def _maker(net: Net) -> str:
    return f"make_{local_name(net.name)}"


def _sizes(net: Net) -> tuple[str, ...]:
    """The integer hyperparameters that a net is made from, in order of their names."""
    found: set[str] = set()
    for type_ in (*net.signature.inputs, *net.signature.outputs):
        parts = type_.shape if type_.classes is None else (*type_.shape, type_.classes)
        found.update(n for s in parts for n in s.names())
    for _, value in net.build.options if net.build is not None else ():
        if isinstance(value, tuple):
            found.update(n for s in value for n in s.names())
        elif not isinstance(value, bool | float | str):
            found |= value.names()
    return tuple(sorted(found))


def _spec(net: Net, model: Model, size: Callable[[Size], str]) -> str:
    def shapes(types: tuple[Type, ...]) -> str:
        return _tuple([_tuple([size(s) for s in t.shape]) for t in types])

    line, _ = model.source.position(net.span.start)
    own = net if net.build is not None else None
    parts = [
        repr(net.name), shapes(net.signature.inputs), shapes(net.signature.outputs), repr(net.form),
        f"{_maker(own)}, {_tuple([repr(n) for n in _sizes(own)])}" if own is not None else "None, ()",
        f"line={line}",
    ]  # fmt: skip
    if net.at:
        parts.append(f"at={_tuple([size(s) for s in net.at])}")
    if net.source:
        parts.append(f"source={net.source!r}, decay={net.decay!r}")
    return f"NetSpec({', '.join(parts)})"


def _tuple(parts: list[str]) -> str:
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
