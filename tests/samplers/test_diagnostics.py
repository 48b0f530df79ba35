"""Diagnostics against the formulas of the paper written out in loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from torch import Tensor

from ebmlang.runtime.samplers import diagnostics
from ebmlang.runtime.samplers.diagnostics import diagnose, effective_size, normal_scores
from tests.draws import normal

Numbers = NDArray[np.float64]


def _autoregressive(chains: int, length: int, rho: float, seed: int = 0) -> Tensor:
    noise = normal(chains, length, seed=seed)
    draws = [noise[:, 0]]
    for t in range(1, length):
        draws.append(rho * draws[-1] + math.sqrt(1 - rho**2) * noise[:, t])
    return torch.stack(draws, 1)


def _slow_effective(chains: Numbers) -> float:
    """Section 3 of Vehtari et al. 2021 with the initial monotone sequence, in loops."""
    count, length = chains.shape
    covariance = np.zeros((count, length))
    for c in range(count):
        centred = chains[c] - chains[c].mean()
        for lag in range(length):
            covariance[c, lag] = (centred[: length - lag] * centred[lag:]).sum() / length
    within = covariance[:, 0].mean() * length / (length - 1)
    total = within * (length - 1) / length + chains.mean(1).var(ddof=1)
    rho = 1 - (within - covariance.mean(0)) / total
    rho[0] = 1.0
    sums: list[float] = []
    lag = 0
    while lag + 1 < length - 1:
        pair = rho[lag] + rho[lag + 1]
        if lag > 0 and pair <= 0:
            break
        sums.append(min(pair, sums[-1]) if sums else pair)
        lag += 2
    time = -1 + 2 * sum(sums)
    if lag + 1 < length - 1:
        time += max(rho[lag], 0.0)
    draws = count * length
    return float(draws / max(time, 1 / math.log10(draws)))


def _slow_rhat(chains: Numbers) -> float:
    length = chains.shape[1]
    within, between = chains.var(1, ddof=1).mean(), length * chains.mean(1).var(ddof=1)
    return float(math.sqrt((between / within + length - 1) / length))


def _halves(chains: Numbers) -> Numbers:
    half = chains.shape[1] // 2
    return np.concatenate([chains[:, :half], chains[:, -half:]])


def _scores(chains: Numbers) -> Numbers:
    ranks = rankdata(chains.reshape(-1), method="average").reshape(chains.shape)
    found: Numbers = norm.ppf((ranks - 0.375) / (chains.size + 0.25))
    return found


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.5, 0.95])
@pytest.mark.parametrize("length", [40, 101])
def test_diagnostics_are_those_of_the_paper(rho: float, length: int) -> None:
    draws = _autoregressive(3, length, rho) + torch.tensor([[0.0], [0.3], [0.0]], dtype=torch.float64)
    found = diagnose(draws[None])
    halves = _halves(draws.numpy())
    folded = np.abs(halves - np.median(halves))
    assert float(found.rhat) == pytest.approx(max(_slow_rhat(_scores(halves)), _slow_rhat(_scores(folded))))
    assert float(found.bulk) == pytest.approx(_slow_effective(_scores(halves)))
    low, high = np.quantile(halves, [0.05, 0.95])
    tails = [_slow_effective((halves <= q).astype(float)) for q in (low, high)]
    assert float(found.tail) == pytest.approx(min(tails))


def test_effective_draws_of_an_autoregression_are_those_of_its_spectrum() -> None:
    rho = 0.8
    draws = _autoregressive(4, 20_000, rho)
    wanted = 80_000 * (1 - rho) / (1 + rho)
    assert float(effective_size(draws[None])) == pytest.approx(wanted, rel=0.1)


def test_ties_share_their_rank() -> None:
    draws = torch.tensor([[[1.0, 2.0, 2.0, 5.0], [2.0, 0.0, 5.0, 5.0]]], dtype=torch.float64)
    assert np.allclose(normal_scores(draws)[0].numpy(), _scores(draws[0].numpy()))


def test_chains_apart_are_seen_in_place_and_in_width() -> None:
    mixed = normal(4, 500)
    place = mixed + torch.tensor([[0.0], [0.0], [0.0], [1.0]], dtype=torch.float64)
    width = mixed * torch.tensor([[1.0], [1.0], [1.0], [4.0]], dtype=torch.float64)
    stuck = torch.arange(4.0, dtype=torch.float64)[:, None].expand(4, 500)
    rhat = diagnose(torch.stack((mixed, place, width, stuck))).rhat.tolist()
    assert rhat[0] < 1.01
    assert min(rhat[1:]) > 1.05


def test_what_is_the_same_everywhere_or_too_short_says_nothing() -> None:
    same = torch.full((1, 4, 100), 2.0)
    assert torch.isnan(diagnose(same).rhat).all()
    assert torch.isnan(diagnose(normal(1, 4, 3)).bulk).all()


def test_parts_are_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = normal(7, 4, 40)
    whole = diagnose(draws)
    monkeypatch.setattr(diagnostics, "_NUMBERS", 500)
    assert torch.equal(diagnose(draws).bulk, whole.bulk)
