"""What a call says about numbers and memory: precision, device, seed, how much a question may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ebmlang.compiler.diagnostics import did_you_mean
from ebmlang.errors import DataError
from ebmlang.runtime.arrays import widest_dtype
from ebmlang.runtime.bind import Settings
from ebmlang.runtime.kernels import require_compiler
from ebmlang.runtime.memory import device_memory

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def settings_of(
    given: Mapping[str, Any],
    dtype: str | torch.dtype | None,
    device: str | None,
    seed: int,
    limit: int | str | None,
    torch_compile: bool = False,
) -> Settings:
    """The settings of a call. Raises DataError for a dtype, a device, a limit or a compiler that there is
    not."""
    chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if isinstance(dtype, str) and chosen is None:
        raise DataError(f"the dtype `{dtype}` is not known", "float32 or float64")
    where = device_named(device)
    if torch_compile:
        require_compiler(where)
    there, most = device_memory(where), _bytes(limit)
    return Settings(
        chosen or widest_dtype(given),
        where,
        seed,
        largest_bytes=there,
        chunk_bytes=there // 4 if most is None else most,
        torch_compile=torch_compile,
    )


def device_named(device: str | None) -> torch.device:
    """The CPU when there is no name. Raises DataError for a device that is not there."""
    try:
        chosen = torch.device(device or "cpu")
    except RuntimeError:
        raise DataError(f"there is no device `{device}`", "cpu, cuda or cuda:1") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise DataError("no CUDA device is there", "leave out the device to run on the CPU")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DataError(f"there is no device `{device}`: CUDA devices are {count}, counted from 0", "cuda")
    if chosen.type not in ("cpu", "cuda"):
        raise DataError(f"the device `{device}` is not supported", "cpu, cuda or cuda:1")
    return chosen


def require_hypers(given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises DataError for a hyperparameter that is not declared."""
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or (f"it has {', '.join(known)}" if known else "it has none")
            raise DataError(f"the model has no hyperparameter `{name}`", hint)


def merged(data: Mapping[str, Any] | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that are passed in two ways, as one. Raises DataError for one that is passed twice."""
    both = set(data or ()) & set(values)
    if both:
        raise DataError(f"`{min(both)}` is passed twice", "once in data= or once by name")
    return {**(data or {}), **values}


def _bytes(limit: int | str | None) -> int | None:
    if limit is None:
        return None
    from ebmlang.data import parse_memory

    if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
        return limit
    return parse_memory(str(limit))
