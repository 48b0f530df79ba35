"""std.rbm, std.ising, std.potts and std.crf_chain against sums over all states, in plain numpy and torch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from torch import Tensor

import ebmlang
from tests.library.parts import Array, normal, std


def states(count: int, cases: int = 2) -> Array:
    """All assignments, [cases^count, count]."""
    return np.array(list(itertools.product(range(cases), repeat=count))).reshape(-1, count)


def marginals(energies: Array, every: Array, cases: int) -> Array:
    """[entries, cases] of one table of energies [states]."""
    p = softmax(-energies)
    return np.stack([[p[every[:, i] == c].sum() for c in range(cases)] for i in range(every.shape[1])])


# --- restricted Boltzmann machines --------------------------------------------------------------


def machine(n: int, m: int) -> tuple[ebmlang.Model, dict[str, Array], Array]:
    """A machine, its parameters, and its energies, [2^n, 2^m]."""
    own = {"W": normal(n, m), "a": normal(n, seed=1), "b": normal(m, seed=2)}
    model = std("rbm", n=n, m=m)
    model.preset(own)
    v, h = states(n), states(m)
    return model, own, -(v @ own["a"])[:, None] - (h @ own["b"])[None] - v @ own["W"] @ h.T


@pytest.mark.parametrize(("n", "m"), [(5, 4), (1, 3), (3, 6)])
def test_either_side_or_both_are_summed_out(n: int, m: int) -> None:
    model, own, energies = machine(n, m)
    v, h = states(n).astype(bool), states(m).astype(bool)
    hidden = model.marginal(v=v, dtype="float64")
    np.testing.assert_allclose(hidden.energy.detach(), -logsumexp(-energies, axis=1), rtol=1e-12, atol=1e-12)
    score = own["b"] + v @ own["W"]
    np.testing.assert_allclose(
        hidden.energy.detach(), -(v @ own["a"]) - np.logaddexp(0, score).sum(1), atol=1e-12
    )
    np.testing.assert_allclose(hidden["h"][..., 1].detach(), 1 / (1 + np.exp(-score)), atol=1e-12)
    visible = model.marginal(find=["v"], h=h, dtype="float64")
    np.testing.assert_allclose(visible.energy.detach(), -logsumexp(-energies, axis=0), rtol=1e-12, atol=1e-12)
    both = model.marginal(find=["v", "h"], dtype="float64")
    assert float(both.log_z[0].detach()) == pytest.approx(logsumexp(-energies), rel=1e-12)
    least = model.infer(find=["v", "h"], dtype="float64")
    assert float(least.energy[0]) == pytest.approx(energies.min(), rel=1e-12)


def test_the_gradient_of_the_likelihood() -> None:
    """-log p(v) is the free energy of v less the one of the machine, and both can be differentiated."""
    model, own, _ = machine(4, 3)
    v = torch.from_numpy(states(4)[[0, 3, 9, 14]]).bool()
    whole = model.marginal(find=["v", "h"], dtype="float64").energy[0]  # parameters are double from here on
    loss = model(v=v) - whole
    loss.backward()
    W, a, b = (torch.from_numpy(own[name]).requires_grad_() for name in ("W", "a", "b"))
    every, hidden = (torch.from_numpy(states(k)).double() for k in (4, 3))
    scores = (every @ a)[:, None] + (hidden @ b)[None] + every @ W @ hidden.T
    seen = [int(i) for i in (0, 3, 9, 14)]
    want = scores.flatten().logsumexp(0) - scores.logsumexp(1)[seen].mean()
    want.backward()
    assert float(loss.detach()) == pytest.approx(float(want.detach()), rel=1e-12)
    for name, reference in (("W", W), ("a", a), ("b", b)):
        torch.testing.assert_close(model.value(name).grad, reference.grad, atol=1e-12, rtol=0)


# --- spins and labels on graphs -----------------------------------------------------------------

EDGES = np.array([(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (1, 6), (0, 2)])
"""Two components, with circles."""


def test_spins_on_a_graph() -> None:
    every = states(7)
    spin = 2 * every - 1
    J, h = normal(2, 7), normal(2, 7, seed=1)
    found = std("ising").marginal(edges=EDGES, J=J, h=h, dtype="float64")
    least = std("ising").infer(edges=EDGES, J=J, h=h, dtype="float64")
    for row in range(2):
        energies = -(spin[:, EDGES[:, 0]] * spin[:, EDGES[:, 1]]) @ J[row] - spin @ h[row]
        assert float(found.log_z[row]) == pytest.approx(logsumexp(-energies), rel=1e-12)
        np.testing.assert_allclose(found["s"][row], marginals(energies, every, 2), atol=1e-12)
        assert float(least.energy[row]) == pytest.approx(energies.min(), rel=1e-12)
        np.testing.assert_array_equal(least["s"][row], every[energies.argmin()].astype(bool))


def test_spins_on_a_square_lattice() -> None:
    """Without a field and at the critical coupling, against the sum over all states of 4 x 3 spins."""
    spin = (2 * states(12) - 1).reshape(-1, 4, 3)
    critical = float(np.log(1 + np.sqrt(2)) / 2)
    bonds = (spin[:, 1:] * spin[:, :-1]).sum((1, 2)) + (spin[:, :, 1:] * spin[:, :, :-1]).sum((1, 2))
    grid = std("ising", model="grid", n=4, m=3, coupling=critical)
    found = grid.marginal(dtype="float64")
    assert float(found.log_z[0]) == pytest.approx(logsumexp(critical * bonds), rel=1e-12)
    hot = grid.marginal(beta=0.5, dtype="float64")
    assert float(hot.log_z[0]) == pytest.approx(logsumexp(0.5 * critical * bonds), rel=1e-12)


def labelled(every: Array, J: Array, h: Array) -> Array:
    same = every[:, EDGES[:, 0]] == every[:, EDGES[:, 1]]
    return np.asarray(-(same @ J) - h[np.arange(7), every].sum(1))


def test_labels_on_a_graph() -> None:
    every, J, h = states(7, 3), normal(7), normal(1, 7, 3, seed=1)
    energies = labelled(every, J, h[0])
    found = std("potts").marginal(edges=EDGES, J=J, h=h, dtype="float64")
    assert float(found.log_z[0]) == pytest.approx(logsumexp(-energies), rel=1e-12)
    np.testing.assert_allclose(found["s"][0], marginals(energies, every, 3), atol=1e-12)
    least = std("potts").infer(edges=EDGES, J=J, h=h, dtype="float64")
    assert float(least.energy[0]) == pytest.approx(energies.min(), rel=1e-12)


def test_two_labels_are_spins() -> None:
    """[s = t] is (1 + s t) / 2 for spins: the two models are one, with half the coupling and a constant."""
    J, h = normal(7), normal(7, seed=1)
    potts = std("potts").marginal(edges=EDGES, J=J, h=np.stack([-h, h], 1)[None], dtype="float64")
    ising = std("ising").marginal(edges=EDGES, J=J / 2, h=h, dtype="float64")
    assert float(potts.log_z[0]) == pytest.approx(float(ising.log_z[0]) + J.sum() / 2, rel=1e-12)


def test_labels_on_a_lattice() -> None:
    every, h = states(6, 3), normal(2, 3, 3)
    labels = every.reshape(-1, 2, 3)
    same = (labels[:, 1:] == labels[:, :-1]).sum((1, 2)) + (labels[:, :, 1:] == labels[:, :, :-1]).sum((1, 2))
    energies = -0.7 * same - h.reshape(6, 3)[np.arange(6), every].sum(1)
    found = std("potts", model="grid", coupling=0.7).marginal(h=h[None], dtype="float64")
    assert float(found.log_z[0]) == pytest.approx(logsumexp(-energies), rel=1e-12)


# --- chains -------------------------------------------------------------------------------------


def chain(emission: Tensor, transition: Tensor) -> tuple[Tensor, Array]:
    """Energies of all labellings [rows, K^T], and these."""
    T, K = emission.shape[1:]
    y = states(T, K)
    steps = transition[y[:, :-1], y[:, 1:]].sum(1)
    return -emission[:, np.arange(T), y].sum(2) - steps, y


@pytest.mark.parametrize(("T", "K", "rows"), [(6, 3, 2), (1, 4, 1), (7, 2, 3)])
def test_chains(T: int, K: int, rows: int) -> None:
    emission, transition = normal(rows, T, K), normal(K, K, seed=1)
    energies, every = chain(torch.from_numpy(emission), torch.from_numpy(transition))
    m = std("crf_chain")
    m.preset({"transition": transition})
    found = m.marginal(emission=emission, dtype="float64")
    torch.testing.assert_close(found.log_z.detach(), (-energies).logsumexp(1), atol=1e-12, rtol=0)
    for row in range(rows):
        np.testing.assert_allclose(
            found["y"][row].detach(), marginals(energies[row].numpy(), every, K), atol=1e-12
        )
    best = m.infer(emission=emission, dtype="float64")
    np.testing.assert_array_equal(best["y"], every[energies.argmin(1).numpy()])
    assert best.method == "elimination"


TAGGER = """import std.crf_chain

model tagger(T: int, d: int, K: int = 3) {
  observed x : real[T, d]
  net score : real[d] -> real[K] = mlp([5], act = tanh)
  for t in 0..T { let emission[t] = score(x[t]) }
  use crf_chain as tags with emission = emission
  infer tags.y
  marginalize tags.y
}
"""


def test_scores_of_a_net_and_the_conditional_likelihood() -> None:
    """-log p(y | x) and its gradients in net and transitions, against the sum over all labellings."""
    x, y = torch.from_numpy(normal(2, 5, 4)), torch.tensor([[0, 1, 2, 2, 1], [1, 1, 0, 2, 0]])
    m = ebmlang.loads(TAGGER).bind(x=x)
    m.preset({"tags.transition": normal(3, 3, seed=2)})
    loss = (m.energy({"x": x, "tags.y": y}) - m.marginal(x=x, dtype="float64").energy).mean()
    own = dict(m.named_parameters())
    grads = torch.autograd.grad(loss, list(own.values()))
    layers = [p for n, p in own.items() if n.startswith("score")]
    hidden = torch.tanh(torch.nn.functional.linear(x, layers[0], layers[1]))
    emission = torch.nn.functional.linear(hidden, layers[2], layers[3])
    energies, every = chain(emission, own["tags.transition"])
    at = [int((every == row.numpy()).all(1).argmax()) for row in y]
    want = (energies[[0, 1], at] + (-energies).logsumexp(1)).mean()
    assert float(loss.detach()) == pytest.approx(float(want.detach()), rel=1e-12)
    for ours, theirs in zip(grads, torch.autograd.grad(want, list(own.values())), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
