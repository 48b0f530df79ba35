"""Linear-quadratic control under limits, against lower bounds from matrices that are built here."""

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag
from scipy.optimize import minimize

import ebmlang
from ebmlang.runtime.result import Result

LIMITED = """
model limited(d: int, m: int, T: int, most: real, room: real) {
  shared observed A : real[d, d]; shared observed B : real[d, m]; shared observed Q : real[d, d]
  observed s0 : real[d]; observed goal : real[d]
  latent a : real[T, m] in [-most, most]
  let s : real[T+1, d]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = A @ s[t] + B @ a[t]
    cost input[t] = 0.05 * ||a[t]||^2
    cost distance[t] = 1/2 * (s[t+1] - goal) @ Q @ (s[t+1] - goal)
    subject to above[t] : s[t+1] <= room
    subject to below[t] : s[t+1] >= -room
  }
  plan a
}
"""

SHOOTING = """
model shooting(d: int, m: int, T: int, most: real, room: real) {
  shared observed A : real[d, d]; shared observed B : real[d, m]; shared observed Q : real[d, d]
  observed s0 : real[d]; observed goal : real[d]
  latent a : real[T, m] in [-most, most]
  latent s : real[T+1, d]
  subject to first : s[0] == s0
  for t in 0..T {
    subject to next[t] : s[t+1] == A @ s[t] + B @ a[t]
    cost input[t] = 0.05 * ||a[t]||^2
    cost distance[t] = 1/2 * (s[t+1] - goal) @ Q @ (s[t+1] - goal)
    subject to above[t] : s[t+1] <= room
    subject to below[t] : s[t+1] >= -room
  }
  plan a, s
}
"""


def _system(seed: int, d: int, m: int, rows: int) -> dict[str, np.ndarray]:
    """A system whose free motion stays put or grows slowly, and states to begin and end at."""
    rng = np.random.default_rng(seed)
    A = np.eye(d) + 0.2 * rng.standard_normal((d, d)) / np.sqrt(d)
    half = rng.standard_normal((d, d))
    return {
        "A": A / max(1.0, np.abs(np.linalg.eigvals(A)).max()),
        "B": 0.5 * rng.standard_normal((d, m)),
        "Q": half @ half.T / d,
        "s0": rng.uniform(-0.8, 0.8, (rows, d)),
        "goal": rng.uniform(-1.5, 1.5, (rows, d)),
    }


def _condensed(p: dict[str, np.ndarray], row: int, T: int) -> tuple[np.ndarray, ...]:
    """States as an affine function of all actions, S a + f, and the energy 1/2 a'Ha + g'a + c."""
    d, m = p["B"].shape
    S, f, now = np.zeros((T * d, T * m)), np.zeros(T * d), p["s0"][row]
    for t in range(T):
        now = p["A"] @ now
        f[t * d : (t + 1) * d] = now
        power = p["B"]
        for k in range(t, -1, -1):
            S[t * d : (t + 1) * d, k * m : (k + 1) * m] = power
            power = p["A"] @ power
    weight = block_diag(*[p["Q"]] * T)
    away = f - np.tile(p["goal"][row], T)
    return S, f, S.T @ weight @ S + 0.1 * np.eye(T * m), S.T @ weight @ away, away @ weight @ away / 2


def _least_by_duality(
    p: dict[str, np.ndarray], row: int, T: int, most: float, room: float, above: np.ndarray, below: np.ndarray
) -> float:
    """The minimum over the actions in their box of the Lagrangian at multipliers >= 0: a lower bound of the
    energy of every plan that keeps the limits."""
    S, f, H, g, c = _condensed(p, row, T)
    slope = g + S.T @ (above - below)
    value = c + above @ (f - room) + below @ (-f - room)
    found = minimize(
        lambda a: (0.5 * a @ H @ a + slope @ a, H @ a + slope),
        np.zeros(len(g)),
        jac=True,
        bounds=[(-most, most)] * len(g),
        method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-11},
    )
    return float(found.fun + value)


def _ask(text: str, p: dict[str, np.ndarray], T: int, most: float, room: float) -> Result:
    return ebmlang.loads(text, T=T, most=most, room=room).infer({**p}, dtype="float64")


@pytest.mark.parametrize(
    ("seed", "d", "m", "T"), [(0, 4, 2, 20), (1, 2, 1, 50), (2, 12, 3, 20), (3, 3, 3, 7)]
)
def test_no_plan_within_the_limits_costs_less(seed: int, d: int, m: int, T: int) -> None:
    p, most, room = _system(seed, d, m, 3), 0.5, 0.85
    r = _ask(LIMITED, p, T, most, room)
    assert r.method == "staged_interior_point"
    assert bool(r.converged.all())
    touching = 0
    for row in range(3):
        S, f, H, g, c = _condensed(p, row, T)
        a = r["a"][row].numpy().ravel()
        states = S @ a + f
        assert np.abs(a).max() <= most
        assert np.abs(states).max() <= room + 1e-9
        assert np.isclose(r.energy[row], 0.5 * a @ H @ a + g @ a + c, rtol=1e-9)
        above, below = (r.multipliers[n][row].numpy().ravel() for n in ("above", "below"))
        assert min(above.min(), below.min()) >= 0
        touching += int((above + below > 1e-6).sum())
        least = _least_by_duality(p, row, T, most, room, above, below)
        assert float(r.energy[row]) - least <= 1e-6 * (1 + abs(least))
    assert touching > 0


def test_many_rows_have_the_answers_of_one() -> None:
    p = _system(4, 4, 2, 40)
    r = _ask(LIMITED, p, 15, 0.5, 0.85)
    for row in (0, 7, 39):
        one = _ask(LIMITED, p | {n: p[n][row : row + 1] for n in ("s0", "goal")}, 15, 0.5, 0.85)
        assert one.status[0] == r.status[row]
        if bool(one.converged[0]):
            torch.testing.assert_close(one["a"][0], r["a"][row], rtol=1e-7, atol=1e-7)


def test_matrices_of_each_row() -> None:
    own = LIMITED.replace("shared observed A", "observed A").replace("shared observed B", "observed B")
    systems = [_system(seed, 3, 2, 1) for seed in (5, 6)]
    both = {n: np.stack([p[n] for p in systems]) for n in ("A", "B")} | {"Q": systems[0]["Q"]}
    both |= {n: np.concatenate([p[n] for p in systems]) for n in ("s0", "goal")}
    r = _ask(own, both, 12, 0.5, 0.9)
    assert r.method == "staged_interior_point"
    for row, p in enumerate(systems):
        one = _ask(LIMITED, p | {"Q": systems[0]["Q"]}, 12, 0.5, 0.9)
        torch.testing.assert_close(one["a"][0], r["a"][row], rtol=1e-7, atol=1e-7)


def test_states_as_unknowns_have_the_same_optimum() -> None:
    p = _system(0, 4, 2, 3)
    inner, outer = _ask(LIMITED, p, 12, 0.5, 0.85), _ask(SHOOTING, p, 12, 0.5, 0.85)
    assert inner.method == outer.method == "staged_interior_point"
    assert bool((inner.converged & outer.converged).all())
    torch.testing.assert_close(inner.energy, outer.energy, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(inner["a"], outer["a"], rtol=1e-6, atol=1e-6)


def test_the_end_is_met_as_an_equation() -> None:
    text = LIMITED.replace("subject to above[t] : s[t+1] <= room", "subject to above[t] : s[t+1, 0] <= room")
    text = text.replace("    subject to below[t] : s[t+1] >= -room\n  }", "  }\n  subject to end : s[T] == 0")
    p = _system(7, 3, 2, 2)
    r = _ask(text, p, 15, 1.0, 0.9)
    assert r.method == "staged_interior_point"
    assert bool(r.converged.all())
    assert float(r["s"][:, -1].abs().max()) < 1e-9
    other = ebmlang.loads(text, T=15, most=1.0, room=0.9).infer(
        {**p}, dtype="float64", using="interior_point"
    )
    torch.testing.assert_close(r.energy, other.energy, rtol=1e-9, atol=1e-9)


def test_other_units_have_the_same_plan() -> None:
    p = _system(0, 3, 2, 2)
    plain = _ask(LIMITED, p, 10, 0.5, 0.85)
    large = LIMITED.replace("0.05 *", "0.05e7 *").replace("1/2 *", "0.5e7 *")
    large = large.replace("s[t+1] <= room", "1e6 * s[t+1] <= 1e6 * room")
    other = _ask(large, p, 10, 0.5, 0.85)
    assert other.method == "staged_interior_point"
    assert bool(other.converged.all())
    torch.testing.assert_close(plain["a"], other["a"], rtol=1e-6, atol=1e-6)


def test_limits_that_cannot_be_kept_are_named_with_their_time() -> None:
    """Without force that is worth its name the mass is at 1 + t / 10 at time t."""
    text = """
    model late(T: int) {
      observed s0 : real[2]; latent a : real[T] in [-0.001, 0.001]
      let s : real[T+1, 2]
      let s[0] = s0
      for t in 0..T { let s[t+1] = [s[t, 0] + 0.1 * s[t, 1], s[t, 1] + 0.1 * a[t]] ; cost effort[t] = a[t]^2 }
      subject to wall : s[T, 0] <= 2
      subject to floor : s[T, 1] >= -5
      plan a
    }"""
    m = ebmlang.loads(text, T=20)
    r = m.infer(s0=[[1.0, 1.0], [-1.0, 1.0]], dtype="float64")
    assert r.status[0].startswith("no feasible point was found: 'wall' is violated by 0.99")
    assert r.converged.tolist() == [False, True]
    plated = text.replace(
        "subject to wall : s[T, 0] <= 2", "for t in 0..T { subject to wall[t] : s[t+1, 0] <= 2 }"
    )
    r = ebmlang.loads(plated, T=20).infer(s0=[[1.0, 1.0]], dtype="float64")
    assert r.status[0].endswith(" at [19]")
