"""Text to syntax tree, with recovery: one run reports many syntax mistakes.

Lark's LALR tables drive a loop of our own, because three things happen between the lexer and
the parser: statement ends inside brackets and after an operator are dropped, reserved words never
pass as names, and after a mistake parsing goes on at the next statement.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from lark import Lark, Token, UnexpectedCharacters, UnexpectedToken
from lark.parsers.lalr_analysis import Shift

from ebmlang.compiler import ast
from ebmlang.compiler.catalogue.syntax import EmptyFile, FileTooLarge, TooManyMistakes
from ebmlang.compiler.collector import collector_paused
from ebmlang.compiler.diagnostics import Report
from ebmlang.compiler.source import Span
from ebmlang.compiler.syntax_errors import explain_character, explain_depth, explain_repeated, explain_token
from ebmlang.compiler.syntax_recovery import Bridge
from ebmlang.compiler.tree import Builder
from ebmlang.compiler.tree_groups import DuplicateModifier

LARGEST_FILE = 8_000_000
"""Characters. Twenty thousand dense lines are about two million."""

DEEPEST_NESTING = 100
MOST_MISTAKES = 50

_CONTINUES = frozenset(
    {"PLUS", "MINUS", "MULTIPLY", "CARET", "COMPARE", "COMMA", "EQUAL", "ARROW", "AND", "OR"}
)
"""A line that ends with one of these goes on; `and` and `or` are operators too."""

_OPENERS = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
_CLOSERS = {closer: opener for opener, closer in _OPENERS.items()}


class _KeepSeparators:
    """Lark's postlex hook: makes the contextual lexer accept SEP in every state."""

    always_accept = ("SEP",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


@cache
def grammar_text() -> str:
    return (files("ebmlang.grammar") / "ebm.lark").read_text(encoding="utf-8")


@cache
def reserved_words() -> dict[str, str]:
    """Word to terminal name, read from the grammar's section of reserved words."""
    section = grammar_text().split("// --- reserved words", 1)[1].split("// ---", 1)[0]
    return {word: terminal for terminal, word in re.findall(r'^([A-Z]+): "(\w+)"$', section, re.MULTILINE)}


@cache
def _lark() -> Lark:
    text = grammar_text()
    options: dict[str, Any] = {
        "parser": "lalr",
        "lexer": "contextual",
        "strict": True,
        "start": "module",
        "keep_all_tokens": True,
        "maybe_placeholders": False,
        "postlex": _KeepSeparators(),
        "transformer": Builder(),
    }
    path = _cache_file(text)
    return Lark(text, cache=str(path) if path else False, **options)


def _cache_file(text: str) -> Path | None:
    """Where the parse tables are kept between runs, or None where nothing can be written."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(root) / "ebmlang"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK) or folder.stat().st_uid != os.getuid():
        return None
    return folder / f"grammar-{hashlib.sha256(text.encode()).hexdigest()[:16]}.bin"


def parse(report: Report) -> ast.Module | None:
    """Parse `report.source`; mistakes go to the report. None when nothing could be read."""
    text = report.source.text
    if len(text) > LARGEST_FILE:
        report.add(FileTooLarge(Span(0, 0), len(text), LARGEST_FILE))
        return None
    with collector_paused():
        module = _Run(report).module()
    if module is None or report.failed:
        return module
    if not module.models:
        report.add(EmptyFile(Span(0, 0)))
        return None
    return attach_comments(module, text)


class _Run:
    """One parse: the loop over tokens, the open brackets, and recovery."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.text = report.source.text
        self.interactive = _lark().parse_interactive(self.text)
        self.state = self.interactive.parser_state
        self.lexer = self.interactive.lexer_thread
        self.open: list[Token] = []
        self.statement_start = 0
        self.mistakes = 0
        self.last = ""

    def module(self) -> ast.Module | None:
        while True:
            try:
                return self._read()
            except UnexpectedToken as error:
                if self._ended_by_brace(error.token):
                    continue
                mistake = explain_token(
                    self.text, error.token, self._accepts(), self.open, self.statement_start
                )
            except UnexpectedCharacters as error:
                mistake = explain_character(self.text, error.pos_in_stream or 0, self.open)  # type: ignore[redundant-expr]
            except DuplicateModifier as error:
                mistake = explain_repeated(self.text, error.word, error.span, self.open)
            except _NotAName as error:
                mistake = explain_character(self.text, error.offset, self.open)
            except _Deep as error:
                mistake = explain_depth(error.token, DEEPEST_NESTING)
            self.report.add(mistake.diagnostic)
            self.mistakes += 1
            if mistake.resume is None or self.mistakes >= MOST_MISTAKES:
                if self.mistakes >= MOST_MISTAKES:
                    self.report.add(TooManyMistakes(mistake.diagnostic.span, MOST_MISTAKES))
                return None
            self._recover(mistake.bridge or Bridge((), max(mistake.resume, self.statement_start)))

    def _read(self) -> ast.Module:
        """Feed tokens to the parser until the end of the text."""
        feed, opened, reserved = self.state.feed_token, self.open, reserved_words()
        states = self.state.parse_conf.states
        last = "SEP"
        inside = sum(t.type != "LBRACE" for t in opened)
        token: Token | None = None
        for token in self.lexer.lex(self.state):
            kind = token.type
            if kind == "SEP":
                ends = ";" in token and ";" in _COMMENT.sub("", token)
                if ends and inside:
                    raise UnexpectedToken(token, set(), state=self.state)
                if inside or (last in _CONTINUES and not ends):
                    continue
                if last == "SEP" and "SEP" not in states[self.state.position]:
                    continue
                self.statement_start = token.end_pos or 0
            elif kind == "NAME":
                token.type = reserved.get(token if token.isascii() else _name(token), kind)
            elif kind in _OPENERS:
                opened.append(token)
                if len(opened) > DEEPEST_NESTING:
                    raise _Deep(token)
                if kind == "LBRACE":
                    self.statement_start = token.end_pos or 0
                else:
                    inside += 1
            elif kind in _CLOSERS and (not opened or opened[-1].type != _CLOSERS[kind]):
                raise UnexpectedToken(token, set(), state=self.state)
            feed(token)
            if kind in _CLOSERS:
                inside -= opened.pop().type != "LBRACE"
            self.last = last = kind
        end = len(self.text)
        return self.state.feed_token(Token("$END", "", end, 1, 1, 1, 1, end), True)  # type: ignore[no-any-return]

    def _ended_by_brace(self, token: Token) -> bool:
        """A closing brace ends its statement, as a newline does: `for ... { ... } infer x`."""
        if self.last != "RBRACE" or str(token) not in reserved_words() or "SEP" not in self._accepts():
            return False
        at = token.start_pos or 0
        self.state.feed_token(_virtual("SEP", ";", at))
        self._continue_at(at)
        self.statement_start, self.last = at, "SEP"
        return True

    def _continue_at(self, offset: int) -> None:
        assert self.lexer.state is not None
        self.lexer.state.line_ctr.char_pos = offset

    def _accepts(self) -> frozenset[str]:
        """Terminals that the parser can take now; tried one by one, since LALR tables list more."""
        return frozenset(self.interactive.accepts())

    def _recover(self, bridge: Bridge) -> None:
        """Drop the broken statement and go on behind the bridge, where another one may start."""
        states = self.state.parse_conf.states
        stack, values = self.state.state_stack, self.state.value_stack
        claim = next((i for i, v in enumerate(values) if isinstance(v, Token) and v.type == "PROPERTY"), None)
        if claim is not None:  # its braces look like a block's to `_at_border`
            del stack[claim + 1 :], values[claim:]
        if self.last == "RBRACE" and "SEP" in self._accepts():  # the block is complete
            self.state.feed_token(_virtual("SEP", ";", bridge.resume))
        border = _between_models if bridge.outside else _at_border
        while len(stack) > 1 and not border(states[stack[-1]]):
            stack.pop()
            values.pop()
        self.open = [v for v in values if isinstance(v, Token) and v.type == "LBRACE"]
        at = bridge.resume
        self._continue_at(at)
        self.statement_start = at
        ended = not bridge.words and self.text.startswith(("\n", ";", "}"), at)
        if not ended and _shifts(states[stack[-1]], "SEP"):
            self.state.feed_token(_virtual("SEP", "\n", at))
        for kind, word in bridge.words:
            token = _virtual(kind, word, at)
            self.state.feed_token(token)
            if kind == "LBRACE":
                self.open.append(token)


def _at_border(actions: dict[str, Any]) -> bool:
    """Whether a parser state is one between two statements or two models."""
    return "LATENT" in actions or "MODEL" in actions or _shifts(actions, "SEP")


def _between_models(actions: dict[str, Any]) -> bool:
    return "MODEL" in actions or ("$END" in actions and _shifts(actions, "SEP"))


def _virtual(kind: str, word: str, at: int) -> Token:
    """A token that stands for nothing in the text."""
    return Token(kind, word, at, 1, 1, 1, 1, at)


_COMMENT = re.compile(r"#[^\n]*")


def _name(token: Token) -> str:
    """What the tree calls a name. Raises _NotAName for what only looks like one, such as `x²`."""
    if not token.isidentifier():
        wrong = next(i for i in range(len(token)) if not token[: i + 1].isidentifier())
        raise _NotAName((token.start_pos or 0) + wrong)
    return unicodedata.normalize("NFKC", token)


def _shifts(actions: dict[str, Any], terminal: str) -> bool:
    # A reduction on SEP is not enough: LALR tables list it in states where it fails later.
    return terminal in actions and actions[terminal][0] is Shift


class _NotAName(Exception):
    def __init__(self, offset: int) -> None:
        super().__init__("not a name")
        self.offset = offset


class _Deep(Exception):
    def __init__(self, token: Token) -> None:
        super().__init__("nested too deep")
        self.token = token


# --- comments -----------------------------------------------------------------------------------

_COMMENTS = re.compile(r'"[^"\n]*"|#[^\n]*')
_UP_TO_STATEMENT = re.compile(r"(?:\s+|#(?!#)[^\n]*)*")
"""From a doc comment to what it describes: plain comments may stand between."""


def attach_comments(module: ast.Module, text: str) -> ast.Module:
    """Put comments on the module and `##` blocks on the declarations below them."""
    comments, docs = read_comments(text)
    if not comments:
        return module
    models = tuple(_document(m, docs) for m in module.models)
    imports = tuple(_document(i, docs) for i in module.imports)
    return replace(module, imports=imports, models=models, comments=comments)


def read_comments(text: str) -> tuple[tuple[ast.Comment, ...], dict[int, str]]:
    """All comments, and doc text keyed by the offset of the statement that it stands above."""
    comments: list[ast.Comment] = []
    docs: dict[int, str] = {}
    block: list[str] = []
    block_end = -1
    for match in _COMMENTS.finditer(text):
        if match[0].startswith('"'):
            continue
        start, end = match.span()
        line_start = text.rfind("\n", 0, start) + 1
        own_line = not text[line_start:start].strip()
        comments.append(ast.Comment(match[0].rstrip(), own_line, Span(start, end)))
        if not (own_line and match[0].startswith("##")):
            continue
        if text[block_end:start].strip() or text.count("\n", block_end, start) > 1:
            block = []
        block.append(match[0][2:].strip())
        block_end = end
        docs.pop(start, None)
        below = _UP_TO_STATEMENT.match(text, end)
        docs[below.end() if below else end] = "\n".join(block)
    return tuple(comments), docs


def _document(node: Any, docs: dict[int, str]) -> Any:
    changes: dict[str, Any] = {}
    doc = docs.get(node.span.start)
    if doc is not None:
        changes["doc"] = doc
    if isinstance(node, ast.Model | ast.Plate | ast.Stage):
        body = tuple(_document(s, docs) for s in node.body)
        if any(new is not old for new, old in zip(body, node.body, strict=True)):
            changes["body"] = body
    return replace(node, **changes) if changes else node
