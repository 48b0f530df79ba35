"""The table of samplers against what it stands for."""

from __future__ import annotations

from importlib import import_module

import pytest

from ebmlang.compiler.needs import NEED_TEXT
from ebmlang.compiler.samplers import LENGTHS, SAMPLERS, SamplerRow, find_sampler
from ebmlang.runtime.samplers import CHAINS, make_sampler

AT_ONCE = ("gaussian", "ancestral")


@pytest.mark.parametrize("row", SAMPLERS, ids=lambda row: row.name)
def test_every_row_names_what_draws(row: SamplerRow) -> None:
    module, _, name = row.implementation.partition(":")
    found = getattr(import_module(module), name)
    assert callable(found)
    assert found is CHAINS[row.name] if row.name in CHAINS else row.name in AT_ONCE
    assert set(row.needs) <= set(NEED_TEXT)
    assert not {option for option, _ in row.options} & {option for option, _ in LENGTHS}
    assert not row.otherwise or find_sampler(row.otherwise) is not None


def test_every_sampler_has_a_row() -> None:
    assert {*CHAINS, *AT_ONCE} == {row.name for row in SAMPLERS}


@pytest.mark.parametrize("row", [r for r in SAMPLERS if r.name in CHAINS], ids=lambda row: row.name)
def test_the_options_of_a_row_make_its_sampler(row: SamplerRow) -> None:
    given = {name: 3 if kind == "whole" else 0.25 for name, kind in row.options}
    sampler = make_sampler(row.name, given)
    for name, value in given.items():
        assert getattr(sampler, "step_size" if name == "step" else name) == value


def test_some_sampler_takes_every_kind_of_unknowns_without_more() -> None:
    automatic = [row for row in SAMPLERS if row.automatic]
    assert any("real" in row.takes and not row.needs for row in automatic)
    for kind in ("countable", "mixed"):
        assert any(kind in row.takes for row in automatic)
