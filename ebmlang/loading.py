"""Files and texts to models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ebmlang.api import Model
from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.source import Source
from ebmlang.errors import ModelError
from ebmlang.files import read_source


def load(
    path: str | Path,
    *,
    model: str | None = None,
    seed: int = 0,
    nets: Mapping[str, Any] | None = None,
    **hypers: Any,
) -> Model:
    """The model in a `.ebm` file.

    `model` picks one of several (the last one by default); hyperparameters are set by name.
    Raises ModelError with every mistake of the file, DataError for a file that cannot be read or
    a hyperparameter that does not exist.
    """
    return _load(read_source(path), model, seed, nets, hypers)


def loads(
    text: str,
    *,
    model: str | None = None,
    seed: int = 0,
    nets: Mapping[str, Any] | None = None,
    **hypers: Any,
) -> Model:
    """The same for a model given as text."""
    return _load(Source("<text>", text), model, seed, nets, hypers)


def _load(
    source: Source, name: str | None, seed: int, nets: Mapping[str, Any] | None, hypers: Mapping[str, Any]
) -> Model:
    checked = pipeline.check_source(source)
    if checked.failed:
        raise ModelError(checked.diagnostics)
    picked = pipeline.pick_model(checked, name)
    if not isinstance(picked, typed.Model):
        raise ModelError((picked,))
    return Model(picked, hypers, seed, nets)
