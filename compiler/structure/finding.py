"""Findings: properties with their evidence."""

from __future__ import annotations

from dataclasses import dataclass

from ebmlang.compiler.curvature.obligation import Obligation, Proof
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.typed import Axes, Expr, Scan

IMPLIED: dict[str, tuple[str, ...]] = {
    "smooth": ("differentiable",),
    "piecewise smooth": ("differentiable",),
    "constant": ("affine", "quadratic", "convex", "convex energy"),
    "affine": ("quadratic", "convex energy"),
    "convex": ("convex energy",),
    "sum of squares": ("sum of losses",),
    "limited rollout": ("staged constraints",),
    "constrained": ("bounds or kinks",),
    "kinks": ("bounds or kinks",),
    "separable bounds": ("separate coordinates", "linear bounds"),
    "diagonal Hessian": ("few couplings",),
    "block-diagonal Hessian": ("few couplings",),
    "block-banded Hessian": ("few couplings",),
    "tree Hessian": ("few couplings",),
    "arrow Hessian": ("few couplings",),
    "bipartite Hessian": ("few couplings",),
    "sparse Hessian": ("few couplings",),
}
"""What else is true where a property is found."""


@dataclass(frozen=True, slots=True)
class AbsolutePart:
    """`weight * |x|` summed over the entries of a sought variable; weight broadcasts to its shape.

    With `lead` it is `weight * ||x[g]||` summed over the groups g that the first `lead` dimensions number (0:
    all entries are one group), and weight is a scalar.
    """

    variable: str
    weight: Expr
    summand: str
    lead: int | None = None


@dataclass(frozen=True, slots=True)
class Tie:
    """A hard equation that gives the cells of a state: those after the first one, or else the first; all of a
    cell, or the entry of that number. `sign` stands in front of the state."""

    name: str
    state: str
    entry: int | None
    after: bool
    sign: int


@dataclass(frozen=True, slots=True)
class MaximumPart:
    """`weight * max(values)` summed over entries and axes where `mask` holds; weight >= 0.

    `values` have one shape; the largest is taken entry by entry, or with `whole` of all entries together.
    With `floor` 0 is one more of them. `shown` is the kink as it is written.
    """

    values: tuple[Expr, ...]
    floor: bool
    whole: bool
    weight: Expr
    axes: Axes
    mask: Expr | None
    summand: str
    shown: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """States that follow from each other and from an action by the steps of `scan`; `shared` says that the
    matrices of steps and stage costs are the same for all examples. `ties` are the hard equations that the
    steps were read from where the states are unknowns too."""

    states: tuple[str, ...]
    action: str
    shared: bool
    scan: Scan
    ties: tuple[Tie, ...] = ()


@dataclass(frozen=True, slots=True)
class LossPart:
    """`weight * loss(residual)` summed over entries, axes and guard; weight >= 0 is fixed.

    `loss` is an expression of the residual, written as the placeholder `RESIDUAL` and increasing in
    its magnitude; None is the square. `residual` has a shape of its own, to which weight broadcasts.
    """

    residual: Expr
    weight: Expr
    loss: Expr | None
    axes: Axes
    guard: Expr | None
    summand: str


@dataclass(frozen=True, slots=True)
class SoftmaxPart:
    """The energy is `linear`, affine in the unknowns, minus temperatures > 0 times entropies.

    A temperature is a scalar, or an array with one for every point of the variable and a last dimension of
    size 1. The least energy is at softmax(`logits`), which may be narrow.
    """

    variable: str
    temperatures: tuple[Expr, ...]
    linear: tuple[Expr, ...]
    logits: Expr


@dataclass(frozen=True, slots=True)
class MixturePart:
    """`-weight * logsumexp(scores)`, a summand of the energy with weight >= 0.

    `value` is the logsumexp; every entry of its argument, `scores`, is concave and at most quadratic.
    Where `axes` are not empty the summand is added up over them, where `guard` holds.
    """

    value: Expr
    scores: Expr
    weight: Expr
    axes: Axes
    guard: Expr | None
    summand: str


@dataclass(frozen=True, slots=True)
class MixtureForm:
    """How the mixtures of a block look: the number of plates around each; whether the rest couples no two
    entries; whether the scores, as functions of the unknowns, are the same for all examples."""

    plates: tuple[int, ...]
    diagonal: bool
    shared: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """A property that is true of the energy as a function of the block, and why.

    It holds for values that meet the obligations. A split into a smooth part and absolute values
    carries its parts, and in `smooth_of` the summand of every smooth part; `quadratic` says that the
    smooth part is a polynomial of degree 2, `least_squares` that it is a sum of squares, and `majorant` has
    for every other smooth part a quadratic of no smaller Hessian, if all have one. The other
    fields belong to one property each: `maxima` and `degree` (of the smooth parts, None above 2) to maxima
    of affine values, `losses` to sums of squares and of losses, `softmax` to linear minus entropy, `mixtures`
    and `rest` to log-sum-exp plus quadratic and (with `form`) to separate scores, `blocks` to convex by
    blocks, `bound` (of the summands that depend on the block) to bounded below.
    """

    property: str
    variables: tuple[str, ...]
    because: str
    obligations: Proof = ()
    absolute: tuple[AbsolutePart, ...] = ()
    smooth: tuple[Expr, ...] = ()
    smooth_of: tuple[str, ...] = ()
    majorant: tuple[Expr, ...] = ()
    quadratic: bool = False
    least_squares: bool = False
    maxima: tuple[MaximumPart, ...] = ()
    degree: int | None = None
    losses: tuple[LossPart, ...] = ()
    softmax: tuple[SoftmaxPart, ...] = ()
    mixtures: tuple[MixturePart, ...] = ()
    rest: tuple[Expr, ...] = ()
    blocks: tuple[tuple[str, ...], ...] = ()
    bound: float | None = None
    rollout: Rollout | None = None
    form: MixtureForm | None = None

    def given(self) -> str:
        """The conditions, as ` if lam >= 0`; empty where there are none."""
        return f" if {', '.join(o.says for o in self.obligations)}" if self.obligations else ""

    def __str__(self) -> str:
        return f"{self.property} in {', '.join(self.variables)}{self.given()}: {self.because}"


@dataclass(frozen=True, slots=True)
class Structure:
    """Everything found about one block."""

    block: Block
    findings: tuple[Finding, ...]

    def find(self, name: str) -> Finding | None:
        """The finding of a property, or of one that implies it; without conditions before others."""
        fitting = [f for f in self.findings if f.property == name or name in IMPLIED.get(f.property, ())]
        return min(fitting, key=lambda f: len(f.obligations), default=None)

    def properties(self) -> frozenset[str]:
        found = frozenset(f.property for f in self.findings)
        return found.union(*(IMPLIED.get(p, ()) for p in found))


__all__ = [
    "IMPLIED",
    "AbsolutePart",
    "Finding",
    "LossPart",
    "MaximumPart",
    "MixtureForm",
    "MixturePart",
    "Obligation",
    "SoftmaxPart",
    "Structure",
]
