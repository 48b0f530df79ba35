"""How a recurrence is drawn: one cell in its plate, or every cell with what it is computed from."""

from __future__ import annotations

from ebmlang.draw import Picture, lifted, unrolled
from ebmlang.draw.picture import LetNode
from tests.draw.programs import graph_of

SWING = """model swing(T: int, h: real = 0.1) {
  observed start : real
  latent torque : real[T] = 0
  let angle : real[T + 1]
  let speed : real[T + 1]
  let angle[0] = start
  let speed[0] = 0
  for t in 0..T {
    let speed[t+1] = speed[t] + h * (torque[t] - sin(angle[t]))
    let angle[t+1] = angle[t] + h * speed[t+1]
    energy effort[t] = torque[t]^2 + angle[t+1]^2
  }
  energy final = speed[T]^2
  infer torque
}
"""


def reads(shown: Picture, reader: str) -> dict[str, tuple[str, ...]]:
    return {e.read: e.subscripts for e in shown.edges if e.reader == reader}


def test_lifted_cell_stands_in_its_plate() -> None:
    shown = lifted(graph_of(SWING))
    labels = {n.id: (n.label, n.frame) for n in shown.nodes if isinstance(n, LetNode)}
    assert labels == {"speed": ("speed[t + 1]", "plate0"), "angle": ("angle[t + 1]", "plate0")}
    assert reads(shown, "speed") == {"speed": ("speed[t]",), "torque": (), "angle": ("angle[t]",)}
    assert reads(shown, "angle") == {"start": ("start",), "angle": ("angle[t]",), "speed": ()} or reads(
        shown, "angle"
    ) == {"start": (), "angle": ("angle[t]",), "speed": ()}
    assert reads(shown, "final") == {"speed": ("speed[T]",)}


def test_unrolled_cells_follow_one_another() -> None:
    shown = unrolled(graph_of(SWING), {"T": 2})
    lets = [n.id for n in shown.nodes if isinstance(n, LetNode)]
    assert lets == [f"{name}[{k}]" for name in ("speed", "angle") for k in range(3)]
    assert reads(shown, "angle[0]") == {"start": ()}
    assert reads(shown, "speed[0]") == {}
    assert set(reads(shown, "speed[2]")) == {"speed[1]", "torque[1]", "angle[1]"}
    assert set(reads(shown, "angle[1]")) == {"angle[0]", "speed[1]"}
    formulas = {n.id: n.formula for n in shown.nodes if isinstance(n, LetNode)}
    assert formulas["angle[0]"] == "start"
    assert formulas["angle[1]"] == "angle[t] + h * speed[t + 1]"
