"""`solve` of parts whose energy calls nets: derivatives along inputs and parameters, against finite
differences in float64, formulas of torch and steps written by hand."""

from __future__ import annotations

import gc
import warnings

import pytest
import torch
from torch import Tensor, nn

import ebmlang
from ebmlang import testing
from ebmlang.compiler import pipeline
from tests.draws import normal

F64 = torch.float64

DENOISE = """
model denoise(n: int, k: int) {
  observed y : real[n]
  latent z : real[k] = 0
  net dec : real[k] -> real[n] = mlp([5], act = tanh)
  energy fit = 1/2 * ||y - dec(z)||^2
  regularizer small = 1/2 * ||z||^2
}
"""

STACKED = """
model stacked(n: int, K: int = 2) {
  observed y : real[n]
  latent z : real[n] = 0
  for k in 0..K { net f[k] : real[n] -> real[n] = mlp([4], act = tanh) }
  for k in 0..K { energy fit[k] = 1/2 * ||y / (k + 1) - f[k](z)||^2 }
  regularizer small = 1/2 * ||z||^2
}
"""

MIDDLE = """
model middle(n: int) {
  observed y : real[n]
  latent b : real = 1
  net g : real[n] -> real[n] = mlp([4], act = tanh)
  net own : real[2] -> real[n] = mlp([4], act = tanh)
  solve denoise(k = 2) as low with y = b * y, dec = own
  energy e = ||low.z||^2 + ||b * g(y) - y||^2 + (b - 1)^2
  infer b using lbfgs
}
"""


def loaded(text: str, **values: Tensor) -> ebmlang.Model:
    """A model in double precision, with parameters that follow each other like any other numbers."""
    model = ebmlang.loads(text, seed=1)
    model.bind(values)
    return model.double()


def right_slopes(model: ebmlang.Model, **values: Tensor) -> None:
    """The derivative of the sum of the energies along random directions of all inputs and parameters together
    is the difference of two energies, and none of them has the slope 0."""
    leaves = {n: v.clone().requires_grad_() for n, v in values.items() if v.is_floating_point()}
    everything = {**leaves, **dict(model.named_parameters())}

    def energy() -> Tensor:
        return model.energy({**values, **leaves}).sum()

    slopes = torch.autograd.grad(energy(), list(everything.values()))
    before = [leaf.detach().clone() for leaf in everything.values()]
    for seed in range(3):
        # Directions as long as the slopes make everything count.
        along = [normal(*s.shape, seed=seed) / s.norm() for s in slopes]
        ends = []
        with torch.no_grad():
            for sign in (1, -1):
                for leaf, old, step in zip(everything.values(), before, along, strict=True):
                    leaf.copy_(old + sign * 1e-5 * step)
                ends.append(energy())
            for leaf, old in zip(everything.values(), before, strict=True):
                leaf.copy_(old)
        expected = sum(float((s * a).sum().detach()) for s, a in zip(slopes, along, strict=True))
        assert expected == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-5)


ALONE = """
model outer(n: int, k: int = 2) {
  observed y : real[n];  observed t : real[n]
  net shared_net : real[k] -> real[n] = mlp([4], act = tanh)
  solve denoise as p with y = y, dec = shared_net
  solve denoise(k = 3) as q with y = t
  energy e = ||shared_net(p.z) - t||^2 + sum(q.z ^ 3)
}
"""


def test_a_net_of_its_own_and_one_that_is_shared() -> None:
    y, t = normal(3, 4), normal(3, 4, seed=1)
    right_slopes(loaded(DENOISE + ALONE, y=y, t=t), y=y, t=t)


def test_the_minimum_is_one() -> None:
    """The gradient of the part's energy, written in torch, is 0 at the answer."""
    y, t = normal(3, 4), normal(3, 4, seed=1)
    model = loaded(DENOISE + ALONE, y=y, t=t)
    z = model.infer(y=y, t=t)["p.z"].clone().requires_grad_()
    energy = ((y - model.net("shared_net")(z)) ** 2).sum() / 2 + (z**2).sum() / 2
    (slope,) = torch.autograd.grad(energy, z)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    "inside",
    [
        "solve denoise(k = 2) as p[c] with y = U[c]",
        "solve denoise as p[c] with y = U[c], dec = g[C - 1 - c]",
        "solve stacked as p[c] with y = U[c]",
        "use around as p[c] with y = U[c]",
    ],
)
def test_in_plates(inside: str) -> None:
    """One net for each copy of the part, its own or one that is bound; nets in plates of the part as well."""
    around = "model around(n: int) { observed y : real[n]; solve denoise(k = 2) as low with y = y; "
    around += "let z = low.z; energy e = ||z||^2 }"
    net = "for c in 0..C { net g[c] : real[2] -> real[n] = mlp([3], act = tanh) }"
    outer = f"""
    model outer(n: int, C: int) {{
      observed U : real[C, n]
      {net if "g[" in inside else ""}
      for c in 0..C {{
        {inside}
        energy e[c] = (c + 1) * sum(p[c].z ^ 3)
      }}
    }}
    """
    u = normal(3, 2, 4)
    right_slopes(loaded(DENOISE + STACKED + around + outer, U=u), U=u)


def test_a_net_that_differs_by_example() -> None:
    """The class of an example chooses the net: its answer is that of the model with this net alone."""
    text = (
        DENOISE
        + """
    model outer(n: int, C: int) {
      observed u : real[n];  observed c : class[C]
      for l in 0..C { net g[l] : real[2] -> real[n] = mlp([3], act = tanh) }
      solve denoise as p with y = u, dec = g[c]
      energy e = sum(p.z ^ 3)
    }
    """
    )
    u, c = normal(5, 4), torch.tensor([0, 1, 2, 1, 0])
    model = ebmlang.loads(text, seed=1, C=3)
    model.bind(u=u, c=c)
    model.double()
    right_slopes(model, u=u, c=c)
    found = model.infer(u=u, c=c)["p.z"]
    module = model.net("g")
    assert isinstance(module, nn.ModuleList)
    for k in range(3):
        alone = loaded(DENOISE.replace("[5]", "[3]").replace("k: int", "k: int = 2"), y=u[c == k])
        alone.net("dec").load_state_dict(module[k].state_dict())
        torch.testing.assert_close(found[c == k], alone.infer(y=u[c == k], tol=1e-12)["z"])


def test_layers() -> None:
    """In the steps of a recurrence, one part that is applied again and again."""
    text = (
        DENOISE
        + """
    model outer(n: int, L: int = 3) {
      observed x : real[n]
      part blk = denoise(n = n, k = n)
      let h : real[L+1, n]
      let h[0] = x
      for l in 0..L {
        solve blk as out[l] with y = h[l]
        let h[l+1] = h[l] + out[l].z
      }
      energy e = ||h[L]||^2
    }
    """
    )
    x = normal(2, 3)
    right_slopes(loaded(text, x=x), x=x)


def test_two_levels() -> None:
    """A minimum inside of a minimum, both with nets; in a plate."""
    text = (
        DENOISE
        + MIDDLE
        + """
    model outer(n: int, C: int) {
      observed U : real[C, n]
      for c in 0..C {
        solve middle as p[c] with y = U[c]
        energy e[c] = p[c].b ^ 3 + sum(p[c].low.z)
      }
    }
    """
    )
    u = normal(1, 2, 3)
    right_slopes(loaded(text, U=u), U=u)


def test_second_derivatives() -> None:
    """Along inputs and along parameters."""
    text = DENOISE + "model outer(n: int) { observed y : real[n]; "
    text += "solve denoise(k = 2) as p with y = y; energy e = sum(p.z ^ 3) }"
    y = normal(2, 3)
    model = loaded(text, y=y)
    leaf, weight = y.clone().requires_grad_(), next(model.parameters())

    def slope(at: Tensor) -> Tensor:
        first = torch.autograd.grad(model.energy(y=at).sum(), (at, weight), create_graph=True)
        return (first[0] ** 2).sum() + (first[1] ** 2).sum()

    found = torch.autograd.grad(slope(leaf), (leaf, weight))
    for which, (target, second) in enumerate(zip((leaf, weight), found, strict=True)):
        along = normal(*target.shape, seed=which)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                target.add_(sign * 1e-5 * along)
            ends.append(slope(leaf).detach())
            with torch.no_grad():
                target.sub_(sign * 1e-5 * along)
        torch.testing.assert_close((second * along).sum(), (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-7)


def test_training_lowers_a_loss_of_nested_minima() -> None:
    """By the `train` line, with an unknown that is sought around the part."""
    text = (
        DENOISE
        + """
    model outer(n: int) {
      observed y : real[n];  observed t : real[2]
      latent shift : real[n] = 0
      net dec : real[2] -> real[n] = mlp([5], act = tanh)
      solve denoise as p with y = y + shift, dec = dec
      energy hit = ||p.z - t||^2
      regularizer near = 0.1 * ||shift||^2
      infer shift using lbfgs
      train dec using adam(lr = 0.02)
    }
    """
    )
    y, t = normal(4, 3), 0.3 * normal(4, 2, seed=1)
    model = loaded(text, y=y, t=t)
    answer = model.infer(y=y, t=t)
    assert bool(answer.converged.all())
    # The gradient at the minimum of the outer search is that of the energy there.
    loss = model(y=y, t=t)
    torch.testing.assert_close(loss, answer.energy.mean())
    weight = next(model.parameters())
    (slope,) = torch.autograd.grad(loss, weight)
    along, ends = normal(*weight.shape, seed=3), []
    for sign in (1, -2, 1):
        with torch.no_grad():
            weight.add_(sign * 1e-4 * along)
        ends.append(model.infer(y=y, t=t, tol=1e-11).energy.mean())
    torch.testing.assert_close((slope * along).sum(), (ends[0] - ends[1]) / 2e-4, rtol=1e-4, atol=1e-7)
    losses = [r.loss for r in model.fit(y=y, t=t, epochs=15).records]
    assert losses[-1] < losses[0] / 2


def test_steps_that_are_differentiated() -> None:
    """The last of some steps through a net, against steps written by hand."""
    text = (
        DENOISE
        + """
    model outer(n: int) {
      observed y : real[n]
      solve denoise(k = 2) as p with y = y using unroll(steps = 5, step = 0.2, through = 3)
      energy e = sum(p.z ^ 3)
    }
    """
    )
    y = normal(2, 3)
    model = loaded(text, y=y)
    net, weights = model.net("p.dec"), list(model.parameters())
    z = torch.zeros(2, 2, dtype=F64)
    for k in range(5):
        at = z if z.requires_grad else z.clone().requires_grad_()
        energy = ((y - net(at)) ** 2).sum() / 2 + (at**2).sum() / 2
        z = at - 0.2 * torch.autograd.grad(energy, at, create_graph=True)[0]
        z = z.detach() if k < 2 else z
    expected = (z**3).sum()
    found = model.energy(y=y).sum()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights))


def test_the_length_of_steps_through_a_net() -> None:
    text = DENOISE + "model outer(n: int) { observed y : real[n]; "
    text += "solve denoise(k = 2) as p with y = y using unroll(steps = 3); energy e = sum(p.z ^ 3) }"
    y = normal(1, 3)
    right_slopes(loaded(text, y=y), y=y)


def test_a_net_from_outside() -> None:
    """Nothing is known of it; its parameters get their gradient."""
    text = DENOISE.replace("net dec : real[k] -> real[n] = mlp([5], act = tanh)", "") + ""
    text = text.replace("energy fit", "extern net dec : real[k] -> real[n]\n  energy fit")
    text += "model outer(n: int) { observed y : real[n]; solve denoise(k = 2) as p with y = y using lbfgs; "
    text += "energy e = sum(p.z ^ 3) }"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, y = nn.Sequential(nn.Linear(2, 4), nn.Softplus(), nn.Linear(4, 3)), normal(2, 3)
    model = ebmlang.loads(text, nets={"p.dec": module}, seed=1)
    model.bind(y=y)
    right_slopes(model.double(), y=y)


def test_an_average_gets_no_gradient() -> None:
    text = """
    model inner(n: int) {
      observed y : real[n]
      latent z : real[n] = 0
      net f : real[n] -> real[n] = linear()
      net slow : real[n] -> real[n] = ema(f, decay = 0.5)
      energy fit = ||slow(z) - f(y)||^2 + ||z||^2
    }
    model outer(n: int) {
      observed y : real[n]
      solve inner as p with y = y
      energy e = sum(p.z ^ 3)
    }
    """
    y = normal(2, 3)
    model = loaded(text, y=y)
    model.energy(y=y).sum().backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert grads
    assert all(g is not None and bool((g != 0).any()) for g in grads.values())
    assert all(p.grad is None for n, p in model.named_parameters() if "slow" in n)


def test_dropout_is_off_inside() -> None:
    """In a step of training too: every point of a search would meet the same masks, but not their rows."""
    text = DENOISE.replace("act = tanh", "act = tanh, dropout = 0.5")
    text += "model outer(n: int) { observed y : real[n]; solve denoise(k = 2) as p with y = y; "
    text += "energy e = sum(p.z ^ 3); train using sgd(lr = 1e-14) }"
    y = normal(6, 3)
    model = loaded(text, y=y)
    expected = float(model.energy(y=y).mean().detach())
    assert [r.loss for r in model.fit(y=y, epochs=3).records] == pytest.approx([expected] * 3, rel=1e-12)


def test_parameters_that_change_are_seen() -> None:
    """Answers are kept for equal inputs; a net that was moved is another input."""
    y, t = normal(3, 4), normal(3, 4, seed=1)
    model = loaded(DENOISE + ALONE, y=y, t=t)
    before = model.energy(y=y, t=t)
    with torch.no_grad():
        next(model.parameters()).mul_(1.5)
    assert bool((model.energy(y=y, t=t) - before).abs().min() > 1e-6)


def test_single_precision() -> None:
    y, t = normal(3, 4), normal(3, 4, seed=1)
    wide, narrow = loaded(DENOISE + ALONE, y=y, t=t), ebmlang.loads(DENOISE + ALONE, seed=1)
    found = narrow.energy(y=y.float(), t=t.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wide.energy(y=y, t=t), rtol=1e-4, atol=1e-5)
    found.sum().backward()
    wide.energy(y=y, t=t).sum().backward()
    for a, b in zip(narrow.parameters(), wide.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        torch.testing.assert_close(a.grad.double(), b.grad, rtol=1e-3, atol=1e-4)


def test_many_solves_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    text = DENOISE + "model outer(n: int) { observed y : real[n]; "
    text += "solve denoise(k = 1) as p with y = y; energy e = sum(p.z ^ 3) }"
    y = normal(1, 2)
    model = loaded(text, y=y)

    def solves(count: int) -> int:
        for k in range(count):
            model.zero_grad()
            model.energy(y=y + 1e-3 * k).sum().backward()
        gc.collect()
        return sum(issubclass(type(x), Tensor) for x in gc.get_objects())

    first = solves(20)
    monkeypatch.setattr(pipeline, "generate_for", lambda plan: pytest.fail("compiled again"))
    assert solves(100) == first


def test_the_check_of_gradients_covers_nets() -> None:
    y, t = normal(2, 4), normal(2, 4, seed=1)
    model = loaded(DENOISE + ALONE, y=y, t=t)
    assert testing.check_gradient(model, {"y": y, "t": t})["entries compared"] > 0


# --- what went wrong is said ---------------------------------------------------------------------

RISING = """
model steep(n: int) {
  observed y : real[n]
  latent z : real[n] = 0
  energy e = 1/2 * ||y - z||^2 + sum(z ^ 4)
}
model outer(n: int) {
  observed y : real[n]
  param w : real = 1
  latent s : real = 0
  solve steep as p with y = w * y using unroll(steps = 3, step = 0.4)
  energy e = (s - p.z[0])^2
  infer s
  train w using sgd(lr = 0.001)
}
"""


def test_steps_that_raise_the_energy_are_said() -> None:
    y = torch.tensor([[0.1], [3.0]], dtype=F64)
    model = ebmlang.loads(RISING)
    found = model.infer(y=y)
    assert found.converged.tolist() == [True, False]
    assert "nested search of `p`: the steps raised the energy; give a smaller `step`" in found.status[1]
    with pytest.warns(RuntimeWarning, match="nested search of `p` failed in 1 rows"):
        model.energy(y=y, s=torch.zeros(2, dtype=F64))


def test_training_counts_nested_searches_that_ended_early() -> None:
    y = torch.tensor([[0.1], [3.0], [0.2]], dtype=F64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = ebmlang.loads(RISING).fit(y=y, epochs=2)
    assert [r.unconverged for r in history.records] == [1, 1]
    given = ebmlang.loads(RISING).fit(y=y, s=torch.zeros(3, dtype=F64), epochs=1)
    assert [r.unconverged for r in given.records] == [1]
