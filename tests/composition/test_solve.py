"""`solve` where the nested minimum has a closed form: attention, against torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import ebmlang
from tests.draws import normal

F64 = torch.float64


def test_attention_is_a_nested_minimum() -> None:
    text = """
    import std.attention
    model m(n: int, k: int) {
      observed x : real[n];  observed K : real[k, n];  observed V : real[k, 3];  observed t : real[3]
      observed see : bool[k]
      latent s : real = 1
      solve attention as att with q = x, K = K, V = V, see = see
      energy e = ||s * att.y - t||^2
      infer s
    }
    """
    x, keys, values, t = normal(5, 4), normal(5, 7, 4, seed=1), normal(5, 7, 3, seed=2), normal(5, 3, seed=3)
    see = normal(5, 7, seed=4) > -0.5
    found = ebmlang.loads(text).infer(x=x, K=keys, V=values, t=t, see=see)
    expected = functional.scaled_dot_product_attention(x[:, None], keys, values, attn_mask=see[:, None])[:, 0]
    torch.testing.assert_close(found["att.y"], expected)
    torch.testing.assert_close(found["att.c"].sum(-1), torch.ones(5, dtype=F64))
    assert bool((found["att.c"][~see] == 0).all())
    best = (expected * t).sum(-1) / (expected**2).sum(-1)
    torch.testing.assert_close(found["s"], best)


def test_attention_of_every_position() -> None:
    text = """
    import std.attention as a
    model m(n: int, k: int, L: int) {
      observed Q : real[L, n];  observed K : real[k, n];  observed V : real[k, 3]
      observed T : real[L, 3]
      latent s : real[L]
      for l in 0..L {
        solve a as att[l] with q = Q[l], K = K, V = V
        energy e[l] = ||s[l] * att[l].y - T[l]||^2
      }
      let last = att[L - 1].y
      infer s
    }
    """
    queries, keys, values = normal(5, 6, 4), normal(5, 7, 4, seed=1), normal(5, 7, 3, seed=2)
    t = normal(5, 6, 3, seed=3)
    found = ebmlang.loads(text).infer(Q=queries, K=keys, V=values, T=t)
    expected = functional.scaled_dot_product_attention(queries, keys, values)
    torch.testing.assert_close(found["att.y"], expected)
    torch.testing.assert_close(found["last"], expected[:, -1])
    torch.testing.assert_close(found["s"], (expected * t).sum(-1) / (expected**2).sum(-1))


DEEP = """
model block(d: int, beta: real in positive = 1.0) {
  observed x : real[d]
  param W : real[d, d] = 0.3 * normal()
  latent z : real[d] in simplex
  energy fit = -dot(z, W @ x)
  energy spread = -entropy(z) / beta
  let y = x + W.T @ z
}
model deep(d: int, L: int = 4) {
  observed x : real[d];  observed t : real[d]
  latent s : real = 1
  let h : real[L+1, d]
  let h[0] = x
  for l in 0..L { part blk[l] = block(d = d, beta = 2) }
  for l in 0..L {
    solve blk[l] as layer[l] with x = h[l]
    let h[l+1] = layer[l].y
  }
  energy e = ||s * h[L] - t||^2
  infer s
}
"""


def test_layers_in_a_recurrence() -> None:
    model = ebmlang.loads(DEEP)
    x, t = normal(3, 5), normal(3, 5, seed=1)
    found = model.infer(x=x, t=t)
    weights = model.value("blk.W").detach()
    assert weights.shape == (4, 5, 5)
    h = x
    for w in weights:
        z = torch.softmax(2 * h @ w.T, -1)
        h = h + z @ w
    torch.testing.assert_close(found["h"][:, -1], h)
    torch.testing.assert_close(found["layer.z"][:, -1], z)
    energy = model.energy(x=x, t=t, s=torch.ones(3, dtype=F64)).sum()
    (gradient,) = torch.autograd.grad(energy, [model.value("blk.W")])
    free = weights.clone().requires_grad_()
    h = x
    for w in free:
        h = h + torch.softmax(2 * h @ w.T, -1) @ w
    torch.testing.assert_close(gradient, torch.autograd.grad(((h - t) ** 2).sum(), [free])[0])


def test_one_part_applied_twice() -> None:
    text = """
    model lin(n: int) { observed x : real[n]; param w : real[n] = normal(); let y = dot(w, x); energy e = y }
    model m(n: int) {
      observed a : real[n];  observed b : real[n]
      latent s : real
      part f = lin(n = n)
      solve f as p with x = a
      use f as q with x = b
      energy fit = (s - p.y * q.y)^2
      infer s
    }
    """
    model = ebmlang.loads(text)
    a, b = normal(3, 5), normal(3, 5, seed=1)
    found = model.infer(a=a, b=b)
    w = model.value("f.w").detach()
    assert [name for name, _ in model.named_parameters()] == ["f.w"]
    torch.testing.assert_close(found["s"], (a @ w) * (b @ w))
    torch.testing.assert_close(found.terms["q.e"], b @ w)
    assert "p.e" not in found.terms


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memory_of_slots_without_a_mask(dtype: torch.dtype) -> None:
    """The mask is left out: nothing is multiplied or filled for entries that are all seen."""
    text = """
    import std.attention
    model m(n: int, k: int) {
      observed x : real[n];  observed K : real[k, n]
      solve attention as att with q = x, K = K, V = K
      energy e = ||att.y||^2
    }
    """
    x, keys = normal(2, 4).to(dtype), normal(2, 7, 4, seed=1).to(dtype)
    model = ebmlang.loads(text)
    expected = functional.scaled_dot_product_attention(x[:, None], keys, keys)[:, 0]
    torch.testing.assert_close(model.energy(x=x, K=keys), expected.square().sum(-1))


HEADS = """
import std.attention
model m(n: int, k: int, L: int, H: int) {
  observed Q : real[H, L, n];  observed K : real[H, k, n];  observed V : real[H, k, 3]
  observed see : bool[L, k]
  for h in 0..H, l in 0..L {
    solve attention as att[h, l] with q = Q[h, l], K = K[h], V = V[h], see = see[l]
  }
  energy e = ||att.y||^2
}
model common(n: int, k: int, L: int) {
  observed Q : real[L, n];  shared observed K : real[k, n];  shared observed V : real[k, 3]
  for l in 0..L { solve attention as att[l] with q = Q[l], K = K, V = V }
  energy e = ||att.y||^2
}
model written(n: int, k: int, L: int) {
  observed Q : real[L, n];  observed K : real[k, n];  observed V : real[k, 3]
  let y = softmax(2 * Q @ K.T) @ V
  energy e = ||y||^2
}
"""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_fused_kernel_is_called(dtype: torch.dtype) -> None:
    def of(*shape: int, seed: int) -> Tensor:
        return normal(*shape, seed=seed).to(dtype)

    fused = functional.scaled_dot_product_attention
    heads = ebmlang.loads(HEADS, model="m")
    q, k, v = of(5, 2, 6, 4, seed=1), of(5, 2, 7, 4, seed=2), of(5, 2, 7, 3, seed=3)
    see = normal(5, 6, 7, seed=4) > -1
    expected = fused(q, k, v, attn_mask=see[:, None]).square().sum((1, 2, 3))
    torch.testing.assert_close(heads.energy(Q=q, K=k, V=v, see=see), expected)
    shared = ebmlang.loads(HEADS, model="common")
    expected = fused(q[:, 0], k[:1, 0].expand(5, 7, 4), v[:1, 0].expand(5, 7, 3)).square().sum((1, 2))
    torch.testing.assert_close(shared.energy(Q=q[:, 0], K=k[0, 0], V=v[0, 0]), expected)
    written = ebmlang.loads(HEADS, model="written")
    expected = fused(q[:, 0], k[:, 0], v[:, 0], scale=2.0).square().sum((1, 2))
    torch.testing.assert_close(written.energy(Q=q[:, 0], K=k[:, 0], V=v[:, 0]), expected)
    for model in (heads, shared, written):
        assert "scaled_dot_product_attention" in model.source


def test_gradients_pass_through_the_kernel() -> None:
    model = ebmlang.loads(HEADS, model="written")
    q, k, v = (normal(2, *shape, seed=i).requires_grad_() for i, shape in enumerate([(6, 4), (7, 4), (7, 3)]))
    energy = model.energy(Q=q, K=k, V=v).sum()
    expected = (torch.softmax(2 * q @ k.mT, -1) @ v).square().sum()
    for found, wanted in zip(
        torch.autograd.grad(energy, [q, k, v]), torch.autograd.grad(expected, [q, k, v]), strict=True
    ):
        torch.testing.assert_close(found, wanted)


def test_sizes_that_a_part_does_not_need_are_settled_where_it_is_applied() -> None:
    """One part for sequences of two lengths; the minimiser is a formula of a let of the part."""
    text = """
    model mixing(T: int, d: int, k: int in [1, inf] = 2) {
      observed x : real[T, d];  param W : real[k, d] = normal();  latent c : real[T, k] in simplex
      let score = x @ W.T
      energy match = -sum(c * score)
      energy spread = -sum(entropy(c[t]), over = t in 0..T)
      let y = c @ W
    }
    model m(n: int, m: int, d: int, L: int = 2) {
      observed a : real[n, d];  observed b : real[m, d]
      for l in 0..L { part p[l] = mixing(d = d, k = 3) }
      let h : real[L+1, n, d]
      let h[0] = a
      for l in 0..L {
        solve p[l] as f[l] with x = h[l]
        let h[l+1] = h[l] + f[l].y
      }
      solve p[0] as g with x = b
      energy fit = ||h[L]||^2 + 2 * ||g.y||^2
    }
    """
    model = ebmlang.loads(text)
    a, b = normal(2, 5, 4), normal(2, 7, 4, seed=1)
    energy = model.energy(a=a, b=b)
    w = model.value("p.W").detach()
    assert w.shape == (2, 3, 4)
    h = a
    for one in w:
        h = h + torch.softmax(h @ one.T, -1) @ one
    other = torch.softmax(b @ w[0].T, -1) @ w[0]
    torch.testing.assert_close(energy, h.square().sum((1, 2)) + 2 * other.square().sum((1, 2)))
