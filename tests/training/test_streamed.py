"""Training on data that is read batch by batch: the same numbers, to the bit, as with the data in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ebmlang
from ebmlang import DataError
from ebmlang.runtime.training.history import History, Record
from ebmlang.training import reader as readers
from tests.training import programs
from tests.training.test_kept import PROGRAMME

Values = Mapping[str, NDArray[Any]]

SMALL = 64
"""Bytes: less than any data set of these tests takes, so that it is read."""

MISSING = """model missing(n: int, k: int = 2) {
  observed y : real[n] missing
  latent z : real[k] = 0
  param D : real[n, k] = 0.3 * normal()
  energy fit = ||y - D @ z||^2 + 0.1 * ||z||^2
  infer z
  train D using sgd(lr = 0.05)
}
"""

LABELS = """model labels(k: int = 3) {
  observed x : real
  observed c : class[k] missing
  param m : real[k] = normal()
  param b : real[k] = normal()
  energy fit = (x - m[c])^2 + b[c]
  train m, b using sgd(lr = 0.05)
}
"""

ISING = """model ising(n: int) {
  observed s : bool[n]
  param J : real[n, n] = 0.1 * normal()
  let u : real[n] = where(s, 1, -1)
  energy pairs = -sum(J[i, j] * u[i] * u[j], over = (i in 0..n, j in 0..n if i < j))
  train by contrastive_divergence(s, sampler = gibbs(steps = 2)) using sgd(lr = 0.05)
}
"""

LANGEVIN = """model langevin(n: int) {
  observed y : real[n]
  param m : real[n] = normal()
  param w : real[n] in positive = 1
  energy bowl = 1/2 * sum(w * (y - m)^2)
  train by contrastive_divergence(y, sampler = langevin(steps = 3, step = 0.1)) using adam(lr = 0.05)
}
"""

PERSISTENT = LANGEVIN.replace("step = 0.1)", "step = 0.1), persistent = true, refresh = 0.2")

HIDDEN = """model hidden(n: int, h: int = 3) {
  observed v : bool[n]
  latent z : bool[h]
  param W : real[n, h] = normal()
  energy joint = -dot(v, W @ z)
  train by contrastive_divergence(
      v, sampler = gibbs(steps = 2), persistent = true, refresh = 0.3
  ) using sgd(lr = 0.05)
}
"""

TWO = """model two(n: int) {
  observed y : real[n]
  param a : real[n] = normal()
  param b : real[n] = normal()
  energy near = ||y - a - b||^2
  train a on other using sgd(lr = 0.1, accumulate = 2) every 2
  train b using sgd(lr = 0.1) steps = 2
}
"""


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def gaps(values: NDArray[Any], share: float = 0.2) -> NDArray[Any]:
    return np.where(rng().random(values.shape) < share, np.nan, values)


Y = rng().normal(size=(23, 4))

CASES: Mapping[str, tuple[str, Values, Mapping[str, Any]]] = {
    "everything": (PROGRAMME, {"y": Y}, {"validate": 0.2}),
    "dictionary": (programs.DICTIONARY.replace("k: int,", "k: int = 3,"), {"y": Y}, {}),
    "mixture": (programs.MIXTURE.replace("k: int)", "k: int = 3)"), {"y": Y}, {}),
    "columns": (programs.LINEAR, {"x": Y, "t": Y[:, 0]}, {"validate": 0.3, "patience": 2}),
    "missing": (MISSING, {"y": gaps(Y)}, {}),
    "mask": (MISSING, {"y": Y}, {"observed": {"y": rng().random(Y.shape) < 0.7}}),
    "labels": (LABELS, {"x": Y[:, 0], "c": gaps(rng().integers(0, 3, 23).astype(float))}, {}),
    "discrete negatives": (ISING, {"s": Y > 0}, {}),
    "real negatives": (LANGEVIN, {"y": Y.astype(np.float32)}, {}),
    "chains that persist": (PERSISTENT, {"y": Y.astype(np.float32)}, {"validate": 0.2}),
    "chains with hidden units": (HIDDEN, {"v": Y > 0}, {}),
    "two data sets": (TWO, {"y": Y}, {"on": {"other": {"y": Y[::-1] + 1}}}),
}


def fit(text: str, values: Values, **more: Any) -> tuple[ebmlang.Model, History]:
    m = ebmlang.loads(text, seed=5)
    return m, m.fit(dict(values), epochs=3, batch_size=5, **more)


def numbers(history: History) -> list[str]:
    return [json.dumps({**r.to_json(), "seconds": 0}) for r in history]


def same(one: tuple[ebmlang.Model, History], other: tuple[ebmlang.Model, History]) -> None:
    assert numbers(one[1]) == numbers(other[1])
    for name, value in other[0].state_dict().items():
        assert torch.equal(one[0].state_dict()[name], value), name


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("case", CASES)
def test_the_same_numbers_as_in_memory(case: str, workers: int) -> None:
    text, values, more = CASES[case]
    read = fit(text, values, max_memory=SMALL, workers=workers, **more)
    same(read, fit(text, values, **more))
    assert not [t for t in threading.enumerate() if t.name.startswith("ebmlang-reader")]


def interrupted(step: int) -> Callable[[Record, int | None], None]:
    def stop(record: Record, steps: int | None) -> None:
        if record.step == step:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("first", [SMALL, None])
@pytest.mark.parametrize(
    "case", ["everything", "mask", "two data sets", "chains that persist", "chains with hidden units"]
)
def test_a_run_goes_on_in_memory_and_back(case: str, first: int | None, tmp_path: Path) -> None:
    text, values, more = CASES[case]
    with pytest.raises(KeyboardInterrupt):
        fit(text, values, max_memory=first, checkpoint=tmp_path / "run", progress=interrupted(6), **more)
    second = SMALL if first is None else None
    same(fit(text, values, max_memory=second, checkpoint=tmp_path / "run", **more), fit(text, values, **more))


@pytest.mark.parametrize("limits", [(SMALL, SMALL), (SMALL, None), (None, SMALL)])
def test_a_run_on_other_data_is_refused(limits: tuple[int | None, int | None], tmp_path: Path) -> None:
    fit(LANGEVIN, {"y": Y}, max_memory=limits[0], checkpoint=tmp_path / "run")
    for other in (Y + 1, Y[:-1]):
        with pytest.raises(DataError, match="data: other values of `y`"):
            fit(LANGEVIN, {"y": other}, max_memory=limits[1], checkpoint=tmp_path / "run")


class Watched:
    """Arrays behind a reader, which count what is taken of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looked, self.most = 0, 0
        picked, looked = readers.Reader._read, readers.Reader.look_at

        def read(reader: readers.Reader, rows: Any) -> Any:
            self.most = max(self.most, len(rows))
            return picked(reader, rows)

        def look(reader: readers.Reader, start: int, stop: int) -> None:
            self.looked += stop - start
            looked(reader, start, stop)

        monkeypatch.setattr(readers.Reader, "_read", read)
        monkeypatch.setattr(readers.Reader, "look_at", look)


def test_a_step_reads_its_rows_and_a_run_that_goes_on_is_not_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fit(LANGEVIN, {"y": Y}, max_memory=SMALL, checkpoint=tmp_path / "run", progress=interrupted(2))
    assert (watched.looked, watched.most) == (23, 23)  # the sample of a small data set is all of it
    watched.looked = watched.most = 0
    fit(LANGEVIN, {"y": Y}, max_memory=SMALL)
    assert (watched.looked, watched.most) == (23, 5)
    watched.looked = 0
    fit(LANGEVIN, {"y": Y}, max_memory=SMALL, checkpoint=tmp_path / "run")
    assert watched.looked == 0


def test_whole_numbers_for_a_real_variable_need_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    fit(
        programs.AUTOENCODER.replace("k: int)", "k: int = 2)"),
        {"y": np.arange(40).reshape(10, 4)},
        max_memory=SMALL,
    )
    assert watched.looked == 0


def test_a_mistake_in_any_row_is_found_before_the_first_step(tmp_path: Path) -> None:
    bad = Y.copy()
    bad[21, 2] = np.nan
    for path in (None, tmp_path / "run"):
        with pytest.raises(DataError, match=r"`y` holds NaN, the first in row 21, entry \[2\]"):
            fit(LANGEVIN, {"y": bad}, max_memory=SMALL, checkpoint=path)
    assert not (tmp_path / "run").exists()
    labels = {"x": Y[:, 0], "c": np.r_[np.zeros(22), 3]}
    with pytest.raises(DataError, match="holds values from 3 to 3, the first in row 22 that is none"):
        fit(LABELS, labels, max_memory=SMALL)
    domain = programs.LINEAR.replace("x : real[n]", "x : real[n] in nonnegative")
    with pytest.raises(DataError, match="`x` is not nonnegative"):
        fit(domain, {"x": np.r_[np.abs(Y[:22]), -np.ones((1, 4))], "t": Y[:, 0]}, max_memory=SMALL)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mistake_that_comes_later_names_its_row(workers: int) -> None:
    values = Y.copy()

    def spoil(record: Record, steps: int | None) -> None:
        values[:] = np.nan

    m = ebmlang.loads(LANGEVIN, seed=5)
    with pytest.raises(DataError, match=r"the first in row \d+, entry \[0\]"):
        m.fit(y=values, epochs=3, batch_size=5, max_memory=SMALL, workers=workers, progress=spoil)
    assert all(bool(torch.isfinite(p).all()) for p in m.parameters())
    assert not [t for t in threading.enumerate() if t.name.startswith("ebmlang-reader")]


def test_what_cannot_be_read_batch_by_batch_is_said() -> None:
    with pytest.raises(
        DataError, match="every step looks at all 23 rows, which take 368 B as float32, and 64 B"
    ):
        ebmlang.loads(LANGEVIN).fit(y=Y.astype(np.float32), max_memory=SMALL)
    with pytest.raises(DataError, match="workers is -1"):
        fit(LANGEVIN, {"y": Y}, workers=-1)
