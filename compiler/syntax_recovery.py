"""Where parsing goes on after a syntax mistake."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lark import Token

from ebmlang.compiler.catalogue.syntax import MissingSeparator, ReservedName, StatementOutsideModel, Unclosed
from ebmlang.compiler.diagnostics import Diagnostic
from ebmlang.compiler.syntax_words import HEADS, Place

_HEAD = re.compile(r"[ \t]*(?:" + "|".join(HEADS) + r")\b")
_NEXT_MODEL = re.compile(r"^[ \t]*(?:model|import)\b", re.MULTILINE)
_NEXT_WORD = re.compile(r"(?:\s|;|#[^\n]*)*")


@dataclass(frozen=True, slots=True)
class Bridge:
    """Words that stand in for the broken head of a block, and the offset inside the block.

    With `outside` the statement above is left as well, up to the models of the file.
    """

    words: tuple[tuple[str, str], ...]
    """Terminals with their spelling."""
    resume: int
    outside: bool = False


def resume_after(place: Place, found: Diagnostic) -> int | None:
    """Offset of the next statement outside the broken one; None at the end of the text."""
    kind, start, end = place.token.type, place.span.start, place.span.end
    if kind == "$END":
        return None
    if isinstance(found, StatementOutsideModel):
        following = _NEXT_MODEL.search(place.text, end)
        return following.start() if following else len(place.text)
    if kind == "RBRACE" and _block(place.text, place.opened):
        return start  # the brace ends the block, whatever is wrong in front of it
    if kind == "MODEL" and isinstance(found, Unclosed) and found.opener == "{":
        # The parser is still in the model above; its statements and those below become one model.
        brace = place.text.find("{", end)
        return brace + 1 if brace >= 0 else len(place.text)
    head_below = place.begins_statement and (place.starts_line or isinstance(found, MissingSeparator))
    if head_below and not isinstance(found, ReservedName):
        return start
    if kind == "SEP" and place.brackets:
        return next_statement(place.text, end, place.opened, sum(str(t) != "{" for t in place.opened))
    if kind == "SEP":
        return _after_line_end(place)
    if kind == "LBRACE":
        return _after_brace(place)
    return next_statement(place.text, start if kind == "RBRACE" else end, place.opened)


def _after_line_end(place: Place) -> int:
    """A line that is cut short goes on in the next one, if that begins no statement."""
    text, start = place.text, place.span.start
    below = _NEXT_WORD.match(text, start)
    if below is None or ";" in below[0] or below.end() == len(text):
        return start
    if text[below.end()] == "{" and "LBRACE" in place.accepts:
        return next_statement(text, below.end(), place.opened)
    if text[below.end()] in "{}" or _HEAD.match(text, below.end()):
        return start
    return next_statement(text, below.end(), place.opened)


def _after_brace(place: Place) -> int:
    """Behind a block that stands at the wrong place, or behind its brace, if that is one too many."""
    following = next_statement(place.text, place.span.start, place.opened)
    rest = _NEXT_WORD.match(place.text, following)
    extra = place.opened and (
        rest is None or rest.end() == len(place.text) or _NEXT_MODEL.match(place.text, rest.end())
    )
    return place.span.end if extra else following


_STAND_IN = {
    "model": (("MODEL", "model"), ("NAME", "_"), ("LBRACE", "{")),
    "for": (("FOR", "for"), ("NAME", "_"), ("IN", "in"), ("NAME", "_"), ("LBRACE", "{")),
    "stage": (
        ("STAGE", "stage"),
        ("NAME", "_"),
        ("FOR", "for"),
        ("NUMBER", "1"),
        ("STEPS", "steps"),
        ("LBRACE", "{"),
    ),
}


def bridge_over(place: Place, found: Diagnostic) -> Bridge | None:
    """The way into a block whose head is broken."""
    if place.token.type == "MODEL" and isinstance(found, Unclosed) and found.opener == "{":
        return Bridge((), place.span.start, outside=True)
    if place.head not in _STAND_IN or place.token.type == "$END":
        return None
    for match in STOP.finditer(place.text, place.span.start):
        if match[0] == "{":
            return Bridge(_STAND_IN[place.head], match.end())
        if match[0] in "};" or (match[0] == "\n" and _HEAD.match(place.text, match.end())):
            break
    if place.head == "model" and "LBRACE" in place.accepts:
        return Bridge(_STAND_IN["model"], place.span.start)  # the brace was forgotten
    return None


def _block(text: str, opened: Sequence[Token]) -> bool:
    """Whether the innermost open brace is that of a block."""
    brace = next((token for token in reversed(opened) if token == "{"), None)
    return brace is not None and not _is_property(text, brace)


_PROPERTY = re.compile(r"\bproperty\b[^{};]*\Z")
_LONGEST_PROPERTY_HEAD = 4_000


def _is_property(text: str, brace: Token) -> bool:
    at = brace.start_pos or 0
    return _PROPERTY.search(text, max(0, at - _LONGEST_PROPERTY_HEAD), at) is not None


_DEEPEST = 200
"""Open brackets; deeper than any program, so that a file of brackets is not read again and again."""

STOP = re.compile(r'"[^"\n]*"|#[^\n]*|[()\[\]{}\n;]')


def next_statement(text: str, at: int, opened: Sequence[Token], brackets: int = 0) -> int:
    """Offset of the next line that can be read on its own, or of the brace that ends the block.

    Lines that begin with a statement head count even inside brackets: a head is reserved, so an
    unclosed bracket above is the likelier mistake.
    """
    in_model = _block(text, opened)
    braces = 0 if in_model or "{" not in opened else 1
    for match in STOP.finditer(text, at):
        c = match[0]
        if brackets + braces > _DEEPEST:
            break  # nothing lines up any more
        if c in "([":
            brackets += 1
        elif c in ")]":
            brackets = max(0, brackets - 1)
        elif c == "{":
            braces += 1
        elif c == "}":
            if braces == 0 and in_model:
                return match.start()
            braces = max(0, braces - 1)
        elif c in "\n;" and braces == 0 and (brackets == 0 or _HEAD.match(text, match.end())):
            return match.start()
    return len(text)
