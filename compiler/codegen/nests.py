"""Nested minima: the call that asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebmlang.compiler.codegen.layout import ATOM, Code, Layout, layout_of, spread
from ebmlang.compiler.codegen.names import local_name
from ebmlang.compiler.nested import chosen_nets
from ebmlang.compiler.typed import Solve

if TYPE_CHECKING:
    from ebmlang.compiler.codegen.expressions import Emitter


def write_solve(e: Emitter, node: Solve) -> Code:
    """The unknown of a nested search; those of one search share the line that asks for it.

    Inputs that differ by row have every leading dimension of the answer, of size 1 where they do not
    vary; the others have none. What chooses nets is an input among the others.
    """
    where = layout_of(node)
    nested = node.nested
    key = (id(nested), *(id(c) for c in node.children()))
    if key not in e.nests:
        sizes = ", ".join(f"{name!r}: {e.size(size)}" for name, size in nested.sizes)
        inputs = []
        for name, value in (*zip(nested.given, node.inputs, strict=True), *chosen_nets(node)):
            code = e.tensor(e.of_kind(value, value.type.kind))
            if code.batch or code.axes:
                code = spread(code, Layout(where.batch, where.axes, value.type.rank))
            inputs.append(f'"{name}": {code.text}')
        local = e.fresh(local_name(nested.part))
        lent = zip(nested.nets, node.nets, strict=True)
        nets = ", ".join(f'"{name}": self.nets["{x.net.name}"]' for name, x in lent)
        arguments = f"{{{sizes}}}, {{{', '.join(inputs)}}}" + (f", {{{nets}}}" if nets else "")
        call = f'self.solves("{nested.part}", {arguments})'
        e.line((local,), call)
        e.nests[key] = local
    text = f'{e.nests[key]}["{node.which}"]'
    return Code(text, ATOM, where.batch, where.axes, where.rank, node.type.kind)
