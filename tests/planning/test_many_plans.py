"""Many plans in one process: nothing is compiled anew, and memory stays what it was."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ebmlang
from ebmlang.planning import Asking, Levels

STEP = """model cart(T: int = 8) {
  observed s0 : real[2]
  latent a : real[T, 1] in [-2, 2]
  let s : real[T+1, 2]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = [s[t, 0] + 0.1 * s[t, 1], s[t, 1] + 0.1 * FORCE]
    cost c[t] = ||s[t+1]||^2 + 0.1 * ||a[t]||^2
  }
  plan a METHOD
}
"""

LEVELS = """model levels(K: int = 3, T: int = 4) {
  observed s0 : real[2]
  latent g : real[K, 2]
  latent a : real[T, 2]
  cost leg = ||g[0] - s0||^2 + ||g||^2
  let s : real[T+1, 2]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = s[t] + a[t]
    cost follow[t] = ||s[t+1] - g[0]||^2 + ||a[t]||^2
  }
  plan g of leg every 5
  plan a of follow given g
}
"""

WAYS = {
    "riccati": STEP.replace("FORCE", "a[t, 0]").replace("in [-2, 2]", "").replace("METHOD", ""),
    "ilqr": STEP.replace("FORCE", "(a[t, 0] - sin(s[t, 0]))").replace("METHOD", "using ilqr(restarts = 1)"),
    "cem": STEP.replace("FORCE", "(a[t, 0] - sin(s[t, 0]))").replace("METHOD", "using cem(steps = 4)"),
    "levels": LEVELS,
}

_MOST_GROWTH = 2**20
"""Bytes between the two looks. What grew with the plans, a kilobyte each, would be more."""


def held() -> int:
    """Bytes of the process that are in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def growth(text: str, first: int, last: int) -> tuple[int, int]:
    """Bytes and compiled questions that came between two numbers of plans."""
    m = ebmlang.loads(text)
    levels = Levels.of(m, Asking(), m.settings({}, None, None, 0, None), {})
    levels.begin(0)
    rng, before = np.random.default_rng(0), (0, 0)
    for number in range(last):
        if number == first:
            before = (held(), len(m._compiled.modules))
        levels.plan({"s0": rng.uniform(-1, 1, 2)}, number)
    return held() - before[0], len(m._compiled.modules) - before[1]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("way", list(WAYS))
def test_plans_leave_nothing_behind(way: Any) -> None:
    grown, compiled = growth(WAYS[way], 40, 120)
    assert compiled == 0
    assert grown < _MOST_GROWTH


if __name__ == "__main__":
    for name, text in WAYS.items():
        grown, compiled = growth(text, 100, 1000)
        print(f"{name:<8} {grown / 1024:8.0f} KiB and {compiled} compilations from plan 100 to plan 1,000")
