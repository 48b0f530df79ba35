"""Architectures that can collapse to constants, and such that cannot: with what is said of them."""

from __future__ import annotations

from dataclasses import dataclass

PAIR = """
  observed x : real[n]
  observed y : real[n]
  net enc : real[n] -> real[d] = mlp([16], act = gelu)
"""
PREDICTOR = "  net pred : real[d] -> real[d] = mlp([16], act = gelu)\n"
SPREAD = """
  batch energy variance = mean(relu(1 - std(u, over = batch)))
  batch energy covariance = sum(cov(u, over = batch)^2) / d
"""


@dataclass(frozen=True)
class Architecture:
    """`constant` and `minimal` are what a collapse names; `because` is a part of the reason against it.

    `steps` of adam are enough for a collapse to be seen in `representation`, a value of the model; 0 where no
    run is made.
    """

    name: str
    body: str
    constant: tuple[str, ...] = ()
    minimal: tuple[str, ...] = ()
    because: str = ""
    steps: int = 0
    lr: float = 0.02
    representation: str = "enc"
    train: str = "train"

    @property
    def text(self) -> str:
        return f"model m(n: int, d: int = 3, w: real = 1.0) {{{self.body}\n  {self.train}\n}}"


COLLAPSING = (
    Architecture(
        "joint embedding", PAIR + "energy same = ||enc(x) - enc(y)||^2", ("enc",), ("same",), steps=100
    ),
    Architecture(
        "decorrelated but not spread",
        PAIR
        + "let u = enc(x)\nenergy same = ||u - enc(y)||^2\nbatch energy apart = sum(cov(u, over = batch)^2)",
        ("enc",),
        ("same", "apart"),
        steps=100,
    ),
    Architecture(
        "directions",
        PAIR + "let u = enc(x)\nlet v = enc(y)\nenergy same = ||u / ||u|| - v / ||v||||^2",
        ("enc",),
        ("same",),
        steps=200,
        lr=0.05,
        representation="directions",
    ),
    Architecture(
        "jepa",
        PAIR
        + """
  latent z : real[2] = 0
  net pred : (real[d], real[2]) -> real[d] = mlp([16], act = gelu)
  energy prediction = ||enc(x) - pred(enc(y), z)||^2
  regularizer small = 0.1 * ||z||^2
  infer z
""",
        ("enc", "pred"),
        ("prediction",),
        steps=40,
    ),
    Architecture(
        "jepa in one term",
        PAIR
        + """
  latent z : real[2] = 0
  net pred : (real[d], real[2]) -> real[d] = mlp([16], act = gelu)
  energy all = 1/2 * (||enc(x) - pred(enc(y), z)||^2 + 0.1 * ||z||^2)
  infer z
""",
        ("enc", "pred"),
        ("all",),
    ),
    Architecture(
        "summed out",
        PAIR
        + """
  latent k : class[3]
  net pred : real[d] -> real[3, d] = mlp([16], act = gelu)
  let guess = pred(enc(x))
  energy near = ||guess[k] - enc(y)||^2
  marginalize k
""",
        ("enc", "pred"),
        ("near",),
    ),
    Architecture(
        "linear maps",
        """
  observed x : real[n]
  observed y : real[n]
  param W : real[d, n] = normal()
  param V : real[d, n] = normal()
  param b : real[d]
  energy same = ||W @ x + b - V @ y||^2
  regularizer small = 0.01 * ||W||^2
""",
        ("W", "V", "b"),
        ("same", "small"),
        steps=400,
        lr=0.05,
        representation="W",
    ),
    Architecture(
        "world model",
        """
  observed x : real[5, n]
  net enc  : real[n] -> real[d] = mlp([16], act = tanh, bias = false)
  net step : real[d] -> real[d] = gru_free(d = d)
  let s : real[5, d]
  let s[0] = enc(x[0])
  for t in 0..4 { let s[t+1] = step(s[t]) }
  for t in 1..5 { energy near[t] = ||s[t] - enc(x[t])||_1 }
""".replace("gru_free(d = d)", "mlp([8], act = tanh)"),
        ("enc", "step"),
        ("near",),
    ),
    Architecture(
        "sparse codes of nothing",
        """
  observed x : real[n]
  latent s : real[d] = 0
  net enc : real[n] -> real[d] = mlp([16], act = gelu)
  energy near = ||s - enc(x)||^2
  energy sparse = 0.3 * ||s||_1
  infer s
""",
        ("enc",),
        ("near", "sparse"),
    ),
    Architecture(
        "an objective of its own",
        PAIR + "energy same = ||enc(x) - enc(y)||^2\nenergy fit = ||x - y||^2\n",
        ("enc",),
        ("same",),
        train="train enc of 2 * same",
    ),
)

SAFE = (
    Architecture(
        "vicreg",
        PAIR + "let u = enc(x)\nenergy same = ||u - enc(y)||^2" + SPREAD,
        because="`variance` looks at all examples together, and is above its lower bound 0",
        steps=100,
    ),
    Architecture(
        "a smoothed spread",
        PAIR
        + "let u = enc(x)\nenergy same = ||u - enc(y)||^2\n"
        + "batch energy spread = mean(relu(w - sqrt(var(u, over = batch) + 1e-4)))",
        because="constant, with hyperparameters at their defaults",
    ),
    Architecture(
        "average of the encoder",
        PAIR
        + PREDICTOR
        + "net target : real[n] -> real[d] = ema(enc, decay = 0.99)\n"
        + "energy prediction = ||pred(enc(x)) - stop(target(y))||^2",
        because="`prediction` compares with `target`, an average of `enc` that no gradient reaches",
        steps=100,
    ),
    Architecture(
        "stop-gradient",
        PAIR + PREDICTOR + "energy prediction = ||pred(enc(x)) - stop(enc(y))||^2",
        because="`prediction` has no gradient through `stop(enc(y))`",
        steps=100,
    ),
    Architecture(
        "contrastive",
        """
  observed x   : real[n]
  observed y   : real[4, n]
  observed who : class[4]
  net enc : real[n] -> real[d] = mlp([16], act = gelu)
  let u = enc(x)
  for k in 0..4 { let v[k] = enc(y[k]) }
  let score = v @ u
  energy contrast = logsumexp(score) - score[who]
""",
        because="no lower bound of `contrast` is proven",
    ),
    Architecture(
        "autoencoder",
        """
  observed x : real[n]
  net enc : real[n] -> real[d] = mlp([16], act = gelu)
  net dec : real[d] -> real[n] = mlp([16], act = gelu)
  energy reconstruction = ||x - dec(enc(x))||^2
""",
        because="`reconstruction` depends on `x` also where everything trained is constant",
        steps=100,
    ),
    Architecture(
        "joint embedding that reconstructs",
        PAIR
        + "net dec : real[d] -> real[n] = linear()\n"
        + "energy same = ||enc(x) - enc(y)||^2\nenergy back = ||x - dec(enc(x))||^2",
        because="`back` depends on `x`",
        steps=100,
    ),
    Architecture(
        "generative",
        """
  observed x : real[n]
  latent   z : real[d] = 0
  net dec : real[d] -> real[n] = mlp([16], act = gelu)
  energy reconstruction = ||x - dec(z)||^2
  regularizer small = 0.1 * ||z||^2
  infer z
""",
        because="`reconstruction` depends on `x`",
    ),
    Architecture(
        "predictive",
        """
  observed x : real[n]
  observed t : real[d]
  net enc : real[n] -> real[d] = mlp([16], act = gelu)
  energy fit = ||t - enc(x)||^2
""",
        because="`fit` depends on `t`",
    ),
    Architecture(
        "a predictor of fixed features",
        PAIR + PREDICTOR + "energy prediction = ||pred(enc(x)) - enc(y)||^2",
        because="`prediction` depends on `y`",
        train="train pred",
    ),
    Architecture(
        "barlow twins",
        PAIR
        + """
  let u = enc(x)
  let v = enc(y)
  let a = (u - mean(u, over = batch)) / (std(u, over = batch) + 1e-5)
  let b = (v - mean(v, over = batch)) / (std(v, over = batch) + 1e-5)
  batch energy on = sum((1 - mean(a * b, over = batch))^2)
""",
        because="`on` looks at all examples together, and is",
    ),
    Architecture(
        "an orthonormal map",
        """
  observed x : real[n]
  observed y : real[n]
  param W : real[n, d] in stiefel
  energy same = ||x @ W - y @ W||^2
""",
        because="`same` depends on",
    ),
    Architecture(
        "a weight of unknown sign",
        PAIR + "energy same = w * ||enc(x) - enc(y)||^2",
        because="no lower bound of `same` is proven",
    ),
    Architecture(
        "nothing over nothing",
        PAIR
        + "let u = enc(x)\nlet v = enc(y)\n"
        + "batch energy same = mean(||u / std(u, over = batch) - v / std(v, over = batch)||^2, over = batch)",
        because="`same` does not exist where everything is constant",
    ),
    Architecture(
        "a normalised target",
        """
  observed x : real[n]
  observed y : real[n]
  net norm_of : real[n] -> real[n] = layer_norm(affine = false)
  net g : real[n] -> real[n] = linear()
  energy near = ||norm_of(x) - g(y)||^2 + 0 * d * w
""",
        because="`near` depends on `x`",
    ),
    Architecture(
        "a net from outside",
        "observed x : real[n]\nobserved y : real[n]\nextern net enc : real[n] -> real[d]\n"
        + "energy near = ||enc(x) - enc(y)||^2",
        because="`near` calls `enc`, which comes from outside",
    ),
)
