"""The text of `ebmlang explain`: every question of a file with its method and its reasons.

Works without torch: it only needs the compiler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ebmlang.compiler import pipeline, typed
from ebmlang.compiler.choose_mixed import why_not_gaussian
from ebmlang.compiler.choose_sampler import choose_sampler, explain_sampling
from ebmlang.compiler.diagnostics import listing
from ebmlang.compiler.envelope import explain_training, loss_of, obstacles
from ebmlang.compiler.explanation import explain, found_lines, line, solved_lines
from ebmlang.compiler.hierarchy import above
from ebmlang.compiler.query import Query
from ebmlang.compiler.questions import SEARCHED_VERBS
from ebmlang.compiler.structure import Structure
from ebmlang.compiler.typed import Question
from ebmlang.errors import ModelError
from ebmlang.files import read_source
from ebmlang.questions import ask_roles, ask_samples


def open_model(path: str | Path, name: str | None) -> typed.Model:
    """A checked model of a file. Raises ModelError and DataError."""
    checked = pipeline.check_source(read_source(path))
    if checked.failed:
        raise ModelError(checked.diagnostics)
    picked = pipeline.pick_model(checked, name)
    if not isinstance(picked, typed.Model):
        raise ModelError((picked,))
    return picked


def explain_file(
    path: str | Path,
    name: str | None,
    given: Sequence[str],
    find: Sequence[str] | None,
    of: str | None,
    objective: str | None,
    using: str | None,
    everything: bool,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """One question as asked, or every question of the file; with `settings`, what sizes decide."""
    model = open_model(path, name)
    settings = settings or {}
    if not everything:
        return _question(model, given, find, of, objective, using, settings)
    parts = [f"model {model.name}"]
    if not any(q.verb in SEARCHED_VERBS for q in model.questions):
        head = "infer (the file has no `infer` line: all latents)"
        parts.append(f"{head}\n{_indented(_question(model, given, None, None, None, using, settings))}")
    for question in model.questions:
        if question.verb in SEARCHED_VERBS:
            told = [line("after", f"`{q.text}`, whose answer is given") for q in above(model, question)]
            told.append(_indented(_question(model, given, None, None, question, using, settings)))
            parts.append("\n".join([question.text, *told]))
        elif question.verb == "marginalize":
            parts.append(f"{question.text}\n{_indented(_summed(model, given, question))}")
        elif question.verb in typed.TRAINING:
            parts.append(f"{question.text}\n{_indented(_trained(model, given, question))}")
        else:
            parts.append(f"{question.text}\n{_indented(_sampled(model, given, question))}")
    return "\n\n".join(parts)


def _question(
    model: typed.Model,
    given: Sequence[str],
    find: Sequence[str] | None,
    of: str | None,
    objective: str | Question | None,
    using: str | None,
    settings: Mapping[str, Any],
) -> str:
    asked = ask_roles(model, find, frozenset(given), of, objective, frozenset())
    note = ""
    named = set(asked.question.targets) if asked.question is not None else set()
    values = [let.name for let in model.lets if let.name in named]
    if values and not asked.sought:
        return "\n".join([f"seek nothing: {listing(values, 'and')} is computed", *solved_lines(model)])
    if not asked.sought:
        # Nothing is unknown by role, so the question is about entries that the data lacks.
        holes = frozenset(v.name for v in model.variables if v.missing)
        if not holes:
            return "\n".join(["seek nothing: every variable is given", *solved_lines(model)])
        asked = ask_roles(model, find, frozenset(given), of, objective, holes)
        note = f"missing entries of {', '.join(sorted(holes))}; with none missing nothing is sought\n"
    plan = pipeline.plan_for(pipeline.graph_of(asked.model), asked.query, using)
    if not settings:
        return note + explain(plan)
    # Sizes are resolved by the runtime, which needs torch.
    from ebmlang.sized import sized

    return note + explain(plan, sized(model, settings, asked, plan))


def _summed(model: typed.Model, given: Sequence[str], question: Question) -> str:
    """How the unknowns of a `marginalize` line are summed out."""
    names = tuple(v.name for v in model.variables if v.name in set(question.targets) - set(given))
    if not names:
        return "sum out nothing: every variable is given"
    graph = pipeline.graph_of(model)
    plan = pipeline.plan_for(graph, Query(names))
    lines = [f"sum out {', '.join(names)}", *found_lines(plan)]
    real = tuple(v.name for v in model.variables if v.name in names and v.type.kind == "real")
    if real:
        part = pipeline.plan_for(graph, Query(real)).structure
        return "\n".join([*lines, *_integrated(part, real, others=len(names) > len(real))])
    if plan.method is None:
        return "\n".join([*lines, line("method", f"none: {plan.because}")])
    lines.append(line("method", f"{plan.method.name}: {plan.method.title} ({plan.method.reference})"))
    says = "exact: the sum over every assignment; refused where it does not fit into memory"
    lines.append(line("answer", says))
    return "\n".join(lines)


def _sampled(model: typed.Model, given: Sequence[str], question: Question) -> str:
    """How the unknowns of a `sample` line are drawn."""
    asked = ask_samples(model, None, frozenset(given), None, question, frozenset())
    plan = pipeline.plan_for(pipeline.graph_of(asked.model), asked.query)
    name = question.using.name if question.using is not None else None
    return explain_sampling(choose_sampler(plan, name))


def _trained(model: typed.Model, given: Sequence[str], line: Question) -> str:
    """How the parameters of a `train` line are found, or what is in the way."""
    observed = {v.name for v in model.variables if v.role == "observed"}
    loss = loss_of(model, line, frozenset({*observed, *given}), frozenset())
    graph = pipeline.graph_of(loss.model)
    for obstacle in obstacles(loss, graph):
        return f"not built: {obstacle.message().removesuffix(' is not built yet')}"
    query = Query(loss.inside, loss.lowered, loss.using, loss.question, loss.summed)
    plan = pipeline.plan_for(graph, query) if loss.sought else None
    return explain_training(loss, plan)


def _integrated(part: Structure, real: tuple[str, ...], *, others: bool) -> list[str]:
    """How real unknowns are integrated out; `others`: countable ones are summed out with them."""
    reason = why_not_gaussian(part)
    shown = ", ".join(real)
    if reason:
        return [line("method", f"none: {shown} cannot be integrated out in closed form: {reason}")]
    quadratic, pattern = part.find("quadratic"), part.findings[-1]
    where = " in every state of the others" if others else ""
    says = "exact: F = E* + log det(beta H / 2 pi) / (2 beta), inf where H does not curve upwards"
    return [
        line("method", f"gaussian: closed form over {shown}{where} ({quadratic}; {pattern})"),
        line("answer", says),
    ]


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))
