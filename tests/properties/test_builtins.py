"""Every row of the built-ins table: PyTorch = reference = sympy, and what the row claims is true."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy
import torch
from torch import Tensor

from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.builtins import TABLE, Builtin
from ebmlang.compiler.query import Query
from ebmlang.compiler.source import Source
from ebmlang.runtime.bind import Settings, bind
from ebmlang.runtime.generated import load_text
from ebmlang.runtime.posing import held_values
from tests.properties.generated import close
from tests.reference import Reference

POINTS = 25
NAMES = ("x", "y", "z")
DELTA = "1"
"""The default of huber's option, where a derivative is written with it."""

SCALARS = "observed x : real\n observed y : real\n observed z : real\n"
ARRAYS = (
    "observed x : real[4]\n observed y : real[4]\n observed p : real[4]\n observed A : real[3, 3]\n"
    "observed v : real[3]\n observed b : real[3]\n observed c : class[3]\n shared observed index : class[4][2]\n"
)
WITHOUT_EXAMPLE = ("written", "net", "derivative")

ENTRYWISE = tuple(
    r for r in TABLE if r.form in ("operator", "comparison", "elementwise") and r.name != "where"
)
ARRAY_FORMS = ("reduction", "axis", "matrix", "shape", "constructor")
ARRAYWISE = tuple(r for r in TABLE if r.form in ARRAY_FORMS)
DRAWS = tuple(r for r in TABLE if r.form == "distribution")


def ids(row: Builtin) -> str:
    return row.name


def compiled(expression: str, declarations: str, body: str = "") -> tuple[typed.Model, Any]:
    text = f"model m {{\n {declarations}\n let value = {expression}\n energy e = {body or 'x'} }}"
    found = pipeline.check_source(Source("<row>", text))
    assert not found.failed, [str(d.diagnostic) for d in found.diagnostics]
    generated = pipeline.generate_for(pipeline.plan_for(pipeline.graph_of(found.models[0]), Query(())))
    return found.models[0], load_text(generated.text, "m")


def evaluated(module: Any, values: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """The let `value` for every row, and the tensors that went in."""
    real = {n: np.asarray(v).dtype.kind == "f" for n, v in values.items()}
    given: dict[str, Tensor] = {n: torch.tensor(v, requires_grad=real[n]) for n, v in values.items()}
    bound = bind(module, {}, given, Settings(torch.float64, torch.device("cpu")), frozenset())
    return bound.instance.lets({}, held_values(bound))["value"], given


def points(row: Builtin, rng: np.random.Generator, count: int = POINTS) -> dict[str, Any]:
    low, high = row.points
    found = {n: rng.uniform(low, high, size=count) for n in NAMES}
    if row.name == "clamp":
        found["z"] = found["y"] + rng.uniform(0.1, 2, size=count)
    return found


def arrays(row: Builtin, rng: np.random.Generator, count: int) -> dict[str, Any]:
    low, high = row.points
    return {
        **{n: rng.uniform(low, high, size=(count, 4)) for n in ("x", "y", "p")},
        "A": rng.normal(size=(count, 3, 3)) + 2 * np.eye(3),
        "v": rng.normal(size=(count, 3)),
        "b": rng.normal(size=(count, 3)),
        "c": rng.integers(0, 3, size=count),
        "index": np.array([2, 0]),
    }


def expression(row: Builtin) -> str:
    return row.example.replace("clamp(x, 0, 1)", "clamp(x, y, z)").replace("atan2(y, x)", "atan2(x, y)")


def reference(model: typed.Model, values: dict[str, Any], shared: tuple[str, ...] = ()) -> list[Any]:
    count = len(next(v for n, v in values.items() if n not in shared))
    rows = [{n: v[i] for n, v in values.items() if n not in shared} for i in range(count)]
    slow = Reference(model, {}, {n: values[n] for n in shared}, rows)
    return [slow.let("value", i) for i in range(count)]


def declared(row: Builtin) -> str:
    return ARRAYS if row in ARRAYWISE else SCALARS


# --- values ---


def test_every_row_has_a_test() -> None:
    covered = {r.name for r in (*ENTRYWISE, *ARRAYWISE, *DRAWS)} | {"where"}
    assert covered == {r.name for r in TABLE if r.form not in WITHOUT_EXAMPLE}
    assert all(r.example for r in TABLE)


@pytest.mark.parametrize("row", ENTRYWISE, ids=ids)
def test_entrywise_is_the_reference_and_sympy(row: Builtin) -> None:
    text = "not(x > y)" if row.name == "not" else expression(row)
    values = points(row, np.random.default_rng(1))
    model, module = compiled(text, SCALARS)
    found = evaluated(module, values)[0].detach().numpy()
    close(found, reference(model, values), row.name, 1e-12)
    if not row.sympy:
        assert row.result == "bool" or row.name in ("round", "stop"), f"{row.name} has no sympy definition"
        return
    symbols = sympy.symbols("x y z")
    definition = sympy.sympify(
        row.sympy, locals={"delta": sympy.Integer(1), "x": symbols[0], "y": symbols[1], "z": symbols[2]}
    )
    for i in range(POINTS):
        at = {s: sympy.Float(float(values[n][i]), 30) for s, n in zip(symbols, NAMES, strict=True)}
        close(found[i], float(definition.subs(at)), f"{row.name} against sympy", 1e-9)


@pytest.mark.parametrize("row", ARRAYWISE, ids=ids)
def test_arrays_are_the_reference(row: Builtin) -> None:
    values = arrays(row, np.random.default_rng(2), 5)
    model, module = compiled(row.example, ARRAYS, "sum(x)")
    found = evaluated(module, values)[0].detach()
    expected = reference(model, values, ("index",))
    for i, value in enumerate(expected):
        mine = found[i] if "value" in module.ROW_LETS else found
        assert tuple(mine.shape) == np.shape(value)
        close(mine, value, row.name, 1e-9)


def test_where_chooses() -> None:
    values = points(next(r for r in TABLE if r.name == "where"), np.random.default_rng(3))
    model, module = compiled("where(x > y, z, x)", SCALARS)
    close(evaluated(module, values)[0].detach(), reference(model, values), "where")


@pytest.mark.parametrize("row", DRAWS, ids=ids)
def test_draws_fill_their_type(row: Builtin) -> None:
    kind = {"bernoulli": "bool", "categorical": "class[2]"}.get(row.name, "real")
    text = f"model m {{ observed y : real\n latent w : {kind}[6] = {row.example}\n energy e = y * sum(onehot(w, 2)) }}"
    if kind != "class[2]":
        text = text.replace("onehot(w, 2)", "w")
    found = pipeline.check_source(Source("<row>", text))
    assert not found.failed, [str(d.diagnostic) for d in found.diagnostics]
    generated = pipeline.generate_for(pipeline.plan_for(pipeline.graph_of(found.models[0]), Query(("w",))))
    settings = Settings(torch.float64, torch.device("cpu"))
    bound = bind(load_text(generated.text, "m"), {}, {"y": np.zeros(400)}, settings, frozenset({"w"}))
    draw = torch.as_tensor(bound.instance.start("w", bound.values)).double()
    assert draw.shape == (400, 6)
    mean = {"normal": 0.0, "uniform": 0.5, "bernoulli": 0.5, "categorical": 0.8}[row.name]
    # Five standard errors of the sample itself.
    assert abs(float(draw.mean()) - mean) < 5 * float(draw.std()) / np.sqrt(draw.numel())


# --- derivatives ---


@pytest.mark.parametrize("row", [r for r in ENTRYWISE if r.derivative and any(r.derivative)], ids=ids)
def test_derivatives_are_those_of_autograd_and_differences(row: Builtin) -> None:
    rng = np.random.default_rng(4)
    values = points(row, rng)
    used = NAMES[: len(row.derivative)]
    _, module = compiled(expression(row), SCALARS)
    found, given = evaluated(module, values)
    found.sum().backward()
    h = 1e-6
    for name, text in zip(used, row.derivative, strict=True):
        _, derived = compiled(text.replace("delta", DELTA), SCALARS)
        claimed = evaluated(derived, values)[0].detach()
        claimed = claimed.expand(POINTS) if claimed.ndim else claimed.repeat(POINTS)
        high = evaluated(module, {**values, name: values[name] + h})[0].detach()
        low = evaluated(module, {**values, name: values[name] - h})[0].detach()
        close(claimed, ((high - low) / (2 * h)).numpy(), f"d {row.name} / d{name} against differences", 1e-5)
        if row.smoothness != "steps":
            close(given[name].grad, claimed, f"d {row.name} / d{name} against autograd", 1e-9)


def test_rows_without_a_derivative_are_few() -> None:
    without = {r.name for r in ENTRYWISE if r.form == "elementwise" and not any(r.derivative)}
    assert without == {"lgamma", "not", "stop"}


# --- curvature and trend ---


def along(
    row: Builtin, steps: tuple[float, ...], rng: np.random.Generator, upwards: bool
) -> list[np.ndarray[Any, Any]]:
    """Values at points on short lines; upwards: every operand rises."""
    text = row.example if row in ARRAYWISE else expression(row)
    _, module = compiled(text, declared(row), "sum(x)" if row in ARRAYWISE else "")
    base = arrays(row, rng, POINTS) if row in ARRAYWISE else points(row, rng)
    moved = [n for n in base if n not in ("c", "index")]
    way = {n: rng.uniform(0 if upwards else -1, 1, size=np.shape(base[n])) for n in moved}
    found = []
    for step in steps:
        at = {**base, **{n: base[n] + step * way[n] for n in moved}}
        found.append(evaluated(module, at)[0].detach().numpy())
    return found


@pytest.mark.parametrize("row", [r for r in TABLE if r.curvature], ids=ids)
def test_curvature_holds(row: Builtin) -> None:
    step = 0.04
    first, middle, last = along(row, (-step, 0.0, step), np.random.default_rng(5), False)
    bend = first + last - 2 * middle
    slack = 1e-9 * (1 + np.abs(middle))
    if row.curvature in ("affine", "convex"):
        assert (bend >= -slack).all()
    if row.curvature in ("affine", "concave"):
        assert (bend <= slack).all()


@pytest.mark.parametrize("row", [r for r in TABLE if r.trend], ids=ids)
def test_trend_holds(row: Builtin) -> None:
    low, high = along(row, (0.0, 0.05), np.random.default_rng(6), True)
    rise = high - low if row.trend == "increasing" else low - high
    assert (rise >= -1e-12).all()


@pytest.mark.parametrize(
    "row", [r for r in ENTRYWISE if r.smoothness == "smooth" and r.result != "bool"], ids=ids
)
def test_smooth_rows_have_continuous_slopes(row: Builtin) -> None:
    rng = np.random.default_rng(7)
    _, module = compiled(expression(row), SCALARS)
    values = points(row, rng, 2000)
    slopes = []
    for step in (0.0, 1e-5):
        found, given = evaluated(module, {**values, "x": values["x"] + step})
        found.sum().backward()
        assert given["x"].grad is not None
        slopes.append(given["x"].grad.numpy())
    bound = 1e-5 * 1e4
    assert (np.abs(slopes[1] - slopes[0]) < bound).all()
