"""Attention and memories of the standard library, against torch.nn and formulas in plain torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import ebmlang

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draws that are the same numbers in both precisions."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.to(dtype)


def close(found: Tensor, expected: Tensor) -> None:
    tolerance = TOLERANCE[found.dtype]
    torch.testing.assert_close(found, expected.expand_as(found), rtol=tolerance, atol=tolerance)


def library(name: str, **settings: Any) -> ebmlang.Model:
    """A component as a model of its own."""
    return ebmlang.load(str(ebmlang.__path__[0]) + f"/models/std/{name}.ebm", **settings)


# --- multi-head attention -----------------------------------------------------------------------


def torch_heads(d: int, heads: int, dtype: torch.dtype) -> tuple[torch.nn.MultiheadAttention, dict[str, Any]]:
    """torch's module with biases that are not zero, and its weights by our names."""
    module = torch.nn.MultiheadAttention(d, heads, batch_first=True, dtype=dtype)
    with torch.no_grad():
        module.in_proj_weight.copy_(normal(3 * d, d, seed=11, dtype=dtype) / d**0.5)
        module.in_proj_bias.copy_(normal(3 * d, seed=12, dtype=dtype))
        module.out_proj.weight.copy_(normal(d, d, seed=13, dtype=dtype) / d**0.5)
        module.out_proj.bias.copy_(normal(d, seed=14, dtype=dtype))
    e = d // heads
    weights = [w.reshape(heads, e, d) for w in module.in_proj_weight.detach().chunk(3)]
    biases = [b.reshape(heads, e) for b in module.in_proj_bias.detach().chunk(3)]
    found: dict[str, Any] = dict(zip(("Wq", "Wk", "Wv", "bq", "bk", "bv"), (*weights, *biases), strict=True))
    found["Wo"] = module.out_proj.weight.detach().reshape(d, heads, e)
    found["bo"] = module.out_proj.bias.detach()
    return module, found


@DTYPES
@pytest.mark.parametrize(
    ("rows", "T", "S", "d", "heads"), [(3, 5, 7, 12, 3), (1, 1, 4, 6, 1), (2, 6, 6, 8, 8)]
)
def test_multihead_attention_is_that_of_torch(
    rows: int, T: int, S: int, d: int, heads: int, dtype: torch.dtype
) -> None:
    module, weights = torch_heads(d, heads, dtype)
    x, memory = normal(rows, T, d, dtype=dtype), normal(rows, S, d, seed=1, dtype=dtype)
    see = normal(T, S, seed=2) > -0.5
    see[:, 0] = True
    model = library("multihead_attention", heads=heads)
    found = model.infer(x=x, memory=memory, see=see, **weights)
    y, shares = module(x, memory, memory, attn_mask=~see, average_attn_weights=False)
    close(found["y"], y.detach())
    close(found["look.c"], shares.detach())
    assert bool(found.converged.all())


INSIDE = """
import std.multihead_attention
model m(T: int, d: int) {
  observed x : real[T, d]
  observed t : real[T, d]
  observed see : bool[T, T] = true
  solve multihead_attention(heads = 3) as att with x = x, memory = x, see = see
  energy fit = sum(t * att.y)
}
"""


@DTYPES
@pytest.mark.parametrize("masked", [True, False])
def test_gradients_of_multihead_attention_are_those_of_torch(masked: bool, dtype: torch.dtype) -> None:
    text = (
        INSIDE
        if masked
        else INSIDE.replace(", see = see", "").replace("observed see : bool[T, T] = true", "")
    )
    model = ebmlang.loads(text)
    module, weights = torch_heads(12, 3, dtype)
    x = normal(4, 5, 12, dtype=dtype).requires_grad_()
    t = normal(4, 5, 12, seed=3, dtype=dtype)
    past = torch.ones(5, 5, dtype=torch.bool).tril()
    given: dict[str, Any] = {f"att.{name}": value.clone().requires_grad_() for name, value in weights.items()}
    given |= {"see": past} if masked else {}
    energy = model.energy(x=x, t=t, **given).sum()
    y, _ = module(x, x, x, attn_mask=~past if masked else None)
    expected = (t * y).sum()
    assert abs(float((energy - expected).detach())) < 100 * TOLERANCE[dtype]
    found = torch.autograd.grad(energy, [x, *(v for v in given.values() if v.requires_grad)])
    wanted = torch.autograd.grad(
        expected,
        [x, module.in_proj_weight, module.in_proj_bias, module.out_proj.weight, module.out_proj.bias],
    )
    close(found[0], wanted[0])
    ours = dict(zip(weights, found[1:], strict=True))
    for at, (weight, bias) in enumerate([("Wq", "bq"), ("Wk", "bk"), ("Wv", "bv")]):
        close(ours[weight] / 10, wanted[1].chunk(3)[at].reshape(ours[weight].shape) / 10)
        close(ours[bias] / 10, wanted[2].chunk(3)[at].reshape(ours[bias].shape) / 10)
    close(ours["Wo"] / 10, wanted[3].reshape(ours["Wo"].shape) / 10)
    close(ours["bo"], wanted[4])
    assert model.source.count("scaled_dot_product_attention") == 1


def test_the_energy_of_multihead_attention_at_its_minimum() -> None:
    """Minus the sum of log-sum-exps of all scores, as the variational principle of Gibbs says."""
    _, weights = torch_heads(8, 2, torch.float64)
    x, memory = normal(3, 4, 8), normal(3, 6, 8, seed=1)
    found = library("multihead_attention", heads=2).infer(x=x, memory=memory, **weights)
    q = torch.einsum("btd,hed->bhte", x, weights["Wq"]) + weights["bq"][:, None]
    k = torch.einsum("bsd,hed->bhse", memory, weights["Wk"]) + weights["bk"][:, None]
    close(found.energy, -torch.logsumexp(q @ k.mT / 2, -1).sum((1, 2)))


def test_masks_written_in_plates() -> None:
    """Causal, windowed and block masks."""
    text = """
    import std.attention
    model m(T: int, d: int, w: int = 3, b: int = 4) {
      observed X : real[T, d]
      for t in 0..T, s in 0..T {
        let past[t, s]  = s <= t
        let near[t, s]  = s <= t and t - s < w
        let block[t, s] = s // b == t // b
      }
      for t in 0..T {
        solve attention as one[t]   with q = X[t], K = X, V = X, see = past[t]
        solve attention as two[t]   with q = X[t], K = X, V = X, see = near[t]
        solve attention as three[t] with q = X[t], K = X, V = X, see = block[t]
      }
      energy e = ||one.y||^2 + 2 * ||two.y||^2 + 3 * ||three.y||^2
    }
    """
    x = normal(2, 10, 4)
    t, s = torch.arange(10)[:, None], torch.arange(10)
    masks = (s <= t, (s <= t) & (t - s < 3), s // 4 == t // 4)
    parts = [
        functional.scaled_dot_product_attention(x, x, x, attn_mask=m).square().sum((1, 2)) for m in masks
    ]
    model = ebmlang.loads(text)
    close(model.energy(X=x), parts[0] + 2 * parts[1] + 3 * parts[2])
    assert model.source.count("scaled_dot_product_attention") == 3


# --- memories -----------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("rows", [1, 4])
def test_associative_memory(rows: int, dtype: torch.dtype) -> None:
    q, keys, values = (
        normal(rows, 5, dtype=dtype),
        normal(7, 5, seed=1, dtype=dtype),
        normal(7, 3, seed=2, dtype=dtype),
    )
    see = normal(rows, 7, seed=3) > -0.7
    found = library("associative_memory", beta=2.5).infer(q=q, K=keys, V=values, see=see)
    scores = (q @ keys.T).masked_fill(~see, -torch.inf)
    close(found["y"], torch.softmax(2.5 * scores, -1) @ values)
    close(found.energy, -torch.logsumexp(2.5 * scores, -1) / 2.5)


def test_a_sharp_associative_memory_is_a_table() -> None:
    q, keys, values = normal(6, 5), normal(7, 5, seed=1), normal(7, 3, seed=2)
    found = library("associative_memory", beta=1e4).infer(q=q, K=keys, V=values)
    close(found["y"], values[(q @ keys.T).argmax(-1)])


@DTYPES
def test_persistent_memory_is_attention_over_more_slots(dtype: torch.dtype) -> None:
    q, keys, values = (
        normal(3, *shape, seed=i, dtype=dtype) for i, shape in enumerate([(6,), (5, 6), (5, 2)])
    )
    kept, told = normal(4, 6, seed=4, dtype=dtype), normal(4, 2, seed=5, dtype=dtype)
    see = normal(3, 5, seed=6) > -0.3
    found = library("persistent_memory", N=4).infer(q=q, K=keys, V=values, P=kept, U=told, see=see)
    seen = torch.cat((see, torch.ones(3, 4, dtype=torch.bool)), 1)
    everything = torch.cat((keys, kept.expand(3, 4, 6)), 1), torch.cat((values, told.expand(3, 4, 2)), 1)
    expected = functional.scaled_dot_product_attention(q[:, None], *everything, attn_mask=seen[:, None])[:, 0]
    close(found["y"], expected)


@DTYPES
@pytest.mark.parametrize("hops", [1, 3])
def test_memory_network(hops: int, dtype: torch.dtype) -> None:
    story, question = normal(4, 6, 9, dtype=dtype).abs(), normal(4, 9, seed=1, dtype=dtype).abs()
    see = normal(4, 6, seed=2) > -0.7
    shapes = {"A": (5, 9), "B": (5, 9), "C": (5, 9), "H": (5, 5), "W": (8, 5)}
    weights: dict[str, Any] = {
        n: normal(*s, seed=i + 3, dtype=dtype) / 3 for i, (n, s) in enumerate(shapes.items())
    }
    model = library("memory_network", hops=hops, d=5)
    found = model.infer(story=story, question=question, see=see, **weights)
    u = question @ weights["B"].T
    for _ in range(hops):
        scores = torch.einsum("bmd,bd->bm", story @ weights["A"].T, u).masked_fill(~see, -torch.inf)
        u = u @ weights["H"].T + torch.einsum("bm,bmd->bd", torch.softmax(scores, -1), story @ weights["C"].T)
    logits = u @ weights["W"].T
    close(found["score"], logits)
    assert found["answer"].tolist() == logits.argmax(-1).tolist()
    truth = torch.tensor([3, 0, 7, 2])
    energy = model.energy(story=story, question=question, see=see, answer=truth, **weights)
    close(energy, functional.cross_entropy(logits, truth, reduction="none"))


def test_hopfield_steps_are_attention_and_the_energy_falls() -> None:
    patterns, cue = normal(8, 12), normal(5, 12, seed=1)
    model = library("hopfield", beta=0.7)
    found = model.infer(X=patterns, cue=cue, trace=True)
    assert bool(found.converged.all())
    assert found.trace is not None
    one = model.infer(X=patterns, cue=cue, steps=1)
    step = functional.scaled_dot_product_attention(cue[None], patterns[None], patterns[None], scale=0.7)[0]
    close(one["x"], step)
    x, energies = cue, []
    for _ in found.trace:
        lse = torch.logsumexp(0.7 * x @ patterns.T, -1) / 0.7
        most = patterns.square().sum(-1).max()
        energies.append(
            -lse + x.square().sum(-1) / 2 + torch.log(torch.tensor(8.0).double()) / 0.7 + most / 2
        )
        x = torch.softmax(0.7 * x @ patterns.T, -1) @ patterns
    close(model.energy(X=patterns, cue=cue, x=cue), energies[0])
    close(found.trace.diff(dim=0), torch.stack(energies).diff(dim=0))
    assert bool((found.trace.diff(dim=0) <= 1e-12).all())
    assert bool((found.energy >= 0).all())


def token_energy(
    x: Tensor, query: Tensor, key: Tensor, xi: Tensor, beta: float, gamma: float, delta: Tensor
) -> tuple[Tensor, Tensor]:
    """Energy [B] and g [B, T, d] of the energy transformer, one head and token at a time."""
    g = (
        gamma * (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-5)
        + delta
    )
    total = torch.zeros(len(x), dtype=x.dtype)
    for q, k in zip(query, key, strict=True):
        for t in range(x.shape[1]):
            others = [s for s in range(x.shape[1]) if s != t]
            scores = torch.stack([((g[:, s] @ k.T) * (g[:, t] @ q.T)).sum(-1) for s in others], -1)
            total = total - torch.logsumexp(beta * scores, -1) / beta
    return total - torch.relu(g @ xi.T).square().sum((1, 2)) / 2, g


@DTYPES
def test_the_energy_transformer_goes_downhill(dtype: torch.dtype) -> None:
    shapes = {"Wq": (2, 3, 6), "Wk": (2, 3, 6), "xi": (7, 6), "delta": (6,)}
    w: dict[str, Any] = {
        n: normal(*s, seed=i + 3, dtype=dtype) / 3 for i, (n, s) in enumerate(shapes.items())
    }
    model = library("energy_transformer_block", heads=2, k=3, m=7, beta=0.5)
    gamma = torch.tensor(1.3, dtype=dtype)
    x = normal(3, 4, 6, dtype=dtype)
    energies = []
    for _ in range(8):
        # The rule of the paper: a step along the gradient in g, not the one in x.
        moving = x.clone()
        expected, g = token_energy(moving.requires_grad_(), w["Wq"], w["Wk"], w["xi"], 0.5, 1.3, w["delta"])
        found = model.energy(start=x, x=x, gamma=gamma, **w)
        torch.testing.assert_close(
            found, expected.detach(), rtol=20 * TOLERANCE[dtype], atol=20 * TOLERANCE[dtype]
        )
        energies.append(found)
        (slope,) = torch.autograd.grad(expected.sum(), [g])
        x = x - 0.05 * slope
    assert bool((torch.stack(energies).diff(dim=0) < 0).all())
    doubles: dict[str, Any] = {n: v.double() for n, v in w.items()}
    least = model.infer(start=x.double(), gamma=gamma.double(), trace=True, steps=60, **doubles)
    assert least.trace is not None
    # A line search tells energies apart down to about 1e-9 of their size.
    assert bool((least.trace.diff(dim=0) <= 1e-8 * least.trace[:1].abs()).all())
    assert bool((least.energy < energies[-1]).all())


# --- choices with learned scores ----------------------------------------------------------------


@DTYPES
def test_pointer(dtype: torch.dtype) -> None:
    e, s = normal(3, 6, 4, dtype=dtype), normal(3, 5, seed=1, dtype=dtype)
    shapes = {"W1": (7, 4), "W2": (7, 5), "v": (7,)}
    w: dict[str, Any] = {
        n: normal(*shape, seed=i + 3, dtype=dtype) for i, (n, shape) in enumerate(shapes.items())
    }
    see = normal(3, 6, seed=2) > -0.7
    found = library("pointer", k=7).infer(e=e, s=s, see=see, **w)
    scores = torch.stack([torch.tanh(e[:, j] @ w["W1"].T + s @ w["W2"].T) @ w["v"] for j in range(6)], 1)
    shares = torch.softmax(scores.masked_fill(~see, -torch.inf), -1)
    close(found["pick.c"], shares)
    close(found["glimpse"], torch.einsum("bm,bmd->bd", shares, e))


@DTYPES
def test_content_addressing(dtype: torch.dtype) -> None:
    memory, k = normal(3, 6, 4, dtype=dtype), normal(3, 4, seed=1, dtype=dtype)
    beta, add = torch.tensor([0.5, 1.0, 6.0], dtype=dtype), normal(3, 4, seed=2, dtype=dtype)
    erase = torch.sigmoid(normal(3, 4, seed=3, dtype=dtype))
    found = library("content_addressing").infer(M=memory, k=k, beta=beta, erase=erase, add=add)
    alike = functional.cosine_similarity(memory, k[:, None], dim=-1)
    w = torch.softmax(beta[:, None] * alike, -1)
    close(found["head.c"], w)
    close(found["read"], torch.einsum("bm,bmd->bd", w, memory))
    written = [memory[:, i] * (1 - w[:, i, None] * erase) + w[:, i, None] * add for i in range(6)]
    close(found["written"], torch.stack(written, 1))
    read_only = library("content_addressing").infer(M=memory, k=k, beta=beta)
    close(read_only["written"], memory)


@DTYPES
@pytest.mark.parametrize("heads", [1, 3])
def test_graph_attention(heads: int, dtype: torch.dtype) -> None:
    n, d, k = 6, 4, 5
    x = normal(2, n, d, dtype=dtype)
    edge = (normal(n, n, seed=1) > 0) | torch.eye(n, dtype=torch.bool)
    shapes = {"W": (heads, k, d), "a": (heads, k), "b": (heads, k)}
    w: dict[str, Any] = {
        name: normal(*s, seed=i + 3, dtype=dtype) / 2 for i, (name, s) in enumerate(shapes.items())
    }
    found = library("graph_attention", heads=heads, k=k).infer(x=x, edge=edge, **w)
    sides = []
    for weight, a, b in zip(w["W"], w["a"], w["b"], strict=True):
        u = x @ weight.T
        joined = torch.cat((u[:, :, None].expand(2, n, n, k), u[:, None].expand(2, n, n, k)), -1)
        scores = functional.leaky_relu(joined @ torch.cat((a, b)), 0.2).masked_fill(~edge, -torch.inf)
        sides.append(torch.softmax(scores, -1) @ u)
    close(found["y"], torch.cat(sides, -1))


@DTYPES
@pytest.mark.parametrize("rows", [1, 4])
def test_consciousness_prior(rows: int, dtype: torch.dtype) -> None:
    h, c = normal(rows, 7, dtype=dtype), normal(rows, 3, seed=1, dtype=dtype)
    model = library("consciousness_prior", n=7, k=3, few=3, key=5, hidden=6, beta=1.7)
    model.bind(h=h, c=c).to(dtype)
    energy = model.energy(h=h, c=c)
    query, predict, keys = model.net("query"), model.net("predict"), model.value("Keys")
    scores, chosen = (1.7 * h * (query(c) @ keys.T)).topk(3, -1)
    w = torch.zeros_like(h).scatter(-1, chosen, torch.softmax(scores, -1))
    mu, log_s = predict(c).split(7, -1)
    given = torch.distributions.Normal(mu, log_s.exp())
    expected = -(w * given.log_prob(h)).sum(-1)
    close(energy, expected)
    weights = [keys, *query.parameters(), *predict.parameters()]
    ours, theirs = (torch.autograd.grad(e.sum(), weights) for e in (energy, expected))
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e3 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])
