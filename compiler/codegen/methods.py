"""The text of one generated method, and of doc strings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ebmlang.compiler.codegen.lines import INDENT, WIDTH, Statement, layout, pruned

_QUOTE = re.compile(r'"(?="|$)|(?<=")"')
"""Quotes beside another one or at an end, which could close a string early."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method with its lines; those that nothing reads are left out."""

    name: str
    arguments: str
    result: str
    doc: str
    lines: list[Statement]

    def text(self) -> str:
        head = f"{INDENT}def {self.name}(self, {self.arguments}) -> {self.result}:"
        if len(head) > WIDTH:
            head = f"{INDENT}def {self.name}(\n{INDENT * 2}self, {self.arguments}"
            head += f"\n{INDENT}) -> {self.result}:"
        body = "\n".join(layout(line, 2) for line in pruned(self.lines))
        return f"{head}\n{INDENT * 2}{quoted(self.doc, INDENT * 2)}\n{body}"


def quoted(doc: str, indent: str) -> str:
    """A doc string that holds any text as text."""
    shown = "".join(c for c in doc if c == "\n" or c.isprintable())
    lines = [line.rstrip() for line in shown.replace("\\", "\\\\").strip().split("\n")]
    lines = [_QUOTE.sub('\\\\"', line) for line in lines]
    if len(lines) == 1:
        return f'"""{lines[0]}"""'
    rest = "".join(f"\n{indent}{line}".rstrip() if not line else f"\n{indent}{line}" for line in lines[1:])
    return f'"""{lines[0]}{rest}\n{indent}"""'
