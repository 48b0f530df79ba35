"""What generated code asks for the minimum of a nested model, and what is remembered from call to call."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ebmlang.runtime.nets import Net, Nets

_MOST_STARTS = 64

_LARGEST = 2**24
"""Bytes of inputs that are kept to be compared with."""


@dataclass(frozen=True, slots=True)
class Note:
    """Examples, bool [B] or [1] for all of them, in which a nested search did not end well, and how."""

    part: str
    rows: Tensor
    says: str


@dataclass(slots=True, eq=False)
class Solves:
    """The nested searches of one bound model.

    `parts` holds the namespace of each by the name of the part; `dtype` is for answers that no real input
    has given one. While a search goes on around them, each begins where it ended the time before: `starts`
    holds coordinates by part and shape. `last` holds the inputs and the answer of the last search of each
    part: terms, lets and energies ask for the same one.
    """

    parts: Mapping[str, Any]
    seed: int
    dtype: torch.dtype
    device: torch.device
    starts: dict[tuple[str, tuple[int, ...]], Tensor] = field(default_factory=dict)
    last: dict[str, tuple[tuple[Tensor, ...], Any]] = field(default_factory=dict)
    heard: list[Note] | None = None
    inside: bool = False

    def __call__(
        self,
        part: str,
        sizes: Mapping[str, int],
        inputs: Mapping[str, Tensor],
        nets: Mapping[str, Net] | None = None,
    ) -> dict[str, Tensor]:
        """The unknowns of a part where its energy is least.

        An input is [*its shape], or [*front, *its shape] with the leading dimensions of the answers: examples
        and plates, of size 1 where it does not vary. Answers are [*front, *shape] and differentiable in the
        real inputs, and in the parameters of the nets that the part calls.
        """
        # Loaded late: a nested question is bound and asked with what binds the model around it.
        from ebmlang.runtime.nested.question import answers

        return answers(self, part, sizes, inputs, Nets(nets or {}))

    def note(self, note: Note) -> None:
        """Say that a search failed: to who listens, else as a warning unless a search goes on around it."""
        if self.heard is not None:
            self.heard.append(note)
        elif not self.inside:
            count = int(note.rows.sum())
            text = f"the nested search of `{note.part}` failed in {count:,} rows: {note.says}"
            warnings.warn(text, RuntimeWarning, stacklevel=4)

    @contextmanager
    def listening(self) -> Iterator[list[Note]]:
        """Collects what searches have to say inside the block."""
        before, self.heard = self.heard, []
        try:
            yield self.heard
        finally:
            self.heard = before

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Inside the block the same questions are asked again and again, for inputs that move."""
        before, self.inside = self.inside, True
        try:
            yield
        finally:
            self.inside = before
            self.starts.clear()

    def known(self, part: str, inputs: tuple[Tensor, ...]) -> Any:
        """The last answer of a part if it was for equal inputs, else None."""
        entry = self.last.get(part)
        if entry is None or len(entry[0]) != len(inputs):
            return None
        pairs = zip(entry[0], inputs, strict=True)
        return entry[1] if all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs) else None

    def remember(self, part: str, inputs: tuple[Tensor, ...], answer: Any) -> None:
        """Keep an answer until the part is asked for other inputs."""
        if sum(x.nbytes for x in inputs) <= _LARGEST:
            self.last[part] = (tuple(x.clone() for x in inputs), answer)

    def start(self, part: str, shape: tuple[int, ...]) -> Tensor | None:
        """Where the last search of this shape ended; None outside of a search."""
        return self.starts.get((part, shape)) if self.inside else None

    def keep(self, part: str, x: Tensor) -> None:
        """Remember where a search ended."""
        if self.inside and (len(self.starts) < _MOST_STARTS or (part, tuple(x.shape)) in self.starts):
            self.starts[part, tuple(x.shape)] = x
