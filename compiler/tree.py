"""Grammar reductions to syntax tree nodes: one method per rule of `grammar/ebm.lark`.

The methods get every token of their rule (the parser keeps all of them), which is where spans
come from. The class has no state: it is the table of callbacks that Lark looks names up in.
"""

from __future__ import annotations

from typing import Any

from lark import Token

from ebmlang.compiler import ast
from ebmlang.compiler.source import Span
from ebmlang.compiler.tree_groups import (
    Arguments,
    Binders,
    Bindings,
    Block,
    Children,
    Default,
    Group,
    Guard,
    Hypers,
    Missing,
    Names,
    Per,
    Subscripts,
    Types,
    arguments,
    bindings,
    cover,
    first,
    group,
    grouped,
    identifier,
    identifiers,
    last_value,
    only,
    single,
    span_of,
    subscripts,
    tokens,
)


class Builder:
    """Callbacks for Lark: `rule name -> node`."""

    # --- modules ---

    def module(self, c: Children) -> ast.Module:
        span = cover(c) if c else Span(0, 0)
        return ast.Module(only(c, ast.Import), only(c, ast.Model), (), span)

    def dotted(self, c: Children) -> ast.Dotted:
        return ast.Dotted(identifiers(c), cover(c))

    def import_(self, c: Children) -> ast.Import:
        path, files, names = first(c, ast.Dotted), tokens(c, "STRING"), identifiers(c)
        return ast.Import(
            path.parts if path else (),
            str(files[0])[1:-1] if files else None,
            names[0] if names else None,
            "",
            cover(c),
        )

    def model(self, c: Children) -> ast.Model:
        hypers = first(c, Hypers) or ()
        return ast.Model(identifier(c[1]), tuple(hypers), tuple(c[-1]), "", cover(c))

    def hypers(self, c: Children) -> Any:
        return grouped(Hypers, c, only(c, ast.Hyper))

    def hyper(self, c: Children) -> ast.Hyper:
        default = first(c, Default)
        return ast.Hyper(
            identifier(c[0]), c[2], first(c, ast.DomainExpr), default.value if default else None, cover(c)
        )

    def default(self, c: Children) -> Default:
        return Default(c[1], cover(c))

    def block(self, c: Children) -> Any:
        return grouped(Block, c, tuple(x for x in c if not isinstance(x, Token)))

    # --- declarations ---

    def variable_(self, role: ast.Role, c: Children) -> ast.Variable:
        shared = isinstance(c[0], Token) and c[0].type == "SHARED"
        per = single(c, Per, "per")
        default = first(c, Default)
        init = c[-1] if role == "random" else default.value if default else None
        return ast.Variable(
            role,
            identifiers(c)[0],
            first(c, ast.TypeExpr),
            single(c, ast.DomainExpr, "in"),
            single(c, Missing, "missing") is not None,
            shared,
            per.word if per else None,
            init,
            "",
            cover(c),
        )

    def observed(self, c: Children) -> ast.Variable:
        return self.variable_("observed", c)

    def latent(self, c: Children) -> ast.Variable:
        return self.variable_("latent", c)

    def param(self, c: Children) -> ast.Variable:
        return self.variable_("param", c)

    def random(self, c: Children) -> ast.Variable:
        return self.variable_("random", c)

    def missing(self, c: Children) -> Missing:
        return Missing(cover(c))

    def per(self, c: Children) -> Per:
        return Per("batch" if c[1].type == "BATCH" else "episode", cover(c))

    def type(self, c: Children) -> ast.TypeExpr:
        return ast.TypeExpr(identifier(c[0]), tuple(tuple(g) for g in c[1:]), cover(c))

    def dims(self, c: Children) -> Group:
        return group(c, tuple(x for x in c if not isinstance(x, Token)))

    def domain_named(self, c: Children) -> ast.DomainExpr:
        return ast.DomainExpr(identifier(c[1]), arguments(c), last_value(c) if len(c) > 3 else None, cover(c))

    def domain_interval(self, c: Children) -> ast.DomainExpr:
        low, high = (x for x in c if not isinstance(x, Token))
        sides = tuple(ast.Argument(None, x, x.span) for x in (low, high))
        return ast.DomainExpr(
            ast.Identifier("interval", span_of(c[1]).to(span_of(c[-1]))), sides, None, cover(c)
        )

    def net(self, c: Children) -> ast.Net:
        inputs, outputs = only(c, Types)
        default = first(c, Default)
        return ast.Net(
            c[0].type == "EXTERN",
            identifiers(c)[0],
            subscripts(c),
            tuple(inputs),
            tuple(outputs),
            default.value if default else None,
            "",
            cover(c),
        )

    def signature_types(self, c: Children) -> Any:
        return grouped(Types, c, only(c, ast.TypeExpr))

    def let_value(self, c: Children) -> ast.Let:
        default = first(c, Default)
        return ast.Let(
            identifier(c[1]), first(c, ast.TypeExpr), default.value if default else None, "", cover(c)
        )

    def let_cell(self, c: Children) -> ast.LetCell:
        return ast.LetCell(identifier(c[1]), tuple(c[2]), c[-1], "", cover(c))

    def let_tuple(self, c: Children) -> ast.LetTuple:
        return ast.LetTuple(identifiers(c), c[-1], "", cover(c))

    def fn(self, c: Children) -> ast.Fn:
        return ast.Fn(identifier(c[1]), only(c, ast.Parameter), first(c, ast.TypeExpr), c[-1], "", cover(c))

    def fn_parameter(self, c: Children) -> ast.Parameter:
        return ast.Parameter(identifier(c[0]), c[2], cover(c))

    def state(self, c: Children) -> ast.StateDecl:
        per = first(c, Per)
        return ast.StateDecl(
            identifier(c[1]), first(c, ast.TypeExpr), per.word if per else None, c[-1], "", cover(c)
        )

    def update(self, c: Children) -> ast.Update:
        return ast.Update(identifier(c[1]), c[-1], "", cover(c))

    def part(self, c: Children) -> ast.Part:
        return ast.Part(identifier(c[1]), subscripts(c), first(c, ast.Reference), bindings(c), "", cover(c))

    def use(self, c: Children) -> ast.Compose:
        return ast.Compose("use", c[1], identifiers(c)[0], subscripts(c), bindings(c), None, "", cover(c))

    def solve(self, c: Children) -> ast.Compose:
        using = c[-1] if tokens(c, "USING") else None
        return ast.Compose("solve", c[1], identifiers(c)[0], subscripts(c), bindings(c), using, "", cover(c))

    def reference(self, c: Children) -> ast.Reference:
        return ast.Reference(c[0].parts, subscripts(c), arguments(c), cover(c))

    def with_(self, c: Children) -> Any:
        return grouped(Bindings, c, only(c, ast.Binding))

    def binding(self, c: Children) -> ast.Binding:
        return ast.Binding(identifier(c[0]), c[2], cover(c))

    # --- terms and plates ---

    def term(self, c: Children) -> ast.Term:
        batch = c[0].type == "BATCH"
        kind = c[1] if batch else c[0]
        return ast.Term(
            str(kind),  # type: ignore[arg-type]
            batch,
            identifiers(c)[0],
            subscripts(c),
            c[-1],
            "",
            cover(c),
        )

    def subject(self, c: Children) -> ast.Subject:
        return ast.Subject(identifiers(c)[0], subscripts(c), c[-1], "", cover(c))

    def plate(self, c: Children) -> ast.Plate:
        guard = first(c, Guard)
        return ast.Plate(tuple(c[1]), guard.value if guard else None, tuple(c[-1]), "", cover(c))

    def binders(self, c: Children) -> Any:
        return grouped(Binders, c, only(c, ast.Binder))

    def binder_range(self, c: Children) -> ast.Binder:
        start, stop = c[2]
        return ast.Binder(identifiers(c), start, stop, None, cover(c))

    def binder_rows(self, c: Children) -> ast.Binder:
        return ast.Binder(identifiers(c), None, None, c[-1], cover(c))

    def range(self, c: Children) -> Group:
        return group(c, (c[0], c[2]))

    def guard(self, c: Children) -> Guard:
        return Guard(c[1], cover(c))

    # --- questions ---

    def question(self, c: Children) -> ast.Question:
        label = first(c, ast.Identifier)
        targets = tuple(first(c, Names) or ())
        return ast.Question(
            str(c[0]),  # type: ignore[arg-type]
            label,
            targets,
            None,
            None,
            only(c, ast.Clause),
            "",
            cover(c),
        )

    def amortize(self, c: Children) -> ast.Question:
        at = next(i for i, x in enumerate(c) if isinstance(x, Token) and i > 0)
        return ast.Question(
            "amortize",
            first(c, ast.Identifier),
            tuple(first(c, Names)),
            str(c[at]),
            c[at + 1],
            only(c, ast.Clause),
            "",
            cover(c),
        )

    def label(self, c: Children) -> ast.Identifier:
        return identifier(c[0])

    def names(self, c: Children) -> Any:
        return grouped(Names, c, only(c, ast.Dotted))

    def clause(self, c: Children) -> ast.Clause:
        word = str(c[0])
        if word == "given":
            return ast.Clause(word, None, tuple(c[1]), None, cover(c))
        names = identifiers(c)
        value = last_value(c)
        if word == "by" and value is None:
            # `by energy` names a loss; elsewhere the word begins a term.
            value = ast.Name(str(c[1]), span_of(c[1]))
        return ast.Clause(word, value, (), names[0] if names else None, cover(c))

    clause_of = clause_given = clause_by = clause_using = clause
    clause_on = clause_every = clause_at = clause_steps = clause

    def schedule(self, c: Children) -> ast.Schedule:
        return ast.Schedule(identifier(c[1]), c[-1], "", cover(c))

    def stage(self, c: Children) -> ast.Stage:
        return ast.Stage(identifier(c[1]), c[3], tuple(c[-1]), "", cover(c))

    def property(self, c: Children) -> ast.Property:
        claim = next(x for x in reversed(c) if not isinstance(x, Token))
        return ast.Property(identifiers(c)[0], only(c, ast.Quantified), claim, "", cover(c))

    def quantified(self, c: Children) -> ast.Quantified:
        return ast.Quantified(identifier(c[0]), c[2], first(c, ast.DomainExpr), cover(c))

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
        return ast.Call(identifier(c[0]), tuple(c[1]), cover(c))

    def call_entry(self, c: Children) -> ast.CallEntry:
        entry = ast.Index(c[0], tuple(c[1]), cover(c[:2]))
        return ast.CallEntry(entry, tuple(c[2]), cover(c))

    def call_args(self, c: Children) -> Any:
        items = tuple(
            x if isinstance(x, ast.Argument) else ast.Argument(None, x, x.span)
            for x in c
            if not isinstance(x, Token)
        )
        return grouped(Arguments, c, items)

    def text(self, c: Children) -> ast.Text:
        return ast.Text(str(c[0])[1:-1], cover(c))

    def named_argument(self, c: Children) -> ast.Argument:
        value = ast.OverBatch(span_of(c[2])) if isinstance(c[2], Token) else c[2]
        return ast.Argument(identifier(c[0]), value, cover(c))

    def reduction(self, c: Children) -> ast.Reduction:
        guard = first(c, Guard)
        return ast.Reduction(only(c, ast.Binder), guard.value if guard else None, cover(c))

    def index(self, c: Children) -> ast.Index:
        return ast.Index(c[0], tuple(c[1]), cover(c))

    def subscripts(self, c: Children) -> Any:
        return grouped(Subscripts, c, tuple(x for x in c if not isinstance(x, Token)))

    def slice(self, c: Children) -> ast.Slice:
        at = next(i for i, x in enumerate(c) if isinstance(x, Token))
        return ast.Slice(c[0] if at else None, c[-1] if at < len(c) - 1 else None, cover(c))

    def attribute(self, c: Children) -> ast.Attribute:
        return ast.Attribute(c[0], identifier(c[2]), cover(c))

    def number(self, c: Children) -> ast.Number:
        return ast.Number(str(c[0]), cover(c))

    def name(self, c: Children) -> ast.Name:
        found = identifier(c[0])
        return ast.Name(found.text, found.span)

    def parenthesised(self, c: Children) -> ast.Parenthesised:
        return ast.Parenthesised(c[1], cover(c))

    def substitution(self, c: Children) -> ast.Substitution:
        return ast.Substitution(c[1], only(c, ast.Binding), cover(c))

    def replacement(self, c: Children) -> ast.Binding:
        return ast.Binding(ast.Identifier(c[0].text, c[0].span), c[2], cover(c))

    def list(self, c: Children) -> ast.ListExpr:
        return ast.ListExpr(tuple(x for x in c if not isinstance(x, Token)), cover(c))

    def absolute(self, c: Children) -> ast.Absolute:
        return ast.Absolute(c[1], cover(c))

    def norm(self, c: Children) -> ast.Norm:
        order = "2" if c[2].type == "DBAR" else str(c[2])[3:]
        return ast.Norm(c[1], order, cover(c))
