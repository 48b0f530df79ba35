"""What the parser does with words that only look right, and where it goes on after a mistake."""

from __future__ import annotations

import pytest

from ebmlang.compiler import ast
from ebmlang.compiler.diagnostics import Report
from ebmlang.compiler.parse import parse
from ebmlang.compiler.pipeline import check_source
from ebmlang.compiler.source import Source


def read(text: str) -> tuple[ast.Module | None, list[tuple[str, int]]]:
    """The tree, and the code and line of each syntax mistake."""
    report = Report(Source("test.ebm", text))
    module = parse(report)
    found = [(x.diagnostic.code, x.source.position(x.diagnostic.span.start)[0]) for x in report.diagnostics]
    return module, found


@pytest.mark.parametrize("note", ["# one; two", "# ;", ""])
def test_a_semicolon_in_a_comment_ends_nothing(note: str) -> None:
    module, found = read(f"model m {{\n  energy a = 1 + {note}\n    2\n}}\n")
    assert found == []
    assert module == read("model m { energy a = 1 + 2 }")[0]


@pytest.mark.parametrize("text", ["f(x;)", "[1; 2]", "(1 +; 2)", "x[0;]"])
def test_a_semicolon_in_brackets(text: str) -> None:
    _, found = read(f"model m {{\n  energy a = {text}\n  energy b = 1 2\n}}\n")
    assert [line for _, line in found] == [2, 3]


@pytest.mark.parametrize("name", ["x²", "\u037a", "ﷺ", "x\u00b9y"])
def test_characters_that_only_look_like_letters(name: str) -> None:
    """They are no names in Python either, and would become others: x² would be the name x2."""
    _, found = read(f"model m {{ let {name} = 1 }}")
    assert found == [("E0102", 1)]


def test_a_reserved_word_in_wide_letters() -> None:
    # NFKC makes `for` of it, as of every name in Python.
    _, found = read("model m { let \uff46\uff4f\uff52 = 1 }")
    assert len(found) == 1


@pytest.mark.parametrize(
    "head",
    [
        "model m(n: int {",
        "model m(n) {",
        "model m(n: int)\n{",
        "model m(n: int)",
        "model m[n: int] {",
        "model (n: int) {",
    ],
)
def test_the_block_of_a_broken_head_is_read(head: str) -> None:
    text = f"{head}\n  energy a = 1\n  energy b = 2 3\n}}\nmodel k {{ energy a = 4 5 }}\n"
    _, found = read(text)
    assert [code for code, _ in found[1:]] == ["E0112", "E0112"]


def test_the_plate_of_a_broken_head_is_read() -> None:
    _, found = read("model m {\n  for i = 0..n {\n    energy a = 1 2\n  }\n  energy b = 3 4\n}\n")
    assert found == [("E0101", 2), ("E0112", 3), ("E0112", 5)]


def test_a_model_in_a_model() -> None:
    module, found = read("model a {\n  energy x = 1\n\nmodel b {\n  energy y = 1\n}\n")
    assert found == [("E0106", 1)]
    assert module is not None
    assert [model.name.text for model in module.models] == ["b"]


def test_a_property_is_left_whole() -> None:
    first = "property p : forall x : real { x + }\n  energy a = 1 2"
    second = "property q : forall x : real {\n    x !\n  }\n  energy b = 3 4"
    _, found = read(f"model m {{\n  {first}\n  {second}\n}}\n")
    assert found == [("E0118", 2), ("E0112", 3), ("E0102", 5), ("E0112", 7)]


def test_shared_twice() -> None:
    _, found = read(
        "model m {\n  shared observed X : real[m, ]n\n  shared observed Y : real\n  energy a = 1 2\n}\n"
    )
    assert [line for _, line in found] == [2, 4]


def test_a_brace_too_many() -> None:
    assert read("model m { energy a = 1 } }\nmodel k { energy b = 2 }\n")[1] == [("E0107", 1)]


def test_a_modifier_twice() -> None:
    _, found = read("model m {\n  latent z : real in simplex in nonnegative = 0\n  energy a = 1 2\n}\n")
    assert found == [("E0114", 2), ("E0112", 3)]


def test_what_follows_from_a_syntax_mistake_is_not_shown() -> None:
    checked = check_source(
        Source("test.ebm", "model m {\n  latent z real\n  energy a = z^2\n  latent w : reall\n}\n")
    )
    assert [x.diagnostic.code for x in checked.diagnostics] == ["E0101", "E0203"]
