"""One cold plan of the pendulum beside loops written by hand, in processor time; and a thousand plans."""

from __future__ import annotations

import resource
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import ebmlang
from benchmarks.measure import ROOT, Row, processor_in_turns, shown

STEPS, DT = 30, 0.05
HANGING = np.array([-1.0, 0.01, 0.0])
BAR = 0.025
ADAM_STEPS, SAMPLES, PLANS = 50, 500, 1000


def rows() -> list[Row]:
    """Plans of 30 steps from hanging, in float32."""
    model = ebmlang.load(ROOT / "models" / "gallery" / "planning" / "swing_up.ebm", T=STEPS)
    first = torch.tensor([[np.arctan2(HANGING[1], HANGING[0]), HANGING[2]]], dtype=torch.float32)

    def cold() -> object:
        return model.plan(obs=HANGING)

    def alone() -> object:
        return model.plan(obs=HANGING, restarts=1)

    return [
        _row(f"cold plan, 4 starts, against {ADAM_STEPS} steps of Adam by hand", cold, lambda: adam(first)),
        _row(f"cold plan, 4 starts, against MPPI of {SAMPLES} samples by hand", cold, lambda: mppi(first)),
        _row(f"cold plan, 1 start, against {ADAM_STEPS} steps of Adam by hand", alone, lambda: adam(first)),
        _growth(model),
    ]


def _row(what: str, ours: Callable[[], object], theirs: Callable[[], object]) -> Row:
    pair = processor_in_turns(ours, theirs)
    return Row(what, shown(pair.ours), shown(pair.theirs), f"{pair.ratio:.2f}", shown(BAR), pair.ours <= BAR)


def _growth(model: ebmlang.Model) -> Row:
    """What a thousand plans in one process add to its peak memory, once a hundred have been made."""
    peaks = []
    for count in (100, PLANS):
        for k in range(count):
            model.plan(obs=[np.cos(k), np.sin(k), 0.1], iterations=1, restarts=1)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    grown = peaks[1] - peaks[0]
    return Row(f"{PLANS:,} plans: growth of memory", f"{grown:.1f} MiB", "", "", "<= 5 MiB", grown <= 5)


def cost(first: Tensor, actions: Tensor) -> Tensor:
    """The cost of torques [B, T] from states [B, 2], as one writes it down."""
    angle, speed = first[:, 0].expand(len(actions)), first[:, 1].expand(len(actions))
    total = torch.zeros(len(actions))
    for torque in actions.clamp(-2, 2).unbind(1):
        wrapped = torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi
        total = total + wrapped**2 + 0.1 * speed**2 + 0.001 * torque**2
        speed = (speed + DT * (15 * torch.sin(angle) + 3 * torque)).clamp(-8, 8)
        angle = angle + DT * speed
    return total


def adam(first: Tensor) -> Tensor:
    """Gradient descent by automatic differentiation."""
    actions = torch.zeros(1, STEPS, requires_grad=True)
    optimiser = torch.optim.Adam([actions], lr=0.1)
    for _ in range(ADAM_STEPS):
        optimiser.zero_grad()
        cost(first, actions).sum().backward()
        optimiser.step()
    return actions.detach()


@torch.no_grad()
def mppi(first: Tensor) -> Tensor:
    """One round of weighted random torques."""
    actions = 2 * torch.randn(SAMPLES, STEPS)
    energies = cost(first, actions)
    return torch.softmax(-(energies - energies.min()), 0) @ actions
