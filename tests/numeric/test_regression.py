"""Ridge, lasso, logistic regression and non-negative least squares against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.linear_model import Lasso, LogisticRegression, Ridge

from tests.numeric.gallery import Array, breast_cancer, diabetes, load, relative, standardised


def regression_data(name: str) -> tuple[Array, Array]:
    if name == "diabetes":
        return diabetes()
    x, y = breast_cancer()
    return standardised(x), y.astype(np.float64)


DATA = ("diabetes", "breast_cancer")


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("lam", [0.1, 10.0])
@pytest.mark.parametrize(("dtype", "tol", "bound"), [("float64", 1e-11, 1e-8), ("float32", 1e-6, 1e-3)])
def test_ridge_equals_scikit_learn(data: str, lam: float, dtype: str, tol: float, bound: float) -> None:
    x, y = regression_data(data)
    expected = Ridge(alpha=lam, solver="svd").fit(x, y)
    found = load("ridge", lam=lam).infer(X=x, y=y, dtype=dtype, tol=tol)
    assert relative(found.w[0], expected.coef_) < bound
    assert float(found.b[0]) == pytest.approx(expected.intercept_, rel=bound)
    if dtype == "float64":
        assert bool(found.converged.all()), found.status


def test_ridge_of_many_responses_is_each_by_itself() -> None:
    x, y = diabetes()
    responses = np.stack([y, -2 * y, np.sqrt(y)])
    found = load("ridge", lam=0.5).infer(X=x, y=responses, dtype="float64", tol=1e-11)
    expected = Ridge(alpha=0.5, solver="svd").fit(x, responses.T)
    for row in range(3):
        assert relative(found.w[row], expected.coef_[row]) < 1e-8


def test_a_badly_conditioned_search_says_that_it_did_not_end() -> None:
    # Features from 1e-3 to 4e3: the Hessian has a condition number of about 1e12.
    x, y = breast_cancer()
    model = load("ridge")
    expected = Ridge(alpha=1.0, solver="svd").fit(x, y)
    found = model.infer(X=x, y=y, dtype="float64", steps=300, using="lbfgs")
    assert not bool(found.converged.any())
    assert found.status == ("step limit reached before the tolerance",)
    optimum = model.energy(X=x, y=y, w=expected.coef_[None], b=[expected.intercept_], dtype="float64")
    start = model.energy(X=x, y=y, w=np.zeros((1, 30)), b=[y.mean()], dtype="float64")
    assert float(optimum) <= float(found.energy) < float(start)


def test_a_badly_conditioned_quadratic_is_solved() -> None:
    x, y = breast_cancer()
    expected = Ridge(alpha=1.0, solver="svd").fit(x, y)
    found = load("ridge").infer(X=x, y=y, dtype="float64")
    assert found.method == "quadratic"
    assert relative(found.w[0], expected.coef_) < 1e-8
    assert bool(found.converged.all()), found.status


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("lam", [0.03, 0.3])
def test_lasso_equals_scikit_learn(data: str, lam: float) -> None:
    x, y = regression_data(data)
    lam = lam if data == "diabetes" else lam / 10
    expected = Lasso(alpha=lam, tol=1e-14, max_iter=1_000_000).fit(x, y)
    found = load("lasso", lam=lam).infer(X=x, y=y, dtype="float64", tol=1e-11)
    assert bool(found.converged.all()), found.status
    assert found.method == "fista"
    assert relative(found.w[0], expected.coef_) < 1e-6
    assert np.array_equal(found.w[0].numpy() == 0, expected.coef_ == 0)
    assert float(found.b[0]) == pytest.approx(expected.intercept_, rel=1e-9)


def test_lasso_in_single_precision() -> None:
    x, y = diabetes()
    expected = Lasso(alpha=0.3, tol=1e-14, max_iter=1_000_000).fit(x, y)
    found = load("lasso", lam=0.3).infer(X=x, y=y, dtype="float32")
    assert relative(found.w[0], expected.coef_) < 1e-3
    assert np.array_equal(found.w[0].numpy() == 0, expected.coef_ == 0)


def test_lasso_of_a_large_weight_is_zero() -> None:
    x, y = diabetes()
    largest = float(np.abs(x.T @ (y - y.mean())).max() / len(y))
    assert float(load("lasso", lam=largest * 1.001).infer(X=x, y=y, dtype="float64").w.abs().sum()) == 0.0
    assert float(load("lasso", lam=largest * 0.999).infer(X=x, y=y, dtype="float64").w.abs().sum()) > 0.0


@pytest.mark.parametrize("lam", [0.1, 1.0])
@pytest.mark.parametrize(("dtype", "tol", "bound"), [("float64", 1e-11, 1e-7), ("float32", 1e-6, 1e-3)])
def test_logistic_equals_scikit_learn(lam: float, dtype: str, tol: float, bound: float) -> None:
    x, y = breast_cancer()
    reference = LogisticRegression(C=1 / lam, tol=1e-13, max_iter=1000, solver="newton-cholesky")
    expected = reference.fit(standardised(x), y)
    found = load("logistic", lam=lam).infer(X=x, y=y, dtype=dtype, tol=tol)
    assert relative(found.w, expected.coef_[0]) < bound
    assert float(found.b) == pytest.approx(expected.intercept_[0], rel=10 * bound)
    right = float(((found.score.numpy() > 0) == (y == 1)).mean())
    most_frequent = float(np.bincount(y).max() / len(y))
    assert most_frequent < 0.65
    assert right > 0.98
    if dtype == "float64":
        assert bool(found.converged.all()), found.status


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(("dtype", "tol", "bound"), [("float64", 1e-11, 1e-7), ("float32", 1e-6, 1e-2)])
def test_nnls_equals_scipy(data: str, dtype: str, tol: float, bound: float) -> None:
    x, y = regression_data(data)
    expected, residual = nnls(x, y)
    found = load("nnls").infer(X=x, y=y, dtype=dtype, tol=tol)
    assert float(found.w.min()) >= 0.0
    assert relative(found.w[0], expected) < bound
    assert float(found.energy[0]) == pytest.approx(residual**2 / 2, rel=1e-10 if dtype == "float64" else 1e-5)
    if dtype == "float64":
        assert np.array_equal(found.w[0].numpy() == 0, expected == 0)
        assert bool(found.converged.all()), found.status
