"""Results read by name and by attribute; statuses are sentences."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from ebmlang.runtime.result import Result, Status


def made() -> Result:
    return Result(
        values={"z": torch.ones(2, 3), "energy": torch.zeros(2), "reg.z": torch.zeros(2, 1)},
        energy=torch.tensor([1.0, 2.0]),
        terms={"t": torch.tensor([1.0, 2.0])},
        converged=torch.tensor([True, False]),
        status=(Status.CONVERGED.sentence(), Status.STEP_LIMIT.sentence()),
        iterations=torch.tensor([3, 4]),
        method="lbfgs",
        because="smooth",
        certificate="stationary",
    )


def test_values_read_both_ways() -> None:
    result = made()
    assert result.z is result["z"]
    assert result["reg.z"].shape == (2, 1)
    # A field wins over a variable of the same name; the brackets always reach the variable.
    assert result.energy.tolist() == [1.0, 2.0]
    assert result["energy"].tolist() == [0.0, 0.0]
    assert result.trace is None
    assert result.factors == {}


def test_unknown_names_are_errors_that_help() -> None:
    with pytest.raises(KeyError, match=r"no value called 'y'; there are: energy, reg\.z, z"):
        made()["y"]
    with pytest.raises(AttributeError, match="'y'"):
        _ = made().y


def test_results_can_be_copied_and_pickled() -> None:
    again = copy.deepcopy(made())
    assert torch.equal(again.z, made().z)
    loaded = pickle.loads(pickle.dumps(made()))
    assert torch.equal(loaded.z, made().z)
    assert loaded.status == made().status


def test_every_status_is_a_sentence() -> None:
    for status in Status:
        sentence = status.sentence(" in term 'x'")
        assert sentence
        assert "{" not in sentence
    assert len({status.value for status in Status}) == len(Status)
    assert (
        Status.PRECISION.sentence("float32")
        == "no further decrease possible in float32, tolerance not reached"
    )
