"""Control with dynamics that are a net, inside of a model that learns them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.commands.standalone import run_file
from ebmlang.explaining import explain_file
from tests.composition.test_nested_nets import loaded
from tests.draws import normal

F64 = torch.float64


CONTROL = """
## Linear-quadratic control with dynamics that are a net.
model control(n: int, m: int, T: int) {
  observed s0 : real[n]
  latent   a  : real[T, m] = 0
  net step : (real[n], real[m]) -> real[n] = linear(bias = false)
  let s : real[T+1, n]
  let s[0] = s0
  for t in 0..T { let s[t+1] = step(s[t], a[t]) }
  for t in 0..T {
    cost away[t]   = ||s[t+1]||^2 + 1/2 * s[t+1, 0] * s[t+1, 1]
    cost effort[t] = ||a[t]||^2
  }
  infer a
}

## The dynamics of an expert from what the expert did.
model imitate(n: int, m: int, T: int) {
  observed s0   : real[n]
  observed done : real[T, m]
  net step : (real[n], real[m]) -> real[n] = linear(bias = false)
  solve control(T = T) as mpc with s0 = s0, step = step USING
  energy imitation = ||mpc.a - done||^2
}
"""


STEPS = 4


def controlled(weight: Tensor, s0: Tensor) -> Tensor:
    """The best actions [B, T, 1] by the normal equations of all states and actions together."""
    a, b = weight[:, :2], weight[:, 2:]
    powers = [torch.eye(2, dtype=F64)]
    for _ in range(STEPS):
        powers.append(a @ powers[-1])
    free = torch.cat(powers[1:])
    zero = torch.zeros(2, 1, dtype=F64)
    forced = torch.cat(
        [torch.cat([powers[t - k] @ b if k <= t else zero for k in range(STEPS)], 1) for t in range(STEPS)]
    )
    costs = torch.block_diag(*[torch.tensor([[1.0, 0.25], [0.25, 1.0]], dtype=F64)] * STEPS)
    matrix = forced.T @ costs @ forced + torch.eye(STEPS, dtype=F64)
    found: Tensor = torch.linalg.solve(matrix, -forced.T @ costs @ free @ s0.T).T.reshape(-1, STEPS, 1)
    return found


TRUE = torch.tensor([[1.0, 0.2, 0.1], [-0.1, 0.95, 0.5]], dtype=F64)


@pytest.mark.parametrize("using", ["", "using lbfgs", "using unroll(steps = 300)"])
def test_control_with_a_learned_model(using: str) -> None:
    """Actions and the gradient along the dynamics: by the Riccati recursion, by a method that knows nothing
    of rollouts, and through steps, all against normal equations that torch differentiates."""
    s0 = normal(3, 2)
    done = controlled(TRUE, s0)
    model = loaded(CONTROL.replace("USING", using), s0=s0, done=done)
    weight = next(model.parameters())
    with torch.no_grad():
        weight.copy_(TRUE + 0.1 * normal(2, 3, seed=4))
    assert ("by riccati" in " ".join(model.explain().split())) == (not using)
    torch.testing.assert_close(model.infer(s0=s0, done=done)["mpc.a"], controlled(weight.detach(), s0))
    found = torch.autograd.grad(model(s0=s0, done=done), weight)
    loss = ((controlled(weight, s0) - done) ** 2).sum((1, 2)).mean()
    torch.testing.assert_close(found, torch.autograd.grad(loss, weight), rtol=1e-6, atol=1e-10)


def test_what_explain_says(tmp_path: Path) -> None:
    """Also where nothing is sought around the part."""
    path = tmp_path / "imitate.ebm"
    path.write_text(CONTROL.replace("USING", "").replace("- done||^2", "- done||^2\n  train step"))
    found = " ".join(explain_file(path, None, (), None, None, None, None, True).split())
    assert "seek nothing: every variable is given solve mpc: implicit, control over a by riccati" in found
    assert "`imitation` reads the nested minimum `(solve control with s0 = s0, step = step).a`" in found


def test_dynamics_are_recovered_from_an_expert() -> None:
    """Imitation through control finds the dynamics that the expert knows (Amos et al. 2018)."""
    s0 = normal(8, 2)
    done = controlled(TRUE, s0)
    model = loaded(CONTROL.replace("USING", ""), s0=s0, done=done)
    weight = next(model.parameters())
    with torch.no_grad():
        weight.copy_(TRUE + 0.2 * normal(2, 3, seed=7))
    assert float((weight - TRUE).abs().max().detach()) > 0.1
    steps = torch.optim.LBFGS(
        model.parameters(),
        max_iter=100,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-12,
        tolerance_change=0,
    )

    def closure() -> float:
        steps.zero_grad()
        loss = model(s0=s0, done=done)
        loss.backward()
        return float(loss.detach())

    steps.step(closure)
    torch.testing.assert_close(weight.detach(), TRUE, rtol=1e-4, atol=1e-4)


def test_a_generated_file_has_the_nets_of_its_parts(tmp_path: Path) -> None:
    """`python imitate.py --data D`: the nets from the same seed; nothing is sought around the part."""
    s0, done = normal(3, 2), normal(3, STEPS, 1, seed=1)
    model = ebmlang.loads(CONTROL.replace("USING", ""), seed=4)
    (tmp_path / "imitate.py").write_text(model.source)
    np.savez(tmp_path / "d.npz", s0=s0.numpy(), done=done.numpy())
    out = tmp_path / "out.npz"
    words = ["--data", str(tmp_path / "d.npz"), "-o", str(out), "--seed", "4", "--dtype", "float64"]
    assert run_file(str(tmp_path / "imitate.py"), words) == 0
    expected = model.infer(s0=s0, done=done)["mpc.a"]
    np.testing.assert_allclose(np.load(out)["mpc.a"], expected.detach().numpy(), rtol=1e-6, atol=1e-8)
