"""Random convex energies: what is said to be a minimum is one, by scipy's searches at high accuracy."""

# Texts of models are longer than lines of code.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional

import ebmlang

F64 = torch.float64
SIZE, DATA, ROWS = 5, 8, 3


@dataclass(frozen=True)
class Part:
    """A term in the language and in PyTorch; `weighs` marks absolute values of entries."""

    text: str
    value: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    weighs: float = 0.0


def huber(r: Tensor, delta: float = 1.0) -> Tensor:
    return torch.where(r.abs() <= delta, r * r / 2, delta * (r.abs() - delta / 2)).sum()


PARTS = (
    Part("1/2 * ||A @ x - y||^2", lambda x, A, y, b: (A @ x - y).square().sum() / 2),
    Part("sum(huber(A @ x - y, delta = 0.7))", lambda x, A, y, b: huber(A @ x - y, 0.7)),
    Part("sum(softplus(A @ x * y))", lambda x, A, y, b: functional.softplus(A @ x * y).sum()),
    Part("logsumexp(A @ x)", lambda x, A, y, b: torch.logsumexp(A @ x, 0)),
    Part("sum(exp(0.3 * x - b))", lambda x, A, y, b: torch.exp(0.3 * x - b).sum()),
    Part("0.3 * ||x||_1", lambda x, A, y, b: 0.3 * x.abs().sum(), 0.3),
    Part("sum((x - b)^4)", lambda x, A, y, b: (x - b).pow(4).sum()),
    Part("dot(x, b)", lambda x, A, y, b: x @ b),
    Part("sum(sqrt(1 + square(x - b)))", lambda x, A, y, b: torch.sqrt(1 + (x - b).square()).sum()),
    Part("sum(huber(x[1..] - x[..n-1]))", lambda x, A, y, b: huber(x[1:] - x[:-1])),
    Part("1/2 * relu(sum(x) - 1)^2", lambda x, A, y, b: functional.relu(x.sum() - 1).square() / 2),
)
DOMAINS = {
    "": (None, None),
    " in nonnegative": (0.0, None),
    " in [-0.2, 0.4]": (-0.2, 0.4),
    " in simplex": (0.0, None),
}


def model(seed: int) -> tuple[str, list[Part], str, float]:
    rng = np.random.default_rng(seed)
    chosen = [PARTS[i] for i in rng.choice(len(PARTS), size=rng.integers(1, 4), replace=False)]
    # Something strictly convex, so that there is one minimum, and it is near.
    chosen.append(Part("0.05 * ||x||^2", lambda x, A, y, b: 0.05 * x.square().sum()))
    domain = str(rng.choice(list(DOMAINS)))
    if domain == " in simplex":
        chosen = [p for p in chosen if not p.weighs]
    scale = float(rng.choice([0.01, 1.0, 1.0, 100.0]))
    terms = "\n  ".join(f"energy e{i} = {scale} * ({p.text})" for i, p in enumerate(chosen))
    text = f"""model drawn(n: int, m: int) {{
  shared observed A : real[m, n]
  observed y : real[m]
  observed b : real[n]
  latent x : real[n]{domain}
  {terms}
  infer x
}}"""
    return text, chosen, domain, scale


def least(chosen: list[Part], domain: str, scale: float, A: Tensor, y: Tensor, b: Tensor) -> float:
    """The minimum by scipy: absolute values are split into two nonnegative halves."""
    lo, hi = DOMAINS[domain]
    weight = sum(p.weighs for p in chosen)
    smooth = [p for p in chosen if not p.weighs]
    halves = 2 if weight else 1

    def function(z: Any) -> tuple[float, Any]:
        leaf = torch.tensor(z, dtype=F64, requires_grad=True)
        x = leaf[:SIZE] - leaf[SIZE:] if weight else leaf
        value = sum((p.value(x, A, y, b) for p in smooth), weight * leaf.sum() if weight else leaf.sum() * 0)
        (slope,) = torch.autograd.grad(value, leaf)
        return float(value.detach()), slope.numpy()

    bounds: list[tuple[float | None, float | None]] = [(lo, hi)] * SIZE
    if weight:
        upper: list[tuple[float | None, float | None]] = [(0 if lo is None else max(lo, 0), hi)]
        lower: list[tuple[float | None, float | None]] = [(0, None if lo is None else max(-lo, 0))]
        bounds = upper * SIZE + lower * SIZE
    start = np.full(SIZE * halves, 0.2)
    if domain == " in simplex":
        rule = {"type": "eq", "fun": lambda z: z.sum() - 1, "jac": np.ones_like}
        found = minimize(
            function,
            start,
            jac=True,
            bounds=bounds,
            constraints=rule,
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 1000},
        )
    else:
        found = minimize(
            function,
            start,
            jac=True,
            bounds=bounds,
            method="L-BFGS-B",
            options={"ftol": 1e-16, "gtol": 1e-10, "maxiter": 20_000, "maxfun": 50_000, "maxcor": 30},
        )
    return scale * float(found.fun)


@pytest.mark.parametrize("seed", range(40))
def test_no_claim_is_too_good(seed: int) -> None:
    text, chosen, domain, scale = model(seed)
    made = torch.Generator().manual_seed(seed)
    A = torch.randn(DATA, SIZE, generator=made, dtype=F64)
    y, b = (
        torch.randn(ROWS, DATA, generator=made, dtype=F64),
        torch.randn(ROWS, SIZE, generator=made, dtype=F64),
    )
    drawn = ebmlang.loads(text)
    found = drawn.infer(A=A, y=y, b=b, dtype="float64")
    assert drawn.choice().structure.find("convex") is not None, text
    for row in range(ROWS):
        reference = least(chosen, domain, scale, A, y[row], b[row])
        energy = float(found.energy[row])
        slack = 1e-8 * scale * (1 + abs(reference / scale))
        assert found.converged[row], (text, found.status[row])
        assert energy <= reference + slack, (text, found.method, energy - reference, found.status[row])
        # The reference is a minimum as well: no value below it can be true.
        assert energy >= reference - 1e-6 * scale * (1 + abs(reference / scale)), (text, energy - reference)
        if found.gap is not None:
            assert energy - float(found.gap[row]) <= reference + slack, (text, found.gap)


def test_a_gap_bounds_what_is_missing_at_every_step() -> None:
    """A search that is stopped early says how far it may be off, and is no farther."""
    text = """model lasso(n: int, m: int) {
  shared observed A : real[m, n]
  observed y : real[m]
  latent x : real[n]
  energy fit = 1/2 * ||A @ x - y||^2
  energy few = 0.3 * ||x||_1
  infer x
}"""
    made = torch.Generator().manual_seed(5)
    A = torch.randn(12, 30, generator=made, dtype=F64)
    y = torch.randn(4, 12, generator=made, dtype=F64)
    drawn = ebmlang.loads(text)
    best = drawn.infer(A=A, y=y, dtype="float64").energy
    for steps in (0, 1, 2, 5, 20):
        found = drawn.infer(A=A, y=y, steps=steps, dtype="float64")
        assert found.gap is not None
        assert (found.energy - best <= found.gap + 1e-9).all()
        assert (found.gap >= 0).all()
