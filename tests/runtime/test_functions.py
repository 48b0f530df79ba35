"""Functions that generated code calls, against torch's own reductions and plain loops."""

import pytest
import torch

from ebmlang.runtime import functions
from tests.draws import normal


@pytest.mark.parametrize("dim", [0, (0, 1), 1, -1, (1, 2)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_variances_of_many_entries(dim: int | tuple[int, ...], offset: float) -> None:
    x = offset + normal(20, 16, 12)
    x = x.requires_grad_()
    for ours, theirs in ((functions.fold_var, torch.var), (functions.fold_std, torch.std)):
        found, expected = ours(x, dim), theirs(x, dim)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
        slopes = [torch.autograd.grad(v.sum(), x)[0] for v in (found, expected)]
        torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-12)


def test_a_deviation_of_equal_entries_has_the_slope_0() -> None:
    x = torch.ones(300, 10, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(functions.fold_std(x, 0).sum(), x)
    assert torch.equal(slope, torch.zeros_like(x))


@pytest.mark.parametrize(
    ("base", "index"),
    [((3, 5, 2), (3, 4)), ((1, 5, 2), (3, 4)), ((3, 5), (1, 4, 2)), ((3, 5, 2, 2), (3,)), ((1, 5), (1, 2))],
)
def test_rows_that_an_index_picks(base: tuple[int, ...], index: tuple[int, ...]) -> None:
    values = normal(*base).requires_grad_()
    places = torch.randint(base[1], index, generator=torch.Generator().manual_seed(0))
    rest = (slice(None),) * (len(base) - 2)
    found = functions.take(values, 1, (places, *rest))
    rows = max(base[0], index[0])
    wide, chosen = values.expand(rows, *base[1:]), places.expand(rows, *index[1:])
    expected = torch.stack([wide[b][chosen[b]] for b in range(rows)])
    assert torch.equal(found, expected)
    slopes = [torch.autograd.grad(v.square().sum(), values)[0] for v in (found, expected)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("count", [1, 3, 15, 16, 40])
def test_shares_are_a_softmax(count: int) -> None:
    x = (300 * normal(7, 2, count)).requires_grad_()
    found, expected = functions.shares(x), torch.softmax(x, -1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-300)
    weights = normal(7, 2, count, seed=1)
    slopes = [torch.autograd.grad((v * weights).sum(), x)[0] for v in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-14)
