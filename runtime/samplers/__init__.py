"""Samplers, by the name they have after `sample ... using`; what they share is in `sampler`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ebmlang.runtime.samplers.annealed import Annealed
from ebmlang.runtime.samplers.gibbs import Gibbs
from ebmlang.runtime.samplers.hmc import Hmc, mala
from ebmlang.runtime.samplers.informed import Informed
from ebmlang.runtime.samplers.langevin import Langevin
from ebmlang.runtime.samplers.nuts import Nuts
from ebmlang.runtime.samplers.sampler import AbstractSampler
from ebmlang.runtime.samplers.tempering import Tempering

CHAINS: Mapping[str, Callable[..., AbstractSampler[Any]]] = MappingProxyType(
    {
        "gibbs": Gibbs,
        "gibbs_with_gradients": Informed,
        "nuts": Nuts,
        "hmc": Hmc,
        "mala": mala,
        "langevin": Langevin,
        "tempering": Tempering,
        "annealed": Annealed,
    }
)
"""Samplers that move chains. The others of the table, `gaussian` and `ancestral`, draw at once."""


def make_sampler(name: str, options: Mapping[str, Any]) -> AbstractSampler[Any]:
    """A sampler with the options that its line or its caller gives."""
    named = {"step_size" if key == "step" else key: value for key, value in options.items()}
    return CHAINS[name](**named)
