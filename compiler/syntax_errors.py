"""Says what is wrong where the parser stopped, and where parsing can go on."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lark import Token

from ebmlang.compiler.catalogue.syntax import (
    ChainedComparison,
    ForeignOperator,
    ImplicitProduct,
    LineStartsWithOperator,
    MalformedNumber,
    MissingSeparator,
    NestedBars,
    ReservedName,
    StatementOutsideModel,
    TooDeep,
    Unclosed,
    UnexpectedWord,
    UnknownCharacter,
    UnknownStatement,
    Unopened,
)
from ebmlang.compiler.diagnostics import Diagnostic
from ebmlang.compiler.source import Span


@dataclass(frozen=True)
class Mistake:
    """A diagnostic and the offset of the statement where parsing goes on (None: nowhere)."""

    diagnostic: Diagnostic
    resume: int | None


HEADS = (
    "import model shared observed latent param random extern net let fn state update part use solve batch energy "
    "regularizer cost subject for infer marginalize sample train plan amortize schedule stage property"
).split()

_CLOSER = {"(": ")", "[": "]", "{": "}"}
_OPERATORS = frozenset({"PLUS", "MINUS", "MULTIPLY", "CARET", "COMPARE", "EQUAL", "ARROW", "COMMA"})
_OPERANDS = frozenset({"NAME", "NUMBER", "LPAR", "LSQB", "BAR", "DBAR", "PLUS", "MINUS"})
_STATEMENT_HEAD = re.compile(r"[ \t]*(?:" + "|".join(HEADS) + r")\b")
_SPELLED = {
    "SEP": "the end of the line",
    "$END": "the end of the file",
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a file name in double quotes",
    "COMPARE": "a comparison",
    "MULTIPLY": "`*`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "COLON": "`:`",
    "COMMA": "`,`",
    "EQUAL": "`=`",
    "ARROW": "`->`",
    "TILDE": "`~`",
    "DOT": "`.`",
    "DOTDOT": "`..`",
    "CARET": "`^`",
    "PLUS": "`+`",
    "MINUS": "`-`",
    "BAR": "`|`",
    "DBAR": "`||`",
    "NORM_ORDER": "`||_1`",
}


def explain_token(
    text: str, token: Token, accepts: frozenset[str], opened: list[Token], statement_start: int
) -> Mistake:
    """The mistake at a token that the parser cannot take."""
    start = token.start_pos if token.start_pos is not None else len(text)
    end = token.end_pos if token.end_pos is not None else start
    span = Span(start, max(end, start))
    if token.type == "SEP":
        span = Span(start, start + 1)
    resume = next_statement(text, span.end if token.type != "SEP" else start, bool(opened))
    starts_line = not text[text.rfind("\n", 0, start) + 1 : start].strip()
    opener = opened[-1] if opened else None
    for rule in (_bracket, _statement_border, _operator, _operand):
        found = rule(text, token, span, accepts, opener, starts_line)
        if found is not None:
            break
    else:
        found = UnexpectedWord(span, _spell(token), expected_words(accepts), _advice(token, accepts))
    if token.type == "$END":
        return Mistake(found, None)
    begins_statement = token.type != "NAME" and str(token) in HEADS
    if begins_statement and (starts_line or isinstance(found, MissingSeparator)):
        if not isinstance(found, ReservedName | StatementOutsideModel):
            resume = start
    return Mistake(found, resume)


def _bracket(
    text: str, token: Token, span: Span, accepts: frozenset[str], opener: Token | None, starts_line: bool
) -> Diagnostic | None:
    if token.type in ("RPAR", "RSQB", "RBRACE"):
        if opener is None:
            return Unopened(span, str(token))
        if _CLOSER[str(opener)] != str(token):
            if token.type == "RBRACE" or starts_line:
                return Unclosed(_span(opener), str(opener), _CLOSER[str(opener)], span, f"`{token}`")
            return Unopened(span, str(token), str(opener), _span(opener))
    if opener is None:
        return None
    if token.type == "$END":
        return Unclosed(_span(opener), str(opener), _CLOSER[str(opener)], Span(len(text), len(text)))
    if str(token) in HEADS and starts_line and str(opener) != "{" and token.type != "NAME":
        return Unclosed(_span(opener), str(opener), _CLOSER[str(opener)], span, f"the statement `{token}`")
    return None


def _statement_border(
    text: str, token: Token, span: Span, accepts: frozenset[str], opener: Token | None, starts_line: bool
) -> Diagnostic | None:
    word = str(token)
    at_statement = "MODEL" in accepts or "OBSERVED" in accepts
    if at_statement:
        if token.type in _OPERATORS or token.type in ("TILDE", "DOT", "DOTDOT"):
            return LineStartsWithOperator(span, word)
        if token.type == "NAME" or word in ("forall", "where", "of", "given", "by", "using", "every", "steps"):
            known = ("model", "import") if "MODEL" in accepts and opener is None else HEADS
            if opener is None and _looks_like(word) and word not in ("model", "import"):
                known = tuple(HEADS)
            return UnknownStatement(span, word, tuple(known))
        if "MODEL" in accepts and word in HEADS:
            return StatementOutsideModel(span, word)
        return None
    if word in HEADS and token.type != "NAME":
        if "NAME" in accepts and not starts_line:
            return ReservedName(span, word)
        if "SEP" in accepts and not starts_line:
            return MissingSeparator(span, word)
    if token.type in ("IN", "IF", "WITH", "AS") and "NAME" in accepts:
        return ReservedName(span, word)
    return None


def _looks_like(word: str) -> bool:
    return word in HEADS


_FOREIGN = (
    ("**", "a power is written ^, as in x^2"),
    ("&&", "write `and` between two conditions"),
    ("+=", "a value is defined once: let y = x + 1"),
    ("-=", "a value is defined once: let y = x - 1"),
    ("*=", "a value is defined once: let y = 2 * x"),
    (":=", "a value is defined with `=`"),
    ("=>", "write -> in a signature, >= in a comparison"),
    ("=<", "write <="),
    ("<>", "write !="),
    ("<-", "a value is defined with `=`, a distribution with `~`"),
    ("===", "write =="),
    ("++", "write + 1"),
    ("...", "an open slice is written [..]"),
)


def _operator(
    text: str, token: Token, span: Span, accepts: frozenset[str], opener: Token | None, starts_line: bool
) -> Diagnostic | None:
    start = span.start
    for spelling, instead in _FOREIGN:
        for at in range(max(0, start - len(spelling) + 1), start + 1):
            if text.startswith(spelling, at) and at + len(spelling) > start:
                return ForeignOperator(Span(at, at + len(spelling)), spelling, instead)
    if token.type == "COMPARE" and "AND" in accepts:
        return ChainedComparison(span, str(token))
    if token.type in ("BAR", "DBAR", "NORM_ORDER") and text.count("|", text.rfind("\n", 0, start) + 1, start):
        return NestedBars(span)
    if token.type == "COLON" and opener is not None and str(opener) == "[":
        return ForeignOperator(span, ":", "a slice is written x[1..T]")
    return None


def _operand(
    text: str, token: Token, span: Span, accepts: frozenset[str], opener: Token | None, starts_line: bool
) -> Diagnostic | None:
    """Two values side by side, or a malformed number."""
    if token.type not in ("NAME", "NUMBER", "LPAR") or accepts & {"NAME", "NUMBER"}:
        return None
    if not accepts & {"PLUS", "MULTIPLY"}:
        return None
    before = re.search(r"[\w.]+$", text[max(0, span.start - 80) : span.start].rstrip(" \t"))
    left = before[0] if before else ")"
    glued = text[span.start - 1 : span.start].strip() != ""
    after = re.compile(r"[\w.]+|\(").match(text, span.start)
    right = after[0] if after else str(token)
    hexadecimal = left == "0" and right[0] in "xXbBoO"
    if left[0].isdigit() and glued and (token.type == "NUMBER" or hexadecimal or right in ("e", "E")):
        return MalformedNumber(Span(span.start - len(left), span.start + len(right)), left + right)
    return ImplicitProduct(span, left, right if right != "(" else "(...)")


def _advice(token: Token, accepts: frozenset[str]) -> str:
    if "LBRACE" in accepts:
        return "a block begins with `{` on the same line"
    if token.type == "SEP" and accepts & _OPERANDS:
        return "complete the expression on this line, or end the line with an operator to go on"
    if "COLON" in accepts and "EQUAL" not in accepts:
        return "a declaration is written NAME : TYPE, as in `latent z : real[k]`"
    if token.type == "EQUAL" and "COMPARE" in accepts:
        return "equality is tested with =="
    if "EQUAL" in accepts and "COLON" not in accepts and not accepts & {"PLUS", "LPAR"}:
        return "write `= VALUE`"
    return ""


def expected_words(accepts: frozenset[str]) -> tuple[str, ...]:
    """The terminals as a person would list them: groups first, at most seven entries."""
    rest = set(accepts)
    words: list[str] = []
    if "OBSERVED" in rest:
        words.append("a declaration, a term or a question")
        rest -= {w.upper() for w in HEADS}
    elif "MODEL" in rest:
        words.append("`model` or `import`")
        rest -= {w.upper() for w in HEADS}
    if {"NAME", "NUMBER", "LPAR"} <= rest:
        words.append("an expression")
        rest -= _OPERANDS
    if {"PLUS", "MULTIPLY"} <= rest:
        words.append("an operator")
        rest -= {"PLUS", "MINUS", "MULTIPLY", "CARET", "COMPARE", "AND", "OR", "DOT", "LPAR", "LSQB"}
    for terminal in sorted(rest, key=lambda t: (t not in ("NAME", "EQUAL", "COLON"), t == "SEP", t)):
        words.append(_SPELLED.get(terminal, f"`{terminal.lower()}`"))
    return tuple(words[:7])


def explain_character(text: str, at: int, opened: list[Token]) -> Mistake:
    """The mistake at a character that begins no token."""
    resume = next_statement(text, at + 1, bool(opened))
    for spelling, instead in _FOREIGN:
        if text.startswith(spelling, at):
            return Mistake(ForeignOperator(Span(at, at + len(spelling)), spelling, instead), resume)
    return Mistake(UnknownCharacter(Span(at, at + 1), text[at]), resume)


def explain_depth(token: Token, limit: int) -> Mistake:
    # What follows is not worth reading: with this many open brackets nothing lines up.
    return Mistake(TooDeep(_span(token), limit), None)


def next_statement(text: str, at: int, inside_model: bool) -> int:
    """Offset of the next line that can be read on its own, or of the brace that ends the block.

    Lines that begin with a statement head count even inside brackets: a head is reserved, so an
    unclosed bracket above is the likelier mistake.
    """
    size = len(text)
    brackets = braces = 0
    while at < size:
        c = text[at]
        if c == "#":
            newline = text.find("\n", at)
            at = size if newline < 0 else newline
            continue
        if c in "([":
            brackets += 1
        elif c in ")]":
            brackets = max(0, brackets - 1)
        elif c == "{":
            braces += 1
        elif c == "}":
            if braces == 0 and inside_model:
                return at
            braces = max(0, braces - 1)
        elif braces == 0 and c in "\n;" and (brackets == 0 or _STATEMENT_HEAD.match(text, at + 1)):
            return at
        at += 1
    return size


def _spell(token: Token) -> str:
    if token.type in ("SEP", "$END"):
        return "`;`" if ";" in token else _SPELLED[token.type]
    return f"`{token}`"


def _span(token: Token) -> Span:
    return Span(token.start_pos or 0, token.end_pos or 0)
