"""Sums of products and masks with leading dimensions, against torch's own."""

import pytest
import torch

from ebmlang.runtime.functions import scaled_dot_product_attention
from ebmlang.runtime.leads import einsum, joined
from tests.draws import normal

SIZES = {"t": 3, "d": 4, "h": 2, "e": 5, "s": 6}


@pytest.mark.parametrize("lead", [(), (7,), (7, 1, 2)])
@pytest.mark.parametrize(
    "spec",
    ["td,hed->hte", "td,hed->teh", "hte,dhe->td", "hte,deh->td", "td,d->t", "d,d->", "td,ds->st", "td,td->",
     "td,tds->s", "td,td->td", "td,hd->td", "d,hs->dhs"],
)  # fmt: skip
def test_einsum(spec: str, lead: tuple[int, ...]) -> None:
    inputs, output = spec.split("->")
    first, second = inputs.split(",")
    x = normal(*lead, *(SIZES[s] for s in first)).requires_grad_()
    w = normal(*(SIZES[s] for s in second), seed=1).requires_grad_()
    expected = torch.einsum(f"...{first},{second}->...{output}", x, w)
    found = einsum(spec, x, w)
    torch.testing.assert_close(found, expected)
    for a, b in zip(*(torch.autograd.grad(v.square().sum(), (x, w)) for v in (found, expected)), strict=True):
        torch.testing.assert_close(a, b)


def test_leading_dimensions_broadcast() -> None:
    assert joined((2, 3), (2, 3)) == (2, 3)
    assert joined((2, 1), torch.Size((3,)), ()) == (2, 3)
    assert joined(()) == ()
    with pytest.raises(RuntimeError):
        joined((2,), (3,))


@pytest.mark.parametrize(
    ("lead", "shape"),
    [((5,), ()), ((5,), (5,)), ((5,), (1,)),
     ((5, 2), (1, 2)), ((5, 2), (5, 1)), ((5, 2), (5, 2)), ((5, 2), (2,)), ((5, 2, 3), (1, 1, 1)),
     ((5, 2, 3), (5, 1, 1)), ((5, 2, 3), (1, 2, 1)), ((5, 2, 3), (3,)), ((), ())],
)  # fmt: skip
@pytest.mark.parametrize("stretched", [False, True])
def test_masks_of_attention(lead: tuple[int, ...], shape: tuple[int, ...], stretched: bool) -> None:
    q, k, v = (normal(*lead, n, 4, seed=n) for n in (3, 6, 6))
    mask = normal(*shape, 3, 6, seed=9) > -0.5
    mask[..., 0] = True
    weights = torch.softmax((0.5 * q @ k.mT).masked_fill(~mask, -torch.inf), -1)
    if stretched:
        mask = mask.expand(*lead, 3, 6)
    found = scaled_dot_product_attention(q, k, v, mask=mask, scale=0.5)
    torch.testing.assert_close(found, weights @ v)
