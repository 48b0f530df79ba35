"""Squared distances of all pairs against the difference of all pairs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.runtime import distances
from ebmlang.runtime.distances import square_distances
from tests.draws import normal

SHAPES = [
    ((3, 4, 1, 5), (3, 1, 6, 5)),
    ((3, 4, 1, 5), (6, 5)),
    ((3, 1, 6, 5), (3, 4, 1, 5)),
    ((4, 1, 5), (2, 3, 1, 6, 5)),
    ((1, 1, 2), (1, 1, 2)),
]


@pytest.fixture(autouse=True)
def _all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "SMALL", -1)


def plain(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(-1)


def drawn(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    a, b = normal(*first, seed=0), normal(*second, seed=1)
    b[..., 0, :] = a.reshape(-1, a.shape[-1])[0]  # a pair at distance 0
    return a.requires_grad_(), b.requires_grad_()


@pytest.mark.parametrize(("first", "second"), SHAPES)
def test_values_and_two_derivatives(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    a, b = drawn(first, second)
    torch.testing.assert_close(square_distances(a, b), plain(a, b))
    assert torch.autograd.gradcheck(square_distances, (a, b))
    assert torch.autograd.gradgradcheck(square_distances, (a, b))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, in forward mode
@pytest.mark.parametrize(("first", "second"), SHAPES[:2])
def test_under_transforms_of_functions(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    a, b = (x.detach() for x in drawn(first, second))

    def of(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda a, b: function(a, b).sin().sum()

    for transform in (torch.func.grad, torch.func.hessian, torch.func.jacfwd):
        ours, theirs = transform(of(square_distances))(a, b), transform(of(plain))(a, b)
        torch.testing.assert_close(ours, theirs)
    rows = (0, None if len(second) < len(first) else 0)
    ours, theirs = (
        torch.func.vmap(torch.func.grad(of(f)), in_dims=rows)(a, b) for f in (square_distances, plain)
    )
    torch.testing.assert_close(ours, theirs)


def test_close_vectors_far_from_the_origin_keep_their_digits() -> None:
    a, b = (x.detach() for x in drawn((1, 40, 1, 8), (1, 1, 40, 8)))
    near = (1000 + 1e-2 * a).float(), (1000 + 1e-2 * b).float()
    exact = plain(*(x.double() for x in near))
    torch.testing.assert_close(square_distances(*near).double(), exact, rtol=1e-5, atol=1e-12)


def test_what_a_model_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Centres of clusters: pairs of examples and cases, in the energy and in what training moves."""
    text = """
    model clusters(n: int, K: int = 5) {
      observed y : real[n]
      param m : real[K, n] = normal()
      latent c : class[K]
      energy near = ||y - m[c]||^2
      marginalize c
      train m
    }
    """
    y = normal(7, 3, seed=1)
    model = ebmlang.loads(text, seed=0).bind(y=y)
    free = model.marginal(y=y).energy
    centres = model.value("m")
    torch.testing.assert_close(free, -torch.logsumexp(-plain(y[:, None], centres), 1))
    monkeypatch.setattr(distances, "SMALL", 1 << 40)
    torch.testing.assert_close(model.marginal(y=y).energy, free)
