"""What is called converged does not depend on the unit of the energy; a small slope alone does not count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ebmlang

Y = np.array([[1.0, 2.0, 3.0], [-0.5, 0.3, 4.0]])
TINY, HUGE = 1e-12, 1e12


def asked(text: str, data: dict[str, Any] | None = None, **options: Any) -> Any:
    return ebmlang.loads(text).infer(data or {}, **({"dtype": "float64"} | options))


def scaled(energy: str, scale: float, domain: str = "", start: str = "") -> Any:
    text = f"""model m(n: int) {{
  observed y : real[n]
  latent x : real[n]{domain}{start}
  energy e = {scale!r} * ({energy})
}}"""
    return asked(text, {"y": Y})


@pytest.mark.parametrize("scale", [TINY, 1.0, HUGE])
@pytest.mark.parametrize(
    ("energy", "domain", "start"),
    [
        ("sum(log(cosh(x - y)))", "", " = 5"),
        ("||x - y||^2 + sum(x)", " in [0, 2.5]", " = 0.1"),
        ("sum((x - y)^2 / (1 + (x - y)^2)) + 0.01 * ||x||^2", "", " = 0.5"),
        ("-dot(x, y)", " in sphere", ""),
        ("dot(x, y) + 1/2 * ||x||^2", " in simplex", ""),
        ("sum(exp(x) - x * exp(y))", "", ""),
        ("sum(x * (1 + y^2) - log(x))", " in positive", ""),
    ],
)
def test_the_unit_of_the_energy_does_not_matter(energy: str, domain: str, start: str, scale: float) -> None:
    """The same energy in other units has the same answer, that of the usual ones."""
    plain, other = scaled(energy, 1.0, domain, start), scaled(energy, scale, domain, start)
    assert plain.converged.all()
    assert other.converged.all(), other.status
    np.testing.assert_allclose(other.x.numpy(), plain.x.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(other.energy.numpy() / scale, plain.energy.numpy(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("scale", [TINY, HUGE])
def test_the_unit_does_not_matter_beside_absolute_values(scale: float) -> None:
    """Soft thresholds: the shift is half the weight over that of the squares, in any unit."""
    text = f"""model m(n: int) {{ observed y : real[n]; latent x : real[n] = 5
      energy fit = {scale!r} * ||x - y||^2
      energy few = {scale!r} * ||x||_1 }}"""
    r = asked(text, {"y": Y})
    assert r.method == "fista"
    assert r.converged.all()
    np.testing.assert_allclose(r.x.numpy(), np.sign(Y) * np.maximum(np.abs(Y) - 0.5, 0), atol=1e-6)


def test_an_entry_of_other_units_is_no_end() -> None:
    """A stiff entry that has settled does not hide a soft one that has not."""
    r = asked(
        "model m { latent a : real = 1; latent b : real[2] = 0.5\n"
        " energy stiff = 1e10 * (cosh(a) - 1)\n energy soft = sum(cosh(b - 3)) }"
    )
    assert r.status[0].startswith("converged")
    assert np.abs(r.b.numpy() - 3).max() < 1e-3
    assert float(r.terms["soft"][0]) == pytest.approx(2, rel=1e-6)


def test_a_small_number_is_found_where_it_is_small() -> None:
    """The answer may be small itself: nothing but its own size says what small is."""
    r = asked(
        "model m { observed y : real; latent x : real = 0; energy e = sqrt(1 + 1e20 * (x - y)^2) }",
        {"y": np.array([3e-10, -2e-11])},
    )
    assert r.converged.all()
    np.testing.assert_allclose(r.x.numpy(), [3e-10, -2e-11], rtol=1e-3)


FADING = [
    ("-sum(log(x))", " in positive = 1"),
    ("-sum(log(x))", " in nonnegative = 1"),
    ("-sum(log(x))", " = 1"),
    ("-sum(sqrt(x))", " in positive = 1"),
    ("-sum(log(1 + x^2))", " = 1"),
    ("-logabsdet(diag(x))", " in positive = 1"),
    ("-log(sum(x)) + 1 / x[0]", " in positive = 1"),
]


@pytest.mark.parametrize(("energy", "domain"), FADING)
def test_a_slope_that_fades_has_no_minimum(energy: str, domain: str) -> None:
    """Logarithms and roots: their slope is below any tolerance somewhere, and they fall all the way."""
    r = asked(f"model m(n: int = 2) {{ latent x : real[n]{domain}; energy push = {energy} }}")
    assert r.status == ("unbounded: the energy falls without end in term 'push' along 'x'",)
    assert not r.converged.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fall_at_the_edge_of_a_domain(dtype: str) -> None:
    """A variance that explains a residual of 0 shrinks without end; one that is held from below does not."""
    text = """model m {
  observed y : real
  latent s : real in positive
  latent x : real = 0.3
  energy size = log(s)
  energy fit = (x - y)^2 / s
  energy hold = KEPT / s
}"""
    data = {"y": np.array([0.3])}
    free = asked(text.replace("KEPT", "0"), data, dtype=dtype)
    assert not free.converged.any()
    if dtype == "float64":
        # In float32 the search may run out of digits before it is near the edge.
        assert set(free.status) == {"unbounded: the energy falls without end in term 'size' along 's'"}
    held = asked(text.replace("KEPT", "0.01"), data, dtype=dtype)
    assert held.converged.all()
    np.testing.assert_allclose(held.s.numpy(), 0.01, rtol=1e-3)


def test_the_same_with_something_that_holds_it() -> None:
    """A minimum far out is one: log(x) / x balances at exactly 1 / w."""
    w = np.array([1e-6, 1.0, 50.0])
    r = asked(
        "model m { observed w : real; latent x : real in positive; energy e = w * x - log(x) }", {"w": w}
    )
    assert r.converged.all()
    np.testing.assert_allclose(r.x.numpy(), 1 / w, rtol=1e-3)


def test_a_fall_that_is_not_proven_to_go_on_is_no_minimum() -> None:
    """log(log(x)) grows more slowly than anything that is recognised, but does not pass for constant."""
    r = asked("model m { latent x : real in [3, 1e300] = 4; energy e = -log(log(x)) }")
    assert not r.converged.any()
    assert not r.status[0].startswith("unbounded")


SADDLES = [
    ("x[0] * x[1]", " in [-1, 1] = 0", -1.0),
    ("x[0]^2 - x[1]^2", " in [-1, 1] = 0", -1.0),
    ("x[0]^2 - x[1]^2 + x[0] * x[1]", " in [-1, 1] = [0.5, 0.0]", -1.25),
    ("-||x||^2", " in [0, 2] = 0", -8.0),
    ("x[0]^4 + x[1]^4 - 4 * x[0] * x[1]", " = 0", -2.0),
    ("(x[0]^2 - 1)^2 + x[1]^2", " = 0", 0.0),
    ("x[0]^2 - 2 * x[1]^2", " in sphere = [1.0, 0.0]", -2.0),
    ("x[0]^3 + x[1]^2", " in [-2, 2] = 0", -8.0),
]


@pytest.mark.parametrize(("energy", "domain", "least"), SADDLES)
def test_a_saddle_is_left(energy: str, domain: str, least: float) -> None:
    """All of these have one minimum below their saddle, up to symmetry."""
    r = asked(f"model m {{ latent x : real[2]{domain}; energy e = {energy} }}")
    assert r.converged.all()
    assert float(r.energy[0]) == pytest.approx(least, abs=1e-6)


def test_a_factorisation_leaves_zero() -> None:
    """W = 0 is stationary for M - W W'; the best factor has the largest eigenvectors (Eckart and Young)."""
    made = np.random.default_rng(0).normal(size=(4, 4))
    M = made @ made.T
    text = "observed M : real[n, n]; latent W : real[n, 2] = 0; energy e = ||M - W @ W.T||^2"
    r = asked(f"model m(n: int) {{ {text} }}", {"M": M[None]})
    best = np.square(np.linalg.eigvalsh(M)[:2]).sum()
    assert float(r.energy[0]) == pytest.approx(best, rel=1e-6)


def test_an_unbounded_way_from_a_saddle() -> None:
    r = asked("model m { latent x : real[2] in nonnegative = 0; energy e = x[0]^2 - x[1]^2 }")
    assert r.status == ("unbounded: the energy falls without end in term 'e' along 'x'",)


@pytest.mark.parametrize("energy", ["sum(log(cosh(x - y)))", "sum((x - y)^4)", "sum(sqrt(1 + (x - y)^2))"])
def test_a_minimum_is_left_alone(energy: str) -> None:
    """Beginning at the answer stays there, in one step at most."""
    text = f"""model m(n: int) {{
  observed y : real[n]; observed at : real[n]
  latent x : real[n] = at
  energy e = {energy}
}}"""
    r = asked(text, {"y": Y, "at": Y})
    assert r.converged.all()
    assert int(r.iterations.max()) <= 1
    np.testing.assert_allclose(r.x.numpy(), Y, atol=1e-6)


def test_a_steep_start_does_not_loosen_the_answer() -> None:
    """A slope of 2e43 at the start: a share of that is no slope to stop at while the energy still falls."""
    r = asked("model m { latent x : real[2] = 100\n energy e = sum(exp(x)) }")
    assert float(r.energy[0]) < 1e-6
    r = asked("model m { latent x : real[2] = 60\n energy e = sum(exp(x)) - sum(x) }")
    assert r.converged.all()
    np.testing.assert_allclose(r.energy.numpy(), 2.0, rtol=1e-5)


@pytest.mark.parametrize("far", [1e8, 1e15, 1e20])
def test_a_start_far_away_leaves_no_trace_in_a_minimum(far: float) -> None:
    """Of a quadratic energy, whose minimum is one step away: the step has the rounding of the start."""
    r = asked(f"model m {{ latent x : real[3] = {far!r}\n energy e = ||x - 1||^2 + x[0] * x[1] }}")
    assert r.method == "quadratic"
    assert r.converged.all()
    np.testing.assert_allclose(r.x.numpy(), [[2 / 3, 2 / 3, 1.0]], rtol=1e-9)


def test_a_matrix_that_rounding_makes_singular_proves_no_fall() -> None:
    """1e10 + 1 is 1e10 in float32: its matrix has no curvature along (1, 1), where the energy has a slope."""
    energy = "1e10 * (x[0] - x[1])^2 + (x[0] + x[1] - 2)^2"
    text = f"model m {{ latent x : real[2] = 0\n energy e = {energy} }}"
    wide, narrow = asked(text), asked(text, dtype="float32")
    np.testing.assert_allclose(wide.x.numpy(), 1.0, rtol=1e-5)
    assert not narrow.converged.any()
    assert "no further decrease possible in float32" in narrow.status[0]
    assert (
        "unbounded"
        in asked("model m { latent x : real[2] = 0\n energy e = 1e8 + x[0] }", dtype="float32").status[0]
    )
