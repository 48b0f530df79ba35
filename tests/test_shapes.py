"""Random expressions against numpy: what the rules allow checks, with the shape that numpy computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.diagnose import checked, diagnose

SIZES = {"n": 7, "k": 11}
"""Numbers that no doubling of 1 or of the other one leads to: sizes that are equal are the same size."""
VARIABLES = {
    "s": (), "v": ("n",), "u": ("n",), "w": ("k",), "A": ("n", "k"), "B": ("k", "n"), "C": ("n", "n"),
    "R": (1, "k"), "L": ("n", 1), "Q": ("n", "k", "n"),
}  # fmt: skip

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class Value:
    """An expression of the language and what numpy makes of it."""

    text: str
    array: Array


def program(expression: str) -> str:
    lines = [f"observed {name} : real{list(dims) if dims else ''}" for name, dims in VARIABLES.items()]
    body = "\n".join(lines).replace("'", "")
    return f"model m(n: int, k: int) {{\n{body}\nlet found = {expression}\nenergy e = sum(found) + n * k\n}}"


def variable(name: str) -> Value:
    shape = tuple(d if isinstance(d, int) else SIZES[d] for d in VARIABLES[name])
    return Value(name, np.full(shape, 0.5))


def goes_together(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """The rule of the language: equal ranks with sizes equal or 1, or a scalar."""
    return (
        not a or not b or (len(a) == len(b) and all(x == y or 1 in (x, y) for x, y in zip(a, b, strict=True)))
    )


BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "({0} + {1})": np.add, "({0} - {1})": np.subtract, "({0} * {1})": np.multiply, "({0} / {1})": np.divide,
    "atan2({0}, {1})": np.arctan2, "max({0}, {1})": np.maximum, "where({0} > 0, {0}, {1})": np.add,
    "xlogy({0}, {1})": np.add,
}  # fmt: skip
UNARY: dict[str, Callable[[Array], Array]] = {
    "exp({0})": np.exp, "(-{0})": np.negative, "abs({0})": np.abs, "huber({0}, delta = 2)": np.abs,
    "clamp({0}, 0, 1)": np.abs, "sum({0})": np.sum, "mean({0})": np.mean, "norm({0})": np.sum,
    "logsumexp({0}[None, ..])": lambda a: np.sum(a[None], axis=-1),
}  # fmt: skip


@st.composite
def combined(draw: st.DrawFn, inner: st.SearchStrategy[Value]) -> Value:
    """One more operation, chosen among those that the shapes allow."""
    a, b = draw(inner), draw(inner)
    rank = a.array.ndim
    choices: list[Callable[[], Value]] = [
        lambda: _unary(draw, a),
        lambda: Value(f"[{a.text}, {a.text}]", np.stack([a.array] * 2)),
    ]
    if goes_together(a.array.shape, b.array.shape):
        choices.append(lambda: _binary(draw, a, b))
    if rank:
        choices += [lambda: _along(draw, a), lambda: _picked(draw, a)]
    if rank == 1:
        choices.append(lambda: Value(f"outer({a.text}, {a.text})", np.outer(a.array, a.array)))
        choices.append(lambda: Value(f"diag({a.text})", np.diag(a.array)))
    if rank >= 2:
        choices.append(lambda: Value(f"({a.text}).T", np.swapaxes(a.array, -1, -2)))
    if rank == 2:
        choices.append(
            lambda: Value(
                f"({a.text} @ {a.text}.T)" if a.text.isalpha() else f"({a.text} @ ({a.text}).T)",
                a.array @ a.array.T,
            )
        )
        choices.append(
            lambda: Value(
                f'einsum("ij,kj->ki", {a.text}, {a.text})', np.einsum("ij,kj->ki", a.array, a.array)
            )
        )
    if 1 <= rank <= 2 and 1 <= b.array.ndim <= 2 and a.array.shape[-1] == b.array.shape[0]:
        choices.append(lambda: Value(f"({a.text} @ {b.text})", np.asarray(a.array @ b.array)))
    return draw(st.sampled_from(choices))()


def _unary(draw: st.DrawFn, a: Value) -> Value:
    form = draw(st.sampled_from([f for f in UNARY if a.array.ndim or "logsumexp" not in f]))
    return Value(form.format(a.text), np.asarray(UNARY[form](a.array)))


def _binary(draw: st.DrawFn, a: Value, b: Value) -> Value:
    form = draw(st.sampled_from(sorted(BINARY)))
    return Value(form.format(a.text, b.text), np.asarray(BINARY[form](a.array, b.array)))


def _along(draw: st.DrawFn, a: Value) -> Value:
    axis = draw(st.integers(-a.array.ndim, a.array.ndim - 1))
    names = ["sum", "max", "softmax", "cumsum", "concat"]
    # A spread needs two entries; that it says so is tested elsewhere.
    names += ["std"] if a.array.shape[axis] > 1 else []
    match draw(st.sampled_from(names)):
        case "softmax":
            return Value(f"softmax({a.text}, over = {axis})", a.array)
        case "cumsum":
            return Value(f"cumsum({a.text}, over = {axis})", np.cumsum(a.array, axis=axis))
        case "concat":
            joined = np.concatenate([a.array, a.array], axis=axis)
            return Value(f"concat({a.text}, {a.text}, over = {axis})", joined)
        case name:
            return Value(f"{name}({a.text}, over = {axis})", np.asarray(np.sum(a.array, axis=axis)))


PICKED: dict[str, int | slice | None] = {
    "0": 0, "-1": -1, "..": slice(None), "0..1": slice(0, 1), "None": None,
    "1..": slice(1, None), "1..2": slice(1, 2), "..-1": slice(None, -1), "-2..": slice(-2, None),
}  # fmt: skip


def _picked(draw: st.DrawFn, a: Value) -> Value:
    """Subscripts for some of the dimensions, and new axes between them."""
    shown: list[str] = []
    index: list[int | slice | None] = []
    sizes = list(a.array.shape)
    for _ in range(draw(st.integers(1, a.array.ndim))):
        fits = [
            which for which in sorted(PICKED) if sizes[0] > 1 or which in ("0", "-1", "..", "0..1", "None")
        ]
        which = draw(st.sampled_from(fits))
        shown.append(which)
        index.append(PICKED[which])
        if which != "None":
            del sizes[0]
    return Value(f"{_postfix(a.text)}[{', '.join(shown)}]", np.asarray(a.array[tuple(index)]))


def _postfix(text: str) -> str:
    return text if text.isalpha() else f"({text})"


values = st.recursive(st.sampled_from(sorted(VARIABLES)).map(variable), combined, max_leaves=6)


@given(values)
@settings(max_examples=300)
def test_shapes_are_those_of_numpy(value: Value) -> None:
    found = checked(program(value.text)).lets[0].value.type
    assert tuple(size.evaluate(SIZES) for size in found.shape) == value.array.shape


@given(values, values, st.sampled_from(sorted(BINARY)))
@settings(max_examples=200)
def test_nothing_else_is_stretched(a: Value, b: Value, form: str) -> None:
    """numpy stretches more: a vector against a matrix is a mistake here, and said once."""
    report, models = diagnose(program(form.format(a.text, b.text)))
    if goes_together(a.array.shape, b.array.shape):
        assert [m.name for m in models] == ["m"]
    else:
        assert [d.diagnostic.code for d in report.diagnostics] == ["E0401"]


@pytest.mark.parametrize("left", sorted(VARIABLES))
@pytest.mark.parametrize("right", sorted(VARIABLES))
def test_matrix_products(left: str, right: str) -> None:
    a, b = variable(left).array, variable(right).array
    report, models = diagnose(program(f"{left} @ {right}"))
    allowed = 1 <= a.ndim <= 2 and 1 <= b.ndim <= 2 and a.shape[-1] == b.shape[0]
    # Sizes are names: only equal names are equal sizes.
    allowed = allowed and VARIABLES[left][-1] == VARIABLES[right][0]
    if allowed:
        shape = models[0].lets[0].value.type.shape
        assert tuple(size.evaluate(SIZES) for size in shape) == np.asarray(a @ b).shape
    else:
        assert [d.diagnostic.code for d in report.diagnostics] == ["E0402"]
