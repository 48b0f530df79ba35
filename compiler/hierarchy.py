"""Plans on several levels: which `plan` line takes what from which other one.

A line with `given g` rests on the line that plans g: that one is asked first, and its answer is a value for
this one.
"""

from __future__ import annotations

from ebmlang.compiler.catalogue.model import PlansInCircle
from ebmlang.compiler.diagnostics import Label, Report
from ebmlang.compiler.typed import Model, Question


def planned_by(model: Model, name: str) -> Question | None:
    """The line that plans a variable: the first one that names it."""
    return next((q for q in model.questions if q.verb == "plan" and name in q.targets), None)


def above(model: Model, line: Question, given: frozenset[str] = frozenset()) -> tuple[Question, ...]:
    """The lines that a line rests on, directly or not, each after those that it rests on itself.

    What is in `given` has a value already, and needs no line. The lines must not rest on each other in a
    circle.
    """
    found: list[Question] = []
    for name in line.given:
        upper = None if name in given else planned_by(model, name)
        if upper is not None and upper is not line:
            found += [q for q in (*above(model, upper, given), upper) if q not in found]
    return tuple(found)


def lowest(model: Model) -> Question | None:
    """The `plan` line that is asked where no label says which: from the first one down to one that no other
    line rests on."""
    lines = [q for q in model.questions if q.verb == "plan"]
    line = next(iter(lines), None)
    while line is not None:
        below = next((q for q in lines if q is not line and line in _direct(model, q)), None)
        if below is None:
            return line
        line = below
    return None


def elsewhere(model: Model, line: Question) -> frozenset[str]:
    """What other lines plan, and this one neither plans nor takes as given."""
    lines = (q for q in model.questions if q.verb == "plan")
    return frozenset(n for q in lines for n in q.targets) - {*line.targets, *line.given}


def check_levels(model: Model, report: Report) -> None:
    """Report `plan` lines that rest on each other in a circle, each circle once."""
    told: set[Question] = set()
    for line in model.questions:
        circle = _circle(model, line)
        if circle and not told & set(circle):
            told |= set(circle)
            names = tuple(next(n for n in q.given if planned_by(model, n) in circle) for q in circle)
            places = tuple(Label(q.span, "and this line") for q in circle[1:])
            report.add(PlansInCircle(line.span, names, places))


def _direct(model: Model, line: Question) -> tuple[Question, ...]:
    """The lines that a line rests on directly."""
    lines = (planned_by(model, name) for name in line.given)
    return tuple(q for q in lines if q is not None and q is not line)


def _circle(model: Model, line: Question) -> tuple[Question, ...]:
    """The lines on a way from this one back to itself, this one first; empty where there is none."""
    if line.verb != "plan":
        return ()
    ways: list[tuple[Question, ...]] = [(line,)]
    seen = {line}
    while ways:
        way = ways.pop()
        for upper in _direct(model, way[-1]):
            if upper is line:
                return way
            if upper not in seen:
                seen.add(upper)
                ways.append((*way, upper))
    return ()
