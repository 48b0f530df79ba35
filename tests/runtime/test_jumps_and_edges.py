"""Answers beside a jump of the energy, and matrices that have become singular but for rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ebmlang


def asked(declaration: str, energy: str, dtype: str = "float64") -> ebmlang.Result:
    return ebmlang.loads(f"model m {{ latent x : {declaration}\n energy e = {energy}\n infer x }}").infer(
        dtype=dtype
    )


def test_no_answer_stays_on_the_upper_side_of_a_jump() -> None:
    """floor(x) + x^2 is 0 at 0, and -1 right below it in every entry."""
    r = asked("real[3] = 0.3", "sum(floor(x)) + ||x||^2")
    assert float(r.energy[0]) == pytest.approx(-3, abs=1e-6)


def test_a_jump_further_off_leaves_a_minimum_alone() -> None:
    r = asked("real[1] = 0.3", "where(x[0] > 1, -5, 0) + x[0]^2")
    assert r.converged[0]
    assert float(r.energy[0]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_determinant_that_grows_without_end_is_unbounded(dtype: str) -> None:
    r = asked("real[2, 2] in positive_definite", "x[0, 0] - logabsdet(x)", dtype)
    assert r.status[0].startswith("unbounded: the energy falls without end in term 'e'")
    assert not r.converged[0]


def test_a_matrix_that_is_singular_to_rounding_is_no_answer() -> None:
    r = asked("real[3, 3] in positive_definite", "x[0, 0] - logabsdet(x)")
    assert not r.converged[0]


@pytest.mark.parametrize("least", [1e-3, 1e-9])
def test_a_determinant_that_anything_holds_is_not(least: float) -> None:
    """trace(S x) - log det(x) is least at the inverse of S."""
    r = asked("real[2, 2] in positive_definite", f"x[0, 0] + {least} * x[1, 1] - logabsdet(x)")
    assert r.converged[0]
    np.testing.assert_allclose(torch.diagonal(r.x[0]).numpy(), [1, 1 / least], rtol=1e-4)
