"""What the calculus proves must hold at random points, for every part of random models."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tests.properties.claims import line_of
from tests.properties.compositions import DECLARED, Compositions, declared_values
from tests.properties.energies import SIZES, Models, values
from tests.properties.generated import Rejected, checked

SOUGHT = frozenset({"x", "s", "Z", "A", "r", "q", "P", "p"})


@settings(max_examples=30)
@given(st.data(), st.integers(0, 10_000))
def test_parts_of_random_models(data: st.DataObject, seed: int) -> None:
    models = Models(lambda n: data.draw(st.integers(0, n - 1)))
    try:
        model = checked(models.model(2))
    except Rejected:
        reject()
    rng = np.random.default_rng(seed)
    shared, rows = values(rng, 2)
    sought = frozenset(n for n in SOUGHT if rng.random() < 0.6)
    places = {**shared, **rows[0]}
    step = {n: rng.normal(size=np.shape(places[n])) * rng.choice([0.1, 1.0]) for n in sought}
    line_of(model, sought, SIZES, shared, rows, step).check()


def test_random_compositions() -> None:
    """Functions of few numbers with domains: most of what can be proven is met here."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        text = Compositions(rng).model()
        try:
            model = checked(text)
        except Rejected:
            continue
        for _ in range(2):
            start, step = declared_values(rng)
            shared = {k: v for k, v in start.items() if k not in DECLARED}
            rows = [{k: v for k, v in start.items() if k in DECLARED}]
            line = line_of(model, DECLARED, {"n": 3}, shared, rows, step)
            line.check()
            seen += line.seen
    assert seen["convex"] > 400, seen
    assert seen["concave"] > 200, seen
    assert seen["degree 2"] > 80, seen
    assert seen["majorant"] > 100, seen
