"""Answers at which no constraint and no bound touches need no multipliers."""

from __future__ import annotations

import pytest
import torch

import ebmlang

TEXT = """model m(n: int) {
  observed y : real[n]
  observed b : real
  latent x : real[n]
  energy e = ||x - y||^2
  subject to limit : sum(x) <= b
  infer x
}"""


@pytest.mark.parametrize("room", [torch.inf, 1e6])
def test_a_constraint_with_room_is_as_if_it_were_not_there(room: float) -> None:
    y = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    found = ebmlang.loads(TEXT).infer(y=y, b=[1.0, room])
    assert found.converged.all(), found.status
    assert torch.allclose(found.x[1], y[1])
    assert torch.allclose(found.x[0], y[0] - 5 / 3)
    assert found.multipliers["limit"][1] == 0
