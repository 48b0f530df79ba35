"""Starts without slope that are no answers: the middle of a simplex, and energies that jump."""

from __future__ import annotations

import pytest

import ebmlang


def lowest(text: str) -> ebmlang.Result:
    return ebmlang.loads(text).infer(dtype="float64")


@pytest.mark.parametrize(
    ("energy", "value"),
    [("-dot(x, x)", -1.0), ("-sum(x * [1, 1, 1] * x)", -1.0), ("-(x[0] - 1/3)^2", -4 / 9)],
)
def test_the_middle_of_a_simplex_may_be_a_maximum(energy: str, value: float) -> None:
    r = lowest(f"model m {{ latent x : real[3] in simplex; energy e = {energy}; infer x }}")
    assert r.converged[0]
    assert float(r.energy[0]) == pytest.approx(value, abs=1e-8)


def test_the_middle_of_a_simplex_may_be_the_minimum() -> None:
    r = lowest("model m { latent x : real[3] in simplex; energy e = dot(x, x); infer x }")
    assert r.converged[0]
    assert float(r.energy[0]) == pytest.approx(1 / 3, abs=1e-12)


@pytest.mark.parametrize("energy", ["floor(x)", "sign(x) * sign(x - 3)", "ceil(x / 2)"])
def test_an_energy_that_only_jumps_has_no_converged_answer(energy: str) -> None:
    r = lowest(f"model m {{ latent x : real = 1.5; energy e = {energy}; infer x }}")
    assert not r.converged[0]
    assert r.status[0] == "no slope: the energy jumps, and nothing shows which way is down"


def test_a_valley_between_jumps_is_an_answer() -> None:
    r = lowest("model m { latent x : real = 1.5; energy e = (x - 1.4)^2 + floor(x); infer x }")
    assert r.converged[0]
    assert float(r.x[0]) == pytest.approx(1.4, abs=1e-6)
