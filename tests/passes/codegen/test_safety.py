"""Whatever a model is called and whatever its comments say, the text holds only its arithmetic."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

import ast
import builtins
import keyword
import unicodedata

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ebmlang.compiler import pipeline
from ebmlang.compiler.codegen.lines import Line, layout, pruned
from ebmlang.compiler.codegen.methods import quoted
from ebmlang.compiler.codegen.names import field_name, local_name
from ebmlang.compiler.query import Query
from ebmlang.compiler.source import Source
from ebmlang.runtime.bind import Settings, bind
from ebmlang.runtime.generated import load_text
from ebmlang.runtime.posing import held_values
from tests.passes.codegen.ruled import WIDTH, check_text

NAMES = (
    "self",
    "torch",
    "math",
    "F",
    "functions",
    "unknown",
    "held",
    "energies",
    "lambda",
    "class_",
    "None_",
    "def",
    "batch_",
    "dtype",
    "device",
    "draw",
    "prepare",
    "terms",
    "smooth",
    "start",
    "start_x",
    "domain_y",
    "min",
    "slice",
    "print",
    "eval",
    "__import__",
    "__class__",
    "_",
    "__",
    "x_",
    "x__",
    "λ",
    "ﬁ",
    "fi",
    "µ",
    "μ",
    "ªb",
    "MODEL",
    "Tensor",
    "Size",
    "VARIABLES",
    "match",
    "type",
    "Draws",
    "float",
    "value",
    "e_sum",
    "t_index",
    "name_5f5f_",
)

HOSTILE = (
    'ends with a quote"',
    '"""',
    '\\"""',
    "\\",
    "a\\",
    '"""; import os; os.system("true"); """',
    "\\N{BULLET} \\x00 \\u0041",
    "{0} %s {self}",
    "'''",
    "a\u2028b\u2029c",
    "tab\there",
    '""',
    "# noqa\\",
)


def question(text: str, sought: tuple[str, ...]) -> str:
    found = pipeline.check_source(Source("<hostile>", text))
    assert not found.failed, [str(d.diagnostic) for d in found.diagnostics]
    return pipeline.generate_for(pipeline.plan_for(pipeline.graph_of(found.models[-1]), Query(sought))).text


def accepted(text: str) -> bool:
    return not pipeline.check_source(Source("<hostile>", text)).failed


@pytest.mark.parametrize("name", NAMES)
def test_any_name_works_in_any_place(name: str) -> None:
    texts = {
        "variable": f"model m(n: int) {{ observed {name} : real[n]\n latent z0 : real[n] = {name}\n energy e0 = ||z0 - {name}||^2 }}",
        "size": f"model m({name}: int) {{ observed y0 : real[{name}]\n latent z0 : real[{name}] = y0\n energy e0 = ||z0 - y0||^2 + {name} - {name} }}",
        "hyper": f"model m(n: int, {name}: real = 1) {{ observed y0 : real[n]\n latent z0 : real[n] = y0\n energy e0 = {name} * ||z0 - y0||^2 }}",
        "let": f"model m(n: int) {{ observed y0 : real[n]\n latent z0 : real[n] = y0\n let {name} = z0 - y0\n energy e0 = ||{name}||^2 + sum({name}) - sum({name}) }}",
        "term": f"model m(n: int) {{ observed y0 : real[n]\n latent z0 : real[n] = y0\n for t0 in 0..n {{ energy {name}[t0] = (z0[t0] - y0[t0])^2 }} }}",
        "index": f"model m(n: int) {{ observed y0 : real[n]\n latent z0 : real[n] = y0\n for {name} in 0..n {{ energy e0[{name}] = (z0[{name}] - y0[{name}])^2 + 0 * {name} }} }}",
        "model": f"model {name}(n: int) {{ observed y0 : real[n]\n latent z0 : real[n] = y0\n energy e0 = ||z0 - y0||^2 }}",
        "sought": f"model m(n: int) {{ observed y0 : real[n]\n latent {name} : real[n] in [-9, 9] = y0\n energy e0 = ||{name} - y0||^2 }}",
    }
    name = unicodedata.normalize("NFKC", name)
    rng = np.random.default_rng(0)
    y, z = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    tried = 0
    for place, text in texts.items():
        if not accepted(text):
            continue
        tried += 1
        unknown = name if place == "sought" else "z0"
        source = question(text, (unknown,))
        check_text(source)
        given_values = {name if place == "variable" else "y0": y, unknown: z}
        bound = bind(
            load_text(source, "m"),
            {},
            given_values,
            Settings(torch.float64, torch.device("cpu")),
            frozenset({unknown}),
        )
        energy = bound.instance.energy({unknown: bound.values[unknown]}, held_values(bound))
        np.testing.assert_allclose(energy.numpy(), ((y - z) ** 2).sum(1))
        assert bound.instance.start(unknown, bound.values).shape == (2, 3)  # type: ignore[union-attr]
        if place == "sought":
            assert len(bound.instance.domain(name, bound.values)) == 2
    assert tried or name == "def", f"no place for {name}"


@pytest.mark.parametrize("doc", HOSTILE)
def test_doc_comments_are_text(doc: str) -> None:
    text = f"## {doc}\nmodel m {{ observed y : real\n ## {doc}\n latent z : real\n ## {doc}\n energy e = (y - z)^2 }}"
    tree = check_text(question(text, ("z",)))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id in ("os", "eval", "exec")]
    assert not calls


@given(st.text(max_size=60))
def test_any_text_becomes_a_doc_string(doc: str) -> None:
    for indent in ("", "    "):
        source = f"class A:\n    def f(self):\n        {quoted(doc, indent + '        ')}\n        return 1\n"
        tree = ast.parse(source)
        body = tree.body[0].body[0].body  # type: ignore[attr-defined]
        assert len(body) == 2
        assert isinstance(body[0].value, ast.Constant)
        source.encode("utf-8")


@given(st.lists(st.from_regex(r"[^\W\d]\w*", fullmatch=True) | st.sampled_from(NAMES), max_size=6))
def test_names_never_meet(names: list[str]) -> None:
    for mapping in (local_name, field_name):
        found = {n: unicodedata.normalize("NFKC", mapping(n)) for n in names}
        assert len(set(found.values())) == len(set(names))
        assert all(
            f.isidentifier() and not keyword.iskeyword(f) and not f.startswith("__") for f in found.values()
        )


def test_python_functions_that_the_text_calls_are_not_shadowed() -> None:
    for name in ("min", "max", "slice", "float", "int", "bool", "abs"):
        assert hasattr(builtins, name)
        assert local_name(name) != name


def test_long_lines_are_broken_without_changing_them() -> None:
    value = " + ".join(f"torch.where(a_{i} > b, (x_{i} * (y - {i})).sum((-1, -2)), 0.5)" for i in range(9))
    for text in (
        value,
        f"torch.stack(({value}, b), 0)",
        f"({value}).square().sum(-1)",
        f"F.softplus({value})[:, 0]",
    ):
        line = Line(("e",), text, "[B]")
        broken = layout(line, 2)
        assert all(len(part) <= WIDTH for part in broken.split("\n"))
        assert ast.dump(ast.parse("if 1:\n" + broken)) == ast.dump(ast.parse(f"if 1:\n    e = {text}"))


def test_dead_lines_are_left_out() -> None:
    lines = [Line(("a",), "f(x)"), Line(("b",), "g(a)"), Line(("c",), "h(x)"), Line((), "b")]
    assert [line.targets for line in pruned(lines)] == [("a",), ("b",), ()]


def test_a_long_sum_can_be_read() -> None:
    terms = " + ".join(f"sin(x[{i % 7}] * {i})" for i in range(3000))
    text = "model m { observed y : real\n latent x : real[7] = 0\n energy e = y * x[0]REST }"
    names = "\n".join(f" energy e{i} = |x[{i % 7}]| * y^2 + sin(x[{i % 7}] * {i})" for i in range(3000))
    check_text(question(text.replace("REST", "\n" + names), ("x",)))
    whole = text.replace("REST", f" + {terms}")
    if accepted(whole):
        check_text(question(whole, ("x",)))
