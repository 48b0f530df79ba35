"""Concave-convex steps: one is attention, each lowers the energy, and in the end gradients vanish."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax

import ebmlang
from ebmlang.runtime.mixture import MixtureForm, Scores
from ebmlang.runtime.solvers import concave_convex
from tests.numeric.gallery import Array, digits, load

RECALL = """
model recall(m: int, n: int, beta: real in positive = 8.0) {
  shared observed memory : real[m, n]
  observed query : real[n]
  latent x : real[n] = query
  energy size = 1/2 * ||x||^2
  energy match = -logsumexp(beta * memory @ x) / beta
  infer x
}
"""


def patterns(rows: int = 6, stored: int = 20, n: int = 7) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    memory = rng.normal(size=(stored, n))
    memory /= np.linalg.norm(memory, axis=1, keepdims=True)
    return memory, memory[:rows] + 0.3 * rng.normal(size=(rows, n))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_step_is_attention(dtype: str) -> None:
    memory, query = patterns()
    found = ebmlang.loads(RECALL).infer(memory=memory, query=query, dtype=dtype, steps=1)
    wanted = softmax(8.0 * query @ memory.T, axis=1) @ memory
    assert found.method == "concave_convex"
    assert np.abs(found.x.numpy() - wanted).max() <= (1e-6 if dtype == "float32" else 1e-12)


def test_the_energy_falls_at_every_step_to_a_stationary_point() -> None:
    memory, query = patterns()
    found = ebmlang.loads(RECALL).infer(memory=memory, query=query, dtype="float64", trace=True)
    assert found.trace is not None
    assert bool((found.trace.diff(dim=0) <= 0).all())
    x = found.x.numpy()
    assert bool(found.converged.all())
    assert np.abs(x - softmax(8.0 * x @ memory.T, axis=1) @ memory).max() <= 1e-8
    energy = 0.5 * (x**2).sum(1) - logsumexp(8.0 * x @ memory.T, axis=1) / 8.0
    assert np.abs(found.trace[-1].numpy() - energy).max() <= 1e-12


def test_rows_do_not_depend_on_each_other_and_a_warm_start_stays() -> None:
    memory, query = patterns()
    model = ebmlang.loads(RECALL)
    found = model.infer(memory=memory, query=query, dtype="float64")
    alone = model.infer(memory=memory, query=query[2], dtype="float64")
    assert np.abs(alone.x.numpy()[0] - found.x.numpy()[2]).max() <= 1e-12
    again = model.infer(memory=memory, query=found.x, dtype="float64")
    assert int(again.iterations.max()) < int(found.iterations.max())
    assert float((again.x - found.x).abs().max()) <= 1e-7


def test_every_query_with_memories_of_its_own() -> None:
    memory, query = patterns()
    own = np.stack([memory + 0.1 * k for k in range(6)])
    text = RECALL.replace("shared observed memory", "observed memory")
    model = ebmlang.loads(text)
    found = model.infer(memory=own, query=query, dtype="float64")
    assert found.method == "concave_convex"
    for k in range(6):
        one = model.infer(memory=own[k], query=query[k], dtype="float64")
        assert np.abs(one.x.numpy()[0] - found.x.numpy()[k]).max() <= 1e-10


GAUSSIANS = """
model gaussians(K: int, n: int) {
  shared observed centre : real[K, n]
  shared observed width : real[K, n] in positive
  observed y : real[n]
  observed pull : real in positive
  latent x : real[n] in [-2, 2] = y
  energy density = -logsumexp(-1/2 * sum((centre - x[None, ..])^2 / width, over = 1))
  energy near = pull / 2 * ||x - y||^2
  infer x
}
"""


def test_gaussians_of_different_widths_within_bounds() -> None:
    rng = np.random.default_rng(1)
    centre, width = rng.normal(size=(5, 3)), rng.uniform(0.2, 2.0, size=(5, 3))
    y, pull = 2.5 * rng.normal(size=(9, 3)), rng.uniform(0.05, 1.0, size=9)
    found = ebmlang.loads(GAUSSIANS).infer(
        centre=centre, width=width, y=y, pull=pull, dtype="float64", trace=True
    )
    assert found.method == "concave_convex"
    assert bool(found.converged.all())
    assert found.trace is not None
    assert bool((found.trace.diff(dim=0) <= 0).all())
    x = found.x.numpy()
    shares = softmax(-0.5 * ((centre - x[:, None]) ** 2 / width).sum(-1), axis=1)
    slope = (shares[..., None] * (x[:, None] - centre) / width).sum(1) + pull[:, None] * (x - y)
    stepped = np.clip(x - slope, -2, 2)
    assert np.abs(stepped - x).max() <= 1e-7
    assert bool((np.abs(x) == 2).any())


MANY = """
model many(T: int, K: int, n: int) {
  shared observed centre : real[K, n]
  shared observed w : real[T] in nonnegative
  shared observed A : real[n, n]
  observed y : real[T, n]
  latent x : real[T, n] = y
  for t in 0..T { energy density[t] = -w[t] * logsumexp(centre @ x[t]) }
  energy other = -logsumexp(x[0] - x[1])
  energy near = sum((x @ A - y)^2)
  infer x
}
"""


def test_several_mixtures_in_a_plate_and_a_coupled_quadratic() -> None:
    rng = np.random.default_rng(2)
    centre, w = rng.normal(size=(5, 3)), rng.uniform(0, 1, size=4)
    A, y = rng.normal(size=(3, 3)) + 2 * np.eye(3), rng.normal(size=(2, 4, 3))
    found = ebmlang.loads(MANY).infer(centre=centre, w=w, A=A, y=y, dtype="float64", trace=True)
    assert found.method == "concave_convex"
    assert bool(found.converged.all())
    assert found.trace is not None
    assert bool((found.trace.diff(dim=0) <= 0).all())
    for x, own in zip(found.x.numpy(), y, strict=True):
        slope = 2 * (x @ A - own) @ A.T - w[:, None] * (softmax(x @ centre.T, axis=1) @ centre)
        share = softmax(x[0] - x[1])
        slope[0] -= share
        slope[1] += share
        assert np.abs(slope).max() <= 1e-7


def test_single_precision_reaches_the_same_recall() -> None:
    stored = digits()[:40]
    cue = np.where(np.arange(64) < 32, stored, np.nan)
    model = load("hopfield")
    double = model.infer(memory=stored, x=cue, dtype="float64")
    single = model.infer(memory=stored, x=cue, dtype="float32")
    assert single.method == double.method == "concave_convex"
    assert bool(single.converged.all())
    assert int(single.iterations.max()) <= 100
    assert float((single.x.double() - double.x).abs().max()) <= 5e-3
    seen = np.isfinite(cue)
    assert np.array_equal(double.x.numpy()[seen], stored[seen])


def test_several_starts_are_searched_together() -> None:
    memory = patterns()[0] * np.linspace(0.5, 2, 20)[:, None]
    model = ebmlang.loads(RECALL.replace("= 8.0", "= 30.0"))
    given: dict[str, Any] = {"memory": memory, "query": memory[:6], "dtype": "float64"}
    one, many = model.infer(**given), model.infer(**given, restarts=16)
    assert bool((many.energy <= one.energy + 1e-12).all())
    assert float((one.energy - many.energy).max()) > 1e-3


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ("0 * ||x||^2", "does not curve upwards"),
        ("1/2 * (x[0] + x[1])^2", "does not curve upwards"),
    ],
)
def test_without_a_majorising_quadratic_another_method_is_taken(size: str, reason: str) -> None:
    memory, query = patterns()
    model = ebmlang.loads(RECALL.replace("1/2 * ||x||^2", size))
    found = model.infer(memory=memory, query=query, dtype="float64", steps=3)
    assert found.method == "lbfgs"
    assert reason in found.because


def test_bounds_beside_a_coupled_quadratic_are_left_to_another_method() -> None:
    memory, query = patterns()
    text = RECALL.replace("1/2 * ||x||^2", "||x||^2 + (x[0] + x[1])^2")
    text = text.replace(": real[n] = query", ": real[n] in [-1, 1] = query")
    found = ebmlang.loads(text).infer(memory=memory, query=query, dtype="float64")
    assert found.method == "projected_lbfgs"
    assert "bounded" in found.because
    assert bool(torch.isfinite(found.energy).all())


@pytest.mark.parametrize("own", [False, True])
def test_a_coupled_quadratic_of_all_rows_or_of_each(own: bool) -> None:
    """With targets y of all rows or of each, the gradient vanishes in every row."""
    text = RECALL.replace("latent x", "OBSERVED y : real[n]\n  shared observed A : real[n, n]\n  latent x")
    text = text.replace("OBSERVED", "observed" if own else "shared observed")
    text = text.replace("1/2 * ||x||^2", "1/2 * sum((x @ A - y)^2)")
    memory, query = patterns()
    rng = np.random.default_rng(1)
    A, y = rng.normal(size=(7, 7)) + 3 * np.eye(7), rng.normal(size=(6, 7) if own else 7)
    found = ebmlang.loads(text).infer(memory=memory, query=query, A=A, y=y, dtype="float64")
    assert found.method == "concave_convex", found.because
    assert bool(found.converged.all())
    x = found.x.numpy()
    slope = (x @ A - y) @ A.T - softmax(8.0 * x @ memory.T, axis=1) @ memory
    assert np.abs(slope).max() <= 1e-6
    energy = 0.5 * ((x @ A - y) ** 2).sum(1) - logsumexp(8.0 * x @ memory.T, axis=1) / 8.0
    assert np.allclose(found.energy.numpy(), energy, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("own_weights", [False, True])
def test_the_fused_kernel_gives_what_the_written_steps_give(
    dtype: torch.dtype, own_weights: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for widths that no block of a kernel divides, and for scores far apart."""
    made = torch.Generator().manual_seed(3)
    for rows, stored, n in ((1, 1, 1), (3, 37, 5), (70, 130, 67)):
        slope = 6 * torch.randn(1, stored, n, generator=made, dtype=torch.float64)
        weight = torch.rand(rows if own_weights else 1, 1, generator=made, dtype=torch.float64) + 0.1
        x = torch.randn(rows, n, generator=made, dtype=torch.float64)
        none = torch.zeros(1, n, dtype=torch.float64)
        scores = (Scores(torch.zeros(1, 1, stored, dtype=torch.float64), slope, weight, None),)
        form = MixtureForm(scores, torch.zeros(1, dtype=torch.float64), none, none + 1, None).to(dtype)
        log = torch.logsumexp(x @ slope[0].T, 1)
        shares = torch.softmax(x @ slope[0].T, 1)
        pulls = []
        for kernel in (concave_convex._KERNEL, None):
            monkeypatch.setattr(concave_convex, "_KERNEL", kernel)
            pull, bend, value = concave_convex._pull(form, x.to(dtype))
            monkeypatch.undo()
            assert bend is None
            eps = 200 * torch.finfo(dtype).eps
            assert torch.allclose(value.double(), log * weight[:, 0], rtol=eps, atol=eps)
            assert torch.allclose(pull.double(), shares @ slope[0] * weight, rtol=eps, atol=20 * eps)
            pulls.append(pull)
        assert len(pulls) == 2


def test_a_model_keeps_the_form_of_its_last_question_only_where_it_still_holds() -> None:
    memory, query = patterns()
    model = ebmlang.loads(RECALL)
    stored = torch.tensor(memory)
    asked = [torch.tensor(query), torch.tensor(query[::-1].copy()), torch.tensor(query[:2])]
    for question in (*asked, asked[0]):
        if question is asked[2]:
            stored.mul_(1.5)  # in place: the same tensor, with other values
        found = model.infer(memory=stored, query=question)
        fresh = ebmlang.loads(RECALL).infer(memory=stored.clone(), query=question)
        assert torch.equal(found.x, fresh.x)
        assert torch.equal(found.energy, fresh.energy)
    low = model.infer(memory=stored, query=asked[0], dtype="float32")
    assert low.x.dtype == torch.float32


def test_forms_that_rows_have_of_their_own_are_measured_anew() -> None:
    """The quadratic part reads a value of every example: also one example's must not serve the next."""
    text = RECALL.replace("1/2 * ||x||^2", "1/2 * ||x - query||^2 + 1/2 * ||x||^2")
    memory, query = patterns()
    model = ebmlang.loads(text)
    for row in range(3):
        found = model.infer(memory=memory, query=query[row])
        fresh = ebmlang.loads(text).infer(memory=memory, query=query[row])
        assert found.method == "concave_convex"
        assert torch.equal(found.x, fresh.x)
