"""What `explain` says of nested minima: their method, and how they are differentiated."""

from __future__ import annotations

from collections.abc import Iterator

from ebmlang.compiler import notation, typed
from ebmlang.compiler.nested import UNROLLED, inner_plan
from ebmlang.compiler.typed import Method, Solve, Solved


def solved_texts(model: typed.Model, inside: str = "") -> Iterator[str]:
    """One text for every `solve` of a model, those inside of nested models too."""
    for found in model.solved:
        name = f"{inside}{found.part}"
        if found.search is not None:
            yield f"{name}: {_searched(found.search)}"
            yield from solved_texts(found.model, f"{name}.")
        elif found.formula:
            yield f"{name}: {_closed(found)}"


def _closed(found: Solved) -> str:
    values = ", ".join(f"{name} = {notation.text(value)}" for name, value in found.formula)
    return f"closed form, {values} of {found.model.name}; differentiated as any other value"


def _searched(solve: Solve) -> str:
    nested = solve.nested
    what = f"{nested.model.name} over {', '.join(nested.sought)}"
    if nested.using is not None and nested.using.name == UNROLLED:
        return f"unrolled, {_steps(nested.using)} on {what} (asked for); differentiated through the steps"
    plan = inner_plan(solve)
    assert plan.method is not None
    how = f"{what} by {plan.method.name} ({plan.because})"
    variables = [v for v in nested.model.variables if v.name in nested.sought]
    if any(v.type.kind != "real" for v in variables):
        return f"search, {how}; no derivative along the index: it does not change with the inputs"
    return f"implicit, {how}; differentiated by one linear system{_system(solve)}"


def _steps(using: Method) -> str:
    options = dict(using.options)
    count = f"{options.get('steps', 'the usual number of')} steps of projected gradient"
    return f"{count}, the last {options['through']} differentiated," if "through" in options else count


def _system(solve: Solve) -> str:
    """The matrix of the implicit derivative."""
    plan = inner_plan(solve)
    pattern = next((f for f in reversed(plan.structure.findings) if "Hessian" in f.property), None)
    hessian = f" with the Hessian ({pattern.property})" if pattern is not None else " with the Hessian"
    if plan.block.limits:
        return f"{hessian} and the constraints that hold with equality"
    geometries = {v.domain.rule.geometry for v in plan.block.sought}
    if "manifold" in geometries:
        return " with the Riemannian Hessian along the tangent space"
    if any(v.domain.name == "psd" for v in plan.block.sought):
        return " with the Riemannian Hessian along the matrices of the same rank"
    if "closed convex" in geometries:
        return f"{hessian} of the entries that are not at the edge of their domain"
    if plan.split is not None:
        return f"{hessian} of the entries that are not 0"
    return hessian
