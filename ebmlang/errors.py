"""The two kinds of mistake a user can make, as Python exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ebmlang.compiler.diagnostics import Located


class EbmError(Exception):
    """A mistake in a model or in its data. Everything else that escapes is a bug of ebmlang."""


class ModelError(EbmError):
    """The text of a model is wrong. `diagnostics` holds every mistake found; `str()` renders them."""

    def __init__(self, diagnostics: Iterable[Located]) -> None:
        self.diagnostics: tuple[Located, ...] = tuple(diagnostics)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        # Loaded late: whoever imports ebmlang for its errors alone does not pay for the compiler.
        from ebmlang.compiler.diagnostics import render_all

        return render_all(self.diagnostics)


class DataError(EbmError):
    """A file, an array or a value does not fit. `message` says what is wrong, `hint` one thing to try."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message, hint)

    def __str__(self) -> str:
        return f"{self.message}\n  try: {self.hint}" if self.hint else self.message
