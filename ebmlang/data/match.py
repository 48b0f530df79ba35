"""Which array is the value of which variable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ebmlang.compiler.diagnostics import did_you_mean, listing
from ebmlang.data.dataset import DataSet
from ebmlang.data.pictures import LEVELS
from ebmlang.errors import DataError

_INPUT_NAMES = frozenset({"x", "X", "input", "inputs", "features"})
_ANSWER_NAMES = frozenset({"y", "Y", "t", "target", "targets", "label", "labels"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A variable that data may give a value to.

    `rank` is the declared number of dimensions, without the one of the examples; `shared` says that the
    value never has a dimension of the examples. `kind` is real, bool or class; `dims` are the dimensions,
    None for those that are not known before the data is.
    """

    name: str
    role: str
    required: bool
    rank: int
    shared: bool = False
    kind: str = "real"
    dims: tuple[int | None, ...] = ()


def match(dataset: DataSet, wanted: Mapping[str, Wanted], mapping: Mapping[str, str]) -> dict[str, str]:
    """Variable -> array, for every variable that gets a value.

    In this order: what `mapping` says; the one array of an .npy for the only required variable; an array
    of the same name; for scikit-learn's sets `data`, `images` or `target`, by rank and by name; for a folder
    `target` if the variable is one number, else `image`. Pictures come in the layout that the variable
    declares. Raises DataError when a required variable has no array, when `mapping` names what is not there,
    and when a matched array holds no numbers.
    """
    matched = _explicit(dataset, wanted, mapping)
    required = [variable for variable in wanted.values() if variable.required]
    if dataset.kind == "array" and not matched:
        only = required or list(wanted.values())
        if len(only) == 1:
            matched[only[0].name] = dataset.names[0]
    if dataset.kind != "array" or not matched:
        matched |= {name: name for name in wanted if name not in matched and name in dataset}
    missing = [variable for variable in required if variable.name not in matched]
    if dataset.kind == "sklearn":
        matched |= _sklearn(dataset, missing)
    if dataset.kind == "folder":
        of_rank = {v.name: "image" if v.rank else "target" for v in missing}
        matched |= {name: array for name, array in of_rank.items() if array in dataset}
    for variable in missing:
        if variable.name not in matched:
            raise _without_array(dataset, variable, missing)
    matched = {name: _layout(dataset, wanted[name], array) for name, array in matched.items()}
    for array in matched.values():
        dataset.check(array)
    return {name: matched[name] for name in wanted if name in matched}


def unused(dataset: DataSet, used: Iterable[str]) -> tuple[str, ...]:
    """Arrays that nothing takes: worth a note, never an error."""
    taken = set(used)
    alike = {name: views for views in dataset.views.values() for name in views}
    seen: dict[str, None] = {}
    for name in dataset.names:
        views = alike.get(name, (name,))
        if not taken.intersection(views):
            seen[views[0]] = None
    return tuple(seen)


def _layout(dataset: DataSet, variable: Wanted, name: str) -> str:
    """The array of a picture whose shape and numbers are those of the variable. Raises DataError."""
    if name not in dataset.views:
        return name
    levels = variable.kind == "class"
    own = [n for n in dataset.views[name] if n.endswith(LEVELS) == levels and variable.kind != "bool"]
    for array in own:
        shape = dataset.shape(array)[1:]
        dims = variable.dims or (None,) * variable.rank
        if len(shape) == len(dims) and all(d in (None, s) for d, s in zip(dims, shape, strict=True)):
            return array
    shapes = ", ".join(f"{list(dataset.shape(n)[1:])}" for n in dict.fromkeys(own))
    wanted = f"[{', '.join('?' if d is None else str(d) for d in variable.dims)}]"
    if not own:
        raise DataError(
            f"`{variable.name}` is bool, and {name} of {dataset.source} are pictures",
            "declare it real, from black 0 to white 1, or class[256]",
        )
    raise DataError(
        f"`{variable.name}` is {variable.kind} {wanted}, and {name} of {dataset.source} are pictures, taken "
        f"as one of {shapes}",
        "declare one of these shapes, or bring the pictures to the size that is declared",
    )


def _explicit(dataset: DataSet, wanted: Mapping[str, Wanted], mapping: Mapping[str, str]) -> dict[str, str]:
    for variable, array in mapping.items():
        if variable not in wanted:
            hint = did_you_mean(variable, wanted)
            if not hint and array in wanted:
                hint = f"write the variable first: {array}={variable}"
            raise DataError(
                f"the mapping {variable}={array} names `{variable}`, which is no variable that takes data",
                hint or f"the variables are {listing(wanted, 'and')}",
            )
        if array not in dataset:
            raise DataError(
                f"the mapping {variable}={array} names `{array}`, which is no array of {dataset.source}; "
                f"{dataset.describe()}",
                did_you_mean(array, dataset.names),
            )
    return dict(mapping)


def _sklearn(dataset: DataSet, missing: Sequence[Wanted]) -> dict[str, str]:
    if len(missing) == 1:
        return {missing[0].name: _by_rank(dataset, missing[0])}
    if len(missing) != 2:
        return {}
    for features, answer in (tuple(missing), tuple(missing)[::-1]):
        if features.name in _INPUT_NAMES and answer.name not in _INPUT_NAMES:
            return {features.name: "data", answer.name: "target"}
        if answer.name in _ANSWER_NAMES and features.name not in _ANSWER_NAMES:
            return {features.name: "data", answer.name: "target"}
    return {}


def _by_rank(dataset: DataSet, variable: Wanted) -> str:
    rank = variable.rank + (0 if variable.shared else 1)
    for name in dataset.names:
        if len(dataset.shape(name)) == rank:
            return name
    return "data"


def _without_array(dataset: DataSet, variable: Wanted, missing: Sequence[Wanted]) -> DataError:
    shared = "shared " if variable.shared else ""
    message = f"{dataset.source} has no array for the {shared}{variable.role} variable `{variable.name}`"
    if not dataset.names:
        return DataError(f"{message}; {dataset.describe()}")
    if dataset.kind == "array" and len(missing) > 1:
        names = listing([f"`{x.name}`" for x in missing], "and")
        return DataError(
            f"{dataset.source} holds one array, but {names} need one each", "put them into one .npz by name"
        )
    guess = did_you_mean(variable.name, dataset.names)
    near = guess.split("`")[1] if guess else dataset.names[0]
    return DataError(f"{message}; {dataset.describe()}", f"--map {variable.name}={near}")
