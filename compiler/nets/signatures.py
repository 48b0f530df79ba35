"""Which declared types a constructor fits: one function per row of the table that needs its own."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.nets.net import Build, Signature
from ebmlang.compiler.sizes import ZERO, Size


@dataclass(frozen=True, slots=True)
class Fit:
    """`wanted` says what the declaration should be, and is empty where it fits; `equal` are pairs of sizes
    that have to agree, where the first follows from the options and the second is declared."""

    wanted: str = ""
    advice: str = ""
    equal: tuple[tuple[Size, Size], ...] = ()


FITS = Fit()


def vectors(signature: Signature, build: Build) -> Fit:
    """Numbers to real numbers."""
    if any(t.kind not in ("real", "bool") for t in signature.inputs):
        return Fit("real inputs", "cases enter through embedding(), or as onehot(c, K)")
    return FITS


def same(signature: Signature, build: Build) -> Fit:
    """One array to an array of the same shape."""
    one = len(signature.inputs) == 1 == len(signature.outputs)
    if not one or signature.inputs[0] != signature.outputs[0] or not signature.inputs[0].rank:
        return Fit("one input, and a result of the same type: real[n] -> real[n]")
    return FITS


def embedding(signature: Signature, build: Build) -> Fit:
    wanted = "class[K] -> real[d], or class[K][T] -> real[T, d]"
    if len(signature.inputs) != 1 or len(signature.outputs) != 1:
        return Fit(wanted)
    cases, found = signature.inputs[0], signature.outputs[0]
    if cases.kind != "class" or found.shape[:-1] != cases.shape or not found.rank:
        return Fit(wanted)
    return FITS


def conv(signature: Signature, build: Build) -> Fit:
    """real[c, h, w] -> real[d, h2, w2], with the sizes that torch documents for its convolutions."""
    wanted = "real[c, h, w] -> real[d, h2, w2], or real[c, t] -> real[d, t2]"
    if len(signature.inputs) != 1 or len(signature.outputs) != 1:
        return Fit(wanted)
    image, found = signature.inputs[0], signature.outputs[0]
    if image.kind != "real" or image.rank not in (2, 3) or found.rank != image.rank:
        return Fit(wanted)
    kernel, stride, padding = (_size(build, o) for o in ("kernel", "stride", "padding"))
    made = tuple((s + padding * 2 - kernel) // stride + 1 for s in image.shape[1:])
    pairs = tuple(zip(made, found.shape[1:], strict=True))
    if any((a - b).constant not in (0, None) for a, b in pairs):
        shape = ", ".join(map(str, (found.shape[0], *made)))
        return Fit(f"{image} -> real[{shape}]", "a size becomes (size + 2 * padding - kernel) // stride + 1")
    return Fit(equal=tuple(p for p in pairs if p[0] - p[1] != ZERO))


def image(signature: Signature, build: Build) -> Fit:
    """An image to a vector."""
    if len(signature.inputs) != 1 or len(signature.outputs) != 1:
        return Fit("real[c, h, w] -> real[d]")
    picture, found = signature.inputs[0], signature.outputs[0]
    if picture.kind != "real" or picture.rank != 3 or found.rank != 1:
        return Fit("real[c, h, w] -> real[d]")
    return FITS


def recurrent(signature: Signature, build: Build) -> Fit:
    """A sequence to the states of all steps, or to the last one."""
    wanted = "real[T, n] -> real[T, d], or real[T, n] -> real[d]"
    if len(signature.inputs) != 1 or len(signature.outputs) != 1:
        return Fit(wanted)
    steps, found = signature.inputs[0], signature.outputs[0]
    if steps.kind != "real" or steps.rank != 2 or found.rank not in (1, 2):
        return Fit(wanted)
    if found.rank == 2 and found.shape[0] != steps.shape[0]:
        return Fit(wanted)
    both = build.option("bidirectional") is True
    if both and build.option("multiplicative") is True:
        return Fit("one direction", "leave out `bidirectional` or `multiplicative`")
    if both and (width := found.shape[-1]).constant is not None and width % 2 != ZERO:
        return Fit("an even number of states: one half runs backward", f"{width} is odd")
    return Fit(equal=((found.shape[-1] // 2 * 2, found.shape[-1]),)) if both else FITS


def positions(signature: Signature, build: Build) -> Fit:
    """Positions to as many positions, with a width that the heads divide."""
    wanted = "real[T, n] -> real[T, d]"
    if len(signature.inputs) != 1 or len(signature.outputs) != 1:
        return Fit(wanted)
    before, after = signature.inputs[0], signature.outputs[0]
    if before.kind != "real" or before.rank != 2 or after.rank != 2 or after.shape[0] != before.shape[0]:
        return Fit(wanted)
    width, heads = after.shape[1], _size(build, "heads")
    if width.constant is not None and heads.constant and width % heads != ZERO:
        return Fit("a width that the heads divide", f"{width} is no multiple of {heads}")
    return Fit(equal=((width // heads * heads, width),))


def plain_recurrent(signature: Signature, build: Build) -> Fit:
    if build.option("act") not in ("tanh", "relu"):
        return Fit("act = tanh or act = relu", "torch's recurrent layer has these two")
    return recurrent(signature, build)


def _size(build: Build, name: str) -> Size:
    value = build.option(name)
    assert isinstance(value, Size)
    return value
