"""What is pretended is as strict as a device."""

from __future__ import annotations

import pytest
import torch

import ebmlang
from tests.device.pretended import CUDA, Elsewhere, near, pretended


def test_tensors_of_two_devices_do_not_meet() -> None:
    with pretended():
        x = torch.ones(3, device="cuda")
        assert isinstance(x, Elsewhere)
        assert x.device == CUDA
        other = torch.ones(3)
        for join in (torch.add, torch.dot, lambda a, b: torch.cat([a, b]), lambda a, b: b[a.long()]):
            with pytest.raises(RuntimeError, match="same device"):
                join(x, other)
        assert near(x + torch.tensor(1.0)).tolist() == [2, 2, 2]


def test_numbers_leave_by_way_of_the_processor() -> None:
    with pretended():
        x = torch.arange(3.0).to("cuda")
        with pytest.raises((RuntimeError, TypeError)):
            x.numpy()
        there = x.cpu()
        assert not isinstance(there, Elsewhere)
        there[0] = 7.0
        assert x.tolist() == [0, 1, 2]


def test_gradients_flow() -> None:
    with pretended():
        x = torch.tensor([1.0, 2.0], device="cuda", requires_grad=True)
        (x**3).sum().backward()
        assert isinstance(x.grad, Elsewhere)
        assert x.grad.tolist() == [3, 12]


def test_without_it_there_is_none() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ebmlang.DataError, match="no CUDA device"):
            ebmlang.loads("model m { latent x : real; energy e = x^2; infer x }").infer(device="cuda")
