"""Says what is wrong where the parser stopped, and where parsing can go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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
    NothingFollows,
    RepeatedPart,
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
from ebmlang.compiler.syntax_recovery import STOP, Bridge, bridge_over, next_statement, resume_after
from ebmlang.compiler.syntax_words import CLAUSES, HEADS, Place, advice, clip, expected_words, spell


@dataclass(frozen=True)
class Mistake:
    """A diagnostic and the offset of the statement where parsing goes on (None: nowhere).

    A bridge is the better way to go on: behind it, the statements of the block are read too.
    """

    diagnostic: Diagnostic
    resume: int | None
    bridge: Bridge | None = None


_CLOSER = {"(": ")", "[": "]", "{": "}"}
_OPERATORS = frozenset({"PLUS", "MINUS", "MULTIPLY", "CARET", "COMPARE", "EQUAL", "ARROW", "COMMA"})
_OPERATOR_WORDS = frozenset(
    {
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "@",
        "^",
        "<",
        "<=",
        ">",
        ">=",
        "==",
        "!=",
        "~=",
        "=",
        "->",
        ",",
        "and",
        "or",
    }
)
_JOINED_LINE = re.compile(r"\\[ \t\r]*\n")
_OPERATOR_RUN = re.compile(r"[-+*/^=<>~%@!|]+\Z")


def explain_token(
    text: str, token: Token, accepts: frozenset[str], opened: Sequence[Token], statement_start: int
) -> Mistake:
    """The mistake at a token that the parser cannot take."""
    start = token.start_pos if token.start_pos is not None else len(text)
    end = start + 1 if token.type == "SEP" else token.end_pos or start
    if statement_start > start:  # the token itself ends a statement or opens a block
        statement_start = max(text.rfind(c, 0, start) for c in "\n;{") + 1
    before = tuple(bracket for bracket in opened if (bracket.start_pos or 0) < start)
    place = Place(text, token, Span(start, end), accepts, before, statement_start)
    found: Diagnostic | None = None
    for rule in _RULES:
        found = rule(place)
        if found is not None:
            break
    if found is None:
        found = UnexpectedWord(place.span, spell(token), expected_words(place), advice(place))
    return Mistake(found, resume_after(place, found), bridge_over(place, found))


def explain_character(text: str, at: int, opened: Sequence[Token]) -> Mistake:
    """The mistake at a character that begins no token."""
    # A backslash at the end of a line shows that the next line belongs to the statement.
    joined = _JOINED_LINE.match(text, at)
    resume = next_statement(text, joined.end() if joined else at + 1, opened)
    for spelling, instead in _FOREIGN:
        if text.startswith(spelling, at):
            return Mistake(ForeignOperator(Span(at, at + len(spelling)), spelling, instead), resume)
    if text[at] == '"':
        return Mistake(Unclosed(Span(at, at + 1), '"', '"', None, "the end of the line"), resume)
    return Mistake(UnknownCharacter(Span(at, at + 1), text[at]), resume)


def explain_repeated(text: str, word: str, span: Span, opened: Sequence[Token]) -> Mistake:
    """The mistake at a modifier that stands twice."""
    return Mistake(RepeatedPart(span, word), next_statement(text, span.end, opened))


def explain_depth(token: Token, limit: int) -> Mistake:
    # What follows is not worth reading: with this many open brackets nothing lines up.
    return Mistake(TooDeep(_span(token), limit), None)


# --- brackets -----------------------------------------------------------------------------------


def _wrong_closer(place: Place) -> Diagnostic | None:
    if place.token.type not in ("RPAR", "RSQB", "RBRACE"):
        return None
    opener, word = place.opener, place.word
    if not opener or (opener == "{" and word != "}"):
        return Unopened(place.span, word)
    if _CLOSER[opener] == word:
        return None
    if word == "}" or place.starts_line:
        return _unclosed(place, f"`{word}`")
    return Unopened(place.span, word, opener, _span(place.opened[-1]))


def _left_open(place: Place) -> Diagnostic | None:
    """A bracket that should have been closed before the token."""
    opener, kind = place.opener, place.token.type
    if not opener:
        return None
    if kind == "$END":
        return _unclosed_at_end(place)
    if kind in ("MODEL", "IMPORT") and place.starts_line and opener == "{":
        return _unclosed(place, f"the statement `{place.word}`")
    if opener == "{":
        return None
    if place.begins_statement and place.starts_line:
        return _unclosed(place, f"the statement `{place.word}`")
    if kind == "LBRACE" or (kind == "EQUAL" and opener == "[" and "RSQB" in place.accepts):
        return _unclosed(place, f"`{place.word}`")
    return None


def _semicolon(place: Place) -> Diagnostic | None:
    """`;` between brackets."""
    if place.token.type != "SEP" or not place.brackets:
        return None
    line = place.text[place.span.end : place.text.find("\n", place.span.end) % (len(place.text) + 1)]
    if _CLOSER[place.opener] not in line:
        return _unclosed(place, "`;`")
    return UnexpectedWord(
        place.span, "`;`", (f"`{_CLOSER[place.opener]}`",), "values are separated by commas"
    )


def _unclosed(place: Place, found: str) -> Diagnostic:
    return Unclosed(_span(place.opened[-1]), place.opener, _CLOSER[place.opener], place.span, found)


def _unclosed_at_end(place: Place) -> Diagnostic:
    text, opener = place.text, place.opened[-1]
    if opener == "{":
        shifted = _closed_by_another(text)
        if shifted is not None:
            brace, closer = shifted
            line = text.count("\n", 0, closer.start) + 1
            note = "this `}` is indented like the end of another block"
            return Unclosed(brace, "{", "}", closer, f"the `}}` of line {line}", note)
    last = Span(len(text.rstrip()), len(text.rstrip()) + 1)
    return Unclosed(_span(opener), str(opener), _CLOSER[str(opener)], last, "the end of the file")


def _closed_by_another(text: str) -> tuple[Span, Span] | None:
    """A brace whose closing brace is indented less than its own line, and the closing brace."""
    braces: list[int] = []
    for match in STOP.finditer(text):
        if match[0] == "{":
            braces.append(match.start())
        elif match[0] == "}" and braces:
            brace = braces.pop()
            indent = _indentation(text, match.start())
            begins_line = text[match.start() - len(indent) - 1 : match.start()] in ("\n" + indent, indent)
            if begins_line and len(indent) < len(_indentation(text, brace)):
                return Span(brace, brace + 1), Span(*match.span())
    return None


def _indentation(text: str, at: int) -> str:
    """The white space that the line of an offset begins with."""
    line_start = text.rfind("\n", 0, at) + 1
    match = _BLANK.match(text, line_start)
    return match[0] if match else ""


_BLANK = re.compile(r"[ \t]*")


def _bars(place: Place) -> Diagnostic | None:
    """Bars that are not closed, closed by others, or nested."""
    kind, ends = place.token.type, place.accepts & {"BAR", "DBAR"}
    bars = re.findall(r"\|\|(?:_\w+)?|\|", place.statement)
    if kind in ("BAR", "DBAR", "NORM_ORDER"):
        if not place.ends_expression:
            return None
        if not bars:
            return ForeignOperator(
                place.span, place.word, "write `or` between two conditions; a norm is ||x||"
            )
        if len(bars) == 1 and ends and bars[0] != place.word:
            if re.match(r"[ \t]*[\w(]", place.text[place.span.end : place.span.end + 80]):
                return ImplicitProduct(place.span, "|...|", "|...|")
            wanted = (f"`{bars[0]}`",)
            return UnexpectedWord(
                place.span, f"`{place.word}`", wanted, "a bar is closed by a bar of its kind"
            )
        return NestedBars(place.span)
    closing = kind in ("SEP", "$END", "RPAR", "RSQB", "RBRACE", "COMMA", "LBRACE") or place.begins_statement
    if closing and ends and place.ends_expression and bars:
        at = place.text.rfind("|", place.statement_start, place.span.start)
        opener = "||" if place.text[at - 1] == "|" else "|"
        return Unclosed(Span(at + 1 - len(opener), at + 1), opener, opener, None, spell(place.token))
    return None


# --- ends of statements -------------------------------------------------------------------------


def _nothing_follows(place: Place) -> Diagnostic | None:
    """An operator, a comma or `=` with nothing behind it."""
    closes = place.token.type in ("SEP", "$END", "RPAR", "RSQB", "RBRACE", "COMMA")
    if not closes and not (place.begins_statement and place.starts_line):
        return None
    word = place.before
    if not place.accepts & {"NAME", "STRING"} or not (word in _OPERATOR_WORDS or _OPERATOR_RUN.match(word)):
        return None
    at = place.text.rfind(word, place.statement_start, place.span.start)
    span = Span(at, at + len(word))
    if word in ("++", "--"):
        return ForeignOperator(span, word, "a value is defined once: let y = x + 1")
    return NothingFollows(span, word)


def _between_statements(place: Place) -> Diagnostic | None:
    """A word where a statement should begin."""
    top, word = "MODEL" in place.accepts, place.word
    if not top and "LATENT" not in place.accepts:
        return None
    if place.text.startswith(("//", "/*", "--"), place.span.start):
        at = place.span.start
        return ForeignOperator(Span(at, at + 2), place.text[at : at + 2], "a comment begins with #")
    if place.token.type in _OPERATORS or place.token.type in ("TILDE", "DOT", "DOTDOT"):
        return LineStartsWithOperator(place.span, word)
    if place.token.type == "NAME" or word in CLAUSES or word in ("forall", "where", "missing"):
        known = ("model", "import") if top and place.starts_line else HEADS
        return UnknownStatement(place.span, word, known)
    if top and word in HEADS:
        return StatementOutsideModel(place.span, word)
    return None


def _reserved(place: Place) -> Diagnostic | None:
    """A reserved word as a name, or a statement in the middle of a line."""
    kind, word = place.token.type, place.word
    if kind == "NAME" or not place.accepts & {"NAME", "SEP"}:
        return None
    if (kind == "IF" and "NUMBER" in place.accepts) or (kind == "FOR" and "FORALL" in place.accepts):
        return None  # words of another language, rather than names
    if word in HEADS and not place.starts_line:
        return (
            ReservedName(place.span, word) if "NAME" in place.accepts else MissingSeparator(place.span, word)
        )
    if kind in ("IN", "IF", "WITH", "AS") and "NAME" in place.accepts:
        return ReservedName(place.span, word)
    return None


# --- operators and operands ---------------------------------------------------------------------

_FOREIGN = (
    ("**", "a power is written ^, as in x^2"),
    ("&&", "write `and` between two conditions"),
    ("===", "write =="),
    ("+=", "a value is defined once: let y = x + 1"),
    ("-=", "a value is defined once: let y = x - 1"),
    ("*=", "a value is defined once: let y = 2 * x"),
    ("/=", "a value is defined once: let y = x / 2"),
    (":=", "a value is defined with `=`"),
    ("=>", "write -> in a signature, >= in a comparison"),
    ("=<", "write <="),
    ("<>", "write !="),
    ("<-", "a value is defined with `=`, a distribution with `~`"),
    ("++", "write + 1"),
    ("...", "an open slice is written [..]"),
    (".*", "operators act on each element: write *"),
    ("./", "operators act on each element: write /"),
    (".^", "operators act on each element: write ^"),
    ("/*", "a comment begins with #"),
)


def _foreign(place: Place) -> Diagnostic | None:
    start, kind = place.span.start, place.token.type
    for spelling, instead in _FOREIGN:
        for at in range(max(0, start - len(spelling) + 1), start + 1):
            if place.text.startswith(spelling, at):
                return ForeignOperator(Span(at, at + len(spelling)), spelling, instead)
    if kind == "EQUAL" and place.text.startswith("==", start - 1):
        return ForeignOperator(Span(start - 1, start + 1), "==", "a value is defined with one `=`")
    if kind == "COLON" and place.opener == "[":
        return ForeignOperator(place.span, ":", "a slice is written x[1..T]")
    return None


def _comparison(place: Place) -> Diagnostic | None:
    if place.token.type == "COMPARE" and "OR" in place.accepts:
        return ChainedComparison(place.span, place.word)
    return None


def _operand(place: Place) -> Diagnostic | None:
    """Two values side by side, or a malformed number."""
    span, text = place.span, place.text
    number = re.search(r"\d[\w.]*$", text[max(0, span.start - 80) : span.start])
    if place.token.type == "NUMBER" and number and place.accepts == {"NAME"}:
        return MalformedNumber(Span(span.start - len(number[0]), span.end), number[0] + place.word)
    if place.token.type not in ("NAME", "NUMBER", "LPAR", "LSQB") or not place.ends_expression:
        return None
    if (
        place.token.type == "NAME" and not text[span.start].isidentifier()
    ):  # a digit such as the square in |x|²
        return UnknownCharacter(Span(span.start, span.start + 1), text[span.start])
    after = re.compile(r"[\w.]+|[(\[]").match(text, span.start)
    right = clip(after[0]) if after else place.word
    if (
        number
        and place.token.type != "LPAR"
        and (place.token.type == "NUMBER" or _NOT_A_PRODUCT.match(number[0] + right))
    ):
        return MalformedNumber(Span(span.start - len(number[0]), span.start + len(right)), number[0] + right)
    return ImplicitProduct(span, _side(place.before), _side(right), _instead(place, right))


_NOT_A_PRODUCT = re.compile(r"0[xXbBoO]|[\d.]+[eE]$")


def _side(word: str) -> str:
    return {"(": "(...)", ")": "(...)", "[": "[...]", "]": "[...]", "|": "|...|", "||": "||...||"}.get(
        word, word
    )


def _instead(place: Place, right: str) -> str:
    """What to write when it is not a product that was meant."""
    left = place.before
    if left in ("not", "lambda"):
        return "write not(x)" if left == "not" else "a function is declared: fn f(x: real) -> real = 2 * x"
    if left in ("and", "or"):
        return f"delete one of the two: `{left}` stands between two conditions"
    if right in ("if", "then", "else"):
        return "a choice is written where(condition, a, b)"
    if re.search(r"//|--", place.statement):
        return "a comment begins with #"
    if place.opener == "[" and re.search(r"[\[,]\s*\S+$", place.statement):
        return f"{_side(left)}, {_side(right)}"
    if right.startswith("."):
        return f"an element is written {left}[0]"
    if left.isidentifier() and place.token.type == "NAME":
        return f"{left} * {right} for a product, {left}({right}) for a call"
    return ""


_RULES: tuple[Callable[[Place], Diagnostic | None], ...] = (
    _wrong_closer,
    _semicolon,
    _nothing_follows,
    _bars,
    _left_open,
    _between_statements,
    _reserved,
    _foreign,
    _comparison,
    _operand,
)
"""Tried in order; the first that knows the mistake names it."""


def _span(token: Token) -> Span:
    return Span(token.start_pos or 0, token.end_pos or 0)
