"""Which sizes belong to a `part`, and which to each of its applications."""

from __future__ import annotations

from ebmlang.compiler import typed
from ebmlang.compiler.nets.passing import copied
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.typed import Expr
from ebmlang.compiler.types import INT


def open_sizes(model: typed.Model, own: list[typed.Variable], settled: frozenset[str]) -> frozenset[str]:
    """Sizes without a value or a default that nothing which the part owns depends on.

    The length of a sequence is one: weights that are applied at every position do not know it, and each
    application settles it from what is bound there.
    """
    needed: set[str] = set()

    def seen(size: Size) -> Size:
        needed.update(size.names())
        return size

    for net in model.nets:
        copied(net, net.name, net.source, seen, net.span)
    values = [h.init for h in model.hypers]
    for variable in own:
        needed.update(name for size in variable.type.shape for name in size.names())
        values += [variable.init, variable.domain.where, *variable.domain.arguments]
    lets = {let.name: let.value for let in model.lets}
    known: set[str] = set()
    while values:
        value = values.pop()
        if value is None:
            continue
        needed |= _sizes_in(value)
        new = typed.reads(value) - known
        known |= new
        values += [lets[name] for name in new if name in lets]
    return frozenset(
        h.name
        for h in model.hypers
        if h.type == INT and h.init is None and h.name not in settled and h.name not in needed | known
    )


def _sizes_in(root: Expr) -> set[str]:
    """Names in the sizes of a value and of everything that it is computed from."""
    found: set[str] = set()
    for node in typed.walk(root):
        sizes = [*node.type.shape, *(a.size for a in node.axes)]
        if isinstance(node, typed.SizeOf):
            sizes.append(node.size)
        if isinstance(node, typed.Fold | typed.Tabulate):
            sizes += [a.size for a in node.over]
        found.update(name for size in sizes if size is not None for name in size.names())
    return found
