"""Two networks of the literature against plain enumeration of their tables, for every evidence."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ebmlang

Array = NDArray[Any]
ASIA = Path(__file__).resolve().parents[2] / "models" / "gallery" / "asia.ebm"

# Korb & Nicholson, Bayesian Artificial Intelligence, 2010, figure 2.1.
CANCER = """model cancer {
  latent polluted : bool
  latent smoker   : bool
  latent cancer   : bool
  latent xray     : bool
  latent dyspnoea : bool
  let risk = where(polluted, where(smoker, 0.05, 0.02), where(smoker, 0.03, 0.001))
  energy air    = -log(where(polluted, 0.1, 0.9))
  energy habit  = -log(where(smoker, 0.3, 0.7))
  energy grows  = -log(where(cancer, risk, 1 - risk))
  energy shows  = -log(where(xray, where(cancer, 0.9, 0.2), where(cancer, 0.1, 0.8)))
  energy breath = -log(where(dyspnoea, where(cancer, 0.65, 0.3), where(cancer, 0.35, 0.7)))
  infer polluted, smoker, cancer, xray, dyspnoea
  marginalize polluted, smoker, cancer, xray, dyspnoea
}"""

ASIA_NAMES = ("visit", "smoker", "tuberculosis", "cancer", "bronchitis", "either", "xray", "dyspnoea")
CANCER_NAMES = ("polluted", "smoker", "cancer", "xray", "dyspnoea")


def bernoulli(true: float, value: int) -> float:
    return true if value else 1 - true


def asia_joint(a: int, s: int, t: int, c: int, b: int, e: int, x: int, d: int) -> float:
    """Lauritzen & Spiegelhalter 1988, table 1, multiplied out."""
    breath = {(1, 1): 0.9, (1, 0): 0.8, (0, 1): 0.7, (0, 0): 0.1}
    return (
        bernoulli(0.01, a)
        * bernoulli(0.5, s)
        * bernoulli((0.01, 0.05)[a], t)
        * bernoulli((0.01, 0.1)[s], c)
        * bernoulli((0.3, 0.6)[s], b)
        * (e == (t | c))
        * bernoulli((0.05, 0.98)[e], x)
        * bernoulli(breath[b, e], d)
    )


def cancer_joint(p: int, s: int, c: int, x: int, d: int) -> float:
    risk = {(0, 1): 0.03, (1, 1): 0.05, (0, 0): 0.001, (1, 0): 0.02}
    return (
        bernoulli(0.1, p)
        * bernoulli(0.3, s)
        * bernoulli(risk[p, s], c)
        * bernoulli((0.2, 0.9)[c], x)
        * bernoulli((0.3, 0.65)[c], d)
    )


@pytest.mark.parametrize("name", ["asia", "cancer"])
def test_every_evidence(name: str) -> None:
    names, joint = (ASIA_NAMES, asia_joint) if name == "asia" else (CANCER_NAMES, cancer_joint)
    model = ebmlang.load(ASIA) if name == "asia" else ebmlang.loads(CANCER)
    states = np.array(list(itertools.product((0, 1), repeat=len(names))))
    p = np.array([joint(*row) for row in states.tolist()])
    assert p.sum() == pytest.approx(1.0, abs=1e-12)
    # Every variable unknown (2), false or true.
    patterns = np.array(list(itertools.product((0, 1, 2), repeat=len(names))))
    agree = ((patterns[:, None] == 2) | (patterns[:, None] == states[None])).all(2)
    weight = agree * p
    evidence = weight.sum(1)
    values = {n: patterns[:, i] == 1 for i, n in enumerate(names)}
    masks = {n: patterns[:, i] != 2 for i, n in enumerate(names)}
    found = model.marginal(values, observed=masks, dtype="float64")
    possible = evidence > 0
    np.testing.assert_allclose(found.log_z.numpy()[possible], np.log(evidence[possible]), atol=1e-9)
    assert np.isneginf(found.log_z.numpy()[~possible]).all()
    for i, n in enumerate(names):
        expected = (weight * states[:, i]).sum(1)[possible] / evidence[possible]
        np.testing.assert_allclose(found[n].numpy()[possible, 1], expected, atol=1e-9)
    best = model.infer(values, observed=masks, dtype="float64")
    top = weight.max(1)
    np.testing.assert_allclose(np.exp(-best.energy.numpy()), top, atol=1e-9)
    assert [s.startswith("exact") for s in best.status] == possible.tolist()


def test_the_numbers_that_the_paper_is_known_for() -> None:
    found = ebmlang.load(ASIA).marginal(dtype="float64")
    known = {"tuberculosis": 0.0104, "cancer": 0.055, "bronchitis": 0.45, "either": 0.064828}
    for name, value in {**known, "xray": 0.11029004, "dyspnoea": 0.4359706}.items():
        assert float(found[name][0, 1]) == pytest.approx(value, abs=1e-7)
