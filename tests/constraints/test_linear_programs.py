"""Linear programs against a walk over all vertices, paths of networkx, and programs without an answer."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from numpy.typing import NDArray

import ebmlang
from tests.constraints.programs import each_method

Array = NDArray[np.float64]

BOX = """
model box(n: int, k: int) {
  observed        q : real[n]
  shared observed G : real[k, n]
  observed        h : real[k]
  latent          x : real[n] in [-1, 2]
  energy price = q @ x
  subject to below : G @ x <= h
  infer x
}
"""

HALF = """
model half {
  observed q : real[2]
  observed low : real
  observed w : real in nonnegative
  latent x : real[2]
  energy pull = dot(q, x)
  energy bend = w * (x[0] - 1)^2
  subject to above : x[0] + x[1] >= low
  subject to left : x[0] <= 4
  infer x
}
"""


def least_vertex(q: Array, G: Array, h: Array) -> float:
    """The lowest energy of all points where n of the constraints and bounds are equations."""
    n = q.shape[0]
    rows = np.vstack([G, np.eye(n), -np.eye(n)])
    most = np.concatenate([h, np.full(n, 2.0), np.full(n, 1.0)])
    energies = []
    for some in combinations(range(rows.shape[0]), n):
        matrix, right = rows[list(some)], most[list(some)]
        if abs(np.linalg.det(matrix)) > 1e-9:
            x = np.linalg.solve(matrix, right)
            if (rows @ x <= most + 1e-9).all():
                energies.append(float(q @ x))
    return min(energies)


@pytest.mark.parametrize("seed", range(4))
def test_the_lowest_vertex_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    G, inside = rng.normal(size=(4, 3)), rng.uniform(-1, 2, size=(5, 3))
    h = inside @ G.T + np.maximum(rng.normal(size=(5, 4)), 0)
    q = rng.normal(size=(5, 3))
    m = ebmlang.loads(BOX)
    r = m.infer(q=q, G=G, h=h, dtype="float64")
    assert r.method == "linear_program"
    assert bool(r.converged.all()), r.status
    for row in range(5):
        assert float(r.energy[row]) == pytest.approx(least_vertex(q[row], G, h[row]), abs=1e-9)
    narrow = m.infer(q=q, G=G, h=h, dtype="float32")
    assert bool(narrow.converged.all())
    assert narrow.energy.tolist() == pytest.approx(r.energy.tolist(), abs=1e-5)


def test_more_unknowns_than_dense_matrices_take() -> None:
    """The shortest way through a grid of 20 x 20, as a flow of one unit along 1,520 directed edges."""
    grid = nx.grid_2d_graph(20, 20).to_directed()
    lengths = np.random.default_rng(0).uniform(1, 2, size=grid.number_of_edges())
    for (_, _, data), length in zip(grid.edges(data=True), lengths, strict=True):
        data["length"] = length
    nodes = list(grid)
    flow = np.zeros(len(nodes))
    flow[0], flow[-1] = -1, 1
    m = ebmlang.loads(
        """
        model path(n: int, e: int) {
          shared observed M : real[n, e]
          observed flow : real[n]
          observed length : real[e]
          latent x : real[e] in nonnegative = 0
          energy way = dot(length, x)
          subject to kept : M @ x == flow
          infer x
        }
        """
    )
    M = nx.incidence_matrix(grid, oriented=True).toarray()
    r = m.infer(M=M, flow=flow[None], length=lengths[None], dtype="float64")
    assert r.method == "linear_program"
    assert bool(r.converged.all()), r.status
    expected = nx.shortest_path_length(grid, nodes[0], nodes[-1], weight="length")
    assert float(r.energy[0]) == pytest.approx(expected, rel=1e-10)


def test_rows_without_an_answer_leave_the_others_alone() -> None:
    """Two rows with a minimum, one that falls without end, and one where 0 times x has to be 3."""
    m = ebmlang.loads(
        """
        model rows {
          observed q : real[2]
          observed a : real
          latent x : real[2] in nonnegative
          energy price = dot(q, x)
          subject to fixed : a * x[0] == 3
          infer x
        }
        """
    )
    q = np.array([[1.0, 2.0], [1.0, -1.0], [0.5, 0.0], [1.0, 1.0]])
    r = m.infer(q=q, a=[1.0, 1.0, 2.0, 0.0], dtype="float64")
    assert r.converged.tolist() == [True, False, True, False]
    assert r.energy[[0, 2]].tolist() == pytest.approx([3, 0.75])
    assert r.status[1] == "unbounded: the energy falls without end in term 'price' along 'x'"
    assert r.status[3] == "no feasible point was found: 'fixed' is violated by 3"
    assert bool(np.isfinite(r.x.numpy()).all())


@pytest.mark.parametrize("w", [0.0, 3.0])
@pytest.mark.parametrize(
    ("q", "ends"), [((0.0, 1.0), True), ((-1.0, 0.5), True), ((0.5, 1.0), True), ((0.0, -1.0), False)]
)
def test_a_direction_without_curvature_decides(q: tuple[float, float], ends: bool, w: float) -> None:
    """Along (1, -1), up to x[0] = 4, and along (0, 1), where nothing ends."""
    r = ebmlang.loads(HALF).infer(q=np.array([q]), low=[-2.0], w=[w], dtype="float64")
    assert r.method == "interior_point"
    assert bool(r.converged[0]) == ends, r.status
    if not ends:
        assert r.status[0] == "unbounded: the energy falls without end in term 'pull' along 'x'"
        return
    ways = np.linspace(-20, 4, 2_400_001)  # with q[1] > 0 the constraint is met with equality
    energies = q[0] * ways + q[1] * (-2 - ways) + w * (ways - 1) ** 2
    if w == 0:
        assert q[0] - q[1] <= 0
    assert float(r.energy[0]) == pytest.approx(energies.min(), abs=1e-6)


@each_method
def test_other_methods_agree(using: str) -> None:
    rng = np.random.default_rng(9)
    G, inside = rng.normal(size=(3, 4)), rng.uniform(-1, 2, size=(3, 4))
    data = {"q": rng.normal(size=(3, 4)), "G": G, "h": inside @ G.T + 0.3}
    m = ebmlang.loads(BOX)
    r, other = m.infer(data, dtype="float64"), m.infer(data, dtype="float64", using=using)
    assert other.method == using
    assert other.energy.tolist() == pytest.approx(r.energy.tolist(), abs=1e-6)


def test_what_is_known_in_part_is_kept() -> None:
    rng = np.random.default_rng(11)
    G, inside = rng.normal(size=(3, 4)), rng.uniform(-1, 2, size=(2, 4))
    data = {"q": rng.normal(size=(2, 4)), "G": G, "h": inside @ G.T + 0.5}
    known = np.array([[True, False, False, False], [False, False, False, True]])
    text = BOX.replace("latent          x", "observed        x").replace("  infer x\n", "")
    m = ebmlang.loads(text)
    r = m.infer({**data, "x": inside}, observed={"x": known}, dtype="float64")
    assert r.method == "linear_program"
    assert bool(r.converged.all()), r.status
    for row in range(2):
        free = ~known[row]
        left = data["h"][row] - G[:, ~free] @ inside[row, ~free]
        expected = least_vertex(data["q"][row][free], G[:, free], left) + float(
            data["q"][row][~free] @ inside[row, ~free]
        )
        assert float(r.energy[row]) == pytest.approx(expected, abs=1e-9)
        assert r.x[row].numpy()[~free] == pytest.approx(inside[row, ~free])


def test_an_answer_that_rounding_makes_far_out_is_none() -> None:
    """A direction without curvature along which the energy falls, in numbers where steps went 1e12 far."""
    rng = np.random.default_rng(87)
    n, k = int(rng.integers(2, 5)), int(rng.integers(1, 5))
    m = int(rng.integers(1, n + 1))
    shapes = {"q": (3, n), "F": (3, m, n), "G": (3, k, n)}
    data = {name: rng.integers(-2, 3, size=shape).astype(float) for name, shape in shapes.items()}
    data["h"] = rng.integers(0, 5, size=(3, k)).astype(float)
    model = ebmlang.loads(
        """
        model program(n: int, k: int, m: int) {
          observed q : real[n]
          observed F : real[m, n]
          observed G : real[k, n]
          observed h : real[k]
          latent x : real[n]
          energy bend = 1/2 * ||F @ x||^2
          energy price = q @ x
          subject to below : G @ x <= h
          infer x
        }
        """
    )
    r = model.infer(data, dtype="float64")
    assert r.status[2] == "unbounded: the energy falls without end in term 'price' along 'x'"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounded_equations_that_follow_from_each_other(dtype: str) -> None:
    """Transport: both sides have the same total, but for the last digits. On a line, with squares of
    distances for prices, the grains keep their order."""
    rng = np.random.default_rng(0)
    have, want = rng.dirichlet(np.ones(7)), rng.dirichlet(np.ones(7))
    place = np.arange(7.0)
    text = """model transport(n: int = 7) {
      shared observed price : real[n, n]
      observed have : real[n]
      observed want : real[n]
      latent move : real[n, n] in nonnegative
      energy effort = sum(price * move)
      for i in 0..n { subject to taken[i] : sum(move[i]) == have[i] }
      for j in 0..n { subject to given[j] : sum(move[i, j], over = i in 0..n) == want[j] }
      infer move
    }"""
    data = {"price": (place[:, None] - place) ** 2, "have": have[None], "want": want[None]}
    r = ebmlang.loads(text).infer(data, dtype=dtype)
    least, i, j = 0.0, 0, 0
    left, open_ = have.copy(), want.copy()
    while i < 7 and j < 7:
        moved = min(left[i], open_[j])
        least += moved * data["price"][i, j]
        left[i] -= moved
        open_[j] -= moved
        i, j = (i + 1, j) if left[i] <= open_[j] else (i, j + 1)
    assert r.method == "linear_program"
    assert r.converged.all(), r.status
    np.testing.assert_allclose(r.energy.numpy(), least, rtol=1e-5)
    assert int(r.iterations[0]) < 100
