"""What methods need of an energy: the words for it, and why it is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ebmlang.compiler.notation import text
from ebmlang.compiler.structure import Structure
from ebmlang.compiler.structure.convex import why_not_convex
from ebmlang.compiler.structure.domains import domain_text
from ebmlang.compiler.structure.squares import is_sum_of_losses


@dataclass(frozen=True, slots=True)
class Need:
    """`missing` says why a structure lacks the property. A `hard` need stops a method even where
    it is asked for by name: the solver could not run without it."""

    property: str
    text: str
    missing: Callable[[Structure], str]
    hard: bool = False


def _says(words: str) -> Callable[[Structure], str]:
    return lambda _: words


def _rough(otherwise: str) -> Callable[[Structure], str]:
    """The kinks that stand in the way, if there are any."""

    def missing(structure: Structure) -> str:
        rough = structure.find("kinks") or structure.find("steps")
        return otherwise if rough is None else f"the energy has {rough.property}: {rough.because}"

    return missing


def _no_maxima(structure: Structure) -> str:
    """Why heights cannot take the place of kinks."""
    block, rough = structure.block, structure.find("kinks") or structure.find("steps")
    if block.limits:
        return "hard constraints are not part of its problem"
    if rough is None:
        return "the energy has no kinks"
    return f"some kink is no maximum of affine values: {rough.because}"


def _bounds(structure: Structure) -> str:
    """The domain that is in the way of a method without bounds."""
    found = structure.find("constrained")
    if found is None:
        return f"it keeps no points of {domain_text(structure.block.sought)}"
    return f"it knows no bounds: {found.because}"


def _coupled(structure: Structure) -> str:
    """The domain that is in the way of a method with bounds for each entry."""
    sought = structure.block.sought
    tied = tuple(v for v in sought if v.domain.rule.rank)
    if tied:
        return f"a domain couples entries: {domain_text(tied)}"
    return f"it is searched in other coordinates: {domain_text(sought)}"


def _open(structure: Structure) -> str:
    """Why no closed domain is left to project onto."""
    shown = domain_text(structure.block.sought)
    if not shown:
        return "no closed domain is declared"
    if any(v.domain.rule.geometry == "closed" for v in structure.block.sought):
        return f"a straight way leaves the domain: {shown}"
    inside = structure.find("interior") is not None
    return f"the minimum is inside the domain: {shown}" if inside else f"the domain is open: {shown}"


def _no_sparsity(structure: Structure) -> str:
    """The pattern of the Hessian, where a direct solution is cheaper or nothing is gained."""
    found = [f.property for f in structure.findings if f.property.endswith(" Hessian")]
    if not found:
        return "the Hessian has no known pattern"
    return f"the Hessian is {found[0].removesuffix(' Hessian')}"


def _arranged(structure: Structure) -> str:
    """The unknowns whose entries do not vary one by one."""
    found = structure.find("arranged")
    return "entries do not vary one by one" if found is None else found.because


def _not_quadratic(structure: Structure) -> str:
    block = structure.block
    names = [s.name for s in block.touching if not block.calculus.quadratic(s.total)]
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} no polynomial of degree 2"


def _not_convex(structure: Structure) -> str:
    return why_not_convex(structure.block)


def _not_squares(structure: Structure) -> str:
    block = structure.block
    if not block.touching:
        return "no term depends on the unknowns"
    summand = next((s for s in block.touching if not is_sum_of_losses(block, s)), block.touching[0])
    shown = text(summand.value)
    one = len(block.touching) == 1 and len(shown) <= 50
    return f"{f'`{shown}`' if one else summand.name} is no sum of losses"


def _no_program(structure: Structure) -> str:
    block = structure.block
    bent = [s.name for s in block.touching if not block.calculus.quadratic(s.total)]
    if bent:
        return f"{' and '.join(bent)} {'is' if len(bent) == 1 else 'are'} no polynomial of degree 2"
    found = structure.find("hard constraints")
    return "there are no hard constraints" if found is None else found.because


def _not_invertible(structure: Structure) -> str:
    found = structure.find("hard constraints")
    if found is None:
        return "there are no hard constraints"
    unequal = [limit.name for limit in structure.block.limits if limit.relation != "=="]
    return f"{unequal[0]} is no equation" if unequal else found.because


def _no_linear_program(structure: Structure) -> str:
    if structure.find("quadratic program") is None:
        return _no_program(structure)
    return "the energy has curvature"


NEEDS: tuple[Need, ...] = (
    Need("mixed", "countable and real unknowns at once", _says("they are all of one kind"), hard=True),
    Need("discrete", "unknowns with countable values", _says("every unknown is a real number"), hard=True),
    Need(
        "tables",
        "an energy that splits into tables over few entries",
        _says("a term stays whole"),
        hard=True,
    ),
    Need(
        "free entries",
        "unknowns whose entries take their cases one by one",
        _arranged,
        hard=True,
    ),
    Need(
        "arranged",
        "an order or a subset of fixed size",
        _says("no unknown is a permutation or a subset"),
        hard=True,
    ),
    Need("single entries", "tables over single entries", _says("a table joins several entries"), hard=True),
    Need(
        "smooth plus absolute values",
        "a smooth energy plus weighted absolute values",
        _rough("no absolute values of the unknowns stand apart"),
        hard=True,
    ),
    Need(
        "maxima of affine values",
        "kinks that are maxima of affine values, apart from a smooth energy",
        _no_maxima,
        hard=True,
    ),
    Need(
        "linear-quadratic rollout",
        "affine steps and quadratic costs of one time each",
        _says("no affine recurrence with quadratic costs of one time each"),
        hard=True,
    ),
    Need(
        "rollout",
        "a recurrence of states and actions with costs of one time each",
        _says("no recurrence under one array of actions with costs of one time each"),
        hard=True,
    ),
    Need(
        "limited rollout",
        "affine steps, quadratic costs and affine constraints of one time each",
        _says("no affine recurrence with costs and constraints of one time each"),
        hard=True,
    ),
    Need(
        "staged constraints",
        "differentiable steps, costs and constraints of one time each",
        _says("no differentiable recurrence, of named values or by equations, with terms of one time each"),
        hard=True,
    ),
    Need("separable bounds", "bounds entry by entry", _coupled, hard=True),
    Need("linear bounds", "bounds entry by entry, or simplexes", _coupled, hard=True),
    Need("separate coordinates", "one coordinate for each entry", _coupled, hard=True),
    Need("differentiable", "a differentiable energy", _rough("not proven smooth")),
    Need("smooth", "a twice differentiable energy", _rough("its slope has kinks")),
    Need("constrained", "a closed domain or a manifold", _open, hard=True),
    Need("unconstrained", "no closed domain", _bounds, hard=True),
    Need(
        "sparse Hessian",
        "a Hessian that is sparse but no band",
        _no_sparsity,
    ),
    Need("few couplings", "a Hessian with few entries", _no_sparsity),
    Need("affine", "an affine energy", _says("some term has curvature"), hard=True),
    Need("quadratic", "a quadratic energy", _not_quadratic, hard=True),
    Need("convex", "a convex energy on a convex domain", _not_convex),
    Need("convex energy", "a convex energy", _not_convex),
    Need("sum of squares", "a sum of squares", _not_squares, hard=True),
    Need("sum of losses", "a sum of losses of residuals", _not_squares, hard=True),
    Need("hard constraints", "hard constraints (`subject to`)", _says("none is declared"), hard=True),
    Need(
        "invertible by elimination",
        "constraints that are affine equations alone",
        _not_invertible,
        hard=True,
    ),
    Need("linear program", "an affine energy and affine constraints", _no_linear_program, hard=True),
    Need("quadratic program", "an energy of degree 2 and affine constraints", _no_program, hard=True),
    Need(
        "linear minus entropy",
        "a linear energy minus entropy on a simplex",
        _says("no simplex variable enters linearly apart from its entropy"),
        hard=True,
    ),
    Need(
        "log-sum-exp plus quadratic",
        "a convex quadratic minus log-sum-exps",
        _says("no term is minus a log-sum-exp of concave quadratics"),
        hard=True,
    ),
    Need(
        "separate scores",
        "scores that couple no two entries",
        _says("the scores of a log-sum-exp couple entries, or hang on a guard or on shared unknowns"),
        hard=True,
    ),
    Need(
        "convex by blocks",
        "groups of unknowns in each of which the energy is convex",
        _says("no partition into convex blocks was found"),
        hard=True,
    ),
    Need(
        "kinks apart",
        "no kink that joins groups of unknowns",
        _says("a kink or a condition joins groups of unknowns"),
        hard=True,
    ),
    Need(
        "bounds or kinks",
        "bounds or kinks, which hold up steps along all unknowns at once",
        _says("steps along all unknowns at once are faster where there are neither bounds nor kinks"),
    ),
)

NEED_TEXT: dict[str, str] = {need.property: need.text for need in NEEDS}


def has(structure: Structure, name: str) -> bool:
    """Whether a structure has what a method needs. That entries vary one by one is no finding of its own: it
    is so where none says otherwise."""
    if name == "free entries":
        return structure.find("arranged") is None
    return structure.find(name) is not None


def missing_text(structure: Structure, name: str) -> str:
    """Why a structure lacks a property that a method needs."""
    need = next((n for n in NEEDS if n.property == name), None)
    return f"{name} was not found" if need is None else need.missing(structure)


def is_hard(name: str) -> bool:
    return any(n.hard for n in NEEDS if n.property == name)
