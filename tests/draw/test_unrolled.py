"""The unrolled drawing against plain Python loops and against the sparsity of second derivatives."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

import ebmlang
from ebmlang.draw import Picture, unrolled
from ebmlang.draw.positions import positions
from ebmlang.errors import DataError
from tests.draw.programs import CHAIN, EDGES, FACTORISE, GRID, GUARDED, LOGISTIC, WALKER, graph_of

RING = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 0], [1, 3]])
KNOWN = np.array([True, False, False, True, False])


def edges(picture: Picture) -> set[tuple[str, str]]:
    return {(e.reader, e.read) for e in picture.edges}


def ids(picture: Picture) -> set[str]:
    return {n.id for n in picture.nodes}


def test_chain() -> None:
    picture = unrolled(graph_of(CHAIN), {"T": 6})
    wanted = {(f"data[{t}]", f"{v}[{t}]") for t in range(6) for v in "xy"}
    wanted |= {(f"smooth[{t}]", f"x[{t + k}]") for t in range(5) for k in (0, 1)}
    assert edges(picture) == wanted
    assert picture.sizes == (("T", 6),)
    assert picture.signature == "chain(T = 6, w = 10)"


def test_guards_and_sums_inside_a_term() -> None:
    picture = unrolled(graph_of(GUARDED), {"T": 5})
    wanted = {(f"step[{t}]", f"x[{s}]") for t in range(1, 5) for s in (t, t - 1)}
    wanted |= {(f"window[{t}]", f"x[{s}]") for t in range(5) for s in range(5) if t - 2 <= s <= t}
    wanted |= {(f"window[{t}]", f"y[{t}]") for t in range(5)}
    assert edges(picture) == wanted
    assert "step[0]" not in ids(picture)


def test_edge_list_and_mask_from_arrays() -> None:
    picture = unrolled(graph_of(EDGES), {}, {"edges": RING, "known": KNOWN} | {})
    wanted = {(f"tie[{i}, {j}]", f"x[{k}]") for i, j in RING for k in (i, j)}
    wanted |= {(f"data[{i}]", f"{v}[{i}]") for i in (0, 3) for v in "xy"}
    assert {e for e in edges(picture) if not e[1].startswith("known")} == wanted
    assert "edges" not in ids(picture)
    assert dict(picture.sizes) == {"n": 5, "M": 6}


def test_rows_of_matrices_are_one_node() -> None:
    picture = unrolled(graph_of(FACTORISE), {"n": 2, "m": 3})
    assert {"U[0]", "U[1]", "V[2]", "R[1, 2]"} <= ids(picture)
    assert ("fit[1, 2]", "V[2]") in edges(picture)
    assert ("fit[1, 2]", "U[0]") not in edges(picture)


def test_what_is_not_indexed_stays_whole() -> None:
    picture = unrolled(graph_of(LOGISTIC), {"m": 100_000, "n": 10})
    assert ids(picture) == {"X", "y", "w", "b", "score", "fit", "size"}


def test_lets_become_cells() -> None:
    picture = unrolled(graph_of(WALKER), {"T": 2, "d": 2, "m": 1, "K": 1})
    assert ("foot[1]", "s[1, 0]") in edges(picture)
    assert ("touch[1]", "foot[1]") in edges(picture)
    assert {("tip", "s[1, 0]"), ("tip", "s[1, 1]")} <= edges(picture)
    assert ("goal", "path[1]") in edges(picture)
    assert ("track[0]", "s[0, 1]") in edges(picture)


@pytest.mark.parametrize(
    ("text", "shape", "given"),
    [
        (CHAIN, (5,), {}),
        (GRID, (3, 4), {}),
        (GUARDED, (5,), {}),
        (EDGES, (5,), {"edges": RING, "known": KNOWN}),
    ],
)
def test_two_entries_share_a_term_where_the_second_derivative_is_not_zero(
    text: str, shape: tuple[int, ...], given: Mapping[str, Any]
) -> None:
    graph = graph_of(text)
    sizes = {str(s): n for s, n in zip(graph.model.variable("x").type.shape, shape, strict=True)}  # type: ignore[union-attr]
    picture = unrolled(graph, {} if given else sizes, given)
    shared: set[frozenset[str]] = set()
    for factor in {e.reader for e in picture.edges}:
        touched = [e.read for e in picture.edges if e.reader == factor and e.read.startswith("x[")]
        shared |= {frozenset(pair) for pair in combinations(touched, 2)}
    model = ebmlang.loads(text)
    rng = np.random.default_rng(0)
    x = torch.tensor(0.1 * rng.normal(size=shape))
    y = torch.zeros(shape, dtype=torch.float64)

    def energy(flat: torch.Tensor) -> torch.Tensor:
        return model.energy(x=flat.reshape(1, *shape), y=y[None], **given).sum()

    hessian = torch.autograd.functional.hessian(energy, x.reshape(-1))  # reverse over reverse
    names = [f"x[{', '.join(map(str, cell))}]" for cell in np.ndindex(*shape)]
    coupled = {
        frozenset((names[i], names[j]))
        for i, j in combinations(range(len(names)), 2)
        if abs(hessian[i, j]) > 1e-12
    }
    assert shared == coupled


def test_chain_and_grid_stand_by_their_indices() -> None:
    chain = positions(unrolled(graph_of(CHAIN), {"T": 4}))
    assert chain is not None
    assert chain["x[2]"][0] - chain["x[1]"][0] == chain["x[1]"][0] - chain["x[0]"][0] > 0
    assert chain["smooth[1]"] == ((chain["x[1]"][0] + chain["x[2]"][0]) / 2, chain["x[1]"][1])
    assert chain["y[1]"][1] > chain["data[1]"][1] > chain["x[1]"][1]
    grid = positions(unrolled(graph_of(GRID), {"n": 4, "m": 4}))
    assert grid is not None
    assert len(set(grid.values())) == len(grid) == 16 * 3 + 2 * 12
    assert grid["x[1, 0]"][1] < grid["x[0, 0]"][1]


def test_other_graphs_are_left_to_graphviz() -> None:
    assert positions(unrolled(graph_of(GUARDED), {"T": 5})) is None
    assert positions(unrolled(graph_of(EDGES), {}, {"edges": RING, "known": KNOWN})) is None


@pytest.mark.parametrize(
    ("text", "settings", "given", "message"),
    [
        (CHAIN, {}, {}, "the size `T` has no value"),
        (CHAIN, {"T": 300}, {}, "more than 400 nodes"),
        (CHAIN, {"T": 10**15}, {}, "more than 400 nodes"),
        (CHAIN, {"T": 2.5}, {}, "the size `T` is a whole number, not 2.5"),
        (CHAIN, {"q": 3}, {}, "no hyperparameter `q`"),
        (CHAIN, {"T": 0}, {}, "with these sizes"),
        (EDGES, {"n": 5, "M": 6}, {}, r"the guard known\[i\] reads `known`"),
        (EDGES, {"n": 5}, {"known": KNOWN}, "runs over `edges`, which has no value"),
        (EDGES, {"n": 5}, {"edges": RING[:, 0]}, r"`edges` has the shape \[6\], not class\[n\]\[M, 2\]"),
        (EDGES, {"n": 4}, {"edges": RING, "known": KNOWN}, r"`known` has the shape \[5\], but n is 4"),
    ],
)
def test_refusals(text: str, settings: dict[str, float], given: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        unrolled(graph_of(text), settings, given)
