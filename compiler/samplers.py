"""The table of samplers: facts, and where each is implemented.

As in the table of methods, rows stand in order of preference and implementations are dotted paths, which a
test resolves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ebmlang.compiler.methods import OptionKind

Takes = Literal["real", "countable", "mixed"]
"""What kinds of unknowns a sampler draws; `mixed` are both at once."""

LENGTHS: tuple[tuple[str, OptionKind], ...] = (
    ("chains", "whole"),
    ("draws", "whole"),
    ("warmup", "whole"),
    ("thin", "whole"),
    ("temperature", "positive"),
)
"""Options that every sampler takes: how much is drawn, and the temperature T of exp(-E / T)."""


@dataclass(frozen=True, slots=True)
class SamplerRow:
    """`needs` are properties that findings must establish for the block. `options` are those that the sampler
    takes besides the common ones. `certificate` says what its draws are known to be. `provided` is what
    sizes and values must give besides, and `otherwise` the sampler that is taken where they do not.
    `automatic`: it is taken without being asked for by name. `proposes`: it takes each step, or stays."""

    name: str
    implementation: str
    takes: tuple[Takes, ...]
    needs: tuple[str, ...]
    options: tuple[tuple[str, OptionKind], ...]
    title: str
    certificate: str
    reference: str
    otherwise: str = ""
    provided: str = ""
    automatic: bool = True
    proposes: bool = False

    @property
    def chain(self) -> bool:
        """Whether it moves from where it is, and does not draw at once."""
        return self.implementation.rpartition(":")[2] != "draw"


_INVARIANT = "in the limit of many draws those of the law itself; R-hat, effective draws and divergences tell"

SAMPLERS: tuple[SamplerRow, ...] = (
    SamplerRow(
        "gaussian",
        "ebmlang.runtime.samplers.gaussian:draw",
        ("real",),
        ("quadratic", "unconstrained", "separable bounds"),
        (),
        "independent draws from the Gaussian, by a factor of its Hessian",
        "exact: independent draws, no chain",
        "Rue & Held 2005, section 2.4",
        otherwise="nuts",
        provided="the Hessian fits into memory",
    ),
    SamplerRow(
        "ancestral",
        "ebmlang.runtime.samplers.ancestral:draw",
        ("countable",),
        ("discrete",),
        (),
        "independent draws, entry by entry in the reverse order of elimination, or from a list of all states",
        "exact: independent draws, no chain",
        "Koller & Friedman 2009, section 12.1; Chib 1996",
        otherwise="gibbs",
        provided="elimination, or a list of all states, fits into memory",
    ),
    SamplerRow(
        "gibbs",
        "ebmlang.runtime.samplers.gibbs:Gibbs",
        ("countable", "mixed"),
        ("discrete", "free entries"),
        (),
        "each entry from its law given the others, entries that share no term side by side",
        _INVARIANT,
        "Geman & Geman 1984; chromatic order: Gonzalez et al. 2011",
    ),
    SamplerRow(
        "gibbs_with_gradients",
        "ebmlang.runtime.samplers.informed:Informed",
        ("countable",),
        ("discrete", "tables", "free entries"),
        (("flips", "whole"),),
        "single changes, proposed by how much they lower the energy, and accepted or not",
        _INVARIANT,
        "Grathwohl et al. 2021; Zanella 2020",
        automatic=False,
        proposes=True,
    ),
    SamplerRow(
        "nuts",
        "ebmlang.runtime.samplers.nuts:Nuts",
        ("real",),
        (),
        (("step", "positive"), ("depth", "whole"), ("wanted", "positive")),
        "Hamiltonian trajectories that end where they turn",
        _INVARIANT,
        "Hoffman & Gelman 2014; Betancourt 2017",
        proposes=True,
    ),
    SamplerRow(
        "hmc",
        "ebmlang.runtime.samplers.hmc:Hmc",
        ("real",),
        (),
        (("step", "positive"), ("leapfrogs", "whole"), ("trajectory", "positive"), ("wanted", "positive")),
        "Hamiltonian trajectories of a given length",
        _INVARIANT,
        "Neal 2011; Hoffman & Gelman 2014",
        automatic=False,
        proposes=True,
    ),
    SamplerRow(
        "mala",
        "ebmlang.runtime.samplers.hmc:mala",
        ("real",),
        (),
        (("step", "positive"),),
        "Langevin steps, accepted or not",
        _INVARIANT,
        "Roberts & Tweedie 1996; Roberts & Rosenthal 1998",
        automatic=False,
        proposes=True,
    ),
    SamplerRow(
        "langevin",
        "ebmlang.runtime.samplers.langevin:Langevin",
        ("real",),
        (),
        (("step", "positive"),),
        "Langevin steps, all of them taken",
        "biased by the order of the step size: nothing corrects the steps; mala does",
        "Roberts & Tweedie 1996; Welling & Teh 2011",
        automatic=False,
    ),
    SamplerRow(
        "tempering",
        "ebmlang.runtime.samplers.tempering:Tempering",
        ("real",),
        (),
        (("temperatures", "whole"), ("hottest", "positive"), ("leapfrogs", "whole")),
        "chains at a ladder of temperatures that exchange their places",
        _INVARIANT,
        "Geyer 1991; Syed, Bouchard-Cote, Deligiannidis & Doucet 2022",
        automatic=False,
        proposes=True,
    ),
    SamplerRow(
        "annealed",
        "ebmlang.runtime.samplers.annealed:Annealed",
        ("real",),
        (),
        (("hottest", "positive"), ("leapfrogs", "whole"), ("jumps", "whole")),
        "Hamiltonian trajectories and jumps of any length, cooled down during the warm-up",
        _INVARIANT,
        "Kirkpatrick, Gelatt & Vecchi 1983; jumps: Szu & Hartley 1987",
        automatic=False,
        proposes=True,
    ),
)


def find_sampler(name: str) -> SamplerRow | None:
    return next((row for row in SAMPLERS if row.name == name), None)


def sampler_names() -> tuple[str, ...]:
    """What may follow `sample ... using`."""
    return tuple(row.name for row in SAMPLERS)
