"""Which array goes to which variable, and what a person is told when none does."""

from collections.abc import Mapping

import numpy as np
import pytest

from ebmlang.data import DataSet, Wanted, match, read, unused
from ebmlang.data.dataset import Kind, Loaded
from ebmlang.errors import DataError


def wanted(**ranks: int) -> dict[str, Wanted]:
    """Required observed variables; a name that ends in `_` is an optional one."""
    return {
        name.rstrip("_"): Wanted(name.rstrip("_"), "observed", not name.endswith("_"), rank)
        for name, rank in ranks.items()
    }


def archive(kind: Kind = "archive", **shapes: tuple[int, ...]) -> DataSet:
    return DataSet("d.npz", {name: Loaded(np.zeros(shape)) for name, shape in shapes.items()}, kind)


def test_by_name_and_by_mapping() -> None:
    data = archive(y=(5, 2), a=(5,), extra=(3,))
    assert match(data, wanted(y=1), {}) == {"y": "y"}
    assert match(data, wanted(y=1, b=0), {"b": "a"}) == {"y": "y", "b": "a"}
    assert match(data, wanted(y=1), {"y": "a"}) == {"y": "a"}
    assert match(data, wanted(y_=1, q_=0), {}) == {"y": "y"}
    assert unused(data, ["y"]) == ("a", "extra")


def test_a_single_array_goes_to_the_only_required_variable() -> None:
    data = archive("array", digits=(5, 2))
    assert match(data, wanted(y=1, z_=1), {}) == {"y": "digits"}
    assert match(data, wanted(y=1, digits_=1), {}) == {"y": "digits"}
    assert match(data, wanted(z_=1), {}) == {"z": "digits"}
    assert match(data, wanted(y=1, z_=1), {"z": "digits", "y": "digits"}) == {"y": "digits", "z": "digits"}
    with pytest.raises(DataError, match=r"holds one array, but `y` and `m` need one each"):
        match(data, wanted(y=1, m=1), {})


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"y": 1}, {"y": "data"}),
        ({"picture": 2}, {"picture": "images"}),
        ({"label": 0}, {"label": "target"}),
        ({"images": 2, "t": 0}, {"images": "images", "t": "target"}),
        ({"x": 1, "y": 0}, {"x": "data", "y": "target"}),
        ({"label": 0, "pixels": 1}, {"label": "target", "pixels": "data"}),
        ({"target": 0, "q": 1}, {"target": "target", "q": "data"}),
    ],
)
def test_digits(variables: Mapping[str, int], expected: Mapping[str, str]) -> None:
    assert match(read("sklearn:digits"), wanted(**variables), {}) == expected


def test_a_shared_design_matrix() -> None:
    variables = {
        "X": Wanted("X", "observed", True, 2, shared=True),
        "y": Wanted("y", "observed", True, 1, shared=True),
    }
    assert match(read("sklearn:diabetes"), variables, {}) == {"X": "data", "y": "target"}


def test_two_names_that_say_nothing_are_ambiguous() -> None:
    with pytest.raises(DataError, match="no array for the observed variable `a`") as caught:
        match(read("sklearn:iris"), wanted(a=1, b=0), {})
    assert caught.value.hint == "--map a=data"


def test_missing_arrays_name_what_is_there() -> None:
    with pytest.raises(DataError) as caught:
        match(archive(codes=(5, 2), b=(5,)), wanted(code=1), {})
    assert caught.value.message == (
        "d.npz has no array for the observed variable `code`; it holds codes [5, 2], b [5]"
    )
    assert caught.value.hint == "--map code=codes"


@pytest.mark.parametrize(
    ("mapping", "hint"),
    [
        ({"yy": "a"}, "did you mean `y`?"),
        ({"a": "y"}, "write the variable first: y=a"),
        ({"nothing": "a"}, "the variables are y"),
        ({"y": "aa"}, "did you mean `a`?"),
    ],
)
def test_wrong_mappings(mapping: dict[str, str], hint: str) -> None:
    with pytest.raises(DataError) as caught:
        match(archive(a=(5,)), wanted(y=0), mapping)
    assert caught.value.hint == hint


def test_matched_arrays_must_hold_numbers_and_others_need_not() -> None:
    data = DataSet("d.npz", {"y": Loaded(np.zeros(2)), "names": Loaded(np.array(["a", "b"]))})
    assert match(data, wanted(y=0), {}) == {"y": "y"}
    with pytest.raises(DataError, match=r"`names` in d\.npz holds text"):
        match(data, wanted(names=0), {})
