"""Nested minima: the answers of `solve` and their derivatives.

`solves` is what generated code calls; `question` poses a nested problem and searches it; `implicit`
differentiates the answer; `unrolled` differentiates through the steps of a gradient method instead.
"""

from __future__ import annotations

from ebmlang.runtime.nested.solves import Solves

__all__ = ["Solves"]
