"""Replacing a value by one that depends on a plate index, beside arrays that bind an index too."""

from __future__ import annotations

import numpy as np
import pytest

import ebmlang

X, V = np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.0, 4.0])
STEPS = np.arange(3)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        # The array and the replacing value use the index of the same plate.
        ("let d[t] = 2 * x[t]; energy e[t] = t * (d with x = x * v[t])[0]", (STEPS * 2 * X[0] * V).sum()),
        # A reduction binds an index of its own.
        (
            "energy e[t] = t * (sum(x[s] * s, over = s in 0..n) with x = x * v[t])",
            sum(t * (X * V[t] * STEPS).sum() for t in range(3)),
        ),
    ],
)
def test_a_bound_index_does_not_capture_a_free_one(body: str, wanted: float) -> None:
    declared = "latent x : real[n]; observed v : real[n]"
    text = f"model m(n: int) {{ {declared}\n for t in 0..n {{ {body} }}\n infer x }}"
    terms = ebmlang.loads(text).terms(x=X, v=V, dtype="float64")
    assert float(terms["e"]) == pytest.approx(wanted)


def test_an_array_of_an_outer_plate_keeps_its_own_index() -> None:
    text = """
    model m(n: int) {
      latent x : real[n]; observed v : real[n]
      for t in 0..n { let d[t] = 2 * x[t] }
      energy f = sum((sum(d, over = 0) with x = x * v[t]) * t, over = t in 0..n)
      infer x
    }"""
    terms = ebmlang.loads(text).terms(x=X, v=V, dtype="float64")
    assert float(terms["f"]) == pytest.approx(sum(t * (2 * X * V[t]).sum() for t in range(3)))
