"""Free energies and marginals against transfer matrices, forward-backward and plain enumeration."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

import ebmlang
from ebmlang.errors import DataError

Array = NDArray[Any]
ROOT = Path(__file__).resolve().parents[2]
ISING = ROOT / "models" / "gallery" / "ising.ebm"
ALARM = ROOT / "models" / "gallery" / "alarm.ebm"


def columns(n: int) -> Array:
    """Every column of n spins, [2^n, n], as -1 and 1."""
    return 2 * np.array(list(itertools.product((0, 1), repeat=n))) - 1


def transfer(h: Array, J: float, *, least: bool) -> float:
    """log Z of a grid, or its lowest energy, column by column."""
    n, m = h.shape
    spins = columns(n)
    inside = J * (spins[:, 1:] * spins[:, :-1]).sum(1)
    value = spins @ h[:, 0] + inside
    for j in range(1, m):
        for i in range(n):
            # One spin of the column at a time: 2^n steps in place of 4^n.
            both = value.reshape(2**i, 2, -1)
            down, up = both[:, 0], both[:, 1]
            new = [(np.maximum if least else np.logaddexp)(down - J * s, up + J * s) for s in (-1.0, 1.0)]
            value = np.stack(new, 1).reshape(-1)
        value = value + spins @ h[:, j] + inside
    return float(-value.max()) if least else float(logsumexp(value))


@pytest.mark.parametrize(("n", "m"), [(10, 10), (14, 20), (3, 40), (1, 50)])
def test_a_grid_equals_its_transfer_matrix(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    h = rng.normal(size=(n, m)) * 0.5
    model = ebmlang.load(ISING)
    found = model.marginal(h=h, dtype="float64")
    assert float(found.log_z[0]) == pytest.approx(transfer(h, 0.4, least=False), rel=1e-12)
    assert float(found.energy[0]) == pytest.approx(-transfer(h, 0.4, least=False), rel=1e-12)
    assert float(model.infer(h=h, dtype="float64").energy[0]) == pytest.approx(
        transfer(h, 0.4, least=True), rel=1e-12
    )


def test_marginals_are_derivatives_of_log_z() -> None:
    rng = np.random.default_rng(0)
    h = rng.normal(size=(4, 5))
    model = ebmlang.load(ISING)
    found = model.marginal(h=h, dtype="float64")
    for i, j in ((0, 0), (2, 3), (3, 4)):
        step = np.zeros_like(h)
        step[i, j] = 1e-5
        rise = transfer(h + step, 0.4, least=False) - transfer(h - step, 0.4, least=False)
        mean_spin = rise / 2e-5
        assert float(found["s"][0, i, j, 1]) == pytest.approx((1 + mean_spin) / 2, abs=1e-9)
    torch.testing.assert_close(found["s"].sum(-1), torch.ones(1, 4, 5, dtype=torch.float64))


@pytest.mark.parametrize("pattern", range(4))
def test_every_clamp_pattern(pattern: int) -> None:
    rng = np.random.default_rng(pattern)
    h = rng.normal(size=(3, 3, 3))
    model = ebmlang.load(ISING)
    spins = columns(9).reshape(-1, 3, 3)
    given = rng.random((3, 3, 3)) < (0.0, 0.3, 0.7, 1.0)[pattern]
    if pattern == 3:
        given[0, 1, 1] = False
    value = rng.random((3, 3, 3)) < 0.5
    found = model.marginal(h=h, s=value, observed={"s": given}, dtype="float64")
    best = model.infer(h=h, s=value, observed={"s": given}, dtype="float64")
    for row in range(3):
        agree = (((spins > 0) == value[row]) | ~given[row]).all((1, 2))
        own = spins[agree]
        energy = (
            -(h[row] * own).sum((1, 2))
            - 0.4 * (own[:, 1:] * own[:, :-1]).sum((1, 2))
            - 0.4 * (own[:, :, 1:] * own[:, :, :-1]).sum((1, 2))
        )
        assert float(found.log_z[row]) == pytest.approx(float(logsumexp(-energy)), rel=1e-12)
        expected = (softmax(-energy)[:, None, None] * (own > 0)).sum(0)
        np.testing.assert_allclose(found["s"][row, ..., 1].numpy(), expected, atol=1e-12)
        assert float(best.energy[row]) == pytest.approx(float(energy.min()), rel=1e-12)
        np.testing.assert_array_equal(best.s[row].numpy()[given[row]], value[row][given[row]])


def test_a_restricted_boltzmann_machine_sums_out_one_side() -> None:
    text = """model rbm(n: int, k: int) {
      shared observed W : real[n, k]
      shared observed b : real[n]
      shared observed a : real[k]
      latent v : bool[n]
      latent h : bool[k]
      energy e = -v @ W @ h - dot(b, v) - dot(a, h)
      marginalize v, h
    }"""
    rng = np.random.default_rng(1)
    W, b, a = rng.normal(size=(60, 9)), rng.normal(size=60), rng.normal(size=9)
    found = ebmlang.loads(text).marginal(W=W, b=b, a=a, dtype="float64")
    h = np.array(list(itertools.product((0, 1), repeat=9)))
    free = h @ a + np.logaddexp(0, h @ W.T + b).sum(1)
    assert float(found.log_z[0]) == pytest.approx(float(logsumexp(free)), rel=1e-12)
    np.testing.assert_allclose(found["h"][0, :, 1].numpy(), softmax(free) @ h, atol=1e-10)
    p = softmax(free) @ (1 / (1 + np.exp(-(h @ W.T + b))))
    np.testing.assert_allclose(found["v"][0, :, 1].numpy(), p, atol=1e-10)


def test_a_long_ring_equals_the_trace_of_its_transfer_matrix() -> None:
    text = """model ring(T: int, K: int) {
      observed u : real[T, K]
      shared observed A : real[K, K]
      latent c : class[K][T]
      for t in 0..T { energy own[t] = u[t, c[t]] }
      for t in 0..T { energy pair[t] = A[c[t], c[(t + 1) % T]] }
      marginalize c
    }"""
    rng = np.random.default_rng(2)
    T, K = 10_000, 3
    u, A = rng.normal(size=(T, K)), rng.normal(size=(K, K))
    found = ebmlang.loads(text).marginal(u=u, A=A, dtype="float64")
    total, shift = np.eye(K), 0.0
    for t in range(T):
        total = total @ (np.exp(-u[t])[:, None] * np.exp(-A))
        shift += np.log(total.max())
        total /= total.max()
    assert float(found.log_z[0]) == pytest.approx(shift + np.log(np.trace(total)), rel=1e-11)


def test_a_long_chain_equals_forward_and_backward() -> None:
    text = """model chain(T: int, K: int) {
      observed u : real[T, K]
      shared observed A : real[K, K]
      latent c : class[K][T]
      for t in 0..T   { energy own[t] = u[t, c[t]] }
      for t in 0..T-1 { energy pair[t] = A[c[t], c[t + 1]] }
      marginalize c at beta = 0.5
    }"""
    rng = np.random.default_rng(3)
    T, K = 500, 4
    u, A = rng.normal(size=(2, T, K)), rng.normal(size=(K, K))
    found = ebmlang.loads(text).marginal(u=u, A=A, dtype="float64")
    for row in range(2):
        forward, backward = np.zeros((T, K)), np.zeros((T, K))
        forward[0] = -0.5 * u[row, 0]
        for t in range(1, T):
            forward[t] = logsumexp(forward[t - 1][:, None] - 0.5 * A, 0) - 0.5 * u[row, t]
        for t in range(T - 2, -1, -1):
            backward[t] = logsumexp(backward[t + 1] - 0.5 * u[row, t + 1] - 0.5 * A, 1)
        log_z = float(logsumexp(forward[-1]))
        assert float(found.log_z[row]) == pytest.approx(log_z, rel=1e-12)
        assert float(found.energy[row]) == pytest.approx(-2 * log_z, rel=1e-12)
        np.testing.assert_allclose(
            found["c"][row].numpy(), np.exp(forward + backward - log_z), rtol=1e-8, atol=1e-12
        )


def test_the_alarm_explains_itself_away() -> None:
    model = ebmlang.load(ALARM)
    assert float(model.marginal(dtype="float64").log_z[0]) == pytest.approx(0.0, abs=1e-12)
    calls = model.marginal(john=[True], mary=[True], dtype="float64")
    # Russell & Norvig, Artificial Intelligence, figure 14.2: 0.284
    assert float(calls["burglary"][0, 1]) == pytest.approx(0.2841718353643929, abs=1e-9)
    shaken = model.marginal(john=[True], mary=[True], earthquake=[True], dtype="float64")
    assert float(shaken["burglary"][0, 1]) < 0.01


def test_missing_cases_are_found_and_summed() -> None:
    text = """model m(T: int) {
      observed c : class[3][T] missing
      shared observed A : real[3, 3]
      for t in 0..T-1 { energy pair[t] = A[c[t], c[t + 1]] }
    }"""
    A = np.random.default_rng(4).normal(size=(3, 3))
    c = np.array([[0, np.nan, 2, np.nan], [1, 1, np.nan, 0]])
    found = ebmlang.loads(text).infer(c=c, A=A, dtype="float64")
    for row in range(2):
        fits = [
            s
            for s in itertools.product(range(3), repeat=4)
            if all(np.isnan(x) or x == y for x, y in zip(c[row], s, strict=True))
        ]
        least = min(sum(A[s[t], s[t + 1]] for t in range(3)) for s in fits)
        assert float(found.energy[row]) == pytest.approx(least, abs=1e-12)


def test_free_energies_are_differentiable() -> None:
    h = torch.tensor(np.random.default_rng(5).normal(size=(2, 3, 3)), requires_grad=True)
    found = ebmlang.load(ISING).marginal(h=h)
    found.energy.sum().backward()
    assert h.grad is not None
    torch.testing.assert_close(h.grad, 1 - 2 * found["s"][..., 1].detach(), rtol=1e-10, atol=1e-10)


def test_impossible_rows_say_so() -> None:
    text = (
        "model m() { observed a : bool; latent s : bool; energy e = where(a, inf, 0) + 0 * s; marginalize s }"
    )
    found = ebmlang.loads(text.replace("; ", "\n ").replace("{", "{\n").replace("}", "\n}")).marginal(
        a=[True, False], dtype="float64"
    )
    assert found.status[0].startswith("impossible")
    assert found.status[1].startswith("exact")
    assert float(found.log_z[1]) == pytest.approx(np.log(2))


def test_what_is_too_wide_is_refused() -> None:
    text = "model m(n: int) {\n shared observed W : real[n, n]\n latent s : bool[n]\n energy e = s @ W @ s\n}"
    with pytest.raises(DataError, match=r"s cannot be summed out exactly: elimination has width 59"):
        ebmlang.loads(text).marginal(W=np.ones((60, 60)))


def test_the_command_writes_and_prints(tmp_path: Path) -> None:
    data = tmp_path / "calls.npz"
    np.savez(data, john=[True, True], mary=[True, False])
    out = tmp_path / "out.npz"
    words = ["marginal", str(ALARM), "--data", str(data), "--given", "john,mary", "-o", str(out), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "ebmlang", *words, "--dtype", "float64"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["rows"] == 2
    assert shown["method"] == "elimination"
    stored = np.load(out)
    assert stored["marginal.burglary"].shape == (2, 2)
    assert stored["marginal.burglary"][0, 1] == pytest.approx(0.2841718353643929, abs=1e-9)


WHOLE = """model whole(k: int = 3) {
  observed x : real[2]
  latent   c : class[k]
  latent   on : bool[2]
  param    A : real[k, 2, 2] = normal()
  energy fit  = 1/2 * ||A[c] @ x||^2 - logabsdet(A[c]) + logsumexp(on * x)
  marginalize c, on
}
"""


def test_sums_over_whole_assignments_have_gradients() -> None:
    """A log-sum-exp of unknowns is no sum of tables, so assignments are gone through; gradients reach what is
    given."""
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 2))).requires_grad_()
    model = ebmlang.loads(WHOLE).bind(x=x)
    A = model.value("A")
    found = model.marginal(x=x)
    assert found.method == "enumeration"
    squares = torch.einsum("kij,bj->bki", A, x).square().sum(2) / 2
    energies = squares - torch.linalg.slogdet(A).logabsdet
    on = torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0)).double()
    want = -(-energies).logsumexp(1) - (-(on * x[:, None]).logsumexp(2)).logsumexp(1)
    torch.testing.assert_close(found.energy, want)
    weights = torch.arange(1.0, 5.0, dtype=torch.float64)
    ours = torch.autograd.grad((weights * found.energy).sum(), (A, x))
    theirs = torch.autograd.grad((weights * want).sum(), (A, x))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_preset_parameters_have_gradients_from_the_first_question_on() -> None:
    model = ebmlang.loads(WHOLE)
    model.preset({"A": np.stack([np.eye(2), 2 * np.eye(2), np.ones((2, 2)) + np.eye(2)])})
    (grad,) = torch.autograd.grad(
        model.marginal(x=np.ones((1, 2)), dtype="float64").energy.sum(), model.value("A")
    )
    assert bool((grad != 0).any())
