"""Parts that the tests of nested searches share."""

from __future__ import annotations

RIDGE = """
model ridge(n: int, k: int) {
  observed A : real[n, k]
  observed y : real[n]
  observed lam : real in positive
  latent z : real[k]
  energy fit = 1/2 * ||A @ z - y||^2
  regularizer small = lam / 2 * ||z||^2
  let guess = A @ z
}
"""

SMOOTH = """
model smooth(n: int) {
  observed u : real[n];  observed w : real in positive
  latent s : real[n]
  energy near = 1/2 * ||s - u||^2
  for i in 0..n-1 { regularizer bend[i] = w * (1 - exp(-(s[i+1] - s[i])^2)) }
}
"""
