"""What sizes decide about a question: the width of an elimination, or a method that does not pay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ebmlang.api import Model
from ebmlang.compiler import typed
from ebmlang.compiler.choose import Plan
from ebmlang.errors import DataError
from ebmlang.questions import Asked
from ebmlang.runtime.bind import Bound
from ebmlang.runtime.discrete.methods import Unfit, described, planned
from ebmlang.runtime.discrete.question import question_of
from ebmlang.runtime.picking import picked
from ebmlang.runtime.posing import held_values, make_problem


def sized(model: typed.Model, hypers: Mapping[str, Any], asked: Asked, plan: Plan) -> str:
    """One sentence about a question at these sizes, for one example; empty where sizes decide nothing.

    Values that are given stand at 0, or inside of their domain. Raises DataError for a size without a value.
    """
    if plan.method is None or plan.inner is not None or plan.block.query.summed:
        return ""
    given = [v.name for v in model.variables if v.type.kind == "class" and _is_given(v, asked)]
    # Labels are numbers like others; what entries meet by such values decides the cost.
    if given and (plan.block.discrete or plan.structure.find("sparse Hessian") is not None):
        return f"what {', '.join(given)} joins is in the data; `ebmlang infer` tells"
    loaded = Model(model, hypers)
    module = loaded.compiled(asked, None)[1]
    sizes = _sizes(model, hypers)
    values = {v.name: _blank(v, sizes) for v in model.variables if _is_given(v, asked)}
    bound = loaded.bound(module, values, loaded.settings({}, None, None, None, None), frozenset())
    if plan.method.name == "elimination":
        return _elimination(bound, plan)
    if plan.block.discrete:
        return ""
    name, because = picked(bound, make_problem(bound, {}), "")
    return "" if name == plan.method.name else f"{name}, because {because}"


def _elimination(bound: Bound, plan: Plan) -> str:
    (network,) = question_of(bound, {}, held_values(bound), {}).networks()
    try:
        return described(network, planned(network, bound.settings.chunk_bytes).order)
    except Unfit as unfit:
        assert plan.fallback is not None
        return f"{plan.fallback.name}, because {unfit.because}"


def _is_given(v: typed.Variable, asked: Asked) -> bool:
    return v.name not in asked.sought and v.role not in ("hyper", "param")


def _sizes(model: typed.Model, hypers: Mapping[str, Any]) -> dict[str, int]:
    known = {h.name: int(h.init.value) for h in model.hypers if isinstance(h.init, typed.Constant)}
    return {**known, **{n: int(v) for n, v in hypers.items()}}


def _blank(v: typed.Variable, sizes: Mapping[str, int]) -> np.ndarray[Any, Any]:
    """A value of the right shape: 0, or a point inside of the domain."""
    try:
        shape = tuple(size.evaluate(sizes) for size in v.type.shape)
    except KeyError as missing:
        raise DataError(f"the size {missing} has no value", f"--set {missing.args[0]}=6") from None
    rows = (1,) if v.per_example else ()
    if v.type.permuted:
        return np.broadcast_to(np.arange(shape[-1]), (*rows, *shape)).copy()
    if v.arranged:
        chosen = v.domain.arguments[0]
        assert isinstance(chosen, typed.SizeOf)
        first = np.arange(shape[-1]) < chosen.size.evaluate(sizes)
        return np.broadcast_to(first, (*rows, *shape)).copy()
    if v.type.kind == "class":
        return np.zeros((*rows, *shape), dtype=np.int64)
    if v.type.kind == "bool":
        return np.ones((*rows, *shape), dtype=bool)
    level = 1.0 if v.domain.name in ("positive", "sphere") else 0.0
    if v.domain.name in ("simplex", "sphere") and shape:
        level = 1.0 / shape[-1] if v.domain.name == "simplex" else shape[-1] ** -0.5
    if v.domain.name in ("positive_definite", "stiefel"):
        return np.broadcast_to(np.eye(shape[-2], shape[-1]), (*rows, *shape)).copy()
    return np.full((*rows, *shape), level)
