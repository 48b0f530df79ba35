"""A run as a whole: its record, its memory, and how it ends early."""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.runtime.training.history import Record
from ebmlang.training import fitting
from tests.training import programs


def rows(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *shape)))


def test_a_history_reads_as_a_table(tmp_path: Path) -> None:
    y = rows(40, 5)
    history = ebmlang.loads(programs.DICTIONARY, k=6).fit(y=y, epochs=10, batch_size=16)
    assert len(history) == 30
    assert list(history["epoch"][:4]) == [1, 1, 1, 2]
    assert list(history["rows"][:4]) == [16, 16, 8, 16]
    assert (np.diff(history["seconds"]) > 0).all()
    np.testing.assert_allclose(history["reconstruction"] + history["sparsity"], history.loss)
    with pytest.raises(KeyError, match="there are: step, epoch, loss"):
        history["nothing"]
    text = str(history)
    assert text.splitlines()[0].split() == [
        "step", "epoch", "loss", "reconstruc.", "sparsity", "gradient", "seconds",
    ]  # fmt: skip
    assert len(text.splitlines()) == 12
    assert max(map(len, text.splitlines())) <= 80
    lines = [json.loads(line) for line in history.json_lines().splitlines()]
    assert [one["loss"] for one in lines] == list(history.loss)
    assert set(lines[0]["terms"]) == {"reconstruction", "sparsity"}
    history.plot(tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 1000


def test_progress_hears_every_step() -> None:
    heard: list[tuple[int, int | None]] = []

    def hear(record: Record, steps: int | None) -> None:
        heard.append((record.step, steps))

    ebmlang.loads(programs.AUTOENCODER, k=2).fit(y=rows(10, 4), epochs=3, batch_size=4, progress=hear)
    assert heard == [(i, 9) for i in range(1, 10)]


CODES = """model codes(n: int, k: int) {
  observed y : real[n]
  latent z : real[k]
  param D : real[n, k] in unit_columns = normal()
  energy fit = ||y - D @ z||^2
  regularizer size = ||z||^2
  infer z
  train using adam(lr = 1e-2)
}
"""


def test_memory_is_flat_over_a_thousand_steps() -> None:
    m = ebmlang.loads(CODES, k=3)
    at: dict[int, tuple[int, int, int]] = {}

    def measure(record: Record, steps: int | None) -> None:
        if record.step in (200, 1000):
            gc.collect()
            every = gc.get_objects()
            tensors = sum(1 for one in every if type(one) in (Tensor, torch.nn.Parameter))
            at[record.step] = tensors, len(every), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    m.fit(y=rows(30, 4), steps=1000, batch_size=10, progress=measure)
    (tensors, things, kib), (tensors_then, things_then, kib_then) = at[1000], at[200]
    assert tensors <= tensors_then + 2
    # What is left is the record of each step: itself, and its terms.
    assert things - things_then < 800 * 3 + 500
    assert kib - kib_then < 8 * 1024


FALLING = """model falling(n: int) {
  observed y : real[n]
  param W : real[n] = 1
  energy fit = ||y - W||^2
  energy barrier = -sum(log(W))
  train using sgd(lr = 0.1)
}
"""


def test_a_loss_that_is_not_finite_ends_the_run_with_the_parameters_before() -> None:
    y = -5 + 0.1 * rows(20, 2)
    m = ebmlang.loads(FALLING)
    history = m.fit(y=y, epochs=50)
    assert history.stopped.startswith("stopped at step 2: the loss is nan in term 'barrier'")
    assert history.stopped in str(history)
    assert len(history) == 1
    # The step from 1 led out of the domain of the logarithm; 1 is where the loss was finite last.
    assert torch.equal(m.value("W"), torch.ones(2, dtype=torch.float64))


def test_parameters_that_overflow_in_the_last_step_are_not_kept() -> None:
    text = """model steep() {
      observed y : real
      param W : real = 10
      energy e = y * exp(W)
      train using sgd(lr = 1e308)
    }"""
    m = ebmlang.loads(text)
    history = m.fit(y=rows(4).abs() + 1e8, steps=1)
    assert "not finite" in history.stopped
    assert m.value("W").item() == 10


def test_an_interruption_leaves_the_parameters_of_a_finished_step() -> None:
    y = rows(20, 4)
    one, two = (ebmlang.loads(programs.DICTIONARY, k=5) for _ in range(2))

    def stop(record: Record, steps: int | None) -> None:
        if record.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one.fit(y=y, epochs=10, progress=stop)
    two.fit(y=y, steps=3)
    assert torch.equal(one.value("D"), two.value("D"))


class Cut(torch.optim.SGD):
    """An optimiser that is interrupted when it has moved half of what it moves."""

    def step(self, closure: Any = None) -> Any:
        super().step(closure)
        raise KeyboardInterrupt


def test_an_interruption_within_the_move_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows(20, 4)
    m = ebmlang.loads(programs.LINEAR)
    m.fit(x=x, t=x[:, 0], steps=1)
    before = m.value("W").detach().clone()
    monkeypatch.setattr(fitting, "make_optimiser", lambda kind, options, leaves: Cut(leaves, lr=0.1))
    with pytest.raises(KeyboardInterrupt):
        m.fit(x=x, t=x[:, 0], steps=1)
    assert torch.equal(m.value("W"), before)


def test_a_gradient_that_lies_otherwise_in_memory_is_followed_all_the_same() -> None:
    """Fused optimisers of torch read memory in its order, whatever the strides say."""
    text = """model turned(n: int, k: int) {
      observed y : real[n]
      param W : real[n, k] in stiefel
      param V : real[k, n] = normal()
      param c : real[n]
      energy fit = ||y - W @ (V @ y)||^2 + sum(c)
    }"""
    y = rows(20, 4)
    one, two = (ebmlang.loads(text, k=3).bind(y=y) for _ in range(2))
    with torch.no_grad():
        for name in ("W", "V"):  # the same values, columns first
            p = two.value(name)
            p.data = p.data.mT.contiguous().mT
    histories = [m.fit(y=y, steps=20, using="adam", lr=0.01) for m in (one, two)]
    np.testing.assert_allclose(histories[0].loss, histories[1].loss, rtol=1e-10)
    slow = ebmlang.loads(text, k=3).bind(y=y)
    optimiser = torch.optim.Adam([slow.value("V"), slow.value("c")], lr=0.01)
    held = ebmlang.loads(text.replace("energy fit", "train V, c\n energy fit"), k=3).bind(y=y)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = slow(y=y)
        loss.backward()
        losses.append(loss.item())
        optimiser.step()
    np.testing.assert_allclose(held.fit(y=y, steps=5, lr=0.01).loss, losses, rtol=1e-12)


def test_a_line_search_backs_away_from_what_is_not_finite() -> None:
    """min (y - w)^2 - log(w): 2 w^2 - 2 y w - 1 = 0, and the first step of lbfgs leads below 0."""
    y = -5 + 0.1 * rows(20, 2)
    m = ebmlang.loads(FALLING)
    history = m.fit(y=y, using="lbfgs", steps=5)
    assert not history.stopped
    mean = y.mean(0)
    np.testing.assert_allclose(m.value("W").detach(), (mean + (mean**2 + 2).sqrt()) / 2, rtol=1e-6)


FIRST_STEP = """
import sys, ebmlang
m = ebmlang.loads(sys.argv[1])
data = {"x": [[1.0, 2.0], [3.0, 4.0]], "y": [[1.0, 2.0], [3.0, 4.0]]}
for steps in (2, 3):
    m.fit(data, steps=steps, checkpoint=sys.argv[2])
print(*({"torch._dynamo", "torch._inductor"} & set(sys.modules)))
"""


def test_the_first_step_waits_for_no_compiler_of_torch(tmp_path: Path) -> None:
    """It takes as long to import as torch itself."""
    text = """model m {
      observed x : real[2]; observed y : real[2]
      net f : real[2] -> real[2] = mlp([4])
      energy fit = ||y - f(x)||^2
      train using adam(lr = 1e-3)
    }"""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_STEP, text, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
