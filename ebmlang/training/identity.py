"""What makes two runs the same: a run is continued only by the command that it was begun with."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from ebmlang.compiler.dump import dump_model
from ebmlang.compiler.optimisers import optimiser_text
from ebmlang.compiler.typed import Model as CheckedModel
from ebmlang.training.fitting import Fitting
from ebmlang.training.source import digests_of, same_data

_MOST_LINES = 12
"""Lines of a difference between two texts that are shown."""


def identity_of(fitting: Fitting, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the numbers of a run follow from, apart from how long it lasts: the model with what it
    imports, settings, data, lines and optimisers, batches, seed, precision. Plain JSON."""
    model, course = fitting.model, fitting.course
    data: dict[str, str] = {}
    for line in fitting.lines:
        on = f"{line.turn.on}." if line.turn.on else ""
        for name, found in digests_of(line.bound, line.examples).items():
            data.setdefault(f"{on}{name}", found)
    return {
        "text": model.checked.source.text,
        "model": _digest_text(_whole_text(model.checked)),
        "name": model.name,
        "settings": {name: _plain(value) for name, value in model.hypers.items()},
        "sizes": dict(fitting.bound.sizes),
        "data": data,
        "lines": {line.name: _line_text(line.row.name, line.options) for line in fitting.lines},
        "parameters": {name: list(v.shape) for name, v in fitting.tensors.items()},
        "batch_size": course.batch_size,
        "seed": course.seed,
        "validate": course.validate,
        "patience": course.patience,
        "precision": course.precision,
        **({} if course.easy_first is None else {"easy_first": course.easy_first, "widen": course.widen}),
        "dtype": str(fitting.bound.settings.dtype).removeprefix("torch."),
        **extra,
    }


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs between two runs, in words; empty where they are the same.

    The text alone may differ: a comment changes nothing.
    """
    found: list[str] = []
    for key in (k for k in here if k not in ("text", "model")):
        before, now = there.get(key), here[key]
        if before == now:
            continue
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found += _entries(key, before, now)
        else:
            found.append(f"{key}: {_shown(before)} there, {_shown(now)} here")
    if there.get("model") != here["model"]:
        lines = list(_text_lines(str(there.get("text", "")), here["text"]))
        found += ["the model:", *lines[:_MOST_LINES]] if lines else ["a model that is imported"]
        found += [f"... and {len(lines) - _MOST_LINES} more lines"] if len(lines) > _MOST_LINES else []
    return found


def _entries(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *now)):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if key == "data" and old is not None and new is not None:
            if not same_data(old, new):
                yield f"data: other values of `{name}`"
        else:
            yield f"{key}: `{name}` is {_shown(old)} there, {_shown(new)} here"


def _text_lines(before: str, now: str) -> Iterator[str]:
    """The lines that differ, as `diff` shows them."""
    for line in difflib.unified_diff(before.splitlines(), now.splitlines(), lineterm="", n=0):
        if not line.startswith(("---", "+++", "@@")):
            yield f"  {line}"


def _shown(value: Any) -> str:
    return "absent" if value is None else str(value)


def _line_text(name: str, options: Mapping[str, Any]) -> str:
    return optimiser_text(name, tuple(options.items()))


def _whole_text(model: CheckedModel) -> str:
    """The checked model with the models that it solves inside."""
    return "\n".join([dump_model(model), *(_whole_text(s.model) for s in model.solved)])


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else _digest_text(repr(value))


def _digest_text(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
