"""Where data meets a model: which variables it may give, and their values, read when they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebmlang.data import DataSet, Wanted, match
from ebmlang.data import read as opened
from ebmlang.errors import DataError
from ebmlang.inference import Given, given_arrays, given_lazily
from ebmlang.runtime.seeded import Rows
from ebmlang.settings import merged

if TYPE_CHECKING:
    from ebmlang.api import Model
    from ebmlang.compiler.typed import Variable


@dataclass(frozen=True, slots=True)
class Reading:
    """Data that a question will read: what stands after `--data`, and which variable takes which array."""

    spec: str
    mapping: Mapping[str, str] = field(default_factory=dict)

    def given(self, model: Model, without: Sequence[str]) -> Given:
        """The values of observed variables, and of those that the mapping names, but not those of `without`.

        Raises DataError.
        """
        wanted: dict[str, Wanted] = {}
        for v in model.checked.variables:
            named = v.name in self.mapping
            if v.role == "hyper" or v.name in without or v.name in model.checked.programme.schedules:
                continue
            if named or v.role == "observed":
                wanted[v.name] = wanted_of(model, v, named or v.init is None)
        dataset = opened(self.spec, wanted)
        return given_rows(model, dataset, match(dataset, wanted, self.mapping))


Values = Mapping[str, Any] | Reading | str | Path
"""Values by name, or what they are read from."""


def read(spec: str | Path, /, **mapping: str) -> Reading:
    """Data for `infer`, `fit` and other questions: a file, a folder, `sklearn:digits`, as after `--data`.

    `mapping` says which variable takes which array, `y="pixels"`; the others are matched as at the command
    line. Nothing is read before a question asks.
    """
    return Reading(str(spec), mapping)


def given_of(
    model: Model, data: Values | None, values: Mapping[str, Any], find: Sequence[str] | None = None
) -> Given:
    """What a call gives: `data`, and `values` by name beside it. Raises DataError."""
    if data is None or isinstance(data, Mapping):
        return given_arrays(model.ranks, merged(data, values))
    reading = data if isinstance(data, Reading) else Reading(str(data))
    for name in reading.mapping.keys() & values.keys():
        raise DataError(f"`{name}` is passed, and mapped to an array of {reading.spec}", "one of them")
    return beside(reading.given(model, (*values, *(find or ()))), given_arrays(model.ranks, values))


def tensors(data: Values | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """What was passed as numbers, not to be read: the precision of a question follows tensors."""
    return {**(data if isinstance(data, Mapping) else {}), **values}


def beside(one: Given, other: Given) -> Given:
    """Values of two sources, which have no name in common."""

    def take(name: str, start: int, stop: int) -> Any:
        return (one if name in one.shapes else other).take(name, start, stop)

    def pick(name: str, rows: Rows) -> Any:
        return (one if name in one.shapes else other).pick(name, rows)

    both = replace(one, take=take, pick=pick, finite=one.finite | other.finite)
    return replace(both, shapes={**one.shapes, **other.shapes}, counts={**one.counts, **other.counts})


def wanted_of(model: Model, variable: Variable, required: bool) -> Wanted:
    """What data may say of a variable, with the sizes that are set."""
    sizes = {name: value for name, value in model.hypers.items() if isinstance(value, int)}
    dims = tuple(
        size.evaluate(sizes) if size.names() <= sizes.keys() else None for size in variable.type.shape
    )
    return Wanted(
        variable.name, variable.role, required, len(dims), not variable.per_example, variable.type.kind, dims
    )


def given_rows(model: Model, data: DataSet, matching: Mapping[str, str]) -> Given:
    """The arrays of a data set by variable, read when they are needed."""
    shapes = {name: tuple(data.shape(array)) for name, array in matching.items()}

    def take(name: str, start: int, stop: int) -> Any:
        array = matching[name]
        return data.array(array) if stop < 0 else data.rows(array, start, stop)

    def pick(name: str, rows: Rows) -> Any:
        return data.pick(matching[name], rows)

    finite = frozenset(name for name, array in matching.items() if data.finite(array))
    return given_lazily(model.ranks, shapes, take, pick, finite)


def masks_of(data: DataSet, observed: Mapping[str, str]) -> dict[str, Any]:
    """The arrays of a data set that say which entries of a variable are given. Raises DataError."""
    return {name: data.array(array) for name, array in observed.items()}
