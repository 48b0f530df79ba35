"""Roles are chosen when asking: find, given, of, objective, using."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ebmlang

MODEL = """
model linear(n: int, k: int) {
  observed y : real[n]
  latent z : real[k]
  param W : real[n, k] = normal()
  energy fit = ||y - W @ z||^2
  regularizer size = 0.1 * ||z||^2
  infer codes: z
  infer loose: z of fit + 0.01 * size
}
"""


@pytest.fixture
def model() -> ebmlang.Model:
    return ebmlang.loads(MODEL, n=6, k=3, seed=1)


def test_an_observed_variable_can_be_found(model: ebmlang.Model) -> None:
    z = np.random.default_rng(0).normal(size=(4, 3))
    r = model.infer(z=z, find=["y"], dtype="float64")
    weights = model.value("W").detach().double().numpy()
    np.testing.assert_allclose(r.y.numpy(), z @ weights.T, atol=1e-6)


def test_a_given_latent_is_clamped(model: ebmlang.Model) -> None:
    y, z = np.ones((2, 6)), np.zeros((2, 3))
    r = model.infer(y=y, z=z)
    assert r.method == ""
    torch.testing.assert_close(r.energy, torch.full((2,), 6.0))


def test_objectives_are_picked_by_name_or_given_as_text(model: ebmlang.Model) -> None:
    y = np.random.default_rng(1).normal(size=(3, 6))
    named = model.infer(y=y, objective="loose", dtype="float64")
    written = model.infer(y=y, of="fit + 0.01 * size", dtype="float64")
    torch.testing.assert_close(named.z, written.z)
    first = model.infer(y=y, dtype="float64")
    assert not torch.allclose(first.z, named.z)
    weights = model.value("W").detach().double().numpy()
    wanted = np.linalg.solve(weights.T @ weights + 0.1 * np.eye(3), weights.T @ y.T).T
    np.testing.assert_allclose(first.z.numpy(), wanted, atol=1e-7)


def test_a_method_can_be_asked_for(model: ebmlang.Model) -> None:
    y = np.random.default_rng(2).normal(size=(3, 6))
    r = model.infer(y=y, using="adam", dtype="float64")
    assert r.method == "adam"
    with pytest.raises(ebmlang.DataError, match="fista does not fit"):
        model.infer(y=y, using="fista")
    with pytest.raises(ebmlang.DataError, match="did you mean `adam`"):
        model.infer(y=y, using="adm")


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({"find": ["q"]}, "no variable `q`"),
        ({"find": ["y"], "y": np.ones(6)}, "given and asked for"),
        ({"objective": "codez", "y": np.ones(6)}, "did you mean `codes`"),
        (
            {"y": np.ones(5)},
            "`y` is declared real\\[n\\] with n = 6 \\(n = 6 was set\\), but the data has 5 there",
        ),
        ({"y": np.ones((2, 2, 6))}, "3 dimensions"),
        ({"y": np.array(["a"] * 6)}, "holds text"),
        ({"y": [[1.0] * 6, [1.0] * 5]}, "not an array"),
        ({}, "no value for the observed variable `y`"),
        ({"Y": np.ones(6)}, "no variable `Y`"),
        ({"y": np.ones((2, 6)), "z": np.ones((3, 3))}, "numbers of examples differ"),
        ({"y": np.ones((0, 6))}, "no examples"),
        ({"y": np.ones(6), "device": "gpu"}, "no device `gpu`"),
        ({"y": np.ones(6), "dtype": "float16"}, "dtype `float16`"),
    ],
)
def test_mistakes_are_data_errors(model: ebmlang.Model, question: dict[str, object], says: str) -> None:
    with pytest.raises(ebmlang.DataError, match=says):
        model.infer(**question)  # type: ignore[arg-type]


def test_a_wrong_objective_points_into_its_text(model: ebmlang.Model) -> None:
    with pytest.raises(ebmlang.ModelError) as caught:
        model.infer(y=np.ones(6), of="fitt + size")
    assert "did you mean `fit`" in str(caught.value)


def test_loading_mistakes() -> None:
    with pytest.raises(ebmlang.DataError, match="no hyperparameter `kk`"):
        ebmlang.loads(MODEL, kk=3)
    with pytest.raises(ebmlang.ModelError) as caught:
        ebmlang.loads("model m() { latent x : rael; energy e = x }")
    assert str(caught.value).startswith("<text>:1:24: error[E0203]")
    assert caught.value.diagnostics[0].diagnostic.code == "E0203"
    with pytest.raises(ebmlang.DataError, match="is an int"):
        ebmlang.loads(MODEL, n=2.5, k=1).infer(y=[1.0, 2.0])


def test_huge_sizes_are_refused_before_memory_is_touched() -> None:
    with pytest.raises(ebmlang.DataError, match="1,000,000,000,000"):
        ebmlang.loads(MODEL, n=10**12, k=2).infer(find=["y"])


def test_a_mistake_in_an_objective_shows_what_was_written() -> None:
    with pytest.raises(ebmlang.ModelError) as caught:
        ebmlang.loads(MODEL).infer(y=np.ones(6), of="fitt + size")
    shown = str(caught.value).splitlines()
    assert any(line.endswith("| fitt + size") for line in shown)
    assert "objective_of_caller" not in str(caught.value)
