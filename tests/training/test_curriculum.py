"""Easy examples first: which rows steps look at, that runs go on, and what is said of bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang import cli
from ebmlang.data import write
from ebmlang.errors import DataError
from ebmlang.runtime.training.batches import Walk
from ebmlang.runtime.training.curriculum import EasyFirst
from tests.draws import normal

MODEL = """model m(n: int) {
  observed x : real[n]
  observed t : real
  observed d : real = 0
  param w : real[n]
  energy fit = (t - dot(w, x))^2
  train w using sgd(lr = 1e-2)
}"""


def walk(count: int, size: int | None, steps: int, seed: int = 0) -> tuple[Walk, list[int]]:
    """A walk over rows from the last to the first, and the rows in the order of their difficulty."""
    rows = np.arange(count, dtype=np.int64)
    easy = EasyFirst.of(rows, (count - rows).astype(np.float64), steps, seed)
    return Walk(rows, size, seed, curriculum=easy), rows[::-1].tolist()


def test_steps_draw_from_more_and_more_rows() -> None:
    way, easiest = walk(100, 8, 20)
    seen = [way.at(step) for step in range(1, 21)]
    for step, batch in enumerate(seen, 1):
        part = easiest[: max(8, 5 * step)]
        assert len(set(batch.rows)) == batch.total == 8
        assert set(batch.rows) <= set(part)
    # Over the steps the whole part is drawn from, not its beginning.
    assert set(seen[-1].rows) - set(easiest[:50])
    plain = Walk(way.rows, 8, 0)
    for step in (21, 22, 30):
        assert list(way.at(step).rows) == list(plain.at(step).rows)
        assert way.at(step).epoch == plain.at(step).epoch


def test_every_row_of_the_part_is_as_likely() -> None:
    """Of 4,000 draws of 2 out of 4 rows, within five standard deviations of a share of a half."""
    way, easiest = walk(8, 2, 8000)
    counts = np.zeros(8)
    for step in range(3001, 4001):
        counts[way.at(step).rows] += 1
    assert way.curriculum is not None
    assert way.curriculum.count(3001, 2) == way.curriculum.count(4000, 2) == 4
    assert counts[easiest[4:]].sum() == 0
    np.testing.assert_allclose(counts[easiest[:4]] / 1000, 0.5, atol=5 * 0.5 / 1000**0.5)


def test_without_a_batch_size_steps_see_the_whole_part_in_its_own_order() -> None:
    way, easiest = walk(10, None, 5)
    for step in range(1, 6):
        assert list(way.at(step).rows) == sorted(easiest[: 2 * step])
    assert way.smallest == 2
    assert list(way.at(6).rows) == list(range(10))


def data(**others: Any) -> dict[str, Any]:
    return {"x": normal(40, 2), "t": normal(40, seed=1), "d": normal(40, seed=2), **others}


def test_a_run_that_was_cut_off_goes_on_with_the_same_rows(tmp_path: Path) -> None:
    def fitted(steps: int, folder: str) -> torch.Tensor:
        m = ebmlang.loads(MODEL)
        m.fit(
            data(), steps=steps, batch_size=4, seed=3, easy_first="d", widen=12, checkpoint=tmp_path / folder
        )
        return m.value("w").detach().clone()

    whole = fitted(20, "whole")
    fitted(7, "cut")
    assert torch.equal(fitted(20, "cut"), whole)
    with pytest.raises(DataError, match="widen: 12 there, 11 here"):
        ebmlang.loads(MODEL).fit(
            data(), steps=20, batch_size=4, seed=3, easy_first="d", widen=11, checkpoint=tmp_path / "cut"
        )


@pytest.mark.parametrize(
    ("given", "options", "words", "hint"),
    [
        ({}, {"easy_first": "dd", "widen": 3}, "`dd` is to say how hard a row is", "did you mean `d`"),
        ({}, {"easy_first": "x", "widen": 3}, "no observed number of each row", "t and d"),
        ({"d": 1.0}, {"easy_first": "d", "widen": 3}, "is the same for all rows", "one number a row"),
        ({}, {"easy_first": "d"}, "the steps until all take part", "widen=500"),
        ({}, {"widen": 3}, "a variable that says how hard a row is", "easy_first="),
        ({}, {"easy_first": "d", "widen": 0}, "widen is 0, not a whole number", ""),
    ],
)
def test_what_is_no_curriculum(given: Any, options: Any, words: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        ebmlang.loads(MODEL).fit(data(**given), steps=3, **options)
    assert words in str(caught.value)
    assert hint in str(caught.value)


def test_the_command_line_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.ebm").write_text(MODEL)
    write(tmp_path / "d.npz", {name: np.asarray(value) for name, value in data().items()})
    command = ["train", str(tmp_path / "m.ebm"), "--data", str(tmp_path / "d.npz"), "--steps", "6"]
    assert cli.main([*command, "--easy-first", "d", "--widen", "4", "-o", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [int(line.split('"rows": ')[1].split(",")[0]) for line in lines] == [10, 20, 30, 40, 40, 40]
    assert cli.main([*command, "--easy-first", "q", "--widen", "4"]) == 1
    assert "`q` is to say how hard a row is" in capsys.readouterr().err
