"""Models that between them use every mark of a drawing."""

from ebmlang.compiler import pipeline
from ebmlang.compiler.graph import FactorGraph
from ebmlang.compiler.source import Source

CHAIN = """
## Robust smoothing of a series: neighbours agree.
model chain(T: int, w: real in nonnegative = 10.0) {
  observed y : real[T]
  latent x : real[T] = y
  for t in 0..T { energy data[t] = (y[t] - x[t])^2 }
  for t in 0..T-1 { energy smooth[t] = w * huber(x[t + 1] - x[t]) }
  infer x
}
"""

GRID = """
model grid(n: int, m: int) {
  observed y : real[n, m]
  latent x : real[n, m] = y
  for i in 0..n, j in 0..m { energy data[i, j] = (x[i, j] - y[i, j])^2 }
  for i in 0..n-1, j in 0..m { energy down[i, j] = (x[i + 1, j] - x[i, j])^2 }
  for i in 0..n, j in 0..m-1 { energy right[i, j] = (x[i, j + 1] - x[i, j])^2 }
  infer x
}
"""

EDGES = """
model edges_of(n: int, M: int) {
  shared observed edges : class[n][M, 2]
  shared observed known : bool[n]
  observed y : real[n]
  latent x : real[n] = 0
  for i in 0..n if known[i] { energy data[i] = (x[i] - y[i])^2 }
  for (i, j) in edges { energy tie[i, j] = (x[i] - x[j])^2 }
  infer x
}
"""

GUARDED = """
model guarded(T: int, R: int = 2) {
  observed y : real[T]
  latent x : real[T] = y
  for t in 0..T if t > 0 { energy step[t] = (x[t] - x[t - 1])^2 }
  for t in 0..T {
    energy window[t] = (x[t] - y[t] - sum(x[s], over = s in 0..T if s < t and t - s <= R))^2
  }
  infer x
}
"""

FACTORISE = """
model factorise(n: int, m: int, k: int = 3) {
  observed R : real[n, m]
  observed seen : bool[n, m] = true
  latent U : real[n, k]
  latent V : real[m, k]
  for i in 0..n, j in 0..m if seen[i, j] { energy fit[i, j] = (R[i, j] - dot(U[i], V[j]))^2 }
  for i in 0..n { regularizer small_u[i] = ||U[i]||^2 }
  for j in 0..m { regularizer small_v[j] = ||V[j]||^2 }
  infer U, V
}
"""

LOGISTIC = """
## Logistic regression with a ridge penalty.
model logistic(m: int, n: int, lam: real in nonnegative = 1.0) {
  shared observed X : real[m, n]
  shared observed y : real[m]
  param w : real[n]
  param b : real
  let score : real[m] = X @ w + b
  energy fit = sum(softplus(-y * score))
  regularizer size = lam / 2 * ||w||^2
  infer w, b
}
"""

WALKER = """
## A body that walks: it keeps its balance, follows a path and saves effort.
model walker(T: int = 40, d: int = 6, m: int = 3, K: int = 4, dt: real = 0.05) {
  shared observed path : real[T, 2]
  observed start : real[d]
  observed ground : real[T] missing
  latent s : real[T, d]
  latent a : real[T, m] in [-1, 1]
  latent contact : real[T, K] in nonnegative
  param A : real[d, d] = normal()
  random wind : real[T] ~ normal()
  let tip : real[2] = s[T - 1, 0..2]
  for t in 0..T { let foot[t] = s[t, 0] + dt * s[t, 1] }
  energy begin = ||s[0] - start||^2
  for t in 0..T-1 { energy motion[t] = ||s[t + 1] - A @ s[t]||^2 + (wind[t] - a[t, 0])^2 }
  for t in 0..T {
    energy touch[t] = (foot[t] - ground[t])^2
    cost track[t] = ||s[t, 0..2] - path[t]||^2
    regularizer effort[t] = 0.01 * ||a[t]||^2
    for k in 0..K {
      energy push[t, k] = contact[t, k] * relu(foot[t])
      regularizer few[t, k] = |contact[t, k]|
    }
  }
  for t in 0..T if t > 0 { regularizer jerk[t] = ||a[t] - a[t - 1]||^2 }
  cost goal = ||tip - path[T - 1]||^2
  regularizer ridge = ||A||^2
  batch regularizer spread = ||A||_1
  infer s, a, contact
}
"""

LIMITS = """## A plan that must not fall, within a budget.
model limits(T: int) {
  observed y : real[T]
  shared observed price : real[T]
  latent x : real[T]
  for t in 0..T { energy fit[t] = (x[t] - y[t])^2 }
  ## What it may cost.
  subject to budget : price @ x <= 1
  subject to whole : sum(x) == 1
  for t in 0..T-1 { subject to rising[t] : x[t] <= x[t+1] }
  infer x
}
"""

NETS = """
model nets(n: int, k: int = 2, L: int = 3) {
  observed y : real[n]
  latent z : real[k] = 0
  ## Two numbers for every entry of the code.
  net enc : real[n] -> (real[k], real[k]) = mlp([8], act = gelu)
  for l in 0..L { net dec[l] : real[k] -> real[n] = linear() }
  let (mu, s) = enc(y)
  for l in 0..L { energy fit[l] = ||y - dec[l](z)||^2 }
  energy prior = sum(exp(s) * square(z - mu))
  infer z
}
"""

PARTS = """
model smooth(n: int, w: real in nonnegative = 1.0) {
  observed u : real[n]
  latent   s : real[n] = 0
  let gap = u - s
  energy near = 1/2 * ||gap||^2
  for i in 0..n-1 { regularizer bend[i] = w * (s[i+1] - s[i])^2 }
}

model rough(n: int) {
  observed v : real[n]
  use smooth(w = 3) as base with u = v
  for i in 0..n-1 { energy slope[i] = (base.s[i+1] - base.s[i] - v[i])^2 }
}

## Channels that are smoothed one by one and pulled together, and one that is rough.
model parts(n: int, C: int) {
  observed U : real[C, n]
  observed V : real[n]
  latent   common : real[n]
  for c in 0..C {
    use smooth as p[c] with u = U[c]
    energy tie[c] = ||p[c].s - common||^2
  }
  use rough as r with v = V
  use smooth as alone with u = V
  infer common, p.s, r.base.s, alone.s
}
"""

PROGRAMS = {
    "parts": PARTS,
    "nets": NETS,
    "limits": LIMITS,
    "chain": CHAIN,
    "grid": GRID,
    "edges": EDGES,
    "guarded": GUARDED,
    "factorise": FACTORISE,
    "logistic": LOGISTIC,
    "walker": WALKER,
}


def graph_of(text: str) -> FactorGraph:
    checked = pipeline.check_source(Source("<text>", text))
    assert not checked.failed, [d.header() for d in checked.diagnostics]
    return pipeline.graph_of(checked.models[-1])
