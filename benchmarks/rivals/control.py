"""Linear-quadratic control, 12 states, 4 inputs, T = 50, for one start and for 256: from A, B, Q, R, and with
the gains of a question before."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

import ebmlang
from benchmarks.measure import ROOT
from benchmarks.rivals.contest import Absent, Contest, Loop, Rival, Solver, available
from benchmarks.rivals.loops import adam, lbfgs

STATES, INPUTS, LENGTH = 12, 4, 50
Array = NDArray[np.float64]


def contests() -> list[Contest]:
    """One instance, and 256 that share A and B, in float32; each with and without gains that are known."""
    made = np.random.default_rng(0)
    A = made.normal(size=(STATES, STATES))
    A /= np.abs(np.linalg.eigvals(A)).max()
    B, Q, R = made.normal(size=(STATES, INPUTS)), np.eye(STATES), 0.1 * np.eye(INPUTS)
    starts = [made.normal(size=(count, STATES)) for count in (1, 256)]
    return [_contest(A, B, Q, R, s0, known) for known in (False, True) for s0 in starts]


def _contest(A: Array, B: Array, Q: Array, R: Array, s0: Array, known: bool) -> Contest:
    count = len(s0)
    model = ebmlang.load(ROOT / "models" / "gallery" / "lqr.ebm", T=LENGTH)
    data = {n: torch.tensor(v, dtype=torch.float32) for n, v in zip("ABQR", (A, B, Q, R), strict=True)}
    data["s0"] = torch.tensor(s0, dtype=torch.float32)

    def energy(a: Array) -> float:
        a, s, total = np.asarray(a, dtype=np.float64), s0, 0.0
        for t in range(LENGTH):
            total += 0.5 * float((s @ Q * s).sum() + (a[:, t] @ R * a[:, t]).sum())
            s = s @ A.T + a[:, t] @ B.T
        return total + 0.5 * float((s @ Q * s).sum())

    def objective(a: Tensor) -> Tensor:
        s, total = data["s0"], torch.zeros(())
        for t in range(LENGTH):
            total = total + 0.5 * ((s @ data["Q"] * s).sum() + (a[:, t] @ data["R"] * a[:, t]).sum())
            s = s @ data["A"].T + a[:, t] @ data["B"].T
        return total + 0.5 * (s @ data["Q"] * s).sum()

    words = "one start" if count == 1 else f"{count} starts"
    if known:
        forward, gains = "rollout by hand with known gains", _gains(data)
        return Contest(
            f"control, {words}, gains known",
            lambda: model.infer(data).a.numpy(),
            energy,
            (Solver(forward, lambda: _rolled(data, gains)),),
            {},
        )
    # A model keeps the gains of its last question. In the last digit of one entry, every question is another.
    other = data["R"].clone()
    other[0, 0] = torch.nextafter(other[0, 0], torch.tensor(torch.inf))
    questions = cycle([data, {**data, "R": other}])
    zero = torch.zeros(count, LENGTH, INPUTS)
    by_hand = "Riccati by hand in PyTorch"
    rivals: tuple[Rival, ...] = (
        Loop("autograd + Adam", lambda n, lr: adam(objective, zero, n, lr), (0.03, 0.1), 64, 2.0),
        Loop("torch.optim.LBFGS", lambda n: lbfgs(objective, zero, n), (), 16, 1.0),
        Solver(by_hand, lambda: _riccati(data)),
        _osqp(A, B, Q, R, s0),
        _casadi(A, B, Q, R, s0),
        _jax(data),
    )
    bars = {by_hand: 1.1 if count == 1 else 1.06}
    return Contest(f"control, {words}", lambda: model.infer(next(questions)).a.numpy(), energy, rivals, bars)


def _riccati(data: dict[str, Tensor]) -> Any:
    """P = Q + A'(P A - P B K), made symmetric: the form that float32 stands."""
    return _rolled(data, _gains(data))


def _gains(data: dict[str, Tensor]) -> list[Tensor]:
    """The gains of times 0..T - 1."""
    A, B, Q, R = (data[n] for n in "ABQR")
    P, gains = Q, []
    for _ in range(LENGTH):
        PB = P @ B
        K = torch.linalg.solve(R + B.T @ PB, PB.T @ A)
        P = Q + A.T @ (P @ A - PB @ K)
        P = 0.5 * (P + P.T)
        gains.append(K)
    return gains[::-1]


def _rolled(data: dict[str, Tensor], gains: list[Tensor]) -> Any:
    """The actions that follow from the start."""
    A, B = data["A"], data["B"]
    s, actions = data["s0"], []
    for K in gains:
        a = -s @ K.T
        actions.append(a)
        s = s @ A.T + a @ B.T
    return torch.stack(actions, 1).numpy()


def _osqp(A: Array, B: Array, Q: Array, R: Array, s0: Array) -> Rival:
    if not available("osqp"):
        return Absent("OSQP", "osqp")
    import osqp

    n, m, T = STATES, INPUTS, LENGTH
    P = sparse.block_diag([sparse.kron(sparse.eye(T + 1), Q), sparse.kron(sparse.eye(T), R)], format="csc")
    states = sparse.kron(sparse.eye(T + 1), -np.eye(n)) + sparse.kron(sparse.eye(T + 1, k=-1), A)
    inputs = sparse.kron(sparse.vstack([sparse.csc_matrix((1, T)), sparse.eye(T)]), B)
    matrix = sparse.hstack([states, inputs], format="csc")

    def run(tolerance: float) -> Any:
        right = np.zeros((T + 1) * n)
        right[:n] = -s0[0]
        solver = osqp.OSQP()
        solver.setup(
            sparse.triu(P, format="csc"),
            np.zeros(P.shape[0]),
            matrix,
            right,
            right,
            verbose=False,
            eps_abs=tolerance,
            eps_rel=tolerance,
            max_iter=100_000,
            polishing=False,
        )
        found = []
        for start in s0:
            right[:n] = -start
            solver.update(l=right, u=right)
            found.append(solver.solve().x[(T + 1) * n :].reshape(T, m))
        return np.stack(found)

    return Solver("OSQP with its set-up", run, (1e-3, 1e-4, 1e-5, 1e-7))


def _casadi(A: Array, B: Array, Q: Array, R: Array, s0: Array) -> Rival:
    """Fatrop, which takes the stages of the problem as they are (Vanroye et al. 2023), from CasADi; compiled
    in its own way for these matrices beforehand."""
    if not available("casadi"):
        return Absent("Fatrop by CasADi", "casadi")
    import casadi

    n, m, T = STATES, INPUTS, LENGTH
    s, a = casadi.SX.sym("s", n, T + 1), casadi.SX.sym("a", m, T)
    first = casadi.SX.sym("first", n)
    states, inputs = casadi.horzsplit(s), casadi.horzsplit(a)
    # In the order of time, each state with its action and each step with its equations.
    stages = [v for pair in zip(states, inputs, strict=False) for v in pair]
    moved = casadi.horzsplit(s[:, 1:] - A @ s[:, :T] - B @ a)
    cost = sum(casadi.bilin(Q, v, v) for v in states) + sum(casadi.bilin(R, v, v) for v in inputs)
    problem = {
        "x": casadi.vertcat(*stages, states[T]),
        "f": cost / 2,
        "g": casadi.vertcat(moved[0], states[0] - first, *moved[1:]),
        "p": first,
    }
    options = {
        "structure_detection": "auto",
        "equality": [True] * ((T + 1) * n),
        "expand": True,
        "print_time": False,
        "fatrop": {"print_level": 0},
    }
    solver = casadi.nlpsol("control", "fatrop", problem, options)

    def run() -> Any:
        found = [np.asarray(solver(p=start, lbg=0, ubg=0)["x"])[: T * (n + m), 0] for start in s0]
        return np.stack(found).reshape(len(s0), T, n + m)[..., n:]

    return Solver("Fatrop by CasADi", run)


def _jax(data: dict[str, Tensor]) -> Rival:
    if not available("jax"):
        return Absent("Riccati in jax, compiled", "jax")
    import jax
    import jax.numpy as jnp

    @jax.jit
    def run(A: Any, B: Any, Q: Any, R: Any, s0: Any) -> Any:
        def back(P: Any, _: Any) -> Any:
            PB = P @ B
            K = jnp.linalg.solve(R + B.T @ PB, PB.T @ A)
            P = Q + A.T @ (P @ A - PB @ K)
            return 0.5 * (P + P.T), K

        def forth(s: Any, K: Any) -> Any:
            a = -s @ K.T
            return s @ A.T + a @ B.T, a

        _, gains = jax.lax.scan(back, Q, None, length=LENGTH, reverse=True)
        return jax.lax.scan(forth, s0, gains)[1].transpose(1, 0, 2)

    values = [jnp.asarray(data[n].numpy()) for n in ("A", "B", "Q", "R", "s0")]
    return Solver("Riccati in jax, compiled", lambda: np.asarray(run(*values)))
