"""What options of several commands have in common: turning words into values."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import TypeVar

Value = TypeVar("Value")

Setting = int | float | bool
"""The value of a size or a hyperparameter."""


class UsageError(Exception):
    """The command line is wrong in a way that argparse does not see."""


def names(text: str) -> tuple[str, ...]:
    """`a,b` as names."""
    found = tuple(word.strip() for word in text.split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"expected names separated by commas, found `{text}`")
    return found


def pair(text: str) -> tuple[str, str]:
    """`left=right`, both sides there."""
    left, equals, right = (part.strip() for part in text.partition("="))
    if not (left and equals and right):
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found `{text}`")
    return left, right


def setting(text: str) -> tuple[str, Setting]:
    """`k=64`, `lam=0.1` or `bias=true`."""
    name, value = pair(text)
    if value in ("true", "false"):
        return name, value == "true"
    try:
        return name, int(value)
    except ValueError:
        pass
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number, true or false for {name}, found `{value}`"
        ) from None


def whole(text: str) -> int:
    """A whole number, 0 or more."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a whole number, found `{text}`")
    return int(text)


def count(text: str) -> int:
    """A whole number, 1 or more."""
    found = whole(text)
    if found < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found `{text}`")
    return found


def positive(text: str) -> float:
    """A positive finite number."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not (found > 0 and math.isfinite(found)):
        raise argparse.ArgumentTypeError(f"expected a positive number, found `{text}`")
    return found


def share(text: str) -> float:
    """A number between 0 and 1."""
    found = positive(text)
    if found >= 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, found `{text}`")
    return found


def memory(text: str) -> int:
    """`2GiB` as bytes."""
    from ebmlang.data.memory import parse_memory
    from ebmlang.errors import DataError

    try:
        return parse_memory(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(f"{error.message}; expected {error.hint}") from None


def once(pairs: Sequence[tuple[str, Value]], option: str) -> dict[str, Value]:
    """Pairs of a repeated option as a dictionary. Raises UsageError when a name comes twice."""
    found: dict[str, Value] = {}
    for name, value in pairs:
        if name in found:
            raise UsageError(f"{option} gives `{name}` twice: {found[name]} and {value}")
        found[name] = value
    return found


def add_settings(parser: argparse.ArgumentParser) -> None:
    """`--set` and `--model`, for every command that opens a model whose sizes matter."""
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="NAME=VALUE",
        type=setting,
        action="append",
        default=[],
        help="a size or a hyperparameter, such as k=64; may be repeated",
    )
    parser.add_argument("--model", metavar="NAME", help="which model, when the file holds several")


def add_output(parser: argparse.ArgumentParser, what: str) -> None:
    """`-o` and `--force`."""
    parser.add_argument("-o", "--output", metavar="OUT", help=what)
    parser.add_argument("--force", action="store_true", help="overwrite the output if it exists")


def add_resources(parser: argparse._ActionsContainer) -> None:
    """`--device`, `--dtype` and `--max-memory`: where and how precisely a question is answered."""
    parser.add_argument("--device", help="cpu, cuda or cuda:1")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="float32 if not given")
    parser.add_argument("--max-memory", metavar="2GiB", type=memory, help="memory that chunks may take")


def add_binds(parser: argparse.ArgumentParser) -> None:
    """`--bind f=package.module:make`: where extern nets come from."""
    parser.add_argument(
        "--bind",
        dest="binds",
        metavar="F=P.M:MAKE",
        type=pair,
        action="append",
        default=[],
        help="extern net F is what MAKE of the Python module P.M returns; may be repeated",
    )


def add_progress(parser: argparse.ArgumentParser) -> None:
    """`--progress` and `--no-progress`; neither means a bar on a terminal, and lines elsewhere."""
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show how far it is: a bar on a terminal, lines elsewhere",
    )


def add_model_and_data(parser: argparse.ArgumentParser) -> None:
    """The model file, its data, and which array is which variable: what every question begins with."""
    parser.add_argument("file", metavar="FILE", help="the model, an .ebm file")
    parser.add_argument(
        "--data",
        metavar="D",
        help="a file of arrays or a table, a folder of pictures or of Hugging Face datasets, sklearn:digits",
    )
    parser.add_argument(
        "--map",
        dest="mapping",
        metavar="V=A",
        type=pair,
        action="append",
        default=[],
        help="variable V takes array A; may be repeated",
    )
    parser.add_argument(
        "--observed",
        metavar="V=A",
        type=pair,
        action="append",
        default=[],
        help="array A is true where an entry of V is given; the others are found; may be repeated",
    )
