"""Texts to syntax trees: golden trees, precedence, comments, spans, words that are free."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from ebmlang.compiler import ast
from ebmlang.compiler.diagnostics import Report, render_all
from ebmlang.compiler.parse import grammar_text, parse, reserved_words
from ebmlang.compiler.source import Source, Span
from ebmlang.compiler.syntax_words import HEADS
from tests.conftest import Golden

FOLDER = Path(__file__).parent / "passes" / "parse"
PROGRAMS = sorted(FOLDER.glob("*.ebm"))


def parsed(text: str) -> ast.Module:
    report = Report(Source("test.ebm", text))
    module = parse(report)
    assert module is not None, render_all(report.diagnostics)
    assert not report.diagnostics, render_all(report.diagnostics)
    return module


def statements(text: str) -> tuple[ast.Statement, ...]:
    return parsed(f"model m {{\n{text}\n}}\n").models[0].body


def value(text: str) -> ast.Expr:
    (term,) = statements(f"energy a = {text}")
    assert isinstance(term, ast.Term)
    return term.value


def children(node: Any) -> list[Any]:
    """The nodes right below a node."""
    found: list[Any] = []
    todo: list[Any] = [getattr(node, item.name) for item in fields(node)]
    while todo:
        item = todo.pop()
        if isinstance(item, tuple) and not isinstance(item, Span):
            todo += item
        elif is_dataclass(item):
            found.append(item)
    return found


def nodes(*trees: Any) -> list[Any]:
    """Every node of some trees."""
    found: list[Any] = list(trees)
    for node in found:
        found += children(node)
    return found


# --- golden trees -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_trees(path: Path, golden: Golden) -> None:
    golden(path.with_suffix(".expected"), ast.dump(parsed(path.read_text(encoding="utf-8"))) + "\n")


def test_every_node_kind_is_in_a_golden_tree() -> None:
    kinds = {kind for kind in vars(ast).values() if isinstance(kind, type) and is_dataclass(kind)}
    seen = {type(node) for path in PROGRAMS for node in nodes(parsed(path.read_text(encoding="utf-8")))}
    # A component of a tuple is made after parsing, from `let (a, b) = f(x)`.
    assert kinds - seen <= {ast.Comment, ast.Component}
    assert set(get_args(ast.Statement)) <= seen


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_spans(path: Path) -> None:
    """A span holds the text of its node, and those of its children lie inside."""
    text = path.read_text(encoding="utf-8")
    for node in nodes(parsed(text)):
        shown = text[node.span.start : node.span.end]
        assert shown
        assert shown == shown.strip() or isinstance(node, ast.Module)
        if isinstance(node, ast.Name | ast.Number) or (
            isinstance(node, ast.Identifier) and node.text != "interval"
        ):
            assert shown == node.text
        if isinstance(node, ast.Binary):
            assert text[node.op_span.start : node.op_span.end] == node.op
        for child in children(node):
            assert node.span.start <= child.span.start
            assert child.span.end <= node.span.end


def test_dump_leaves_out_what_is_absent() -> None:
    assert ast.dump(value("x + 1")) == ("Binary\n  op: '+'\n  left:\n    Name x\n  right:\n    Number 1")


# --- expressions --------------------------------------------------------------------------------


def grouped(node: object) -> str:
    """An expression with every grouping written out."""
    match node:
        case ast.Number() | ast.Name():
            return node.text
        case ast.Unary():
            return f"({node.op}{grouped(node.operand)})"
        case ast.Binary():
            return f"({grouped(node.left)} {node.op} {grouped(node.right)})"
        case ast.Attribute():
            return f"{grouped(node.base)}.{node.name.text}"
        case ast.Index():
            return f"{grouped(node.base)}[{', '.join(map(grouped, node.subscripts))}]"
        case ast.Call():
            return f"{node.function.text}({', '.join(grouped(x.value) for x in node.arguments)})"
        case ast.Absolute():
            return f"abs({grouped(node.inner)})"
        case ast.Norm():
            return f"norm{node.order}({grouped(node.inner)})"
        case ast.Parenthesised():
            return grouped(node.inner)
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("-x^2", "(-(x ^ 2))"),
        ("x^-y^2", "(x ^ (-(y ^ 2)))"),
        ("x^y^z", "(x ^ (y ^ z))"),
        ("-x.T", "(-x.T)"),
        ("x.T^2", "(x.T ^ 2)"),
        ("x[0].T[1]", "x[0].T[1]"),
        ("f(x).T", "f(x).T"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b * c @ d // e % f", "(((((a / b) * c) @ d) // e) % f)"),
        ("a + b * c", "(a + (b * c))"),
        ("-a * -b", "((-a) * (-b))"),
        ("a * b^c", "(a * (b ^ c))"),
        ("a + b < c * d", "((a + b) < (c * d))"),
        ("a < b and c == d or e", "(((a < b) and (c == d)) or e)"),
        ("1/2 * x", "((1 / 2) * x)"),
        ("|a| * |b|", "(abs(a) * abs(b))"),
        ("||a - |b| ||_1^2", "(norm1((a - abs(b))) ^ 2)"),
        ("2 * ||x||^2", "(2 * (norm2(x) ^ 2))"),
        ("- - x", "(-(-x))"),
    ],
)
def test_precedence(text: str, meaning: str) -> None:
    assert grouped(value(text)) == meaning


@pytest.mark.parametrize("text", ["0", "12", "1_000", "1.", ".5", "0.5", "1e3", "1E-3", "2.5e+10"])
def test_numbers(text: str) -> None:
    assert value(text) == ast.Number(text)


def test_ranges_are_not_decimals() -> None:
    assert value("x[1..2]") == ast.Index(ast.Name("x"), (ast.Slice(ast.Number("1"), ast.Number("2")),))


# --- lines --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "energy a = 1 + 2\nenergy b = 3",
        "energy a =\n  1 +\n\n  2 ; energy b = 3 ;",
        "\n;;\n energy a = 1 + # note\n 2\n;# note\nenergy b = 3\n\n",
        "energy a = 1 +\r\n2\r\nenergy b = 3\r\n",
        "\tenergy a = 1 + 2;energy b = 3",
    ],
)
def test_statement_ends(text: str) -> None:
    assert statements(text) == statements("energy a = 1 + 2\nenergy b = 3")


def test_lines_go_on_in_brackets() -> None:
    assert value("f(\n x,\n\n # note\n y\n)") == value("f(x, y)")
    assert value("(x # note\n  + y)") == value("(x + y)")
    assert value("x[\n0\n]") == value("x[0]")


def test_lines_go_on_after_operators() -> None:
    for op in ("+", "-", "*", "/", "//", "%", "@", "^", "<", "<=", "==", "!=", "~=", "and", "or"):
        assert value(f"x {op}\n  y") == value(f"x {op} y")


def test_blocks_on_one_line() -> None:
    one = parsed("model m { for i in 0..n { energy a[i] = 1; energy b[i] = 2 } }")
    assert one == parsed("model m {\n  for i in 0..n {\n energy a[i] = 1\n energy b[i] = 2\n}\n}\n")
    assert parsed("model m {}").models[0].body == ()


# --- words --------------------------------------------------------------------------------------


def test_reserved_words() -> None:
    assert set(reserved_words()) == {*HEADS, "in", "if", "with", "as"}
    for word in reserved_words():
        report = Report(Source("test.ebm", f"model m {{ let {word} = 1 }}"))
        parse(report)
        assert [x.diagnostic.code for x in report.diagnostics] == ["E0104"], word


FREE = (
    *("data", "fit", "step", "move", "entropy", "final", "total", "None", "true", "interval"),
    *("of", "given", "by", "using", "on", "every", "at", "steps", "to", "missing", "per", "where"),
    *("forall", "and", "or", "batch_", "episode", "pi", "α", "Δx", "naïve", "x1", "_", "__"),
)


@pytest.mark.parametrize("word", FREE)
def test_free_words(word: str) -> None:
    body = statements(f"latent {word} : real\nenergy a = {word} + 2 * {word}^2\nlet {word} = {word}")
    assert isinstance(body[0], ast.Variable)
    assert body[0].name.text == word


def test_names_are_normalised_as_in_python() -> None:
    # The angstrom sign and the letter are one name: NFKC.
    (term,) = statements("energy \u212b = 1")
    assert isinstance(term, ast.Term)
    assert term.name.text == "\u00c5"


def test_the_grammar_is_the_only_place_of_the_reserved_words() -> None:
    assert '"observed"' in grammar_text()


# --- comments -----------------------------------------------------------------------------------

COMMENTED = """# licence
## First line.
##   second line
model m {  # after the brace
  ## Of y.
  observed y : real

  ## Not of z, since

  # this is below and so is z
  latent z : real ## trailing, so not of the term
  energy a = f(# inside
    1)
  for i in 0..n {
    ## In a plate.
    energy b[i] = 1
  }
}
# end
"""


def test_docs() -> None:
    (model,) = parsed(COMMENTED).models
    assert model.doc == "First line.\nsecond line"
    docs = [node.doc for node in nodes(*model.body) if isinstance(node, ast.Variable | ast.Term)]
    assert set(docs) == {"Of y.", "Not of z, since", "", "In a plate."}
    y, _z, a, _plate = model.body
    assert isinstance(y, ast.Variable)
    assert y.doc == "Of y."
    assert isinstance(a, ast.Term)
    assert a.doc == ""


def test_comments_are_kept_in_order() -> None:
    module = parsed(COMMENTED)
    lines = [line[line.index("#") :].rstrip() for line in COMMENTED.splitlines() if "#" in line]
    assert [comment.text for comment in module.comments] == lines
    own = [comment.text for comment in module.comments if comment.own_line]
    assert "# after the brace" not in own
    assert "# end" in own
    for comment in module.comments:
        assert COMMENTED[comment.span.start : comment.span.end] == comment.text


def test_a_hash_in_a_file_name_is_no_comment() -> None:
    module = parsed('import "a#b.ebm" as c\nmodel m {}\n')
    assert module.comments == ()
    assert module.imports[0].file == "a#b.ebm"


def test_equality_leaves_out_places_and_comments() -> None:
    assert parsed("model m { energy a = 1 }") == parsed("# note\nmodel   m {\n\n energy a=1 # note\n}")
    assert parsed("model m { energy a = 1 }") != parsed("model m { energy a = 2 }")


# --- many mistakes ------------------------------------------------------------------------------


def test_the_rest_of_a_broken_file_is_read() -> None:
    report = Report(
        Source("test.ebm", "model a {\n  energy = 1\n  energy b = 2\n}\nmodel c { energy d = 3 }\n")
    )
    module = parse(report)
    assert len(report.errors) == 1
    assert module is not None
    assert [model.name.text for model in module.models] == ["a", "c"]
    assert len(module.models[0].body) == 1
