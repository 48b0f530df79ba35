"""Functions of whole arrays over few countable entries are tables; loops over entries stay whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ebmlang

TWO = """model two(n: int, d: int) {{
  observed X : real[n, d]
  observed y : real[d]
  latent c : class[n]
  latent e : class[n]
  let far = norm(y - X[c])
  let z = X[c] * X[e]
  energy q = {}
  energy both = where(c == e, 0.3, 0)
  infer c, e
}}"""


@pytest.mark.parametrize(
    "energy",
    [
        "norm(far)",
        "norm(z)",
        "max(z) + logsumexp(X[e])",
        "logabsdet(diag(y^2 + 1) + far * outer(y, y))",
        "sum(norm(y - X[c]) * X[j, 0], over = j in 0..n)",
        "dot(y, softmax(z)) + sum(relu(max(z) - 0.1))",
    ],
)
def test_tables_of_functions_give_what_enumeration_gives(energy: str) -> None:
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {"X": rng.normal(size=(3, 4, 2)), "y": rng.normal(size=(3, 2))}
    model = ebmlang.loads(TWO.format(energy))
    found = model.infer(**values, dtype="float64")
    every = model.infer(**values, dtype="float64", using="enumeration")
    assert found.method == "elimination"
    torch.testing.assert_close(found.energy, every.energy, rtol=0, atol=1e-12)
    sums = model.marginal(**values, find=["c", "e"], dtype="float64")
    energies = torch.stack(
        [
            model.energy({**values, "c": np.full(3, c), "e": np.full(3, e)}, dtype="float64")
            for c in range(4)
            for e in range(4)
        ]
    )
    torch.testing.assert_close(sums.log_z, (-energies).logsumexp(0), rtol=0, atol=1e-12)


RUN = """model run(T: int) {{
  observed y : real[T]
  latent c : bool[T]
  let s[0] = 0.0
  for t in 0..T {{ let s[t+1] = 0.5 * s[t] + c[t] }}
  for t in 0..T {{ let pair[t] = stack(s[t], c[t]) }}
  {}
  infer c
}}"""


@pytest.mark.parametrize(
    "energy",
    [
        "energy e = norm(s) - dot(y, c)",
        "for t in 0..T { energy e[t] = norm(pair[t] - y[t]) }",
        "batch energy e = mean(norm(c - y), over = batch) - mean(dot(y, c), over = batch)",
    ],
)
def test_loops_and_batches_stay_whole(energy: str) -> None:
    y = np.random.default_rng(1).normal(size=(2, 4))
    model = ebmlang.loads(RUN.format(energy))
    found = model.infer(y=y, dtype="float64")
    assert found.method == "enumeration"
    assert model.choice().structure.find("whole terms") is not None
