"""Wording for syntax mistakes: how terminals are spelled, what is expected, and what to try."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from lark import Token

from ebmlang.compiler.source import Span

HEADS: Final = (
    *("import", "model"),
    *("shared", "observed", "latent", "param", "random", "extern", "net"),
    *("let", "fn", "state", "update", "part", "use", "solve"),
    *("batch", "energy", "regularizer", "cost", "subject", "for"),
    *("infer", "marginalize", "sample", "train", "plan", "amortize"),
    *("schedule", "stage", "property"),
)
"""Words that begin a statement."""

CLAUSES: Final = frozenset({"of", "given", "by", "using", "on", "every", "at", "steps"})
_ROLES = frozenset({"observed", "latent", "param", "random", "shared"})
_TERMS = frozenset({"energy", "regularizer", "cost", "batch"})
_QUESTIONS = frozenset({"infer", "marginalize", "sample", "train", "plan", "amortize"})
OPERANDS: Final = frozenset({"NAME", "NUMBER", "LPAR", "LSQB", "BAR", "DBAR", "PLUS", "MINUS"})
_OPERATOR_TERMINALS = frozenset({"PLUS", "MULTIPLY", "CARET", "COMPARE", "AND", "OR"})
_COMMENT = re.compile(r"#[^\n]*")
_LAST_WORD = re.compile(r'(?:[\w.]+|"[^"\n]*"|[-+*/^=<>~%@!|]{1,9}|[^\w\s])$')


@dataclass(frozen=True)
class Place:
    """Where the parser stopped: the token it cannot take, and what stands around it."""

    text: str
    token: Token
    span: Span
    accepts: frozenset[str]
    """Terminals that it can take instead."""
    opened: tuple[Token, ...]
    statement_start: int

    @property
    def opener(self) -> str:
        """The innermost open bracket, or an empty string."""
        return str(self.opened[-1]) if self.opened else ""

    @property
    def brackets(self) -> bool:
        """Whether a round or square bracket is open."""
        return self.opener in ("(", "[")

    @property
    def word(self) -> str:
        return clip(self.token)

    @cached_property
    def statement(self) -> str:
        """The statement up to the token, without comments."""
        return _COMMENT.sub("", self.text[self.statement_start : self.span.start]).strip()

    @cached_property
    def head(self) -> str:
        """The word that the statement begins with."""
        match = re.match(r"\w+", self.statement)
        return match[0] if match else ""

    @cached_property
    def before(self) -> str:
        """The word or operator in front of the token."""
        match = _LAST_WORD.search(self.statement)
        return clip(match[0]) if match else ""

    @cached_property
    def starts_line(self) -> bool:
        line_start = self.text.rfind("\n", 0, self.span.start) + 1
        return not self.text[line_start : self.span.start].strip()

    @property
    def begins_statement(self) -> bool:
        return self.token.type != "NAME" and self.word in HEADS

    @property
    def ends_expression(self) -> bool:
        """Whether a complete expression stands in front of the token."""
        return not self.accepts & {"NAME", "NUMBER"} and bool(self.accepts & _OPERATOR_TERMINALS)


_SPELLED = {
    "SEP": "the end of the line",
    "$END": "the end of the file",
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a text in double quotes",
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
_TYPED = _ROLES | {"model", "let", "fn", "net", "extern", "state"}
_FIRST = ("NAME", "COLON", "EQUAL")
_MOST_EXPECTED = 6


def spell(token: Token) -> str:
    if token.type in ("SEP", "$END"):
        return "`;`" if token.lstrip().startswith(";") else _SPELLED[token.type]
    return f"`{clip(token)}`"


def clip(word: str) -> str:
    """A word short enough for a message."""
    return str(word) if len(word) <= _LONGEST_WORD else f"{word[:_LONGEST_WORD]}..."


_LONGEST_WORD = 40


def expected_words(place: Place) -> tuple[str, ...]:
    """The terminals as a person would list them: groups first, few entries."""
    rest = set(place.accepts)
    words: list[str] = []
    if rest == {"NAME"} and place.before == ":" and place.head in _TYPED:
        return ("a type",)
    if "LATENT" in rest:
        words += ["a declaration", "a term", "a question"]
        rest -= {w.upper() for w in HEADS}
    elif "MODEL" in rest:
        words.append("`model` or `import`")
        rest -= {"MODEL", "IMPORT"}
    if {"NAME", "NUMBER", "LPAR"} <= rest:
        words.append("an expression")
        rest -= OPERANDS | {"STRING"}
    # Before it fails, the parser reduces: what binds tightest is no longer in the list.
    if rest & _OPERATOR_TERMINALS:
        words.append("an operator")
        rest -= _OPERATOR_TERMINALS | {"PLUS", "MINUS", "DOT", "LPAR", "LSQB"}
    if rest & {"SEP", "$END"} and rest & {"RBRACE", "SEP"}:
        rest = (rest - {"RBRACE", "$END"}) | {"SEP"}  # a line may end wherever a block may
    clauses = {w.upper() for w in CLAUSES}
    if len(rest & clauses) > 3:
        words.append("a clause such as `using`")
        rest -= clauses
    ordered = sorted(rest, key=lambda t: (t not in _FIRST, t == "SEP", t))
    words += [_SPELLED.get(terminal, f"`{terminal.lower()}`") for terminal in ordered]
    return tuple(words[:_MOST_EXPECTED])


# --- what to try --------------------------------------------------------------------------------

_Condition = Callable[[Place], bool]


def _at(*types: str) -> _Condition:
    return lambda place: place.token.type in types


def _wants(*terminals: str) -> _Condition:
    return lambda place: place.accepts >= set(terminals)


def _head(*words: str) -> _Condition:
    return lambda place: place.head in words


def _all(*conditions: _Condition) -> _Condition:
    return lambda place: all(condition(place) for condition in conditions)


_in_term = _head(*_TERMS)
_in_declaration = _head(*_ROLES)
_no_value_yet = _wants("NAME")

_ADVICE: tuple[tuple[_Condition, str], ...] = (
    # other languages
    (_at("FOR"), "a sum over an index is written sum(x[i], over = i in 0..n)"),
    (_at("IF"), "a choice is written where(condition, a, b)"),
    (_at("STRING"), 'a text is only the name of a file, or the first argument of einsum("ij,j->i", A, x)'),
    # plates
    (_all(_head("for"), _at("COLON"), _wants("DOTDOT")), "a range is written 0..T"),
    (_all(_head("for"), _wants("IN")), "a plate is written for t in 0..T { ... }"),
    # blocks
    (_all(_head("fn"), _at("LBRACE")), "a function is one expression: fn f(x: real) -> real = 2 * x"),
    (_all(_wants("LBRACE"), _head("model"), _at("EQUAL")), "a model is written model NAME(...) { ... }"),
    (_all(_head("model"), _at("LSQB")), "hyperparameters stand in parentheses: model m(n: int) { ... }"),
    (_wants("LBRACE"), "a block begins with `{` on the same line"),
    (
        _all(_head("model"), _at("LPAR", "LBRACE"), _no_value_yet),
        "a model has a name: model NAME(...) { ... }",
    ),
    (_all(_head("model"), _wants("COLON")), "a hyperparameter has a type, as in (n: int, lam: real = 0.1)"),
    # imports and composition
    (_all(_head("import"), _wants("AS")), 'a file is given a name: import "block.ebm" as block'),
    (_head("import"), 'import std.attention, or import "block.ebm" as block'),
    (_all(_head("use", "solve"), _wants("AS")), "a part has a name: use MODEL as NAME with x = y"),
    (
        _all(_head("use", "solve"), _at("LPAR")),
        "hyperparameters follow the model, values follow `with`: use MODEL(k = 3) as NAME with x = y",
    ),
    # declarations
    (_all(_in_declaration, _at("COMMA"), _wants("COLON")), "each variable has a declaration of its own"),
    (_all(_in_declaration, _at("COMMA"), _wants("MISSING")), "a variable has one domain"),
    (_all(_in_declaration, _at("LPAR"), _wants("LSQB")), "a shape stands in square brackets: real[n, k]"),
    (_all(_in_declaration, _at("RSQB"), _no_value_yet), "a scalar has no brackets: real"),
    (_all(_in_declaration, _at("LSQB"), _no_value_yet), "a type is a word and a shape: real[n]"),
    (_all(_in_declaration, _at("COMPARE")), "bounds are written `in [0, 1]` or `in nonnegative`"),
    (
        _all(_head("observed", "latent", "param", "shared"), _at("TILDE")),
        "only `random` has a distribution; elsewhere write an energy, or `= START`",
    ),
    (_all(_head("random"), _wants("TILDE")), "a distribution follows: random eps : real[n] ~ normal()"),
    (
        _all(_in_declaration, _wants("COLON")),
        "a declaration is written NAME : TYPE, as in `latent z : real[k]`",
    ),
    (_all(_in_declaration, _no_value_yet, _at("COLON")), "the name comes first: latent z : real[k]"),
    (_all(_head("fn"), _wants("ARROW")), "a result follows an arrow: fn f(x: real) -> real = 2 * x"),
    (_all(_head("fn"), _wants("COLON")), "a parameter has a type: fn f(x: real[n]) -> real = sum(x)"),
    (_all(_head("let"), _at("LPAR")), "a function is declared with fn: fn f(x: real) -> real = 2 * x"),
    (_all(_head("let"), _at("COMMA")), "several values are named in parentheses: let (a, b) = f(x)"),
    (
        _all(_head("net", "extern"), _wants("ARROW")),
        "a net is written net f : real[n] -> real[d] = mlp([64])",
    ),
    (
        _all(_head("net", "extern"), _wants("COLON")),
        "a net is written net f : real[n] -> real[d] = mlp([64])",
    ),
    # terms and constraints
    (_all(_in_term, _at("EQUAL", "COLON"), _no_value_yet), "a term has a name: energy fit = ||y - z||^2"),
    (_all(_in_term, _at("COLON"), _wants("EQUAL")), "a term has no type, it is one number: energy fit = ..."),
    (_all(_in_term, _wants("EQUAL")), "a term is written energy NAME = EXPRESSION"),
    (_head("subject"), "a constraint is written subject to NAME : g(x) <= 0"),
    (
        _all(_head("property"), _wants("COLON")),
        "a property is written property NAME : forall x : real { x^2 >= 0 }",
    ),
    (_head("stage"), "a stage is written stage NAME for 500 steps { ... }"),
    (_all(_at("LBRACE"), _wants("LATENT")), "a block belongs to a plate: for i in 0..n { ... }"),
    # expressions
    (
        lambda place: place.token.type == "COMMA" and place.ends_expression and not place.brackets,
        "a statement has one expression; several values stand in brackets: [a, b]",
    ),
    (
        lambda place: place.token.type == "COMMA" and place.ends_expression and place.opener == "(",
        "a list is written [a, b]",
    ),
    (
        lambda place: place.token.type in ("MULTIPLY", "CARET", "COMPARE") and "NUMBER" in place.accepts,
        "an operator stands between two values",
    ),
    (
        lambda place: place.token.type == "NUMBER" and place.accepts == {"NAME"},
        "an element is written x[0]",
    ),
    (_all(_at("EQUAL"), _wants("OR")), "equality is tested with =="),
    (
        _all(_at("SEP"), _wants("NAME", "NUMBER")),
        "complete the expression, or end the line with an operator to go on",
    ),
    (_all(_head(*_QUESTIONS), _at("EQUAL")), "a prediction is written amortize z = f(y)"),
    (
        lambda place: (
            "EQUAL" in place.accepts and "COLON" not in place.accepts and not place.accepts & {"PLUS", "LPAR"}
        ),
        "write `= VALUE`",
    ),
)
"""Tried in order; the first that holds is shown."""


def advice(place: Place) -> str:
    return next((text for holds, text in _ADVICE if holds(place)), "")
