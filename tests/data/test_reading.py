"""Data that questions in Python read for themselves: as at the command line, and as values that are
passed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import ebmlang
from ebmlang import DataError
from ebmlang.cli import main

Y = np.random.default_rng(0).normal(size=(12, 3))

MODEL = """model denoise(n: int) {
  observed y : real[n]
  observed w : real = 1
  latent x : real[n] = 0
  latent c : class[2]
  param m : real[2, n] = normal()
  energy near = w * ||y - x||^2 + ||x - m[c]||^2
  infer x given c
  marginalize c
  train m using sgd(lr = 0.1)
}
"""

SETS = """model sets(n: int) {
  observed y : real[n]
  param a : real[n]
  param b : real[n]
  energy near = ||y - a - b||^2
  train a using sgd(lr = 0.1)
  train b on pairs using sgd(lr = 0.1)
}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savez(tmp_path / "d.npz", y=Y, other=Y + 1, labels=np.arange(12) % 2, w=np.arange(1.0, 13.0))
    return tmp_path / "d.npz"


def model() -> ebmlang.Model:
    return ebmlang.loads(MODEL, seed=1, n=3)


def same(one: Any, other: Any) -> None:
    assert torch.equal(one["x"], other["x"])
    assert torch.equal(one.energy, other.energy)


def test_a_question_reads_a_file(path: Path) -> None:
    m = model()
    w = np.arange(1.0, 13.0)
    labels = np.arange(12) % 2
    expected = m.infer(y=Y, w=w, c=labels)
    same(m.infer(data=path, c=labels), expected)
    same(m.infer(data=str(path), c=labels, max_memory="1kB"), expected)
    same(m.infer(data=ebmlang.read(path, c="labels")), expected)
    moved = m.infer(y=Y + 1, w=w, c=labels)
    same(m.infer(data=ebmlang.read(path, y="other"), c=labels), moved)
    same(m.infer(data=path, y=Y + 1, c=labels), moved)
    free = m.marginal(data=path, x=Y)
    assert torch.equal(free.energy, m.marginal(y=Y, w=w, x=Y).energy)
    drawn = m.sample(data=path, c=labels, draws=5, warmup=5, seed=0)
    assert torch.equal(drawn["x"], m.sample(y=Y, w=w, c=labels, draws=5, warmup=5, seed=0)["x"])
    assert torch.equal(m(data=path, seed=0), m(y=Y, w=w, seed=0))


def test_training_reads_a_file(path: Path) -> None:
    passed, read, named = (ebmlang.loads(SETS, n=3) for _ in range(3))
    course: dict[str, Any] = {"epochs": 2, "batch_size": 5}
    passed.fit(y=Y, on={"pairs": {"y": Y + 1}}, **course)
    read.fit(data=path, on={"pairs": ebmlang.read(path, y="other")}, max_memory="100", **course)
    named.fit(data=ebmlang.read(path), on={"pairs": {"y": Y + 1}}, **course)
    for name in "ab":
        assert torch.equal(read.value(name), passed.value(name))
        assert torch.equal(named.value(name), passed.value(name))


def test_the_sets_of_scikit_learn_have_names() -> None:
    m = ebmlang.loads(
        "model c(n: int) { observed y : real[n]; param m : real[n]; energy e = ||y - m||^2; train }"
    )
    history = m.fit(data="sklearn:iris", steps=1)
    assert history.records[0].rows == 150


def test_data_sets_of_lines_have_mappings_of_their_own(path: Path, tmp_path: Path) -> None:
    (tmp_path / "m.ebm").write_text(SETS)
    words = ["train", str(tmp_path / "m.ebm"), "--data", str(path), "--epochs", "2", "--batch-size", "5"]
    words += ["--on", f"pairs={path}", "--map", "pairs.y=other", "--no-progress"]
    assert main([*words, "-o", str(tmp_path / "run")]) == 0
    m = ebmlang.loads(SETS)
    m.fit(y=Y, on={"pairs": {"y": Y + 1}}, epochs=2, batch_size=5)
    for name, value in load_file(tmp_path / "run" / "params.safetensors").items():
        assert torch.equal(torch.from_numpy(value), m.value(name).detach())


def test_masks_come_with_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """model pairs(n: int) {
      observed y : real[n]
      param m : real[n]
      energy e = ||y - m||^2 + sum((y[1..n] - y[0..n-1])^2)
      train using sgd(lr = 0.1)
    }"""
    seen = np.random.default_rng(1).random(Y.shape) < 0.6
    (tmp_path / "m.ebm").write_text(text)
    np.savez(tmp_path / "d.npz", y=Y, seen=seen)
    words = [str(tmp_path / "m.ebm"), "--data", str(tmp_path / "d.npz"), "--observed", "y=seen"]
    assert main(["infer", *words, "-o", str(tmp_path / "i.npz"), "--no-progress"]) == 0
    assert main(["marginal", *words, "--dtype", "float64", "-o", str(tmp_path / "f.npz")]) == 0
    assert main(["sample", *words, "--draws", "3", "-o", str(tmp_path / "s.npz"), "--no-progress"]) == 0
    assert main(["train", *words, "--steps", "2", "-o", str(tmp_path / "run"), "--no-progress"]) == 0
    assert "no variable uses" not in capsys.readouterr().err
    m = ebmlang.loads(text)
    mask = {"y": seen}
    found = m.infer(y=Y, observed=mask)
    np.testing.assert_array_equal(np.load(tmp_path / "i.npz")["y"], found["y"].detach())
    free = ebmlang.loads(text).marginal(y=Y, observed=mask, dtype="float64")
    np.testing.assert_array_equal(np.load(tmp_path / "f.npz")["energy"], free.energy.detach())
    drawn = np.load(tmp_path / "s.npz")["y"]
    np.testing.assert_allclose(
        drawn[np.broadcast_to(seen[:, None, None], drawn.shape)].mean(), Y[seen].mean()
    )
    m.fit(y=Y, observed=mask, steps=2)
    trained = load_file(tmp_path / "run" / "params.safetensors")["m"]
    assert torch.equal(torch.from_numpy(trained), m.value("m").detach())
    words[-1] = "y=sen"
    assert main(["infer", *words]) == 1
    assert "there is no array `sen`" in capsys.readouterr().err


MISTAKES = {
    "no file": ({"data": "none.npz"}, "there is no file none.npz"),
    "no array": (
        {"data": "sklearn:iris", "find": ["x", "c"], "mapped": {"y": "dat"}},
        "no array of sklearn:iris",
    ),
    "no variable": ({"data": "sklearn:iris", "mapped": {"z": "data"}}, "is no variable that takes data"),
    "twice": (
        {"data": "sklearn:iris", "y": Y, "mapped": {"y": "data"}},
        "`y` is passed, and mapped to an array",
    ),
    "other rows": ({"data": "sklearn:iris", "c": np.zeros(7, int)}, "the numbers of examples differ"),
}


@pytest.mark.parametrize(("call", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(call: dict[str, Any], words: str) -> None:
    call = dict(call)
    data = ebmlang.read(call.pop("data"), **call.pop("mapped", {}))
    with pytest.raises(DataError, match=words):
        ebmlang.loads(MODEL).infer(data=data, **call)
