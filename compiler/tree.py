"""Grammar reductions to syntax tree nodes: one method per rule of `grammar/ebm.lark`.

The methods get every token of their rule (the parser keeps all of them), which is where spans
come from. The class has no state: it is the table of callbacks that Lark looks names up in.
"""

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


def _cover(c: Children) -> Span:
    first, last = c[0], c[-1]
    start = first.start_pos if isinstance(first, Token) else first.span.start
    end = last.end_pos if isinstance(last, Token) else last.span.end
    return Span(start or 0, end or 0)


def _name(token: Token) -> ast.Identifier:
    # NFKC is what Python applies to identifiers: two spellings of one name are one name.
    text = str(token)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return ast.Identifier(text, token_span(token))


def _only(c: Children, *kinds: type) -> tuple[Any, ...]:
    return tuple(x for x in c if isinstance(x, kinds))


def _first(c: Children, *kinds: type) -> Any:
    for x in c:
        if isinstance(x, kinds):
            return x
    return None


def _tokens(c: Children, kind: str) -> list[Token]:
    return [x for x in c if isinstance(x, Token) and x.type == kind]


def _names(c: Children) -> tuple[ast.Identifier, ...]:
    return tuple(_name(t) for t in _tokens(c, "NAME"))


def _value(c: Children) -> Any:
    """The last child when it is an expression, else None."""
    return None if isinstance(c[-1], Token) else c[-1]


class _Types(tuple[ast.TypeExpr, ...]):
    """The types on one side of an arrow, told apart from other tuples."""

    span: Span


class _Group(tuple[Any, ...]):
    """What stands between brackets, with the span of the brackets."""

    span: Span


def _group(c: Children, items: tuple[Any, ...]) -> _Group:
    group = _Group(items)
    group.span = _cover(c)
    return group


class _Default:
    __slots__ = ("span", "value")

    def __init__(self, value: Any, span: Span) -> None:
        self.value = value
        self.span = span


class _Guard(_Default):
    __slots__ = ()


class _Per:
    __slots__ = ("span", "word")

    def __init__(self, word: ast.Per, span: Span) -> None:
        self.word = word
        self.span = span


class _Missing:
    __slots__ = ("span",)

    def __init__(self, span: Span) -> None:
        self.span = span


class _Block(_Group):
    pass


class _Subscripts(_Group):
    pass


class _Arguments(_Group):
    pass


class _Bindings(_Group):
    pass


class _Binders(_Group):
    pass


class _Names(_Group):
    pass


class _Hypers(_Group):
    pass


def _typed(kind: type[Any], c: Children, items: tuple[Any, ...]) -> Any:
    group = kind(items)
    group.span = _cover(c)
    return group


def _subscripts(c: Children) -> tuple[Any, ...]:
    return tuple(_first(c, _Subscripts) or ())


def _arguments(c: Children) -> tuple[Any, ...]:
    return tuple(_first(c, _Arguments) or ())


def _bindings(c: Children) -> tuple[Any, ...]:
    return tuple(_first(c, _Bindings) or ())


class DuplicateModifier(Exception):
    """The same modifier twice in one declaration; carries the span of the second one."""

    def __init__(self, word: str, span: Span) -> None:
        super().__init__(word)
        self.word = word
        self.span = span


def _single(c: Children, kind: type, word: str) -> Any:
    found = _only(c, kind)
    if len(found) > 1:
        raise DuplicateModifier(word, found[1].span)
    return found[0] if found else None


class Builder:
    """Callbacks for Lark: `rule name -> node`."""

    # --- modules ---

    def module(self, c: Children) -> ast.Module:
        span = _cover(c) if c else Span(0, 0)
        return ast.Module(_only(c, ast.Import), _only(c, ast.Model), (), span)

    def dotted(self, c: Children) -> ast.Dotted:
        return ast.Dotted(_names(c), _cover(c))

    def import_(self, c: Children) -> ast.Import:
        path, files, names = _first(c, ast.Dotted), _tokens(c, "STRING"), _names(c)
        return ast.Import(
            path.parts if path else (),
            str(files[0])[1:-1] if files else None,
            names[0] if names else None,
            "",
            _cover(c),
        )

    def model(self, c: Children) -> ast.Model:
        hypers = _first(c, _Hypers) or ()
        return ast.Model(_name(c[1]), tuple(hypers), tuple(c[-1]), "", _cover(c))

    def hypers(self, c: Children) -> Any:
        return _typed(_Hypers, c, _only(c, ast.Hyper))

    def hyper(self, c: Children) -> ast.Hyper:
        default = _first(c, _Default)
        return ast.Hyper(
            _name(c[0]), c[2], _first(c, ast.DomainExpr), default.value if default else None, _cover(c)
        )

    def default(self, c: Children) -> _Default:
        return _Default(c[1], _cover(c))

    def block(self, c: Children) -> Any:
        return _typed(_Block, c, tuple(x for x in c if not isinstance(x, Token)))

    # --- declarations ---

    def variable_(self, role: ast.Role, c: Children) -> ast.Variable:
        shared = isinstance(c[0], Token) and c[0].type == "SHARED"
        per = _single(c, _Per, "per")
        default = _first(c, _Default)
        init = c[-1] if role == "random" else default.value if default else None
        return ast.Variable(
            role,
            _names(c)[0],
            _first(c, ast.TypeExpr),
            _single(c, ast.DomainExpr, "in"),
            _single(c, _Missing, "missing") is not None,
            shared,
            per.word if per else None,
            init,
            "",
            _cover(c),
        )

    def observed(self, c: Children) -> ast.Variable:
        return self.variable_("observed", c)

    def latent(self, c: Children) -> ast.Variable:
        return self.variable_("latent", c)

    def param(self, c: Children) -> ast.Variable:
        return self.variable_("param", c)

    def random(self, c: Children) -> ast.Variable:
        return self.variable_("random", c)

    def missing(self, c: Children) -> _Missing:
        return _Missing(_cover(c))

    def per(self, c: Children) -> _Per:
        return _Per("batch" if c[1].type == "BATCH" else "episode", _cover(c))

    def type(self, c: Children) -> ast.TypeExpr:
        return ast.TypeExpr(_name(c[0]), tuple(tuple(g) for g in c[1:]), _cover(c))

    def dims(self, c: Children) -> _Group:
        return _group(c, tuple(x for x in c if not isinstance(x, Token)))

    def domain_named(self, c: Children) -> ast.DomainExpr:
        return ast.DomainExpr(_name(c[1]), _arguments(c), _value(c) if len(c) > 3 else None, _cover(c))

    def domain_interval(self, c: Children) -> ast.DomainExpr:
        low, high = (x for x in c if not isinstance(x, Token))
        sides = tuple(ast.Argument(None, x, x.span) for x in (low, high))
        return ast.DomainExpr(
            ast.Identifier("interval", span_of(c[1]).to(span_of(c[-1]))), sides, None, _cover(c)
        )

    def net(self, c: Children) -> ast.Net:
        inputs, outputs = _only(c, _Types)
        default = _first(c, _Default)
        return ast.Net(
            c[0].type == "EXTERN",
            _names(c)[0],
            _subscripts(c),
            tuple(inputs),
            tuple(outputs),
            default.value if default else None,
            "",
            _cover(c),
        )

    def signature_types(self, c: Children) -> Any:
        return _typed(_Types, c, _only(c, ast.TypeExpr))

    def let_value(self, c: Children) -> ast.Let:
        default = _first(c, _Default)
        return ast.Let(
            _name(c[1]), _first(c, ast.TypeExpr), default.value if default else None, "", _cover(c)
        )

    def let_cell(self, c: Children) -> ast.LetCell:
        return ast.LetCell(_name(c[1]), tuple(c[2]), c[-1], "", _cover(c))

    def let_tuple(self, c: Children) -> ast.LetTuple:
        return ast.LetTuple(_names(c), c[-1], "", _cover(c))

    def fn(self, c: Children) -> ast.Fn:
        return ast.Fn(_name(c[1]), _only(c, ast.Parameter), _first(c, ast.TypeExpr), c[-1], "", _cover(c))

    def fn_parameter(self, c: Children) -> ast.Parameter:
        return ast.Parameter(_name(c[0]), c[2], _cover(c))

    def state(self, c: Children) -> ast.StateDecl:
        per = _first(c, _Per)
        return ast.StateDecl(
            _name(c[1]), _first(c, ast.TypeExpr), per.word if per else None, c[-1], "", _cover(c)
        )

    def update(self, c: Children) -> ast.Update:
        return ast.Update(_name(c[1]), c[-1], "", _cover(c))

    def part(self, c: Children) -> ast.Part:
        return ast.Part(_name(c[1]), _subscripts(c), _first(c, ast.Reference), _bindings(c), "", _cover(c))

    def use(self, c: Children) -> ast.Compose:
        return ast.Compose("use", c[1], _names(c)[0], _subscripts(c), _bindings(c), None, "", _cover(c))

    def solve(self, c: Children) -> ast.Compose:
        using = c[-1] if _tokens(c, "USING") else None
        return ast.Compose("solve", c[1], _names(c)[0], _subscripts(c), _bindings(c), using, "", _cover(c))

    def reference(self, c: Children) -> ast.Reference:
        return ast.Reference(c[0].parts, _subscripts(c), _arguments(c), _cover(c))

    def with_(self, c: Children) -> Any:
        return _typed(_Bindings, c, _only(c, ast.Binding))

    def binding(self, c: Children) -> ast.Binding:
        return ast.Binding(_name(c[0]), c[2], _cover(c))

    # --- terms and plates ---

    def term(self, c: Children) -> ast.Term:
        batch = c[0].type == "BATCH"
        kind = c[1] if batch else c[0]
        return ast.Term(
            str(kind),  # type: ignore[arg-type]
            batch,
            _names(c)[0],
            _subscripts(c),
            c[-1],
            "",
            _cover(c),
        )

    def subject(self, c: Children) -> ast.Subject:
        return ast.Subject(_names(c)[0], _subscripts(c), c[-1], "", _cover(c))

    def plate(self, c: Children) -> ast.Plate:
        guard = _first(c, _Guard)
        return ast.Plate(tuple(c[1]), guard.value if guard else None, tuple(c[-1]), "", _cover(c))

    def binders(self, c: Children) -> Any:
        return _typed(_Binders, c, _only(c, ast.Binder))

    def binder_range(self, c: Children) -> ast.Binder:
        start, stop = c[2]
        return ast.Binder(_names(c), start, stop, None, _cover(c))

    def binder_rows(self, c: Children) -> ast.Binder:
        return ast.Binder(_names(c), None, None, c[-1], _cover(c))

    def range(self, c: Children) -> _Group:
        return _group(c, (c[0], c[2]))

    def guard(self, c: Children) -> _Guard:
        return _Guard(c[1], _cover(c))

    # --- questions ---

    def question(self, c: Children) -> ast.Question:
        label = _first(c, ast.Identifier)
        targets = tuple(_first(c, _Names) or ())
        return ast.Question(
            str(c[0]),  # type: ignore[arg-type]
            label,
            targets,
            None,
            None,
            _only(c, ast.Clause),
            "",
            _cover(c),
        )

    def amortize(self, c: Children) -> ast.Question:
        at = next(i for i, x in enumerate(c) if isinstance(x, Token) and i > 0)
        return ast.Question(
            "amortize",
            _first(c, ast.Identifier),
            tuple(_first(c, _Names)),
            str(c[at]),
            c[at + 1],
            _only(c, ast.Clause),
            "",
            _cover(c),
        )

    def label(self, c: Children) -> ast.Identifier:
        return _name(c[0])

    def names(self, c: Children) -> Any:
        return _typed(_Names, c, _only(c, ast.Dotted))

    def clause(self, c: Children) -> ast.Clause:
        word = str(c[0])
        if word == "given":
            return ast.Clause(word, None, tuple(c[1]), None, _cover(c))
        names = _names(c)
        value = _value(c)
        if word == "by" and value is None:
            # `by energy` names a loss; elsewhere the word begins a term.
            value = ast.Name(str(c[1]), span_of(c[1]))
        return ast.Clause(word, value, (), names[0] if names else None, _cover(c))

    clause_of = clause_given = clause_by = clause_using = clause
    clause_on = clause_every = clause_at = clause_steps = clause

    def schedule(self, c: Children) -> ast.Schedule:
        return ast.Schedule(_name(c[1]), c[-1], "", _cover(c))

    def stage(self, c: Children) -> ast.Stage:
        return ast.Stage(_name(c[1]), c[3], tuple(c[-1]), "", _cover(c))

    def property(self, c: Children) -> ast.Property:
        claim = next(x for x in reversed(c) if not isinstance(x, Token))
        return ast.Property(_names(c)[0], _only(c, ast.Quantified), claim, "", _cover(c))

    def quantified(self, c: Children) -> ast.Quantified:
        return ast.Quantified(_name(c[0]), c[2], _first(c, ast.DomainExpr), _cover(c))

    # --- expressions ---

    def binary(self, c: Children) -> ast.Binary:
        left, op, right = c
        return ast.Binary(
            str(op),
            left,
            right,
            Span(op.start_pos, op.end_pos),
            Span(left.span.start, right.span.end),
        )

    def unary(self, c: Children) -> ast.Unary:
        return ast.Unary(str(c[0]), c[1], Span(c[0].start_pos, c[1].span.end))

    def call(self, c: Children) -> ast.Call:
        return ast.Call(_name(c[0]), tuple(c[1]), _cover(c))

    def call_entry(self, c: Children) -> ast.CallEntry:
        entry = ast.Index(c[0], tuple(c[1]), _cover(c[:2]))
        return ast.CallEntry(entry, tuple(c[2]), _cover(c))

    def call_args(self, c: Children) -> Any:
        items = tuple(
            x if isinstance(x, ast.Argument) else ast.Argument(None, x, x.span)
            for x in c
            if not isinstance(x, Token)
        )
        return _typed(_Arguments, c, items)

    def text(self, c: Children) -> ast.Text:
        return ast.Text(str(c[0])[1:-1], _cover(c))

    def named_argument(self, c: Children) -> ast.Argument:
        value = ast.OverBatch(span_of(c[2])) if isinstance(c[2], Token) else c[2]
        return ast.Argument(_name(c[0]), value, _cover(c))

    def reduction(self, c: Children) -> ast.Reduction:
        guard = _first(c, _Guard)
        return ast.Reduction(_only(c, ast.Binder), guard.value if guard else None, _cover(c))

    def index(self, c: Children) -> ast.Index:
        return ast.Index(c[0], tuple(c[1]), _cover(c))

    def subscripts(self, c: Children) -> Any:
        return _typed(_Subscripts, c, tuple(x for x in c if not isinstance(x, Token)))

    def slice(self, c: Children) -> ast.Slice:
        at = next(i for i, x in enumerate(c) if isinstance(x, Token))
        return ast.Slice(c[0] if at else None, c[-1] if at < len(c) - 1 else None, _cover(c))

    def attribute(self, c: Children) -> ast.Attribute:
        return ast.Attribute(c[0], _name(c[2]), _cover(c))

    def number(self, c: Children) -> ast.Number:
        return ast.Number(str(c[0]), _cover(c))

    def name(self, c: Children) -> ast.Name:
        identifier = _name(c[0])
        return ast.Name(identifier.text, identifier.span)

    def parenthesised(self, c: Children) -> ast.Parenthesised:
        return ast.Parenthesised(c[1], _cover(c))

    def substitution(self, c: Children) -> ast.Substitution:
        return ast.Substitution(c[1], tuple(c[2]), _cover(c))

    def list(self, c: Children) -> ast.ListExpr:
        return ast.ListExpr(tuple(x for x in c if not isinstance(x, Token)), _cover(c))

    def absolute(self, c: Children) -> ast.Absolute:
        return ast.Absolute(c[1], _cover(c))

    def norm(self, c: Children) -> ast.Norm:
        order = "2" if c[2].type == "DBAR" else str(c[2])[3:]
        return ast.Norm(c[1], order, _cover(c))
