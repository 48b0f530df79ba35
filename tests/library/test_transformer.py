"""A transformer of library parts alone, against the same network of torch.nn with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ebmlang
from benchmarks.measure import ROOT
from benchmarks.transformer import losses_of, started, text_of


def test_the_loss_curve_is_that_of_torch() -> None:
    model, written, text, target = started(4, 12, 16, 2, 2)
    history = model.fit(text=text, target=target, steps=100, lr=1e-3)
    losses = losses_of(written, text, target, 100, 1e-3)
    found = torch.tensor(list(history.loss), dtype=torch.float64)
    torch.testing.assert_close(found, torch.tensor(losses, dtype=torch.float64), rtol=0, atol=1e-4)
    assert found[-1] < 0.8 * found[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_all_parameters(dtype: torch.dtype) -> None:
    model, written, text, target = started(3, 7, 12, 3, 3, dtype, seed=1)
    loss = model(text=text, target=target)
    expected = nn.functional.cross_entropy(written(text).flatten(0, 1), target.flatten())
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    loss.backward()
    expected.backward()
    # Our gradients are put where our weights were, and go over to torch's names with the weights.
    with torch.no_grad():
        for p in model.parameters():
            assert p.grad is not None
            p.copy_(p.grad)
    theirs = [p.grad for p in written.parameters()]
    written.take(model)
    for ours, grad in zip(written.parameters(), theirs, strict=True):
        assert grad is not None
        torch.testing.assert_close(ours.detach(), grad, rtol=100 * tolerance, atol=tolerance)


def test_the_future_is_not_seen() -> None:
    model, _, text, target = started(2, 9, 8, 2, 2, seed=2)
    first = model.infer(text=text, target=target)["logits"]
    changed = text.clone()
    changed[:, 6:] = torch.where(text[:, 6:] == 0, 1, 0)
    second = model.infer(text=changed, target=target)["logits"]
    torch.testing.assert_close(first[:, :6], second[:, :6])
    assert bool((first[:, 6:] != second[:, 6:]).any(-1).all())


def test_the_fused_kernel_is_called_in_every_layer() -> None:
    model, *_ = started(2, 5, 8, 2, 2)
    assert "scaled_dot_product_attention" in model.source
    assert model.source.count("for l in range(layers_)") >= 1


def test_a_transformer_inside_another_model() -> None:
    """Its layers are a plate of nets whose size is settled by the model around."""
    text, target, symbols = text_of(2, 5, seed=3)
    outer = """
    import std.transformer
    model m(T: int, symbols: int) {
      observed text : class[symbols][T];  observed target : class[symbols][T]
      use transformer(d = 8, layers = 2, heads = 2) as inner with text = text, target = target
    }
    """
    model = ebmlang.loads(outer, symbols=symbols)
    model.bind(text=text, target=target)
    alone = ebmlang.load(ROOT / "models/std/transformer.ebm", d=8, layers=2, heads=2, symbols=symbols, T=5)
    alone.bind(text=text, target=target)
    alone.load_state_dict({n.removeprefix("inner."): p for n, p in model.state_dict().items()})
    torch.testing.assert_close(model(text=text, target=target), alone(text=text, target=target))
