"""Where parameters begin: their declared start, or a point of their domain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
from torch import Tensor

from ebmlang.runtime.bind import Bound, domain_of, expanded
from ebmlang.runtime.generated import GeneratedModel
from ebmlang.runtime.seeded import Stream


def start_parameters(bound: Bound, seed: int) -> dict[str, Tensor]:
    """A value in its domain for every parameter, keyed by `seed` and name; given ones are kept."""
    known = dict(bound.values)
    found: dict[str, Tensor] = {}
    draws = replace(bound.instance.draw, seed=seed)
    instance = cast(GeneratedModel, replace(cast(Any, bound.instance), draw=draws))
    for spec in bound.specs.values():
        if spec.role != "param":
            continue
        shape = bound.shapes[spec.name]
        if spec.name in bound.given:
            start = bound.values[spec.name][None]
        elif spec.start:
            start = expanded(spec, instance.start(spec.name, known), shape, bound.settings)[None]
        else:
            stream = Stream(seed, f"{spec.name}/start", np.zeros(1, dtype=np.int64))
            start = (
                domain_of(bound, spec).start(shape, stream).to(bound.settings.device, bound.settings.dtype)
            )
        value = domain_of(bound, spec).nearest(start)[0].detach().clone()
        known.setdefault(spec.name, value)
        found[spec.name] = value
    return found
