"""Steps of training beside the loop that a person writes in torch: VICReg on a multilayer perceptron,
contrastive divergence of an energy in the plane and of a restricted Boltzmann machine, a dictionary of sparse
codes, and a small regression, where what surrounds the arithmetic is all there is; the memory of a thousand
steps; and the time from a start to the first step."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import ebmlang
from benchmarks.measure import Row, processor_in_turns, processor_seconds, run_python, shown

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

PLANE = """model plane {
  observed y : real[2]
  net f : real[2] -> real = mlp([64, 64], act = silu)
  energy e = f(y)
  train by contrastive_divergence(y, sampler = langevin(steps = 20, step = 0.01)) using adam(lr = 1e-3)
}
"""

BOLTZMANN = """model boltzmann(n: int, h: int = 32) {
  observed v : bool[n]
  latent   z : bool[h]
  param    W : real[n, h] = normal(0, 0.1)
  param    b : real[n]
  param    c : real[h]
  energy joint = -dot(v, W @ z) - dot(b, v) - dot(c, z)
  marginalize z
  train by contrastive_divergence(v, sampler = gibbs(steps = 1)) using adam(lr = 1e-2)
}
"""

DICTIONARY = """model dictionary(n: int, k: int = 128, lam: real in nonnegative = 0.5) {
  observed y : real[n]
  latent   z : real[k] = 0
  param    D : real[n, k] in unit_columns = normal()
  energy      reconstruction = 1/2 * ||y - D @ z||^2
  regularizer sparsity       = lam * ||z||_1
  train D using adam(lr = 1e-2)
}
"""

FIRST_STEP = """
import sys
import torch
import ebmlang
m = ebmlang.loads(sys.argv[1])
m.fit(x=torch.randn(256, 64), y=torch.randn(256, 64), steps=1)
"""

MEMORY = """
import resource
import sys
import torch
import ebmlang
m = ebmlang.loads(sys.argv[1], k=32)
y = torch.randn(16, 8)
for steps in (100, 1000):
    m.fit(y=y, steps=steps)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def rows() -> list[Row]:
    """The table of this part."""
    return [_vicreg(), _plane(), _boltzmann(), _dictionary(), _regression(), _memory(), _first_step()]


def _row(what: str, ours: Callable[[], object], theirs: Callable[[], object], bar: float | None) -> Row:
    pair = processor_in_turns(ours, theirs, seconds=6.0)
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


def _plane() -> Row:
    y = torch.randn(BATCH, 2, generator=torch.Generator().manual_seed(0))
    m = ebmlang.loads(PLANE).bind(y=y)
    f, generator = copy.deepcopy(m.net("f")), torch.Generator().manual_seed(0)

    def by_hand() -> None:
        optimiser = torch.optim.Adam(f.parameters(), lr=1e-3, fused=True)
        for _ in range(STEPS):
            x = y
            for _ in range(20):
                x = x.detach().requires_grad_()
                (slope,) = torch.autograd.grad(f(x).sum(), x)
                x = x - 0.01 * slope + 0.02**0.5 * torch.randn(x.shape, generator=generator)
            optimiser.zero_grad()
            loss = f(y).mean() - f(x.detach()).mean()
            loss.backward()
            optimiser.step()
            loss.item()

    what = f"contrastive divergence, an energy in the plane, batch {BATCH}, 20 Langevin steps: {STEPS} steps"
    return _row(what, lambda: m.fit(y=y, steps=STEPS), by_hand, 1.05)


def _boltzmann() -> Row:
    v = torch.rand(BATCH, 64, generator=torch.Generator().manual_seed(0)) < 0.3
    m = ebmlang.loads(BOLTZMANN).bind(v=v)
    w, b, c = (m.value(name).detach().clone() for name in ("W", "b", "c"))
    generator, seen = torch.Generator().manual_seed(0), v.float()

    def drawn(p: Tensor) -> Tensor:
        return (torch.rand(p.shape, generator=generator) < p).float()

    def by_hand() -> None:
        optimiser = torch.optim.Adam([w, b, c], lr=1e-2, fused=True)
        for _ in range(STEPS):
            up = torch.sigmoid(seen @ w + c)
            x = drawn(torch.sigmoid(drawn(up) @ w.T + b))
            again = torch.sigmoid(x @ w + c)
            w.grad = (x.T @ again - seen.T @ up) / BATCH
            b.grad, c.grad = (x - seen).mean(0), (again - up).mean(0)
            optimiser.step()

    what = f"contrastive divergence, a Boltzmann machine of 64 and 32, batch {BATCH}, 1 sweep: {STEPS} steps"
    return _row(what, lambda: m.fit(v=v, steps=STEPS), by_hand, None)


def _dictionary() -> Row:
    digits = torch.tensor(load_digits().data[:BATCH] / 16, dtype=torch.float32)
    m = ebmlang.loads(DICTIONARY).bind(y=digits)
    begin = m.value("D").detach().clone()

    def ours() -> None:
        # The better the dictionary, the longer codes take: both sides begin with the same one every time.
        with torch.no_grad():
            m.value("D").copy_(begin)
        m.fit(y=digits, steps=STEPS)

    ours()
    mine, theirs = m(y=digits).item(), _loss_of_codes(digits, _dictionary_by_hand(digits, begin))
    assert abs(mine - theirs) < 0.01 * theirs, (mine, theirs)
    return _row(
        f"sparse dictionary, 64 x 128, batch {BATCH}, codes within 1e-5 of their optimum: {STEPS} steps",
        ours,
        lambda: _dictionary_by_hand(digits, begin),
        1.05,
    )


def _dictionary_by_hand(y: Tensor, begin: Tensor) -> Tensor:
    """Codes by accelerated proximal gradient on the Gram matrix, one step of Adam along the sphere of every
    column, again and again: the dictionary."""
    d = begin.clone()
    optimiser = torch.optim.Adam([d], lr=1e-2, fused=True)
    for _ in range(STEPS):
        z = _codes_by_hand(y, d)
        slope = (z @ d.T - y).T @ z / len(y)
        d.grad = slope - d * (d * slope).sum(0)
        optimiser.step()
        d /= d.norm(dim=0)
    return d


def _codes_by_hand(y: Tensor, d: Tensor, lam: float = 0.5) -> Tensor:
    """FISTA with restart. Every 10 steps rows are looked at: all of them below 1e-5 of where they began, as
    ours."""
    gram, pull = d.T @ d, y @ d
    steep = torch.linalg.matrix_norm(gram, 2).item()
    z = ahead = torch.zeros_like(pull)
    age = 1.0

    def change(x: Tensor) -> Tensor:
        return x - nn.functional.softshrink(x - (x @ gram - pull), lam)

    bound = 1e-5 * (1 + change(z).norm(dim=1))
    for number in range(1, 10_000):
        new = nn.functional.softshrink(ahead - (ahead @ gram - pull) / steep, lam / steep)
        if float(((ahead - new) * (new - z)).sum()) > 0:
            age = 1.0
        after = (1 + (1 + 4 * age * age) ** 0.5) / 2
        ahead, z, age = new + (age - 1) / after * (new - z), new, after
        if number % 10 == 0 and bool((change(z).norm(dim=1) <= bound).all()):
            break
    return z


def _loss_of_codes(y: Tensor, d: Tensor, lam: float = 0.5) -> float:
    z = _codes_by_hand(y, d)
    return float(((y - z @ d.T).square().sum(1) / 2 + lam * z.abs().sum(1)).mean())


def _memory() -> Row:
    """How much more memory the process has held after a thousand steps with codes inside."""
    used = [int(word) for word in run_python(["-c", MEMORY, DICTIONARY]).split()]
    grown = (used[1] - used[0]) / used[0]
    what = "sparse dictionary: growth of the peak memory from step 100 to step 1,100"
    return Row(
        what,
        f"{used[1] / 1024:.0f} MiB",
        f"{used[0] / 1024:.0f} MiB",
        f"{grown:+.1%}",
        "<= 2 %",
        grown <= 0.02,
    )


def _first_step() -> Row:
    seconds = min(processor_seconds(["-c", FIRST_STEP, VICREG]) for _ in range(3))
    what = "VICReg, from the start of Python to the end of the first step"
    return Row(what, shown(seconds), "", "", "<= 3 s", seconds <= 3)
