"""ebmlang: energies written as text, minimised by the method their structure deserves.

The names below load on first use, so that the command line starts without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ebmlang.api import Model
    from ebmlang.errors import DataError, EbmError, ModelError
    from ebmlang.loading import load, loads
    from ebmlang.reading import read
    from ebmlang.runtime.result import Result
    from ebmlang.runtime.training.history import History

__version__ = "0.1.0"

__all__ = [
    "DataError",
    "EbmError",
    "History",
    "Model",
    "ModelError",
    "Result",
    "__version__",
    "load",
    "loads",
    "read",
]

_HOMES = {
    "Model": "ebmlang.api",
    "load": "ebmlang.loading",
    "loads": "ebmlang.loading",
    "read": "ebmlang.reading",
    "DataError": "ebmlang.errors",
    "EbmError": "ebmlang.errors",
    "ModelError": "ebmlang.errors",
    "History": "ebmlang.runtime.training.history",
    "Result": "ebmlang.runtime.result",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ebmlang' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
