"""Commands whose questions are part of the language and not built yet: they check, and refuse to ask."""

from __future__ import annotations

from argparse import REMAINDER, ArgumentParser, Namespace
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """One such command. It finds the mistakes of the file first, so that those are not hidden."""

    NAME: str
    HELP: str
    EXAMPLE: str

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="the model, an .ebm file")
        parser.add_argument("rest", nargs=REMAINDER, help="options of the command")

    def run(self, args: Namespace) -> int:
        from ebmlang.compiler.catalogue.later import QuestionNotBuilt
        from ebmlang.compiler.diagnostics import Located
        from ebmlang.compiler.source import Span
        from ebmlang.errors import ModelError
        from ebmlang.explaining import open_model

        model = open_model(args.file, None)
        line = next((q for q in model.questions if q.verb == self.NAME), None)
        span = line.span if line is not None else Span(model.span.start, model.span.start + len("model"))
        raise ModelError((Located(model.source, QuestionNotBuilt(span, self.NAME)),))


PLAN = Unbuilt(
    "plan", "plan in an environment (not built yet)", "ebmlang plan FILE --env gymnasium:Pendulum-v1"
)
