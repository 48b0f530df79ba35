"""The formatter: golden layouts, and laws for every program that the grammar can say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebmlang.compiler import ast
from ebmlang.compiler.diagnostics import Report, render_all
from ebmlang.compiler.format import format_module
from ebmlang.compiler.formatting.layout import WIDTH
from ebmlang.compiler.formatting.statements import PARTS
from ebmlang.compiler.parse import parse
from ebmlang.compiler.source import Source
from tests.conftest import Golden
from tests.properties.programs import program_texts
from tests.test_parse import nodes

ROOT = Path(__file__).parent.parent.parent
LAYOUTS = sorted((ROOT / "tests" / "passes" / "format").glob("*.ebm"))
PROGRAMS = [
    *sorted((ROOT / "models").rglob("*.ebm")),
    *sorted((ROOT / "tests" / "passes").rglob("*.ebm")),
    *(p for p in sorted((ROOT / "tests" / "errors").glob("*.ebm")) if not p.name.startswith(("E00", "E01"))),
]


def parsed(text: str) -> ast.Module:
    report = Report(Source("test.ebm", text))
    module = parse(report)
    assert module is not None, render_all(report.diagnostics)
    assert not report.diagnostics, f"{render_all(report.diagnostics)}\n{text}"
    return module


def formatted(text: str) -> str:
    return format_module(parsed(text), text)


def follows_the_laws(text: str) -> str:
    before = parsed(text)
    layout = format_module(before, text)
    after = parsed(layout)
    assert after == before
    assert [c.text for c in after.comments] == [c.text for c in before.comments]
    assert format_module(after, layout) == layout
    assert layout.endswith("\n")
    assert not re.search(r"[ \t]$|\t|\n\n\n|\A\n|\n\n\Z|\r", layout, re.MULTILINE)
    return layout


# --- golden layouts -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda p: p.stem)
def test_layouts(path: Path, golden: Golden) -> None:
    golden(path.with_suffix(".expected"), follows_the_laws(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_programs(path: Path) -> None:
    follows_the_laws(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted((ROOT / "models").rglob("*.ebm")), ids=lambda p: p.stem)
def test_models_of_the_project_are_formatted(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert formatted(text) == text


# --- laws ---------------------------------------------------------------------------------------


@settings(max_examples=120)
@given(program_texts())
def test_laws(text: str) -> None:
    follows_the_laws(text)


@settings(max_examples=60)
@given(program_texts())
def test_laws_on_narrow_lines(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ebmlang.compiler.formatting.layout.WIDTH", 40)
        patch.setattr("ebmlang.compiler.format.WIDTH", 40)
        follows_the_laws(text)


@settings(max_examples=60)
@given(program_texts(), st.sampled_from(["\r\n", "\n\n\n", " \n"]))
def test_line_ends_do_not_matter(text: str, end: str) -> None:
    if end == "\n\n\n":
        assert parsed(formatted(text.replace("\n", end))) == parsed(text)
    else:
        assert formatted(text.replace("\n", end)) == formatted(text)


def test_every_node_kind_is_printed() -> None:
    """The table has a row for every node, and the golden programs have every node."""
    seen = {type(node) for path in LAYOUTS for node in nodes(parsed(path.read_text(encoding="utf-8")))}
    assert seen - set(PARTS) == {ast.Module, ast.Comment}
    kinds = {
        kind
        for kind in vars(ast).values()
        if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__")
    }
    # A component of a tuple is made after parsing, from `let (a, b) = f(x)`.
    assert kinds - {ast.Component} == seen


def test_lines_are_short() -> None:
    for path in LAYOUTS:
        for line in formatted(path.read_text(encoding="utf-8")).splitlines():
            assert len(line.split("  #")[0]) <= WIDTH


@pytest.mark.parametrize(
    "expression",
    [
        "+".join(["x"] * 20_000),
        "*".join(["f(x, y)"] * 10_000),
        "[" + ", ".join(["1.25"] * 20_000) + "]",
        "-" * 20_000 + "x",
        "^".join(["x"] * 10_000),
        "x" + ".T" * 10_000,
        "(" * 98 + "x" + ")" * 98,
    ],
    ids=["sum", "product", "list", "minus", "power", "attribute", "brackets"],
)
def test_size_and_depth(expression: str) -> None:
    """Neither a long nor a deep expression needs a deep stack."""
    text = f"model m {{ energy a = {expression} }}\n"
    layout = formatted(text)
    assert layout.split() == ["model", "m", "{", *layout.split()[3:]]
    assert re.sub(r"\s", "", layout) == re.sub(r"\s", "", text)
    assert formatted(layout) == layout


# --- choices ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("energy a=1/2*x", "energy a = 1/2 * x"),
        ("energy a = x/2", "energy a = x / 2"),
        ("energy a = x [t+1] + b[2*i, ..]", "energy a = x[t+1] + b[2*i, ..]"),
        ("energy a = x[f(t)+1]", "energy a = x[f(t) + 1]"),
        ("energy a = x [ 1 .. T ] ^ - 2", "energy a = x[1..T]^-2"),
        ("energy a = x[f(a)+1..n]", "energy a = x[f(a) + 1 .. n]"),
        ("energy a = x[1. ..2]", "energy a = x[1. ..2]"),
        ("energy a = 1 .T", "energy a = 1 .T"),
        ("energy a = | |x| |", "energy a = | |x| |"),
        ("energy a = ||x||_2", "energy a = ||x||"),
        ("energy a = f(x,)+[1,]", "energy a = f(x) + [1]"),
        ("latent z : real missing per batch in foo()", "latent z : real in foo missing per batch"),
        ("net f : (real) -> (real)", "net f : real -> real"),
        ("latent z : real in interval(0, 1)", "latent z : real in [0, 1]"),
        ("latent z : real in interval(0, 1) where m", "latent z : real in interval(0, 1) where m"),
        ("latent z : real in interval(0)", "latent z : real in interval(0)"),
        ("energy a = 1;energy b = 2", "energy a = 1;  energy b = 2"),
        ("for i in 0..n{energy a[i] = 1;}", "for i in 0..n { energy a[i] = 1 }"),
        ("for i in 0..n{ }", "for i in 0..n {}"),
        (
            "energy a = sum(x,over=(i in 0..n,j in r if i<j))",
            "energy a = sum(x, over = (i in 0..n, j in r if i < j))",
        ),
    ],
)
def test_spaces(written: str, line: str) -> None:
    assert formatted(f"model m {{ {written} }}") == f"model m {{\n  {line}\n}}\n"


def body(*lines: str) -> str:
    return "model m {\n" + "".join(f"  {line}\n" if line else "\n" for line in lines) + "}\n"


def test_runs_are_aligned() -> None:
    text = body(
        "observed y : real[n]",
        "latent zz : real",
        "",
        "latent w : real",
        "energy a = 1",
        "batch energy bb[i] = 2",
    )
    assert formatted(text) == body(
        "observed y  : real[n]",
        "latent   zz : real",
        "",
        "latent w : real",
        "energy       a     = 1",
        "batch energy bb[i] = 2",
    )


def test_runs_end_at_other_lines() -> None:
    text = body(
        "let a = 1",
        "# note",
        "let bbb = 2",
        "infer z",
        "let cc = 3",
        "let d = f(",
        "1, # note",
        "2)",
        "let eee = 4",
    )
    assert formatted(text) == body(
        "let a = 1",
        "# note",
        "let bbb = 2",
        "infer z",
        "let cc = 3",
        "let d = f(",
        "    1,  # note",
        "    2",
        ")",
        "let eee = 4",
    )


def test_wide_gaps_are_not_aligned() -> None:
    text = body("let a = 1", "let a_name_that_is_much_longer_than_the_other = 2")
    assert formatted(text) == text


def test_alignment_makes_no_line_too_long() -> None:
    text = body(f"let a = {'x' * 88}", "let bbbbbbbb = 2")
    assert formatted(text) == text


def test_plates_are_aligned() -> None:
    text = body("for t in 0..T { energy data[t] = 1 }", "for t in 0..T-1 { energy smooth[t] = 2 }")
    assert formatted(text) == body(
        "for t in 0..T   { energy data[t]   = 1 }",
        "for t in 0..T-1 { energy smooth[t] = 2 }",
    )


def test_joined_statements_that_do_not_fit() -> None:
    text = body("; ".join(f"energy a{i} = {'x' * 20}" for i in range(4)))
    assert formatted(text) == body(*(f"energy a{i} = {'x' * 20}" for i in range(4)))


def test_models_stand_apart() -> None:
    text = "import a\nimport b\n# of m\nmodel m {}\nmodel n { infer z }# end\n# bottom\n"
    assert formatted(text) == (
        "import a\nimport b\n\n# of m\nmodel m {}\n\nmodel n {\n  infer z\n}  # end\n\n# bottom\n"
    )


def test_comments_after_code_are_aligned() -> None:
    text = body("infer z # one", "let aaaa = 1 # two", "", "infer w # three")
    assert formatted(text) == body("infer z       # one", "let aaaa = 1  # two", "", "infer w  # three")


def test_a_doc_comment_stays_one() -> None:
    """Two hashes after code document nothing, wherever the formatter moves them."""
    text = "model m(# a\n## b\n) {;## c\n;## d\nenergy a = 1 ## e\n}\n"
    assert follows_the_laws(text)
    (term,) = parsed(formatted(text)).models[0].body
    assert isinstance(term, ast.Term)
    assert term.doc == ""
