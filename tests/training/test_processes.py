"""Two processes that share every batch find what one finds."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
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
from ebmlang.compiler.losses.amortized import BY, EVIDENCE
from ebmlang.compiler.losses.table import WRITTEN
from ebmlang.compiler.optimisers import OPTIMISERS
from ebmlang.data import write
from ebmlang.inference import given_arrays
from ebmlang.runs import parameters_of
from ebmlang.runtime.gathering import all_examples, gathered
from ebmlang.runtime.training.peers import Peers
from ebmlang.training.dividing import Division
from tests.training import processes
from tests.training.shared_losses import CASES, rows


@pytest.mark.parametrize("what", processes.WHAT)
def test_two_processes_take_the_steps_of_one(what: str, tmp_path: Path) -> None:
    """Mechanisms: rows searched on their own, draws and dropout by row, statistics of the batch and their
    gradients, parts of batches, updates of states, validation, a line search. Losses: each by its name."""
    out = tmp_path / "two.npz"
    assert spawned([sys.executable, "-m", "tests.training.processes", what, str(out)], 2) == 0
    two, one = np.load(out), processes.fitted(processes.WHAT[what])
    assert set(two) == set(one)
    assert two["processes"] == 2
    for name in one.keys() - {"processes"}:
        # Messages add up in another order, which adam makes more of where a gradient is 0 but for that.
        rtol, atol = (1e-4, 1e-5) if one[name].dtype == torch.float32 else (1e-6, 1e-8)
        np.testing.assert_allclose(two[name], one[name], rtol=rtol, atol=atol, err_msg=name)


def test_every_loss_has_a_case() -> None:
    tabled = {*(row.name for row in WRITTEN), *BY, EVIDENCE}
    assert {case.loss for case in CASES.values()} - {""} == tabled


CHANGING: dict[str, tuple[str, Mapping[str, Any], list[str]]] = {
    "an inner search": (processes.MECHANISMS["dictionary"].text, {"y": rows(23, 4)}, []),
    "chains": (CASES["chains that persist"].text, CASES["chains that persist"].data, []),
    "pieces": (processes.SEARCHED, {"y": rows(23, 4)}, ["--shard", "--validate", "0.1"]),
}


@pytest.mark.parametrize(("text", "data", "more"), CHANGING.values(), ids=CHANGING)
def test_a_run_changes_its_number_of_processes(
    text: str, data: Mapping[str, Any], more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.ebm").write_text(text)
    write(tmp_path / "y.npz", {name: np.asarray(value) for name, value in data.items()})
    words = ["train", str(tmp_path / "m.ebm"), "--data", str(tmp_path / "y.npz"), "--dtype", "float64"]
    words += ["--batch-size", "9", "--no-progress", *more]
    assert main([*words, "--steps", "7", "-o", str(tmp_path / "whole")]) == 0
    for steps, count, most in (("2", "2", "1GiB"), ("5", "1", "1GiB"), ("7", "2", "64")):
        changing = ["--steps", steps, "--devices", count, "--max-memory", most]
        assert main([*words, *changing, "-o", str(tmp_path / "run")]) == 0
    whole, run = (load_file(tmp_path / name / "params.safetensors") for name in ("whole", "run"))
    for name, value in whole.items():
        np.testing.assert_allclose(run[name], value, rtol=1e-9, atol=1e-12)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        for name in ("whole", "run")
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)


def test_what_is_divided() -> None:
    """Entries that are moved each by itself are; what has to be seen whole is not, and it is said why."""
    text = """model mixed(n: int) {
      observed y : real[n]
      net f : real[n] -> real[n] = mlp([5])
      param D : real[n, n] in unit_columns
      param s : real
      energy e = ||y - D @ f(y)||^2 + (s - 1)^2
      train nets: f
      train rest: D, s
    }"""
    y = rows(9, 3)
    m = ebmlang.loads(text).bind(y=y)
    run = training.Fitting.of(
        m,
        given_arrays(m.ranks, {"y": y}),
        m.settings({"y": y}, None, None, 0, None),
        training.Course.of(1, None, None, 0),
        training.Asking(),
    )
    lines = [(line.moving, line.row) for line in run.lines]
    assert [tuple(p.shape) for p in Division.of(lines).parts] == [(5, 3), (5,), (3, 5), (3,)]
    said = Division.of(lines).sentence(4)
    assert said.startswith("38 numbers of parameters are divided among 4 processes")
    assert "`D` is kept in unit_columns; `s` is one number" in said
    with pytest.raises(DataError, match="nothing of what is trained can be divided: `D` is kept"):
        Division.of(lines[1:])
    muon = next(row for row in OPTIMISERS if row.name == "muon")
    with pytest.raises(DataError, match=r"`f\.0\.weight` is moved by muon, which looks at all of it"):
        Division.of([(lines[0][0], muon)])


def test_a_run_in_pieces_that_goes_on_has_no_file_of_parameters(tmp_path: Path) -> None:
    kept = tmp_path / "run" / "checkpoints" / "00000002"
    (kept / "pieces").mkdir(parents=True)
    (kept / "params.safetensors").touch()
    with pytest.raises(DataError, match="in pieces until it ends"):
        parameters_of(str(tmp_path / "run"))


def test_a_process_that_fails_ends_the_others(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ebmlang", "train", str(tmp_path / "none.ebm")]
    assert spawned(command, 2) == 1


def test_the_process_that_failed_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    """The first one waits for a message that never comes."""
    fault = "import os, time\nif os.environ['RANK'] == '1':\n  raise SystemExit('no disk')\ntime.sleep(60)"
    assert spawned([sys.executable, "-c", fault], 2) == 1
    assert "process 2 of 2 ended with exit code 1\n  no disk" in capfd.readouterr().err


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "too few rows": (
        processes.LOGISTIC.replace("lbfgs(max_iter = 3)", "adam"),
        {"batch_size": 6},
        "the smallest batch has 1 row for 2 processes",
    ),
}


@pytest.mark.parametrize(("text", "course", "words"), REFUSED.values(), ids=REFUSED)
def test_what_processes_cannot_share(text: str, course: dict[str, Any], words: str) -> None:
    m = ebmlang.loads(text)
    data = {"x": rows(7, 2), "t": rows(7).sign(), "y": rows(7, 2)}
    given = given_arrays(m.ranks, {name: value for name, value in data.items() if name in m.ranks})
    settings = m.settings({}, "float64", None, 0, None)
    asked = training.Course.of(None, 1, course.get("batch_size"), 0)
    with pytest.raises(DataError, match=words):
        training.Fitting.of(m, given, settings, asked, training.Asking(), Peers(0, 2))


def test_nothing_is_gathered_in_one_process() -> None:
    x = torch.ones(3, 2)
    assert all_examples(3) == 3
    assert gathered(x) is x
