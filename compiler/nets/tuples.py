"""`let (mu, s) = enc(x)` as one `let` per name."""

from __future__ import annotations

from dataclasses import replace

from ebmlang.compiler import ast


def taken_apart(body: tuple[ast.Statement, ...]) -> tuple[ast.Statement, ...]:
    """The statements with every `let` of several names written as several lets, in plates too."""
    found: list[ast.Statement] = []
    for s in body:
        match s:
            case ast.LetTuple():
                count = len(s.names)
                found += [
                    ast.Let(name, None, ast.Component(s.value, k, count, s.value.span), s.doc, s.span)
                    for k, name in enumerate(s.names)
                ]
            case ast.Plate() | ast.Stage():
                inner = taken_apart(s.body)
                found.append(s if inner == s.body else replace(s, body=inner))
            case _:
                found.append(s)
    return tuple(found)
