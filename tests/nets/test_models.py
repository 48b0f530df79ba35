"""Energies with nets inside: values, searches, plates, recurrences, averages, nets from outside."""

from __future__ import annotations

import copy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

import ebmlang
from ebmlang.compiler.pipeline import check_source
from ebmlang.compiler.source import Source
from ebmlang.errors import DataError
from ebmlang.testing.run import CHECKS, run_checks
from tests.nets.programs import net
from tests.reference import Reference

DECODER = """model decoder(n: int = 6, k: int = 2) {
  observed y : real[n]
  latent z : real[k] = 0
  net dec : real[k] -> real[n] = mlp([16], act = tanh)
  energy fit = ||y - dec(z)||^2
  regularizer small = 0.1 * ||z||^2
  infer z
}
"""

PLATES = """model plates(T: int = 4, n: int = 3) {
  observed x : real[T, n]
  observed s0 : real[n]
  latent a : real[T] = 0
  net pred : (real[n], real) -> real[n] = mlp([8], act = gelu)
  net two : real[n] -> (real[n], real) = mlp([5], act = silu)
  fn twice(u: real[n]) = pred(pred(u, 0), 1)
  let s : real[T+1, n]
  let s[0] = s0
  for t in 0..T {
    let (mu, v) = two(x[t])
    let s[t+1] = pred(s[t], a[t]) + 0.1 * mu
    energy follow[t] = ||s[t+1] - x[t]||^2 * (1 + v^2)
  }
  for t in 0..T, u in 0..T if t < u { regularizer apart[t, u] = 0.01 * sum(pred(x[t], a[u]) * x[u]) }
  energy nested = sum(square(twice(s0)))
  regularizer small = ||a||^2
  infer a
}
"""


STACK = """model stack(L: int = 3, T: int = 4, n: int = 2) {
  observed x : real[n]
  observed u : real[T, n]
  observed c : class[L]
  latent z : real[n] = 0
  for l in 0..L { net f[l] : real[n] -> real[n] = mlp([5], act = tanh) }
  for l in 0..L, t in 0..T { net g[l, t] : real[n] -> (real[n], real) = linear() }
  let h : real[L+1, n]
  let h[0] = x + z
  for l in 0..L { let h[l+1] = h[l] + f[l](h[l]) }
  energy out = ||h[L]||^2
  for l in 0..L, t in 0..T { energy each[l, t] = sum(f[l](u[t] + z)) }
  energy chosen = sum(f[c](x)) + ||z||^2
  for l in 0..L, t in 0..T if t < 2 {
    let (a, b) = g[l, t](u[t])
    energy pair[l, t] = sum(a) + 2 * b
  }
  energy first = sum(f[0](x)) + 3 * sum(f[L-1](x))
  infer z
}
"""


def tensors(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    rng = np.random.default_rng(5)
    return {name: torch.from_numpy(rng.normal(size=shape)) for name, shape in shapes.items()}


def test_inference_through_a_net_equals_scipy() -> None:
    model = ebmlang.loads(DECODER)
    values = tensors(y=(4, 6))
    found = model.infer(values, tol=1e-10)
    assert bool(found.converged.all())
    dec = copy.deepcopy(net(model, "dec")).double()

    def energy(z: Tensor, y: Tensor) -> Tensor:
        value: Tensor = (y - dec(z)).square().sum(-1) + 0.1 * z.square().sum(-1)
        return value

    torch.testing.assert_close(found.energy, energy(found["z"], values["y"]).detach(), rtol=1e-12, atol=1e-12)
    for row, y in enumerate(values["y"]):

        def pair(x: np.ndarray[tuple[int], np.dtype[np.float64]], y: Tensor = y) -> tuple[float, object]:
            z = torch.from_numpy(x).requires_grad_()
            value = energy(z, y)
            (slope,) = torch.autograd.grad(value, z)
            return float(value.detach()), slope.numpy()

        best = minimize(pair, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-10})
        assert float(found.energy[row]) == pytest.approx(best.fun, rel=1e-8)
        np.testing.assert_allclose(found["z"][row].numpy(), best.x, atol=1e-5)


def test_rows_are_answered_alone_as_together() -> None:
    model = ebmlang.loads(DECODER)
    values = tensors(y=(3, 6))
    together = model.infer(values, tol=1e-9)["z"]
    alone = torch.cat([model.infer(y=values["y"][i : i + 1], tol=1e-9)["z"] for i in range(3)])
    torch.testing.assert_close(alone, together, rtol=1e-6, atol=1e-7)
    unbatched = model.infer(y=values["y"][1], tol=1e-9)["z"]
    torch.testing.assert_close(unbatched, together[1:2], rtol=1e-6, atol=1e-7)


def test_plates_and_recurrences_equal_the_slow_evaluator() -> None:
    """Entry by entry, with the modules called on one position of one example at a time."""
    model = ebmlang.loads(PLATES)
    values = tensors(x=(2, 4, 3), s0=(2, 3), a=(2, 4))
    found = model.terms(values)
    pred, two = (copy.deepcopy(net(model, name)).double() for name in ("pred", "two"))

    def call_pred(u: object, a: object) -> object:
        joined = np.concatenate([np.asarray(u, dtype=float), [float(a)]])  # type: ignore[arg-type]
        return pred(torch.from_numpy(joined)[None])[0].detach().numpy()

    def call_two(u: object) -> tuple[object, object]:
        whole = two(torch.from_numpy(np.asarray(u, dtype=float))[None])[0].detach().numpy()
        return whole[:3], whole[3]

    rows = [{n: v[i].numpy() for n, v in values.items()} for i in range(2)]
    sizes = {"T": 4, "n": 3}
    slow = Reference(model.checked, sizes, {}, rows, nets={"pred": call_pred, "two": call_two})
    for term in model.checked.terms:
        expected = [slow.term(term, row) for row in range(2)]
        np.testing.assert_allclose(found[term.name].detach().numpy(), expected, rtol=1e-11, atol=1e-12)


def test_nets_in_plates_equal_the_slow_evaluator() -> None:
    model = ebmlang.loads(STACK)
    values = {**tensors(x=(3, 2), u=(3, 4, 2), z=(3, 2)), "c": torch.tensor([2, 0, 1])}
    found = model.terms(values)
    assert [len(net(model, name)) for name in "fg"] == [3, 12]
    assert not torch.equal(net(model, "f")[0][0].weight, net(model, "f")[1][0].weight)
    f, g = (copy.deepcopy(net(model, name)).double() for name in "fg")

    def call_f(at: object, u: object) -> object:
        return f[int(at)](torch.from_numpy(np.asarray(u))[None])[0].detach().numpy()  # type: ignore[call-overload]

    def call_g(at: object, t: object, u: object) -> tuple[object, object]:
        row = int(at) * 4 + int(t)  # type: ignore[call-overload]
        whole = g[row](torch.from_numpy(np.asarray(u))[None])[0].detach().numpy()
        return whole[:2], whole[2]

    rows = [{n: v[i].numpy() for n, v in values.items()} for i in range(3)]
    sizes = {"L": 3, "T": 4, "n": 2}
    slow = Reference(model.checked, sizes, {}, rows, nets={"f": call_f, "g": call_g})
    for term in model.checked.terms:
        expected = [slow.term(term, row) for row in range(3)]
        np.testing.assert_allclose(found[term.name].detach().numpy(), expected, rtol=1e-11, atol=1e-12)
    model.energy(values).sum().backward()
    assert all(p.grad is not None for p in net(model, "f").parameters())
    assert "f.2.0.weight" in model.state_dict()


@pytest.mark.parametrize("text", [DECODER, PLATES, STACK], ids=["decoder", "plates", "stack"])
def test_models_pass_the_checks_of_every_model(text: str) -> None:
    findings = list(run_checks(ebmlang.loads(text), examples=6, seed=0))
    assert {f.check for f in findings} == {c.name for c in CHECKS}
    assert all(f.verdict != "fails" for f in findings), findings


def test_energies_are_differentiable_in_the_weights() -> None:
    model = ebmlang.loads(DECODER)
    values = tensors(y=(4, 6), z=(4, 2))
    model.bind(values)
    model.energy(values).sum().backward()
    slope = net(model, "dec")[2].bias.grad
    residual = values["y"] - copy.deepcopy(net(model, "dec")).double()(values["z"])
    torch.testing.assert_close(slope.double(), -2 * residual.sum(0).detach(), rtol=1e-5, atol=1e-5)
    assert [n for n, _ in model.named_parameters()] == [
        "dec.0.weight", "dec.0.bias", "dec.2.weight", "dec.2.bias",
    ]  # fmt: skip


def test_one_net_in_the_place_of_another() -> None:
    text = """model m(n: int = 3) {
      observed x : real[n]
      net f : real[n] -> real[n] = mlp([4], act = tanh)
      net g : real[n] -> real[n] = mlp([7], act = relu)
      let h = f(f(x))
      energy e = sum(h)
      energy other = (sum(h) with f = g)
      energy swapped = (sum(f(g(x))) with f = g, g = f)
    }"""
    model = ebmlang.loads(text)
    values = tensors(x=(2, 3))
    found = model.terms(values)
    f, g = (copy.deepcopy(net(model, name)).double() for name in "fg")
    x = values["x"]
    torch.testing.assert_close(found["e"], f(f(x)).sum(-1))
    torch.testing.assert_close(found["other"], g(g(x)).sum(-1))
    torch.testing.assert_close(found["swapped"], g(f(x)).sum(-1))


def test_smoothness_and_curvature_are_those_of_the_net() -> None:
    def found(declared: str) -> set[str]:
        text = f"""model m(n: int = 3) {{
          observed y : real[n]
          latent z : real[n]
          net other : real[n] -> real[n] = mlp([4], act = relu)
          {declared}
          energy e = ||y - f(z)||^2
          infer z
        }}"""
        return set(ebmlang.loads(text).choice().structure.properties())

    affine = found("net f : real[n] -> real[n] = linear()")
    assert {"smooth", "quadratic", "convex"} <= affine
    smooth = found("net f : real[n] -> real[n] = mlp([4], act = gelu)")
    assert "smooth" in smooth
    assert not {"quadratic", "convex"} & smooth
    piecewise = found("net f : real[n] -> real[n] = mlp([4], act = relu)")
    assert "differentiable" in piecewise
    assert "smooth" not in piecewise
    extern = found("extern net f : real[n] -> real[n]")
    assert not {"differentiable", "smooth", "convex", "quadratic"} & extern
    assert "smooth" not in found("net f : real[n] -> real[n] = ema(other, decay = 0.9)")


def test_a_linear_net_is_solved_as_least_squares() -> None:
    model = ebmlang.loads("""model m(n: int = 5, k: int = 3) {
      observed y : real[n]
      latent z : real[k]
      net f : real[k] -> real[n] = linear()
      energy e = ||y - f(z)||^2 + 0.1 * ||z||^2
      infer z
    }""")
    values = tensors(y=(4, 5))
    found = model.infer(values)
    assert found.method == "quadratic"
    w, b = (p.detach().double() for p in net(model, "f").parameters())
    expected = torch.linalg.solve(w.T @ w + 0.1 * torch.eye(3).double(), w.T @ (values["y"] - b).T).T
    torch.testing.assert_close(found["z"], expected, rtol=1e-9, atol=1e-9)


def test_stop_keeps_the_value_and_no_gradient() -> None:
    model = ebmlang.loads("""model m(n: int = 3) {
      observed x : real[n]
      net f : real[n] -> real[n] = mlp([4], act = tanh)
      energy e = ||f(x) - stop(f(x + 1))||^2
    }""")
    values = tensors(x=(2, 3))
    value = model.energy(values)
    value.sum().backward()
    f = copy.deepcopy(net(model, "f")).double()
    f.zero_grad()
    x = values["x"]
    other = (f(x) - f(x + 1).detach()).square().sum()
    torch.testing.assert_close(value.sum(), other)
    other.backward()
    for own, expected in zip(net(model, "f").parameters(), f.parameters(), strict=True):
        assert own.grad is not None
        torch.testing.assert_close(own.grad.double(), expected.grad, rtol=1e-5, atol=1e-6)


def test_moving_average() -> None:
    model = ebmlang.loads("""model m(n: int = 3, d: int = 2) {
      observed x : real[n]
      net target : real[n] -> real[d] = ema(enc, decay = 0.9)
      net enc : real[n] -> real[d] = mlp([4])
      energy e = ||enc(x) - target(x)||^2 + sum(enc(x))
    }""").bind(tensors(x=(2, 3)))
    enc, target = net(model, "enc"), net(model, "target")
    start = [p.detach().clone() for p in enc.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(start, target.parameters(), strict=True))
    for _ in range(3):
        model.zero_grad()
        model.energy(tensors(x=(2, 3))).sum().backward()
        assert all(p.grad is None for p in target.parameters())
        with torch.no_grad():
            for p in enc.parameters():
                assert p.grad is not None
                p -= 0.1 * p.grad
        pairs = zip(target.parameters(), enc.parameters(), strict=True)
        expected = [0.9 * s + 0.1 * p.detach() for s, p in pairs]
        model.after_step()
        for own, wanted in zip(target.parameters(), expected, strict=True):
            torch.testing.assert_close(own, wanted, rtol=1e-6, atol=1e-7)
    assert "target.0.weight" in model.state_dict()


def test_starts_and_draws_may_call_nets() -> None:
    model = ebmlang.loads("""model m(n: int = 3, k: int = 2) {
      observed y : real[n]
      net enc : real[n] -> (real[k], real[k]) = mlp([4])
      net first : real[n] -> real[k] = linear()
      let (mu, s) = enc(y)
      random eps : real[k] ~ normal(mu, exp(s))
      latent z : real[k] = first(y)
      energy e = ||z - eps||^2
      infer z
    }""")
    values = tensors(y=(2, 3))
    found = model.infer(values, steps=1, using="adam")
    assert bool(torch.isfinite(found.energy).all())


# --- nets from outside ---

EXTERN = """model m(n: int = 3, d: int = 2) {
  observed x : real[n]
  observed u : real[n, n]
  extern net f : (real[n], real[n, n]) -> (real[d], real)
  let (a, b) = f(x, u)
  energy e = sum(a) + b
}
"""


class Pair(nn.Module):
    """An extern net with two inputs and two results."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.wrong = wrong

    def forward(self, x: Tensor, u: Tensor) -> tuple[Tensor, ...]:
        found = self.layer(x)
        total = u.sum((1, 2), keepdim=self.wrong == "shape")
        return (found,) if self.wrong == "count" else (found, total)


def test_extern_nets() -> None:
    pair = Pair()
    model = ebmlang.loads(EXTERN, nets={"f": pair})
    assert net(model, "f") is pair
    assert [n for n, _ in model.named_parameters()] == ["f.layer.weight", "f.layer.bias"]
    values = tensors(x=(4, 3), u=(4, 3, 3))
    expected = copy.deepcopy(pair).double().layer(values["x"]).sum(-1) + values["u"].sum((1, 2))
    torch.testing.assert_close(model.energy(values), expected, rtol=1e-12, atol=1e-12)
    # A value that all examples share is spread over them.
    shared = {"x": values["x"], "u": values["u"][0]}
    expected = copy.deepcopy(pair).double().layer(values["x"]).sum(-1) + values["u"][0].sum()
    torch.testing.assert_close(model.energy(shared), expected, rtol=1e-12, atol=1e-12)
    plain = ebmlang.loads(EXTERN, nets={"f": lambda x, u: (x[:, :2], u.sum((1, 2)))})
    torch.testing.assert_close(plain.energy(values), values["x"][:, :2].sum(-1) + values["u"].sum((1, 2)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("shape", ("line 4", "[4, 1, 1]", "says [4]", "[4, 3], [4, 3, 3]")),
        ("count", ("line 4", "1 results", "2 are declared")),
    ],
)
def test_extern_nets_that_return_something_else(wrong: str, words: tuple[str, ...]) -> None:
    model = ebmlang.loads(EXTERN, nets={"f": Pair(wrong)})
    with pytest.raises(DataError) as caught:
        model.energy(tensors(x=(4, 3), u=(4, 3, 3)))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_mistakes_in_the_nets_that_are_passed() -> None:
    with pytest.raises(DataError, match="was not given"):
        ebmlang.loads(EXTERN).energy(tensors(x=(4, 3), u=(4, 3, 3)))
    with pytest.raises(DataError, match="did you mean `f`"):
        ebmlang.loads(EXTERN, nets={"ff": Pair()})
    with pytest.raises(DataError, match=r"torch\.nn\.Module"):
        ebmlang.loads(EXTERN, nets={"f": 3})
    with pytest.raises(DataError, match="has a constructor"):
        ebmlang.loads(DECODER, nets={"dec": nn.Linear(2, 6)})
    plated = "model m(n: int = 2) { observed x : real[n]\n for i in 0..n { extern net f[i] : real -> real }\n"
    plated += "energy e = f[0](x[0]) + f[1](x[1]) }"
    with pytest.raises(DataError, match=r"pass a torch\.nn\.ModuleList"):
        ebmlang.loads(plated, nets={"f": nn.Linear(1, 1)})
    with pytest.raises(DataError, match="needs 2 modules"):
        ebmlang.loads(plated, nets={"f": nn.ModuleList([nn.Identity()])}).energy(tensors(x=(3, 2)))
    each = ebmlang.loads(plated, nets={"f": nn.ModuleList([nn.Identity(), nn.Tanh()])})
    x = tensors(x=(3, 2))["x"]
    torch.testing.assert_close(each.energy(x=x), x[:, 0] + torch.tanh(x[:, 1]))
    model = ebmlang.loads(DECODER)
    with pytest.raises(DataError, match="does not exist yet"):
        net(model, "dec")
    with pytest.raises(DataError, match="no net `encoder`"):
        net(model, "encoder")
    with pytest.raises(DataError, match="do not exist yet"):
        list(model.parameters())


def test_other_sizes_need_another_model() -> None:
    model = ebmlang.loads(DECODER.replace("n: int = 6", "n: int"))
    model.bind(tensors(y=(2, 6)))
    with pytest.raises(DataError, match="made for n = 6, and here n = 5"):
        model.infer(tensors(y=(2, 5)))


# --- parameters in files ---


def test_parameters_travel_by_the_names_of_torch(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    first = ebmlang.loads(DECODER, seed=1).bind(tensors(y=(2, 6)))
    path = tmp_path / "params.safetensors"
    save_file(first.state_dict(), path)
    values = tensors(y=(2, 6), z=(2, 2))
    from ebmlang.commands.engine import load_parameters

    for before in (True, False):
        second = ebmlang.loads(DECODER, seed=2)
        if not before:
            second.bind(values)
        load_parameters(second, str(path))
        torch.testing.assert_close(second.energy(values), first.energy(values))
    third = ebmlang.loads(DECODER, k=3)
    load_parameters(third, str(path))
    with pytest.raises(DataError, match=r"`dec\.0\.weight` has the shape \[16, 2\].*needs \[16, 3\]"):
        third.bind(y=values["y"])
    fourth = ebmlang.loads(DECODER.replace("[16]", "[16, 16]"))
    load_parameters(fourth, str(path))
    with pytest.raises(DataError, match=r"dec\.4\.bias.*lack it"):
        fourth.bind(y=values["y"])


def test_generated_files_hold_their_nets(tmp_path: Path) -> None:
    """`python model.py --data D`: plain torch.nn text, the same weights from the same seed."""
    from ebmlang.commands.standalone import run_file

    model = ebmlang.loads(DECODER, seed=3)
    assert "nn.Linear(k, 16)" in model.source
    (tmp_path / "decoder.py").write_text(model.source)
    y = tensors(y=(3, 6))["y"].float().numpy()
    np.savez(tmp_path / "y.npz", y=y)
    out = tmp_path / "z.npz"
    words = ["--data", str(tmp_path / "y.npz"), "-o", str(out), "--seed", "3"]
    assert run_file(str(tmp_path / "decoder.py"), words) == 0
    expected = model.infer(y=y, seed=3)
    np.testing.assert_allclose(np.load(out)["z"], expected["z"].numpy(), rtol=1e-4, atol=1e-4)


def test_generated_files_take_nets_and_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Extern nets from Python by --bind, trained ones from a file by --params."""
    from safetensors.numpy import save_file

    from ebmlang.commands.standalone import run_file

    text = """
    model scored(n: int, d: int = 2) {
      observed x : real[n]
      latent z : real[d]
      extern net f : real[n] -> real[d]
      net g : real[n] -> real[d] = linear()
      param w : real[d] = normal()
      energy e = ||f(x) + g(x) + w - z||^2 + 0.1 * ||z||^2
      infer z
    }"""
    outside = nn.Linear(3, 2)
    model = ebmlang.loads(text, nets={"f": outside}, seed=7)
    x = tensors(x=(4, 3))["x"].float().numpy()
    expected = model.infer(x=x)["z"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scored.py").write_text(model.source)
    module = types.ModuleType("nets_of_a_test")
    vars(module)["make"] = lambda: outside
    monkeypatch.setitem(sys.modules, "nets_of_a_test", module)
    np.savez("x.npz", x=x)
    found = {**model.declared_parameters(), **model.nets.state()}
    save_file({n: p.detach().numpy() for n, p in found.items() if not n.startswith("f.")}, "p.safetensors")
    words = ["--data", "x.npz", "-o", "z.npz", "--force", "--bind"]
    assert run_file("scored.py", [*words, "f=nets_of_a_test:make", "--params", "p.safetensors"]) == 0
    np.testing.assert_allclose(np.load("z.npz")["z"], expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert run_file("scored.py", [*words[:-1]]) == 1
    assert "--bind f=package.module:make" in capsys.readouterr().err
    assert run_file("scored.py", [*words, "h=nets_of_a_test:make"]) == 1
    assert "no extern net `h`" in capsys.readouterr().err


def test_checking_does_not_load_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from ebmlang.compiler.pipeline import check_source; "
        "from ebmlang.compiler.source import Source; "
        f"assert not check_source(Source('m', {DECODER!r})).failed; "
        "assert not {'torch', 'sympy', 'networkx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_programs_check() -> None:
    for text in (DECODER, PLATES, STACK, EXTERN):
        assert not check_source(Source("<text>", text)).diagnostics


def test_a_plate_of_nets_may_be_empty() -> None:
    text = """model chain(n: int, layers: int = 0) {
      observed x : real[n]
      for l in 0..layers { net f[l] : real[n] -> (real[n], real) = linear() }
      for l in 0..layers { let (a, b) = f[l](x); energy e[l] = sum(a) * b }
      energy still = ||x||^2
    }"""
    x = torch.ones(2, 3)
    assert ebmlang.loads(text).energy(x=x).tolist() == [3, 3]
    assert ebmlang.loads(text, layers=2).energy(x=x).shape == (2,)
