"""Normalisers by annealed importance sampling against sums, integrals and volumes that are known."""

from __future__ import annotations

import importlib
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate

import ebmlang
from ebmlang import cli
from ebmlang.compiler.summers import SUMMERS
from ebmlang.errors import DataError
from tests.samplers.problems import F64, GAUSSIAN, PAIR

MACHINE = """model m(n: int, h: int) {
  observed b : real[n]
  shared observed W : real[n, h]
  latent v : bool[n]
  latent z : bool[h]
  energy joint = -dot(v, W @ z) - dot(b, v)
  marginalize v, z using ais(chains = 32, temperatures = 100)
}"""


def _machine() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(2, 6, generator=generator, dtype=F64),
        1.5 * torch.randn(6, 4, generator=generator, dtype=F64),
    )


def test_the_table_names_what_exists() -> None:
    for row in SUMMERS:
        module, _, name = row.implementation.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_a_boltzmann_machine_against_the_sum_over_all_states() -> None:
    b, weights = _machine()
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=6)), dtype=F64)
    hidden = torch.log1p(torch.exp(states @ weights)).sum(1)
    logs = states @ b.T + hidden[:, None]
    exact = torch.logsumexp(logs, 0)
    found = ebmlang.loads(MACHINE).marginal(b=b, W=weights, dtype="float64", seed=1, chains=64)
    assert found.method == "ais"
    assert found.error is not None
    assert found.effective is not None
    assert bool(((found.log_z - exact).abs() <= 4 * found.error).all())
    assert float(found.error.max()) < 0.2
    assert bool((found.effective > 32).all())
    shares = torch.softmax(logs, 0).T @ states
    deviation = (shares * (1 - shares) / found.effective[:, None]).sqrt()
    assert bool(((found["v"][..., 1] - shares).abs() <= 5 * deviation).all())


def test_given_entries_condition_the_sum() -> None:
    """A grid of spins of which some are given, in one row more of them than in the other."""
    model = ebmlang.load("models/gallery/ising.ebm")
    h = torch.linspace(-1, 1, 24, dtype=F64).reshape(2, 3, 4)
    known = torch.zeros(2, 3, 4, dtype=torch.bool)
    known[:, 0, 0], known[1, 2] = True, True
    values = torch.ones(2, 3, 4, dtype=torch.bool)
    exact = model.marginal(h=h, s=values, observed={"s": known}, dtype="float64", beta=1.5)
    found = model.marginal(
        h=h,
        s=values,
        observed={"s": known},
        dtype="float64",
        beta=1.5,
        using="ais",
        chains=64,
        temperatures=60,
    )
    assert found.error is not None
    assert bool(((found.log_z - exact.log_z).abs() <= 4 * found.error).all())
    assert torch.allclose(found.energy, -found.log_z / 1.5)
    assert torch.allclose(found["s"][known][:, 1], torch.ones(int(known.sum()), dtype=F64))


def test_a_gaussian_against_its_determinant() -> None:
    model = ebmlang.loads(GAUSSIAN)
    exact = model.marginal(y=PAIR, dtype="float64")
    found = model.marginal(y=PAIR, dtype="float64", using="ais", temperatures=60, chains=64)
    assert found.error is not None
    assert bool(((found.log_z - exact.log_z).abs() <= 4 * found.error).all())
    assert float(found.error.max()) < 0.1
    assert bool(((found["z"] - exact["z"]).abs() <= 5 * exact.deviations["z"] / 8).all())
    assert torch.allclose(found.deviations["z"], exact.deviations["z"], rtol=0.5)


def test_two_modes_against_an_integral() -> None:
    text = "model m { latent z : real = 0; energy two = -logsumexp([-8 * (z - 3)^2, -8 * (z + 2)^2 - 1]) }"
    exact = math.log(
        integrate.quad(
            lambda z: math.exp(-8 * (z - 3) ** 2) + math.exp(-8 * (z + 2) ** 2 - 1), -9, 9, points=[-2, 3]
        )[0]
    )
    found = ebmlang.loads(text).marginal(using="ais", chains=64, temperatures=100, seed=2, dtype="float64")
    assert found.error is not None
    assert abs(float(found.log_z) - exact) <= 4 * float(found.error)
    assert float(found.error) < 0.3


VOLUMES: list[tuple[str, str, float]] = [
    ("z : real[3] in positive = 1", "dot([1.0, 2.0, 4.0], z)", -math.log(8)),
    ("z : real[2] in [-1, 3]", "z[0] - z[0]", 2 * math.log(4)),
    ("z : real[3] in simplex", "z[0] - z[0]", -math.log(2)),
    ("z : real[3] in sphere", "2 * z[2]", math.log(4 * math.pi * math.sinh(2) / 2)),
    ("z : real[2, 2] in unit_columns", "z[0, 0] - z[0, 0]", 2 * math.log(2 * math.pi)),
    ("z : real[3, 2] in stiefel", "z[0, 0] - z[0, 0]", math.log(8 * math.pi**2)),
    ("z : real[3, 3] in SO3", "z[0, 0] - z[0, 0]", math.log(8 * math.pi**2)),
    # The gamma function of 2 x 2 matrices at 3/2 (Muirhead 1982, section 2.1.2).
    (
        "z : real[2, 2] in positive_definite",
        "trace(z)",
        math.log(math.pi) / 2 + math.lgamma(1.5) + math.lgamma(1.0),
    ),
]


@pytest.mark.parametrize(("declared", "energy", "exact"), VOLUMES, ids=[v[0] for v in VOLUMES])
def test_volumes_of_domains(declared: str, energy: str, exact: float) -> None:
    """The maps onto domains, with their constants: integrals over coordinates are integrals over values."""
    model = ebmlang.loads(f"model m {{ latent {declared}; energy e = {energy} }}")
    found = model.marginal(using="ais", chains=64, temperatures=40, leapfrogs=5, seed=1, dtype="float64")
    assert found.error is not None
    assert abs(float(found.log_z) - exact) <= 4 * float(found.error)
    assert float(found.error) < 0.25


def test_the_mean_weight_has_no_bias() -> None:
    """Few chains in few steps, for many rows that ask the same: single estimates are poor, their mean is
    not."""
    text = """model m(n: int) { observed b : real[n]; latent v : bool[n]
      energy e = -dot(b, v) - 2 * sum(v[1..n] * v[0..n-1]) }"""
    b = torch.tensor([[2.0, -3.0, 1.0, -1.0, 2.0]], dtype=F64).expand(400, -1)
    model = ebmlang.loads(text)
    exact = model.marginal(b=b[:1], dtype="float64").log_z
    found = model.marginal(b=b, using="ais", chains=2, temperatures=4, dtype="float64")
    ratios = torch.exp(found.log_z - exact)
    assert float(ratios.std()) > 0.2
    assert abs(float(ratios.mean()) - 1) <= 5 * float(ratios.std()) / 20


def test_rows_alone_are_as_rows_together_and_seeds_decide() -> None:
    b, weights = _machine()
    model = ebmlang.loads(MACHINE)
    together = model.marginal(b=b, W=weights, seed=4)
    assert torch.allclose(together.log_z[:1], model.marginal(b=b[:1], W=weights, seed=4).log_z)
    assert torch.equal(together.log_z, model.marginal(b=b, W=weights, seed=4).log_z)
    assert not torch.equal(together.log_z, model.marginal(b=b, W=weights, seed=5).log_z)
    real = ebmlang.loads(GAUSSIAN)
    both = real.marginal(y=PAIR, using="ais", temperatures=10, chains=8)
    assert torch.allclose(
        both.log_z[:1], real.marginal(y=PAIR[:1], using="ais", temperatures=10, chains=8).log_z
    )


def test_what_cannot_be_relied_upon_is_said() -> None:
    spins = ebmlang.loads("""model m(n: int = 30) { latent s : bool[n]
      energy e = -30 * sum(s[1..n] == s[0..n-1]) - 20 * s[0] }""")
    assert spins.marginal(using="ais", temperatures=2, chains=40).status[0].startswith("poor: ")
    endless = ebmlang.loads("model m { latent z : real[2]; energy lost = sqrt(-1 - sum(square(z))) }")
    assert endless.marginal(using="ais", temperatures=5, chains=4).status[0].startswith("no estimate: ")


def test_wrong_wishes_are_named() -> None:
    b, weights = _machine()
    model = ebmlang.loads(MACHINE)
    with pytest.raises(DataError, match="there is no way to sum `aiss`"):
        model.marginal(b=b, W=weights, using="aiss")
    with pytest.raises(DataError, match="chains is 1, and must be at least 2"):
        model.marginal(b=b, W=weights, chains=1)
    with pytest.raises(DataError, match="exact sums take no temperatures"):
        ebmlang.load("models/gallery/alarm.ebm").marginal(temperatures=10)
    mixed = ebmlang.loads(
        "model m { latent z : real; latent c : class[2]; energy e = (z - onehot(c, 2)[0])^2 }"
    )
    with pytest.raises(DataError, match="countable and real unknowns"):
        mixed.marginal(using="ais")


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    b, weights = _machine()
    (tmp_path / "m.ebm").write_text(MACHINE)
    np.savez(tmp_path / "d.npz", b=b.numpy(), W=weights.numpy())
    words = ["marginal", str(tmp_path / "m.ebm"), "--data", str(tmp_path / "d.npz")]
    assert cli.main([*words, "--strict", "-o", str(tmp_path / "out.npz")]) == 0
    assert "error " in capsys.readouterr().out
    with np.load(tmp_path / "out.npz") as out:
        assert out["error"].shape == out["effective"].shape == out["log_z"].shape == (2,)
    few = [*words, "--using", "ais", "--temperatures", "1", "--chains", "60", "--beta", "30", "--strict"]
    assert cli.main([*few, "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["poor"] == 2
    assert found["effective"] < 6
    assert cli.main([*words, "--using", "nuts"]) == 1
    assert "there is no way to sum `nuts`" in capsys.readouterr().err
