"""How the search of a `solve` runs and what is said of it: failures, memory, shared rows, `explain`."""

from __future__ import annotations

import gc
import resource

import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang import testing
from ebmlang.compiler import pipeline
from ebmlang.runtime.nested import implicit, question
from ebmlang.testing.case import CheckFailed
from tests.composition.parts import RIDGE, SMOOTH
from tests.draws import normal
from tests.reference import Reference

F64 = torch.float64


def test_a_search_that_fails_is_said() -> None:
    text = (
        RIDGE.replace("lam / 2", "(lam - 1) / 2")
        + """
    model outer(n: int, k: int) {
      observed A : real[n, k];  observed y : real[n];  observed lam : real in positive
      latent s : real
      solve ridge as p with A = A, y = y, lam = lam
      energy e = (s - p.z[0])^2
      infer s
    }
    """
    )
    model = ebmlang.loads(text)
    a = torch.zeros(2, 3, 2, dtype=F64)
    y, lam = normal(2, 3), torch.tensor([2.0, 0.5], dtype=F64)
    found = model.infer(A=a, y=y, lam=lam)
    assert found.converged.tolist() == [True, False]
    assert "nested search of `p`" in found.status[1]
    assert "unbounded" in found.status[1]
    assert "1 of 2 rows" in found.certificate
    with pytest.warns(RuntimeWarning, match="nested search of `p` failed in 1 rows"):
        model.energy(A=a, y=y, lam=lam, s=torch.zeros(2, dtype=F64))


def test_a_start_with_an_infinite_slope_is_said() -> None:
    model = ebmlang.loads("""
    model root { observed y : real;  latent z : real;  energy steep = sqrt(z - y) }
    model outer {
      observed y : real
      latent s : real
      solve root as p with y = y
      energy e = (s - p.z)^2
      infer s
    }
    """)
    found = model.infer(y=torch.zeros(1, dtype=F64))
    assert not found.converged[0]
    assert "non-finite gradient in term 'steep'" in found.status[0]


TUNED = (
    RIDGE
    + """
    model outer(n: int, k: int) {
      shared observed A : real[n, k];  observed y : real[n]
      latent l : real
      solve ridge as p with A = A, y = y, lam = exp(l)
      energy e = sum(p.z ^ 2)
      infer l
    }
    """
)


def test_a_thousand_solves_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ebmlang.loads(TUNED)
    a, y, log = normal(4, 2), normal(1, 4, seed=1), normal(1, seed=2).requires_grad_()

    def solves(count: int) -> tuple[int, int]:
        for _ in range(count):
            model.energy(A=a, y=y, l=log).sum().backward()
        gc.collect()
        tensors = sum(issubclass(type(x), Tensor) for x in gc.get_objects())
        return tensors, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    first, before = solves(50)
    monkeypatch.setattr(pipeline, "generate_for", lambda plan: pytest.fail("compiled again"))
    last, after = solves(1000)
    assert last == first
    assert after - before < 16 * 1024


def test_rows_that_share_their_inputs_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        RIDGE
        + """
    model outer(n: int, k: int) {
      shared observed A : real[n, k];  shared observed y : real[n];  observed x : real
      latent l : real
      solve ridge as p with A = A, y = y, lam = 2
      energy e = (l - x * p.z[0])^2
      infer l
    }
    """
    )
    rows: list[int] = []
    search = question.Question.search

    def counted(self: question.Question, reals: tuple[Tensor, ...]) -> question.Found:
        rows.append(self.rows)
        return search(self, reals)

    monkeypatch.setattr(question.Question, "search", counted)
    found = ebmlang.loads(text).infer(A=normal(4, 2), y=normal(4, seed=1), x=normal(7, seed=2))
    assert found["p.z"].shape == (2,)
    assert found["l"].shape == (7,)
    assert set(rows) == {1}
    assert len(rows) <= 3  # for the size of chunks, for the answer, and to see how it ended


def test_the_check_of_gradients_sees_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ebmlang.loads(TUNED)
    values = {"A": normal(3, 2), "y": normal(2, 3, seed=1), "l": normal(2, seed=2)}
    assert testing.check_gradient(model, values)["entries compared"] > 0
    right = implicit._adjoint
    monkeypatch.setattr(implicit, "_adjoint", lambda *a: (right(*a)[0] * 1.01, None))
    with pytest.raises(CheckFailed, match="finite differences"):
        testing.check_gradient(model, values)


def test_against_the_slow_evaluator() -> None:
    text = (
        SMOOTH
        + """
    model outer(n: int, C: int) {
      observed U : real[C, n]
      latent l : real
      for c in 0..C {
        solve smooth as p[c] with u = U[c] + l, w = exp(l) / (c + 1)
        energy e[c] = ||p[c].s||^2
      }
      infer l
    }
    """
    )
    model = ebmlang.loads(text)
    u, log = normal(1, 2, 3), normal(1, seed=1)
    slow = Reference(model.checked, {"n": 3, "C": 2}, {}, [{"U": u[0].numpy(), "l": log[0].numpy()}])
    expected = slow.term(model.checked.terms[0], 0)
    assert float(model.energy(U=u, l=log)) == pytest.approx(expected, rel=1e-6)


def test_single_precision() -> None:
    model = ebmlang.loads(TUNED.replace("sum(p.z ^ 2)", "||p.z||^2 + 1/8 * (l - 1)^2"))
    a, y = normal(6, 3), normal(4, 6, seed=1)
    wide = model.infer(A=a, y=y)
    narrow = model.infer(A=a.float(), y=y.float())
    assert narrow["p.z"].dtype == torch.float32
    assert bool(wide.converged.all())
    torch.testing.assert_close(narrow["l"].double(), wide["l"], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(narrow.energy.double(), wide.energy, rtol=1e-5, atol=1e-6)


def test_what_explain_says() -> None:
    text = (
        RIDGE
        + """
    import std.attention
    model lasso(n: int, k: int) {
      observed A : real[n, k];  observed y : real[n];  observed lam : real in nonnegative
      latent z : real[k] = 0
      energy fit = 1/2 * ||A @ z - y||^2
      regularizer sparse = lam * ||z||_1
    }
    model outer(n: int, k: int) {
      shared observed A : real[n, k];  observed y : real[n];  observed x : real[k]
      latent l : real
      solve ridge as p with A = A, y = y, lam = exp(l)
      solve lasso as q with A = A, y = y, lam = 2
      solve lasso as r with A = A, y = y, lam = 2 using unroll(steps = 3, through = 2)
      solve ridge as s with A = A, y = y, lam = 1 using lbfgs
      solve attention as att with q = x, K = A, V = A
      energy e = sum(p.z * q.z * r.z * s.z * att.y) + l^2
      infer l
    }
    """
    )
    found = " ".join(ebmlang.loads(text).explain().split())
    assert "solve p: implicit, ridge over z by quadratic" in found
    assert "solve q: implicit, lasso over z by fista" in found
    assert "of the entries that are not 0" in found
    assert "solve r: unrolled, 3 steps of projected gradient, the last 2 differentiated," in found
    assert "solve s: implicit, ridge over z by lbfgs (asked for by name)" in found
    assert "solve att: closed form, c = softmax(" in found
    assert "method lbfgs" in found
    assert "gauss_newton: the Jacobian of a nested minimum is not written down" not in found


@pytest.mark.parametrize(
    ("inner", "grade"),
    [
        ("latent z : real; energy e = (z - q)^2 + z^4", "piecewise smooth"),
        ("latent z : real in nonnegative; energy e = (z - q)^2 + z^4", "kinks"),
        ("latent z : real; energy e = (z - |q|)^2 + z^4", "kinks"),
        ("latent z : real; energy e = (z - q)^2 + z^4 + |z|", "kinks"),
        ("latent z : real; energy e = (z^2 - q)^2", "kinks"),
        ("latent z : real; energy e = (z - q)^2; subject to c : z <= 1", "kinks"),
        ("latent z : real[2]; energy e = ||z - q||^2; subject to c : sum(z) == q", "piecewise smooth"),
        ("latent z : real[2]; energy e = ||z - q||^2; subject to c : ||z||^2 == q", "kinks"),
        ("latent z : bool; energy e = where(z, q, 0.0)", "steps"),
    ],
)
def test_how_smooth_an_answer_is(inner: str, grade: str) -> None:
    """A claim that an energy is smooth must be true: an answer bends where it reaches a bound."""
    text = (
        f"model inner {{ observed q : real; {inner} }}"
        + """
    model outer {
      latent q : real
      solve inner as p with q = q
      energy e = where(p.z > 0, 1.0, 2.0) + q^2
      infer q
    }
    """
    )
    value = "sum(p.z)" if "real[2]" in inner else "p.z"
    text = text.replace("where(p.z > 0, 1.0, 2.0)", value if grade != "steps" else "where(p.z, 1.0, 2.0)")
    findings = ebmlang.loads(text).choice().structure.findings
    assert grade in [f.property for f in findings]
