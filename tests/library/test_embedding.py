"""Losses of joint embeddings against their published formulas, written in torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import ebmlang

STD = Path(__file__).parents[2] / "models" / "std"

Loss = Callable[[Tensor, Tensor], Tensor]


def off_diagonal(m: Tensor) -> Tensor:
    n = m.shape[0]
    return m.flatten()[:-1].view(n - 1, n + 1)[:, 1:].flatten()


def vicreg(x: Tensor, y: Tensor) -> Tensor:
    """main_vicreg.py of the published code, one process."""
    repr_loss = functional.mse_loss(x, y)
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    std_x, std_y = torch.sqrt(x.var(dim=0) + 0.0001), torch.sqrt(y.var(dim=0) + 0.0001)
    std_loss = torch.mean(functional.relu(1 - std_x)) / 2 + torch.mean(functional.relu(1 - std_y)) / 2
    cov_x, cov_y = (x.T @ x) / (len(x) - 1), (y.T @ y) / (len(y) - 1)
    d = x.shape[1]
    cov_loss = off_diagonal(cov_x).pow(2).sum() / d + off_diagonal(cov_y).pow(2).sum() / d
    return 25 * repr_loss + 25 * std_loss + cov_loss


def barlow_twins(x: Tensor, y: Tensor) -> Tensor:
    """main.py of the published code: batch normalisation without weights, then the cross-correlation."""
    d = x.shape[1]
    bn = torch.nn.BatchNorm1d(d, affine=False).to(x.dtype)
    c = bn(x).T @ bn(y) / len(x)
    on_diag = torch.diagonal(c).add(-1).pow(2).sum()
    return on_diag + 0.0051 * off_diagonal(c).pow(2).sum()


def info_nce(x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(x @ y.T / 0.1, torch.arange(len(x)))


def symmetric(x: Tensor, y: Tensor) -> Tensor:
    scores, own = x @ y.T / 0.1, torch.arange(len(x))
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2


def nt_xent(x: Tensor, y: Tensor) -> Tensor:
    """All views against all others: the cosine similarities of 2n views, without the diagonal."""
    z, n = torch.cat([x, y]), len(x)
    scores = functional.cosine_similarity(z[:, None], z[None], dim=-1, eps=0.0) / 0.5
    scores = scores.masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
    return functional.cross_entropy(scores, (torch.arange(2 * n) + n) % (2 * n))


LOSSES: dict[str, tuple[str, Loss]] = {
    "vicreg": ("vicreg", vicreg),
    "barlow_twins": ("barlow_twins", barlow_twins),
    "info_nce": ("info_nce", info_nce),
    "symmetric": ("info_nce", symmetric),
    "nt_xent": ("nt_xent", nt_xent),
}


def views(n: int, d: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    y = x + 0.3 * torch.randn(n, d, generator=g, dtype=torch.float64) - 0.2
    return x.to(dtype), y.to(dtype)


def total(model: ebmlang.Model, **data: Tensor) -> Tensor:
    """The mean over the examples of what belongs to one, plus what belongs to the batch."""
    return torch.stack([term.mean() for term in model.terms(data=data).values()]).sum()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(2, 2), (7, 3), (16, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_published_formulas(name: str, shape: tuple[int, int], dtype: torch.dtype) -> None:
    file, loss = LOSSES[name]
    x, y = (v.requires_grad_() for v in views(*shape, dtype))
    model = ebmlang.load(STD / f"{file}.ebm", model=name)
    found, expected = total(model, u=x, v=y), loss(x, y)
    near = 1e-6 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(found, expected, rtol=near, atol=near)
    for ours, theirs in zip(
        torch.autograd.grad(found, [x, y]), torch.autograd.grad(expected, [x, y]), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=20 * near, atol=20 * near)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rate_reduction(dtype: torch.dtype) -> None:
    """Coding rates as the paper defines them, class by class."""
    u, _ = views(12, 4, dtype)
    c = torch.tensor([0, 0, 1, 2, 1, 0, 2, 2, 2, 0, 1, 0])
    n, d, eps = 12, 4, 0.5

    def rate(z: Tensor) -> Tensor:
        inner = torch.eye(d, dtype=torch.float64) + d / (len(z) * eps**2) * z.T @ z
        return 0.5 * torch.logdet(inner)

    z = u.double()
    compressed = sum(int((c == j).sum()) / n * rate(z[c == j]) for j in range(3))
    model = ebmlang.load(STD / "rate_reduction.ebm", K=5)
    found = total(model, u=u, c=c)
    torch.testing.assert_close(found.double(), compressed - rate(z), rtol=1e-5, atol=1e-6)


def test_spread_is_least_for_what_is_spread_out() -> None:
    model = ebmlang.load(STD / "spread.ebm")
    g = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(32, 4, generator=g, dtype=torch.float64) - 0.0)
    white = (q - q.mean(0)) * math.sqrt(31)
    white = white @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(white.T))).T * 1.01
    spread = model.terms(u=white)
    assert float(spread["variance"]) == 0
    assert float(spread["covariance"]) < 1e-20
    assert float(model.terms(u=torch.ones(8, 4))["variance"]) == pytest.approx(0.99)


def test_as_parts() -> None:
    """Through `use`, of representations that are lets."""
    text = """
    import std.vicreg
    import std.info_nce
    model m(n: int) {
      observed x : real[n];  observed y : real[n]
      param W : real[3, n] = normal()
      let sx = W @ x
      let sy = W @ y
      use vicreg as reg with u = sx, v = sy
      use info_nce(temperature = 0.1) as nce with u = sx, v = sy
      train W
    }
    """
    x, y = views(8, 5, torch.float64)
    model = ebmlang.loads(text)
    found = model(x=x, y=y)
    w = model.value("W").double()
    expected = vicreg(x @ w.T, y @ w.T) + info_nce(x @ w.T, y @ w.T)
    torch.testing.assert_close(found, expected)
    terms = model.terms(x=x, y=y)
    assert set(terms) >= {"reg.agree", "reg.first.variance", "reg.second.covariance", "nce.contrast"}


def test_the_values_of_all_examples_side_by_side() -> None:
    text = """
    model m(n: int, T: int) {
      observed x : real[n];  observed y : real[T]
      let X = stack(x, over = batch)
      for t in 0..T { let Y[t] = stack(y[t] * x, over = batch) }
      batch energy a = sum(X @ X.T)
      batch energy b = mean(sum(X @ x), over = batch)
      batch energy c = sum(Y[1] * X)
      batch energy d = sum(X[2])
      for t in 0..T { batch energy e[t] = sum(cov(y[t] * x, over = batch)) }
    }
    """
    x, y = views(5, 3, torch.float64)
    found = ebmlang.loads(text).terms(x=x, y=y[:, :2])
    expected = {
        "a": (x @ x.T).sum(),
        "b": (x @ x.T).sum() / 5,
        "c": (y[:, 1:2] * x * x).sum(),
        "d": x[2].sum(),
    }
    expected["e"] = torch.stack([torch.cov((y[:, t : t + 1] * x).T).sum() for t in range(2)]).sum()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    with pytest.raises(ebmlang.DataError, match="subscript 2"):
        ebmlang.loads(text).terms(x=x[:2], y=y[:2, :2])


def test_what_is_the_same_for_all_is_stacked_once_for_each() -> None:
    text = """
    model m(n: int) {
      shared observed w : real[n];  observed x : real[n]
      batch energy a = sum(stack(x, over = batch) * stack(w, over = batch))
      batch energy b = sum(where(diag(stack(1, over = batch)) > 0, 0.0, stack(x, over = batch) @ w[.., None]))
    }
    """
    x, w = views(5, 3, torch.float64)[0], torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    found = ebmlang.loads(text).terms(x=x, w=w)
    torch.testing.assert_close(found["a"], (x * w).sum())
    torch.testing.assert_close(found["b"], 4 * (x @ w).sum())


# --- patches of two views ---------------------------------------------------------------------------


def closest(u: Tensor, v: Tensor, key_u: Tensor, key_v: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Example by example, by sorting: the pairs that count, in the order of the patches of u."""
    pairs: list[tuple[Tensor, Tensor]] = []
    for i in range(len(u)):
        apart = torch.cdist(key_u[i], key_v[i])
        partner = apart.argmin(1)
        best = apart.min(1).values.argsort(stable=True)[:top].sort().values
        pairs.append((u[i, best], v[i, partner[best]]))
    return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])


def local(u: Tensor, v: Tensor, at_u: Tensor, at_v: Tensor, top: int) -> Tensor:
    """VICRegL: both kinds of matches in both directions; vicreg at each place, the mean over the places."""
    directions = [(u, v, at_u, at_v), (v, u, at_v, at_u), (u, v, u, v), (v, u, v, u)]
    losses = []
    for direction in directions:
        x, y = closest(*direction, top)
        losses += [vicreg(x[:, k], y[:, k]) / top for k in range(top)]
    return torch.stack(losses).sum() / 2


@pytest.mark.parametrize(("rows", "d", "P", "R", "top"), [(5, 3, 6, 4, 2), (2, 2, 3, 3, 3), (9, 4, 7, 9, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vicreg_local(rows: int, d: int, P: int, R: int, top: int, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    u, v = drawn(rows, P, d).requires_grad_(), drawn(rows, R, d).requires_grad_()
    at_u, at_v = drawn(rows, P, 2), drawn(rows, R, 2)
    at_u[:, 0], at_u[:, 1] = at_u[:, 2], at_u[:, 2]  # equally close pairs: the earlier one counts
    model = ebmlang.load(STD / "vicreg_local.ebm", top=top)
    terms = model.terms(u=u, v=v, at_u=at_u, at_v=at_v)
    found = torch.stack([term.mean() for term in terms.values()]).sum()
    expected = local(u, v, at_u, at_v, top)
    near = 1e-6 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(found, expected, rtol=near, atol=near)
    for ours, theirs in zip(
        torch.autograd.grad(found, [u, v]), torch.autograd.grad(expected, [u, v]), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=20 * near, atol=20 * near)


def test_in_plates() -> None:
    """One loss for each level of a pyramid, of nets' outputs: the sums of the losses on their own."""
    text = """
    import std.nt_xent
    import std.vicreg_local
    model pyramid(n: int, P: int, S: int) {
      observed x  : real[S, P, n];  observed y : real[S, P, n]
      observed at : real[P, 2]
      net enc : real[n] -> real[3] = linear()
      for l in 0..S, p in 0..P {
        let u[l, p] = enc(x[l, p])
        let v[l, p] = enc(y[l, p])
      }
      for l in 0..S {
        use nt_xent as pooled[l] with u = mean(u[l], over = 0), v = mean(v[l], over = 0)
        use vicreg_local(top = 2) as local[l] with u = u[l], v = v[l], at_u = at, at_v = at
      }
    }
    """
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(5, 2, 4, 6, generator=g, dtype=torch.float64) for _ in range(2))
    at = torch.randn(5, 4, 2, generator=g, dtype=torch.float64)
    model = ebmlang.loads(text)
    model.bind(x=x, y=y, at=at)
    enc = model.double().net("enc")
    found, expected = total(model, x=x, y=y, at=at), torch.zeros((), dtype=torch.float64)
    for level in range(2):
        u, v = enc(x[:, level]), enc(y[:, level])
        expected = expected + nt_xent(u.mean(1), v.mean(1)) + local(u, v, at, at, 2)
    torch.testing.assert_close(found, expected)
    weights = list(enc.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
