"""The table of methods against what it stands for."""

from __future__ import annotations

from importlib import import_module

import pytest

from ebmlang.compiler.methods import (
    COMMON,
    CONSTRAINED_METHODS,
    DISCRETE_METHODS,
    INNER,
    METHODS,
    PROGRAM_METHODS,
    MethodRow,
)
from ebmlang.compiler.needs import NEED_TEXT
from ebmlang.runtime.discrete.methods import DISCRETE
from ebmlang.runtime.solvers import SOLVERS

CONTINUOUS = tuple(row for row in METHODS if row.name not in DISCRETE)


@pytest.mark.parametrize("row", CONTINUOUS, ids=lambda row: row.name)
def test_every_row_names_its_solver(row: MethodRow) -> None:
    module, _, name = row.implementation.partition(":")
    assert getattr(import_module(module), name) is SOLVERS[row.name]
    fields = SOLVERS[row.name].__dataclass_fields__  # type: ignore[attr-defined]
    assert {option for option, _ in row.options} <= set(fields)
    assert not {option for option, _ in row.options} & {option for option, _ in COMMON}
    assert set(row.needs) <= set(NEED_TEXT)


def test_every_solver_has_a_row() -> None:
    assert set(SOLVERS) == {row.name for row in CONTINUOUS}


def test_the_last_row_needs_nothing() -> None:
    assert METHODS[-1].needs == ()


@pytest.mark.parametrize("row", [*CONSTRAINED_METHODS, *PROGRAM_METHODS], ids=lambda row: row.name)
def test_methods_that_solve_programs_exist(row: MethodRow) -> None:
    module, _, name = row.implementation.partition(":")
    assert callable(getattr(import_module(module), name))
    assert set(row.needs) <= set(NEED_TEXT)


def test_the_last_method_for_constraints_takes_any() -> None:
    assert CONSTRAINED_METHODS[-1].needs == ("hard constraints",)


def test_inner_methods_have_rows_and_the_last_needs_nothing() -> None:
    rows = {row.name: row for row in METHODS}
    assert set(INNER) <= set(rows)
    assert rows[INNER[-1]].needs == ()


def test_every_discrete_method_has_a_row() -> None:
    assert set(DISCRETE) == {row.name for row in DISCRETE_METHODS}
    for row in DISCRETE_METHODS:
        module, _, function = row.implementation.partition(":")
        assert getattr(import_module(module), function) is DISCRETE[row.name]
        assert row.needs[0] == "discrete"
        assert set(row.needs) <= set(NEED_TEXT)
