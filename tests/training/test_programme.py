"""Programmes of several lines: their order, schedules, states and stages, against loops by hand."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang import DataError
from ebmlang.cli import main
from ebmlang.compiler.schedules import SCHEDULES, STEP
from ebmlang.runtime.training.batches import walk
from tests.training.programs import batches


def rows(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *shape)))


# --- schedules ----------------------------------------------------------------------------------


def scheduled(text: str, step: float) -> float:
    """The value of a schedule when some steps are done."""
    model = f"model m() {{ observed y : real; schedule s = {text}; energy e = s * y }}"
    settings: dict[str, Any] = {STEP: step}
    m = ebmlang.loads(model, **settings)
    return float(m.energy(y=torch.ones(1, dtype=torch.float64)))


def torch_rate(kind: type, steps: int, peak: float, **options: Any) -> float:
    """The rate that a scheduler of torch has after some steps."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = kind(optimiser, **options)
    for _ in range(steps):
        optimiser.step()
        scheduler.step()
    return float(optimiser.param_groups[0]["lr"])


def test_schedules_are_those_of_torch() -> None:
    lr = torch.optim.lr_scheduler
    for step in (0, 1, 7, 19, 20):
        cosine = torch_rate(lr.CosineAnnealingLR, step, 2.0, T_max=20, eta_min=0.5)
        assert scheduled("cosine(2, 0.5, steps = 20)", step) == pytest.approx(cosine, rel=1e-6)
        linear = torch_rate(lr.LinearLR, step, 1.0, start_factor=0.1, end_factor=0.7, total_iters=20)
        assert scheduled("linear(0.1, 0.7, steps = 20)", step) == pytest.approx(linear, rel=1e-6)
        decay = torch_rate(lr.ExponentialLR, step, 3.0, gamma=(0.2 / 3) ** (1 / 20))
        assert scheduled("exponential(3, 0.2, steps = 20)", step) == pytest.approx(decay, rel=1e-6)
        parts = torch_rate(lr.MultiStepLR, step, 1.0, milestones=[5, 19], gamma=0.5)
        assert scheduled("piecewise([1, 0.5, 0.25], at = [5, 19])", step) == pytest.approx(parts)


@pytest.mark.parametrize("row", SCHEDULES, ids=lambda row: row.name)
def test_every_schedule_is_at_its_end_outside_of_training(row: object) -> None:
    assert isinstance(row, type(SCHEDULES[0]))
    assert scheduled(row.example, math.inf) == pytest.approx(scheduled(row.example, 1e6))
    assert math.isfinite(scheduled(row.example, 0))


def test_a_warm_up_rises_to_the_peak_and_falls_to_zero() -> None:
    values = [scheduled("warmup_cosine(0.3, warmup = 4, steps = 10)", step) for step in range(12)]
    np.testing.assert_allclose(values[:4], [0.075, 0.15, 0.225, 0.3], rtol=1e-6)
    assert values[4] == pytest.approx(0.3)
    assert (np.diff(values[4:11]) < 0).all()
    np.testing.assert_allclose(values[10:], 0, atol=1e-12)


def test_a_schedule_may_be_any_expression_in_the_step_and_hyperparameters() -> None:
    text = """model m(a: real = 3.0) {
      observed y : real
      schedule s = a / (1 + step)
      energy e = s * y
    }"""
    settings: dict[str, Any] = {STEP: 5.0}
    m = ebmlang.loads(text, **settings)
    assert float(m.energy(y=torch.ones(1, dtype=torch.float64))) == 0.5
    assert float(ebmlang.loads(text).energy(y=torch.ones(1))) == 0.0


CONTINUED = """model continued(n: int) {
  observed x : real[n]
  observed t : real
  param w : real[n] = 1
  schedule delta = exponential(2, 0.1, steps = 6)
  schedule rate = warmup_cosine(0.2, warmup = 3, steps = 9)
  energy fit = huber((t - dot(w, x)) / delta) * delta
  train w using sgd(lr = rate)
}
"""


def test_a_run_with_schedules_beside_a_loop() -> None:
    """A loss that changes from step to step, by a rate that does."""
    x, t = rows(20, 3), rows(20, seed=1)
    m = ebmlang.loads(CONTINUED)
    history = m.fit(x=x, t=t, epochs=4, batch_size=8)
    w, curve = torch.ones(3, dtype=torch.float64, requires_grad=True), []
    for batch in batches(20, 8, 0, 4, None):
        done, index = batch.step - 1, torch.from_numpy(batch.rows)
        delta = 2 * (0.05) ** min(done / 6, 1)
        rate = (
            0.2 * min((done + 1) / 3, 1) * (1 - 0.5 * (1 - math.cos(math.pi * min(max(done - 3, 0) / 6, 1))))
        )
        r = (t[index] - x[index] @ w) / delta
        loss = (torch.where(r.abs() <= 1, r.square() / 2, r.abs() - 0.5) * delta).mean()
        (grad,) = torch.autograd.grad(loss, w)
        curve.append(loss.item())
        with torch.no_grad():
            w -= rate * grad
    np.testing.assert_allclose(history.loss, curve, rtol=1e-9)
    torch.testing.assert_close(m.value("w").detach(), w.detach(), rtol=1e-9, atol=1e-12)


# --- several lines ------------------------------------------------------------------------------

PLAYERS = """model players(n: int) {
  observed y : real[n]
  param c : real[n] = 0.5
  param v : real[n] = 2
  random e : real[n] ~ normal()
  let fake = v + 0.1 * e
  fn f(x: real[n], c: real[n]) -> real = ||x - c||^2
  energy game = f(y, c) - 0.3 * f(fake, c)
  train critic: c of game using sgd(lr = 0.05) steps = 3
  train gen: v of f(fake, c) using sgd(lr = 0.1) every 2
}
"""


def test_two_players_take_turns() -> None:
    y = rows(12, 2)
    m = ebmlang.loads(PLAYERS.replace("~ normal()", "~ normal(0, 0)"))
    history = m.fit(y=y, epochs=2, batch_size=5)
    c, v = torch.full((2,), 0.5, dtype=torch.float64), torch.full((2,), 2.0, dtype=torch.float64)
    critic, gen = [], []
    for batch in batches(12, 5, 0, 2, None):
        some = y[torch.from_numpy(batch.rows)]
        for turn in range(3):
            loss = (some - c).square().sum(1).mean() - 0.3 * (v - c).square().sum()
            critic += [loss.item()] if turn == 0 else []
            c = c - 0.05 * (2 * (c - some.mean(0)) - 0.6 * (c - v))
        gen.append((v - c).square().sum().item() if batch.step % 2 == 0 else math.nan)
        v = v - 0.1 * 2 * (v - c) if batch.step % 2 == 0 else v
    np.testing.assert_allclose(history["line.critic"], critic, rtol=1e-9)
    np.testing.assert_allclose(history.loss, critic, rtol=1e-9)
    np.testing.assert_allclose(history["line.gen"], gen, rtol=1e-9)
    torch.testing.assert_close(m.value("c").detach(), c, rtol=1e-9, atol=0)
    torch.testing.assert_close(m.value("v").detach(), v, rtol=1e-9, atol=0)


def test_every_turn_of_a_line_draws_anew() -> None:
    once, thrice = (PLAYERS.replace("steps = 3", f"steps = {n}") for n in (1, 3))
    y = rows(12, 2)
    found = []
    for text in (once, thrice):
        m = ebmlang.loads(text)
        m.fit(y=y, steps=1, objective="critic")
        found.append(m.value("c").detach())
    by_hand = ebmlang.loads(once)
    by_hand.fit(y=y, steps=1, objective="critic")
    torch.testing.assert_close(found[0], by_hand.value("c").detach())
    assert not torch.equal(found[0], found[1])


def test_one_line_is_chosen_by_its_label() -> None:
    m = ebmlang.loads(PLAYERS)
    m.fit(y=rows(6, 2), steps=2, objective="gen")
    assert torch.equal(m.value("c"), torch.full((2,), 0.5, dtype=torch.float64))
    with pytest.raises(DataError, match="2 `train` lines"):
        m(y=rows(6, 2))
    assert m(y=rows(6, 2), objective="gen").requires_grad


def test_a_line_on_a_data_set_of_its_own() -> None:
    text = """model m(n: int) {
      observed y : real[n]
      param a : real[n] = 0
      param b : real[n] = 0
      energy near = ||y - a||^2
      energy far = ||y - b||^2
      train a of near using sgd(lr = 0.5)
      train b of far using sgd(lr = 0.5) on others
    }"""
    y, z = rows(9, 2), rows(14, 2, seed=1)
    m = ebmlang.loads(text)
    m.fit(y=y, on={"others": {"y": z}}, steps=4, batch_size=4)
    # A step of 1/2 goes to the mean of the batch.
    main, other = walk(9, 4, 0).at(4), walk(14, 4, 0, "others").at(4)
    torch.testing.assert_close(m.value("a").detach(), y[torch.from_numpy(main.rows)].mean(0))
    torch.testing.assert_close(m.value("b").detach(), z[torch.from_numpy(other.rows)].mean(0))
    with pytest.raises(DataError, match="on the data set `others`, which is not given"):
        m.fit(y=y, steps=1)
    with pytest.raises(DataError, match="no `train` line is on the data set `other`"):
        m.fit(y=y, on={"others": {"y": z}, "other": {"y": z}}, steps=1)


STAGES = """model staged(n: int, k: int = 3) {
  observed y : real[n]
  param a : real[n] = 0
  energy fit = ||y - a||^2
  stage first for k steps { train a of 1 * fit using sgd(lr = 0.5) }
  stage second for 2 steps { train a of fit + 2 * ||a||^2 using sgd(lr = 0.01) }
  train a of fit + ||a - 1||^2 using sgd(lr = 0.25)
}
"""


def test_stages_run_one_after_the_other() -> None:
    y = rows(10, 2)
    m = ebmlang.loads(STAGES)
    history = m.fit(y=y, steps=8)
    ran = [
        next(name for name in ("1", "2", "3") if not math.isnan(r.lines.get(name, math.nan))) for r in history
    ]
    assert ran == ["1", "1", "1", "2", "2", "3", "3", "3"]
    torch.testing.assert_close(m.value("a").detach(), (y.mean(0) + 1) / 2)
    alone = ebmlang.loads(STAGES.replace("  train a of fit + ||a - 1||^2 using sgd(lr = 0.25)\n", ""), k=1)
    assert len(alone.fit(y=y)) == 3
    assert len(ebmlang.loads(STAGES, k=1).fit(y=y, epochs=2)) == 2


def test_explain_says_when_a_line_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    staged = "stage s for 9 steps { train critic: c }\n  train later"
    (tmp_path / "m.ebm").write_text(PLAYERS.replace("train critic", staged))
    assert main(["explain", str(tmp_path / "m.ebm")]) == 0
    shown = capsys.readouterr().out
    assert "when     in the stage s\n" in shown
    assert "when     3 steps in a minibatch\n" in shown
    assert "when     in every minibatch that 2 divides\n" in shown


# --- states -------------------------------------------------------------------------------------

STATES = """model kept(n: int, k: int = 6) {
  observed y : real[n]
  param W : real[n, n] = identity(n)
  state centre : real[n] = 1
  state queue : real[k, n] = normal()
  let h = W @ y
  energy fit = ||h - centre||^2 + 0.1 * sum(||h - queue[j]||^2, over = j in 0..k)
  update centre = 0.9 * centre + 0.1 * mean(h, over = batch)
  update queue = concat(queue[2..k], stack(mean(h, over = batch), centre))
  train W using sgd(lr = 0.01)
}
"""


def test_states_follow_their_updates_and_are_not_differentiated() -> None:
    y = rows(12, 2)
    m = ebmlang.loads(STATES, seed=4).bind(y=y)
    queue, centre = m.value("queue").detach().clone(), torch.ones(2, dtype=torch.float64)
    assert not m.value("queue").requires_grad
    history = m.fit(y=y, epochs=2, batch_size=5)
    w, curve = torch.eye(2, dtype=torch.float64, requires_grad=True), []
    for batch in batches(12, 5, 4, 2, None):
        some = y[torch.from_numpy(batch.rows)]
        h = some @ w.T
        far = (h[:, None] - queue).square().sum((1, 2))
        loss = ((h - centre).square().sum(1) + 0.1 * far).mean()
        (grad,) = torch.autograd.grad(loss, w)
        curve.append(loss.item())
        with torch.no_grad():
            w -= 0.01 * grad
            mean = (some @ w.T).mean(0)
            queue, centre = torch.cat([queue[2:], torch.stack([mean, centre])]), 0.9 * centre + 0.1 * mean
    np.testing.assert_allclose(history.loss, curve, rtol=1e-9)
    torch.testing.assert_close(m.value("queue").detach(), queue, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(m.value("centre").detach(), centre, rtol=1e-9, atol=1e-12)
    assert "centre" in m.state_dict()


READS = """model reads(n: int) {
  observed y : real[n] missing
  latent z : real[n]
  param W : real[n]
  state centre : real[n] = 1
  cost far = ||z||^2
  energy fit = ||y - W - z||^2 + ||z - centre||^2
  infer z of fit
  update centre = 0.5 * centre + 0.5 * mean(z, over = batch)
  train W of fit using sgd(lr = 0.1)
}"""


@pytest.mark.parametrize("gaps", [False, True])
def test_an_update_reads_what_is_found(gaps: bool) -> None:
    """Unknowns in closed form: where y is missing it costs nothing, and z is the state."""
    y = rows(12, 3)
    given = torch.ones_like(y, dtype=torch.bool)
    if gaps:
        given[3, 1] = given[7] = False
    m = ebmlang.loads(READS)
    m.bind(y=y)
    w, centre = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    m.fit(y=torch.where(given, y, torch.nan), steps=3)
    for _ in range(3):
        z = torch.where(given, (y - w + centre) / 2, centre)
        w = w + 0.1 * 2 * torch.where(given, y - w - z, 0).mean(0)
        z = torch.where(given, (y - w + centre) / 2, centre)
        centre = (centre + z.mean(0)) / 2
    torch.testing.assert_close(m.value("W").detach(), w, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(m.value("centre").detach(), centre, rtol=1e-7, atol=1e-7)


def test_a_state_of_an_episode_is_left_alone() -> None:
    text = """model m() {
      observed y : real
      param w : real = 0
      state s : real per episode = 3
      update s = s + 1
      energy fit = (y - w)^2 + s
    }"""
    m = ebmlang.loads(text)
    m.fit(y=rows(4), steps=2)
    assert m.value("s").item() == 3


def test_a_state_and_a_schedule_of_a_part() -> None:
    text = """model tracked(n: int) {
      observed u : real[n]
      state centre : real[n] = 0
      schedule w = linear(0, 1, steps = 2)
      update centre = mean(u, over = batch)
      energy spread = w * ||u - centre||^2
    }
    model whole(n: int) {
      observed y : real[n]
      param c : real[n] = 0
      use tracked as t with u = y
      energy fit = ||y - c||^2
      train c using sgd(lr = 0.1)
    }"""
    y = rows(10, 2)
    m = ebmlang.loads(text)
    history = m.fit(y=y, steps=3)
    torch.testing.assert_close(m.value("t.centre").detach(), y.mean(0))
    about = (y - y.mean(0)).square().sum(1).mean().item()
    np.testing.assert_allclose(history["t.spread"], [0, 0.5 * about, about])


TARGET = """model teacher(n: int) {
  observed y : real[n]
  net enc : real[n] -> real[2] = mlp([4])
  {}
  energy fit = ||enc(y) - stop(target(y))||^2 + 0.1 * ||enc(y) - 1||^2
  train enc using sgd(lr = 0.05)
}
"""


def test_a_target_net_is_the_average_of_its_net() -> None:
    spelled = (
        "state target = enc\n  update target = 0.9 * target + 0.1 * enc",
        "state target = enc\n  update target = enc * 0.1 + 0.9 * target",
        "net target : real[n] -> real[2] = ema(enc, decay = 0.9)",
    )
    curves = [
        ebmlang.loads(TARGET.replace("{}", text), seed=2).fit(y=rows(10, 3), epochs=3, batch_size=4).loss
        for text in spelled
    ]
    np.testing.assert_array_equal(curves[0], curves[1])
    np.testing.assert_array_equal(curves[0], curves[2])


# --- how a line moves ---------------------------------------------------------------------------

NET = """model m(n: int) {{
  observed x : real[n]
  observed t : real
  net f : real[n] -> real[1] = mlp([8], act = tanh)
  energy fit = (t - f(x)[0])^2
  train using {}
}}
"""


def test_clipping_is_that_of_torch() -> None:
    x, t = rows(16, 3), 20 * rows(16, seed=1)
    m = ebmlang.loads(NET.format("sgd(lr = 0.01, clip = 0.7)")).bind(x=x, t=t)
    f = copy.deepcopy(m.net("f"))
    history = m.fit(x=x, t=t, steps=5)
    optimiser, norms = torch.optim.SGD(f.parameters(), lr=0.01), []
    for _ in range(5):
        optimiser.zero_grad()
        (t - f(x)[:, 0]).square().mean().backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(f.parameters(), 0.7)))
        optimiser.step()
    np.testing.assert_allclose(history["gradient"], norms, rtol=1e-9)
    for ours, theirs in zip(m.net("f").parameters(), f.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_accumulation_changes_nothing_but_memory() -> None:
    x, t = rows(23, 3), rows(23, seed=1)
    curves = [
        ebmlang.loads(NET.format(f"adam(lr = 0.01, accumulate = {n})")).fit(x=x, t=t, epochs=2, batch_size=9)
        for n in (1, 2, 50)
    ]
    for curve in curves[1:]:
        np.testing.assert_allclose(curve.loss, curves[0].loss, rtol=1e-9)
        np.testing.assert_allclose(curve["fit"], curves[0]["fit"], rtol=1e-9)


def test_the_average_of_the_parameters_is_the_result() -> None:
    text = """model m() {
      observed y : real
      param w : real in nonnegative = 4
      energy fit = (y - w)^2
      train using sgd(lr = 0.1, average = 0.8)
    }"""
    m = ebmlang.loads(text)
    m.fit(y=torch.ones(3, dtype=torch.float64), steps=6)
    w, mean = 4.0, 4.0
    for _ in range(6):
        w -= 0.2 * (w - 1)
        mean = 0.8 * mean + 0.2 * w
    assert m.value("w").item() == pytest.approx(mean, rel=1e-12)


def test_validation_keeps_the_best_parameters_and_stops() -> None:
    """A step size that is too large for the long run: the loss falls at first, then rises."""
    text = """model m() {
      observed y : real
      param w : real = 3
      schedule rate = piecewise([0.2, 1.2], at = [3])
      energy fit = (y - w)^2
      train using sgd(lr = rate)
    }"""
    y = 0.01 * rows(20)
    m = ebmlang.loads(text)
    history = m.fit(y=y, epochs=50, validate=0.25, patience=2)
    held = history["validation"]
    best = int(np.nanargmin(held))
    assert len(history) == best + 3
    assert history["rows"][0] == 15
    assert m.value("w").item() == pytest.approx(3 * 0.6 ** (best + 1), abs=0.05)
    assert np.isfinite(held).all()


def test_half_precision_is_near() -> None:
    x, t = rows(64, 16).float(), rows(64, seed=1).float()
    text = NET.format("sgd(lr = 0.01)")
    full, half = (ebmlang.loads(text).fit(x=x, t=t, steps=20, precision=p) for p in ("full", "bf16"))
    assert not np.array_equal(full.loss, half.loss)
    np.testing.assert_allclose(half.loss, full.loss, rtol=0.05)


WRONG = {
    "validate": ({"validate": 1.5}, "validate is 1.5"),
    "patience": ({"patience": 3}, "patience is about rows that are held out"),
    "precision": ({"precision": "fp16"}, "the precision `fp16` is not known"),
    "nothing left": ({"validate": 0.9, "rows": 1}, "leaves none to train with"),
}


@pytest.mark.parametrize(("course", "words"), WRONG.values(), ids=WRONG)
def test_courses_that_are_wrong(course: dict[str, Any], words: str) -> None:
    count = int(course.pop("rows", 9))
    m = ebmlang.loads(NET.format("adam"))
    with pytest.raises(DataError, match=words):
        m.fit(x=rows(count, 2), t=rows(count), **course)
