"""Two processes that share every batch find what one finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import ebmlang
from ebmlang import DataError, training
from ebmlang.cli import main
from ebmlang.commands.processes import spawned
from ebmlang.inference import given_arrays
from ebmlang.runtime.gathering import all_examples, gathered
from ebmlang.runtime.training.peers import Peers
from tests.training import processes


def test_two_processes_take_the_steps_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows searched on their own, draws and dropout by row, statistics of the batch and their gradients,
    parts of batches, updates of states, validation, a line search."""
    out = tmp_path / "two.npz"
    words = [sys.executable, "-m", "tests.training.processes", str(out)]
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29517")
    monkeypatch.setenv("WORLD_SIZE", "2")
    running = [subprocess.Popen(words, env={**os.environ, "RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    monkeypatch.delenv("WORLD_SIZE")
    two, one = np.load(out), processes.fitted()
    assert set(two) == set(one)
    assert two["processes"] == 2
    for name in one.keys() - {"processes"}:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_run_changes_its_number_of_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.ebm").write_text(processes.DICTIONARY)
    np.savez(tmp_path / "y.npz", y=processes.rows(23, 4).numpy())
    words = ["train", str(tmp_path / "m.ebm"), "--data", str(tmp_path / "y.npz"), "--dtype", "float64"]
    words += ["--batch-size", "9", "--no-progress"]
    assert main([*words, "--steps", "7", "-o", str(tmp_path / "whole")]) == 0
    for steps, count in (("2", "2"), ("5", "1"), ("7", "2")):
        assert main([*words, "--steps", steps, "--devices", count, "-o", str(tmp_path / "run")]) == 0
    whole, run = (load_file(tmp_path / name / "params.safetensors") for name in ("whole", "run"))
    for name, value in whole.items():
        np.testing.assert_allclose(run[name], value, rtol=1e-9, atol=1e-12)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        for name in ("whole", "run")
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)


def test_a_process_that_fails_ends_the_others(tmp_path: Path) -> None:
    assert spawned(["train", str(tmp_path / "none.ebm")], 2) == 1


JOINT = """model joint(n: int) {
  observed y : real[n]
  latent z : real[n] per batch
  param w : real = 1
  batch energy fit = sum(mean((y - z)^2, over = batch)) + w^2
  infer z
}
"""

CHAINS = """model chains(n: int = 2) {
  observed y : real[n]
  param p : real[n] in positive = 1
  energy e = dot(p, y^2)
  train by contrastive_divergence(y, sampler = langevin(steps = 2, step = 0.1), persistent = true)
}
"""

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "too few rows": (
        processes.LOGISTIC.replace("lbfgs(max_iter = 3)", "adam"),
        {"batch_size": 6},
        "the smallest batch has 1 row for 2 processes",
    ),
    "chains that persist": (CHAINS, {}, "the chains of `y` persist"),
    "one search for all": (JOINT, {}, "all examples search z together"),
}


@pytest.mark.parametrize(("text", "course", "words"), REFUSED.values(), ids=REFUSED)
def test_what_processes_cannot_share(text: str, course: dict[str, Any], words: str) -> None:
    m = ebmlang.loads(text)
    data = {"x": processes.rows(7, 2), "t": processes.rows(7).sign(), "y": processes.rows(7, 2)}
    given = given_arrays(m.ranks, {name: value for name, value in data.items() if name in m.ranks})
    settings = m.settings({}, "float64", None, 0, None)
    asked = training.Course.of(None, 1, course.get("batch_size"), 0)
    with pytest.raises(DataError, match=words):
        training.Fitting.of(m, given, settings, asked, training.Asking(), Peers(0, 2))


def test_nothing_is_gathered_in_one_process() -> None:
    x = torch.ones(3, 2)
    assert all_examples(3) == 3
    assert gathered(x) is x
