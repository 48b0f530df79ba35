"""What the text of a named loss is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

MOST_COPIES = 64
"""Draws of one loss that are written out, or compared with."""


@dataclass(frozen=True, slots=True)
class Words:
    """The variable, its sizes, options, draws and free names for indices.

    `kind` is real, bool or class; `classes` is the number of cases of a variable that counts. `shapes` are
    those of options that name a variable or a let.
    """

    variable: str
    kind: str
    shape: tuple[str, ...]
    classes: str
    options: Mapping[str, str]
    shapes: Mapping[str, tuple[str, ...]]
    draws: Mapping[str, str]
    indices: tuple[str, ...]

    @property
    def over(self) -> str:
        """An index for every dimension of the variable, running over all entries."""
        pairs = zip(self.indices, self.shape, strict=False)
        parts = [f"{name} in 0..{size}" for name, size in pairs]
        return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"

    @property
    def at(self) -> tuple[str, ...]:
        """The indices of `over`."""
        return self.indices[: len(self.shape)]

    @property
    def last(self) -> str:
        """An index beside those of `over`."""
        return self.indices[len(self.shape)]

    def replaced(self, expression: str, value: str) -> str:
        return f"({expression} with {self.variable} = {value})"

    def energy_at(self, value: str) -> str:
        return self.replaced("total", value)

    def draw(self, distribution: str, *first: str) -> str:
        """What follows the name of a real draw shaped like the variable, with dimensions in front."""
        shape = (*first, *self.shape)
        sizes = f"[{', '.join(shape)}]" if shape else ""
        return f": real{sizes} ~ {distribution}"


@dataclass(frozen=True, slots=True)
class LossRow:
    """`kinds` are the kinds of variables that it can shape, up to `rank` dimensions; `bordered` says whether
    their domain may have a border. `options` are expressions with their defaults; `counts` are those that are
    whole numbers of the text, `scales` those that are above 0, `choices` those that are one of some words,
    `random` those that name a random variable, `copies` those of them that hold several draws, one after the
    other, and `asked` those that a line has to say, by the kind and the number of dimensions of the variable.
    `compared` is the energy of the values that the loss pushes up, where it names some; `draws` are random
    values by their purpose: what stands between `random NAME` and the end of the line. `sampled`: it draws
    from the model, by a sampler that the line names, and the text is for people."""

    name: str
    title: str
    reference: str
    kinds: tuple[str, ...]
    formula: str
    written: Callable[[Words], str]
    options: tuple[tuple[str, str], ...] = ()
    counts: tuple[str, ...] = ()
    choices: tuple[tuple[str, tuple[str, ...]], ...] = ()
    random: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    asked: Callable[[str, int], tuple[str, ...]] = lambda kind, rank: ()
    draws: Callable[[Words], Mapping[str, str]] = lambda words: {}
    compared: Callable[[Words], str] | None = None
    rank: int = 8
    bordered: bool = False
    sampled: bool = False
    scales: tuple[str, ...] = ()
