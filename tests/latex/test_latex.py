"""Models as formulas: expected texts, precedence, and what Markdown and MathJax can read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import components
from ebmlang.compiler import builtins, pipeline, typed
from ebmlang.compiler.latex import displays, energy_latex, model_latex
from ebmlang.compiler.latex.symbols import symbol_of, symbols
from ebmlang.compiler.source import Source
from ebmlang.files import read_source
from tests.conftest import Golden
from tests.latex.programs import GALLERY, PROGRAMS, model

ROOT = Path(__file__).parents[2]
EXPECTED = Path(__file__).parent / "expected"

WORDS = """
    frac sqrt sum prod int min max log exp sin cos tan sinh cosh tanh arcsin arccos arctan det bmod
    left right lVert rVert lvert rvert lfloor rfloor lceil rceil lbrace rbrace begin end cr substack underset
    text mathrm mathit mathtt mathbb mathcal mathbf quad thinspace cdot times odot top ast infty dots to in
    le ge lt gt ne sim land lor lnot bigvee bigwedge cap subset
    alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau
    upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega
"""
"""What KaTeX 0.16 and MathJax 3 both know; each was tried with both."""

COMMANDS = frozenset(WORDS.split())


def formulas() -> Iterator[tuple[str, str]]:
    for name in PROGRAMS:
        yield name, model_latex(model(name))
    for name in GALLERY:
        yield name, model_latex(gallery(name))
    for name in components.names():
        yield f"std.{name}", model_latex(components.model(name))


def gallery(name: str) -> typed.Model:
    checked = pipeline.check_source(read_source(ROOT / "models" / "gallery" / f"{name}.ebm"))
    assert not checked.failed
    return checked.models[-1]


def checked_text(text: str) -> typed.Model:
    checked = pipeline.check_source(Source("<text>", text))
    assert not checked.failed, checked.diagnostics
    return checked.models[-1]


@pytest.mark.parametrize("name", [*PROGRAMS, *GALLERY])
def test_formula_is_expected(name: str, golden: Golden) -> None:
    found = model(name) if name in PROGRAMS else gallery(name)
    golden(EXPECTED / f"{name}.tex", model_latex(found) + "\n")


def test_formulas_are_readable_by_markdown_and_mathjax() -> None:
    for name, text in formulas():
        assert problem(text) is None, (name, problem(text))


def problem(text: str) -> str | None:
    """What would keep the formula from being shown, or None."""
    unknown = set(re.findall(r"\\([A-Za-z]+)", text)) - COMMANDS
    if unknown:
        return f"commands {sorted(unknown)}"
    if re.search(r"\\[^A-Za-z \n_]", text):
        return "a backslash before punctuation, which Markdown takes away"
    if re.search(r"[<>*$#%~]", text):
        return "a character that Markdown reads"
    depth = 0
    for sign in re.sub(r"\\[{}]", "", text):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if depth < 0:
            return "a brace is closed that is not open"
    if depth:
        return "a brace is not closed"
    if text.count("\\left") - text.count("\\leq") != text.count("\\right"):
        return "fences without a partner"
    if re.findall(r"\\begin\{(\w+)\}", text).count("cases") != re.findall(r"\\end\{(\w+)\}", text).count(
        "cases"
    ):
        return "cases are not closed"
    return None


@pytest.mark.parametrize(
    "text", ["\\frac{1}{2", "a}{b", "\\|x\\|", "a < b", "\\left( x", "\\unknown{x}", "\\begin{cases} x"]
)
def test_the_reader_can_object(text: str) -> None:
    assert problem(text) is not None


def test_long_models_come_in_pieces() -> None:
    terms = "\n".join(f"  energy term_{k} = {k} * ||x - {k}||^2 + sum(exp(x / {k + 2}))" for k in range(80))
    found = checked_text(f"model m(n: int) {{\n  latent x : real[n]\n{terms}\n}}")
    pieces = displays(found).split("\n\n")
    assert len(pieces) > 1
    assert all(len(piece) < 5120 and piece.startswith("$$\n\\begin{aligned}") for piece in pieces)
    assert "".join(pieces).count("\\text{term ") == 80


def test_names_are_told_apart() -> None:
    names = ["s", "s0", "s_0", "lam", "lambda_", "mu_x", "mu", "a.b", "b_a", "W1", "W_1", "noise_scale"]
    found = symbols(names)
    assert len({symbol.at() for symbol in found.values()}) == len(names)
    assert found["s0"].at(("i",)) != found["s"].at(("0", "i"))
    assert symbol_of("noise_scale").at() == "\\mathrm{noise}_{\\mathrm{scale}}"
    assert symbol_of("part.W").at(("i", "j")) == "W_{\\mathrm{part}, i, j}"


def formula_of(value: str) -> str:
    """The right side of the energy of a model with this one term."""
    text = f"""
model one(n: int, lam: real = 2) {{
  latent x : real[n]
  latent y : real[n]
  latent A : real[n, n]
  latent t : real
  energy e = {value}
}}"""
    return energy_latex(checked_text(text)).split("E = {} & ")[1].split(" &&")[0]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("t - (t - 1)", "t - (t - 1)"),
        ("t - t - 1", "t - t - 1"),
        ("-(t + 1) * t", "-(t + 1) t"),
        ("(-t)^2", "(-t)^{2}"),
        ("-t^2", "-t^{2}"),
        ("2.5 * (3 * t)", "2.5 \\cdot 3 t"),
        ("t * sum(x) * t", "\\left( t \\sum_{i} x_{i} \\right) t"),
        ("sum(x) + t", "\\sum_{i} x_{i} + t"),
        ("sum(x + t)", "\\sum_{i} (x_{i} + t)"),
        ("(t / lam)^2", "\\left( \\frac{t}{\\lambda} \\right)^{2}"),
        ("x @ A @ y", "x^\\top A y"),
        ("dot(A @ x, y)", "(A x)^\\top y"),
        ("sum(x @ A)", "\\sum_{i} (A^\\top x)_{i}"),
        ("sum(A.T @ x)", "\\sum_{i} (A^\\top x)_{i}"),
        ("sum(A[0] * x)", "\\sum_{i} A_{0, i} x_{i}"),
        ("sum(A.T[0])", "\\sum_{i} A_{i, 0}"),
        ("sum(A[1..n, 0])", "\\sum_{i} A_{i + 1, 0}"),
        ("sum(sum(A, over = 0) * x)", "\\sum_{i} \\left( \\sum_{j} A_{ji} \\right) x_{i}"),
        ("||A - x[None, ..]||^2", "\\sum_{ij} (A_{ij} - x_{j})^2"),
        ("||A - x[.., None]||^2", "\\sum_{ij} (A_{ij} - x_{i})^2"),
        ("logsumexp(x * y)", "\\log \\sum_{i} \\exp(x_{i} y_{i})"),
        ("sum(outer(x, y) * A)", "\\sum_{ij} x_{i} y_{j} A_{ij}"),
        ('sum(einsum("ij,jk->ki", A, A) * A)', None),
    ],
)  # fmt: skip
def test_precedence_and_indices(value: str, wanted: str | None) -> None:
    if wanted is None:
        wanted = "\\sum_{ij} \\left( \\sum_{k} A_{jk} A_{ki} \\right) A_{ij}"
    assert formula_of(value) == wanted


WHOLE = {"x": "real[4]", "y": "real[4]", "p": "real[4]", "A": "real[3, 3]", "v": "real[3]", "b": "real[3]"}
ROWS = [row for row in builtins.TABLE if row.form not in ("written", "net", "derivative", "distribution")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.name))
def test_every_builtin_has_a_formula(row: builtins.Builtin) -> None:
    """Whole as the value of a let, and entry by entry in a sum beside another array."""
    declared = "".join(f"  observed {name} : {type_}\n" for name, type_ in WHOLE.items())
    declared += "  observed c : class[3]\n  observed index : class[4][2]\n"
    example = "not (x > 0)" if row.name == "not" else row.example
    lines = f"  let value = {example}\n  energy whole = sum(1.0 * ({example}))\n"
    found = checked_text(f"model m {{\n{declared}{lines}\n}}")
    text = model_latex(found)
    assert problem(text) is None, (problem(text), text)
    assert "value" in text.split("where")[1]
