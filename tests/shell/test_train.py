"""`ebmlang train`: the folder of a run, what is refused, and how it is interrupted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ebmlang import data, loads, runs
from ebmlang.cli import main
from ebmlang.training import Fitting
from tests.training import programs

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A command without its output."""
    (tmp_path / "m.ebm").write_text(programs.DICTIONARY)
    np.savez(tmp_path / "y.npz", y=np.random.default_rng(0).normal(size=(30, 4)))
    course = ["--set", "k=5", "--epochs", "2", "--batch-size", "8", "--dtype", "float64", "--seed", "3"]
    return ["train", str(tmp_path / "m.ebm"), "--data", str(tmp_path / "y.npz"), *course]


def test_a_run_holds_what_python_finds(words: list[str], tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    assert main([*words, "-o", str(run)]) == 0
    shown = capsys.readouterr()
    assert "30 rows from" in shown.out
    assert "written" in shown.out
    assert max(map(len, shown.out.splitlines()[1:-1])) <= 80
    assert sorted(p.name for p in run.iterdir()) == sorted(set(runs.FILES) - {runs.TENSORBOARD})
    y = np.load(tmp_path / "y.npz")["y"]
    m = loads(programs.DICTIONARY, k=5, seed=3)
    history = m.fit(y=y, epochs=2, batch_size=8, dtype="float64")
    np.testing.assert_array_equal(load_file(run / "params.safetensors")["D"], m.value("D").detach())
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [one["loss"] for one in lines] == list(history.loss)
    assert (run / "model.ebm").read_text() == programs.DICTIONARY
    facts = json.loads((run / "run.json").read_text())
    assert facts["ended"] == "finished"
    assert facts["optimiser"]["name"] == "sgd"
    assert facts["optimiser"]["lr"] == 0.05
    assert (facts["rows"], facts["steps"], facts["sizes"]) == (30, 8, {"n": 4, "k": 5})
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_infer_and_train_take_up_a_run(words: list[str], tmp_path: Path, capsys: Capture) -> None:
    run, more = tmp_path / "run", tmp_path / "more"
    assert main([*words, "-o", str(run)]) == 0
    out = tmp_path / "z.npz"
    infer = ["infer", *words[1:4], "--dtype", "float64", "--params", str(run), "-o", str(out)]
    assert main(infer) == 0
    y, d = np.load(tmp_path / "y.npz")["y"], load_file(run / "params.safetensors")["D"]
    residual = y - np.load(out)["z"] @ d.T
    np.testing.assert_allclose(np.load(out)["term.reconstruction"], 0.5 * (residual**2).sum(1))
    assert main([*words, "--params", str(run), "-o", str(more)]) == 0
    first = json.loads((more / "history.jsonl").read_text().splitlines()[0])
    started = json.loads((run / "history.jsonl").read_text().splitlines()[0])
    assert first["loss"] < started["loss"]
    capsys.readouterr()
    assert main(["infer", *words[1:4], "--params", str(tmp_path)]) == 1
    assert "is no run: it has no params.safetensors" in capsys.readouterr().err


def test_settings_of_a_run_are_taken_up_and_conflicts_said(
    words: list[str], tmp_path: Path, capsys: Capture
) -> None:
    run = tmp_path / "run"
    assert main([*words, "--set", "lam=0.7", "-o", str(run)]) == 0
    ask = ["infer", *words[1:4], "--params", str(run), "--json"]
    capsys.readouterr()
    energies = {}
    for name, extra in (("kept", []), ("said", ["--set", "lam=0.7"]), ("other", ["--set", "lam=0.01"])):
        assert main([*ask, *extra]) == 0
        shown = capsys.readouterr()
        energies[name] = json.loads(shown.out)["terms"]
        assert ("--set lam=0.01 is taken" in shown.err) == (name == "other")
    assert energies["kept"] == energies["said"] != energies["other"]
    (run / "run.json").write_text("{")
    assert main(ask) == 1
    assert "run.json is no record of a run" in capsys.readouterr().err


def test_a_run_is_not_overwritten_unasked(words: list[str], tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    assert main([*words, "-o", str(run)]) == 0
    before = (run / "params.safetensors").read_bytes()
    capsys.readouterr()
    assert main([*words, "-o", str(run), "--lr", "0.5"]) == 1
    shown = capsys.readouterr().err
    assert "exists already and is not overwritten: the run in it is another one" in shown
    assert "`1` is sgd(lr = 0.05" in shown
    assert (run / "params.safetensors").read_bytes() == before
    assert main([*words, "-o", str(run), "--lr", "0.5", "--force"]) == 0
    assert (run / "params.safetensors").read_bytes() != before
    (run / "thesis.tex").write_text("years of work")
    capsys.readouterr()
    assert main([*words, "-o", str(run), "--force"]) == 1
    assert "holds thesis.tex, which is no part of a run" in capsys.readouterr().err
    assert (run / "thesis.tex").exists()


def test_json_and_options(words: list[str], capsys: Capture) -> None:
    assert main([*words, "--json", "--using", "adam", "--lr", "0.01", "--steps", "3"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["optimiser"]["name"] == "adam"
    assert shown["optimiser"]["lr"] == 0.01
    assert shown["steps"] == 3
    assert shown["output"] is None
    assert main([*words, "--using", "adom"]) == 1
    assert "did you mean `adam`?" in capsys.readouterr().err
    assert main([*words, "--epochs", "0"]) == 2
    assert main([*words, "--given", "q"]) == 1
    assert main(["train", words[1]]) == 1
    assert "the model needs data for `y`" in capsys.readouterr().err


def test_a_latent_with_an_array_is_given(words: list[str], tmp_path: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "y.npz", y=rng.normal(size=(30, 4)), codes=rng.normal(size=(30, 5)))
    assert main([*words, "--json", "--map", "z=codes"]) == 0
    mapped = json.loads(capsys.readouterr().out)["loss"]
    kept = np.load(tmp_path / "y.npz")
    np.savez(tmp_path / "y.npz", y=kept["y"], z=kept["codes"])
    assert main([*words, "--json", "--given", "z"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == mapped
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] != mapped


def test_a_run_notes_which_latents_were_given(words: list[str], tmp_path: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "y.npz", y=rng.normal(size=(30, 4)), codes=rng.normal(size=(30, 5)))
    run = str(tmp_path / "mapped")
    assert main([*words, "--map", "z=codes", "-o", run]) == 0
    capsys.readouterr()
    assert main([*words, "-o", run]) == 1
    assert "given" in capsys.readouterr().err


def test_an_array_called_like_a_parameter_is_not_taken_for_it(
    words: list[str], tmp_path: Path, capsys: Capture
) -> None:
    np.savez(tmp_path / "y.npz", y=np.load(tmp_path / "y.npz")["y"], D=np.zeros((4, 5)))
    assert main(words) == 0
    assert "no variable uses D" in capsys.readouterr().err


def test_ctrl_c_keeps_the_steps_that_are_finished(
    words: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Fitting.records

    def records(self: Fitting) -> Iterator[Any]:
        for number, item in enumerate(whole(self)):
            if number == 3:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr(Fitting, "records", records)
    run = tmp_path / "run"
    assert main([*words, "-o", str(run)]) == 130
    assert "interrupted after step 3" in capsys.readouterr().err
    assert json.loads((run / "run.json").read_text())["ended"] == "interrupted"
    assert len((run / "history.jsonl").read_text().splitlines()) == 3
    assert load_file(run / "params.safetensors")["D"].shape == (4, 5)


def test_a_full_disk_leaves_the_old_run(
    words: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert main([*words, "-o", str(run)]) == 0
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "_write", full)
    assert main([*words, "-o", str(run), "--force", "--lr", "0.3"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.ebm", "run", "y.npz"]


def test_a_loss_that_is_not_finite_is_an_exit_code(tmp_path: Path, capsys: Capture) -> None:
    text = "model m() { observed y : real; param W : real = 1; energy e = (y - W)^2 - log(W) }"
    (tmp_path / "m.ebm").write_text(text)
    data.write(tmp_path / "y.npz", {"y": np.full(8, -5.0)})
    words = ["train", str(tmp_path / "m.ebm"), "--data", str(tmp_path / "y.npz"), "--using", "sgd"]
    words += ["--lr", "0.5"]
    assert main(words) == 1
    assert "stopped at step 2: the loss is nan in term 'e'" in capsys.readouterr().out


def test_parameters_that_a_file_lacks_are_named(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "m.ebm").write_text(programs.AUTOENCODER)
    data.write(tmp_path / "w.safetensors", {"W": np.ones((3, 2))})
    data.write(tmp_path / "y.npz", {"y": np.ones((4, 3))})
    words = [str(tmp_path / "m.ebm"), "--data", str(tmp_path / "y.npz"), "--set", "k=2"]
    assert main(["train", *words, "--steps", "1", "--params", str(tmp_path / "w.safetensors")]) == 0
    assert "holds no `V`: what is not there keeps its start" in capsys.readouterr().err


def test_tensorboard_sees_every_number(
    words: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert folder == str(tmp_path / "run" / "tensorboard")
            assert purge_step == 1

        def add_scalar(self, name: str, value: float, step: int) -> None:
            noted.append((name, value, step))

        def close(self) -> None:
            noted.append(("closed", 0.0, 0))

    module = ModuleType("torch.utils.tensorboard")
    monkeypatch.setattr(module, "SummaryWriter", Writer, raising=False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    assert main([*words, "-o", str(tmp_path / "run"), "--tensorboard"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [value for name, value, _ in noted if name == "loss"] == [one["loss"] for one in lines]
    assert ("term/sparsity", lines[2]["terms"]["sparsity"], 3) in noted
    assert noted[-1][0] == "closed"
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    capsys.readouterr()
    assert main([*words, "-o", str(tmp_path / "other"), "--tensorboard"]) == 1
    assert "--tensorboard needs tensorboard" in capsys.readouterr().err
    assert not (tmp_path / "other" / "tensorboard").exists()
    assert main([*words, "--tensorboard"]) == 2
