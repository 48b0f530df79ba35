"""Models that several tests train, and the batches that a loop by hand sees."""

from __future__ import annotations

from collections.abc import Iterator

from ebmlang.runtime.training.batches import Batch, walk

LINEAR = """model linear(n: int, lam: real in nonnegative = 0.5) {
  observed x : real[n]
  observed t : real
  param W : real[n] = normal()
  param b : real
  energy fit = (t - dot(W, x) - b)^2
  regularizer size = lam * ||W||^2
  train
}
"""

AUTOENCODER = """model autoencoder(n: int, k: int) {
  observed y : real[n]
  param W : real[n, k] = 0.3 * normal()
  param V : real[k, n] = 0.3 * normal()
  energy reconstruction = ||y - W @ (V @ y)||^2
  train using sgd(lr = 0.01, momentum = 0.9)
}
"""

DICTIONARY = """model dictionary(n: int, k: int, lam: real in nonnegative = 0.2) {
  observed y : real[n]
  latent z : real[k] = 0
  param D : real[n, k] in unit_columns = normal()
  energy reconstruction = 1/2 * ||y - D @ z||^2
  regularizer sparsity = lam * ||z||_1
  infer z
  train D using sgd(lr = 0.05)
}
"""

LOGISTIC = """model logistic(n: int, lam: real in nonnegative = 1.0) {
  observed x : real[n]
  observed t : bool
  param w : real[n]
  param b : real
  energy loss = softplus(-where(t, 1, -1) * (dot(w, x) + b))
  regularizer size = lam * ||w||^2
  train using lbfgs
}
"""

MIXTURE = """model mixture(n: int, k: int) {
  observed y : real[n]
  latent c : class[k]
  param M : real[k, n] = normal()
  param p : real[k] in simplex
  param v : real[k, n] in positive = 1
  energy fit = 1/2 * sum((y - M[c])^2 / v[c]) + 1/2 * sum(log(v[c])) - log(p[c])
  marginalize c
  train using adam(lr = 0.05)
}
"""

KMEANS = """model kmeans(n: int, k: int) {
  observed y : real[n]
  latent c : class[k]
  param M : real[k, n] = normal()
  energy distance = ||y - M[c]||^2
  infer c
  train M using sgd(lr = 0.2)
}
"""


def batches(
    count: int, size: int | None, seed: int, epochs: int | None, steps: int | None
) -> Iterator[Batch]:
    """The minibatches of a run, for a loop by hand."""
    way = walk(count, size, seed)
    last = way.steps(epochs, steps)
    assert last is not None
    return (way.at(step) for step in range(1, last + 1))
