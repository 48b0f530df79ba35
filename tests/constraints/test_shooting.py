"""Plans along steps that are not linear, under limits: states as unknowns, as named values, and scipy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import minimize

import ebmlang
from ebmlang.runtime.result import Result

Numbers = npt.NDArray[np.float64]

POLE = """
model pole(T: int, h: real = 0.1, room: real = 0.4) {{
  observed s0 : real[4]
  latent   a  : real[T] in [-8, 8]
  {states}
  fn push(s: real[4], u: real) -> real[4] = [
    s[0] + h * s[1],
    s[1] + h * (u + 0.3 * sin(s[2]) * s[3]^2),
    s[2] + h * s[3],
    s[3] + h * (9.8 * sin(s[2]) - cos(s[2]) * u)
  ]
  for t in 0..T {{
    {step} push(s[t], a[t])
    cost upright[t] = 10 * (1 - cos(s[t+1, 2])) + 0.1 * s[t+1, 3]^2 + s[t+1, 0]^2
    cost force[t] = 0.01 * a[t]^2
    subject to right[t] : s[t+1, 0] <= room
    subject to left[t] : s[t+1, 0] >= -room
    subject to swirl[t] : s[t+1, 1]^2 + s[t+1, 3]^2 <= 30
  }}
  plan {sought}
}}
"""
SINGLE = POLE.format(states="let s : real[T+1, 4]; let s[0] = s0", step="let s[t+1] =", sought="a")
MULTIPLE = POLE.format(
    states="latent s : real[T+1, 4]; subject to first : s[0] == s0",
    step="subject to next[t] : s[t+1] ==",
    sought="a, s",
)
STARTS = [[0.0, 0.0, 0.6, 0.0], [0.2, 0.5, -0.5, 0.4], [-0.3, 0.0, 0.9, -0.5]]


def _push(s: Numbers, u: float, h: float = 0.1) -> Numbers:
    turn = 9.8 * np.sin(s[2]) - np.cos(s[2]) * u
    return s + h * np.array([s[1], u + 0.3 * np.sin(s[2]) * s[3] ** 2, s[3], turn])


def _states(first: Numbers, actions: Numbers) -> Numbers:
    states = [np.asarray(first, float)]
    for u in actions:
        states.append(_push(states[-1], u))
    return np.array(states)


def _cost(first: Numbers, actions: Numbers) -> float:
    s = _states(first, actions)[1:]
    price = 10 * (1 - np.cos(s[:, 2])) + 0.1 * s[:, 3] ** 2 + s[:, 0] ** 2
    return float(price.sum() + 0.01 * np.square(actions).sum())


def _room(first: Numbers, actions: Numbers) -> Numbers:
    """What is left of every limit, >= 0 where it holds."""
    s = _states(first, actions)[1:]
    return np.concatenate([0.4 - s[:, 0], 0.4 + s[:, 0], 30 - s[:, 1] ** 2 - s[:, 3] ** 2])


def _by_scipy(first: Numbers, begin: Numbers) -> tuple[float, Numbers]:
    found = minimize(
        lambda a: _cost(first, a),
        begin,
        bounds=[(-8, 8)] * len(begin),
        constraints={"type": "ineq", "fun": lambda a: _room(first, a)},
        method="SLSQP",
        options={"maxiter": 200, "ftol": 1e-10},
    )
    return float(found.fun), found.x


def test_both_forms_have_the_optimum_of_scipy() -> None:
    T = 12
    one = ebmlang.loads(SINGLE, T=T).infer(s0=STARTS, dtype="float64")
    other = ebmlang.loads(MULTIPLE, T=T).infer(s0=STARTS, dtype="float64")
    assert one.method == other.method == "multiple_shooting"
    assert bool(one.converged.all())
    assert bool(other.converged.all())
    active = 0
    for row, first in enumerate(np.array(STARTS)):
        for r in (one, other):
            actions = r["a"][row].numpy()
            assert np.abs(actions).max() <= 8
            room = _room(first, actions)
            assert room.min() >= -1e-8
            active += int((room < 1e-6).any())
            assert np.isclose(float(r.energy[row]), _cost(first, actions), rtol=1e-8)
            # scipy begins at the answer, and finds nothing better nearby.
            least, _ = _by_scipy(first, actions)
            assert float(r.energy[row]) <= least + 1e-6 * (1 + abs(least))
        least, found = _by_scipy(first, np.zeros(T))
        if _room(first, found).min() > -1e-6:
            assert float(one.energy[row]) <= least + 1e-6 * (1 + abs(least))
    assert active


def test_multipliers_make_the_answer_stationary() -> None:
    T, first = 8, np.array(STARTS[1])
    r = ebmlang.loads(MULTIPLE, T=T).infer(s0=[STARTS[1]], dtype="float64")
    s, a = (r[name][0].clone().requires_grad_(True) for name in ("s", "a"))
    y = {name: value[0] for name, value in r.multipliers.items()}
    h, room = 0.1, 0.4
    after = torch.stack(
        [
            s[:-1, 0] + h * s[:-1, 1],
            s[:-1, 1] + h * (a + 0.3 * s[:-1, 2].sin() * s[:-1, 3] ** 2),
            s[:-1, 2] + h * s[:-1, 3],
            s[:-1, 3] + h * (9.8 * s[:-1, 2].sin() - s[:-1, 2].cos() * a),
        ],
        1,
    )
    cost = 10 * (1 - s[1:, 2].cos()) + 0.1 * s[1:, 3] ** 2 + s[1:, 0] ** 2 + 0.01 * a**2
    whole = cost.sum() + (y["first"] * (s[0] - torch.from_numpy(first))).sum()
    whole = whole + (y["next"] * (s[1:] - after)).sum()
    whole = whole + (y["right"] * (s[1:, 0] - room)).sum() + (y["left"] * (-room - s[1:, 0])).sum()
    whole = whole + (y["swirl"] * (s[1:, 1] ** 2 + s[1:, 3] ** 2 - 30)).sum()
    assert min(float(y[n].min()) for n in ("right", "left", "swirl")) >= 0
    along_states, along_actions = torch.autograd.grad(whole, (s, a))
    assert float(along_states.abs().max()) < 1e-6
    free = a.detach().abs() < 8 - 1e-9
    assert float(along_actions[free].abs().max()) < 1e-6


def test_rows_do_not_touch_each_other() -> None:
    model = ebmlang.loads(MULTIPLE, T=10)
    many = model.infer(s0=STARTS * 3, dtype="float64", restarts=1)
    for row, first in enumerate(STARTS):
        alone = model.infer(s0=[first], dtype="float64", restarts=1)
        for copy in range(3):
            torch.testing.assert_close(alone["a"][0], many["a"][row + 3 * copy], rtol=1e-7, atol=1e-7)


SWING = """
model swing(T: int) {{
  observed s0 : real[2]
  latent   a  : real[T, 1] in [-2, 2]
  {states}
  fn spin(s: real[2], u: real[1]) -> real = s[1] + 0.05 * (15 * sin(s[0]) + 3 * u[0])
  for t in 0..T {{
    {step}
    cost running[t] = s[t+1, 0]^2 + 0.1 * s[t+1, 1]^2 + 0.001 * ||a[t]||^2
  }}
  {more}
  plan {sought}
}}
"""


def _swing(step: str, more: str = "", states: str = "") -> ebmlang.Model:
    states = states or "latent s : real[T+1, 2]; subject to first : s[0] == s0"
    text = SWING.format(states=states, step=step, more=more, sought="a, s" if "latent s" in states else "a")
    return ebmlang.loads(text, T=20)


WHOLE = "subject to next[t] : s[t+1] == [s[t, 0] + 0.05 * spin(s[t], a[t]), spin(s[t], a[t])]"
NAMED = "let s[t+1] = [s[t, 0] + 0.05 * spin(s[t], a[t]), spin(s[t], a[t])]"


@pytest.mark.parametrize(
    "step",
    [
        WHOLE,
        "subject to next[t] : [s[t, 0] + 0.05 * spin(s[t], a[t]), spin(s[t], a[t])] == s[t+1]",
        "subject to speed[t] : s[t+1, 1] == spin(s[t], a[t]);"
        " subject to turn[t] : s[t+1, 0] - s[t, 0] == 0.05 * spin(s[t], a[t])",
    ],
)
def test_ways_to_write_the_steps(step: str) -> None:
    first = [[2.5, -1.0], [1.0, 0.5]]
    named = _swing(NAMED, states="let s : real[T+1, 2]; let s[0] = s0").infer(s0=first, dtype="float64")
    r = _swing(step).infer(s0=first, dtype="float64")
    assert (named.method, r.method) == ("ilqr", "multiple_shooting")
    assert bool(r.converged.all())
    torch.testing.assert_close(r.energy, named.energy, rtol=1e-7, atol=0)
    assert max(float(v.max()) for v in r.violations.values()) < 1e-9


@pytest.mark.parametrize(
    "change",
    [
        # an implicit step, no first state, a cost of two times, a step that leaves a time out
        lambda text: text.replace("spin(s[t], a[t])]", "spin(s[t+1], a[t])]"),
        lambda text: text.replace("subject to first : s[0] == s0", "subject to near : s[0] <= s0"),
        lambda text: text.replace("s[t+1, 0]^2 +", "s[t+1, 0] * s[t, 0] +"),
        lambda text: text.replace("s[t+1] == [s[t, 0]", "s[t+1] == [s[0, 0]"),
    ],
)
def test_what_is_no_chain_of_steps(change: Callable[[str], str]) -> None:
    text = SWING.format(
        states="latent s : real[T+1, 2]; subject to first : s[0] == s0", step=WHOLE, more="", sought="a, s"
    )
    assert change(text) != text
    for written, expected in ((text, True), (change(text), False)):
        said = ebmlang.loads(written, T=4).explain()
        assert ("staged constraints" in said.split("method")[0]) is expected


def test_the_end_is_met() -> None:
    more = "subject to end : s[T] == [0.3, -0.2]"
    r = _swing(WHOLE, more).infer(s0=[[0.2, 0.0]], dtype="float64")
    named = _swing(NAMED, more, "let s : real[T+1, 2]; let s[0] = s0").infer(s0=[[0.2, 0.0]], dtype="float64")
    assert r.method == named.method == "multiple_shooting"
    assert bool(r.converged.all() & named.converged.all())
    torch.testing.assert_close(
        r["s"][0, -1], torch.tensor([0.3, -0.2], dtype=torch.float64), atol=1e-8, rtol=0
    )
    torch.testing.assert_close(r.energy, named.energy, rtol=1e-7, atol=0)


def test_limits_that_cannot_hold_are_named_with_their_time() -> None:
    more = "for t in 3..5 { subject to high[t] : s[t, 0] <= 0.5 }"
    r = _swing(WHOLE, more).infer(s0=[[2.5, 1.0], [0.1, 0.0]], dtype="float64")
    assert r.converged.tolist() == [False, True]
    assert r.status[0].startswith("no feasible point was found: 'high' is violated by")
    assert "at [1]" in r.status[0]


def test_bounds_of_states_hold_and_may_be_missed_at_the_start() -> None:
    states = "latent s : real[T+1, 2] in [-1, 1]; subject to first : s[0] == s0"
    r = _swing(WHOLE, states=states).infer(s0=[[0.2, 0.5], [1.5, 0.0]], dtype="float64")
    assert r.converged.tolist() == [True, False]
    assert float(r["s"][0].abs().max()) <= 1
    assert r.status[1].startswith("no feasible point was found")


def test_a_net_may_be_the_step() -> None:
    text = """
model learned(T: int = 6) {
  observed s0 : real[2]
  latent   a  : real[T, 1] in [-1, 1]
  latent   s  : real[T+1, 2]
  net f : (real[2], real[1]) -> real[2] = mlp([8], act = tanh)
  subject to first : s[0] == s0
  for t in 0..T {
    subject to next[t] : s[t+1] == s[t] + 0.3 * f(s[t], a[t])
    cost running[t] = ||s[t+1]||^2 + 0.1 * ||a[t]||^2
  }
  plan a, s
}
"""
    named = text.replace("latent   s  : real[T+1, 2]", "let s : real[T+1, 2]")
    named = named.replace("subject to first : s[0] == s0", "let s[0] = s0").replace("plan a, s", "plan a")
    named = named.replace("subject to next[t] : s[t+1] ==", "let s[t+1] =")
    first = [[1.0, -0.5]]
    one, other = (ebmlang.loads(t, seed=1).infer(s0=first, dtype="float64") for t in (named, text))
    assert (one.method, other.method) == ("ilqr", "multiple_shooting")
    torch.testing.assert_close(one.energy, other.energy, rtol=1e-7, atol=0)


def _trade(T: int) -> Result:
    """Large units: prices of millions, and states of thousandths."""
    text = """
model trade(T: int) {
  observed s0 : real
  latent   a  : real[T] in [-1, 1]
  latent   s  : real[T+1]
  subject to first : s[0] == s0
  for t in 0..T {
    subject to next[t] : s[t+1] == s[t] + 0.001 * sin(a[t])
    cost price[t] = 1e12 * (s[t+1] - 0.002)^2 + 1e5 * a[t]^2
    subject to cap[t] : s[t+1] <= 0.0015
  }
  plan a, s
}
"""
    return ebmlang.loads(text, T=T).infer(s0=[0.0], dtype="float64")


def test_other_units() -> None:
    T, r = 6, _trade(6)
    assert r.method == "multiple_shooting"
    assert bool(r.converged.all())

    def states(a: Numbers) -> Numbers:
        return np.cumsum(np.sin(a))

    found = minimize(
        lambda a: 10 * np.square(states(a) - 2).sum() + np.square(a).sum(),
        np.zeros(T),
        bounds=[(-1, 1)] * T,
        constraints={"type": "ineq", "fun": lambda a: 1.5 - states(a)},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert np.isclose(float(r.energy[0]) / 1e5, found.fun, rtol=1e-6)


def test_soft_steps_tend_to_hard_ones() -> None:
    soft = "cost next[t] = {w} * ||s[t+1] - [s[t, 0] + 0.05 * spin(s[t], a[t]), spin(s[t], a[t])]||^2"
    states = "latent s : real[T+1, 2]; cost first = {w} * ||s[0] - s0||^2"
    first = [[0.3, 0.2]]
    hard = _swing(WHOLE).infer(s0=first, dtype="float64")
    away = []
    for w in ("1e2", "1e4", "1e6"):
        r = _swing(soft.replace("{w}", w), states=states.replace("{w}", w)).infer(s0=first, dtype="float64")
        assert r.method == "projected_gauss_newton"
        assert bool(r.converged.all())
        assert float(r.energy[0]) < float(hard.energy[0])
        away.append(float(hard.energy[0] - r.energy[0]))
    # The energy of a penalty lies below the minimum by what is proportional to the inverse of its weight.
    assert away[1] < 0.05 * away[0]
    assert away[2] < 0.02 * away[1]
