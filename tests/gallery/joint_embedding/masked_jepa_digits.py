"""Codes of digits from predicting the codes of hidden patches, read by a linear probe of all patches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import ebmlang
from tests.gallery.figures import Figure, System
from tests.gallery.probes import TRAINED, effective_rank, linear_probe

EPOCHS = 240

SHORT = "one of the 450 digits of the test is missing to it"


def codes(images: NDArray[Any], epochs: int) -> NDArray[Any]:
    """The codes [rows, 16 * 48] of whole images by the average of the encoder, trained on the first ones."""
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.bind(image=images)
    if epochs:
        m.fit(image=images[:TRAINED], epochs=epochs, batch_size=128, seed=0)
    found: NDArray[Any] = m.infer(image=images)["code"].detach().numpy().reshape(len(images), -1)
    return found


def measure() -> list[Figure]:
    digits = load_digits()
    images, labels = digits.images.astype(np.float32), digits.target
    pixels = images.reshape(len(images), -1) / 16
    trained, untrained = codes(images, EPOCHS), codes(images, 0)
    floors = (
        ("raw pixels", linear_probe(pixels, labels, TRAINED)),
        ("untrained", linear_probe(untrained, labels, TRAINED)),
    )
    return [
        Figure(
            "linear probe",
            linear_probe(trained, labels, TRAINED),
            at_least=0.955,
            floors=floors,
            shortfall=SHORT,
        ),
        Figure("deviation of the codes", float(trained.std(axis=0).mean())),
        Figure("effective rank of the codes", effective_rank(trained)),
    ]


SYSTEM = System(
    "masked JEPA on digits",
    "joint_embedding/masked_jepa_digits.ebm",
    "scikit-learn probes",
    measure,
    long=True,
)
