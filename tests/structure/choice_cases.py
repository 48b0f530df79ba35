"""Small models of many fields with what is true of them and the method that they deserve, written by hand."""

# Texts of models are longer than lines of code.
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """`body` is a program without its first line, with `;` for line ends; `found` are findings, with their
    conditions after `if`; `absent` are properties that are false of the energy, or that nobody may claim."""

    name: str
    head: str
    body: str
    method: str
    found: tuple[str, ...]
    absent: tuple[str, ...] = ()
    sought: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        lines = "\n  ".join(part.strip() for part in self.body.split(";"))
        return f"model m({self.head}) {{\n  {lines}\n}}\n"


STATISTICS = (
    Case(
        "least squares with a free mean",
        "m: int, n: int",
        "observed X : real[m, n]; observed y : real[m]; latent w : real[n]; latent b : real; energy fit = mean((y - X @ w - b)^2)",
        "quadratic",
        ("quadratic", "convex", "sum of squares", "bounded below", "dense Hessian"),
    ),
    Case(
        "weighted least squares",
        "m: int, n: int",
        "observed X : real[m, n]; observed y : real[m]; observed v : real[m] in positive; latent w : real[n]; energy fit = sum((y - X @ w)^2 / v)",
        "quadratic",
        ("quadratic", "convex", "sum of squares"),
    ),
    Case(
        "generalised least squares",
        "m: int, n: int",
        "observed X : real[m, n]; observed y : real[m]; observed P : real[m, m] in psd; latent w : real[n]; energy fit = 1/2 * (y - X @ w) @ P @ (y - X @ w)",
        "quadratic",
        ("quadratic", "convex"),
    ),
    Case(
        "generalised least squares, unproven precision",
        "m: int, n: int",
        "observed X : real[m, n]; observed y : real[m]; observed P : real[m, m]; latent w : real[n]; energy fit = 1/2 * (y - X @ w) @ P @ (y - X @ w)",
        "quadratic",
        ("quadratic", "convex if P is positive semidefinite"),
    ),
    Case(
        "elastic net",
        "m: int, n: int, a: real in nonnegative, b: real in nonnegative",
        "observed X : real[m, n]; observed y : real[m]; latent w : real[n]; energy fit = 1/2 * ||y - X @ w||^2; regularizer small = a * ||w||^2; regularizer few = b * ||w||_1",
        "fista",
        ("convex", "smooth plus absolute values", "bounded below"),
        ("quadratic", "smooth"),
    ),
    Case(
        "absolute values of rows in a plate",
        "T: int, n: int, lam: real in nonnegative",
        "observed y : real[n]; latent x : real[n]; latent Z : real[T, n]; energy fit = ||y - x||^2; for t in 0..T { energy near[t] = ||x - Z[t]||^2 + lam * (t + 1) * ||Z[t]||_1 }",
        "fista",
        ("convex", "smooth plus absolute values"),
        ("smooth",),
    ),
    Case(
        "absolute values with the weight of their row",
        "T: int, n: int, lam: real in nonnegative",
        "observed Y : real[T, n]; latent Z : real[T, n]; energy fit = ||Y - Z||^2; energy few = sum(lam * (t + 1) * |Z[t, i]|, over = (t in 0..T, i in 0..n))",
        "fista",
        ("convex", "smooth plus absolute values"),
        ("smooth",),
    ),
    Case(
        "robust regression",
        "m: int, n: int",
        "observed X : real[m, n]; observed y : real[m]; latent w : real[n]; energy fit = sum(huber(y - X @ w))",
        "newton",
        ("convex", "piecewise smooth", "sum of losses"),
    ),
    Case(
        "Cauchy regression",
        "m: int, n: int",
        "observed X : real[m, n]; observed y : real[m]; latent w : real[n]; energy fit = sum(log1p((y - X @ w)^2))",
        "gauss_newton",
        ("smooth", "sum of losses", "bounded below"),
        ("convex",),
    ),
    Case(
        "Poisson regression",
        "m: int, n: int, lam: real in nonnegative",
        "observed X : real[m, n]; observed y : real[m] in nonnegative; latent w : real[n]; energy fit = sum(exp(X @ w) - y * (X @ w)); regularizer small = lam * ||w||^2",
        "newton",
        ("convex", "smooth"),
    ),
    Case(
        "Poisson regression with an absolute penalty",
        "m: int, n: int, lam: real in nonnegative",
        "observed X : real[m, n]; observed y : real[m] in nonnegative; latent w : real[n]; energy fit = sum(exp(X @ w) - y * (X @ w)); regularizer few = lam * ||w||_1",
        "fista",
        ("convex", "smooth plus absolute values"),
        ("smooth",),
    ),
    Case(
        "multinomial regression",
        "m: int, n: int, k: int, lam: real in positive",
        "observed X : real[m, n]; observed T : real[m, k]; latent W : real[n, k]; let S = X @ W; energy fit = sum(logsumexp(S, over = 1)) - sum(T * S); regularizer small = lam * ||W||^2",
        "newton",
        ("convex", "smooth"),
    ),
    Case(
        "median",
        "m: int",
        "observed y : real[m]; latent b : real; energy fit = sum(abs(y - b))",
        "adam",
        ("convex", "kinks", "bounded below"),
        ("smooth", "smooth plus absolute values"),
    ),
    Case(
        "quantile",
        "m: int, q: real in [0, 1]",
        "observed y : real[m]; latent b : real; let r = y - b; energy fit = sum(max(q * r, (q - 1) * r))",
        "adam",
        ("convex", "kinks"),
        ("smooth",),
    ),
    Case(
        "hinge loss",
        "m: int, n: int",
        "observed X : real[m, n]; observed s : real[m]; latent w : real[n]; energy fit = sum(relu(1 - s * (X @ w))); regularizer small = 1/2 * ||w||^2",
        "adam",
        ("convex", "kinks"),
        ("smooth", "piecewise smooth", "differentiable"),
    ),
    Case(
        "hinge loss and a bounded term",
        "m: int, n: int",
        "observed X : real[m, n]; observed s : real[m]; latent w : real[n]; energy fit = sum(relu(1 - s * (X @ w))) - sum(cos(w))",
        "adam",
        ("kinks",),
        ("convex", "piecewise smooth"),
    ),
    Case(
        "network of one hidden layer",
        "m: int, n: int",
        "observed A : real[m, n]; observed b : real[m]; observed y : real; latent x : real[n]; energy fit = (y - dot(b, relu(A @ x)))^2",
        "gauss_newton",
        ("piecewise smooth", "sum of squares"),
        ("convex", "kinks"),
    ),
    Case(
        "spread and fit",
        "n: int, w: real in nonnegative",
        "observed y : real[n]; latent x : real[n]; energy fit = ||x - y||^2 + w * std(x)",
        "adam",
        ("convex", "kinks"),
        ("piecewise smooth",),
    ),
    Case(
        "squared hinge loss",
        "m: int, n: int",
        "observed X : real[m, n]; observed s : real[m]; latent w : real[n]; energy fit = sum(relu(1 - s * (X @ w))^2); regularizer small = 1/2 * ||w||^2",
        "newton",
        ("convex", "piecewise smooth"),
        ("quadratic",),
    ),
    Case(
        "Gaussian by precision",
        "n: int",
        "observed S : real[n, n] in psd; latent P : real[n, n] in positive_definite; energy fit = trace(S @ P) - logabsdet(P)",
        "lbfgs",
        ("convex", "smooth"),
    ),
    Case(
        "Gaussian mean and log scale",
        "m: int",
        "observed y : real[m]; latent mu : real; latent s : real; energy fit = sum((y - mu)^2) * exp(-2 * s) / 2 + m * s",
        "trust_region",
        ("smooth", "convex by blocks"),
        ("convex", "quadratic"),
    ),
    Case(
        "exponential rate",
        "m: int",
        "observed y : real[m] in positive; latent r : real in positive; energy fit = r * sum(y) - m * log(r)",
        "trust_region",
        ("convex", "smooth", "unconstrained"),
    ),
    Case(
        "Gamma shape",
        "m: int",
        "observed y : real[m] in positive; latent a : real in positive; energy fit = m * lgamma(a) - a * sum(log(y))",
        "trust_region",
        ("convex", "smooth"),
    ),
    Case(
        "matrix factorisation",
        "m: int, n: int, k: int",
        "observed V : real[m, n]; latent A : real[m, k]; latent B : real[k, n]; energy fit = ||V - A @ B||^2",
        "gauss_newton",
        ("smooth", "sum of squares", "convex by blocks", "bounded below"),
        ("convex", "quadratic"),
    ),
)

IMAGES = (
    Case(
        "deblurring",
        "n: int, m: int, w: real in nonnegative",
        "observed K : real[n, n]; observed y : real[n, m]; latent x : real[n, m]; energy fit = 1/2 * ||y - K @ x||^2; regularizer flat = w * ||x||^2",
        "quadratic",
        ("quadratic", "convex", "block-diagonal Hessian", "separable"),
    ),
    Case(
        "smooth image",
        "n: int, m: int, w: real in nonnegative",
        "observed y : real[n, m]; latent x : real[n, m]; energy fit = 1/2 * ||y - x||^2; for i in 0..n-1, j in 0..m { energy down[i, j] = w * (x[i+1, j] - x[i, j])^2 }; for i in 0..n, j in 0..m-1 { energy right[i, j] = w * (x[i, j+1] - x[i, j])^2 }",
        "quadratic",
        ("quadratic", "convex", "sum of squares", "sparse Hessian"),
    ),
    Case(
        "Huber total variation",
        "n: int, m: int, w: real in nonnegative",
        "observed y : real[n, m]; latent x : real[n, m]; energy fit = 1/2 * ||y - x||^2; energy down = w * sum(huber(x[1.., ..] - x[..n-1, ..])); energy right = w * sum(huber(x[.., 1..] - x[.., ..m-1]))",
        "accelerated_gradient",
        ("convex", "piecewise smooth", "sum of losses", "sparse Hessian"),
    ),
    Case(
        "pixels between black and white",
        "n: int, w: real in nonnegative",
        "observed y : real[n]; latent x : real[n] in [0, 1]; energy fit = 1/2 * ||y - x||^2; energy flat = w * sum((x[1..] - x[..n-1])^2)",
        "projected_newton",
        ("quadratic", "convex", "constrained", "block-banded Hessian"),
    ),
    Case(
        "circle through points",
        "m: int",
        "observed p : real[m, 2]; latent c : real[2]; latent r : real in positive; for i in 0..m { energy off[i] = (||p[i] - c|| - r)^2 }",
        "gauss_newton",
        ("sum of squares", "piecewise smooth", "bounded below", "unconstrained"),
        ("convex",),
    ),
    Case(
        "rates between limits",
        "m: int",
        "shared observed t : real[m]; observed y : real[m]; latent a : real; latent r : real in [0, 2]; for i in 0..m { energy fit[i] = (a * exp(-r * t[i]) - y[i])^2 }",
        "projected_gauss_newton",
        ("sum of squares", "smooth", "constrained", "separable bounds"),
        ("convex", "unconstrained"),
    ),
    Case(
        "rotors",
        "T: int",
        "observed y : real[T]; latent x : real[T]; for t in 0..T { energy pull[t] = -cos(x[t] - y[t]) }; for t in 0..T-1 { energy near[t] = -cos(x[t+1] - x[t]) }",
        "trust_region",
        ("smooth", "block-banded Hessian"),
        ("convex", "sum of losses"),
    ),
    Case(
        "circle of a free radius",
        "m: int",
        "observed p : real[m, 2]; latent c : real[2]; latent r : real; for i in 0..m { energy off[i] = (||p[i] - c|| - r)^2 }",
        "gauss_newton",
        ("sum of squares", "piecewise smooth", "bounded below"),
        ("convex", "kinks"),
    ),
    Case(
        "rings around one point",
        "m: int, k: int",
        "observed p : real[m, 2]; observed ring : class[k][m]; latent c : real[2]; latent r : real[k]; for i in 0..m { energy off[i] = huber(||p[i] - c|| - r[ring[i]]) }",
        "gauss_newton",
        ("sum of losses", "piecewise smooth"),
        ("convex", "kinks"),
    ),
    Case(
        "a radius that is given in part",
        "m: int, k: int",
        "observed p : real[m, 2]; observed ring : class[k][m]; latent c : real[2]; observed r : real[k] missing; for i in 0..m { energy off[i] = (||p[i] - c|| - r[ring[i]])^2 }",
        "adam",
        ("sum of squares", "kinks"),
        ("convex", "piecewise smooth"),
        sought=("c", "r"),
    ),
    Case(
        "a radius that another term pulls down",
        "m: int",
        "observed p : real[m, 2]; latent c : real[2]; latent r : real; for i in 0..m { energy off[i] = (||p[i] - c|| - r)^2 }; energy small = (r + 1)^2",
        "adam",
        ("sum of squares", "kinks"),
        ("convex", "piecewise smooth"),
    ),
    Case(
        "circle of a known radius",
        "m: int, r: real in nonnegative",
        "observed p : real[m, 2]; latent c : real[2]; for i in 0..m { energy off[i] = (||p[i] - c|| - r)^2 }",
        "gauss_newton",
        ("sum of squares", "piecewise smooth"),
        ("convex",),
    ),
    Case(
        "pose of a plane",
        "m: int",
        "observed p : real[m, 2]; observed q : real[m, 2]; latent a : real; latent t : real[2]; for i in 0..m { energy off[i] = (q[i, 0] - cos(a) * p[i, 0] + sin(a) * p[i, 1] - t[0])^2 + (q[i, 1] - sin(a) * p[i, 0] - cos(a) * p[i, 1] - t[1])^2 }",
        "gauss_newton",
        ("smooth", "sum of squares", "bounded below"),
        ("convex", "quadratic"),
    ),
    Case(
        "rotation by Procrustes",
        "m: int, d: int",
        "observed P : real[m, d]; observed Q : real[m, d]; latent R : real[d, d] in stiefel; energy off = ||Q - P @ R||^2",
        "projected_gradient",
        ("quadratic", "convex energy", "constrained"),
        ("convex",),
    ),
    Case(
        "direction of most variance",
        "n: int",
        "observed S : real[n, n] in psd; latent v : real[n] in sphere; energy spread = -(v @ S @ v)",
        "projected_gradient",
        ("quadratic", "concave"),
        ("convex", "convex energy"),
    ),
)

CONTROL = (
    Case(
        "stepping over a ditch",
        "T: int",
        "observed s0 : real[2]; latent a : real[T, 1] in [-1, 1]; let s : real[T+1, 2]; let s[0] = s0; for t in 0..T { let s[t+1] = [s[t, 0] + 0.1 * s[t, 1], s[t, 1] + 0.1 * a[t, 0]]; energy e[t] = where(abs(s[t+1, 0] - 1) < 0.2, 10.0, 0.0) + (s[t+1, 0] - 2)^2 }",
        "cem",
        ("rollout",),
        ("piecewise smooth", "convex"),
    ),
    Case(
        "tracking with free states",
        "T: int, d: int",
        "observed A : real[d, d]; observed y : real[T, d]; latent s : real[T, d]; for t in 0..T { energy see[t] = ||y[t] - s[t]||^2 }; for t in 0..T-1 { energy move[t] = ||s[t+1] - A @ s[t]||^2 }",
        "quadratic",
        ("quadratic", "convex", "sum of squares", "block-banded Hessian"),
    ),
    Case(
        "robust tracking with free states",
        "T: int, d: int",
        "observed A : real[d, d]; observed y : real[T, d]; latent s : real[T, d]; for t in 0..T { energy see[t] = sum(huber(y[t] - s[t])) }; for t in 0..T-1 { energy move[t] = ||s[t+1] - A @ s[t]||^2 }",
        "newton",
        ("convex", "sum of losses", "block-banded Hessian"),
        ("quadratic",),
    ),
    Case(
        "double integrator",
        "T: int, h: real",
        "observed s0 : real[2]; latent a : real[T]; let s : real[T+1, 2]; let s[0] = s0; for t in 0..T { let s[t+1] = [s[t, 0] + h * s[t, 1], s[t, 1] + h * a[t]] }; cost goal = ||s[T]||^2; cost effort = ||a||^2",
        "riccati",
        ("linear-quadratic rollout", "quadratic", "convex"),
    ),
    Case(
        "regulator with proven weights",
        "T: int, d: int, c: int",
        "observed A : real[d, d]; observed B : real[d, c]; observed Q : real[d, d] in psd; observed R : real[c, c] in positive_definite; observed s0 : real[d]; latent a : real[T, c]; let s : real[T+1, d]; let s[0] = s0; for t in 0..T { let s[t+1] = A @ s[t] + B @ a[t]; cost price[t] = 1/2 * a[t] @ R @ a[t] + 1/2 * s[t+1] @ Q @ s[t+1] }",
        "riccati",
        ("linear-quadratic rollout", "quadratic", "convex"),
    ),
    Case(
        "regulator with limits",
        "T: int, d: int, c: int",
        "observed A : real[d, d]; observed B : real[d, c]; observed s0 : real[d]; latent a : real[T, c] in [-1, 1]; let s : real[T+1, d]; let s[0] = s0; for t in 0..T { let s[t+1] = A @ s[t] + B @ a[t]; cost price[t] = ||a[t]||^2 + ||s[t+1]||^2 }",
        "ilqr",
        ("linear-quadratic rollout", "quadratic", "convex", "constrained"),
    ),
    Case(
        "regulator with limits of states",
        "T: int, d: int, c: int",
        "observed A : real[d, d]; observed B : real[d, c]; observed s0 : real[d]; latent a : real[T, c] in [-1, 1]; let s : real[T+1, d]; let s[0] = s0; for t in 0..T { let s[t+1] = A @ s[t] + B @ a[t]; cost price[t] = ||a[t]||^2 + ||s[t+1]||^2; subject to room[t] : s[t+1] <= 1 }; subject to end : s[T] == 0",
        "staged_interior_point",
        ("limited rollout", "quadratic", "convex", "hard constraints"),
        ("linear-quadratic rollout",),
    ),
    Case(
        "regulator with a limit over all times",
        "T: int, d: int, c: int",
        "observed A : real[d, d]; observed B : real[d, c]; observed s0 : real[d]; latent a : real[T, c]; let s : real[T+1, d]; let s[0] = s0; for t in 0..T { let s[t+1] = A @ s[t] + B @ a[t]; cost price[t] = ||a[t]||^2 + ||s[t+1]||^2 }; subject to fuel : sum(a) <= 1",
        "interior_point",
        ("quadratic", "convex", "hard constraints"),
        ("limited rollout",),
    ),
    Case(
        "few thrusts",
        "T: int, h: real, w: real in nonnegative",
        "observed s0 : real[2]; latent a : real[T]; let s : real[T+1, 2]; let s[0] = s0; for t in 0..T { let s[t+1] = [s[t, 0] + h * s[t, 1], s[t, 1] + h * a[t]] }; cost goal = ||s[T]||^2; cost fuel = w * ||a||_1",
        "fista",
        ("convex", "smooth plus absolute values"),
    ),
    Case(
        "system identification",
        "T: int, d: int",
        "observed s : real[T, d]; latent A : real[d, d]; for t in 0..T-1 { energy step[t] = ||s[t+1] - A @ s[t]||^2 }",
        "quadratic",
        ("quadratic", "convex", "sum of squares", "block-diagonal Hessian"),
    ),
)

FINANCE = (
    Case(
        "minimum variance",
        "n: int",
        "observed C : real[n, n] in psd; latent w : real[n]; energy risk = w @ C @ w; subject to all : sum(w) == 1",
        "interior_point",
        ("quadratic", "convex", "quadratic program"),
    ),
    Case(
        "minimum variance on the simplex",
        "n: int",
        "observed C : real[n, n] in psd; latent w : real[n] in simplex; energy risk = w @ C @ w",
        "projected_gradient",
        ("quadratic", "convex", "constrained"),
    ),
    Case(
        "growth-optimal portfolio",
        "m: int, n: int",
        "observed R : real[m, n] in positive; latent w : real[n] in simplex; energy growth = -mean(log(R @ w))",
        "projected_gradient",
        ("convex", "constrained"),
        ("quadratic",),
    ),
    Case(
        "entropic portfolio",
        "n: int",
        "observed mu : real[n]; latent w : real[n] in simplex; energy gain = -dot(mu, w); energy spread = -entropy(w)",
        "softmax",
        ("linear minus entropy", "convex", "interior"),
    ),
    Case(
        "linear program",
        "m: int, n: int",
        "observed c : real[n]; observed A : real[m, n]; observed b : real[m]; latent x : real[n] in nonnegative; energy price = dot(c, x); subject to need : A @ x == b",
        "linear_program",
        ("affine", "convex", "linear program"),
    ),
    Case(
        "robust fit of codes",
        "n: int, k: int",
        "shared observed A : real[n, k]; observed y : real[n]; latent x : real[n]; latent z : real[k]; energy fit = sum(huber(x - y)); regularizer small = ||z||^2; subject to link : x == A @ z",
        "null_space",
        ("convex", "hard constraints", "invertible by elimination"),
        ("quadratic program",),
    ),
    Case(
        "utility under risk aversion",
        "m: int, n: int, g: real in positive",
        "observed R : real[m, n]; latent w : real[n]; energy worry = logsumexp(-g * (R @ w)) / g; regularizer small = ||w||^2",
        "newton",
        ("convex", "smooth"),
    ),
    Case(
        "optimal transport",
        "n: int, m: int, e: real in positive",
        "observed C : real[n, m]; observed p : real[n]; observed q : real[m]; latent P : real[n, m] in nonnegative; energy price = sum(C * P) + e * sum(xlogy(P, P)); subject to rows : sum(P, over = 1) == p; subject to columns : sum(P, over = 0) == q",
        "augmented_lagrangian",
        ("convex", "hard constraints"),
        ("quadratic program",),
    ),
)

SIGNALS = (
    Case(
        "trend filter",
        "T: int, w: real in nonnegative",
        "observed y : real[T]; latent x : real[T]; energy fit = 1/2 * ||y - x||^2; for t in 0..T-2 { energy bend[t] = w * (x[t] - 2 * x[t+1] + x[t+2])^2 }",
        "quadratic",
        ("quadratic", "convex", "block-banded Hessian"),
    ),
    Case(
        "denoising by soft thresholds",
        "n: int, w: real in nonnegative",
        "observed y : real[n]; latent x : real[n]; energy fit = 1/2 * ||y - x||^2; energy few = w * ||x||_1",
        "fista",
        ("convex", "smooth plus absolute values", "diagonal Hessian"),
    ),
    Case(
        "fused denoising",
        "n: int, w: real in nonnegative",
        "observed y : real[n]; latent x : real[n]; energy fit = 1/2 * ||y - x||^2; energy jumps = w * sum(abs(x[1..] - x[..n-1]))",
        "adam",
        ("convex", "kinks"),
        ("smooth plus absolute values", "smooth"),
    ),
    Case(
        "phase retrieval",
        "m: int, n: int",
        "observed A : real[m, n]; observed y : real[m]; latent x : real[n]; energy fit = sum(((A @ x)^2 - y)^2)",
        "gauss_newton",
        ("smooth", "sum of squares", "bounded below"),
        ("convex", "quadratic"),
    ),
    Case(
        "one-bit compressed sensing",
        "m: int, n: int",
        "observed A : real[m, n]; observed s : real[m]; latent x : real[n] in sphere; energy fit = sum(softplus(-s * (A @ x)))",
        "projected_gradient",
        ("convex energy", "smooth"),
        ("convex",),
    ),
    Case(
        "sum of a sine",
        "T: int",
        "observed y : real[T]; observed time : real[T]; latent a : real; latent f : real; energy fit = sum((y - a * sin(f * time))^2)",
        "gauss_newton",
        ("smooth", "sum of squares"),
        ("convex",),
    ),
    Case(
        "blind scale",
        "n: int",
        "observed y : real[n]; latent g : real; latent x : real[n]; energy fit = ||y - g * x||^2; energy size = ||x||^2",
        "gauss_newton",
        ("smooth", "sum of squares", "convex by blocks"),
        ("convex", "quadratic"),
    ),
)

PHYSICS = (
    Case(
        "springs in a row",
        "n: int, k: real in positive",
        "observed f : real[n]; latent x : real[n]; energy work = -dot(f, x); for i in 0..n-1 { energy spring[i] = k / 2 * (x[i+1] - x[i])^2 }",
        "quadratic",
        ("quadratic", "convex", "block-banded Hessian"),
    ),
    Case(
        "springs with rest lengths in the plane",
        "n: int, M: int",
        "shared observed edges : class[n][M, 2]; observed rest : real[M] in nonnegative; latent x : real[n, 2]; for e in 0..M { energy spring[e] = (||x[edges[e, 0]] - x[edges[e, 1]]|| - rest[e])^2 }",
        "gauss_newton",
        ("sum of squares", "piecewise smooth", "sparse Hessian"),
        ("convex",),
    ),
    Case(
        "double well",
        "n: int",
        "latent x : real[n]; energy well = sum((x^2 - 1)^2); energy tie = sum((x[1..] - x[..n-1])^2)",
        "gauss_newton",
        ("smooth", "sum of squares", "block-banded Hessian", "bounded below"),
        ("convex",),
    ),
    Case(
        "Lennard-Jones pairs",
        "n: int",
        "latent x : real[n, 3]; for i in 0..n, j in 0..n if i < j { let d2 = ||x[i] - x[j]||^2; energy pair[i, j] = 1 / d2^6 - 1 / d2^3 }",
        "lbfgs",
        ("smooth",),
        ("convex", "sum of squares"),
    ),
    Case(
        "free energy of a gas",
        "n: int",
        "observed e : real[n]; latent p : real[n] in simplex; energy heat = dot(p, e); energy mixing = sum(xlogy(p, p))",
        "softmax",
        ("linear minus entropy", "convex"),
    ),
    Case(
        "mean-field",
        "n: int",
        "observed J : real[n, n]; observed h : real[n]; latent p : real[n] in [0, 1]; energy tie = -(p @ J @ p) / 2 - dot(h, p); energy mixing = sum(xlogy(p, p) + xlogy(1 - p, 1 - p))",
        "projected_lbfgs",
        ("constrained", "dense Hessian"),
        ("convex", "quadratic"),
    ),
    Case(
        "Thomson",
        "n: int",
        "latent x : real[n, 3] in sphere; for i in 0..n, j in 0..n if i < j { energy pair[i, j] = 1 / ||x[i] - x[j]|| }",
        "projected_gradient",
        ("constrained",),
        ("convex",),
    ),
)

GRAPHS = (
    Case(
        "chain of classes",
        "T: int, k: int",
        "observed u : real[T, k]; latent s : class[k][T]; for t in 0..T { energy own[t] = u[t, s[t]] }; for t in 0..T-1 { energy jump[t] = where(s[t] == s[t+1], 0, 1) }",
        "elimination",
        ("discrete", "tables"),
    ),
    Case(
        "restricted Boltzmann machine",
        "n: int, m: int",
        "observed W : real[n, m]; latent v : bool[n]; latent h : bool[m]; energy tie = -sum(v * (W @ h))",
        "elimination",
        ("discrete", "tables"),
    ),
    Case(
        "number partition",
        "n: int",
        "observed a : real[n]; latent s : bool[n]; energy gap = dot(a, 2 * s - 1)^2",
        "elimination",
        ("discrete",),
    ),
    Case(
        "parity",
        "n: int",
        "observed a : real[n]; latent s : bool[n]; energy far = abs(sum(a * s) - 1)",
        "enumeration",
        ("discrete", "whole terms"),
        ("tables",),
    ),
    Case(
        "means and members",
        "m: int, d: int, k: int",
        "observed y : real[m, d]; latent c : real[k, d]; latent z : class[k][m]; for i in 0..m { energy off[i] = ||y[i] - c[z[i]]||^2 }",
        "states",
        ("discrete", "mixed"),
    ),
    Case(
        "stress of a layout",
        "n: int",
        "observed D : real[n, n] in nonnegative; latent x : real[n, 2]; for i in 0..n, j in 0..n if i < j { energy off[i, j] = (||x[i] - x[j]|| - D[i, j])^2 }",
        "gauss_newton",
        ("sum of squares", "piecewise smooth"),
        ("convex",),
    ),
    Case(
        "graph Laplacian",
        "n: int",
        "observed W : real[n, n] in nonnegative; observed b : real[n]; latent x : real[n]; energy tie = sum(W * (x[.., None] - x[None, ..])^2); energy pull = dot(b, x)",
        "quadratic",
        ("quadratic", "convex", "dense Hessian"),
    ),
    Case(
        "soft votes",
        "n: int, k: int",
        "observed u : real[n, k]; latent p : real[n, k] in simplex; energy own = sum(u * p); energy mixing = sum(xlogy(p, p))",
        "softmax",
        ("linear minus entropy", "convex"),
    ),
    Case(
        "maximum flow relaxed",
        "n: int, M: int",
        "shared observed edges : class[n][M, 2]; observed c : real[M] in nonnegative; latent x : real[n] in [0, 1]; for e in 0..M { energy cut[e] = c[e] * (x[edges[e, 0]] - x[edges[e, 1]])^2 }",
        "projected_newton",
        ("quadratic", "convex", "constrained", "sum of squares"),
    ),
)

CASES = (*STATISTICS, *IMAGES, *CONTROL, *FINANCE, *SIGNALS, *PHYSICS, *GRAPHS)
