"""Models whose formulas are compared with expected ones."""

from __future__ import annotations

from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.source import Source

GALLERY = (
    "alarm", "asia", "attention", "graph_smoothing", "hopfield", "ising", "lasso", "logistic", "lqr",
    "pca_codes", "pendulum", "portfolio", "smoothing_chain", "sparse_coding",
)  # fmt: skip

PROGRAMS = {
    "batch_terms": """
model batch_terms(n: int, d: int, gamma: real in positive = 1.0) {
  observed x : real[n]
  observed y : real[n]
  random   eps : real[n] ~ normal(0, 0.1)
  param    W : real[d, n] = normal()
  param    V : real[n, d] in stiefel
  let u = W @ (x + eps)
  energy same = ||u - W @ y||^2
  batch energy spread = sum(relu(gamma - std(u, over = batch)))
  batch energy apart = sum(cov(u, over = batch)^2) / d
  energy three = einsum("ij,j,i->", W, x, u) + trace(V.T @ V) - u @ W @ x
  cost far = mean(exp(-x / 2) * sqrt(square(x) + 1)) ^ 2 - -3 * x[0]
  train W using adam(lr = 0.01)
}
""",
    "parts": """
model smooth(n: int, w: real in nonnegative = 1.0) {
  observed u : real[n]
  latent   s : real[n] = 0
  energy near = 1/2 * ||u - s||^2
  for i in 0..n-1 { regularizer bend[i] = w * (s[i+1] - s[i])^2 }
}
model parts(n: int, C: int) {
  observed U : real[C, n]
  latent   common : real[n]
  for c in 0..C {
    use smooth as p[c] with u = U[c]
    energy tie[c] = ||p[c].s - common||^2
  }
  infer common, p.s
}
""",
    "solved": """
model block(d: int) {
  observed x : real[d]
  param    W : real[d, d] = 0.1 * normal()
  latent   z : real[d] in simplex
  energy match  = -dot(z, W @ x)
  energy spread = -entropy(z)
  let y = x + W.T @ z
}
model solved(d: int, L: int = 4) {
  observed x : real[d]
  observed t : real[d]
  latent   gain : real = 1
  let h : real[L+1, d]
  let h[0] = x
  for l in 0..L { part layer[l] = block(d = d) }
  for l in 0..L {
    solve layer[l] as out[l] with x = h[l]
    let h[l+1] = out[l].y
  }
  energy fit = ||gain * h[L] - t||^2
  infer gain
}
""",
    "nets": """
model nets(n: int, d: int = 8, c: int = 2) {
  observed x : real[n]
  observed y : real[n]
  latent   z : real[c] = 0
  net enc    : real[n] -> real[d] = mlp([64], act = gelu)
  net pred   : (real[d], real[c]) -> (real[d], real[d]) = mlp([32], act = gelu)
  net target : real[n] -> real[d] = ema(enc, decay = 0.99)
  extern net feature : real[n] -> real
  let (mean_of, spread) = pred(enc(x), z)
  energy prediction = ||(mean_of - stop(target(y))) / (1 + exp(spread))||^2 + feature(x)
  regularizer small = 0.1 * ||z||^2
  infer z
  train enc using adam(lr = 0.01)
}
""",
    "mixture": """
model mixture(n: int, K: int, beta: real in positive = 2) {
  observed x  : real[n]
  latent   c  : class[K]
  param    mu : real[K, n]
  param    mu_0 : real[n]
  param    P  : real[n, n] in positive_definite
  let r = x - mu[c] - mu_0
  let h = where(x[0] > 1 and not (x[0] > 3), x[0], clamp(x[0], 0, 1)) // 2
  energy distance = 1/2 * r @ P @ r - 1/2 * logabsdet(P) + n / 2 * log(2 * pi)
  energy nearest  = min(||x - mu[k]||_1, over = k in 0..K) + max(|x|) + 1e-3 * h
  subject to small : sum(mu_0) <= 1
  for k in 0..K if k > 0 { subject to apart[k] : ||mu[k]||^2 == n }
  marginalize c
  train
}
""",
}


def model(name: str) -> typed.Model:
    text = PROGRAMS[name]
    checked = pipeline.check_source(Source("<text>", text))
    assert not checked.failed, checked.diagnostics
    return checked.models[-1]
