"""Constructors as text: the layers of torch.nn that a net consists of, one expression each.

Only sizes of the model, numbers and the names in this file reach the text.
"""

from __future__ import annotations

from ebmlang.compiler.codegen.layout import size_text
from ebmlang.compiler.nets.net import Build, OptionValue, Signature
from ebmlang.compiler.sizes import Size


def linear(signature: Signature, build: Build) -> list[str]:
    return [_linear(signature.width_in, signature.width_out, build.option("bias"))]


def mlp(signature: Signature, build: Build, act: str) -> list[str]:
    """Linear, norm, activation and dropout for every size; a linear layer to the result."""
    lines: list[str] = []
    width = signature.width_in
    for size in sizes(build, "sizes"):
        lines.append(_linear(width, size, build.option("bias")))
        if build.option("norm") == "layer_norm":
            lines.append(f"nn.LayerNorm({size_text(size)})")
        lines.append(act)
        if build.option("dropout"):
            lines.append(f"layers.Dropout({build.option('dropout')!r})")
        width = size
    return [*lines, _linear(width, signature.width_out, build.option("bias"))]


def layer_norm(signature: Signature, build: Build) -> list[str]:
    plain = "" if build.option("affine") else ", elementwise_affine=False"
    return [f"nn.LayerNorm({size_text(signature.width_in)}{plain})"]


def embedding(signature: Signature, build: Build) -> list[str]:
    classes = signature.inputs[0].classes
    assert classes is not None
    return [f"nn.Embedding({size_text(classes)}, {size_text(signature.outputs[0].shape[-1])})"]


def conv(signature: Signature, build: Build) -> list[str]:
    image, found = signature.inputs[0].shape, signature.outputs[0].shape
    options = [size_text(size(build, "kernel"))]
    options += [f"{o}={size_text(size(build, o))}" for o in ("stride", "padding")]
    if not build.option("bias"):
        options.append("bias=False")
    return [f"nn.Conv{len(image) - 1}d({size_text(image[0])}, {size_text(found[0])}, {', '.join(options)})"]


def convnet(signature: Signature, build: Build, act: str) -> list[str]:
    """Convolutions and activations; then the mean over the image or all of it, and a linear layer."""
    lines: list[str] = []
    channels, *extent = signature.inputs[0].shape
    kernel, stride = size(build, "kernel"), size(build, "stride")
    for width in sizes(build, "channels"):
        shown = ", ".join(map(size_text, (channels, width, kernel)))
        options = f"stride={size_text(stride)}, padding={size_text(kernel // 2)}"
        lines += [f"nn.Conv2d({shown}, {options})", act]
        extent = [(n + kernel // 2 * 2 - kernel) // stride + 1 for n in extent]
        channels = width
    if build.option("pool"):
        return [*lines, *_head(channels, signature)]
    entries = channels * extent[0] * extent[1]
    return [*lines, "nn.Flatten()", _linear(entries, signature.outputs[0].shape[0], True)]


def resnet(signature: Signature, build: Build, act: str) -> list[str]:
    widths = sizes(build, "channels")
    first = size_text(widths[0])
    lines = [f"nn.Conv2d({size_text(signature.inputs[0].shape[0])}, {first}, 3, padding=1)"]
    channels = widths[0]
    for number, width in enumerate(widths):
        stride = 2 if number else 1
        lines.append(f"layers.Residual({size_text(channels)}, {size_text(width)}, {stride}, {act})")
        channels = width
    return [*lines, *_head(channels, signature)]


def recurrent(kind: str, signature: Signature, build: Build) -> list[str]:
    steps, width = signature.inputs[0].shape[-1], signature.outputs[0].shape[-1]
    both = build.option("bidirectional") is True
    hidden = width // 2 if both else width
    options = [size_text(steps), size_text(hidden)]
    count = size(build, "layers")
    if count != Size.of(1):
        options.append(f"num_layers={size_text(count)}")
    if kind == "RNN" and build.option("act") != "tanh":
        options.append(f"nonlinearity={str(build.option('act'))!r}")
    if build.option("multiplicative"):
        return [f"layers.Multiplicative{kind}({', '.join(options)})"]
    if both:
        options.append("bidirectional=True")
    return [f"nn.{kind}({', '.join([*options, 'batch_first=True'])})"]


def transformer(signature: Signature, build: Build) -> list[str]:
    steps, inside = signature.inputs[0].shape
    sized = (steps, inside, signature.outputs[0].shape[-1])
    options = (f"{o}={size_text(size(build, o))}" for o in ("layers", "heads", "expand"))
    return [f"layers.Transformer({', '.join([*map(size_text, sized), *options])})"]


def _head(channels: Size, signature: Signature) -> list[str]:
    """The mean over the image, and a linear layer."""
    last = _linear(channels, signature.outputs[0].shape[0], True)
    return ["nn.AdaptiveAvgPool2d(1)", "nn.Flatten()", last]


def _linear(inside: Size, outside: Size, bias: OptionValue) -> str:
    return f"nn.Linear({size_text(inside)}, {size_text(outside)}{'' if bias else ', bias=False'})"


def size(build: Build, name: str) -> Size:
    value = build.option(name)
    assert isinstance(value, Size)
    return value


def sizes(build: Build, name: str) -> tuple[Size, ...]:
    value = build.option(name)
    assert isinstance(value, tuple)
    return value
