"""What rules of the grammar hand to each other before a node of the syntax tree is made."""

from __future__ import annotations

import unicodedata
from typing import Any

from lark import Token

from ebmlang.compiler import ast
from ebmlang.compiler.source import Span

Children = list[Any]


def span_of(item: Any) -> Span:
    found: Span = token_span(item) if isinstance(item, Token) else item.span
    return found


def token_span(token: Token) -> Span:
    """Where a token stands; tokens from the lexer always know."""
    return Span(token.start_pos or 0, token.end_pos or 0)


def cover(c: Children) -> Span:
    first, last = c[0], c[-1]
    start = first.start_pos if isinstance(first, Token) else first.span.start
    end = last.end_pos if isinstance(last, Token) else last.span.end
    return Span(start or 0, end or 0)


def identifier(token: Token) -> ast.Identifier:
    # NFKC is what Python applies to identifiers: two spellings of one name are one name.
    text = str(token)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return ast.Identifier(text, token_span(token))


def only(c: Children, *kinds: type) -> tuple[Any, ...]:
    return tuple(x for x in c if isinstance(x, kinds))


def first(c: Children, *kinds: type) -> Any:
    for x in c:
        if isinstance(x, kinds):
            return x
    return None


def tokens(c: Children, kind: str) -> list[Token]:
    return [x for x in c if isinstance(x, Token) and x.type == kind]


def identifiers(c: Children) -> tuple[ast.Identifier, ...]:
    return tuple(identifier(t) for t in tokens(c, "NAME"))


def last_value(c: Children) -> Any:
    """The last child when it is an expression, else None."""
    return None if isinstance(c[-1], Token) else c[-1]


class Types(tuple[ast.TypeExpr, ...]):
    """The types on one side of an arrow, told apart from other tuples."""

    span: Span


class Group(tuple[Any, ...]):
    """What stands between brackets, with the span of the brackets."""

    span: Span


def group(c: Children, items: tuple[Any, ...]) -> Group:
    group = Group(items)
    group.span = cover(c)
    return group


class Default:
    __slots__ = ("span", "value")

    def __init__(self, value: Any, span: Span) -> None:
        self.value = value
        self.span = span


class Guard(Default):
    __slots__ = ()


class Per:
    __slots__ = ("span", "word")

    def __init__(self, word: ast.Per, span: Span) -> None:
        self.word = word
        self.span = span


class Missing:
    __slots__ = ("span",)

    def __init__(self, span: Span) -> None:
        self.span = span


class Block(Group):
    pass


class Subscripts(Group):
    pass


class Arguments(Group):
    pass


class Bindings(Group):
    pass


class Binders(Group):
    pass


class Names(Group):
    pass


class Hypers(Group):
    pass


def grouped(kind: type[Any], c: Children, items: tuple[Any, ...]) -> Any:
    group = kind(items)
    group.span = cover(c)
    return group


def subscripts(c: Children) -> tuple[Any, ...]:
    return tuple(first(c, Subscripts) or ())


def arguments(c: Children) -> tuple[Any, ...]:
    return tuple(first(c, Arguments) or ())


def bindings(c: Children) -> tuple[Any, ...]:
    return tuple(first(c, Bindings) or ())


class DuplicateModifier(Exception):
    """The same modifier twice in one declaration; carries the span of the second one."""

    def __init__(self, word: str, span: Span) -> None:
        super().__init__(word)
        self.word = word
        self.span = span


def single(c: Children, kind: type, word: str) -> Any:
    found = only(c, kind)
    if len(found) > 1:
        raise DuplicateModifier(word, found[1].span)
    return found[0] if found else None
