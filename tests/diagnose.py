"""What the compiler says about a program, as text: shared by the golden tests of mistakes."""

from __future__ import annotations

from ebmlang.compiler import typed
from ebmlang.compiler.check import check_module
from ebmlang.compiler.composition.library import Library
from ebmlang.compiler.diagnostics import Report, render_all
from ebmlang.compiler.parse import parse
from ebmlang.compiler.source import Source
from ebmlang.files import read_source


def diagnose(text: str, name: str = "test.ebm") -> tuple[Report, tuple[typed.Model, ...]]:
    """Parse and check a file: its mistakes, and the models that could be checked."""
    report = Report(Source(name, text))
    module = parse(report)
    if module is None or report.failed:
        return report, ()
    return report, check_module(module, report, Library(check_module, read_source))


def rendered(text: str, name: str = "test.ebm") -> str:
    """All diagnostics of a file as `ebmlang check` prints them, with a newline at the end."""
    report, _ = diagnose(text, name)
    return render_all(report.diagnostics) + "\n"


def checked(text: str) -> typed.Model:
    """The only model of a text without mistakes."""
    report, models = diagnose(text)
    assert not report.diagnostics, render_all(report.diagnostics)
    (model,) = models
    return model
