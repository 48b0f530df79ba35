"""The commands of `ebmlang`: one file each, and one entry in `COMMANDS`, in the order of `--help`."""

from argparse import ArgumentParser, Namespace
from typing import Protocol

from ebmlang.commands import (
    check,
    collect,
    explain,
    fmt,
    graph,
    infer,
    marginal,
    plan,
    sample,
    show,
    test,
    train,
)
from ebmlang.commands import compile as compile_


class Command(Protocol):
    """What a file in this folder offers. It imports what is heavy inside `run`."""

    @property
    def NAME(self) -> str: ...  # noqa: N802

    @property
    def HELP(self) -> str:  # noqa: N802
        """One line, starting with a small letter, without a full stop."""

    @property
    def EXAMPLE(self) -> str:  # noqa: N802
        """A command that works in the root of the repository; `--help` ends with it."""

    def add_arguments(self, parser: ArgumentParser) -> None: ...

    def run(self, args: Namespace) -> int:
        """Do it and return the exit code. Raises ModelError, DataError or UsageError."""


COMMANDS: tuple[Command, ...] = (
    check,
    fmt,
    show,
    explain,
    graph,
    compile_,
    infer,
    test,
    train,
    marginal,
    sample,
    plan,
    collect,
)
