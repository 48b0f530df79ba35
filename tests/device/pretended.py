"""A CUDA device that is not there: its tensors keep their numbers in memory of the CPU, and say that they are
elsewhere.

Operations that mix such tensors with others raise, as those of a CUDA device do, and so does `numpy()`. What
is particular to kernels and streams is not pretended; that needs a device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

CUDA = torch.device("cuda", 0)
"""What a tensor says of itself."""

META = torch.device("meta")
"""What torch knows of it: gradients flow through such tensors where no CUDA is built in."""

HERE = torch.device("cpu")

aten = torch.ops.aten
MOVING = (aten._to_copy.default, aten.copy_.default)
"""Operations that go from one device to another."""

INDEXED = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)
"""Operations on a tensor of the device that take their indices from the CPU as well."""

FREE = 2**34
"""Bytes of memory that the device is said to have."""


class Elsewhere(Tensor):
    """A tensor on the pretended device; `near` has its numbers."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> Elsewhere:
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(
            cls,
            near.size(),
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=META,
        )
        made.near = near
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Elsewhere({self.near})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _answered(function, args, dict(kwargs or {}))


class _Sent(torch.autograd.Function):
    """To the device, with a way back for gradients."""

    @staticmethod
    def forward(ctx: Any, near: Tensor) -> Tensor:
        return Elsewhere(near.detach())

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return near(slope)


def sent(value: Tensor) -> Tensor:
    """The tensor on the device."""
    if isinstance(value, Elsewhere):
        return value
    if value.requires_grad and torch.is_grad_enabled():
        return _Sent.apply(value)  # type: ignore[no-untyped-call, no-any-return]
    return Elsewhere(value.detach())


def near(value: Tensor) -> Tensor:
    """The tensor on the CPU."""
    return value.near if isinstance(value, Elsewhere) else value


def _elsewhere(device: Any) -> bool:
    return device is not None and torch.device(device).type in (CUDA.type, META.type)


def _answered(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operation of tensors of one device, done here."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    far = any(isinstance(tensor, Elsewhere) for tensor in tensors)
    others = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere)]
    if any(tensor.device == META for tensor in others):
        raise NotImplementedError(f"{function} lost its numbers on the way to the device")
    free = function in MOVING or (function in INDEXED and isinstance(args[0], Elsewhere))
    if far and not free and any(tensor.dim() for tensor in others):
        raise RuntimeError(f"{function}: expected all tensors to be on the same device")
    asked, target = kwargs.get("device"), far
    if asked is not None:
        target = _elsewhere(asked)
        kwargs["device"] = HERE
    if function is aten.copy_.default:
        target = isinstance(args[0], Elsewhere)
    near_args, near_kwargs = tree_map_only(Elsewhere, lambda value: value.near, (args, kwargs))
    out = function(*near_args, **near_kwargs)
    if not target:
        return out
    out = tree_map_only(
        Tensor, lambda value: value if isinstance(value, Elsewhere) else Elsewhere(value), out
    )
    if not far or function is aten._to_copy.default:
        return out
    return return_and_correct_aliasing(function, args, kwargs, out)


def _index(index: Any) -> Any:
    """A subscript on the device, where torch would take it without asking."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    if isinstance(index, list | range | np.ndarray):
        index = torch.as_tensor(np.asarray(index)) if len(index) else torch.empty(0, dtype=torch.int64)
    return sent(index) if isinstance(index, Tensor) else index


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _answered(function, args, dict(kwargs or {}))


class _Functions(TorchFunctionMode):
    """Names of the device are understood before torch looks for it."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named, name = dict(kwargs or {}), getattr(function, "__name__", "")
        if name == "to":
            places = [a for a in (*args[1:], named.get("device")) if isinstance(a, str | torch.device)]
            if any(map(_elsewhere, places)):
                named.pop("device", None)
                rest = [a for a in args[1:] if not isinstance(a, str | torch.device)]
                return sent(function(args[0], *rest, **named) if rest or named else args[0])
        elif name in ("__getitem__", "__setitem__"):
            args = (args[0], _index(args[1]) if isinstance(args[0], Elsewhere) else args[1], *args[2:])
        elif name == "new_tensor" and isinstance(args[0], Elsewhere):
            return sent(args[0].near.new_tensor(*args[1:], **named))
        elif name == "tolist" and isinstance(args[0], Elsewhere):
            return args[0].near.tolist()
        elif _elsewhere(named.get("device")):
            slopes = named.pop("requires_grad", False)
            return sent(function(*args, **{**named, "device": HERE})).requires_grad_(slopes)
        return function(*args, **named)


@contextmanager
def pretended() -> Iterator[None]:
    """While it lasts there is a device `cuda`."""
    with (
        mock.patch.object(torch.cuda, "is_available", return_value=True),
        mock.patch.object(torch.cuda, "device_count", return_value=1),
        mock.patch.object(torch.cuda, "mem_get_info", return_value=(FREE, FREE)),
        _Functions(),
        _Operations(),  # type: ignore[no-untyped-call]
    ):
        yield
