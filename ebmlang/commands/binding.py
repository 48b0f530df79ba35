"""Extern nets from the command line: `--bind f=package.module:make`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ebmlang.errors import DataError


def bound_nets(binds: Mapping[str, str]) -> dict[str, Any]:
    """What each name is bound to: a module of torch, or what a function without arguments returns.

    The person at the command line names the Python code; a model file cannot. Modules are also looked for in
    the working directory. Raises DataError.
    """
    return {name: _made(name, place) for name, place in binds.items()}


def _made(name: str, place: str) -> Any:
    from torch import nn

    path, colon, attribute = place.partition(":")
    if not (path and colon and attribute):
        raise DataError(f"--bind {name}={place} names no function", f"--bind {name}=package.module:make")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(path)
    except ImportError as error:
        raise DataError(f"--bind {name}: {error}", f"run it where `import {path}` works") from None
    if attribute not in vars(module):
        raise DataError(f"--bind {name}: `{path}` has no `{attribute}`", f"define `{attribute}` there")
    found = vars(module)[attribute]
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise DataError(f"--bind {name}: `{place}` is no function", "bind a function that returns a module")
    made = found()
    if not isinstance(made, nn.Module):
        raise DataError(
            f"--bind {name}: `{place}` returned a {type(made).__name__}", "return a torch.nn.Module"
        )
    return made
