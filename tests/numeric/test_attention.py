"""Closed forms on the simplex, against PyTorch's own attention and against a search."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

import ebmlang
from tests.numeric.gallery import load

PRECISION = {torch.float32: 3e-6, torch.float64: 1e-13}


def numbers(dtype: torch.dtype) -> dict[str, Any]:
    made = torch.Generator().manual_seed(0)
    shapes = {"q": (5, 8), "K": (5, 12, 8), "V": (5, 12, 3)}
    return {n: 2 * torch.randn(*s, generator=made, dtype=torch.float64).to(dtype) for n, s in shapes.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_is_that_of_torch(dtype: torch.dtype) -> None:
    given = numbers(dtype)
    found = load("attention").infer(**given)
    q, K, V = given["q"], given["K"], given["V"]
    scores = torch.einsum("bmd,bd->bm", K, q) / 8**0.5
    wanted = functional.scaled_dot_product_attention(q[:, None], K, V)[:, 0]
    assert found.method == "softmax"
    assert found.certificate == "exact: the minimum, in closed form"
    assert bool(found.converged.all())
    assert found.iterations.tolist() == [1] * 5
    assert float((found.c - functional.softmax(scores, -1)).abs().max()) <= PRECISION[dtype]
    assert float((found.y - wanted).abs().max()) <= 4 * PRECISION[dtype]
    assert float((found.energy + torch.logsumexp(scores, -1)).abs().max()) <= 10 * PRECISION[dtype]


def test_slots_that_are_not_seen_have_no_share() -> None:
    given = numbers(torch.float64)
    see = torch.rand(5, 12, generator=torch.Generator().manual_seed(1)) > 0.4
    see[1] = torch.arange(12) == 3
    found = load("attention").infer(**given, see=see)
    wanted = functional.scaled_dot_product_attention(
        given["q"][:, None], given["K"], given["V"], attn_mask=see[:, None]
    )[:, 0]
    assert bool((found.c[~see] == 0).all())
    assert float((found.y - wanted).abs().max()) <= 1e-12


def test_memories_that_all_queries_share() -> None:
    given = numbers(torch.float64)
    K, V = given["K"][0], given["V"][0]
    found = load("attention").infer(q=given["q"], K=K, V=V)
    wanted = functional.scaled_dot_product_attention(given["q"], K, V)
    assert float((found.y - wanted).abs().max()) <= 1e-12


def test_a_search_finds_the_same() -> None:
    given = numbers(torch.float64)
    found, searched = load("attention").infer(**given), load("attention").infer(**given, using="lbfgs")
    assert searched.method == "lbfgs"
    assert float((found.c - searched.c).abs().max()) <= 1e-5
    assert bool((found.energy <= searched.energy + 1e-12).all())


PLATES = """
model plates(T: int, m: int, b: real in positive = 2.0) {
  observed s : real[T, m]
  observed tau : real[T] in positive
  observed w : real[m]
  latent c : real[T, m] in simplex
  latent d : real[m] in simplex
  for t in 0..T {
    energy matching[t] = sum(c[t] * s[t])
    energy spread[t] = -tau[t] * entropy(c[t])
  }
  energy all = -b * entropy(c)
  energy other = sum(d * log(d)) + dot(w, d) - d[0]
  infer c, d
}
"""


def test_plates_of_simplexes_with_temperatures_of_their_own() -> None:
    made = torch.Generator().manual_seed(2)
    s = torch.randn(3, 4, 6, generator=made, dtype=torch.float64)
    tau = torch.rand(3, 4, generator=made, dtype=torch.float64) + 0.1
    w = torch.randn(3, 6, generator=made, dtype=torch.float64)
    model = ebmlang.loads(PLATES)
    found = model.infer(s=s, tau=tau, w=w)
    assert found.method == "softmax"
    assert float((found.c - functional.softmax(-s / (tau + 2)[..., None], -1)).abs().max()) <= 1e-12
    shifted = w - torch.eye(6, dtype=torch.float64)[0]
    assert float((found.d - functional.softmax(-shifted, -1)).abs().max()) <= 1e-12
    searched = model.infer(s=s, tau=tau, w=w, using="projected_gradient")
    assert float((found.c - searched.c).abs().max()) <= 1e-5


def test_great_scores_stay_exact() -> None:
    given = numbers(torch.float64)
    found = load("attention").infer(q=1e6 * given["q"], K=given["K"], V=given["V"])
    best = torch.einsum("bmd,bd->bm", given["K"], given["q"]).argmax(-1)
    assert bool(found.converged.all())
    assert torch.equal(found.c.argmax(-1), best)


@pytest.mark.parametrize(
    "energy",
    [
        "dot(y, c) + dot(c, A @ c) - entropy(c)",  # not linear
        "dot(y, c) + lam * entropy(c)",  # the wrong sign
        "dot(y, c) - entropy(c)^2",
        "dot(y, c) + c[0] * x - entropy(c) + x^2",  # another unknown
        "dot(y, c)",
    ],
)
def test_energies_without_this_closed_form(energy: str) -> None:
    text = (
        "model m(n: int, lam: real in positive = 1.0) {\n  observed y : real[n]\n  observed A : real[n, n]\n"
        f"  latent c : real[n] in simplex\n  latent x : real\n  energy e = {energy}\n"
        f"  infer c{', x' if 'x' in energy else ''}\n}}\n"
    )
    method = ebmlang.loads(text).choice().method
    assert method is not None
    assert method.name != "softmax"


def test_explain_shows_the_formula() -> None:
    text = load("attention").explain()
    assert "c = softmax(K @ q / sqrt(d))" in " ".join(text.split())
