"""Columns of a table and the arrays they form."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from ebmlang.errors import DataError

_NUMBERED = re.compile(r"(.+?)(?:\[(\d+)\]|_?(\d+))")


def group_columns(
    names: Sequence[str], wanted: Collection[str], source: str
) -> Mapping[str, tuple[str, ...]]:
    """Which columns form which array: `y -> (y0, y1, y2)`, or `y -> (y,)` for a column by itself.

    Columns named `y0, y1, ...`, `y[0], y[1], ...` or `y_0, y_1, ...` whose numbers run from 0 without a
    gap form `y`, in the order of the numbers. A column whose own name is wanted also stays one by
    itself. Raises DataError when columns of a wanted name have gaps or start at another number.
    """
    families: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        found = _NUMBERED.fullmatch(name)
        if found:
            families.setdefault(found[1], []).append((int(found[2] or found[3]), name))
    groups: dict[str, tuple[str, ...]] = {}
    for base, family in families.items():
        family.sort()
        complete = [number for number, _ in family] == list(range(len(family)))
        if base in names or not (complete or base in wanted):
            continue
        if not complete:
            raise DataError(
                f"the columns {_shown([name for _, name in family])} of {source} do not form `{base}`: "
                f"their numbers must be 0, 1, 2 and so on, each once",
                f"rename them to {base}0, {base}1, ...",
            )
        if len(family) > 1 or base in wanted:
            groups[base] = tuple(name for _, name in family)
    used = {name for columns in groups.values() for name in columns}
    singles = {name: (name,) for name in names if name not in used or name in wanted}
    return {**singles, **groups}


def require_distinct(names: Sequence[str], source: str) -> None:
    """Raises DataError when two columns have one name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"two columns of {source} are called `{name}`", "rename one of them")
        seen.add(name)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]}, {names[1]}, ..., {names[-1]}"
