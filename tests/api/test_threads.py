"""Threads by the size of a question, and what was set before stays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang.runtime import threads
from ebmlang.runtime.threads import CHOSEN_BY, SHARED_FROM, threads_for

MEAN = "model mean(n: int) { observed y : real[n]; latent z : real[n]; energy fit = sum(huber(z - y)) }"


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two threads, which nobody has asked for."""
    before = torch.get_num_threads()
    for name in CHOSEN_BY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_AT_FIRST", 2)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def within(size: int) -> int:
    with threads_for(size):
        return torch.get_num_threads()


@pytest.mark.usefixtures("two")
def test_one_thread_for_few_numbers_and_all_for_many() -> None:
    assert within(SHARED_FROM - 1) == 1
    assert within(SHARED_FROM) == 2
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two")
def test_the_number_comes_back_after_an_error() -> None:
    with pytest.raises(KeyError), threads_for(0):
        raise KeyError
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("name", CHOSEN_BY)
def test_the_environment_decides(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "2")
    assert within(0) == 2


@pytest.mark.usefixtures("two")
def test_a_number_that_was_set_stays() -> None:
    torch.set_num_threads(3)
    assert within(0) == 3
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("two")
def test_a_question_takes_one_thread_and_answers_alike_with_more() -> None:
    y = np.random.default_rng(0).normal(size=(3, 50))
    model, seen = ebmlang.loads(MEAN), []
    one = model.infer(y=y, progress=lambda rows, steps: seen.append(torch.get_num_threads()))
    assert set(seen) == {1}
    torch.set_num_threads(3)
    more = model.infer(y=y, progress=lambda rows, steps: seen.append(torch.get_num_threads()))
    assert 3 in seen
    assert float((one.z - more.z).abs().max()) <= 1e-6
    assert np.allclose(one.z, y, atol=1e-4)
