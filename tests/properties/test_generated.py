"""Generated PyTorch = the slow reference evaluator, on random models and on chosen ones."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from ebmlang.errors import DataError
from ebmlang.runtime.posing import held_values
from tests.properties.energies import DECLARATIONS, HEAD, REALS, UNKNOWN, Models, values
from tests.properties.generated import (
    Asked,
    Rejected,
    check_text,
    checked,
    close,
    compare,
    derivatives,
    gradient,
    loop,
    split,
)

EVERYTHING = tuple(dict.fromkeys(n for names in REALS.values() for n in names if n not in ("lam", "h")))


@settings(max_examples=60)
@given(st.data(), st.integers(0, 10_000))
def test_random_models(data: st.DataObject, seed: int) -> None:
    models = Models(lambda n: data.draw(st.integers(0, n - 1)))
    try:
        check_text(models.model(2), seed)
    except Rejected:
        reject()


def model(*lines: str) -> str:
    body = "\n  ".join(lines)
    return f"model chosen{HEAD} {{{DECLARATIONS}\n  {body}\n}}\n"


def examine(text: str, sought: Sequence[str], repeated: tuple[str, ...] = (), seed: int = 0) -> Asked:
    """One model with chosen unknowns: all that must hold of it."""
    rng = np.random.default_rng(seed)
    shared, rows = values(rng, 3)
    asked = Asked(checked(text), tuple(sought))
    compare(asked, shared, rows)
    same = [{**r, **{n: rows[0][n] for n in repeated}} for r in rows]
    compare(asked, shared, same, repeated)
    loop(asked, shared, rows)
    gradient(asked, shared, rows, rng)
    derivatives(asked, shared, rows, rng)
    split(asked, shared, same, repeated)
    return asked


VECTORS = {"per example": "x", "given": "y", "shared": "v", "in a plate": "Q[t]", "hyper": "h"}
MATRICES = {"per example": "A", "given": "Q", "shared": "X"}


@pytest.mark.parametrize(
    ("left", "right"), list(itertools.product([*VECTORS.values(), *MATRICES.values()], repeat=2))
)
def test_products_of_all_ranks(left: str, right: str) -> None:
    product = f"({left}) @ ({right})"
    plate = f"for t in 0..n {{ energy e[t] = sum(sin({product})) + sum({left} * 2) }}"
    for sought in (("x", "A"), ()):
        examine(model(plate, f"let d = {product}" if "t" not in product else "let d = u"), sought, ("y", "Q"))


@pytest.mark.parametrize("matrix", ["A", "X", "Q"])
@pytest.mark.parametrize("right", ["x", "v", "X", "A", "B.T", "P"])
def test_systems_with_few_and_many_rows(matrix: str, right: str) -> None:
    system = f"linear_solve(4 * identity(n) + 0.3 * {matrix}, {right})"
    examine(model(f"energy e = sum(sin({system}))", f"let d = {system}"), ("x", "A"), ("Q", "B"))


@pytest.mark.parametrize(
    "line",
    [
        "for t in 0..n, w in 0..n { energy e[t, w] = A[t, w] * A[w, t] * A[t, t] }",
        "for t in 0..n { energy e[t] = A[n - 1 - t, 0] + x[(t + 1) % n] }",
        "for t in 0..m { energy e[t] = U[0, t, 2 * t] * x[2 * t] }",
        "for t in 1..n if t != 1 { energy e[t] = x[t] * x[t - 1] }",
        "for t in 0..n if b[t] { energy e[t] = x[t] * sum(A[t, i] * y[i], over = i in 0..n if i > t) }",
        "for (i, j) in edges if i != j { energy e[i, j] = (x[i] - x[j])^2 * U[1, 0, j] }",
        "for (i, j) in edges if b[i] { energy e[i, j] = (x[i] - x[j])^2 }",
        "for t in 0..n { energy e[t] = r[cs[t]] * x[t] }",
        "for t in 0..n { energy e[t] = sum(P[at, 0]) * x[t] + Q[at[0], t] }",
        "energy e = r[c] + sum(r[cs] * x) + sum(A[edges[0..n, 1]]) + sum(gather(A, at))",
        "energy e = logsumexp(-(r[c] - u)^2, over = c) + sum(onehot(c, 3) * r)",
        "energy e = sum(x[i] * y[i + 1], over = i in 0..n if i < n - 1)",
        "energy e = sum(x[i] * y[i + 1], over = i in 0..n if i < n - 1 and b[i])",
        "energy e = sum((x > 0) + (y > 0) * 2) * s",
        "for t in 0..n { energy e[t] = t * x[|t - 1|] + x[t // 2] + x[max(t, 1) - 1] }",
        "for t in 0..n if X[t, 0] > 0 { energy e[t] = x[t] }",
        "energy e = (A @ x)[0] * s * (y @ Q @ x) - (s - (u - s)) / (2 / (1 + s^2))",
        "energy e = (x with y = x)[0] + ((y[1] with y = x) with x = 2 * v)",
        "let d = A @ x\n  energy e = sum(d * d)\n  energy f = (sum(d) with x = y) * s",
        "for t in 0..n { let d[t] = x[t] * y\n energy e[t] = sum(d[t]) }\n  energy f = sum(d) + d[0, 1]",
        "batch energy e = sum(var(x, over = batch)) + trace(cov(x, over = batch)) + mean(s, over = batch) * sum(p)",
        "energy e = lam * ||x||_1 + sum((y - A @ x)^2)",
        "for t in 0..n { energy e[t] = (1 + v[t]^2) * |x[t]| + (x[t] - y[t])^2 }",
        "energy e = ||y - p||^2 + lam * ||p||_1 + 2 * ||p||^2",
        "energy e = ||y - p||^2 + u^2 * ||p||_1 + y[0] * s",
        "energy e = sum(sort(x)) + sum(cumsum(A, over = 0)) + sum(std(A, over = 0))",
        "energy e = sum([x, y, v] @ [s, u, 1]) if_not".replace(" if_not", "").replace(
            "[x, y, v]", "[x, y, v].T"
        ),
        "energy e = sum(stack(x, v)) + sum(concat(x, v) * concat(v, y)) + sum(concat(A, X))",
        "energy e = where(c == 1, s, u) * where(flag, s, 2) + clamp(s, -lam, u)",
        "energy e = 1 / (lam - lam) * 0 + s",
        "energy e = log(lam - 2) * 0 + s * sqrt(lam)",
        "energy e = s * (2 ^ -1) + 3 ^ 2 * s + (-2) ^ 3 * u",
        "for t in 0..n { energy e[t] = dot(A[.., n - 1 - t], h)^2 * s }",
        "for t in 0..n if t % 2 == 0 { energy e[t] = dot(A[.., t], v) * s }",
        "for t in 0..n if b[t] and t % 2 == 0 { energy e[t] = sum(sin(Z[.., n - 1 - t])) }",
        "for t in 0..n { energy e[t] = dot(A[.., edges[t, 1]], x)^2 }",
        "for t in 0..n { energy e[t] = dot(A[1.., edges[t, 0]], x[1..])^2 }",
        "for t in 0..m { energy e[t] = sum(Z[.., 2 * t]^2) + sum(A[.., at] * A[at, ..].T)^2 * t }",
        "for t in 0..n { energy e[t] = sum(A[.., edges[0..n, 1]] * A[t, t])^2 + sum(A[.., (t + 1) % n])^3 }",
    ],
)
@pytest.mark.parametrize(
    "sought", [("x", "s", "A"), ("x", "p", "r"), (), EVERYTHING], ids=["some", "joint", "none", "all"]
)
def test_chosen_models(line: str, sought: tuple[str, ...]) -> None:
    examine(model(line), sought, ("y", "Q", "u", "c"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_dtype_everywhere(dtype: torch.dtype) -> None:
    text = model(
        "let a = sum(b) + n / 2",
        "let d = [1, 2] * lam",
        "for t in 0..n if sb[t] { energy e[t] = t * x[t] + where(b[t], 1, 2) + (y[t] > 0) + a }",
        "for t in 0..n if b[t] { energy f[t] = t }",
        "energy g = n // 2",
        "energy z = y[0] > 0",
        "energy w = onehot(c, 3) @ r + sum(identity(n)) + max(t % 2 * x[t], over = t in 0..n if b[t])",
    )
    shared, rows = values(np.random.default_rng(0), 3)
    asked = Asked(checked(text), ("x",), dtype)
    bound = asked.bound(shared, rows)
    held = held_values(bound)
    unknown = asked.unknown(bound)
    results = {
        **bound.instance.terms(unknown, held),
        **bound.instance.factors(unknown, held),
        "energy": bound.instance.energy(unknown, held),
    }
    assert {name: value.dtype for name, value in results.items()} == dict.fromkeys(results, dtype)
    for name in ("a", "d"):
        assert bound.instance.lets(unknown, held)[name].dtype == dtype
    assert all(v.dtype != torch.float64 or dtype == torch.float64 for v in held.values())


def test_index_out_of_range_is_named() -> None:
    shared, rows = values(np.random.default_rng(0), 2)
    shared["at"] = np.array([0, 7])
    with pytest.raises(DataError, match=r"at\[1\] reaches 7"):
        held_values(Asked(checked(model("energy e = x[at[1]]")), ("x",)).bound(shared, rows))


def test_division_of_integers_by_zero_is_named() -> None:
    shared, rows = values(np.random.default_rng(0), 2)
    text = model("for t in 0..n { energy e[t] = x[t] * (n // t) }")
    asked = Asked(checked(text), ("x",))
    with pytest.raises(DataError, match="divided by 0"):
        held_values(asked.bound(shared, rows))


def test_singular_matrix_spoils_only_its_row() -> None:
    shared, rows = values(np.random.default_rng(0), 2)
    rows[0]["Q"] = np.zeros((3, 3))
    asked = Asked(checked(model("energy e = sum(linear_solve(Q, x)) + sum(inverse(Q))")), ("x",))
    bound = asked.bound(shared, rows)
    energy = bound.instance.energy(asked.unknown(bound), held_values(bound))
    assert torch.isfinite(energy).tolist() == [False, True]


def test_everything_known_is_computed_once() -> None:
    text = model("energy e = ||Q @ y - x||^2 + sum(exp(y)) * s")
    asked = Asked(checked(text), ("x", "s"))
    shared, rows = values(np.random.default_rng(0), 2)
    held = held_values(asked.bound(shared, rows))
    terms = asked.text[asked.text.index("def terms") : asked.text.index("def energy")]
    assert "exp" not in terms
    assert "@" not in terms
    assert {"Q_y_rows", "e_sum"} <= held.keys()


def test_unread_values_are_not_prepared() -> None:
    asked = Asked(checked(model("for t in 0..n if sb[t] { energy e[t] = x[t] * t }")), ("x",))
    shared, rows = values(np.random.default_rng(0), 2)
    bound = asked.bound(shared, rows)
    for name in bound.instance.prepare(bound.values):
        assert f'held["{name}"]' in asked.text


def test_every_unknown_is_sought_somewhere() -> None:
    names = {n for group in REALS.values() for n in group}
    assert set(UNKNOWN) <= names


def test_reference_sees_a_wrong_value() -> None:
    """The comparison itself can fail."""
    wrong: Any = np.array([1.0, 2.0 + 1e-5])
    with pytest.raises(AssertionError, match="reference"):
        close(wrong, np.array([1.0, 2.0]), "a value")


def test_rows_of_prepared_values_are_known() -> None:
    """What differs by example is listed, also index tensors: solvers take rows out of it."""
    lines = (
        "energy e = x[argmax(y)] * sum(A[argmax(y)])",
        "for t in 0..n { energy f[t] = A[t, (argmax(y) + t) % n] * (cs[t] == 1) }",
    )
    asked = Asked(checked(model(*lines)), ("x", "A"))
    shared, rows = values(np.random.default_rng(0), 5)
    bound = asked.bound(shared, rows)
    for name, value in bound.instance.prepare(bound.values).items():
        assert (name in asked.module.ROW_VALUES) == (value.ndim > 0 and value.shape[0] == 5)
