"""Rule: discrete unknowns, how many assignments they have, and how the energy splits into tables."""

from __future__ import annotations

import math

from ebmlang.compiler import notation
from ebmlang.compiler.sizes import Size, SizeError
from ebmlang.compiler.structure.block import Block
from ebmlang.compiler.structure.finding import Finding
from ebmlang.compiler.typed import Variable


def find_discrete(block: Block) -> tuple[Finding, ...]:
    """`discrete` with the size of the domain, then `tables` or `whole terms`."""
    if not block.discrete:
        return ()
    names = tuple(v.name for v in block.discrete)
    alike: dict[str, list[str]] = {}
    for v in block.discrete:
        alike.setdefault(f"{v.type} with {domain_size(v)} values", []).append(v.name)
    sizes = ", ".join(
        f"{', '.join(own)} {'are' if len(own) > 1 else 'is'} {kind}{' each' * (len(own) > 1)}"
        for kind, own in alike.items()
    )
    found = [Finding("discrete", names, sizes)]
    arranged = tuple(v for v in block.discrete if v.arranged)
    if arranged:
        found.append(Finding("arranged", tuple(v.name for v in arranged), _stocks(arranged)))
    real = tuple(v.name for v in block.sought if v.type.kind == "real")
    if real:
        found.append(Finding("mixed", (*names, *real), f"{', '.join(real)} real beside {', '.join(names)}"))
    tables = block.tables
    if tables.whole:
        stuck = "; ".join(f"{w.term} stays whole, because {w.because}" for w in tables.whole)
        return (*found, Finding("whole terms", names, stuck))
    widest = tables.widest
    if widest is None or not widest.reads:
        return (*found, Finding("tables", names, "no term reads them"))
    count = len(widest.reads)
    if arranged and count == 1:
        found.append(Finding("single entries", names, "every entry has costs of its own"))
    joins = (
        "tables of single entries"
        if count == 1
        else f"tables that join at most {count} entries: {widest.text} in {widest.term}"
    )
    return (*found, Finding("tables", names, f"every term is a sum of {joins}"))


def _stocks(variables: tuple[Variable, ...]) -> str:
    """What each arranged variable is an arrangement of."""
    says = {"permutation": "all entries of {} differ", "subset": "{} has a fixed number of true entries"}
    return "; ".join(says[v.domain.name].format(v.name) for v in variables)


def domain_size(variable: Variable) -> str:
    """`2^(n * m)`: how many values a discrete variable has."""
    if variable.arranged:
        return _arrangements(variable)
    cases = variable.type.classes if variable.type.classes is not None else Size.of(2)
    count = Size.of(1)
    try:
        for size in variable.type.shape:
            count = count * size
    except SizeError:
        return f"{_atom(cases)}^({' * '.join(map(str, variable.type.shape))})"
    if count == Size.of(1):
        return str(cases)
    if cases.constant is not None and count.constant is not None and count.constant < 20:
        return f"{cases.constant**count.constant:,}"
    return f"{_atom(cases)}^{_atom(count)}"


def _arrangements(variable: Variable) -> str:
    """`n!` of a permutation, `binomial(n, k)` of a subset, to the power of how many there are."""
    each = variable.type.shape[:-1]
    entries = variable.type.shape[-1]
    if variable.domain.name == "permutation":
        one = f"{_atom(entries)}!"
        if entries.constant is not None and entries.constant < 20:
            one = f"{math.factorial(entries.constant):,}"
    else:
        one = f"binomial({entries}, {notation.text(variable.domain.arguments[0])})"
    if not each:
        return one
    power = _atom(each[0]) if len(each) == 1 else f"({' * '.join(map(str, each))})"
    return f"({one})^{power}"


def _atom(size: Size) -> str:
    plain = size.name is not None or size.constant is not None
    return str(size) if plain else f"({size})"
