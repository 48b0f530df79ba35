"""Small models with the sparsity of their Hessians: what is said of them, and what binding makes of them."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """`says` is the finding without its evidence, `shows` part of the evidence; `pattern` is what a bound
    model gets: the class, with bandwidth or block and so on after it. `sizes` are hyperparameters."""

    name: str
    head: str
    body: str
    says: str
    shows: str
    pattern: str
    sizes: dict[str, int]
    sought: tuple[str, ...] = ()
    separable: str = ""

    @property
    def text(self) -> str:
        lines = "\n  ".join(self.body.split(";"))
        return f"model small({self.head}) {{\n  {lines}\n}}\n"


RNG = np.random.default_rng(5)
GRID = np.array([[i, i + 1] for i in range(11)] + [[0, 7], [3, 10]])

DATA: dict[str, Any] = {
    "y": lambda s: RNG.normal(size=s["T"]) if "T" in s else RNG.normal(size=s["n"]),
    "w": lambda s: RNG.normal(size=s["T"]) if "T" in s else RNG.normal(size=s["n"]),
    "X": lambda s: RNG.normal(size=(s["m"], s["n"])),
    "Y": lambda s: RNG.normal(size=(s["m"], s["k"])),
    "A": lambda s: RNG.normal(size=(s["d"], s["d"])),
    "B": lambda s: RNG.normal(size=(s["d"], s["c"])),
    "edges": lambda s: GRID % s["n"],
    "near": lambda s: np.abs(np.subtract.outer(np.arange(s["n"]), np.arange(s["n"]))) == 2,
    "known": lambda s: np.arange(s["n"]) % 2 == 0,
    "group": lambda s: np.arange(s["n"]) % s["k"],
    "at": lambda s: np.arange(s["n"])[::-1].copy(),
}
"""Values of given variables by name, from sizes."""

CASES = (
    Case("smoother", "T: int", "observed y : real[T];latent x : real[T];for t in 0..T { energy data[t] = (y[t] - x[t])^2 };for t in 0..T-1 { energy smooth[t] = huber(x[t+1] - x[t]) }",
         "block-banded", "smooth couples x[t] with x[t + 1]", "Banded 1", {"T": 30}),
    Case("second_differences", "T: int", "latent x : real[T];for t in 0..T-2 { energy bend[t] = (x[t] - 2 * x[t+1] + x[t+2])^2 }",
         "block-banded", "bandwidth 2: bend couples x[t] with x[t + 2]", "Banded 2", {"T": 30}),
    Case("two_along_an_index", "T: int", "latent x : real[T];latent v : real[T];for t in 0..T-1 { energy move[t] = (x[t+1] - x[t] - v[t])^2 };for t in 0..T-1 { energy push[t] = (v[t+1] - v[t])^2 }",
         "block-banded", "blocks of 2, bandwidth 1", "Banded 2 ordered", {"T": 30}),
    Case("states", "T: int, d: int", "observed A : real[d, d];latent s : real[T, d];for t in 0..T-1 { energy move[t] = ||s[t+1] - A @ s[t]||^2 }",
         "block-banded", "blocks of d, bandwidth 1", "BlockTridiagonal 20 5", {"T": 20, "d": 5}),
    Case("control", "T: int, d: int, c: int", "observed A : real[d, d];observed B : real[d, c];latent s : real[T+1, d];latent a : real[T, c];for t in 0..T { energy move[t] = ||s[t+1] - A @ s[t] - B @ a[t]||^2 };energy effort = ||a||^2",
         "block-banded", "blocks of c + d, bandwidth 1", "Banded 5 ordered", {"T": 20, "d": 2, "c": 1}),
    Case("columns_of_chains", "T: int, n: int", "latent x : real[T, n];for t in 0..T-1, i in 0..n { energy smooth[t, i] = (x[t+1, i] - x[t, i])^2 }",
         "block-banded", "blocks of 1, bandwidth 1", "Banded 1 ordered", {"T": 20, "n": 6}, separable="over the columns of x"),
    Case("stride_two", "T: int", "latent x : real[2 * T];for t in 0..T { energy pair[t] = (x[2 * t] - x[2 * t + 1])^4 }",
         "block-banded", "pair couples x[2 * t] with x[2 * t + 1]", "Banded 1", {"T": 15}),
    Case("odd_guard", "T: int", "latent x : real[T];for t in 0..T if t > 0 { energy pair[t] = (x[t] * x[t - 1])^2 }",
         "block-banded", "bandwidth 1", "Banded 1", {"T": 30}),
    Case("lets_with_cells", "T: int", "latent x : real[T];let d : real[T-1];for t in 0..T-1 { let d[t] = x[t+1] - x[t] };energy rough = sum(huber(d));energy size = sum(x^2)",
         "block-banded", "rough couples x[", "Banded 1", {"T": 30}),
    Case("cells_of_lets", "T: int", "latent x : real[T];for t in 0..T-1 { let d[t] = x[t+1] - x[t] };for t in 0..T-2 { energy bend[t] = (d[t+1] - d[t])^2 }",
         "block-banded", "bandwidth 2", "Banded 2", {"T": 30}),
    Case("slices", "T: int", "latent x : real[T];energy smooth = ||x[1..T] - x[0..T-1]||^2",
         "block-banded", "bandwidth 1", "Banded 1", {"T": 30}),
    Case("entrywise", "n: int", "observed w : real[n];latent x : real[n];energy all = sum(huber(x)) + ||x||^2 + ||x||_1 + sum(w * x^2) + dot(w, x) + sum(softplus(x - w))",
         "diagonal", "no term couples two entries", "Diagonal", {"n": 20}),
    Case("softmax_form", "n: int", "observed w : real[n];latent x : real[n] in simplex;energy all = dot(x, w) - entropy(x)",
         "diagonal", "no term", "Dense", {"n": 20}),
    Case("pairs_of_variables", "n: int", "latent x : real[n];latent v : real[n];energy near = ||x - v||^2 + dot(x, v)",
         "block-diagonal", "near couples v[i] with x[i]", "BlockDiagonal 20 2 ordered", {"n": 20}, separable="over the entries of x and the entries of v"),
    Case("columns_of_weights", "n: int, m: int, k: int", "shared observed X : real[m, n];observed Y : real[m, k];latent W : real[n, k];energy fit = ||Y - X @ W||^2",
         "block-diagonal", "fit couples W[i, j] with W[k, j]", "BlockDiagonal 6 3", {"n": 3, "m": 5, "k": 6}, separable="over the columns of W"),
    Case("weights_by_einsum", "n: int, m: int, k: int", "shared observed X : real[m, n];observed Y : real[m, k];latent W : real[n, k];energy fit = sum(huber(Y - einsum(\"mn,nk->mk\", X, W)))",
         "block-diagonal", "blocks of n", "BlockDiagonal 6 3", {"n": 3, "m": 5, "k": 6}, separable="over the columns of W"),
    Case("least_squares", "n: int, m: int", "shared observed X : real[m, n];latent x : real[n];energy fit = ||X @ x||^2",
         "dense", "fit couples x[", "Dense", {"n": 12, "m": 9}),
    Case("factors", "n: int, m: int, k: int", "observed Y : real[m, k];latent U : real[m, n];latent V : real[n, k];energy fit = ||Y - U @ V||^2",
         "bipartite", "U[i, k] with V[k, j]", "Dense", {"n": 2, "m": 4, "k": 4}),
    Case("machine", "m: int, n: int", "shared observed X : real[m, n];latent h : real[m];latent v : real[n];energy meet = -h @ X @ v;energy rest = sum(h^4) + sum(v^4)",
         "bipartite", "meet couples h[", "Dense", {"m": 7, "n": 8}),
    Case("chain_and_scalar", "T: int", "latent x : real[T];latent rate : real;for t in 0..T-1 { energy move[t] = (x[t+1] - rate * x[t])^2 }",
         "arrow", "x in blocks of 1, bandwidth 1; beside it move couples rate with x[t]", "Arrow 1 Banded 1", {"T": 30}),
    Case("entries_and_mean", "n: int", "latent x : real[n];latent level : real;energy near = sum((x - level)^4)",
         "arrow", "x entry by entry", "Arrow 1 Diagonal", {"n": 60}),
    Case("first_entry", "n: int", "latent x : real[n];for i in 0..n { energy near[i] = (x[i] - x[0])^4 }",
         "arrow", "near couples x[0] with x[i]", "Arrow 1 Diagonal", {"n": 120}),
    Case("codes_and_dictionary", "n: int, k: int", "observed y : real[n];latent z : real[k];param D : real[n, k];energy fit = ||y - D @ z||^2",
         "bipartite", "z and D meet each other", "Dense", {"n": 3, "k": 2}, ("z", "D")),
    Case("tree", "n: int", "latent x : real[n];for i in 1..n { energy up[i] = (x[i] - x[(i - 1) // 2])^2 }",
         "tree", "up couples x[i] with x[(i - 1) // 2], its parent", "Sparse", {"n": 120}),
    Case("grid", "n: int, m: int", "latent x : real[n, m];for i in 0..n-1, j in 0..m { energy down[i, j] = huber(x[i+1, j] - x[i, j]) };for i in 0..n, j in 0..m-1 { energy right[i, j] = huber(x[i, j+1] - x[i, j]) }",
         "sparse", "down couples x[i, j] with x[i + 1, j]", "Sparse", {"n": 30, "m": 40}),
    Case("narrow_grid", "n: int", "latent x : real[n, 3];for i in 0..n-1, j in 0..3 { energy down[i, j] = huber(x[i+1, j] - x[i, j]) };for i in 0..n, j in 0..2 { energy right[i, j] = huber(x[i, j+1] - x[i, j]) }",
         "block-banded", "blocks of 3, bandwidth 1", "Banded 3", {"n": 30}),
    Case("ring", "T: int", "latent x : real[T];for t in 0..T { energy smooth[t] = (x[t] - x[(t + 1) % T])^2 }",
         "sparse", "smooth couples x[t] with x[(t + 1) % T]", "Banded 2 ordered", {"T": 30}),
    Case("edges", "n: int, M: int", "shared observed edges : class[n][M, 2];latent x : real[n];for (i, j) in edges { energy tie[i, j] = (x[i] - x[j])^2 }",
         "sparse", "tie couples x[i] with x[j]", "Sparse", {"n": 120}),
    Case("chosen_pairs", "n: int", "shared observed near : bool[n, n];latent x : real[n];for i in 0..n, j in 0..n if near[i, j] and i < j { energy tie[i, j] = (x[i] - x[j])^2 }",
         "sparse", "tie couples x[i] with x[j]", "Banded 2", {"n": 40}),
    Case("all_pairs", "n: int", "latent x : real[n];for i in 0..n, j in 0..n if i < j { energy tie[i, j] = exp(-(x[i] - x[j])^2) }",
         "dense", "tie couples x[i] with x[j]", "Dense", {"n": 20}),
    Case("reversed", "n: int", "latent x : real[n];for i in 0..n { energy tie[i] = (x[i] - x[n - 1 - i])^2 }",
         "sparse", "tie couples x[", "Banded 1 ordered", {"n": 40}),
    Case("groups", "n: int, k: int", "observed group : class[k][n];latent x : real[n];latent level : real[k];for i in 0..n { energy near[i] = (x[i] - level[group[i]])^2 }",
         "bipartite", "near couples x[i] with level[group[i]]", "Arrow 4 Diagonal", {"n": 120, "k": 4}),
    Case("nested_plates", "n: int, m: int", "latent x : real[n, m];for i in 0..n { for j in 0..m-1 { energy step[i, j] = (x[i, j+1] - x[i, j])^2 } }",
         "block-banded", "step couples x[i, j] with x[i, j + 1]", "Banded 1", {"n": 5, "m": 9}, separable="over the rows of x"),
    Case("norms_of_groups", "n: int, m: int", "latent x : real[n, m];for i in 0..n { energy size[i] = ||x[i]|| }",
         "block-diagonal", "blocks of m", "BlockDiagonal 5 4", {"n": 5, "m": 4}, separable="over the rows of x"),
    Case("strangers", "n: int", "latent x : real[n];latent v : real[n];energy a = sum(x)^2;energy b = sum(v)^2",
         "dense", "a couples x[", "Dense", {"n": 12}, separable="no term couples x with v"),
    Case("shared_level", "n: int", "latent x : real[n];param level : real;energy near = sum((x - level)^4) + level^2",
         "arrow", "x entry by entry", "Arrow 1 Diagonal", {"n": 60}, ("x", "level")),
    Case("packed_states", "T: int", "latent s : real[T, 2];for t in 0..T-1 { energy move[t] = ||s[t+1] - [s[t, 0] + 0.1 * s[t, 1], s[t, 1]]||^2 }",
         "block-banded", "blocks of 2, bandwidth 1", "Banded 2", {"T": 20}),
)  # fmt: skip
