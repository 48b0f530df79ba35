"""`use`: a model with a part is the model in which the part is written out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import ebmlang
from ebmlang.errors import ModelError
from tests.draws import normal

F64 = torch.float64

PART = """
model shrink(d: int, lam: real in nonnegative = 1.0) {
  observed u : real[d]
  latent z : real[d] = 0
  let r = u - z
  energy fit = 1/2 * ||r||^2
  for i in 0..d if i > 0 { regularizer small[i] = lam * (z[i] - z[i-1])^2 }
}
"""

JOINED = (
    PART
    + """
model outer(n: int, T: int = 3) {
  observed y : real[n]
  observed Y : real[T, n]
  latent x : real[n]
  let w = 2 * x
  energy data = ||y - x||^2
  use shrink(lam = 0.5) as reg with u = w
  for t in 0..T {
    use shrink as b[t] with u = Y[t] - x
    energy tie[t] = ||b[t].z - x||^2 + sum(b[t].r)^2
  }
  energy more = sum(reg.z)^2 + sum(b.z[1])^2 + ||reg.r||^2
  infer x, reg.z, b.z
}
"""
)

WRITTEN_OUT = """
model outer(n: int, T: int = 3, lam: real in nonnegative = 1.0) {
  observed y : real[n]
  observed Y : real[T, n]
  latent x : real[n]
  latent a : real[n] = 0
  latent b : real[T, n] = 0
  let w = 2 * x
  energy data = ||y - x||^2
  energy fit = 1/2 * ||w - a||^2
  for i in 0..n if i > 0 { regularizer small[i] = 0.5 * (a[i] - a[i-1])^2 }
  for t in 0..T {
    energy fits[t] = 1/2 * ||Y[t] - x - b[t]||^2
    energy tie[t] = ||b[t] - x||^2 + sum(Y[t] - x - b[t])^2
  }
  for t in 0..T, i in 0..n if i > 0 { regularizer smalls[t, i] = lam * (b[t, i] - b[t, i-1])^2 }
  energy more = sum(a)^2 + sum(b[1])^2 + ||w - a||^2
  infer x, a, b
}
"""


def _hyper(name: str, value: float) -> dict[str, Any]:
    return {name: value}


def test_a_part_is_what_is_written_out() -> None:
    data: dict[str, Any] = {"y": normal(5, 4), "Y": normal(5, 3, 4, seed=1)}
    joined, written = ebmlang.loads(JOINED), ebmlang.loads(WRITTEN_OUT)
    unknown: dict[str, Any] = {
        "x": normal(5, 4, seed=2),
        "reg.z": normal(5, 4, seed=3),
        "b.z": normal(5, 3, 4, seed=4),
    }
    renamed: dict[str, Any] = {"x": unknown["x"], "a": unknown["reg.z"], "b": unknown["b.z"]}
    torch.testing.assert_close(joined.energy(**data, **unknown), written.energy(**data, **renamed))
    found, expected = joined.infer(**data), written.infer(**data)
    assert found.method == expected.method == "quadratic"
    torch.testing.assert_close(found.energy, expected.energy)
    torch.testing.assert_close(found["b.z"], expected["b"])
    torch.testing.assert_close(found["reg.r"], 2 * found["x"] - found["reg.z"])
    torch.testing.assert_close(found["b.r"], data["Y"] - found["x"][:, None] - found["b.z"])
    assert set(found.terms) == {"data", "reg.fit", "reg.small", "b.fit", "b.small", "tie", "more"}


def test_hyperparameters_of_parts_are_set_from_outside() -> None:
    data: dict[str, Any] = {"y": normal(2, 4), "Y": normal(2, 3, 4, seed=1)}
    strong = ebmlang.loads(JOINED, **_hyper("b.lam", 7.0)).infer(**data)
    written = ebmlang.loads(WRITTEN_OUT, lam=7.0).infer(**data)
    torch.testing.assert_close(strong.energy, written.energy)
    with pytest.raises(ebmlang.DataError, match=r"b\.lam"):
        ebmlang.loads(JOINED, **_hyper("b.lam", -1.0)).infer(**data)


def test_starts_and_parameters_of_parts() -> None:
    text = """
    model layer(n: int, k: int) {
      observed x : real[n]
      param W : real[k, n] in unit_columns = normal()
      latent z : real[k] in [-1, 1] = x[0]
      energy fit = ||W @ x - z||^2
    }
    model two(n: int, k: int = 3) {
      observed x : real[n]
      use layer(k = k) as a with x = x
      use layer(k = k) as b with x = x, W = a.W
      for l in 0..2 { use layer(k = 2) as c[l] with x = l * x }
      infer a.z, b.z, c.z
    }
    """
    model = ebmlang.loads(text, n=4)
    found = model.infer(x=normal(3, 4))
    assert {name: tuple(p.shape) for name, p in model.named_parameters()} == {"a.W": (3, 4), "c.W": (2, 2, 4)}
    torch.testing.assert_close(found["a.z"], found["b.z"])
    torch.testing.assert_close(found["c.z"][:, 0], torch.zeros(3, 2, dtype=F64))
    each = model.value("c.W").norm(dim=-2)
    torch.testing.assert_close(each, torch.ones_like(each))
    assert not torch.equal(model.value("c.W")[0], model.value("c.W")[1])


def test_parts_of_parts_and_sizes_solved_at_the_border() -> None:
    text = """
    model pair(n: int) {
      observed a : real[n];  observed b : real[2 * n + 1]
      latent z : real[n]
      energy far = ||a - z||^2 + sum(b) * sum(z)
    }
    model middle(m: int) {
      observed a : real[m]
      use pair as p with a = a, b = concat([1.0], concat(a, a))
      energy e = ||p.z||^2
    }
    model top(k: int) {
      observed a : real[k]
      use middle as q with a = 2 * a
      use middle as r with a = a[0..2]
      infer q.p.z, r.p.z
    }
    """
    a = normal(4, 5)
    found = ebmlang.loads(text).infer(a=a)
    for name, value in (("q.p.z", 2 * a), ("r.p.z", a[:, :2])):
        best = (2 * value - (1 + 2 * value.sum(-1, keepdim=True))) / 4
        torch.testing.assert_close(found[name], best)


def test_batch_terms_and_constraints_join() -> None:
    text = """
    model spread(d: int) {
      observed u : real[d]
      batch energy variance = sum(relu(1 - std(u, over = batch)))
    }
    model limited(d: int) {
      observed u : real[d]
      subject to budget : sum(u) <= 1
      energy none = 0 * sum(u)
    }
    model m(d: int) {
      observed y : real[d]
      latent x : real[d]
      energy fit = ||x - y||^2
      use limited as l with u = x
      use spread as s with u = y
      infer x
    }
    """
    y = torch.tensor([[2.0, 1.0], [0.1, 0.2]], dtype=F64)
    found = ebmlang.loads(text).infer(y=y)
    torch.testing.assert_close(
        found["x"], torch.tensor([[1.0, 0.0], [0.1, 0.2]], dtype=F64), atol=1e-6, rtol=0
    )
    assert set(found.violations) == {"l.budget"}
    torch.testing.assert_close(found.batch_terms["s.variance"], (1 - y.std(0)).relu().sum())


def test_what_a_part_needs_of_its_sizes_is_asked_where_it_is_used() -> None:
    part = "model p(n: int) { observed a : real[n]; energy e = a[4]^2 }\n"
    with pytest.raises(ModelError, match=r"in `q` \(p\)"):
        ebmlang.loads(part + "model m { observed x : real[3]; use p as q with a = x }")
    model = ebmlang.loads(part + "model m(n: int) { observed x : real[n]; use p as q with a = x }")
    with pytest.raises(ebmlang.DataError, match="in `q`"):
        model.energy(x=normal(2, 3))
    assert model.energy(x=normal(2, 6)).shape == (2,)


# --- files --------------------------------------------------------------------------------------


def test_files_import_files(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "shrink.ebm").write_text(PART)
    (tmp_path / "parts" / "both.ebm").write_text(
        'import "shrink.ebm" as s\n'
        "model other(d: int) { observed u : real[d]; energy e = sum(u) }\n"
        "model both(d: int) { observed u : real[d]; use s as a with u = u; use other as b with u = u }\n"
    )
    (tmp_path / "main.ebm").write_text(
        'import "parts/both.ebm" as both\n'
        "model m(n: int) { observed y : real[n]; use both as p with u = y; use both.other as q with u = y\n"
        "  infer p.a.z }\n"
    )
    y = normal(3, 4)
    found = ebmlang.load(tmp_path / "main.ebm").infer(y=y)
    torch.testing.assert_close(found.terms["q.e"], y.sum(-1))
    assert found["p.a.z"].shape == (3, 4)


def test_circles_and_mistakes_in_imported_files_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a.ebm").write_text(
        'import "b.ebm" as b\nmodel a { observed x : real; use b as q with x = x }\n'
    )
    (tmp_path / "b.ebm").write_text(
        'import "a.ebm" as a\nmodel b { observed x : real; use a as q with x = x }\n'
    )
    with pytest.raises(ModelError, match=r"a\.ebm -> b\.ebm -> a\.ebm"):
        ebmlang.load(tmp_path / "a.ebm")
    (tmp_path / "c.ebm").write_text("model c { observed x : real; energy e = x + missing }\n")
    (tmp_path / "d.ebm").write_text(
        'import "c.ebm" as c\nmodel d { observed x : real; use c as q with x = x }\n'
    )
    with pytest.raises(ModelError) as caught:
        ebmlang.load(tmp_path / "d.ebm")
    shown = [x.header() for x in caught.value.diagnostics]
    assert any("c.ebm:1:" in line and "E0201" in line for line in shown)
    assert any("d.ebm:1:1" in line and "E0602" in line for line in shown)
    assert len(shown) == 2


def test_limits() -> None:
    deep = ["model p0 { observed x : real; energy e = x^2 }"]
    deep += [f"model p{i} {{ observed x : real; use p{i - 1} as q with x = x }}" for i in range(1, 40)]
    with pytest.raises(ModelError, match="E0608"):
        ebmlang.loads("\n".join(deep))
    wide = ["model p0 { observed x : real; energy e = x^2 + x + 1 }"]
    twice = "model p{0} {{ observed x : real; use p{1} as a with x = x; use p{1} as b with x = 2 * x }}"
    wide += [twice.format(i, i - 1) for i in range(1, 30)]
    with pytest.raises(ModelError, match="E0608"):
        ebmlang.loads("\n".join(wide))


@pytest.mark.parametrize("start", ["normal()", "1 + 0.5 * normal(0, 2)", "normal(y, 0.1)", "uniform(0, 1)"])
def test_each_copy_in_a_plate_has_draws_of_its_own(start: str) -> None:
    text = f"""
model noisy(n: int) {{
  observed y : real[n]
  latent z : real[n] = {start}
  random e : real[n] ~ normal()
  energy fit = ||y + e - z||^2
}}
model whole(n: int, C: int) {{
  observed Y : real[C, n]
  for c in 0..C {{ use noisy as p[c] with y = Y[c] }}
  use noisy as q with y = Y[0]
  infer p.z, q.z
}}
"""
    m = ebmlang.loads(text, model="whole", seed=5)
    Y = torch.randn(4, 3, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    r = m.infer(Y=Y, restarts=2)
    draws = r["p.z"] - Y
    single = r["q.z"] - Y[:, 0]
    assert len(set(torch.cat([draws.flatten(), single.flatten()]).tolist())) == 4 * 3 * 2 + 4 * 2
    torch.testing.assert_close(m.infer(Y=Y[:2])["p.z"], r["p.z"][:2])
    assert not torch.equal(m.infer(Y=Y, seed=6)["p.z"], r["p.z"])
    held: dict[str, Any] = {"Y": Y, "p.e": torch.zeros(4, 3, 2, dtype=F64)}
    torch.testing.assert_close(m.infer(**held)["p.z"], Y)


def test_countable_unknowns_of_parts_are_tabulated() -> None:
    text = """
model assign(n: int, k: int) {
  observed y : real[n]
  param mu : real[k, n] = normal()
  latent c : class[k]
  energy fit = ||y - mu[c]||^2
}
model whole(n: int, C: int, k: int = 3) {
  observed Y : real[C, n]
  observed u : real[n]
  for i in 0..C { use assign(k = k) as p[i] with y = Y[i] }
  use assign(k = k) as q with y = u
  for i in 0..C { energy tie[i] = 0.7 * (p[i].c == q.c) }
  infer p.c, q.c
}
"""
    m = ebmlang.loads(text, model="whole", seed=3)
    g = torch.Generator().manual_seed(0)
    Y, u = torch.randn(5, 2, 4, dtype=F64, generator=g), torch.randn(5, 4, dtype=F64, generator=g)
    r = m.infer(Y=Y, u=u)
    mu, nu = m.value("p.mu").double(), m.value("q.mu").double()
    near = (Y[:, :, None] - mu).square().sum(-1)
    own = (u[:, None] - nu).square().sum(-1)
    tied = near[:, :, :, None] + 0.7 * torch.eye(3, dtype=F64)
    best = (tied.amin(2).sum(1) + own).amin(1)
    torch.testing.assert_close(r.energy, best, rtol=1e-5, atol=1e-5)


def test_parts_without_an_energy() -> None:
    """Blocks of values with parameters: joined, solved, and applied in a recurrence."""
    text = """
    model block(d: int, w: int = 3) {
      observed x : real[d]
      param W : real[w, d] = normal()
      net f : real[w] -> real[d] = linear()
      let h = tanh(W @ x)
      let y = x + f(h)
    }
    model deep(d: int, L: int = 2) {
      observed x : real[d]
      observed t : real[d]
      use block as first with x = x
      solve block as second with x = first.y
      for l in 0..L { part layer[l] = block(d = d, w = 2) }
      let h : real[L+1, d]
      let h[0] = second.y
      for l in 0..L {
        use layer[l] as out[l] with x = h[l]
        let h[l+1] = out[l].y
      }
      energy e = ||h[L] - t||^2
    }
    """
    x, t = normal(5, 4), normal(5, 4, seed=1)
    model = ebmlang.loads(text).bind(x=x, t=t)
    state = model.state_dict()

    def block(x: torch.Tensor, W: torch.Tensor, net: str) -> torch.Tensor:
        found: torch.Tensor = x + torch.tanh(x @ W.T) @ state[f"{net}.weight"].T + state[f"{net}.bias"]
        return found

    h = block(block(x, state["first.W"], "first.f"), state["second.W"], "second.f")
    for k in range(2):
        h = block(h, state["layer.W"][k], f"layer.f.{k}")
    torch.testing.assert_close(model.energy(x=x, t=t), (h - t).square().sum(-1))
    with pytest.raises(ebmlang.ModelError, match=r"`block` has no term(?s:.*)name another model.*: deep"):
        ebmlang.loads(text, model="block")


def test_given_names_a_part() -> None:
    text = """
    model two(n: int) {
      observed u : real[n]
      latent a : real[n]
      latent b : real[n]
      energy e = ||u - a - b||^2 + ||a||^2 + 2 * ||b||^2
    }
    model m(n: int) {
      observed y : real[n]
      use two as reg with u = y
      latent z : real[n]
      energy f = ||z - reg.a||^2 + ||z - reg.b||^2
      infer z given NAMES
    }"""
    data = {"y": normal(3, 2), "reg.a": normal(3, 2, seed=1), "reg.b": normal(3, 2, seed=2)}
    found = ebmlang.loads(text.replace("NAMES", "reg")).infer(data)
    torch.testing.assert_close(found["z"], (data["reg.a"] + data["reg.b"]) / 2)
    spelled = ebmlang.loads(text.replace("NAMES", "reg.a, reg.b"))
    assert spelled.checked.questions[0].given == ("reg.a", "reg.b")
    assert ebmlang.loads(text.replace("NAMES", "reg")).checked.questions[0].given == ("reg.a", "reg.b")
