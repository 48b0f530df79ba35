"""The command line: finds the command, runs it, and turns what it raises into words and an exit code.

Nothing heavy is imported here or at the top of a command's file: `ebmlang check` must start at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from ebmlang.commands import COMMANDS, Command, processes
from ebmlang.commands.options import UsageError
from ebmlang.errors import DataError, ModelError
from ebmlang.interrupts import termination

DONE, WRONG, USAGE, NOT_CONVERGED, BUG, INTERRUPTED = 0, 1, 2, 3, 70, 130
"""Exit codes: promises to scripts."""

_DESCRIPTION = "Energy-based models: describe an energy, ask for its minimum."
_EXAMPLE = "ebmlang infer models/gallery/ridge.ebm --data sklearn:diabetes -o w.npz"
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. `argv` leaves out the program's name. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    code = ended(lambda: run(_parse(words)))
    if argv is None and processes.among_others():
        processes.leave(code)
    return code


def ended(work: Callable[[], int]) -> int:
    """The exit code of `work`, however it ends; `main` without the command line."""
    try:
        with termination():
            try:
                code = work()
            except SystemExit as stop:  # how argparse ends for --help and for mistakes
                return stop.code if isinstance(stop.code, int) else USAGE
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough. Python would complain once more while it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def parser(commands: Sequence[Command] = COMMANDS) -> argparse.ArgumentParser:
    """The whole command line, which the documentation is checked against."""
    top = argparse.ArgumentParser(
        prog="ebmlang",
        description=_DESCRIPTION,
        epilog=f"example:\n  {_EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="store_true", help="print the version")
    below = top.add_subparsers(dest="command", metavar="COMMAND")
    for command in commands:
        sub = below.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.HELP[:1].upper() + command.HELP[1:] + ".",
            epilog=f"example:\n  {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run, parser=sub)
    return top


def _parse(words: list[str]) -> argparse.Namespace:
    top = parser()
    names = [command.NAME for command in COMMANDS]
    first = next((word for word in words if not word.startswith("-")), None)
    if first is not None and first not in names:
        top.error(f"there is no command `{first}`{_guess(first, names)}")
    arguments, unknown = top.parse_known_args(words)
    arguments.words = words
    if arguments.version:
        return arguments
    if arguments.command is None:
        top.print_help(sys.stderr)
        top.exit(USAGE)
    if unknown:
        sub: argparse.ArgumentParser = arguments.parser
        known = [option for action in sub._actions for option in action.option_strings]
        sub.error(f"`{unknown[0]}` is not understood{_guess(unknown[0].split('=')[0], known)}")
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Run what was parsed: `arguments.run` is the command, `arguments.parser` its parser."""
    if vars(arguments).get("version"):
        return _version()
    as_json = bool(vars(arguments).get("json"))
    try:
        code: int = arguments.run(arguments)
        return code
    except UsageError as error:
        arguments.parser.print_usage(sys.stderr)
        print(f"{arguments.parser.prog}: error: {error}", file=sys.stderr)
        return USAGE
    except ModelError as error:
        _print_model_error(error, as_json)
        return WRONG
    except DataError as error:
        _print_data_error(error, as_json)
        return WRONG
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or any(text in str(error).lower() for text in _OUT_OF_MEMORY):
            _print_data_error(DataError("there is not enough memory", "--max-memory 1GiB"), as_json)
            return WRONG
        return _bug(error)


def _print_model_error(error: ModelError, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps({"diagnostics": [x.to_json() for x in error.diagnostics]}, indent=2), file=sys.stderr
        )
        return
    from ebmlang.compiler.diagnostics import render_all

    color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(render_all(error.diagnostics, color), file=sys.stderr)


def _print_data_error(error: DataError, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": error.message, "hint": error.hint}, indent=2), file=sys.stderr)
    else:
        print(f"error: {error}", file=sys.stderr)


def _bug(error: Exception) -> int:
    if os.environ.get("EBMLANG_TRACEBACK"):
        traceback.print_exception(error, file=sys.stderr)
    text = " ".join(str(error).split())
    print(
        f"internal error: {type(error).__name__}: {text[:500]}\n"
        "  This is a bug of ebmlang, not of your model. Please report it in the project's issue tracker,\n"
        "  with the command, the model, and what the command prints with EBMLANG_TRACEBACK=1 set.",
        file=sys.stderr,
    )
    return BUG


def _version() -> int:
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"ebmlang {version('ebmlang')}")
    except PackageNotFoundError:
        print("ebmlang, not installed")
    return DONE


def _guess(word: str, known: Sequence[str]) -> str:
    from ebmlang.compiler.diagnostics import did_you_mean

    guess = did_you_mean(word, known)
    return f"; {guess}" if guess else ""
