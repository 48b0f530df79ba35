"""`state teacher = enc` with `update teacher = d * teacher + (1 - d) * enc`: the net that `ema` declares."""

from __future__ import annotations

from dataclasses import replace

from ebmlang.compiler import ast
from ebmlang.compiler.nets.constructors import AVERAGE

_ROUNDING = 1e-12


def targets_as_nets(body: tuple[ast.Statement, ...]) -> tuple[ast.Statement, ...]:
    """The statements with every state that follows a net declared as the average of that net.

    What does not have this form is left as it is.
    """
    nets = {s.name.text: s for s in body if isinstance(s, ast.Net)}
    updates = {s.name.text: s for s in body if isinstance(s, ast.Update)}
    found: list[ast.Statement] = []
    followed: set[str] = set()
    for s in body:
        if isinstance(s, ast.StateDecl) and isinstance(s.value, ast.Name) and s.value.text in nets:
            update = updates.get(s.name.text)
            decay = None if update is None else _decay(update.value, s.name.text, s.value.text)
            if decay is not None:
                followed.add(s.name.text)
                found.append(_average(s, nets[s.value.text], s.value, decay))
                continue
        found.append(s)
    return tuple(s for s in found if not (isinstance(s, ast.Update) and s.name.text in followed))


def _average(state: ast.StateDecl, net: ast.Net, source: ast.Name, decay: ast.Number) -> ast.Net:
    call = ast.Call(
        ast.Identifier(AVERAGE, state.value.span),
        (ast.Argument(None, source, source.span), ast.Argument(None, decay, decay.span)),
        state.value.span,
    )
    return replace(net, extern=False, name=state.name, init=call, doc=state.doc, span=state.span)


def _decay(value: ast.Expr, target: str, source: str) -> ast.Number | None:
    """The weight of the target in a weighted mean of the two; None for anything else."""
    if not isinstance(value, ast.Binary) or value.op != "+":
        return None
    parts = dict(p for p in (_weighted(value.left), _weighted(value.right)) if p is not None)
    if parts.keys() != {target, source}:
        return None
    whole = float(parts[target].text) + float(parts[source].text)
    return parts[target] if abs(whole - 1) < _ROUNDING else None


def _weighted(value: ast.Expr) -> tuple[str, ast.Number] | None:
    match value:
        case ast.Binary(op="*", left=ast.Number() as weight, right=ast.Name(text=name)):
            return name, weight
        case ast.Binary(op="*", left=ast.Name(text=name), right=ast.Number() as weight):
            return name, weight
    return None
