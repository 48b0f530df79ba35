"""What is found about small energies: named cases, each claim held against numbers elsewhere."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ebmlang
from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.choose import Plan
from ebmlang.compiler.curvature.losses import RESIDUAL
from ebmlang.compiler.explanation import explain
from ebmlang.compiler.graph import summed
from ebmlang.compiler.needs import missing_text
from ebmlang.compiler.query import Query
from ebmlang.compiler.source import Source
from ebmlang.compiler.structure.finding import Finding, LossPart, Structure
from ebmlang.compiler.structure.pieces import times
from ebmlang.compiler.typed import Apply, Expr, Read
from tests.reference import Reference

SIZES = {"n": 3, "k": 2}

HEAD = """model m(n: int, k: int, lam: real = 1, mu: real in positive = 1, nu: real in nonnegative = 1) {
  observed y : real[n]
  observed u : real
  observed b : bool[n]
  observed v : real[n] in nonnegative
  shared observed A : real[n, n]
  shared observed S : real[n, n] in psd
  shared observed D : real[n, k]
  shared observed edges : class[n][k, 2]
  latent x : real[n]
  latent s : real
  latent t : real
  latent p : real in positive
  latent q : real[n] in nonnegative
  latent c : real[n] in simplex
  latent o : real[n] in sphere
  latent z : real[k]
  latent W : real[n, k]
  latent X : real[n, n] in positive_definite
  latent flag : bool
"""

LOOKED_AT = (
    "affine", "quadratic", "convex", "convex energy", "concave", "bounded below", "sum of squares", "sum of losses",
    "smooth plus absolute values", "linear minus entropy", "log-sum-exp plus quadratic", "convex by blocks", "convex in part",
    "smooth", "piecewise smooth", "kinks", "steps",
)  # fmt: skip


def plan(text: str, *sought: str) -> Plan:
    body = text if text.startswith(("energy", "for", "let", "batch")) else f"energy e = {text}"
    checked = pipeline.check_source(Source("case", f"{HEAD}  {body}\n}}\n"))
    assert not checked.failed, checked.diagnostics[0].diagnostic
    return pipeline.plan_for(pipeline.graph_of(checked.models[-1]), Query(sought))


def structure(text: str, *sought: str) -> Structure:
    return plan(text, *sought).structure


def found(text: str, *sought: str) -> set[str]:
    """Properties with their conditions."""
    return {
        f"{f.property} if {', '.join(o.says for o in f.obligations)}" if f.obligations else f.property
        for f in structure(text, *sought).findings
        if f.property in LOOKED_AT
    }


QUADRATIC = {"quadratic", "convex", "smooth"}
SQUARES = {*QUADRATIC, "bounded below", "sum of squares"}
CASES: tuple[tuple[str, tuple[str, ...], set[str]], ...] = (
    # affine and quadratic
    ("dot(y, x) + 3", ("x",), {"affine", "convex", "smooth"}),
    ("sum(D @ z)", ("z",), {"affine", "convex", "smooth"}),
    ("||y - A @ x||^2", ("x",), SQUARES),
    ("sum((y - x)^2) / (2 * mu)", ("x",), SQUARES),
    ("mean(square(y - x))", ("x",), SQUARES),
    ("dot(y - x, y - x)", ("x",), SQUARES),
    ("(y - x) @ (y - x)", ("x",), SQUARES),
    ("sum(v * (x - y)^2)", ("x",), SQUARES),
    ("lam * ||x||^2", ("x",), {"quadratic", "smooth", "convex if lam >= 0", "sum of squares if lam >= 0"}),
    ("-lam / 2 * ||x||^2", ("x",), {"quadratic", "smooth", "convex if lam <= 0", "sum of squares if lam <= 0"}),
    ("-||x||^2", ("x",), {"quadratic", "smooth", "concave"}),
    ("sum(y * x^2)", ("x",), {"quadratic", "smooth", "convex if y >= 0", "sum of squares if y >= 0"}),
    ("x @ A @ x", ("x",), {"quadratic", "smooth", "convex if A is positive semidefinite"}),
    ("x @ S @ x + dot(y, x)", ("x",), QUADRATIC),
    ("x @ A.T @ A @ x", ("x",), QUADRATIC),
    ("(x - y) @ (S + mu * identity(n)) @ (x - y)", ("x",), QUADRATIC),
    ("-(x @ A @ x)", ("x",), {"quadratic", "smooth"}),
    ("s * t", ("s", "t"), {"quadratic", "smooth", "convex by blocks"}),
    ("s * s - 2 * s * t + t * t", ("s", "t"), {"quadratic", "smooth", "convex by blocks"}),
    ("var(x)", ("x",), {*QUADRATIC, "bounded below"}),
    ("for i in 0..n-1 { energy e[i] = (x[i+1] - x[i])^2 }", ("x",), SQUARES),
    ("for i in 0..n if b[i] { energy e[i] = (x[i] - y[i])^2 }", ("x",), SQUARES),
    ("for i in 0..n { energy e[i] = y[i] * (x[i] - u)^2 }", ("x",), {"quadratic", "smooth", "convex if y[i] >= 0", "sum of squares if y[i] >= 0"}),
    ("for (i, j) in edges { energy e[i, j] = 1/2 * (x[i] - x[j])^2 }", ("x",), SQUARES),
    ("let r = y - A @ x\n  energy e = ||r||^2", ("x",), SQUARES),
    # losses and nonlinear residuals
    ("sum(huber(y - x))", ("x",), {"convex", "piecewise smooth", "bounded below", "sum of losses"}),
    ("sum(huber(y - x, delta = mu)) + nu * ||x||^2", ("x",), {"convex", "piecewise smooth", "bounded below", "sum of losses"}),
    ("sum(huber(y - x, delta = lam))", ("x",), {"convex if lam >= 0", "piecewise smooth"}),
    ("sum(log1p((y - x)^2))", ("x",), {"smooth", "bounded below", "sum of losses"}),
    ("sum(log(1 + (y - x)^2 / mu^2))", ("x",), {"smooth", "bounded below", "sum of losses"}),
    ("sum(sqrt(1 + (y - x)^2) - 1)", ("x",), {"convex", "smooth", "bounded below", "sum of losses"}),
    ("sum((y - x)^2 / (1 + (y - x)^2))", ("x",), {"smooth", "bounded below", "sum of losses"}),
    ("sum(1 - exp(-(y - x)^2))", ("x",), {"smooth", "bounded below", "sum of losses"}),
    ("(1 - s)^2 + 100 * (t - s^2)^2", ("s", "t"), {"smooth", "bounded below", "sum of squares", "convex in part"}),
    ("(s^2 - 1)^2", ("s",), {"smooth", "bounded below", "sum of squares"}),
    ("sum(sin(x)^2)", ("x",), {"smooth", "bounded below", "sum of squares"}),
    # convex
    ("sum(softplus(-y * x))", ("x",), {"convex", "smooth", "bounded below"}),
    ("sum(log(1 + exp(y * x)))", ("x",), {"convex", "smooth", "bounded below"}),
    ("sum(log(cosh(x - y)))", ("x",), {"convex", "smooth", "bounded below"}),
    ("logsumexp(A @ x) - dot(y, x)", ("x",), {"convex", "smooth"}),
    ("max(A @ x)", ("x",), {"convex", "kinks"}),
    ("||x - y||", ("x",), {"convex", "kinks", "bounded below"}),
    ("sqrt(sum((x - y)^2))", ("x",), {"convex", "kinks", "bounded below"}),
    ("sqrt(sum((x - y)^2) + mu)", ("x",), {"convex", "smooth", "bounded below"}),
    ("norm(x, order = 0.5)", ("x",), {"kinks", "bounded below"}),
    ("sum(relu(A @ x))^2", ("x",), {"convex", "kinks", "bounded below", "sum of squares"}),
    ("p - log(p)", ("p",), {"convex", "smooth"}),
    ("s^2 / p", ("s", "p"), {"convex", "smooth", "bounded below"}),
    ("p * log(p / mu)", ("p",), {"convex", "smooth"}),
    ("1 / p + p", ("p",), {"convex", "smooth", "bounded below"}),
    ("trace(S @ X) - logabsdet(X)", ("X",), {"convex", "smooth"}),
    ("batch energy e = sum(mean(x, over = batch)^2)", ("x",), {*QUADRATIC, "bounded below", "sum of squares"}),
    # poles, domains and signs that must not be taken for convexity
    ("1 / s^2", ("s",), {"smooth", "bounded below"}),
    ("-log(s^2)", ("s",), {"smooth"}),
    ("(s^2)^0.25", ("s",), {"kinks", "bounded below"}),
    ("1 / s", ("s",), {"smooth"}),
    ("sum(where(x > 0, x, 2 * x))", ("x",), {"steps"}),
    ("sum(where(b, x, 2 * x)^2)", ("x",), {*QUADRATIC, "bounded below", "sum of squares"}),
    ("||x - y||^2 - ||x||^2", ("x",), {"quadratic", "smooth"}),
    ("sum(exp(-x) * x)", ("x",), {"smooth"}),
    ("o @ S @ o", ("o",), {"quadratic", "convex energy", "smooth"}),
    ("sum(W * (D - W))", ("W",), {"quadratic", "smooth", "concave"}),
    # forms of their own
    ("lam * ||x||_1 + ||y - x||^2", ("x",), {"kinks", "convex if lam >= 0", "smooth plus absolute values if lam >= 0"}),
    ("dot(y, c) - mu * entropy(c)", ("c",), {"convex", "smooth", "linear minus entropy"}),
    ("dot(y, c) + mu * sum(c * log(c))", ("c",), {"convex", "smooth", "linear minus entropy"}),
    ("dot(y, c) - lam * entropy(c)", ("c",), {"convex if lam >= 0", "smooth"}),
    ("c @ A @ c - entropy(c)", ("c",), {"convex if A is positive semidefinite", "smooth"}),
    ("1/2 * ||x||^2 - logsumexp(mu * (A @ x)) / mu", ("x",), {"smooth", "log-sum-exp plus quadratic"}),
    ("-logsumexp(-mu * sum((A - x[None, ..])^2, over = 1)) / mu", ("x",), {"smooth", "log-sum-exp plus quadratic"}),
    ("-logsumexp(sum((A - x[None, ..])^2, over = 1))", ("x",), {"smooth", "concave"}),
    ("||y - W @ z||^2 + ||z||^2", ("z", "W"), {"smooth", "bounded below", "sum of squares", "convex by blocks"}),
    ("sum(sin(x))", ("x",), {"smooth"}),
    ("where(flag, s, t)^2", ("s", "flag"), set()),
)  # fmt: skip


@pytest.mark.parametrize(("text", "sought", "expected"), CASES, ids=[f"{i}" for i in range(len(CASES))])
def test_findings(text: str, sought: tuple[str, ...], expected: set[str]) -> None:
    assert found(text, *sought) == expected


def test_what_is_given_decides() -> None:
    text = "||y - W @ z||^2"
    assert "convex" in found(text, "z")
    assert "convex" in found(text, "W")
    assert "convex" not in found(text, "W", "z")


def test_why_not_convex() -> None:
    assert (
        missing_text(structure("sum(sin(x)) + ||x||^2", "x"), "convex")
        == "`sin(x)` in e is not proven convex"
    )
    assert "sphere" in missing_text(structure("||o||^2", "o"), "convex")
    assert missing_text(structure("-||x||^2", "x"), "convex") == "e is concave"


def test_texts_fit_the_page() -> None:
    for text, sought, _ in CASES:
        shown = explain(plan(text, *sought))
        assert max(map(len, shown.splitlines())) <= 80


# --- against numbers ----------------------------------------------------------------------------


def drawn(rng: np.random.Generator) -> dict[str, Any]:
    """Values of everything in HEAD, inside the domains."""
    n, k = SIZES["n"], SIZES["k"]
    root, matrix = rng.normal(size=(n, n)), rng.normal(size=(n, n))
    c, o = rng.exponential(size=n), rng.normal(size=n)
    kind = rng.integers(2)
    return {
        "lam": rng.choice([-0.8, 0.6]), "mu": rng.choice([0.4, 1.7]), "nu": 0.9, "u": rng.normal(),
        "y": np.abs(rng.normal(size=n)) if kind else rng.normal(size=n), "b": rng.random(n) < 0.7,
        "v": np.abs(rng.normal(size=n)), "A": matrix @ matrix.T if kind else matrix, "S": root @ root.T,
        "D": rng.normal(size=(n, k)), "edges": rng.integers(0, n, size=(k, 2)), "x": 2 * rng.normal(size=n),
        "s": 2 * rng.normal(), "t": 2 * rng.normal(), "p": rng.uniform(0.1, 3), "q": rng.uniform(0, 2, size=n),
        "c": c / c.sum(), "o": o / np.linalg.norm(o), "z": rng.normal(size=k), "W": rng.normal(size=(n, k)),
        "X": root.T @ root + 0.3 * np.eye(n), "flag": True,
    }  # fmt: skip


@dataclass
class Evaluated:
    """An energy as a function of the sought values, by the slow evaluator."""

    asked: Structure
    given: dict[str, Any]

    def reference(self, sought: dict[str, Any]) -> Reference:
        values = {**self.given, **sought}
        shared = {k: values.pop(k) for k in ("lam", "mu", "nu", "A", "S", "D", "edges")}
        return Reference(self.asked.block.graph.model, SIZES, shared, [values])

    def energy(self, sought: dict[str, Any]) -> float:
        reference = self.reference(sought)
        return float(sum(reference.term(t, 0) for t in self.asked.block.graph.model.terms))

    def value(self, node: Expr, sought: dict[str, Any]) -> float:
        return float(self.reference(sought).value(node, 0, {}))

    def holds(self, finding: Finding) -> bool:
        for o in finding.obligations:
            value = np.asarray(self.reference({}).value(o.value, 0, {}), dtype=float)
            if o.kind == "psd" and np.linalg.eigvalsh((value + value.T) / 2).min() < 0:
                return False
            if o.kind == "nonnegative" and (value < 0).any():
                return False
        return True


def whole(part: LossPart) -> Expr:
    """`weight * loss(residual)`, added up over everything."""
    r = part.residual
    loss = Apply(r.type, r.axes, r.level, r.coupled, r.span, "square", (r,))
    body: Expr = loss if part.loss is None else filled(part.loss, r)
    body = times(part.weight, body)
    if body.type.rank:
        static = (("dims", body.type.rank),)
        body = Apply(body.type.with_shape(()), body.axes, body.level, False, r.span, "sum", (body,), static)
    return summed(body, part.axes, part.guard)


def filled(loss: Expr, residual: Expr) -> Expr:
    if isinstance(loss, Read) and loss.name == RESIDUAL:
        return residual
    return typed.rebuilt(loss, tuple(filled(c, residual) for c in loss.children()))


NUMERIC = [case for case in CASES if " if b[i]" not in case[0] and "batch" not in case[0] and case[2]]


@pytest.mark.parametrize(("text", "sought", "expected"), NUMERIC, ids=[c[0][:40] for c in NUMERIC])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_findings_hold(text: str, sought: tuple[str, ...], expected: set[str]) -> None:
    asked = structure(text, *sought)
    rng = np.random.default_rng(0)
    for _ in range(12):
        given = drawn(rng)
        energies = Evaluated(asked, given)
        a, b = ({n: value[n] for n in sought} for value in (drawn(rng), drawn(rng)))
        for finding in asked.findings:
            if energies.holds(finding):
                claim(finding, energies, a, b)


def claim(finding: Finding, energies: Evaluated, a: dict[str, Any], b: dict[str, Any]) -> None:
    line = [{n: a[n] + t * (b[n] - a[n]) for n in a} for t in (0.0, 0.5, 1.0, 1.5)]
    e = [energies.energy(point) for point in line]
    scale = 1e-9 * (1 + max(abs(x) for x in e if np.isfinite(x)))
    match finding.property:
        case "affine":
            assert abs(e[0] - 2 * e[1] + e[2]) <= scale
        case "quadratic":
            assert abs(e[3] - 3 * e[2] + 3 * e[1] - e[0]) <= scale
        case "convex" | "convex energy":
            assert e[1] <= (e[0] + e[2]) / 2 + scale
        case "concave":
            assert e[1] >= (e[0] + e[2]) / 2 - scale
        case "bounded below":
            assert finding.bound is not None
            assert min(e[0], e[2]) >= finding.bound - scale
        case "sum of squares" | "sum of losses":
            parts = [[energies.value(whole(p), at) for p in finding.losses] for at in (a, b)]
            assert abs((sum(parts[0]) - sum(parts[1])) - (e[0] - e[2])) <= scale
        case "log-sum-exp plus quadratic":
            mixed = [
                sum(energies.value(r, at) for r in finding.rest)
                - sum(energies.value(m.weight, at) * energies.value(m.value, at) for m in finding.mixtures)
                for at in (a, b)
            ]
            assert abs((mixed[0] - mixed[1]) - (e[0] - e[2])) <= scale
        case "linear minus entropy":
            softmax_is_least(finding, energies, a)
        case "convex by blocks" | "convex in part":
            for group in finding.blocks:
                inside = [{n: point[n] if n in group else a[n] for n in a} for point in line[:3]]
                f = [energies.energy(point) for point in inside]
                assert f[1] <= (f[0] + f[2]) / 2 + 1e-9 * (1 + max(map(abs, f)))


def softmax_is_least(finding: Finding, energies: Evaluated, a: dict[str, Any]) -> None:
    (part,) = finding.softmax
    temperature = sum(energies.value(t, a) for t in part.temperatures)
    assert temperature > 0
    zero = np.zeros_like(a[part.variable])
    flat = sum(energies.value(x, {part.variable: zero}) for x in part.linear)
    slopes = np.array(
        [
            sum(energies.value(x, {part.variable: row}) for x in part.linear) - flat
            for row in np.eye(len(zero))
        ]
    )
    best = np.exp(-(slopes - slopes.min()) / temperature)
    least = energies.energy({part.variable: best / best.sum()})
    assert least <= energies.energy(a) + 1e-12


# --- obligations meet the values ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("lam", "weights", "method"),
    [
        (0.5, [1.0, 2.0], "fista"),
        (-0.5, [1.0, 2.0], "adam"),
        (0.5, [1.0, -2.0], "adam"),
        (0.0, [0.0, 0.0], "fista"),
    ],
)
def test_obligations_decide_when_values_are_bound(
    lam: float, weights: list[float], method: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.ebm"
    path.write_text(
        "model m(n: int, lam: real = 1) {\n  observed y : real[n]\n  observed w : real[n]\n  latent x : real[n] = 0\n"
        "  energy fit = ||y - x||^2\n  energy a = lam * ||x||_1\n  for i in 0..n { energy b[i] = w[i] * |x[i]| }\n"
        "  infer x\n}\n",
        encoding="utf-8",
    )
    result = ebmlang.load(path, lam=lam).infer(y=np.array([3.0, -2.0]), w=np.array(weights))
    assert result.method == method
    assert ("does not apply" in result.because) == (method == "adam")
