"""The checker: golden text of checked models, rules of the language one by one, and its mistakes."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from ebmlang.compiler import ast, notation, typed
from ebmlang.compiler.catalogue import later, model, names, shapes, types, values
from ebmlang.compiler.catalogue.model import ModelMissing
from ebmlang.compiler.check import MOST_MISTAKES, check_module
from ebmlang.compiler.composition.library import Library
from ebmlang.compiler.diagnostics import Diagnostic, Report
from ebmlang.compiler.dump import dump_model, dump_names
from ebmlang.compiler.parse import parse
from ebmlang.compiler.source import Source, Span
from ebmlang.compiler.typed import Level
from ebmlang.files import read_source
from tests.conftest import Golden
from tests.diagnose import checked, diagnose, rendered

FOLDER = Path(__file__).parent
PROGRAMS = sorted((FOLDER / "passes" / "check").glob("*.ebm"))
MISTAKES = sorted(p for p in (FOLDER / "errors").glob("*.ebm") if p.name >= "E02")

WITHOUT_A_PROGRAM = ("E0513", "E0517")
"""Codes that no single mistake in a text leads to: tests below make them in other ways."""


def term(text: str) -> typed.Term:
    """The last term of a model whose body is `text`."""
    return checked(f"model m(n: int, k: int, T: int) {{\n{text}\nenergy _use = n * k * T\n}}").terms[-2]


# --- golden text --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_checked_models(path: Path, golden: Golden) -> None:
    found = checked(path.read_text(encoding="utf-8"))
    golden(path.with_suffix(".expected"), f"{dump_model(found)}\n{dump_names(found)}")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda p: p.stem)
def test_text_is_the_language(path: Path) -> None:
    """What `notation.text` writes is read back to the same text, with names of the same model."""
    source = path.read_text(encoding="utf-8")
    found = checked(source)
    for t in found.terms:
        shown = notation.text(t.value)
        binders = ", ".join(map(str, t.axes))
        guard = f" if {notation.text(t.guard)}" if t.guard is not None else ""
        kind = f"batch {t.kind}" if t.batch else t.kind
        plate = f"for {binders}{guard} {{ {kind} again = {shown} }}" if t.axes else f"{kind} again = {shown}"
        body = source.rstrip().removesuffix("}")
        again = checked(f"{body}\n{plate}\n}}").terms[-1]
        assert notation.text(again.value) == shown
        assert again.value.type == t.value.type
        assert [str(a) for a in again.axes] == [str(a) for a in t.axes]


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MISTAKES, ids=lambda p: p.stem)
def test_one_mistake_gives_one_message(path: Path) -> None:
    report, _ = diagnose(path.read_text(encoding="utf-8"), path.name)
    assert [d.diagnostic.code for d in report.diagnostics] == [path.name.split("_")[0]]


@pytest.mark.parametrize("path", MISTAKES, ids=lambda p: p.stem)
def test_messages(path: Path, golden: Golden) -> None:
    golden(path.with_suffix(".expected"), rendered(path.read_text(encoding="utf-8"), path.name))


@pytest.mark.parametrize("path", MISTAKES, ids=lambda p: p.stem)
def test_every_message_helps(path: Path) -> None:
    """Each says what would have been right, or one thing to try; only its own file is named."""
    report, _ = diagnose(path.read_text(encoding="utf-8"), path.name)
    for found in report.diagnostics:
        shown = found.diagnostic
        assert shown.expected() or shown.hint() or shown.code == "E0901"
        assert not shown.message().endswith(".")


def catalogue() -> list[type[Diagnostic]]:
    found = (value for m in (names, types, values, shapes, model, later) for value in vars(m).values())
    classes = (c for c in found if inspect.isclass(c) and issubclass(c, Diagnostic))
    return [c for c in classes if not inspect.isabstract(c)]


def test_every_code_has_a_program() -> None:
    written = {p.name.split("_")[0] for p in MISTAKES}
    missing = {c.code for c in catalogue()} - written - set(WITHOUT_A_PROGRAM)
    assert not missing


def test_codes_are_unique_and_explained() -> None:
    codes = [c.code for c in catalogue()]
    assert len(codes) == len(set(codes))
    assert all(c.explanation().endswith(".") for c in catalogue())


def test_codes_without_a_program() -> None:
    lost = ModelMissing(Span(0, 0), "smother", ("smoother",))
    assert (lost.hint(), lost.expected()) == ("did you mean `smoother`?", "smoother")
    many = "".join(f"energy e{i} = a{i} * y\n" for i in range(3 * MOST_MISTAKES))
    report, models = diagnose(f"model m {{\nobserved y : real\n{many}}}")
    codes = [d.diagnostic.code for d in report.diagnostics]
    assert not models
    assert codes[-1] == "E0517"
    assert codes.count("E0201") == MOST_MISTAKES + 1


def test_a_message_says_where_sizes_come_from() -> None:
    report, _ = diagnose(
        "model m(n: int, k: int) {\nobserved y : real[n]\nlatent z : real[k]\nenergy e = ||y - z||^2\n}"
    )
    (found,) = report.diagnostics
    assert [label.text for label in found.diagnostic.related()] == [
        "`y` is declared real[n]",
        "`z` is declared real[k]",
    ]
    assert found.to_json()["related"][1]["range"]["start"] == {"line": 3, "column": 8}


def test_warnings_do_not_stop() -> None:
    report, models = diagnose("model m(lam: real) {\nlatent z : real\nenergy e = z^2   # lam\n}")
    assert [d.diagnostic.code for d in report.diagnostics] == ["W0201"]
    assert len(models) == 1


def test_several_models() -> None:
    text = "model a { latent z : real; energy e = z^2 }\nmodel b { latent z : real; energy e = zz }\n"
    report, models = diagnose(text)
    assert [m.name for m in models] == ["a"]
    assert [d.header() for d in report.diagnostics] == ["test.ebm:2:39: error[E0201]: nothing is called `zz`"]


# --- rules --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x * log(x)", "xlogy(x, x)"),
        ("log(x) * x", "xlogy(x, x)"),
        ("-x * log(x)", "-xlogy(x, x)"),
        ("2 * x * log(x)", "2 * xlogy(x, x)"),
        ("x * (log( x ))", "xlogy(x, x)"),
        ("(x + 1) * log(x + 1)", "xlogy(x + 1, x + 1)"),
        ("x * log(x + 1)", "x * log(x + 1)"),
        ("x / log(x)", "x / log(x)"),
        ("x * log(x) * log(x)", "xlogy(x, x) * log(x)"),
        ("||v||^2", "||v||^2"),
        ("||v||^3", "||v||^3"),
        ("||v||_1^2", "||v||_1^2"),
        ("-x^2", "-x^2"),
        ("x - (x - 1)", "x - (x - 1)"),
        ("2^3^2", "512"),
        ("v[-1]", "v[n - 1]"),
        ("n * (n + 1) // n", "n + 1"),
        ("max(x, 0)", "maximum(x, 0)"),
        ("sum(huber(v, delta = x^2 + 1))", "sum(huber(v, delta = x^2 + 1))"),
    ],
)
def test_lowering(value: str, shown: str) -> None:
    assert notation.text(term(f"latent x : real\nlatent v : real[n]\nenergy e = {value}").value) == shown


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        ("b + b", "int"),
        ("-b", "int"),
        ("b * x", "real"),
        ("sum(v > 0)", "int"),
        ("1 / 2", "real"),
        ("n // 2", "int"),
        ("2^-1", "real"),
        ("n^k", "real"),
        ("argmax(v)", "int"),
        ("where(b, 1, 0)", "int"),
        ("where(b, 1, x)", "real"),
        ("v[argmax(v)]", "real"),
        ("sum(onehot(c, 3))", "real"),
        ("max(v > 0)", "int"),
    ],
)
def test_kinds(value: str, type_: str) -> None:
    declared = "latent x : real\nlatent v : real[n]\nobserved b : bool\nlatent c : class[3]\n"
    assert str(term(f"{declared}energy e = {value}").value.type) == type_


def test_names_of_builtins_are_free() -> None:
    found = checked(
        """model m(n: int) {
  observed data : real[n]
  latent entropy : real[n] in simplex
  let softmax = 2
  fn relu(x: real) -> real = x + softmax
  energy sum = sum(data * entropy) + entropy(entropy) + sum(softmax(data))
  energy exp = relu(1)
}"""
    )
    texts = [notation.text(t.value) for t in found.terms]
    assert texts == ["sum(data * entropy) + entropy(entropy) + sum(softmax(data))", "1 + softmax"]


def test_order_of_statements() -> None:
    """Variables and functions are visible everywhere, questions see every term."""
    found = checked(
        """model m {
  infer z of more
  energy e = f(z)
  fn f(x: real) -> real = x^2
  regularizer more = |z|
  latent z : real
}"""
    )
    assert [t.name for t in found.terms] == ["e", "more"]
    of = found.questions[0].of
    assert of is not None
    assert notation.text(of) == "|z|"


@pytest.mark.parametrize(
    ("declaration", "level"),
    [
        ("observed u : real", Level.EXAMPLE),
        ("shared observed u : real", Level.SHARED),
        ("param u : real", Level.SHARED),
        ("latent u : real", Level.EXAMPLE),
        ("latent u : real per batch", Level.SHARED),
        ("random u : real ~ normal()", Level.EXAMPLE),
        ("random u : real per batch ~ normal()", Level.SHARED),
        ("let u = 2", Level.CONSTANT),
    ],
)
def test_levels(declaration: str, level: Level) -> None:
    assert term(f"{declaration}\nenergy e = u").value.level is level


@pytest.mark.parametrize(
    "plate",
    [
        "for t in 0..T-1 { energy e[t] = x[t] * x[t+1] }",
        "for t in 1..T { energy e[t] = x[t] * x[t-1] }",
        "for t in 0..T if t > 0 { energy e[t] = x[t-1] }",
        "for t in 0..T if t != 0 { energy e[t] = x[t-1] }",
        "for t in 0..T if t + 1 < T { energy e[t] = x[t+1] }",
        "for s in 0..T, t in 0..T if s < t { energy e[s, t] = x[t - s - 1] * x[t - 1] }",
        "for t in 0..T if t >= 1 { for s in 0..T if s < t { energy e[t, s] = x[t - 1] * x[s] } }",
        "for t in 0..T { energy e[t] = x[(t + 1) % T] * x[t // 2] }",
        "for t in 0..T { energy e[t] = x[max(t - 1, 0)] * x[min(t + 1, T - 1)] }",
        "for t in 0..T { energy e[t] = x[clamp(t + 2, 0, T - 1)] * x[where(t > 0, 0, t)] * x[|0 - t|] }",
        "energy e = sum(x[i] * x[i - 1], over = i in 0..T if i >= 1)",
        "for t in 0..T-3 { energy e[t] = sum(x[t + i] * x[t + 3 - i], over = i in 0..4) }",
        "energy e = x[-1] + x[argmax(x)] + x[T - 1]",
    ],
)
def test_subscripts_that_are_proven(plate: str) -> None:
    """Nothing is left to check when sizes are known, but that they are at least 1, and ranges."""
    found = checked(f"model m(T: int) {{\nlatent x : real[T]\n{plate}\n}}")
    assert {str(r.size) for r in found.requirements} <= {"T - 1", "T - 3"}


@pytest.mark.parametrize(
    ("use", "left"),
    [
        ("x[3]", ["T - 1", "T - 4"]),
        ("sum(x[2..5])", ["T - 1", "T - 5"]),
        ("x[-2]", ["T - 1", "T - 2"]),
        ("sum(x[i], over = i in 0..h)", ["T - 1", "h", "T - h"]),
        ("sum(x[h - 1..])", ["T - 1", "h - 1", "T - h + 1"]),
    ],
)
def test_subscripts_that_depend_on_sizes(use: str, left: list[str]) -> None:
    found = checked(f"model m(T: int, h: int) {{\nlatent x : real[T]\nenergy e = {use} + h\n}}")
    assert sorted(str(r.size) for r in found.requirements) == sorted(left)


def test_facts_on_sizes_are_used() -> None:
    found = checked(
        "model m(T: int, h: int in [2, 9]) {\nlatent x : real[T, h]\nenergy e = x[0, 1] + x[-1, -2]\n}"
    )
    assert [str(r.size) for r in found.requirements] == ["T - 1", "h - 1"]


def test_functions_solve_sizes() -> None:
    found = checked(
        """model m(n: int) {
  observed a : real[2 * n + 1]
  observed b : real[n, 3]
  observed c : class[5]
  fn half(v: real[2 * h + 1]) -> real[h] = v[0..h]
  fn last(v: real[h, d + 1]) -> real = sum(v[.., d]) + d
  fn pick(u: class[q], v: real[q]) -> real = v[u] + q
  energy e = sum(half(a)) + last(b) + pick(c, zeros(5))
}"""
    )
    assert notation.text(found.terms[0].value) == "sum(a[..n]) + (sum(b[.., 2]) + 2) + (zeros(5)[c] + 5)"


def test_what_is_declared_real_is_real() -> None:
    found = checked(
        """model m(n: int) {
  observed b : bool[n]
  fn half(x: real) -> real = x / 2
  let two : real = 2
  let mask : real[n] = b
  energy e = half(3) + two + sum(mask)
}"""
    )
    assert [str(let.value.type) for let in found.lets] == ["real", "real[n]"]
    halved = found.terms[0].value.children()[0].children()[0]
    assert [str(c.type) for c in halved.children()] == ["real", "int"]


def test_substitution_is_simultaneous_and_goes_through_lets() -> None:
    found = checked(
        """model m(n: int) {
  observed x : real[n]
  latent y : real[n]
  let d = x - 2 * y
  let unrelated = ||x||
  energy e = ||d||^2 + unrelated
  property swap : (e with x = y, y = x) >= 0
  property kept : (e with y = 0) >= 0
}"""
    )
    shown = [notation.text(p.left) for p in found.properties]
    assert shown == ["||y - 2 * x||^2 + ||y||", "||x - 2 * (zeros(n) + 0)||^2 + unrelated"]


def test_a_class_is_reduced_over_its_cases() -> None:
    value = term(
        "observed w : real[k]\nlatent c : class[k]\nlet u = w[c]\nenergy e = min(u + 1, over = c)"
    ).value
    assert isinstance(value, typed.Fold)
    assert value.axes == ()
    assert [str(a) for a in value.over] == ["c in 0..k"]
    assert notation.text(value) == "min(w[c] + 1, over = c)"


def test_local_lets_are_seen_in_their_plate_alone() -> None:
    found = checked(
        """model m(n: int) {
  latent x : real[n]
  for i in 0..n { let a = x[i]^2; for j in 0..n if i != j { let b = a * x[j]; energy e[i, j] = b } }
  for i in 0..n { let a = 2 * x[i]; energy f[i] = a }
}"""
    )
    assert [notation.text(t.value) for t in found.terms] == ["x[i]^2 * x[j]", "2 * x[i]"]
    assert [let.name for let in found.lets] == []


def test_guards_of_nested_plates_are_joined() -> None:
    found = term(
        "latent x : real[n]\nfor i in 0..n if i > 0 { for j in 0..n if i < j { energy e[i, j] = x[j] } }"
    )
    assert found.guard is not None
    assert notation.text(found.guard) == "i > 0 and i < j"
    assert [str(a) for a in found.axes] == ["i in 0..n", "j in 0..n"]


def test_axis_names_are_stable() -> None:
    """A function that is tried, or called again, does not change the labels of later axes."""
    text = """model m(n: int) {
  latent x : real[n]
  fn total_of(v: real[a]) -> real = sum(v[i], over = i in 0..a)
  energy e = total_of(x)
  for i in 0..n { energy f[i] = x[i] }
}"""
    found = checked(text)
    fold = found.terms[0].value
    assert isinstance(fold, typed.Fold)
    assert [a.label for a in (*fold.over, *found.terms[1].axes)] == ["i", "i_2"]


def test_the_tree_alone_is_enough() -> None:
    """`check_module` takes a tree: also one whose texts come from elsewhere."""
    report = Report(Source("test.ebm", "model m { latent z : real; energy e = z^2 }"))
    module = parse(report)
    assert isinstance(module, ast.Module)
    assert [m.name for m in check_module(module, report, Library(check_module, read_source))] == ["m"]
