"""The table of constructors: what may stand after `=` of a net, one row each.

A row says which options there are, which declared types it fits, how smooth the net is in its inputs, and
which layers of torch.nn it consists of. Adding a constructor is adding a row; the tests walk the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ebmlang.compiler.nets import layers, signatures
from ebmlang.compiler.nets.net import Build, Form, Grade, OptionValue, Signature
from ebmlang.compiler.nets.signatures import Fit
from ebmlang.compiler.sizes import Size

OptionKind = Literal["size", "sizes", "flag", "rate", "activation", "norm"]

OPTION_WORDS: dict[OptionKind, str] = {
    "size": "a size",
    "sizes": "a list of sizes, as in [64, 64]",
    "flag": "true or false",
    "rate": "a number from 0 to below 1",
    "activation": "the name of an activation",
    "norm": "none or layer_norm",
}

NORMS = ("none", "layer_norm")


@dataclass(frozen=True, slots=True)
class Activation:
    """`grade`: a second derivative everywhere, or everywhere but at single points."""

    name: str
    torch: str
    grade: Grade


ACTIVATIONS: tuple[Activation, ...] = (
    Activation("relu", "nn.ReLU()", "piecewise"),
    Activation("leaky_relu", "nn.LeakyReLU()", "piecewise"),
    Activation("elu", "nn.ELU()", "piecewise"),
    Activation("gelu", "nn.GELU()", "smooth"),
    Activation("silu", "nn.SiLU()", "smooth"),
    Activation("softplus", "nn.Softplus()", "smooth"),
    Activation("tanh", "nn.Tanh()", "smooth"),
    Activation("sigmoid", "nn.Sigmoid()", "smooth"),
)


def activation(name: OptionValue) -> Activation:
    return next(a for a in ACTIVATIONS if a.name == name)


@dataclass(frozen=True, slots=True)
class Option:
    """A named option; without a `default` it has to be given."""

    name: str
    kind: OptionKind
    default: OptionValue | None = None


@dataclass(frozen=True, slots=True)
class Constructor:
    """One row.

    `first` is the option that may stand without its name. `fit` tells whether the declared types suit it,
    `form` how inputs reach the module, `lines` the text of its layers in order. `example` is a declaration.
    """

    name: str
    options: tuple[Option, ...]
    first: str
    fit: Callable[[Signature, Build], Fit]
    form: Callable[[Signature], Form]
    lines: Callable[[Signature, Build], list[str]]
    grade: Callable[[Build], Grade]
    affine: bool
    doc: str
    example: str


def _features(signature: Signature) -> Form:
    return "features" if signature.aligned else "flat"


def _array(_: Signature) -> Form:
    return "array"


def _sequence(_: Signature) -> Form:
    return "sequence"


def _smooth(_: Build) -> Grade:
    return "smooth"


def _by_activation(build: Build) -> Grade:
    return activation(build.option("act")).grade


def _act(build: Build) -> str:
    return activation(build.option("act")).torch


_ACT = Option("act", "activation", "relu")
_RECURRENT = (
    Option("layers", "size", Size.of(1)),
    Option("bidirectional", "flag", False),
    Option("multiplicative", "flag", False),
)

_STATES = (
    "; the state of every step for real[T, d], the last one for real[d]; `multiplicative` gates the input by "
    "the state (Wu et al. 2016)"
)

CONSTRUCTORS: tuple[Constructor, ...] = (
    Constructor(
        "linear", (Option("bias", "flag", True),), "", signatures.vectors, _features, layers.linear, _smooth,
        True, "an affine map, `nn.Linear`", "net f : real[n] -> real[d] = linear()",
    ),
    Constructor(
        "mlp",
        (
            Option("sizes", "sizes"), _ACT, Option("norm", "norm", "none"), Option("dropout", "rate", 0.0),
            Option("bias", "flag", True),
        ),
        "sizes", signatures.vectors, _features, lambda s, b: layers.mlp(s, b, _act(b)), _by_activation, False,
        "layers of the given sizes, each followed by `act`, and a last linear one",
        "net f : (real[n], real[m]) -> real[d] = mlp([256, 256], act = gelu)",
    ),
    Constructor(
        "layer_norm", (Option("affine", "flag", True),), "", signatures.same, _features, layers.layer_norm,
        _smooth, False, "the last dimension brought to mean 0 and variance 1, `nn.LayerNorm`",
        "net f : real[n] -> real[n] = layer_norm()",
    ),
    Constructor(
        "embedding", (), "", signatures.embedding, _array, layers.embedding, _smooth, False,
        "one learned row per case, `nn.Embedding`", "net f : class[K] -> real[d] = embedding()",
    ),
    Constructor(
        "conv",
        (
            Option("kernel", "size"), Option("stride", "size", Size.of(1)),
            Option("padding", "size", Size.of(0)), Option("bias", "flag", True),
        ),
        "kernel", signatures.conv, _array, layers.conv, _smooth, True,
        "a convolution of real[c, h, w], or of real[c, t], `nn.Conv2d` and `nn.Conv1d`",
        "net f : real[1, 8, 8] -> real[4, 8, 8] = conv(kernel = 3, padding = 1)",
    ),
    Constructor(
        "convnet",
        (
            Option("channels", "sizes"), Option("kernel", "size", Size.of(3)),
            Option("stride", "size", Size.of(2)), _ACT, Option("pool", "flag", True),
        ),
        "channels", signatures.image, _array, lambda s, b: layers.convnet(s, b, _act(b)), _by_activation,
        False,
        "convolutions with the given channels, each followed by `act`; the mean of the image, or with "
        "`pool = false` all of it; a linear layer",
        "net f : real[1, 8, 8] -> real[d] = convnet([16, 32], act = gelu)",
    ),
    Constructor(
        "resnet_small", (Option("channels", "sizes"), _ACT), "channels", signatures.image, _array,
        lambda s, b: layers.resnet(s, b, _act(b)), _by_activation, False,
        "a convolution, a residual block per entry of `channels` with `nn.GroupNorm`, halving the image from "
        "the second on; the mean over the image; a linear layer (He et al. 2016, Wu & He 2018)",
        "net f : real[1, 8, 8] -> real[d] = resnet_small([8, 16], act = silu)",
    ),
    Constructor(
        "rnn", (*_RECURRENT, Option("act", "activation", "tanh")), "", signatures.plain_recurrent, _sequence,
        lambda s, b: layers.recurrent("RNN", s, b), _by_activation, False,
        f"a recurrent layer with tanh or relu, `nn.RNN`{_STATES}",
        "net f : real[T, n] -> real[T, d] = rnn()",
    ),
    Constructor(
        "gru", _RECURRENT, "", signatures.recurrent, _sequence, lambda s, b: layers.recurrent("GRU", s, b),
        _smooth, False, f"a gated recurrent layer, `nn.GRU`{_STATES}",
        "net f : real[T, n] -> real[d] = gru(layers = 2)",
    ),
    Constructor(
        "lstm", _RECURRENT, "", signatures.recurrent, _sequence, lambda s, b: layers.recurrent("LSTM", s, b),
        _smooth, False, f"a long short-term memory, `nn.LSTM`{_STATES}",
        "net f : real[T, n] -> real[T, d] = lstm(multiplicative = true)",
    ),
    Constructor(
        "transformer",
        (
            Option("layers", "size", Size.of(1)), Option("heads", "size", Size.of(1)),
            Option("expand", "size", Size.of(4)),
        ),
        "", signatures.positions, _array, layers.transformer, _smooth, False,
        "a linear map of every position, to which a learned vector of its own is added; layers in which "
        "every position attends to all of them, then `nn.LayerNorm` (Vaswani et al. 2017, with the norm in "
        "front; Dosovitskiy et al. 2021)",
        "net f : real[T, n] -> real[T, d] = transformer(layers = 2, heads = 2)",
    ),
)  # fmt: skip

AVERAGE = "ema"
"""The constructor of a moving average of another net: `ema(enc, decay = 0.99)`."""


def constructor(name: str) -> Constructor | None:
    return next((row for row in CONSTRUCTORS if row.name == name), None)


def constructor_names() -> tuple[str, ...]:
    return (*(row.name for row in CONSTRUCTORS), AVERAGE)
