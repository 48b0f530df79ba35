"""Fenced blocks of the documentation: found, run, and compared."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebmlang import cli
from ebmlang.compiler.pipeline import Checked, check_source
from ebmlang.compiler.source import Source

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
PROGRESS = re.compile(r"^[\w ]+: [\d,]+ of [\d,]+ (rows|examples|steps|episodes).*$")

LANGUAGES = ("ebm", "python", "console", "sh", "text")
"""What a block can be. `text` is not run, so it is only for what is neither program nor command."""


@dataclass(frozen=True, slots=True)
class Block:
    """`words` are what follows the language on the fence: `file=NAME`, or codes of expected diagnostics."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        return next((word.removeprefix("file=") for word in self.words if word.startswith("file=")), None)

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(word for word in self.words if re.fullmatch(r"[EW]\d{4}", word))


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1], tuple(found[2].split()), found[3])
        for found in FENCE.finditer(text)
    ]


def checked(block: Block) -> Checked:
    return check_source(Source(block.place, block.text))


def run_python(block: Block, names: dict[str, Any]) -> str:
    """Execute a block in a namespace that the blocks of a page share. Returns what it printed."""
    out = io.StringIO()
    code = compile("\n" * block.line + block.text, str(block.page), "exec")
    with contextlib.redirect_stdout(out):
        exec(code, names)
    return out.getvalue()


def transcript(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block with the output that is shown below each."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in found]


def run_command(command: str) -> str:
    """What `ebmlang ...` prints on both channels, in order, without the progress lines."""
    words = shlex.split(command)
    assert words[0] == "ebmlang", command
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        cli.main(words[1:])
    return "\n".join(line for line in out.getvalue().splitlines() if not PROGRESS.match(line))


def differs(shown: str, found: str, tolerance: float = 0.05) -> str | None:
    """Why a transcript does not fit, or None.

    Lines are compared word by word: space and line ends do not count, numbers with a decimal point may
    differ by `tolerance`, relative. A word `...` stands for any words.
    """
    want, have = shown.split(), found.split()
    at = 0
    parts: list[list[str]] = [[]]
    for word in want:
        if word == "...":
            parts.append([])
        else:
            parts[-1].append(word)
    for i, part in enumerate(parts):
        last = len(have) - len(part)
        places = [at] if i == 0 else ([last] if i == len(parts) - 1 else range(at, last + 1))
        fits = (p for p in places if p >= at and _alike(part, have[p : p + len(part)], tolerance))
        place = next(fits, None)
        if place is None:
            return f"not found from word {at} on: {' '.join(part)}"
        at = place + len(part)
    if at == len(have) or (len(parts) > 1 and not parts[-1]):
        return None
    return f"more than is shown: {' '.join(have[at:])}"


def _alike(want: list[str], have: list[str], tolerance: float) -> bool:
    return len(want) == len(have) and all(_same(w, h, tolerance) for w, h in zip(want, have, strict=True))


def _same(want: str, have: str, tolerance: float) -> bool:
    if want == have:
        return True
    if NUMBER.sub("#", want) != NUMBER.sub("#", have):
        return False
    pairs = zip(NUMBER.findall(want), NUMBER.findall(have), strict=True)
    return all(_near(w, h, tolerance) for w, h in pairs)


def _near(want: str, have: str, tolerance: float) -> bool:
    if "." not in want:
        return want == have
    a, b = float(want.replace(",", "")), float(have.replace(",", ""))
    return abs(a - b) <= tolerance * abs(a)
