"""Distances that are compared with given ones have a kink where no minimiser sits."""

from __future__ import annotations

import pytest

from ebmlang.compiler import pipeline
from ebmlang.compiler.query import Query
from ebmlang.compiler.source import Source
from ebmlang.compiler.structure import analyse
from ebmlang.compiler.structure.block import Block


def grade(energy: str, radius: str = "observed r : real in nonnegative") -> str:
    text = f"model m(n: int) {{\n observed p : real[n]\n {radius}\n latent c : real[n]\n {energy}\n}}\n"
    found = pipeline.check_source(Source("<distances>", text))
    assert not found.failed, [str(d.diagnostic) for d in found.diagnostics]
    structure = analyse(Block(pipeline.graph_of(found.models[0]), Query(("c",))))
    names = ("smooth", "piecewise smooth", "kinks")
    return next(f.property for f in structure.findings if f.property in names)


@pytest.mark.parametrize(
    "energy",
    [
        "energy e = (norm(p - c) - r)^2",
        "energy e = square(r - ||c - p||)",
        "energy e = huber(||c - p|| - r, delta = 0.5)",
        "let d = ||c - p||\n energy e = (d - r)^2",
        "let d = ||c - p||\n let gap = d - r\n energy e = 2 * gap^2 + ||c||^2",
    ],
)
def test_a_kink_that_points_upwards_does_not_count(energy: str) -> None:
    assert grade(energy) == "piecewise smooth"


@pytest.mark.parametrize(
    ("energy", "radius"),
    [
        ("energy e = (norm(p - c) - r)^2", "observed r : real"),  # with r < 0 the minimum sits at the kink
        ("energy e = (norm(p - c) + r)^2", "observed r : real in nonnegative"),
        ("energy e = norm(p - c) - r", "observed r : real in nonnegative"),
        ("energy e = -(norm(p - c) - r)^2", "observed r : real in nonnegative"),
        ("energy e = (norm(p - c) - r)^2 * (sum(p) - 3)", "observed r : real in nonnegative"),
        ("let d = ||c - p||\n energy e = d + (d - r)^2", "observed r : real in nonnegative"),
        ("energy e = (norm(p - c, order = 1) - r)^2", "observed r : real in nonnegative"),
        ("let d = ||c - p||\n energy e = (d - r)^2 + d", "observed r : real in nonnegative"),
    ],
)
def test_other_kinks_do(energy: str, radius: str) -> None:
    assert grade(energy, radius) == "kinks"
