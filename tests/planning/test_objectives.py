"""Lines that lower a part of the energy: the same plans as those of a file with that part alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang.cli import main
from ebmlang.runtime.result import Result
from tests.planning.test_acting import run
from tests.planning.worlds import A, B, Cart

WORLD = """model world(T: int = 12) {{
  observed s0     : real[2]
  observed action : real[1]
  observed after  : real[2]
  latent   a      : real[T, 1]{box}
  param    drift  : real = {drift}
  fn step(s: real[2], u: real[1], d: real) -> real[2] = [s[0] + 0.1 * s[1]{bend}, s[1] + 0.1 * u[0] + d]
  energy prediction = ||after - step(s0, action, drift)||^2
  let s : real[T+1, 2]
  let s[0] = s0
  for t in 0..T {{
    let s[t+1] = step(s[t], a[t], drift)
    cost near[t] = ||s[t+1]||^2
    cost work[t] = 0.1 * ||a[t]||^2
  }}
  cost goal = ||s[T] - 1||^2
  train drift of prediction using adam(lr = 0.01)
  plan a of {of}
}}"""

ALONE = """model alone(T: int = 12) {{
  observed s0 : real[2]
  latent   a  : real[T, 1]{box}
  let s : real[T+1, 2]
  let s[0] = s0
  for t in 0..T {{
    let s[t+1] = [s[t, 0] + 0.1 * s[t, 1]{bend}, s[t, 1] + 0.1 * a[t, 0] + {drift}]
    cost both[t] = 2 * ||s[t+1]||^2 + 0.1 * ||a[t]||^2
  }}
  cost goal = 3 * ||s[T] - 1||^2
  plan a
}}"""

OF = "2 * near + work + 3 * goal"


@pytest.mark.parametrize(
    ("box", "bend", "method"),
    [("", "", "riccati"), (" in [-2, 2]", "", "ilqr"), ("", " - 0.1 * sin(s[1])", "ilqr")],
)
def test_a_weighted_part_of_the_energy(box: str, bend: str, method: str) -> None:
    part = ebmlang.loads(WORLD.format(box=box, bend=bend, drift=0.05, of=OF))
    own = bend.replace("s[1]", "s[t, 1]")
    alone = ebmlang.loads(ALONE.format(box=box, bend=own, drift=0.05))
    s0 = torch.tensor([[1.0, 0.5], [3.0, -2.0]], dtype=torch.float64)
    found, expected = part.plan(s0=s0), alone.plan(s0=s0)
    assert isinstance(found, Result)
    assert isinstance(expected, Result)
    assert found.method == expected.method == method
    torch.testing.assert_close(found["a"], expected["a"], atol=1e-6, rtol=0)
    assert set(found.terms) == {"near", "work", "goal"}


def test_a_world_is_learned_and_planned_in_by_one_file() -> None:
    """Transitions of a cart that drifts: training finds the drift, and plans then go by it."""
    m = ebmlang.loads(WORLD.format(box="", bend="", drift=0, of=OF))
    rng = np.random.default_rng(0)
    s, u = rng.normal(size=(200, 2)), rng.normal(size=(200, 1))
    after = s @ A.T + u @ B.T + [0.0, 0.05]
    m.fit(s0=s, action=u, after=after, steps=300, dtype="float64")
    assert m.value("drift").item() == pytest.approx(0.05, abs=1e-4)
    known = ebmlang.loads(ALONE.format(box="", bend="", drift=0.05))
    learned, true = (run(x, Cart(), steps=5, seed=1) for x in (m, known))
    np.testing.assert_allclose(learned[0].actions, true[0].actions, atol=2e-3)


def test_the_whole_energy_is_evaluated_whatever_the_line_lowers() -> None:
    m = ebmlang.loads(WORLD.format(box="", bend="", drift=0, of=OF))
    s, after = torch.ones(2, 2), torch.zeros(2, 2)
    found = m.terms(s0=s, action=torch.ones(2, 1), after=after, a=torch.zeros(12, 1))
    assert set(found) == {"prediction", "near", "work", "goal"}
    expected = (after.double().numpy() - s.numpy() @ A.T - np.ones((2, 1)) @ B.T) ** 2
    np.testing.assert_allclose(found["prediction"].detach(), expected.sum(1), rtol=1e-5)
    text = ebmlang.loads(WORLD.format(box="", bend="", drift=0, of=OF))
    assert text.bind(s0=s).value("drift").item() == 0


def test_the_model_as_its_own_world_needs_no_transitions() -> None:
    m = ebmlang.loads(WORLD.format(box="", bend="", drift=0, of=OF))
    (episode,) = run(m, "model", s0=[1.0, 0.0], steps=4)
    states, actions = episode.observations["s0"], episode.actions
    np.testing.assert_allclose(states[1:], states[:-1] @ A.T + actions @ B.T, atol=1e-6)


def test_what_a_plan_reads_has_to_be_there() -> None:
    whole = WORLD.format(box="", bend="", drift=0, of="total").replace(" of total", "")
    with pytest.raises(ebmlang.DataError, match="`action` has no value in the world, and prediction") as info:
        ebmlang.loads(whole).plan(Cart(), steps=2, observe={"s0": ""})
    assert info.value.hint == "plan a of near + work + goal"
    with pytest.raises(ebmlang.DataError, match="`after` has no value in the world"):
        m = ebmlang.loads(WORLD.format(box="", bend="", drift=0, of="near + ||after||^2"))
        m.plan(Cart(), steps=2, observe={"s0": ""})


def test_data_of_another_line_may_be_left_out(tmp_path: Path) -> None:
    """`infer` and `train` of a part need what that part reads, and nothing else."""
    text = """model two(n: int) {
      observed x : real[n]
      observed y : real[n]
      param w : real = 0
      latent z : real[n]
      energy left  = ||x - z||^2 + w^2
      energy right = ||y - w * z||^2
      infer z of left
      train w of ||x - w||^2 using sgd(lr = 0.1)
    }"""
    m = ebmlang.loads(text)
    x = torch.ones(3, 2)
    found = m.infer(x=x)
    torch.testing.assert_close(found["z"], x)
    assert set(found.terms) == {"left"}
    assert set(m.infer(x=x, y=x).terms) == {"left", "right"}
    m.fit(x=x, steps=50)
    assert m.value("w").item() == pytest.approx(1.0, abs=1e-3)
    assert set(m.infer(x=x, find=["z"], of="2 * left").terms) == {"left"}
    with pytest.raises(ebmlang.DataError, match="no value for the observed variable `y`"):
        m.infer(x=x, of="left + right")

    (tmp_path / "two.ebm").write_text(text)
    np.savez(tmp_path / "x.npz", x=x.numpy())
    command = ["infer", str(tmp_path / "two.ebm"), "--data", str(tmp_path / "x.npz")]
    out = ["-o", str(tmp_path / "z.npz"), "--no-progress"]
    assert main([*command, *out]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "z.npz")["z"], x)
    assert main([*command, *out, "--force", "--of", "left + right"]) == 1


def test_a_plan_line_has_the_starts_of_a_plan_when_infer_asks_it() -> None:
    """A weak motor swings away before it swings up: from its declared start alone the search ends leaning."""
    m = ebmlang.load("models/gallery/planning/swing_up.ebm")
    angle, speed = np.array([1.968, 2.246]), np.array([0.231, -0.73])
    hanging = np.stack([np.cos(angle), np.sin(angle), speed], 1)
    several, one, eight = (m.infer(obs=hanging, dtype="float64", restarts=r).energy for r in (None, 1, 8))
    assert (several < one - 50).all()
    assert torch.allclose(several, eight, rtol=0.01)
    planned = m.plan(obs=hanging[0], dtype="float64")
    assert isinstance(planned, Result)
    assert torch.allclose(planned.energy, several[:1])
