"""Nested minima on curved sets: their derivatives against finite differences and formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import ebmlang
from tests.composition.slopes import right_slopes
from tests.draws import normal

F64 = torch.float64


def test_steps_on_a_sphere() -> None:
    """The eigenvector of the least eigenvalue, and its derivative, by steps that are projected."""
    text = """
    model inner(k: int) {
      observed M : real[k, k];  observed s : real[k]
      latent z : real[k] in sphere = s
      energy e = dot(z, M @ z)
    }
    model outer(k: int) {
      observed M : real[k, k];  observed s : real[k]
      latent t : real[k]
      solve inner as p with M = M, s = s using unroll(steps = 800, step = 0.3)
      energy e = dot(p.z, t)^2
      infer t
    }
    """
    model = ebmlang.loads(text)
    m, t = normal(3, 3), normal(1, 3, seed=2)
    m = (m + m.T)[None] / 4
    start = torch.ones(1, 3, dtype=F64) / 3**0.5

    def expected(m: Tensor) -> Tensor:
        vectors = torch.linalg.eigh((m + m.mT) / 2).eigenvectors
        along: Tensor = (vectors[..., 0] * t).sum(-1)
        return along**2

    torch.testing.assert_close(model.energy(M=m, s=start, t=t), expected(m))
    leaf = m.requires_grad_()
    found = torch.autograd.grad(model.energy(M=leaf, s=start, t=t).sum(), leaf)
    torch.testing.assert_close(found, torch.autograd.grad(expected(leaf).sum(), leaf), rtol=1e-6, atol=1e-8)


CURVED = [
    pytest.param(
        "k: int",
        "observed M : real[k, k]; observed q : real[k]; latent z : real[k] in sphere; "
        "energy e = 1/2 * dot(z, M @ z) + dot(q, z)",
        (3, 3),
        (3,),
        id="sphere",
    ),
    pytest.param(
        "k: int, m: int",
        "observed M : real[k, k]; observed q : real[k, m]; latent z : real[k, m] in unit_columns; "
        "energy e = 1/2 * sum(z * (M @ z)) + sum(q * z) + 0.1 * sum((z.T @ z)^2)",
        (3, 3),
        (3, 2),
        id="unit_columns",
    ),
    pytest.param(
        "k: int, m: int",
        "observed M : real[k, k]; observed q : real[k, m]; latent z : real[k, m] in stiefel; "
        "energy e = ||z - q||^2 + 1/4 * sum(z * (M @ z)) + 0.1 * sum(z^4)",
        (3, 3),
        (3, 2),
        id="stiefel",
    ),
    pytest.param(
        "k: int = 3",
        "observed M : real[3, 3]; observed q : real[3, 3]; latent z : real[3, 3] in SO3; "
        "energy e = ||z - q||^2 + 0.1 * sum((M @ z)^4)",
        (3, 3),
        (3, 3),
        id="SO3",
    ),
    pytest.param(
        "k: int = 3",
        "observed M : real[2]; observed q : real[3]; latent z : real[3] in SE2; "
        "energy e = (z[0] - q[0])^2 + (z[1] - M[0] * cos(z[2]))^2 + wrap(z[2] - q[2])^2 + (z[0] * M[1])^2",
        (2,),
        (3,),
        id="SE2",
    ),
    pytest.param(
        "k: int",
        "observed M : real[k, k]; observed q : real[k, k]; latent z : real[k, k] in psd; "
        "energy e = 1/2 * ||z - q||^2 + 0.1 * sum((M @ z)^2)",
        (3, 3),
        (3, 3),
        id="psd",
    ),
]


@pytest.mark.parametrize(("sizes", "body", "first", "second"), CURVED)
def test_curved_sets(sizes: str, body: str, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    """The change of the minimum along a curved set, where the gradient presses against its bend."""
    heads = [part.strip() for part in body.split(";")[:2]]
    text = f"model inner({sizes}) {{ {body} }}\n" + (
        f"model outer({sizes}) {{ {'; '.join(heads)}; "
        + "solve inner as p with M = M, q = q; energy e = sum(p.z ^ 3) + sum(exp(p.z)) }"
    )
    model = ebmlang.loads(text)
    m, q = normal(2, *first), normal(2, *second, seed=1)
    if "psd" in body:
        values = torch.linalg.eigvalsh(model.infer(M=m, q=q)["p.z"])
        assert bool((values.abs() < 1e-9).any())
        assert bool((values > 0.1).any())
    right_slopes(lambda m, q: model.energy(M=m, q=q), m, q)


def test_the_projection_onto_psd() -> None:
    """Its derivative by the divided differences of max(x, 0) at the eigenvalues (Bhatia 1997)."""
    text = """
    model inner(n: int) { observed q : real[n, n]; latent z : real[n, n] in psd; energy e = ||z - q||^2 }
    model outer(n: int) { observed q : real[n, n]; solve inner as p with q = q; energy e = sum(p.z ^ 2) }
    """
    q = normal(4, 4)
    q = (q + q.T)[None].requires_grad_()
    values, vectors = torch.linalg.eigh(q.detach()[0])
    above = values.clamp(min=0)
    apart = values[:, None] - values
    shares = torch.where(apart.abs() > 1e-12, (above[:, None] - above) / apart, (values > 0).double())
    slope = 2 * vectors @ torch.diag(above) @ vectors.T
    expected = vectors @ (shares * (vectors.T @ slope @ vectors)) @ vectors.T
    found = torch.autograd.grad(ebmlang.loads(text).energy(q=q).sum(), q)[0]
    torch.testing.assert_close(found[0], expected)


def test_the_second_derivative_on_a_curved_set_is_refused() -> None:
    text = """
    model inner(k: int) { observed q : real[k]; latent z : real[k] in sphere; energy e = ||z - q||^2 }
    model outer(k: int) { observed q : real[k]; solve inner as p with q = q; energy e = sum(p.z ^ 3) }
    """
    q = normal(1, 3).requires_grad_()
    energy = ebmlang.loads(text).energy(q=q).sum()
    with pytest.raises(ebmlang.DataError, match="differentiated twice"):
        torch.autograd.grad(energy, q, create_graph=True)
