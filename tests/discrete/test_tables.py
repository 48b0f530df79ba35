"""Terms taken apart into tables: the sum of the tables is the energy, at every assignment that is tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ebmlang
from ebmlang.runtime import posing
from ebmlang.runtime.discrete.question import question_of

HEAD = """model m(n: int, k: int, K: int) {
  observed y : real[n]
  shared observed A : real[n, k]
  shared observed S : real[n, n]
  shared observed T : real[K, K]
  shared observed u : real[K]
  shared observed edges : class[n][k, 2]
  observed on : bool[n]
  latent s : bool[n]
  latent h : bool[k]
  latent c : class[K][n]
  latent d : class[K]
"""

TERMS = {
    "linear": "energy e = dot(y, s) + sum(y * (1 - s))",
    "quadratic": "energy e = s @ S @ s - 2 * ||s - y||^2",
    "bilinear": "energy e = s @ A @ h + (A.T @ s)[0] * h[1]",
    "square of a sum": "energy e = (sum(s) - 2)^2 + (sum(s) + sum(h))^2 / 3",
    "cube of a sum": "energy e = (sum(s) - 1)^3",
    "mean": "energy e = mean(s) * mean(y * s)",
    "let": "let spin = 2 * s - 1; energy e = spin @ S @ spin",
    "plated let": "for i in 0..n { let v[i] = sum(S[i, j] * s[j], over = j in 0..n) }; energy e = y @ v",
    "fields of a let": "let v = S @ s; for i in 0..n { energy e[i] = v[i] * s[i] }",
    "chain": "for i in 0..n-1 { energy e[i] = T[c[i], c[i + 1]] + u[c[i]] }",
    "ring": "for i in 0..n { energy e[i] = T[c[i], c[(i + 1) % n]] }",
    "mixture": "for i in 0..n { energy e[i] = (y[i] - u[d])^2 * s[i] }",
    "edges": "for (i, j) in edges { energy e[i, j] = where(c[i] == c[j], 0.3, T[c[i], c[j]]) }",
    "guard on indices": "for i in 0..n, j in 0..n if i < j { energy e[i, j] = S[i, j] * s[i] * s[j] }",
    "guard on data": "for i in 0..n if on[i] { energy e[i] = y[i] * s[i] }",
    "fold with a guard": "energy e = sum(S[i, j] * s[i] * s[j], over = (i in 0..n, j in 0..n if i != j))",
    "one hot": "energy e = dot(onehot(d, K), u) + sum(onehot(c[0], K) * u)",
    "einsum": 'energy e = einsum("ij,i,j->", A, s, h)',
    "outer and trace": "energy e = trace(S @ outer(s, s)) + sum(outer(s, h) * A)",
    "diagonal": "energy e = sum(diag(S) * s) + trace(diag(s) @ S)",
    "along an axis": "energy e = sum(sum(A * h[None, ..], over = 1) * s)",
    "slices": "energy e = dot(s[1..n], s[0..n-1])",
    "logic": "energy e = where(s[0] and not(s[1]) or h[0], 1.5, 0.0)",
    "scalar function of few": "energy e = exp(s[0] + 2 * s[1]) * sqrt(1 + h[0])",
    "where of data": "energy e = where(y[0] > 0, sum(s), sum(h) * s[0])",
    "nothing": "energy e = sum(y)",
    "pack": "for i in 0..2 { energy e[i] = [s[0], s[1]][i] * y[i] }",
    "polynomial": "energy e = (dot(y, s) - 1)^2 * s[0]",
}  # fmt: skip


def values(seed: int) -> Mapping[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {
        "y": rng.normal(size=(2, 4)),
        "A": rng.normal(size=(4, 3)),
        "S": rng.normal(size=(4, 4)),
        "T": rng.normal(size=(3, 3)),
        "u": rng.normal(size=3),
        "edges": np.array([[0, 1], [1, 2], [3, 0]]),
        "on": rng.random((2, 4)) < 0.5,
    }


@pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)
def test_tables_add_up_to_the_energy(term: str) -> None:
    text = HEAD + "  " + term.replace("; ", "\n  ") + "\n  infer s, h, c, d\n}"
    model = ebmlang.loads(text)
    plan = model.choice()
    assert plan.block.tables.whole == (), plan.because
    asked = model.asked(None, frozenset(), None, None, frozenset())
    _, module = model.compiled(asked, None)
    given = values(0)
    bound = model.bound(module, given, model.settings(given, "float64", None, None, None), frozenset())
    question = question_of(bound, {}, posing.held_values(bound), {})
    (network,) = question.networks()
    rng = np.random.default_rng(1)
    for _ in range(20):
        drawn = torch.from_numpy(rng.integers(0, question.cases, size=(2, len(question.cases))))
        expected = question.energies(drawn, torch.arange(2))
        torch.testing.assert_close(network.energy(drawn), expected, rtol=1e-10, atol=1e-10)


WHOLE = {
    "function of a sum": ("energy e = exp(sum(s))", "read along a whole dimension"),
    "largest": ("energy e = max(y * s)", "looks at all of it"),
    "unknown subscript": ("energy e = where(s[d], 1.0, 0.0)", "unknown subscript"),
    "softmax": ("energy e = logsumexp(y * s)", "looks at all of it"),
}


@pytest.mark.parametrize(("term", "because"), WHOLE.values(), ids=WHOLE)
def test_what_stays_whole_is_named(term: str, because: str) -> None:
    head = HEAD.replace("n: int, k: int, K: int", "n: int = 3, k: int, K: int")
    if "s[d]" in term:
        head = head.replace("latent d : class[K]", "latent d : class[n]")
    (whole,) = ebmlang.loads(head + f"  {term}\n}}").choice().block.tables.whole
    assert whole.term == "e"
    assert because in whole.because
