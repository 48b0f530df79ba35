"""Steps of training beside the loop that a person writes in torch: VICReg on a multilayer perceptron, and a
small regression, where what surrounds the arithmetic is all there is; and the time from a start to the
first step."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

import ebmlang
from benchmarks.measure import Row, processor_in_turns, processor_seconds, shown

BATCH, STEPS = 256, 10

VICREG = """import std.vicreg
model joint(n: int) {
  observed x : real[n]
  observed y : real[n]
  net enc  : real[n] -> real[256] = mlp([256], act = relu)
  net proj : real[256] -> real[512] = mlp([512], act = relu)
  let a = proj(enc(x))
  let b = proj(enc(y))
  use vicreg.vicreg as v with u = a, v = b
  train using adam(lr = 1e-3)
}
"""

REGRESSION = """model regression(n: int) {
  observed x : real[n]
  observed t : real
  param w : real[n] = normal()
  energy fit = (t - dot(x, w))^2
  train using adam(lr = 1e-3)
}
"""

FIRST_STEP = """
import sys
import torch
import ebmlang
m = ebmlang.loads(sys.argv[1])
m.fit(x=torch.randn(256, 64), y=torch.randn(256, 64), steps=1)
"""


def rows() -> list[Row]:
    """The table of this part."""
    return [_vicreg(), _regression(), _first_step()]


def _row(what: str, ours: Callable[[], object], theirs: Callable[[], object], bar: float | None) -> Row:
    pair = processor_in_turns(ours, theirs, seconds=20.0)
    met = None if bar is None else pair.ratio <= bar
    limit = "" if bar is None else f"<= {bar}"
    return Row(what, shown(pair.ours), shown(pair.theirs), f"{pair.ratio:.2f}", limit, met)


def vicreg_losses(enc: nn.Module, proj: nn.Module, x: Tensor, y: Tensor, steps: int) -> list[float]:
    """The loop by hand: the loss of the published code, a fused Adam."""
    optimiser = torch.optim.Adam([*enc.parameters(), *proj.parameters()], lr=1e-3, fused=True)
    found = []
    for _ in range(steps):
        optimiser.zero_grad()
        u, v = proj(enc(x)), proj(enc(y))
        loss = 25 * nn.functional.mse_loss(u, v) + _spread(u) + _spread(v)
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    return found


def _spread(u: Tensor) -> Tensor:
    """Half of the variance term and the covariance term of one side."""
    narrow = torch.relu(1 - torch.sqrt(u.var(0) + 1e-4)).mean()
    centred = u - u.mean(0)
    gram = centred.T @ centred / (len(u) - 1)
    return 12.5 * narrow + (gram.square().sum() - gram.diagonal().square().sum()) / u.shape[1]


def _vicreg() -> Row:
    x = torch.randn(BATCH, 64, generator=torch.Generator().manual_seed(0))
    y = x + 0.1 * torch.randn(BATCH, 64, generator=torch.Generator().manual_seed(1))
    m = ebmlang.loads(VICREG).bind(x=x, y=y)
    enc, proj = copy.deepcopy(m.net("enc")), copy.deepcopy(m.net("proj"))
    first = m(x=x, y=y).item()
    assert abs(first - vicreg_losses(enc, proj, x, y, 1)[0]) < 1e-4 * first
    return _row(
        f"VICReg, encoder 64-256-256, projector 256-512-512, batch {BATCH}: {STEPS} steps",
        lambda: m.fit(x=x, y=y, steps=STEPS),
        lambda: vicreg_losses(enc, proj, x, y, STEPS),
        1.05,
    )


def _regression() -> Row:
    x = torch.randn(BATCH, 10, generator=torch.Generator().manual_seed(0))
    t = torch.randn(BATCH, generator=torch.Generator().manual_seed(1))
    m = ebmlang.loads(REGRESSION).bind(x=x, t=t)
    w = m.value("w").detach().clone().requires_grad_()

    def by_hand() -> list[float]:
        optimiser, found = torch.optim.Adam([w], lr=1e-3, fused=True), []
        for _ in range(100):
            optimiser.zero_grad()
            loss = (t - x @ w).square().mean()
            loss.backward()
            optimiser.step()
            found.append(loss.item())
        return found

    what = f"linear regression with 10 weights, batch {BATCH}: 100 steps with their records"
    return _row(what, lambda: m.fit(x=x, t=t, steps=100), by_hand, None)


def _first_step() -> Row:
    seconds = min(processor_seconds(["-c", FIRST_STEP, VICREG]) for _ in range(3))
    what = "VICReg, from the start of Python to the end of the first step"
    return Row(what, shown(seconds), "", "", "<= 3 s", seconds <= 3)
