"""Energies and constraints in units that are far from 1 have the same answer and the same multipliers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ebmlang

Y = np.array([[1.0, 2.0, 3.0], [-3.0, 0.5, 1.0]])
UNITS = [1e-12, 1e-7, 1.0, 1e7, 1e12]


def asked(energy: str, rule: str, domain: str = "") -> Any:
    text = f"""model m(n: int) {{
  observed y : real[n]
  latent x : real[n]{domain} = 1
  energy e = {energy}
  subject to c : {rule}
}}"""
    return ebmlang.loads(text).infer(y=Y, dtype="float64")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("other", [1.0, 1e9])
def test_the_nearest_point_of_a_ball(unit: float, other: float) -> None:
    """y / |y|, with the multiplier |y| - 1 in units of the energy over those of the constraint."""
    r = asked(f"{unit!r} * ||x - y||^2", f"{other!r} * sum(x^2) <= {other!r}")
    assert r.method == "augmented_lagrangian"
    assert r.converged.all(), r.status
    length = np.linalg.norm(Y, axis=1)
    np.testing.assert_allclose(r.x.numpy(), Y / length[:, None], atol=1e-5)
    np.testing.assert_allclose(r.multipliers["c"].numpy() * other / unit, length - 1, rtol=1e-5)
    assert float(r.violations["c"].max()) <= 1e-8 * other


@pytest.mark.parametrize("unit", UNITS)
def test_the_nearest_point_of_a_plane(unit: float) -> None:
    r = asked("||x - y||^2", f"{unit!r} * sum(x) == {unit!r}")
    assert r.method == "interior_point"
    assert r.converged.all(), r.status
    off = (Y.sum(1) - 1) / 3
    np.testing.assert_allclose(r.x.numpy(), Y - off[:, None], atol=1e-7)
    np.testing.assert_allclose(r.multipliers["c"].numpy() * unit, 2 * off, rtol=1e-6)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("rule", "domain"), [("sum(x^2)", ""), ("sum(x)", " in nonnegative")])
def test_nothing_is_feasible_in_any_unit(unit: float, rule: str, domain: str) -> None:
    r = asked("||x - y||^2", f"{unit!r} * {rule} <= -{unit!r}", domain)
    assert not r.converged.any()
    assert set(r.status) == {f"no feasible point was found: 'c' is violated by {unit:.3g}"}


@pytest.mark.parametrize("unit", UNITS)
def test_absolute_values_are_in_the_same_unit(unit: float) -> None:
    """Within a ball, the answer is the soft threshold of y, scaled to the ball."""
    text = f"""model m(n: int) {{
  observed y : real[n]
  latent x : real[n] = 1
  energy fit = {unit!r} * ||x - y||^2
  energy few = {unit!r} * ||x||_1
  subject to c : sum(x^2) <= 1
}}"""
    r = ebmlang.loads(text).infer(y=Y, dtype="float64")
    assert r.converged.all(), r.status
    short = np.sign(Y) * np.maximum(np.abs(Y) - 0.5, 0)
    np.testing.assert_allclose(r.x.numpy(), short / np.linalg.norm(short, axis=1)[:, None], atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("energy", "rule", "answer"),
    [
        ("sum(x)", "||x||^2 <= 2", [-1.0, -1.0]),
        ("3 * x[0] + 4 * x[1]", "||x||^2 <= 25", [-3.0, -4.0]),
        ("x[0]", "||x||^4 <= 16", [-2.0, 0.0]),
        ("sum(x)", "sum(exp(-x)) <= 3", [-0.4054651, -0.4054651]),
    ],
)
def test_a_linear_energy_is_held_by_a_curved_constraint(
    energy: str, rule: str, answer: list[float], dtype: str
) -> None:
    """From 0, where the constraint has no slope and the energy no curvature: neither tells a length."""
    text = f"model m {{ latent x : real[2] = 0\n energy e = {energy}\n subject to a : {rule}\n infer x }}"
    r = ebmlang.loads(text).infer(dtype=dtype)
    assert r.converged.all(), r.status
    np.testing.assert_allclose(r.x[0].numpy(), answer, atol=2e-3)


def test_a_square_that_cannot_be_negative_has_no_point() -> None:
    text = "model m { latent x : real[2] = 0\n energy e = sum(x)\n subject to a : ||x||^2 <= -1\n infer x }"
    r = ebmlang.loads(text).infer()
    assert not r.converged.any()
    assert "no feasible point was found: 'a'" in r.status[0]
