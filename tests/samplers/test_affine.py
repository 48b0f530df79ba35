"""Boltzmann machines by the slopes of their energy: the same laws as by tables, and as by all states."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

import ebmlang
from ebmlang.runtime import posing
from ebmlang.runtime.discrete.question import Question, question_of
from ebmlang.runtime.samplers.countable import Affine, InTables, parts_of
from tests.samplers.problems import F64

LAYERS = """model layers(n: int, h: int, k: int) {
  observed b : real[n]
  shared observed W : real[n, h]
  shared observed U : real[h, k]
  latent v : bool[n]
  latent z : bool[h]
  latent top : bool[k]
  let spin = 2 * z - 1
  energy low  = -dot(v, W @ spin) - dot(b, v)
  for i in 0..h, j in 0..k { energy high[i, j] = U[i, j] * spin[i] * top[j] }
}"""


def _values() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = {"b": (2, 3), "W": (3, 2), "U": (2, 2)}
    return {name: torch.randn(*size, generator=generator, dtype=F64) for name, size in sizes.items()}


def _question(text: str, data: Mapping[str, Tensor]) -> Question:
    model = ebmlang.loads(text)
    asked = model.asked(None, frozenset(data), None, None, frozenset())
    _, module = model.compiled(asked, None)
    bound = model.bound(module, data, model.settings(data, "float64", None, 0, None), frozenset())
    return question_of(bound, {}, posing.held_values(bound), {})


def test_conditional_energies_are_those_of_tables_and_of_all_states() -> None:
    question = _question(LAYERS, _values())
    states = torch.tensor(list(itertools.product((0, 1), repeat=7)))
    x = states.repeat(2, 1)
    row = torch.arange(2).repeat_interleave(len(states))
    (slopes,) = parts_of(question, len(states), 1.0, tables=False)
    (tables,) = parts_of(question, len(states), 1.0, tables=True)
    assert isinstance(slopes.target, Affine)
    assert isinstance(tables.target, InTables)
    assert torch.allclose(slopes.target.energy(x), question.energies(x, row))
    for number, (entries, _) in enumerate(slopes.target.groups()):
        found = slopes.target.conditional(number, x)
        for place, entry in enumerate(entries.tolist()):
            set_, clear = x.clone(), x.clone()
            set_[:, entry], clear[:, entry] = 1, 0
            wanted = question.energies(set_, row) - question.energies(clear, row)
            assert torch.allclose(found[:, place, 1] - found[:, place, 0], wanted)


@pytest.mark.parametrize(
    ("energy", "known"),
    [
        ("-dot(a, s)", "together"),
        ("(s[0] - 0.3) * (t[1] + 2)", "each"),
        ("-dot(s, a) + t[0] * sum(s)", "each"),
        ("s[0] * s[1]", ""),
        ("square(s[0])", ""),
        ("exp(s[0])", ""),
        ("where(s[0], 1.0, 0.5)", ""),
        ("abs(s[0] - 0.3)", ""),
        ("relu(s[0] - 0.3) + t[0]", ""),
    ],
)
def test_what_is_known_to_be_affine(energy: str, known: str) -> None:
    """What is not is left to tables, though a derivative could be taken."""
    text = f"""model m(n: int) {{ observed a : real[n]; latent s : bool[n]; latent t : bool[n]
      energy e = {energy} + 0.1 * sum(t) }}"""
    question = _question(text, {"a": torch.tensor([[0.5, -1.0]], dtype=F64)})
    assert question.affine == known


def test_a_free_energy_and_its_gradient_against_the_formula() -> None:
    """Hidden units summed out: -dot(b, v) - sum softplus(c + v W) (Smolensky 1986), at another temperature
    too."""
    text = """model m(n: int, h: int) { observed v : bool[n]; latent z : bool[h]
      param W : real[n, h] = normal(); param c : real[h] = normal(); param b : real[n] = normal()
      energy e = -dot(v, W @ z) - dot(b, v) - dot(c, z)
      marginalize z }"""
    v = torch.tensor([[True, False, True], [False, False, True]])
    model = ebmlang.loads(text, h=4, seed=2).bind(v=v)
    weights, b, c = (model.value(name) for name in ("W", "b", "c"))
    for beta in (1.0, 0.5):
        found = model.marginal(v=v, beta=beta, dtype="float64")
        seen = v.to(F64)
        field = c.double() + seen @ weights.double()
        wanted = -seen @ b.double() - torch.nn.functional.softplus(beta * field).sum(1) / beta
        assert torch.allclose(found.energy, wanted)
        assert torch.allclose(found["z"][..., 1], torch.sigmoid(beta * field))
        ours = torch.autograd.grad(found.energy.sum(), (weights, b, c))
        theirs = torch.autograd.grad(wanted.sum(), (weights, b, c))
        for one, other in zip(ours, theirs, strict=True):
            assert torch.allclose(one, other)


def test_given_units_and_numbers_that_are_not_finite_are_left_to_tables() -> None:
    values = _values()
    model = ebmlang.loads(LAYERS)
    known = torch.tensor([[True, False, False], [False, False, True]])
    v = torch.ones(2, 3, dtype=torch.bool)
    drawn = model.sample({**values, "v": v}, observed={"v": known}, using="gibbs", draws=20, warmup=5)
    assert bool(drawn["v"].movedim(0, -2)[..., known].all())
    with pytest.raises(ebmlang.DataError, match="`low` is NaN"):
        model.sample({**values, "W": torch.full((3, 2), torch.inf, dtype=F64)}, using="gibbs", draws=5)
