"""Codes of digits without labels, read by linear probes of all and of few labels; and what collapses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import ebmlang
from tests.gallery.figures import Figure, System
from tests.gallery.probes import TRAINED, effective_rank, few_shots, linear_probe


def codes(images: NDArray[Any], epochs: int, **hypers: Any) -> NDArray[Any]:
    """The codes [rows, d] of all images after training on the first ones."""
    m = ebmlang.load(SYSTEM.path, seed=0, **hypers)
    m.bind(image=images)
    if epochs:
        m.fit(image=images[:TRAINED], epochs=epochs, batch_size=128, seed=0)
    return m.infer(image=images)["code"].detach().numpy()


def measure() -> list[Figure]:
    digits = load_digits()
    images, labels = digits.images.astype(np.float32), digits.target
    pixels = images.reshape(len(images), -1) / 16
    trained, untrained = codes(images, 200), codes(images, 0)
    collapsed = codes(images, 20, **{"loss.variance": 0.0})

    def figure(what: str, at_least: float, shots: int = 0) -> Figure:
        def score(found: NDArray[Any]) -> float:
            if shots:
                return few_shots(found, labels, TRAINED, shots)
            return linear_probe(found, labels, TRAINED)

        floors = (("raw pixels", score(pixels)), ("untrained", score(untrained)))
        return Figure(what, score(trained), at_least=at_least, floors=floors)

    deviations = (("with it", float(trained.std(axis=0).mean())),)
    ranks = (("with it", effective_rank(trained)),)
    probe = linear_probe(collapsed, labels, TRAINED)
    return [
        figure("linear probe", 0.98),
        figure("one shot", 0.75, shots=1),
        figure("ten shots", 0.95, shots=10),
        Figure(
            "without the variance: deviation of the codes",
            float(collapsed.std(axis=0).mean()),
            at_most=0.1 * deviations[0][1],
            floors=deviations,
        ),
        Figure("without the variance: effective rank", effective_rank(collapsed), floors=ranks),
        Figure("without the variance: linear probe", probe),
    ]


SYSTEM = System(
    "VICReg on digits", "joint_embedding/vicreg_digits.ebm", "scikit-learn probes", measure, long=True
)
