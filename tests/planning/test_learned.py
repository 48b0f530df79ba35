"""Collect, train, plan: three commands on one file, and what its net has learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import ebmlang
from ebmlang.cli import main

MODEL = "models/gallery/planning/learned_pendulum.ebm"
QUIET = ["--no-progress"]


def test_three_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, held, run, acted = (str(tmp_path / n) for n in ("rows.npz", "held.npz", "run", "acted.npz"))
    env = ["--env", "gymnasium:Pendulum-v1", *QUIET]
    assert main(["collect", *env, "--episodes", "5", "-o", rows]) == 0
    assert main(["collect", *env, "--seed", "9", "-o", held]) == 0
    how = ["--steps", "300", "--batch-size", "100", "--set", "rounds=300", "-o", run, *QUIET]
    assert main(["train", MODEL, "--data", rows, *how]) == 0
    plans = ["--params", run, "--set", "T=8", "--steps", "6", "--iterations", "3", "-o", acted]
    assert main(["plan", MODEL, *env, *plans]) == 0
    assert "learned_pendulum in Pendulum-v1" in capsys.readouterr().out
    assert np.load(acted)["obs"].shape == (6, 3)

    known = dict(np.load(held))
    data = {name: known[name] for name in ("obs", "action", "next_obs")}
    m = ebmlang.load(MODEL).bind(data)
    untrained = m(data).item()
    m.load_state_dict(load_file(f"{run}/params.safetensors"))
    still = 100 * (((known["next_obs"] - known["obs"]) / [1, 1, 4]) ** 2).sum(1).mean()
    assert m(data).item() < 0.1 * min(untrained, still), "unseen steps are told apart from standing still"


def test_data_of_other_lines_is_not_asked_for(tmp_path: Path) -> None:
    """The goal of a plan is no part of the transitions that its world is learned from."""
    model, rows = tmp_path / "reach.ebm", tmp_path / "rows.npz"
    model.write_text("""model reach(T: int = 4) {
      observed s     : real[2]
      observed u     : real[2]
      observed after : real[2]
      observed goal  : real[2]
      latent   a     : real[T, 2] in [-1, 1]
      net f : (real[2], real[2]) -> real[2] = linear()
      energy prediction = ||after - f(s, u)||^2
      let x : real[T+1, 2]
      let x[0] = s
      for t in 0..T { let x[t+1] = f(x[t], a[t]) }
      cost away = ||x[T] - goal||^2
      train f of prediction
      plan a of away
    }""")
    rng = np.random.default_rng(0)
    s, u = rng.normal(size=(50, 2)), rng.uniform(-1, 1, size=(50, 2))
    np.savez(rows, s=s, u=u, after=s + u)
    run = ["--steps", "3", "-o", str(tmp_path / "run"), *QUIET]
    assert main(["train", str(model), "--data", str(rows), *run]) == 0
    np.savez(rows, s=s, u=u)
    assert main(["train", str(model), "--data", str(rows), *run, "--force"]) == 1
