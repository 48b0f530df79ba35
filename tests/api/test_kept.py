"""What a model keeps from one question to the next, and reports that wait: nothing is ever out of date."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang.runtime import ask, outright
from ebmlang.runtime.driver import Outcome, solve
from ebmlang.runtime.result import Result, Status

RIDGE = """
model ridge(m: int, n: int, lam: real in nonnegative = 0.5) {
  shared observed X : real[m, n]
  observed        y : real[m]
  latent          w : real[n] = 0
  latent          b : real = mean(y)
  let fitted = X @ w + b
  let steep = sum(X^2)
  energy      fit  = 1/2 * ||y - fitted||^2
  regularizer size = lam / 2 * ||w||^2
  infer w, b
}
"""

LQR = """
model lqr(d: int, m: int, T: int = 6) {
  shared observed A : real[d, d]; shared observed B : real[d, m]
  observed s0 : real[d]
  latent a : real[T, m] = 0
  let s : real[T+1, d]
  let s[0] = s0
  for t in 0..T   { let s[t+1] = A @ s[t] + B @ a[t]; cost input[t] = ||a[t]||^2 }
  for t in 0..T+1 { cost distance[t] = ||s[t]||^2 }
  infer a
}
"""

CODES = """
model codes(n: int, k: int = 3) {
  observed y : real[n]
  latent   z : real[k] = 0
  param    D : real[n, k] = normal()
  energy fit  = ||y - D @ z||^2
  energy size = 0.1 * ||z||^2
  infer z
}
"""


def drawn(*shapes: tuple[int, ...], seed: int = 0) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def ridge_values() -> dict[str, Any]:
    X, y = drawn((12, 4), (5, 12))
    return {"X": X, "y": y}


def lqr_values() -> dict[str, Any]:
    A, B, s0 = drawn((3, 3), (3, 2), (4, 3))
    return {"A": A / np.abs(np.linalg.eigvals(A)).max(), "B": B, "s0": s0}


CASES = [(RIDGE, ridge_values, "w"), (LQR, lqr_values, "a")]
cases = pytest.mark.parametrize(("text", "values", "sought"), CASES, ids=["ridge", "lqr"])
Values = Callable[[], dict[str, Any]]


def searched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answer by the search from here on; the methods of searches are entered into the list."""
    monkeypatch.setattr(outright, "METHODS", {})
    return searches(monkeypatch)


def searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods of searches from here on."""
    found: list[str] = []
    real = ask.searched

    def noted(*arguments: Any, **options: Any) -> Any:
        outcome = real(*arguments, **options)
        found.append(outcome[1])
        return outcome

    monkeypatch.setattr(ask, "searched", noted)
    return found


def same(a: Result, b: Result, rtol: float = 1e-9) -> None:
    assert list(a.values) == list(b.values)
    for name in a.values:
        assert torch.allclose(a[name], b[name], rtol=rtol, atol=rtol), name
    for mine, theirs in ((a.terms, b.terms), (a.factors, b.factors), (a.batch_terms, b.batch_terms)):
        assert list(mine) == list(theirs)
        for name in mine:
            assert torch.allclose(mine[name], theirs[name], rtol=rtol, atol=rtol), name
    assert torch.allclose(a.energy, b.energy, rtol=rtol)
    assert (a.shared, a.status, a.method, a.because) == (b.shared, b.status, b.method, b.because)
    assert a.certificate == b.certificate
    assert a.converged.tolist() == b.converged.tolist()
    assert a.iterations.tolist() == b.iterations.tolist()


@cases
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 2e-5)])
def test_an_answer_without_a_search_is_that_of_the_search(
    text: str, values: Values, sought: str, dtype: str, rtol: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = searches(monkeypatch)
    found = ebmlang.loads(text).infer(values(), dtype=dtype)
    assert found.pending
    assert not methods
    methods = searched(monkeypatch)
    other = ebmlang.loads(text).infer(values(), dtype=dtype)
    assert methods
    same(found, other, rtol)
    assert not found.pending


@cases
def test_a_report_that_waits_is_of_the_values_as_they_were(text: str, values: Values, sought: str) -> None:
    model = ebmlang.loads(text)
    fresh = ebmlang.loads(text).infer(values(), dtype="float64")
    energy, terms = fresh.energy, fresh.terms
    for passed in (values(), {n: torch.from_numpy(v) for n, v in values().items()}):
        found = model.infer(passed, dtype="float64")
        for value in passed.values():
            value *= 3.0
        found[sought].zero_()
        assert found.pending
        assert torch.equal(found.energy, energy)
        assert all(torch.equal(found.terms[n], terms[n]) for n in terms)
        assert not found[sought].any()


@cases
def test_values_changed_in_place_are_other_values(text: str, values: Values, sought: str) -> None:
    model, given = ebmlang.loads(text), values()
    model.infer(given, dtype="float64")
    for name in given:
        given[name] *= 0.7
        again = ebmlang.loads(text).infer({n: v.copy() for n, v in given.items()}, dtype="float64")
        same(model.infer(given, dtype="float64"), again, 0.0)


def test_parameters_changed_in_place_are_other_parameters() -> None:
    (y,) = drawn((4, 5))
    model = ebmlang.loads(CODES)
    first = model.infer(y=y, dtype="float64")
    D = model.value("D").detach()
    energy = float(((torch.from_numpy(y) - first.z @ D.T) ** 2).sum() + 0.1 * (first.z**2).sum())
    with torch.no_grad():
        model.value("D").mul_(2.0)
    assert float(first.energy.sum()) == pytest.approx(energy, rel=1e-12)
    second = model.infer(y=y, dtype="float64")
    wide = model.value("D").detach().numpy()
    best = np.linalg.solve(wide.T @ wide + 0.1 * np.eye(3), wide.T @ y.T).T
    assert np.allclose(second.z.numpy(), best, rtol=1e-9)


def test_every_precision_and_shape_has_an_answer_of_its_own() -> None:
    model = ebmlang.loads(RIDGE)
    for rows, m, n in ((1, 6, 2), (3, 6, 2), (3, 9, 4), (1, 6, 2)):
        X, y = drawn((m, n), (rows, m), seed=rows + m)
        for dtype in ("float32", "float64"):
            found = model.infer(X=X, y=y, dtype=dtype)
            fresh = ebmlang.loads(RIDGE).infer(X=X, y=y, dtype=dtype)
            assert found.w.dtype == getattr(torch, dtype)
            same(found, fresh, 0.0)


def test_an_array_that_is_a_hyperparameter_may_change_in_place() -> None:
    energy = "energy e = ||x - y - c||^2"
    text = f"model m(c: real[2]) {{ observed y : real[2]; latent x : real[2]; {energy}; infer x }}"
    c = np.array([1.0, 2.0])
    model = ebmlang.loads(text, c=c)
    y = np.zeros((1, 2))
    assert model.infer(y=y, dtype="float64").x.numpy() == pytest.approx(np.array([[1.0, 2.0]]))
    c *= 2
    assert model.infer(y=y, dtype="float64").x.numpy() == pytest.approx(np.array([[2.0, 4.0]]))


@cases
def test_results_that_wait_can_be_copied_and_pickled(text: str, values: Values, sought: str) -> None:
    plain = ebmlang.loads(text).infer(values(), dtype="float64")
    for again in (copy.deepcopy(plain), copy.copy(plain), pickle.loads(pickle.dumps(plain))):
        same(again, plain, 0.0)
    other = ebmlang.loads(text).infer(values(), dtype="float64")
    assert {*other.values} == {*plain.values}
    assert len(other.values) == len(plain.values)


def test_large_values_are_reported_at_once() -> None:
    X, y = drawn((400, 3), (100, 400))
    assert not ebmlang.loads(RIDGE).infer(X=X, y=y, dtype="float64").pending


SINGULAR = "model m { observed y : real; latent x : real[2]; energy e = (x[0] - x[1] - y)^2; infer x }"
FALLING = "model m { observed y : real; latent x : real[2]; energy e = x[0]^2 - x[1]^2 + y * x[0]; infer x }"
SLANTED = "model m { observed y : real; latent x : real[2]; energy e = (x[0] - y)^2 + x[1]; infer x }"


@pytest.mark.parametrize(
    ("text", "status"),
    [(SINGULAR, "converged: a minimum, one of many"), (FALLING, "unbounded"), (SLANTED, "unbounded")],
)
def test_what_is_out_of_the_ordinary_is_left_to_the_search(text: str, status: str) -> None:
    found = ebmlang.loads(text).infer(y=np.ones(2), dtype="float64")
    assert all(s.startswith(status) for s in found.status), found.status


def test_nearly_singular_matrices_are_left_to_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    from ebmlang.runtime import ask

    asked: list[str] = []

    def counted(*args: Any, **kwargs: Any) -> Outcome:
        asked.append("search")
        return solve(*args, **kwargs)

    monkeypatch.setattr(ask, "solve", counted)
    energy = "energy e = (x[0] - x[1] - y)^2 + c * x[1]^2"
    text = f"model m(c: real) {{ observed y : real; latent x : real[2]; {energy}; infer x }}"
    for c, searches in ((1e-1, 0), (1e-15, 1)):
        asked.clear()
        ebmlang.loads(text, c=c).infer(y=np.ones(1), dtype="float64")
        assert len(asked) == searches


def test_an_energy_that_is_not_finite_is_named() -> None:
    text = "model m { observed y : real; latent x : real; energy e = (x - y)^2; energy f = log(y); infer x }"
    found = ebmlang.loads(text).infer(y=np.array([1.0, -1.0]), dtype="float64")
    assert found.converged.tolist() == [True, False]
    assert "in term 'f'" in found.status[1]
    assert found.status[0] == Status.CONVERGED.sentence()


CHAIN = """
model chain(T: int) {
  observed y : real[T]
  latent   x : real[T] = y
  for t in 0..T   { energy data[t] = huber(x[t] - y[t]) }
  for t in 0..T-1 { energy link[t] = huber(x[t+1] - x[t]) }
  infer x
}
"""


def test_a_search_leaves_its_report_for_later_too(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = searches(monkeypatch)
    (y,) = drawn((3, 20))
    found = ebmlang.loads(CHAIN).infer(y=y, dtype="float64")
    assert methods
    assert found.pending
    x, seen = found.x.numpy().copy(), y.copy()
    y *= 3.0
    found.x.zero_()

    def huber(r: Any) -> Any:
        return np.where(np.abs(r) <= 1, 0.5 * r * r, np.abs(r) - 0.5)

    links = huber(np.diff(x, axis=1))
    assert np.abs(found.factors["link"].numpy() - links).max() <= 1e-12
    assert np.abs(found.energy.numpy() - huber(x - seen).sum(1) - links.sum(1)).max() <= 1e-10
