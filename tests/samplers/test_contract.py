"""What holds of every sampler of the table: moments, seeds, rows alone and together, types, its own law
kept."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.compiler.samplers import SAMPLERS
from ebmlang.runtime.samplers import CHAINS, make_sampler
from ebmlang.runtime.samplers.driver import Length, drive
from ebmlang.runtime.samplers.hmc import Hmc, mala
from ebmlang.runtime.samplers.informed import Informed
from ebmlang.runtime.samplers.langevin import Langevin
from ebmlang.runtime.samplers.nuts import Nuts
from ebmlang.runtime.samplers.randomness import GeneratorPerRow, OneGenerator
from ebmlang.runtime.samplers.sampler import AbstractSampler, State, moved
from ebmlang.runtime.samplers.samples import Samples
from ebmlang.runtime.samplers.target import Target
from ebmlang.runtime.samplers.tempering import Tempering
from tests.samplers.problems import (
    COUPLED,
    F64,
    FIELD,
    GAUSSIAN,
    ISING,
    PAIR,
    TIE,
    assert_mean,
    chains_of,
    gaussian_moments,
)

REAL = [row.name for row in SAMPLERS if "real" in row.takes]
COUNTABLE = [row.name for row in SAMPLERS if "countable" in row.takes]
EVERY = [(name, GAUSSIAN, {"y": PAIR}) for name in REAL] + [(name, ISING, COUPLED) for name in COUNTABLE]
IDS = [name for name, _, _ in EVERY]


def _drawn(text: str, data: dict[str, Tensor], using: str, **more: object) -> Samples:
    options: dict[str, object] = {"draws": 60, "warmup": 60, "seed": 1, "dtype": "float64", **more}
    return ebmlang.loads(text).sample(data, using=using, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("using", REAL)
def test_moments_of_a_gaussian(using: str) -> None:
    found = _drawn(GAUSSIAN, {"y": PAIR}, using, draws=200, warmup=200, chains=16)
    means, covariance = gaussian_moments(PAIR)
    # Langevin is biased by the order of its step: its law is wider than it should be.
    wide = 0.15 if using == "langevin" else 0.0
    for row in range(2):
        z = found["z"][row]
        assert_mean(z, means[row], found.bulk["z"][row])
        square = (z - means[row]).square()
        error = square.flatten(0, 1).std(0) / found.bulk["z"][row].minimum(found.tail["z"][row]).sqrt()
        off = (square.mean((0, 1)) - covariance.diagonal()).abs()
        assert bool((off <= 5 * error + wide * covariance.diagonal()).all())


@pytest.mark.parametrize("using", COUNTABLE)
def test_frequencies_of_countable_unknowns(using: str) -> None:
    found = _drawn(ISING, COUPLED, using, draws=400, warmup=50, chains=8)
    wanted = ebmlang.loads(ISING).marginal(COUPLED, find=["s", "c"], dtype="float64")
    for row in range(2):
        for case in range(3):
            assert_mean(
                found["c"][row] == case,
                wanted["c"][row, case],
                found.bulk["c"][row].minimum(found.tail["c"][row]),
            )
        assert_mean(found["s"][row], wanted["s"][row, :, 1], found.bulk["s"][row])


@pytest.mark.parametrize(("using", "text", "data"), EVERY, ids=IDS)
def test_the_same_seed_gives_the_same_draws(using: str, text: str, data: dict[str, Tensor]) -> None:
    first, again, other = (_drawn(text, data, using, seed=s) for s in (3, 3, 4))
    for name in first.values:
        assert torch.equal(first[name], again[name])
    assert any(not torch.equal(first[name], other[name]) for name in first.values)


@pytest.mark.parametrize(("using", "text", "data"), EVERY, ids=IDS)
def test_rows_alone_are_as_rows_together(using: str, text: str, data: dict[str, Tensor]) -> None:
    """The first row of a batch; and all rows, cut into chunks."""
    together = _drawn(text, data, using, draws=10, warmup=20)
    alone = _drawn(text, {n: v if n == "w" else v[:1] for n, v in data.items()}, using, draws=10, warmup=20)
    for name in together.values:
        assert torch.allclose(together[name][:1].double(), alone[name].double(), atol=1e-9)


def test_chunks_are_as_the_whole() -> None:
    model, y = ebmlang.loads(GAUSSIAN), PAIR.repeat(4, 1)
    whole = model.sample(y=y, using="mala", draws=5, warmup=10)
    parts = model.sample(y=y, using="mala", draws=5, warmup=10, max_memory="40KiB")
    assert torch.allclose(whole["z"], parts["z"])
    assert whole.status == parts.status


@pytest.mark.parametrize(("using", "text", "data"), EVERY, ids=IDS)
def test_shapes_and_types(using: str, text: str, data: dict[str, Tensor]) -> None:
    single = {n: v.float() for n, v in data.items()}
    found = _drawn(text, single, using, dtype="float32", draws=8, warmup=4, chains=3)
    for name, value in found.values.items():
        assert value.shape[:3] == (2, 3, 8)
        assert value.dtype == {"z": torch.float32, "s": torch.bool, "c": torch.int64}[name]
        assert found.rhat[name].shape == (2, *value.shape[3:])
    assert found.energy.shape == (2, 3, 8)
    assert found.acceptance.shape == found.divergences.shape == (2, 3)
    assert found.step.shape == found.converged.shape == (2,)
    assert len(found.status) == 2
    energy = ebmlang.loads(text).energy({**single, **{n: v[:, 1, 4] for n, v in found.values.items()}})
    assert torch.allclose(found.energy[:, 1, 4].float(), energy, rtol=1e-4, atol=1e-4)


# --- the law is kept ----------------------------------------------------------------------------

BOUNDED = """model m(n: int) {
  observed a : real[n]
  latent z : real[n] in positive = 1
  energy rate = sum(a * z)
  sample z }"""

RATES = torch.tensor([[0.5, 1.0, 4.0]], dtype=F64)

KEEPING: list[tuple[str, AbstractSampler[Target]]] = [
    ("hmc", Hmc(0.3, leapfrogs=4)),
    ("hmc of one length", Hmc(0.4, trajectory=1.2, jitter=0.0)),
    ("mala", mala(0.4)),
    ("nuts", Nuts(0.3)),
    ("annealed", make_sampler("annealed", {"step": 0.4, "leapfrogs": 3})),
]


@pytest.mark.parametrize("sampler", [s for _, s in KEEPING], ids=[n for n, _ in KEEPING])
def test_steps_from_exact_draws_stay_exact(sampler: AbstractSampler[Target]) -> None:
    """Exponential variables, kept positive by a map: the quantiles of draws are uniform before and after."""
    chains = 4000
    target, randomness = chains_of(BOUNDED, {"a": RATES}, chains)
    generator = torch.Generator().manual_seed(5)
    uniform = torch.rand(chains, 3, generator=generator, dtype=F64)
    x = -torch.log1p(-uniform) / RATES
    after = target.point(moved(sampler, target, target.coordinates(x), 3, randomness))
    quantiles = -torch.expm1(-RATES * after)
    assert not torch.allclose(after, x)
    for power, mean, deviation in ((1, 0.5, math.sqrt(1 / 12)), (2, 1 / 3, math.sqrt(4 / 45))):
        off = (quantiles**power).mean(0) - mean
        assert bool((off.abs() <= 5 * deviation / math.sqrt(chains)).all())
    across = ((quantiles[:, 0] - 0.5) * (quantiles[:, 1] - 0.5)).mean()
    assert float(across.abs()) <= 5 / 12 / math.sqrt(chains)


def test_jumps_cross_what_trajectories_do_not() -> None:
    """Two valleys with a wall of height 50 between them; the law of which one a chain is in is known."""
    text = """model m { latent z : real = 0
      energy two = -logsumexp([-50 * (z - 1)^2, -50 * (z + 1)^2 - 1]) }"""
    target, randomness = chains_of(text, {}, 1000)
    start = torch.full((1000, 1), -1.0, dtype=F64)
    share = math.e / (1 + math.e)
    jumping = make_sampler("annealed", {"step": 0.1, "leapfrogs": 1, "jumps": 40})
    crossed = moved(jumping, target, start, 60, randomness)
    assert float((crossed > 0).double().mean()) == pytest.approx(share, abs=5 * math.sqrt(0.2 / 1000))
    assert bool((moved(Hmc(0.1, leapfrogs=5), target, start, 60, randomness) < 0).all())


def test_a_ladder_from_exact_draws_at_all_its_temperatures_stays_exact() -> None:
    """The rung at inverse temperature b begins with exponential variables of b times the rate."""
    chains = 4000
    target, randomness = chains_of(BOUNDED, {"a": RATES}, chains)
    sampler = Tempering(temperatures=3, hottest=4.0, step_size=0.4)
    state = sampler.init(target, target.coordinates(torch.ones(chains, 3, dtype=F64)))
    ladder = state.memory
    beta = ladder.target.beta[:, None]
    x = -torch.log1p(-randomness.uniform(9).reshape(-1, 3)) / RATES / beta
    u = ladder.target.coordinates(x)
    potential, gradient = ladder.target.potential_and_gradient(u)
    moving = replace(ladder.inner.memory, potential=potential, gradient=gradient)
    state = State(u[::3], replace(ladder, inner=State(u, moving)))
    for _ in range(4):
        state, _ = sampler.step(target, state, randomness)
    for rung in range(3):
        after = ladder.target.point(state.memory.inner.x)[rung::3]
        quantiles = -torch.expm1(-RATES * beta[rung] * after)
        for power, mean, deviation in ((1, 0.5, math.sqrt(1 / 12)), (2, 1 / 3, math.sqrt(4 / 45))):
            off = (quantiles**power).mean(0) - mean
            assert bool((off.abs() <= 5 * deviation / math.sqrt(chains)).all())


def test_langevin_is_exact_for_small_steps_only() -> None:
    """The stationary variance of x' = (1 - h) x + sqrt(2 h) noise is 1 / (1 - h / 2)."""
    text = "model m(n: int) { observed y : real[n]; latent z : real[n] = 0; energy e = 1/2 * ||z||^2 }"
    target, randomness = chains_of(text, {"y": torch.zeros(1, 2, dtype=F64)}, 20_000)
    for step in (0.05, 0.8):
        x = randomness.normal(2) / math.sqrt(1 - step / 2)
        x = moved(Langevin(step), target, x, 5, randomness)
        assert float(x.var()) == pytest.approx(1 / (1 - step / 2), rel=5 * math.sqrt(2 / 40_000))


@pytest.mark.parametrize("using", ["gibbs", "gibbs_with_gradients"])
def test_a_step_of_countable_unknowns_keeps_every_frequency(using: str) -> None:
    """From exact draws of a small model: after a step each of the 24 states is as frequent as before."""
    model, chains = ebmlang.loads(ISING), 20_000
    exact = model.sample(
        h=FIELD[:1], w=TIE, using="ancestral", chains=chains, draws=1, seed=2, dtype="float64"
    )
    begun = {n: exact[n][0, :, 0] for n in ("s", "c")}
    from ebmlang.runtime import posing
    from ebmlang.runtime.discrete.question import question_of
    from ebmlang.runtime.samplers.countable import InTables

    asked = model.asked(None, frozenset({"h", "w"}), None, None, frozenset())
    _, module = model.compiled(asked, None)
    bound = model.bound(
        module, {"h": FIELD[:1], "w": TIE}, model.settings({}, "float64", None, 0, None), frozenset()
    )
    (network,) = question_of(bound, {}, posing.held_values(bound), {}).networks()
    target = InTables(network, chains, 1.0)
    x = torch.cat((begun["s"].long(), begun["c"][:, None]), 1)
    randomness = GeneratorPerRow(7, "test", np.zeros(1, np.int64), chains, F64, torch.device("cpu"))
    sampler = Informed(1) if using == "gibbs_with_gradients" else CHAINS[using]()
    after = moved(sampler, target, x, 1, randomness)
    assert not torch.equal(after, x)
    every = torch.cartesian_prod(*[torch.arange(k) for k in (2, 2, 2, 3)])
    weights = torch.softmax(-torch.cat([network.energy(state[None]) for state in every]), 0)
    for state, wanted in zip(every, weights.tolist(), strict=True):
        share = float((after == state).all(1).double().mean())
        assert abs(share - wanted) <= 5 * math.sqrt(wanted * (1 - wanted) / chains)


def test_langevin_says_that_it_is_biased() -> None:
    assert "biased" in _drawn(GAUSSIAN, {"y": PAIR}, "langevin", draws=4, warmup=4).certificate
    assert "biased" not in _drawn(GAUSSIAN, {"y": PAIR}, "mala", draws=4, warmup=4).certificate


def test_a_step_leaves_the_state_as_it_is() -> None:
    target, randomness = chains_of(GAUSSIAN, {"y": PAIR}, 2)
    for sampler in (Nuts(0.3), Hmc(0.3), Langevin(0.1)):
        state = sampler.init(target, torch.zeros(4, 3, dtype=F64))
        before = state.x.clone()
        sampler.step(target, state, randomness)
        assert torch.equal(state.x, before)


def test_one_generator_for_all_chains_is_enough_for_training() -> None:
    """A few steps without warm-up and diagnostics: what contrastive divergence takes."""
    target, _ = chains_of(GAUSSIAN, {"y": PAIR}, 3)
    start = torch.zeros(6, 3, dtype=F64)

    def negatives() -> Tensor:
        source = OneGenerator(torch.Generator().manual_seed(0), 6, F64, torch.device("cpu"))
        return moved(Langevin(0.05), target, start, 4, source)

    first = negatives()
    assert first.shape == start.shape
    assert torch.equal(first, negatives())
    assert len(first.unique(dim=0)) == 6


def test_steps_of_the_driver_are_counted_and_thinned() -> None:
    target, randomness = chains_of(GAUSSIAN, {"y": PAIR}, 2)
    heard: list[tuple[int, int]] = []
    length = Length(chains=2, draws=3, warmup=4, thin=5)
    drawn = drive(
        Hmc(0.2), target, torch.zeros(4, 3, dtype=F64), length, randomness, lambda d, n: heard.append((d, n))
    )
    assert drawn.points.shape == (4, 3, 3)
    assert heard == [(k + 1, 19) for k in range(19)]
    assert torch.allclose(drawn.energy, torch.stack([target.energy(p) for p in drawn.points.unbind(1)], 1))
