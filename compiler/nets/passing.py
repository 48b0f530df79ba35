"""Nets across the border of a part: copies under other names and sizes, and nets bound after `with`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ebmlang.compiler import ast
from ebmlang.compiler.nets.net import Build, Net, OptionValue, Signature
from ebmlang.compiler.scope import NetEntry, Scope
from ebmlang.compiler.sizes import Size
from ebmlang.compiler.source import Span
from ebmlang.compiler.types import Type

SizeOf = Callable[[Size], Size]


def typed_with(type_: Type, size: SizeOf) -> Type:
    classes = None if type_.classes is None else size(type_.classes)
    return Type(type_.kind, tuple(size(s) for s in type_.shape), classes)


def signature_with(signature: Signature, size: SizeOf) -> Signature:
    """A signature with other sizes."""
    inputs, outputs = (
        tuple(typed_with(t, size) for t in types) for types in (signature.inputs, signature.outputs)
    )
    return Signature(inputs, outputs)


def copied(net: Net, name: str, source: str, size: SizeOf, span: Span) -> Net:
    """The net of a part in the model around it; `source` is there what it is the average of."""
    build = net.build
    if build is not None:
        build = Build(build.constructor, tuple((k, _option(v, size)) for k, v in build.options))
    signature = signature_with(net.signature, size)
    at = tuple(size(s) for s in net.at)
    return replace(net, name=name, signature=signature, build=build, at=at, source=source, span=span)


def _option(value: OptionValue, size: SizeOf) -> OptionValue:
    if isinstance(value, Size):
        return size(value)
    return tuple(size(v) for v in value) if isinstance(value, tuple) else value


Subscripts = tuple[ast.Expr | ast.Slice, ...]


def named_net(node: ast.Expr, scope: Scope) -> tuple[NetEntry | None, Subscripts]:
    """The net that an expression names, `f`, `f[l]`, `part.f` or `part[l].f`, and the subscripts in it;
    None where it is something else."""
    names: list[str] = []
    subscripts: Subscripts = ()
    while not isinstance(node, ast.Name):
        match node:
            case ast.Parenthesised(inner=inner):
                node = inner
            case ast.Attribute(base=base, name=name):
                names.append(name.text)
                node = base
            case ast.Index(base=base) if not subscripts:
                subscripts = node.subscripts
                node = base
            case _:
                return None, ()
    entry = scope.find(".".join([node.text, *reversed(names)]))
    return (entry if isinstance(entry, NetEntry) else None), subscripts
