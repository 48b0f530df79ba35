"""Runs that are cut off and go on: the same numbers to the bit, whatever moment it was."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang import DataError, runs
from ebmlang.cli import main
from ebmlang.runtime.training import stored
from ebmlang.runtime.training.history import History, Record

Capture = pytest.CaptureFixture[str]

PROGRAMME = """model everything(n: int, k: int = 3) {
  observed y : real[n]
  latent   z : real[k] = 0
  param D : real[n, k] in unit_columns = normal()
  param s : real in positive = 1
  random e : real[n] ~ normal()
  net enc : real[n] -> real[k] = mlp([6], dropout = 0.2)
  state target = enc
  update target = 0.9 * target + 0.1 * enc
  state centre : real[n] = normal()
  update centre = 0.8 * centre + 0.2 * mean(y, over = batch)
  schedule rate = warmup_cosine(0.05, warmup = 3, steps = 30)
  energy fit = s * ||y + 0.1 * e - centre - D @ z||^2 - 5 * log(s)
  regularizer size = 0.2 * ||z||_1
  energy near = ||enc(y) - stop(target(y))||^2
  infer z
  stage first for 4 steps { train D, s using adam(lr = rate) }
  train D, s using sgd(lr = rate, momentum = 0.9, clip = 3)
  train nets: enc of near using adamw(lr = 0.01, average = 0.9) steps = 2
}
"""


def rows(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *shape)))


Y = rows(22, 4)


def fresh() -> ebmlang.Model:
    return ebmlang.loads(PROGRAMME, seed=5)


def fit(m: ebmlang.Model, **more: Any) -> History:
    return m.fit(y=Y, epochs=5, batch_size=6, validate=0.2, **more)


def same(m: ebmlang.Model, history: History, other: ebmlang.Model, expected: History) -> None:
    """Every parameter, state and average, and every number of the record but the seconds, to the bit."""
    found, wanted = m.state_dict(), other.state_dict()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name
    assert [numbers(r) for r in history] == [numbers(r) for r in expected]


def numbers(record: Record) -> str:
    return json.dumps({**record.to_json(), "seconds": 0})


@pytest.fixture(scope="module")
def unbroken() -> tuple[ebmlang.Model, History]:
    m = fresh()
    return m, fit(m)


def stopped_after(step: int) -> Callable[[Record, int | None], None]:
    def stop(record: Record, steps: int | None) -> None:
        if record.step == step:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("every", [1, 4, "1h"])
def test_an_interrupted_run_goes_on(
    every: int | str, tmp_path: Path, unbroken: tuple[ebmlang.Model, History]
) -> None:
    for step in (2, 5, 11):
        with pytest.raises(KeyboardInterrupt):
            fit(fresh(), checkpoint=tmp_path / "run", checkpoint_every=every, progress=stopped_after(step))
    m = fresh()
    history = fit(m, checkpoint=tmp_path / "run", checkpoint_every=every)
    same(m, history, *unbroken)
    lines = (tmp_path / "run" / runs.HISTORY).read_text().splitlines()
    assert [numbers(Record.of_json(json.loads(line))) for line in lines] == [numbers(r) for r in unbroken[1]]
    again = fresh()
    same(again, fit(again, checkpoint=tmp_path / "run"), *unbroken)


class PowerCut(BaseException):
    """What happens between two instructions of the operating system."""


@pytest.mark.parametrize(("call", "apart"), [("fsync", 7), ("rename", 2), ("replace", 1), ("mkdir", 2)])
def test_a_cut_at_any_write_loses_nothing(
    call: str,
    apart: int,
    tmp_path: Path,
    unbroken: tuple[ebmlang.Model, History],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The n-th call of the operating system never comes back, for one n after the other, until one run
    ends."""
    plain, cuts = getattr(os, call), 0
    m, history = fresh(), None
    while history is None:
        left = [1 + apart * cuts]

        def counted(*given: Any, left: list[int] = left, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise PowerCut
            return plain(*given, **named)

        monkeypatch.setattr(os, call, counted)
        m = fresh()
        try:
            history = fit(m, checkpoint=tmp_path / "run", checkpoint_every=2)
        except PowerCut:
            cuts += 1
        finally:
            monkeypatch.setattr(os, call, plain)
    assert cuts
    same(m, history, *unbroken)


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path: Path) -> None:
    y = rows(22, 4)
    whole, parts = fresh(), fresh()
    expected = whole.fit(y=y, epochs=4, batch_size=6)
    parts.fit(y=y, epochs=2, batch_size=6, checkpoint=tmp_path / "run")
    later = fresh()
    same(later, later.fit(y=y, epochs=4, batch_size=6, checkpoint=tmp_path / "run"), whole, expected)


def test_lbfgs_goes_on(tmp_path: Path) -> None:
    text = """model m(n: int) {
      observed y : real[n]
      param W : real[n] = 3
      energy fit = sum(log(cosh(y - W)))
      train using lbfgs(max_iter = 2)
    }"""
    whole, later = ebmlang.loads(text), ebmlang.loads(text)
    expected = whole.fit(y=Y, steps=6)
    ebmlang.loads(text).fit(y=Y, steps=3, checkpoint=tmp_path / "run")
    same(later, later.fit(y=Y, steps=6, checkpoint=tmp_path / "run"), whole, expected)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda place: os.truncate(place / stored.PARAMETERS, 40),
    "empty": lambda place: (place / stored.STATE).write_text(""),
    "flipped": lambda place: (place / stored.TRAINER).write_bytes(
        bytes(255 - b for b in (place / stored.TRAINER).read_bytes())
    ),
    "gone": lambda place: (place / stored.TRAINER).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    damage: Callable[[Path], object], tmp_path: Path, unbroken: tuple[ebmlang.Model, History], capsys: Capture
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(fresh(), checkpoint=run, checkpoint_every=3, progress=stopped_after(8))
    newest, older = stored.checkpoints(run / runs.CHECKPOINTS)
    assert (newest.name, older.name) == ("00000006", "00000003")
    damage(newest)
    m = fresh()
    same(m, fit(m, checkpoint=run), *unbroken)
    shown = capsys.readouterr().err
    assert "going back to the one before it" in shown
    assert "going on after step 3" in shown
    for place in stored.checkpoints(run / runs.CHECKPOINTS):
        damage(place)
    with pytest.raises(DataError, match="it has no checkpoint to go on from"):
        fit(fresh(), checkpoint=run)


def test_a_full_disk_stops_nothing(
    tmp_path: Path,
    unbroken: tuple[ebmlang.Model, History],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    """Nothing can be written for a while, then it can."""
    plain, full = os.fsync, [False]

    def refuse(handle: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(handle)

    def watch(record: Record, steps: int | None) -> None:
        full[0] = 4 <= record.step < 12

    monkeypatch.setattr(os, "fsync", refuse)
    m = fresh()
    same(m, fit(m, checkpoint=tmp_path / "run", checkpoint_every=2, progress=watch), *unbroken)
    shown = capsys.readouterr().err
    assert shown.count("nothing can be written (No space left on device)") == 1
    lines = (tmp_path / "run" / runs.HISTORY).read_text().splitlines()
    assert len(lines) == len(unbroken[1])
    monkeypatch.setattr(os, "fsync", plain)
    again = fresh()
    same(again, fit(again, checkpoint=tmp_path / "run"), *unbroken)


def test_a_disk_that_stays_full_keeps_the_last_checkpoint(
    tmp_path: Path, unbroken: tuple[ebmlang.Model, History], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, full = os.fsync, [False]

    def refuse(handle: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(handle)

    def watch(record: Record, steps: int | None) -> None:
        full[0] = record.step >= 6

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DataError, match="was not written: No space left on device") as caught:
        fit(fresh(), checkpoint=tmp_path / "run", checkpoint_every=2, progress=watch)
    assert "it goes on after step 6" in caught.value.hint
    monkeypatch.setattr(os, "fsync", plain)
    m = fresh()
    same(m, fit(m, checkpoint=tmp_path / "run"), *unbroken)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "batch size": ({"batch_size": 5}, "batch_size: 6 there, 5 here"),
    "seed": ({"seed": 1}, "seed: 5 there, 1 here"),
    "optimiser": ({"using": "rmsprop"}, "lines: `1` is adam"),
    "step size": ({"lr": 0.5}, "lines: `1` is adam(lr = rate"),
    "data": ({"y": 2 * Y}, "data: other values of `y`"),
    "validation": ({"validate": 0.4}, "validate: 0.2 there, 0.4 here"),
}


@pytest.mark.parametrize(("change", "words"), OTHERS.values(), ids=OTHERS)
def test_another_run_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked: dict[str, Any] = {"y": Y, "steps": 2, "batch_size": 6, "validate": 0.2, "checkpoint": run}
    fresh().fit(**asked)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with pytest.raises(DataError) as caught:
        fresh().fit(**{**asked, **change})
    assert words in caught.value.message
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_another_model_is_refused_and_a_comment_is_not(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fresh().fit(y=Y, steps=2, checkpoint=run)
    other = ebmlang.loads(PROGRAMME.replace("0.2 * ||z||_1", "0.3 * ||z||_1"), seed=5)
    with pytest.raises(DataError) as caught:
        other.fit(y=Y, steps=2, checkpoint=run)
    assert "-  regularizer size = 0.2 * ||z||_1" in caught.value.message
    assert "+  regularizer size = 0.3 * ||z||_1" in caught.value.message
    ebmlang.loads(f"# a word\n{PROGRAMME}", seed=5).fit(y=Y, steps=3, checkpoint=run)


def test_what_is_imported_belongs_to_the_model(tmp_path: Path) -> None:
    part = "model small(n: int) { observed u : real[n]; energy size = 0.1 * ||u||^2 }"
    (tmp_path / "part.ebm").write_text(part)
    (tmp_path / "m.ebm").write_text(
        'import "part.ebm" as p\n'
        "model m(n: int) { observed y : real[n]; param W : real[n] = 1; let r = y - W\n"
        "  use p.small as q with u = r }"
    )
    ebmlang.load(tmp_path / "m.ebm").fit(y=Y, steps=1, checkpoint=tmp_path / "run")
    (tmp_path / "part.ebm").write_text(part.replace("0.1", "0.2"))
    with pytest.raises(DataError, match="a model that is imported"):
        ebmlang.load(tmp_path / "m.ebm").fit(y=Y, steps=1, checkpoint=tmp_path / "run")


def test_arguments_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a checkpoint every `soon`"):
        fresh().fit(y=Y, steps=1, checkpoint=tmp_path / "run", checkpoint_every="soon")
    with pytest.raises(DataError, match="no place for them"):
        fresh().fit(y=Y, steps=1, checkpoint_every=3)


def test_old_checkpoints_are_forgotten(tmp_path: Path) -> None:
    fresh().fit(y=Y, steps=9, checkpoint=tmp_path / "run", checkpoint_every=2)
    names = [p.name for p in stored.checkpoints(tmp_path / "run" / runs.CHECKPOINTS)]
    assert names == ["00000009", "00000008"]


# --- at the command line ------------------------------------------------------------------------


def command(folder: Path, run: str) -> list[str]:
    words = ["train", str(folder / "m.ebm"), "--data", str(folder / "y.npz"), "--seed", "5"]
    words += ["--epochs", "60", "--batch-size", "6", "--validate", "0.2", "--checkpoint", "7"]
    return [*words, "--no-progress", "-o", str(folder / run)]


def test_a_killed_process_is_started_again(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "m.ebm").write_text(PROGRAMME)
    np.savez(tmp_path / "y.npz", y=Y.numpy())
    assert main(command(tmp_path, "whole")) == 0
    history = tmp_path / "broken" / runs.HISTORY
    rng = np.random.default_rng(0)
    for kill in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "ebmlang", *command(tmp_path, "broken")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wanted = [20, 90][kill]
        while process.poll() is None and not (
            history.exists() and history.read_bytes().count(b"\n") >= wanted
        ):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
    capsys.readouterr()
    assert main(command(tmp_path, "broken")) == 0
    parameters = [(tmp_path / run / runs.PARAMETERS).read_bytes() for run in ("whole", "broken")]
    assert parameters[0] == parameters[1]
    texts = [(tmp_path / run / runs.HISTORY).read_text() for run in ("whole", "broken")]
    lines = [[numbers(Record.of_json(json.loads(line))) for line in text.splitlines()] for text in texts]
    assert lines[0] == lines[1]
    assert main(command(tmp_path, "broken")) == 0
    assert "finished already" in capsys.readouterr().err


def test_parameters_of_a_run_that_goes_on_are_those_of_its_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(fresh(), checkpoint=run, checkpoint_every=3, progress=stopped_after(8))
    assert runs.parameters_of(str(run)).endswith("00000006/params.safetensors")
    fit(fresh(), checkpoint=run)
    assert runs.parameters_of(str(run)) == str(run / runs.PARAMETERS)
