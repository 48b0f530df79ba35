"""Energies without a lower bound are recognised, whatever method meets them."""

from __future__ import annotations

import pytest
import torch

import ebmlang

HEAD = "model m(n: int) {{\n observed y : real[n]\n latent x : real[n]{domain} = {start}\n"


def asked(energy: str, dtype: str, start: str = "0.1", domain: str = "") -> ebmlang.Result:
    terms = f" energy pull = ||x - y||^2\n energy push = {energy}\n infer x\n}}"
    model = ebmlang.loads(HEAD.format(domain=domain, start=start) + terms)
    return model.infer(y=torch.tensor([[0.1, 0.2], [1.0, -2.0]]), dtype=dtype, steps=2000)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("energy", "start", "domain"),
    [
        ("-sum(x^4)", "2", ""),
        ("sum(x)^3", "-9", ""),
        ("-sum(exp(x))", "9", ""),
        ("-sum(exp(x))", "9", " in [0, inf]"),
        ("-sum(x^4)", "2", " in nonnegative"),
    ],
)
def test_the_term_that_falls_is_named(energy: str, start: str, domain: str, dtype: str) -> None:
    result = asked(energy, dtype, start, domain)
    assert set(result.status) == {"unbounded: the energy falls without end in term 'push'"}
    assert not result.converged.any()
    assert torch.isfinite(result.energy).all()


def test_a_deep_minimum_is_none() -> None:
    """An energy whose constant was left out starts at 0 and ends far below."""
    result = asked("-1e9 * sum(x)", "float64")
    assert result.converged.all()
    assert (result.energy < -1e17).all()
    deep = asked("1e8 * sum(cos(x / 50) - 1)", "float32")
    assert not any("unbounded" in status for status in deep.status)
