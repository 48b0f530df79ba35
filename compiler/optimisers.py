"""The table of optimisers that move parameters: names, options and defaults, all of them torch's.

The compiler never imports torch, so the options stand here; a test compares them with `torch.optim`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

OptionKind = Literal["positive", "nonnegative", "share", "shares", "count", "switch"]
"""What values an option takes; see `WANTED`."""

Value = float | int | bool | str | tuple[float, ...]
"""The value of an option; a text is the name of a schedule."""

WANTED: Mapping[OptionKind, str] = {
    "positive": "a positive number",
    "nonnegative": "a number of at least 0",
    "share": "a number from 0 up to, not including, 1",
    "shares": "two numbers from 0 up to, not including, 1, such as [0.9, 0.999]",
    "count": "a whole number of at least 1",
    "switch": "true or false",
}
"""The kinds of options in words."""


COMMON: tuple[tuple[str, OptionKind], ...] = (
    ("clip", "positive"),  # the largest norm of the gradient
    ("accumulate", "count"),  # parts in which the gradient of a batch is found
    ("average", "share"),  # the decay of a running mean of the parameters, which is the result
)
"""Options that every optimiser takes, off unless they are set; the trainer's, not torch's."""


@dataclass(frozen=True, slots=True)
class OptimiserRow:
    """`implementation` is the class in `torch.optim`; `options` are (name, kind, default).

    `whole`: every step looks at all rows, several times. `free`: it assumes that nothing moves a parameter
    but its own steps, so parameters on a domain with a border or on a manifold do not go with it.
    """

    name: str
    implementation: str
    options: tuple[tuple[str, OptionKind, Value], ...]
    title: str
    reference: str
    whole: bool = False
    free: bool = False

    @property
    def option_names(self) -> tuple[str, ...]:
        return (*(name for name, _, _ in self.options), *(name for name, _ in self._common))

    @property
    def _common(self) -> tuple[tuple[str, OptionKind], ...]:
        # A line search trusts the slopes that it is told.
        return tuple(pair for pair in COMMON if not (self.whole and pair[0] == "clip"))

    def kind(self, option: str) -> OptionKind | None:
        own = next((kind for name, kind, _ in self.options if name == option), None)
        return own or next((kind for name, kind in self._common if name == option), None)

    @property
    def defaults(self) -> dict[str, Value]:
        return {name: default for name, _, default in self.options}


_MOMENTS: tuple[tuple[str, OptionKind, Value], ...] = (
    ("lr", "positive", 1e-3),
    ("betas", "shares", (0.9, 0.999)),
    ("eps", "positive", 1e-8),
)

OPTIMISERS: tuple[OptimiserRow, ...] = (
    OptimiserRow(
        "adam",
        "Adam",
        (*_MOMENTS, ("weight_decay", "nonnegative", 0.0), ("amsgrad", "switch", False)),
        "steps scaled by running moments of the gradient",
        "Kingma & Ba 2015",
    ),
    OptimiserRow(
        "adamw",
        "AdamW",
        (*_MOMENTS, ("weight_decay", "nonnegative", 1e-2), ("amsgrad", "switch", False)),
        "adam with weight decay beside the gradient, not in it",
        "Loshchilov & Hutter 2019",
    ),
    OptimiserRow(
        "sgd",
        "SGD",
        (
            ("lr", "positive", 1e-3),
            ("momentum", "nonnegative", 0.0),
            ("dampening", "nonnegative", 0.0),
            ("weight_decay", "nonnegative", 0.0),
            ("nesterov", "switch", False),
        ),
        "steps along the gradient, with momentum if asked for",
        "Robbins & Monro 1951; Sutskever et al. 2013",
    ),
    OptimiserRow(
        "rmsprop",
        "RMSprop",
        (
            ("lr", "positive", 1e-2),
            ("alpha", "share", 0.99),
            ("eps", "positive", 1e-8),
            ("weight_decay", "nonnegative", 0.0),
            ("momentum", "nonnegative", 0.0),
            ("centered", "switch", False),
        ),
        "steps scaled by a running mean of squared gradients",
        "Tieleman & Hinton 2012; Graves 2013",
    ),
    OptimiserRow(
        "adagrad",
        "Adagrad",
        (
            ("lr", "positive", 1e-2),
            ("lr_decay", "nonnegative", 0.0),
            ("weight_decay", "nonnegative", 0.0),
            ("initial_accumulator_value", "nonnegative", 0.0),
            ("eps", "positive", 1e-10),
        ),
        "steps scaled by the sum of all squared gradients",
        "Duchi, Hazan & Singer 2011",
    ),
    OptimiserRow(
        "muon",
        "Muon",
        (
            ("lr", "positive", 1e-3),
            ("weight_decay", "nonnegative", 0.1),
            ("momentum", "share", 0.95),
            ("nesterov", "switch", True),
            ("ns_steps", "count", 5),
        ),
        "orthogonal steps of matrices; the rest goes by adamw with the same lr and weight_decay",
        "Jordan et al. 2024",
    ),
    OptimiserRow(
        "lbfgs",
        "LBFGS",
        (
            ("lr", "positive", 1.0),
            ("max_iter", "count", 20),
            ("tolerance_grad", "nonnegative", 1e-7),
            ("tolerance_change", "nonnegative", 1e-9),
            ("history_size", "count", 100),
        ),
        "quasi-Newton steps with a strong Wolfe line search, on all rows at once",
        "Nocedal & Wright 2006, section 7.2",
        whole=True,
        free=True,
    ),
)

DEFAULT = "adam"
"""What moves parameters when nobody says."""


def find_optimiser(name: str) -> OptimiserRow | None:
    return next((row for row in OPTIMISERS if row.name == name), None)


def optimiser_names() -> tuple[str, ...]:
    return tuple(row.name for row in OPTIMISERS)


_SCHEDULABLE: tuple[OptionKind, ...] = ("positive", "nonnegative", "share")
"""Kinds of options that may follow a schedule."""


def accepted(kind: OptionKind, value: object) -> Value | None:
    """The value as the option takes it, or None where it is not one of its values."""
    match kind, value:
        case _, str():
            return value if kind in _SCHEDULABLE else None
        case "switch", bool():
            return value
        case "shares", (float() as a, float() as b) if 0 <= a < 1 and 0 <= b < 1:
            return a, b
        case ("switch" | "shares", _) | (_, bool()):
            return None
        case _, float() | int():
            return _number(kind, float(value))
    return None


def _number(kind: OptionKind, value: float) -> Value | None:
    fits = {
        "positive": value > 0,
        "nonnegative": value >= 0,
        "share": 0 <= value < 1,
        "count": value >= 1 and value.is_integer(),
    }
    if not fits.get(kind, False):
        return None
    return int(value) if kind == "count" else value


def optimiser_text(name: str, options: Sequence[tuple[str, Value]]) -> str:
    """As a file spells it: `adam(lr = 0.01, betas = [0.9, 0.99])`."""
    if not options:
        return name
    return f"{name}({', '.join(f'{key} = {_spelled(value)}' for key, value in options)})"


def _spelled(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return f"[{', '.join(map(_spelled, value))}]"
        case str():
            return value
    return f"{value:g}"
