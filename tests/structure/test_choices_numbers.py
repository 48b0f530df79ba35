"""Findings about the models of many fields, held against numbers: straight lines through random points."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang.compiler import typed
from tests.structure.choice_cases import CASES, Case
from tests.structure.test_choices import plan_of

SIZES = {"T": 5, "n": 4, "m": 6, "d": 2, "c": 1, "k": 3, "M": 5}
CLAIMS = ("convex", "convex energy", "concave", "quadratic", "affine")
REAL = [c for c in CASES if {f.property for f in plan_of(c).structure.findings} & set(CLAIMS)]


def drawn(v: typed.Variable, rng: np.random.Generator) -> Any:
    """A random point of the domain, of everything where the domain is curved."""
    shape = tuple(size.evaluate(SIZES) for size in v.type.shape)
    match v.type.kind, v.domain.name:
        case "class", _:
            assert v.type.classes is not None
            return rng.integers(0, v.type.classes.evaluate(SIZES), size=shape)
        case "bool", _:
            return rng.random(shape) < 0.5
        case _, "positive" | "nonnegative":
            return rng.exponential(size=shape) + 0.05
        case _, "interval":
            return rng.uniform(0.02, 0.98, size=shape)
        case _, "simplex":
            return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])
        case _, "psd" | "positive_definite":
            root = rng.normal(size=shape)
            return root @ root.T + 0.1 * np.eye(shape[-1])
    return rng.normal(size=shape)


@pytest.mark.parametrize("case", REAL, ids=[c.name for c in REAL])
def test_claims_hold_along_lines(case: Case) -> None:
    plan = plan_of(case)
    model = plan.block.graph.model
    claimed = {f.property for f in plan.structure.findings if not f.obligations}
    claimed |= {"convex energy"} if claimed & {"convex", "affine"} else set()
    hypers: dict[str, Any] = {h.name: SIZES.get(h.name, 0.7) for h in model.hypers}
    made = ebmlang.loads(case.text, **hypers)
    rng = np.random.default_rng(len(case.name))
    names = plan.block.names
    for _ in range(6):
        given = {v.name: drawn(v, rng) for v in model.variables if v.role != "hyper"}
        ends = [{n: drawn(v, rng) for v in model.variables if (n := v.name) in names} for _ in "ab"]
        steps = np.linspace(0.0, 1.0, 5)

        def energy(t: float, given: Any = given, ends: Any = ends) -> float:
            at = {n: (1 - t) * ends[0][n] + t * ends[1][n] for n in names}
            values = {**given, **at}
            rows = {
                v.name: values[v.name][None] if v.per_example else values[v.name]
                for v in model.variables
                if v.name in values
            }
            tensors: dict[str, Any] = {n: torch.as_tensor(np.asarray(x)) for n, x in rows.items()}
            return float(made.energy(**tensors)[0])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            line = np.array([energy(t) for t in steps])
        if not np.isfinite(line).all():
            continue
        slack = 1e-9 * max(1.0, np.abs(line).max())
        bends = line[:-2] - 2 * line[1:-1] + line[2:]
        if "convex energy" in claimed:
            assert (bends >= -slack).all()
        if "concave" in claimed:
            assert (bends <= slack).all()
        if claimed & {"quadratic", "affine"}:
            assert np.abs(np.diff(bends)).max() <= slack
        for finding in plan.structure.findings:
            if finding.bound is not None:
                assert (line >= finding.bound - slack).all() or len(plan.block.touching) < len(model.terms)
