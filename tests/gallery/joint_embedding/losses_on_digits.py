"""Four losses against their published formulas, and what the codes that they lead to are good for."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

import ebmlang
from tests.gallery.figures import Figure, System
from tests.gallery.probes import TRAINED, linear_probe
from tests.library import test_embedding as published

TERMS = {
    "barlow": ("barlow.invariance", "barlow.redundancy"),
    "nce": ("nce.contrast",),
    "simclr": ("simclr.contrast",),
    "rate": ("rate.expanded", "rate.compressed"),
}


def rate_reduction(u: Tensor, labels: Tensor) -> Tensor:
    """Equation 8 of Yu et al., 2020, with its sign turned and eps = 1/2."""

    def rate(z: Tensor) -> Tensor:
        return torch.logdet(torch.eye(z.shape[1]) + z.shape[1] / (len(z) * 0.25) * z.T @ z) / 2

    classes = [u[labels == c] for c in labels.unique()]
    compressed = torch.stack([len(z) / len(u) * rate(z) for z in classes]).sum()
    return compressed - rate(u)


def differences(images: Tensor, labels: Tensor) -> dict[str, float]:
    """How far each loss is from its formula on the same codes, relative to it, in float64."""
    m = ebmlang.load(SYSTEM.path, seed=0)
    m.bind(image=images, label=labels)
    r = m.double().infer(image=images.double(), label=labels, seed=0)
    u, v = r["u"].detach(), r["v"].detach()
    a, b = u / u.norm(dim=1, keepdim=True), v / v.norm(dim=1, keepdim=True)
    expected = {
        "barlow": published.barlow_twins(u, v),
        "nce": published.symmetric(a, b),
        "simclr": published.nt_xent(u, v),
        "rate": rate_reduction(a, labels),
    }
    found = {
        name: sum(float(r.batch_terms[t].detach().sum()) for t in terms) for name, terms in TERMS.items()
    }
    return {name: abs(found[name] - float(e)) / abs(float(e)) for name, e in expected.items()}


def measure() -> list[Figure]:
    digits = load_digits()
    images, labels = digits.images.astype(np.float32), digits.target
    apart = differences(torch.from_numpy(images[:200]), torch.from_numpy(labels[:200]))
    figures = [Figure(f"{name}: difference from its formula", apart[name], at_most=1e-10) for name in TERMS]
    pixels = linear_probe(images.reshape(len(images), -1) / 16, labels, TRAINED)
    for name in TERMS:
        m = ebmlang.load(SYSTEM.path, seed=0)
        m.fit(
            image=images[:TRAINED],
            label=labels[:TRAINED],
            objective=name,
            epochs=10,
            batch_size=128,
            seed=0,
        )
        codes = m.infer(image=images, label=labels)["code"].detach().numpy()
        floors = (("raw pixels", pixels),)
        figures.append(
            Figure(
                f"{name}: linear probe after 10 epochs", linear_probe(codes, labels, TRAINED), floors=floors
            )
        )
    return figures


SYSTEM = System(
    "losses on digits",
    "joint_embedding/losses_on_digits.ebm",
    "published formulas in torch",
    measure,
    long=True,
)
