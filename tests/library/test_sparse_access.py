"""Points of a simplex with few entries above 0, and the memory that reads with them, against enumeration."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.runtime.simplexes import Simplex, SparseSimplex
from tests.library.test_attention_family import DTYPES, close, library, normal


def supports(m: int, k: int) -> list[Tensor]:
    """All choices of k of m entries, as truth values."""
    chosen = [torch.tensor(c) for c in combinations(range(m), k)]
    return [torch.zeros(m, dtype=torch.bool).index_fill(0, c, True) for c in chosen]


def best_read(q: Tensor, memory: Tensor, see: Tensor, k: int, beta: float) -> tuple[Tensor, Tensor]:
    """The least energy over all supports of k entries, and the shares there, one row at a time."""
    energies, shares = [], []
    for row, seen in zip(q, see, strict=True):
        found = []
        for kept in supports(len(memory), k):
            scores = (beta * memory @ row).masked_fill(~(kept & seen), -torch.inf)
            if bool((kept & seen).any()):
                found.append((-torch.logsumexp(scores, 0) / beta, torch.softmax(scores, 0)))
        least = min(found, key=lambda pair: float(pair[0]))
        energies.append(least[0])
        shares.append(least[1])
    return torch.stack(energies), torch.stack(shares)


@DTYPES
@pytest.mark.parametrize(("rows", "k"), [(4, 3), (1, 1), (3, 7)])
def test_the_memory_against_all_supports(rows: int, k: int, dtype: torch.dtype) -> None:
    q, memory = normal(rows, 5, dtype=dtype), normal(7, 5, seed=1, dtype=dtype)
    see = normal(rows, 7, seed=2) > 0
    see[:, 3] = True
    model = library("sparse_access_memory", k=k, beta=1.3)
    found = model.infer(q=q, M=memory, see=see)
    energy, shares = best_read(q, memory, see, k, 1.3)
    close(found["w"], shares)
    close(found.energy, energy)
    close(found["y"], shares @ memory)
    assert bool(((found["w"] > 0).sum(-1) <= k).all())
    assert "exact" in model.explain()


def test_equal_scores_stay_within_the_domain() -> None:
    memory = torch.ones(6, 3)
    found = library("sparse_access_memory", k=2).infer(q=torch.ones(2, 3), M=memory)
    assert found["w"].sort(-1).values.tolist() == [[0.0, 0.0, 0.0, 0.0, 0.5, 0.5]] * 2


@DTYPES
def test_reading_is_differentiable(dtype: torch.dtype) -> None:
    """Inside another model, in a plate; only the slots that are read get a gradient."""
    text = """
    import std.sparse_access_memory
    model m(L: int, m: int, d: int) {
      observed Q : real[L, d];  observed M : real[m, d];  observed t : real[L, d]
      for l in 0..L { solve sparse_access_memory(k = 2, beta = 1) as read[l] with q = Q[l], M = M }
      energy fit = ||read.y - t||^2
    }
    """
    values = [normal(2, *s, seed=i, dtype=dtype) for i, s in enumerate([(3, 4), (9, 4), (3, 4)])]
    q, memory, t = (v.requires_grad_() for v in values)
    energy = ebmlang.loads(text).energy(Q=q, M=memory, t=t)
    scores, places = (q @ memory.mT).topk(2, -1)
    picked = torch.stack([memory[b][places[b]] for b in range(2)])
    expected = ((torch.softmax(scores, -1)[..., None] * picked).sum(-2) - t).square().sum((1, 2))
    close(energy / 10, expected / 10)
    ours = torch.autograd.grad(energy.sum(), [q, memory, t])
    theirs = torch.autograd.grad(expected.sum(), [q, memory, t])
    for found, wanted in zip(ours, theirs, strict=True):
        close(found / 10, wanted / 10)
    assert int((ours[1].abs().sum(-1) > 0).sum()) <= 2 * 3 * 2


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_nearest_point(k: int) -> None:
    x = normal(6, 5)
    where = normal(6, 5, seed=1) > -0.8
    where[:, 0] = True
    found = SparseSimplex(torch.tensor(k), where).nearest(x)
    for row, seen, point in zip(x, where, found, strict=True):
        sets = [kept & seen for kept in supports(5, k) if bool((kept & seen).any())]
        points = [Simplex(kept).nearest(row[None])[0] for kept in sets]
        best = min(points, key=lambda p: float((p - row).square().sum()))
        close(point, best)


QUADRATIC = """
model m(n: int, k: int = 2) {
  observed y : real[n]
  latent w : real[n] in simplex(k)
  energy fit = ||y - w||^2
  infer w
}
"""


def test_other_energies_claim_nothing() -> None:
    model = ebmlang.loads(QUADRATIC)
    assert "method   adam" in model.explain()
    found = model.infer(y=normal(4, 6))
    assert bool(((found["w"] > 0).sum(-1) <= 2).all())
    close(found["w"].sum(-1), torch.ones(4).double())
    for method in ("projected_gradient", "lbfgs", "quadratic"):
        with pytest.raises(ebmlang.DataError, match="does not fit"):
            model.infer(y=normal(4, 6), using=method)


def test_hard_constraints_beside_it_are_refused() -> None:
    model = ebmlang.loads(QUADRATIC.replace("infer w", "subject to low : w[0] <= 0.3; infer w"))
    with pytest.raises(ebmlang.DataError, match=r"no method keeps hard constraints and w in simplex\(k\)"):
        model.infer(y=normal(4, 6))


def test_values_outside_are_refused() -> None:
    given: dict[str, Any] = {"y": normal(2, 4), "w": torch.full((2, 4), 0.25).double()}
    text = QUADRATIC.replace("latent w", "observed w").replace(
        "infer w", "latent z : real; energy s = (z - w[0])^2"
    )
    with pytest.raises(ebmlang.DataError, match=r"is not in simplex\(2\)"):
        ebmlang.loads(text).infer(**given)
