"""Laws on domains against their closed forms, conditioned and missing entries, sums, mixtures,
temperatures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

import ebmlang
from ebmlang.runtime.samplers.samples import Samples
from tests.draws import normal
from tests.samplers.problems import F64, FIELD, ISING, TIE, assert_mean

HEAD = "model m(n: int = 3) { "


def _drawn(body: str, **options: object) -> Samples:
    # Many short chains: a step of all of them costs hardly more than one of a few.
    plain: dict[str, object] = {"draws": 50, "warmup": 80, "chains": 50, "using": "hmc", "dtype": "float64"}
    wanted = {**plain, **options}
    return ebmlang.loads(HEAD + body + " }").sample(**wanted)  # type: ignore[arg-type]


def _least(found: Samples, name: str) -> Tensor:
    return torch.fmin(found.bulk[name][0], found.tail[name][0])


def test_gamma() -> None:
    found = _drawn("latent x : real[n] in positive = 1; energy e = sum(2 * x - 1.5 * log(x)); sample x")
    x = found["x"][0]
    assert_mean(x, 2.5 / 2, _least(found, "x"))
    assert_mean(x.log(), special.digamma(2.5) - math.log(2), _least(found, "x"))


@pytest.mark.parametrize("using", ["nuts", "hmc", "tempering"])
def test_a_slope_in_a_box(using: str) -> None:
    found = _drawn("latent x : real[n] in [-1, 2] = 0; energy e = sum(x); sample x", using=using)
    density = stats.truncexpon(3.0, loc=-1.0)
    assert_mean(found["x"][0], density.mean(), _least(found, "x"))
    assert_mean(found["x"][0].square(), density.var() + density.mean() ** 2, _least(found, "x"))


def test_dirichlet() -> None:
    found = _drawn("latent c : real[n] in simplex; energy e = -3 * log(c[0]) - log(c[1]); sample c")
    c, a = found["c"][0], np.array([4.0, 2.0, 1.0])
    assert_mean(c, torch.from_numpy(a / a.sum()), _least(found, "c"))
    second = torch.from_numpy(a * (a + 1) / (a.sum() * (a.sum() + 1)))
    assert_mean(c.square(), second, _least(found, "c"))


def test_dirichlet_where_a_mask_allows() -> None:
    text = "observed see : bool[n]; latent c : real[n] in simplex where see; energy e = -log(c[0]); sample c"
    found = _drawn(text, see=torch.tensor([[True, False, True]]))
    assert bool((found["c"][..., 1] == 0).all())
    assert_mean(found["c"][0, ..., 0], 2 / 3, found.bulk["c"][0, 0])


def test_directions() -> None:
    """Von Mises and Fisher: the mean cosine at concentration k in space is coth k - 1 / k."""
    found = _drawn("latent u : real[n] in sphere; energy e = -2 * u[0]; sample u")
    assert_mean(found["u"][0], torch.tensor([1 / math.tanh(2) - 0.5, 0.0, 0.0]), _least(found, "u"))


def test_wishart() -> None:
    """exp(-tr X) det X^(nu/2 - 3/2) on 2 x 2 matrices: the mean is nu / 2 times the identity."""
    text = "latent X : real[2, 2] in positive_definite; energy e = trace(X) - 2 * logabsdet(X); sample X"
    found = _drawn(text)
    assert_mean(found["X"][0], 3.5 * torch.eye(2), _least(found, "X"))


def test_rotations_and_frames_without_energy_are_uniform() -> None:
    places = "latent R : real[3, 3] in SO3; latent Q : real[4, 2] in stiefel"
    found = _drawn(f"{places}; energy e = 0 * R[0, 0] * Q[0, 0]; sample R, Q")
    for name, size in (("R", 3), ("Q", 4)):
        draws = found[name][0]
        assert_mean(draws, 0.0, _least(found, name))
        assert_mean(draws.square(), 1 / size, _least(found, name))
    # The trace of a uniform rotation is a character of a representation that cannot be reduced.
    trace = found["R"][0].diagonal(dim1=-2, dim2=-1).sum(-1)
    assert_mean(trace.square(), 1.0, float(_least(found, "R").min()))


def test_given_entries_condition_the_others() -> None:
    """A pair with correlation: the conditional law of the missing entry."""
    text = "observed y : real[2] missing; energy e = 1/2 * ||y||^2 + (y[0] - y[1])^2"
    y = torch.tensor([[3.0, torch.nan], [torch.nan, torch.nan]], dtype=F64)
    for using in ("gaussian", "nuts"):
        found = _drawn(text, y=y, using=using)
        assert bool((found["y"][0, ..., 0] == 3.0).all())
        assert_mean(found["y"][0, ..., 1], 2.0, torch.fmin(found.bulk["y"], found.tail["y"])[0, 1])
        assert_mean(found["y"][1], 0.0, torch.fmin(found.bulk["y"], found.tail["y"])[1])
        deviation = found["y"][0, ..., 1].std()
        assert float(deviation) == pytest.approx(3**-0.5, rel=0.1)


def test_given_countable_entries_stay() -> None:
    s = torch.tensor([[1.0, torch.nan, 0.0]], dtype=F64)
    text = ISING.replace("latent s : bool[n]", "observed s : bool[n] missing").replace("sample s, c", "")
    model = ebmlang.loads(text)
    want = model.marginal(h=FIELD[:1], w=TIE, s=s, find=["c"], dtype="float64")
    for using in ("ancestral", "gibbs", "gibbs_with_gradients"):
        found = model.sample(
            h=FIELD[:1], w=TIE, s=s, using=using, draws=300, warmup=20, chains=8, dtype="float64"
        )
        assert bool(found["s"][..., 0].all())
        assert not bool(found["s"][..., 2].any())
        assert_mean(found["s"][0, ..., 1], want["s"][0, 1, 1], found.bulk["s"][0, 1])


MIXTURE = """model m(k: int) {
  shared observed M : real[k, 2]
  latent c : class[k]
  latent z : real[2]
  energy near = 2 * ||z - M[c]||^2
  energy rare = where(c == 0, 1.0, 0.0)
  LINE }"""

CENTRES = torch.tensor([[0.0, 0.0], [1.0, 0.5], [-1.0, 1.0]], dtype=F64)


def test_countable_and_real_unknowns_at_once() -> None:
    found = ebmlang.loads(MIXTURE.replace("LINE", "sample c, z")).sample(
        M=CENTRES, draws=400, warmup=20, chains=8, dtype="float64"
    )
    weights = torch.softmax(torch.tensor([-1.0, 0.0, 0.0], dtype=F64), 0)
    assert found.method == "gibbs"
    for case in range(3):
        assert_mean(found["c"][0] == case, weights[case], found.bulk["c"][0].fmin(found.bulk["z"][0].min()))
    assert_mean(found["z"][0], weights @ CENTRES, _least(found, "z"))


def test_real_unknowns_given_countable_ones_may_have_any_smooth_law() -> None:
    text = MIXTURE.replace("2 * ||z - M[c]||^2", "2 * sum(log(cosh(z - M[c])))")
    found = ebmlang.loads(text.replace("LINE", "sample c, z")).sample(
        M=CENTRES, draws=250, warmup=100, chains=8, dtype="float64"
    )
    weights = torch.softmax(torch.tensor([-1.0, 0.0, 0.0], dtype=F64), 0)
    assert "trajectories" in found.because
    assert_mean(found["z"][0], weights @ CENTRES, _least(found, "z"))


def test_what_is_marginalized_is_summed_out_first() -> None:
    model = ebmlang.loads(MIXTURE.replace("LINE", "marginalize c\n sample z"))
    found = model.sample(M=CENTRES, draws=50, warmup=80, chains=50, using="hmc", dtype="float64")
    weights = torch.softmax(torch.tensor([-1.0, 0.0, 0.0], dtype=F64), 0)
    assert set(found.values) == {"z"}
    assert_mean(found["z"][0], weights @ CENTRES, _least(found, "z"))


def test_temperatures_of_the_line_and_of_the_call() -> None:
    body = "latent x : real[n] in positive = 1; energy e = sum(x); sample x at beta = 2"
    cold = _drawn(body)
    assert cold.beta == 2.0
    assert_mean(cold["x"][0], 0.5, _least(cold, "x"))
    warm = _drawn(body, temperature=4.0)
    assert_mean(warm["x"][0], 2.0, _least(warm, "x"))


def test_one_law_over_the_parameters_of_all_examples() -> None:
    """Bayesian regression: one joint problem whose rows are all examples."""
    text = """model m(k: int) {
      observed X : real[k]; observed y : real; param w : real[k]
      energy fit = 1/2 * (y - dot(X, w))^2
      energy prior = 1/2 * ||w||^2
      sample w }"""
    x, y = normal(20, 2), normal(20, seed=1)
    hessian = x.T @ x + torch.eye(2, dtype=F64)
    for using in ("gaussian", "nuts"):
        found = ebmlang.loads(text).sample(
            X=x, y=y, using=using, draws=100, warmup=60, chains=2, dtype="float64"
        )
        assert found["w"].shape == (2, 100, 2)
        assert found.energy.shape == (20, 2, 100)
        effective = torch.fmin(found.bulk["w"], found.tail["w"])
        assert_mean(found["w"], torch.linalg.solve(hessian, x.T @ y), effective)


def test_draws_that_are_held_are_one_for_all_chains() -> None:
    text = """model m { observed y : real; random eps : real ~ normal(); latent z : real = 0
      energy e = (z - eps)^2
      sample z }"""
    found = ebmlang.loads(text).sample(y=torch.zeros(3), draws=200, using="gaussian", dtype="float64")
    means = found["z"].mean((1, 2))
    assert len(means.unique()) == 3
    assert_mean(found["z"][0], means[0], found.bulk["z"][0])
