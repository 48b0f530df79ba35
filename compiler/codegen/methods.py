"""The text of one generated method, and of doc strings."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.codegen.lines import INDENT, Line, layout, pruned


@dataclass(frozen=True, slots=True)
class Method:
    """A method with its lines; those that nothing reads are left out."""

    name: str
    arguments: str
    result: str
    doc: str
    lines: list[Line]

    def text(self) -> str:
        head = f"{INDENT}def {self.name}(self, {self.arguments}) -> {self.result}:"
        body = "\n".join(layout(line, 2) for line in pruned(self.lines))
        return f"{head}\n{INDENT * 2}{quoted(self.doc, INDENT * 2)}\n{body}"


def quoted(doc: str, indent: str) -> str:
    """A doc string that holds any text as text."""
    shown = "".join(c for c in doc if c == "\n" or c.isprintable())
    # A surrogate cannot be written to a file, and no quote may end the string early.
    shown = shown.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    lines = [line.rstrip() for line in shown.strip().split("\n")]
    if lines[-1].endswith('"'):
        lines[-1] = f'{lines[-1][:-1]}\\"'
    if len(lines) == 1:
        return f'"""{lines[0]}"""'
    rest = "".join(f"\n{indent}{line}".rstrip() if not line else f"\n{indent}{line}" for line in lines[1:])
    return f'"""{lines[0]}{rest}\n{indent}"""'
