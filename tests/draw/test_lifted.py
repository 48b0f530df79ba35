"""Which nodes, frames and subscripts the lifted drawing has."""

import pytest

from ebmlang.draw import Picture, lifted
from ebmlang.draw.order import downward
from ebmlang.draw.picture import ConstraintNode, FactorNode, VariableNode
from tests.draw.programs import PROGRAMS, graph_of


def picture(name: str) -> Picture:
    return lifted(graph_of(PROGRAMS[name]))


def home(shown: Picture, node: str) -> str:
    """The label of the frame that a node stands in."""
    frame = next(n.frame for n in shown.nodes if n.id == node)
    return next((f.label for f in shown.frames if f.id == frame), "")


def subscripts(shown: Picture, reader: str, read: str) -> tuple[str, ...]:
    return next(e.subscripts for e in shown.edges if (e.reader, e.read) == (reader, read))


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_variable_let_and_term_is_drawn_once(name: str) -> None:
    graph = graph_of(PROGRAMS[name])
    declared = [v.name for v in graph.variables if v.role != "hyper"]
    declared += [*graph.lets, *(t.name for t in graph.model.terms)]
    declared += [c.name for c in graph.model.constraints]
    declared += [n.name for n in graph.model.nets]
    assert sorted(n.id for n in lifted(graph).nodes) == sorted(declared)


@pytest.mark.parametrize("name", PROGRAMS)
def test_edges_are_those_of_the_factor_graph(name: str) -> None:
    graph = graph_of(PROGRAMS[name])
    drawn = {frozenset((e.read, e.reader)) for e in lifted(graph).edges}
    assert drawn == {frozenset(edge) for edge in graph.networkx.edges}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_order_has_no_cycle(name: str) -> None:
    import networkx as nx

    shown = picture(name)
    order = nx.DiGraph(downward(shown).values())
    assert nx.is_directed_acyclic_graph(order)
    assert order.number_of_edges() == len({(e.read, e.reader) for e in shown.edges})


def around(shown: Picture, node: str) -> list[str]:
    """The frames that a node stands in, from the outermost one: parts by name, plates by label."""
    frames = {f.id: f for f in shown.frames}
    at = next(n.frame for n in shown.nodes if n.id == node)
    found: list[str] = []
    while at is not None:
        found.insert(0, frames[at].part or frames[at].label)
        at = frames[at].parent
    return found


def test_parts_are_frames_inside_the_plates_they_stand_in() -> None:
    shown = picture("parts")
    assert around(shown, "tie") == ["c in 0..C"]
    assert around(shown, "p.s") == around(shown, "p.near") == around(shown, "p.gap") == ["c in 0..C", "p"]
    assert around(shown, "p.bend") == ["c in 0..C", "p", "i in 0..n - 1"]
    assert around(shown, "r.slope") == ["r", "i in 0..n - 1"]
    assert around(shown, "r.base.s") == ["r", "r.base"]
    assert around(shown, "r.base.bend") == ["r", "r.base", "i in 0..n - 1"]
    assert around(shown, "alone.bend") == ["alone", "i in 0..n - 1"]
    assert around(shown, "common") == []
    assert len({f.id for f in shown.frames}) == len(shown.frames)
    labels = {n.id: n.label for n in shown.nodes}
    assert (labels["p.s"], labels["r.base.s"], labels["r.base.near"]) == ("s[c]", "s", "near")
    assert subscripts(shown, "r.base.bend", "r.base.s") == ("s[i + 1]", "s[i]")
    assert subscripts(shown, "r.slope", "r.base.s") == ("base.s[i + 1]", "base.s[i]")


def test_parameters_outside_of_the_plate_of_a_part_keep_their_names() -> None:
    shown = lifted(
        graph_of("""
model block(d: int) {
  observed x : real[d]
  param    W : real[d, d]
  energy e = ||x - W @ x||^2
}
model m(d: int, L: int, M: int) {
  observed x : real[L, d]
  for l in 0..L { part layer[l] = block(d = d) }
  for k in 0..L { use layer[L - 1 - k] as u[k] with x = x[k] }
  train
}
""")
    )
    assert around(shown, "layer.W") == []
    assert next(n.label for n in shown.nodes if n.id == "layer.W") == "layer.W"
    assert around(shown, "u.e") == ["k in 0..L", "u"]


def test_chain_looks_as_in_a_textbook() -> None:
    shown = picture("chain")
    labels = {n.id: n.label for n in shown.nodes}
    assert labels == {"y": "y[t]", "x": "x[t]", "data": "data", "smooth": "smooth"}
    assert [home(shown, n) for n in ("y", "x", "data", "smooth")] == ["t in 0..T"] * 3 + ["t in 0..T - 1"]
    # the shorter range stands inside the longer one
    assert shown.frames[1].parent == shown.frames[0].id
    assert subscripts(shown, "data", "x") == ()
    assert subscripts(shown, "smooth", "x") == ("x[t + 1]", "x[t]")


def test_edge_list() -> None:
    shown = picture("edges")
    assert home(shown, "tie") == "(i, j) in edges"
    assert home(shown, "x") == ""
    assert home(shown, "y") == home(shown, "known") == "i in 0..n if known[i]"
    assert subscripts(shown, "tie", "x") == ("x[i]", "x[j]")
    assert [e.rows for e in shown.edges if e.reader == "tie"] == [False, True]


def test_a_guard_keeps_out_what_is_read_in_another_way() -> None:
    shown = picture("guarded")
    assert home(shown, "step") == "if t > 0"
    assert home(shown, "x") == home(shown, "window") == "t in 0..T"
    assert subscripts(shown, "step", "x") == ("x[t]", "x[t - 1]")
    assert subscripts(shown, "window", "x") == ("x[t]", "x[s]")


def test_plates_with_several_indices() -> None:
    shown = picture("factorise")
    assert home(shown, "fit") == home(shown, "R") == "j in 0..m if seen[i, j]"
    assert home(shown, "U") == "i in 0..n"
    assert home(shown, "V") == "j in 0..m"
    assert subscripts(shown, "fit", "V") == ("V[j]",)
    assert subscripts(shown, "fit", "U") == ()


def test_marks() -> None:
    shown = picture("walker")
    by_id = {n.id: n for n in shown.nodes}
    ground, spread = by_id["ground"], by_id["spread"]
    assert isinstance(ground, VariableNode)
    assert ground.missing
    assert isinstance(spread, FactorNode)
    assert spread.batch
    assert subscripts(shown, "goal", "path") == ("path[T - 1]",)
    assert subscripts(shown, "tip", "s") == ("s[T - 1, 0..2]",)
    assert home(shown, "contact") == "k in 0..K"
    assert shown.signature == "walker(T = 40, d = 6, m = 3, K = 4, dt = 0.05)"


def test_constraints_have_marks_of_their_own() -> None:
    shown = picture("limits")
    found = {n.id: n.relation for n in shown.nodes if isinstance(n, ConstraintNode)}
    assert found == {"budget": "<=", "whole": "==", "rising": "<="}
    assert home(shown, "rising") == "t in 0..T - 1"
    assert subscripts(shown, "rising", "x") == ("x[t]", "x[t + 1]")
