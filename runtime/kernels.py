"""Generated derivatives as kernels that torch.compile makes, where a call asks for them.

Only derivatives that are written out are compiled: they are what chains evaluate in every step, and nothing
differentiates them again, which compiled code does not stand. What is random is drawn outside of them, by the
generators of torch, so that a seed means the same and draws differ by rounding alone.
"""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch

from ebmlang.errors import DataError
from ebmlang.runtime.generated import GeneratedModel

COMPILED = ("energy_and_gradient", "gradient")
"""What becomes a kernel where it is written out."""

_COMPILERS = ("g++", "clang++", "c++", "cl")


def require_compiler(device: torch.device) -> None:
    """Raises DataError where there is no C++ compiler for torch.compile, which needs one on a CPU."""
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX") or "", *_COMPILERS))):
        raise DataError(
            "torch.compile needs a C++ compiler, and there is none",
            "install g++ or clang++, set CXX, or leave torch_compile out",
        )


def compiled_model(module: ModuleType) -> type[GeneratedModel]:
    """The class of a module with its derivatives compiled, each when it is first called.

    Raises DataError where none is written out, as for nets, whose gradients are automatic.
    """
    names = tuple(name for name in COMPILED if name in module.WRITTEN)
    if not names:
        raise DataError(
            "torch_compile needs a gradient that is written out, and this energy has none",
            "leave torch_compile out",
        )
    return _compiled(module.MODEL, names)


@lru_cache(maxsize=64)
def _compiled(model: type[GeneratedModel], names: tuple[str, ...]) -> type[GeneratedModel]:
    kernels: dict[str, Any] = {name: torch.compile(getattr(model, name)) for name in names}
    return type(model.__name__, (model,), kernels)
