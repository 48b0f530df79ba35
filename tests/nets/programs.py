"""Programs around one net, values for them, and the net as a function."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

import ebmlang
from ebmlang.testing.evaluate import evaluation_module

SIZES: dict[str, Any] = {"n": 5, "m": 3, "d": 4, "K": 6, "T": 7}
ROWS = 3


def program(net: str, unknown: bool = False) -> str:
    """A model that feeds a net `f` with observed variables, or with unknown ones, and squares its results."""
    signature = net.split(":", 1)[1].split(" = ")[0]
    left, right = signature.split("->")
    types = [t.strip() for t in re.split(r",(?![^\[]*\])", left.strip().strip("()"))]
    role = "latent" if unknown and not left.strip().startswith("class") else "observed"
    names = [f"x{k}" for k in range(len(types))]
    variables = "\n  ".join(f"{role} {name} : {type_}" for name, type_ in zip(names, types, strict=True))
    sizes = ", ".join(f"{name}: int = {size}" for name, size in SIZES.items())
    pull = "".join(f" + 0.5 * sum(square({name}))" for name in names) if role == "latent" else ""
    used = " + ".join(f"0 * {name}" for name in SIZES)
    return f"""model example({sizes}) {{
  {variables}
  {net}
  let h : {right.strip()} = f({", ".join(names)})
  energy e = sum(square(h)){pull} + {used}
}}
"""


def arrays(
    model: ebmlang.Model, dtype: torch.dtype = torch.float64, sizes: Mapping[str, int] = SIZES
) -> dict[str, Tensor]:
    """Values of all variables, a row for every example."""
    rng = np.random.default_rng(0)
    found: dict[str, Tensor] = {}
    for v in model.checked.variables:
        if v.role == "hyper":
            continue
        shape = (ROWS, *(s.evaluate(sizes) for s in v.type.shape))
        if v.type.classes is not None:
            found[v.name] = torch.from_numpy(rng.integers(0, v.type.classes.evaluate(sizes), shape))
        else:
            found[v.name] = torch.from_numpy(rng.normal(size=shape)).to(dtype)
    return found


def net(model: ebmlang.Model, name: str = "f") -> Any:
    """The module of a net; what it is made of is known here."""
    return model.net(name)


def function(model: ebmlang.Model, values: Mapping[str, Any], dtype: torch.dtype = torch.float64) -> Tensor:
    """What the let `h` of a program is, with the nets of the model."""
    chosen = model.settings(values, dtype, None, None, None)
    module = evaluation_module(model)
    bound = model.bound(module, values, chosen, frozenset())
    unknown = {n: bound.values[n] for n in module.SOUGHT}
    held = {n: v for n, v in bound.values.items() if n not in unknown}
    found: Tensor = bound.instance.lets(unknown, {**held, **bound.instance.prepare(held)})["h"]
    return found
