"""Hypothesis strategy for program texts: every rule of the grammar, in any layout it allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

END = "\n"
"""In a list of words: a place where a statement ends."""

_OPTIONAL_END = "\n?"
"""In a list of words: a place where a separator may stand."""

_NAMES = ("x", "y", "z", "W", "n", "T", "K1", "α", "a_long_name", "data", "interval", "to")
_NUMBERS = ("0", "1", "12", "1_000", "0.5", ".5", "1.", "1e-3", "2.5E+4")
_CONTINUES = frozenset(
    {"+", "-", "*", "/", "//", "@", "%", "^", "=", ",", "->", "<", "<=", "==", "!=", "~=", ">", ">="}
)
_LAYOUTS = ("", " ", "  ", "\t", " \t ")
_COMMENTS = ("#", "# note", "## doc", "#: x = [1, (2", "### }", "# é ##")

Words = list[str]


@dataclass(frozen=True)
class _Grammar:
    """Each method draws the words of one construct; `deep` bounds what is nested inside."""

    draw: Callable[[st.SearchStrategy[object]], object]

    def number(self, least: int, most: int) -> int:
        drawn = self.draw(st.integers(least, most))
        assert isinstance(drawn, int)
        return drawn

    def maybe(self, words: Callable[[], Words]) -> Words:
        return words() if self.number(0, 2) == 2 else []

    def pick(self, options: tuple[T, ...]) -> T:
        return options[self.number(0, len(options) - 1)]

    def several(self, one: Callable[[], Words], least: int = 1, most: int = 3) -> Words:
        words: Words = []
        for at in range(self.number(least, most)):
            words += [",", *one()] if at else one()
        return words

    # --- expressions ---

    def name(self) -> Words:
        return [self.pick(_NAMES)]

    def expr(self, deep: int) -> Words:
        kind = self.number(0, 9) if deep > 0 else 9
        if kind == 0:
            return [*self.comparison(deep - 1), self.pick(("and", "or")), *self.comparison(deep - 1)]
        return self.comparison(deep)

    def comparison(self, deep: int) -> Words:
        words = self.sum(deep)
        if deep > 0 and self.number(0, 7) == 0:
            words += [self.pick(("<", "<=", "==", "!=", "~=", ">", ">=")), *self.sum(deep - 1)]
        return words

    def sum(self, deep: int) -> Words:
        words = self.product(deep)
        for _ in range(self.number(0, 3) if deep > 0 else 0):
            words += [self.pick(("+", "-")), *self.product(deep - 1)]
        return words

    def product(self, deep: int) -> Words:
        words = self.unary(deep)
        for _ in range(self.number(0, 2) if deep > 0 else 0):
            words += [self.pick(("*", "/", "//", "%", "@")), *self.unary(deep - 1)]
        return words

    def unary(self, deep: int) -> Words:
        words = self.postfix(deep)
        if deep > 0 and self.number(0, 5) == 0:
            words += ["^", *self.unary(deep - 1)]
        return [self.pick(("+", "-")), *words] if self.number(0, 5) == 0 else words

    def postfix(self, deep: int) -> Words:
        words = self.atom(deep)
        for _ in range(self.number(0, 2) if deep > 0 else 0):
            words += [".", "T"] if self.number(0, 1) else self.subscripts(deep - 1)
        return words

    def atom(self, deep: int) -> Words:
        kind = self.number(0, 9) if deep > 0 else self.number(0, 1)
        if kind == 0:
            return [self.pick(_NUMBERS)]
        if kind == 4:
            return ["(", *self.expr(deep - 1), ")"]
        if kind == 5:
            return ["(", *self.expr(deep - 1), *self.bindings(deep - 1), ")"]
        if kind == 6:
            return ["[", *self.several(lambda: self.expr(deep - 1), 0), "]"]
        if kind == 7:
            return ["|", *self.expr(deep - 1), "|"]
        if kind == 8:
            return ["||", *self.expr(deep - 1), self.pick(("||", "||_1", "||_inf", "||_2"))]
        if kind == 9:
            return [*self.name(), *self.arguments(deep - 1)]
        return self.name()

    def bindings(self, deep: int) -> Words:
        return ["with", *self.several(lambda: [*self.name(), "=", *self.expr(deep)])]

    def arguments(self, deep: int) -> Words:
        words = self.several(lambda: self.argument(deep), 0)
        return ["(", *words, *([","] if words and self.number(0, 3) == 0 else []), ")"]

    def argument(self, deep: int) -> Words:
        kind = self.number(0, 7)
        if kind == 0:
            return [self.pick(('"ij,jk->ik"', '"a # b"'))]
        if kind == 1:
            return ["over", "=", *self.reduction(deep)]
        if kind == 2:
            return ["over", "=", "batch"]
        return [*self.name(), "=", *self.expr(deep)] if kind == 3 else self.expr(deep)

    def reduction(self, deep: int) -> Words:
        guard = self.maybe(lambda: ["if", *self.expr(deep)])
        if self.number(0, 1):
            return [*self.binder(deep), *guard]
        return ["(", *self.several(lambda: self.binder(deep), 2), *guard, ")"]

    def binder(self, deep: int) -> Words:
        kind = self.number(0, 2)
        if kind == 0:
            return [*self.name(), "in", *self.sum(deep), "..", *self.sum(deep)]
        if kind == 1:
            return [*self.name(), "in", *self.sum(deep)]
        return ["(", *self.several(self.name, 2), ")", "in", *self.sum(deep)]

    def subscripts(self, deep: int) -> Words:
        return ["[", *self.several(lambda: self.subscript(deep)), "]"]

    def subscript(self, deep: int) -> Words:
        if self.number(0, 2):
            return self.expr(deep)
        return [*self.maybe(lambda: self.sum(deep)), "..", *self.maybe(lambda: self.sum(deep))]

    # --- types and declarations ---

    def type(self, deep: int) -> Words:
        words = [self.pick(("real", "bool", "class", "permutation", "int"))]
        for _ in range(self.number(0, 2)):
            words += ["[", *self.several(lambda: self.expr(deep)), "]"]
        return words

    def domain(self, deep: int) -> Words:
        if self.number(0, 1):
            return ["in", "[", *self.expr(deep), ",", *self.expr(deep), "]"]
        name = [self.pick(("simplex", "nonnegative", "interval"))]
        arguments = self.maybe(lambda: self.arguments(deep))
        return ["in", *name, *arguments, *self.maybe(lambda: ["where", *self.expr(deep)])]

    def variable(self, deep: int) -> Words:
        role = self.pick(("observed", "latent", "param", "random"))
        head = ["shared", role] if role == "observed" and self.number(0, 2) == 0 else [role]
        modifiers = [
            self.maybe(lambda: self.domain(deep)),
            self.maybe(lambda: ["missing"]),
            self.maybe(lambda: ["per", self.pick(("batch", "episode"))]),
        ]
        if self.number(0, 1):
            modifiers.reverse()
        flat = [word for words in modifiers for word in words]
        value = ["~", *self.expr(deep)] if role == "random" else self.maybe(lambda: self.value(deep))
        return [*head, *self.name(), ":", *self.type(deep), *flat, *value]

    def value(self, deep: int) -> Words:
        return ["=", *self.expr(deep)]

    def types(self, deep: int) -> Words:
        if self.number(0, 1):
            return self.type(deep)
        return ["(", *self.several(lambda: self.type(deep)), ")"]

    def net(self, deep: int) -> Words:
        head = [
            *self.maybe(lambda: ["extern"]),
            "net",
            *self.name(),
            *self.maybe(lambda: self.subscripts(deep)),
        ]
        return [*head, ":", *self.types(deep), "->", *self.types(deep), *self.maybe(lambda: self.value(deep))]

    def let(self, deep: int) -> Words:
        kind = self.number(0, 3)
        if kind == 0:
            typed = ["let", *self.name(), ":", *self.type(deep)]
            return [*typed, *self.maybe(lambda: self.value(deep))]
        if kind == 1:
            return ["let", *self.name(), *self.subscripts(deep), *self.value(deep)]
        if kind == 2:
            return ["let", "(", *self.several(self.name, 2), ")", *self.value(deep)]
        return ["let", *self.name(), *self.value(deep)]

    def fn(self, deep: int) -> Words:
        parameters = self.several(lambda: [*self.name(), ":", *self.type(deep)], 0)
        result = self.maybe(lambda: ["->", *self.type(deep)])
        return ["fn", *self.name(), "(", *parameters, ")", *result, *self.value(deep)]

    def state(self, deep: int) -> Words:
        if self.number(0, 1):
            return ["update", *self.name(), *self.value(deep)]
        typed = self.maybe(lambda: [":", *self.type(deep)])
        per = self.maybe(lambda: ["per", self.pick(("batch", "episode"))])
        return ["state", *self.name(), *typed, *per, *self.value(deep)]

    def dotted(self) -> Words:
        return [*self.name(), *self.maybe(lambda: [".", *self.name()])]

    def reference(self, deep: int) -> Words:
        subscripts = self.maybe(lambda: self.subscripts(deep))
        return [*self.dotted(), *subscripts, *self.maybe(lambda: self.arguments(deep))]

    def compose(self, deep: int) -> Words:
        bindings = self.maybe(lambda: self.bindings(deep))
        subscripts = self.maybe(lambda: self.subscripts(deep))
        kind = self.number(0, 2)
        if kind == 0:
            return ["part", *self.name(), *subscripts, "=", *self.reference(deep), *bindings]
        words = ["as", *self.name(), *subscripts, *bindings]
        if kind == 1:
            return ["use", *self.reference(deep), *words]
        return ["solve", *self.reference(deep), *words, *self.maybe(lambda: ["using", *self.expr(deep)])]

    # --- terms, plates and questions ---

    def term(self, deep: int) -> Words:
        subscripts = self.maybe(lambda: self.subscripts(deep))
        if self.number(0, 4) == 0:
            return ["subject", "to", *self.name(), *subscripts, ":", *self.expr(deep)]
        head = [*self.maybe(lambda: ["batch"]), self.pick(("energy", "regularizer", "cost"))]
        return [*head, *self.name(), *subscripts, *self.value(deep)]

    def plate(self, deep: int) -> Words:
        if self.number(0, 3) == 0:
            return ["stage", *self.name(), "for", *self.expr(deep), "steps", *self.block(deep)]
        guard = self.maybe(lambda: ["if", *self.expr(deep)])
        return ["for", *self.several(lambda: self.binder(deep)), *guard, *self.block(deep)]

    def block(self, deep: int) -> Words:
        words = ["{", _OPTIONAL_END]
        for at in range(self.number(0, 3)):
            words += [END, *self.statement(deep - 1)] if at else self.statement(deep - 1)
        return [*words, _OPTIONAL_END, "}"]

    def question(self, deep: int) -> Words:
        label = self.maybe(lambda: [*self.name(), ":"])
        names = self.several(self.dotted)
        clauses = [word for _ in range(self.number(0, 3)) for word in self.clause(deep)]
        if self.number(0, 3) == 0:
            relation = self.pick(("=", "~", "with"))
            return ["amortize", *label, *names, relation, *self.expr(deep), *clauses]
        verb = self.pick(("infer", "marginalize", "sample", "train", "plan"))
        return [verb, *label, *(names if self.number(0, 3) else []), *clauses]

    def clause(self, deep: int) -> Words:
        kind = self.number(0, 4)
        if kind == 0:
            return ["given", *self.several(self.dotted)]
        if kind == 1:
            return ["on", *self.name()]
        if kind == 2:
            return ["at", *self.name(), "=", *self.expr(deep)]
        if kind == 3:
            return ["steps", "=", *self.expr(deep)]
        return [self.pick(("of", "by", "using", "every")), *self.expr(deep)]

    def property(self, deep: int) -> Words:
        if self.number(0, 3) == 0:
            return ["schedule", *self.name(), *self.value(deep)]
        head = ["property", *self.name(), ":"]
        if self.number(0, 1):
            return [*head, *self.expr(deep)]
        quantified = self.several(
            lambda: [*self.name(), ":", *self.type(deep), *self.maybe(lambda: self.domain(deep))]
        )
        return [*head, "forall", *quantified, "{", _OPTIONAL_END, *self.expr(deep), _OPTIONAL_END, "}"]

    def statement(self, deep: int) -> Words:
        simple = (self.variable, self.term, self.let, self.net, self.fn, self.state, self.compose)
        rest = (self.question, self.property)
        if deep > 0 and self.number(0, 5) == 0:
            return self.plate(deep)
        return self.pick((*simple, *rest))(max(deep, 0))

    def import_(self) -> Words:
        if self.number(0, 1):
            return ["import", '"parts/b#c.ebm"', "as", *self.name()]
        return ["import", *self.dotted(), *self.maybe(lambda: ["as", *self.name()])]

    def hyper(self, deep: int) -> Words:
        domain = self.maybe(lambda: self.domain(deep))
        return [*self.name(), ":", *self.type(deep), *domain, *self.maybe(lambda: self.value(deep))]

    def hypers(self, deep: int) -> Words:
        return ["(", *self.several(lambda: self.hyper(deep), 0), ")"]

    def module(self) -> Words:
        words: Words = [_OPTIONAL_END]
        for _ in range(self.number(0, 2)):
            words += [*self.import_(), END]
        for at in range(self.number(1, 2)):
            hypers = self.maybe(lambda: self.hypers(1))
            model = ["model", *self.name(), *hypers, *self.block(self.number(1, 3))]
            words += [END, *model] if at else model
        return [*words, _OPTIONAL_END]


def _layout(grammar: _Grammar, words: Words) -> str:
    """The words as text: with spaces, newlines and comments wherever the language lets them stand."""
    text: list[str] = []
    brackets: list[str] = []
    before = ""
    for word in words:
        if word in (END, _OPTIONAL_END):
            if word == END or grammar.number(0, 1):
                text.append(_separator(grammar))
            before = ""
            continue
        free = (brackets and brackets[-1] != "{") or before in _CONTINUES or before in ("and ", "or ")
        if free and grammar.number(0, 11) == 0:
            text.append(_separator(grammar, newline=True))
        else:
            text.append(_space(grammar, before, word))
        if word in "([{":
            brackets.append(word)
        elif word in ")]}":
            brackets.pop()
        text.append(word)
        before = word
    return "".join(text)


def _space(grammar: _Grammar, before: str, word: str) -> str:
    words = before and _sticks(before[-1]) and _sticks(word[0])
    needed = words or (before and (before[-1] in "|.*/<>=-" or word[0] in "|."))
    return grammar.pick(_LAYOUTS[1:] if needed else _LAYOUTS)


def _sticks(character: str) -> bool:
    return character.isalnum() or character in '_."'


def _separator(grammar: _Grammar, newline: bool = False) -> str:
    if not newline and grammar.number(0, 3) == 0:
        return grammar.pick(("; ", " ;", ";;"))
    lines = [
        grammar.pick(_LAYOUTS) + (grammar.pick(_COMMENTS) if grammar.number(0, 2) == 0 else "")
        for _ in range(grammar.number(1, 3))
    ]
    return "\n".join(lines) + "\n" + grammar.pick(_LAYOUTS)


@st.composite
def program_texts(draw: Callable[[st.SearchStrategy[object]], object]) -> str:
    """A program that the grammar accepts, or nearly always: a contextual word may be misplaced."""
    grammar = _Grammar(draw)
    return _layout(grammar, grammar.module())
