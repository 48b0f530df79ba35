"""Starts that are stationary for their constraints, and no minimum: the search goes on from beside them."""

from __future__ import annotations

import numpy as np

import ebmlang


def asked(energy: str, *rules: str, dtype: str = "float64") -> ebmlang.Result:
    limits = "".join(f"subject to c{k} : {rule}\n" for k, rule in enumerate(rules))
    text = f"model m {{ latent x : real[2] = 0\n energy e = {energy}\n {limits} infer x }}"
    return ebmlang.loads(text).infer(dtype=dtype)


def test_an_energy_that_falls_along_an_equation_has_no_minimum() -> None:
    """x0^2 - x1^2 is -3 x0^2 where x1 = 2 x0; 0 is stationary."""
    r = asked("x[0]^2 - x[1]^2", "x[1] == 2 * x[0]")
    assert not r.converged.any()
    assert r.status[0].startswith("unbounded: the energy falls without end in term 'e'")


def test_one_that_rises_along_it_has_its_minimum_at_the_start() -> None:
    r = asked("x[0]^2 - x[1]^2", "2 * x[1] == x[0]")
    assert r.converged.all()
    np.testing.assert_allclose(r.x.numpy(), 0.0, atol=1e-6)
