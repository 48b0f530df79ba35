"""Absolute values behind a factor of a sum: another way to write the same energy, and the same method."""

from __future__ import annotations

import numpy as np
import pytest

import ebmlang

ELASTIC = """
model elastic(n: int, k: int, w: real in nonnegative = 0.5) {{
  shared observed A : real[n, k]
  observed y : real[n]
  latent z : real[k]
  energy fit = ||y - A @ z||^2
  {terms}
  infer z{of}
}}
"""
PLAIN = "energy s = w * ||z||_1 + w * ||z||^2"
RNG = np.random.default_rng(0)
A, Y = RNG.normal(size=(8, 4)), RNG.normal(size=(3, 8))


@pytest.mark.parametrize(
    ("terms", "of"),
    [
        ("energy s = w * (||z||_1 + ||z||^2)", ""),
        ("energy s = (||z||_1 + ||z||^2) / (1 / w)", ""),
        ("energy s = -w * (sum(z^2) - ||z||_1 - 2 * ||z||^2)", ""),
        ("energy s = ||z||_1 + ||z||^2", " of fit + w * s"),
        ("for i in 0..k { energy s[i] = w * (|z[i]| + z[i]^2) }", ""),
        ("energy s = w / 2 * (2 * (||z||_1 + ||z||^2) + 0 * sum(z))", ""),
        ("energy s = w / 4 * ||z||_1 + 3 * w / 4 * ||z||_1 + w * ||z||^2", ""),
    ],
)
def test_the_answer_is_that_of_the_sum_written_out(terms: str, of: str) -> None:
    expected = ebmlang.loads(ELASTIC.format(terms=PLAIN, of="")).infer(A=A, y=Y, dtype="float64")
    found = ebmlang.loads(ELASTIC.format(terms=terms, of=of)).infer(A=A, y=Y, dtype="float64")
    assert bool(found.converged.all())
    assert np.allclose(found.z, expected.z, atol=1e-8)
    assert bool(((found.z == 0) == (expected.z == 0)).all())


@pytest.mark.parametrize("terms", ["energy s = w * (||z||_1 + ||z||^2)", PLAIN])
def test_the_method_is_that_of_absolute_values(terms: str) -> None:
    method = ebmlang.loads(ELASTIC.format(terms=terms, of="")).choice().method
    assert method is not None
    assert method.name == "fista"


def test_a_factor_that_may_be_negative_is_a_condition() -> None:
    text = ELASTIC.format(terms="energy s = w * (||z||_1 + ||z||^2)", of="").replace(" in nonnegative", "")
    m = ebmlang.loads(text, w=-0.1)
    assert m.infer(A=A, y=Y, dtype="float64").method != "fista"
