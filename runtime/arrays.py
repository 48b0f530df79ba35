"""What a caller passes to tensors of the declared kind, with every mistake named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ebmlang.errors import DataError
from ebmlang.runtime.seeded import Rows
from ebmlang.runtime.spec import VariableSpec

_NUMBERS = "biuf"


def widest_dtype(values: Mapping[str, Any]) -> torch.dtype:
    """The widest floating type of the torch tensors passed; float32 when there is none."""
    widths = [v.dtype for v in values.values() if isinstance(v, Tensor) and v.is_floating_point()]
    wide = [d for d in widths if d in (torch.float32, torch.float64)]
    return torch.float64 if torch.float64 in wide else torch.float32


def as_tensor(spec: VariableSpec, value: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The value as a tensor of the variable's kind.

    Raises DataError for text, objects, complex numbers, ragged lists, and for values that are not
    whole numbers where a class or a truth value is declared.
    """
    tensor = value if isinstance(value, Tensor) else _from_array(spec, value)
    if tensor.is_complex():
        raise DataError(f"`{spec.name}` holds complex numbers", "pass real and imaginary parts apart")
    match spec.kind:
        case "real":
            return _in_range(spec, tensor, tensor.to(device, dtype))
        case "bool":
            return _whole(spec, tensor, "true or false (1 or 0)").to(device, torch.bool)
    return _whole(spec, tensor, "whole numbers").to(device, torch.long)


def _in_range(spec: VariableSpec, tensor: Tensor, narrowed: Tensor) -> Tensor:
    """The narrowed numbers; raises DataError when finite ones became infinite."""
    if tensor.dtype == torch.float64 and narrowed.dtype != torch.float64:
        count = int((torch.isinf(narrowed) & torch.isfinite(tensor).to(narrowed.device)).sum())
        if count:
            kind = str(narrowed.dtype).removeprefix("torch.")
            raise DataError(f"{count:,} entries of `{spec.name}` are too large for {kind}", "dtype float64")
    return narrowed


def _from_array(spec: VariableSpec, value: Any) -> Tensor:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"`{spec.name}` is not an array: {error}", "pass rows of one length") from None
    if array.dtype.kind not in _NUMBERS:
        kind = "text" if array.dtype.kind in "US" else f"values of type {array.dtype}"
        raise DataError(
            f"`{spec.name}` holds {kind}, not numbers", f"declared {spec}: pass an array of numbers"
        )
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        wide = array.size > 0 and int(array.max()) > np.iinfo(np.int64).max
        array = array.astype(np.float64 if wide else np.int64)
    if array.dtype == np.float16 or array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(s < 0 for s in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def _whole(spec: VariableSpec, tensor: Tensor, wanted: str) -> Tensor:
    if tensor.is_floating_point():
        odd = tensor[tensor != tensor.round()]
        if odd.numel():
            raise DataError(
                f"`{spec.name}` is {spec}, but holds {float(odd.flatten()[0]):g}", f"pass {wanted}"
            )
    if spec.kind == "bool" and tensor.dtype != torch.bool and bool(((tensor != 0) & (tensor != 1)).any()):
        raise DataError(f"`{spec.name}` is {spec}, but holds values other than 0 and 1", f"pass {wanted}")
    return tensor


def check_classes(spec: VariableSpec, tensor: Tensor, classes: int, rows: int | Rows = 0) -> None:
    """Raises DataError when a class value lies outside of 0..classes; for `rows` see `check_finite`."""
    if tensor.numel() and (int(tensor.min()) < 0 or int(tensor.max()) >= classes):
        low, high = int(tensor.min()), int(tensor.max())
        where = _place(spec, (tensor < 0) | (tensor >= classes), rows)
        where = f"{where} that is none of them" if where else ""
        raise DataError(
            f"`{spec.name}` is {spec} with {classes} classes, but holds values from {low} to {high}{where}",
            f"classes count from 0 to {classes - 1}",
        )


def check_finite(spec: VariableSpec, tensor: Tensor, rows: int | Rows = 0, whole: bool = True) -> None:
    """Raises DataError that counts the entries that are not a number, and says where the first one is; `rows`
    is the number of the first row, or those of all of them. A part of the data is not counted."""
    if tensor.is_floating_point():
        # A sum tells of a NaN in one pass; that of infinite numbers of both signs is one, too.
        if not math.isnan(float(tensor.detach().sum())):
            return
        missing = torch.isnan(tensor)
        count = int(missing.sum())
        if count:
            hint = f"declare it `observed {spec.name} : {spec} missing` to find them, or clean the data"
            if spec.missing:
                hint = (
                    "here it is asked for as if no entry were missing; `ebmlang infer` finds those that are"
                )
            elif spec.role != "observed":
                hint = "clean the data"
            where = _place(spec, missing, rows)
            counted = f"{count:,} NaN in {tensor.numel():,} entries" if whole else "NaN"
            others = _places(spec, missing, rows) if whole else ""
            raise DataError(f"`{spec.name}` holds {counted}{where}{others}", hint)


def infinite(spec: VariableSpec, tensor: Tensor) -> str:
    """Where a value has infinite entries, in words; empty where it has none."""
    found = torch.isinf(tensor) if tensor.is_floating_point() else torch.zeros(())
    if not bool(found.any()):
        return ""
    count = f"{int(found.sum()):,} of {tensor.numel():,}"
    return f"`{spec.name}` is infinite in {count} entries{_place(spec, found, 0)}"


_MOST_PLACES = 5
"""Rows, and entries, that are named one by one."""


def _places(spec: VariableSpec, found: Tensor, rows: int | Rows) -> str:
    """All rows, and all entries of a row, with something that is true; empty where the first one says it."""
    at = found.nonzero()
    own = found.ndim - len(spec.shape)
    if len(at) < 2 or not own:
        return ""
    numbers = [n + rows if isinstance(rows, int) else int(rows[n]) for n in at[:, 0].unique().tolist()]
    parts = [f"row{'s' * (len(numbers) > 1)} {_some([f'{n:,}' for n in numbers])}"]
    if spec.shape:
        entries = at[:, own:].unique(dim=0).tolist()
        shown = [f"[{', '.join(map(str, entry))}]" for entry in entries]
        parts.append(f"entr{'y' if len(shown) == 1 else 'ies'} {_some(shown)}")
    return f"; in {', '.join(parts)}"


def _some(words: list[str]) -> str:
    more = len(words) - _MOST_PLACES
    return ", ".join(words[:_MOST_PLACES]) + (f" and {more:,} more" if more > 0 else "")


def _place(spec: VariableSpec, found: Tensor, rows: int | Rows) -> str:
    """Where the first entry is that is true, in words, counted from 0."""
    at = found.nonzero()[0].tolist()
    own = found.ndim > len(spec.shape)
    number = at[0] + rows if isinstance(rows, int) else int(rows[at[0]])
    row = f"row {number:,}" if own else ""
    entry = f"entry [{', '.join(map(str, at[own:]))}]" if at[own:] else ""
    place = ", ".join(part for part in (row, entry) if part)
    return f", the first in {place}" if place else ""
