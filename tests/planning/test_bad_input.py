"""What worlds and models do wrong while they act: said with the step, and what was done is kept."""

from typing import Any

import numpy as np
import pytest

import ebmlang
from ebmlang.commands.plan import notes
from ebmlang.planning import Episodes

REGULATOR = """
model regulator(T: int = 4) {
  observed s0 : real[2]
  latent   a  : real[T, 1] in [-1, 1]
  let s : real[T+1, 2]
  let s[0] = s0
  for t in 0..T {
    let s[t+1] = [s[t, 0] + 0.1 * s[t, 1], s[t, 1] + 0.1 * a[t, 0]]
    cost running[t] = ||s[t+1]||^2 + 0.1 * ||a[t]||^2
  }
  plan a
}
"""

WALL = REGULATOR.replace("  }\n  plan", "    subject to wall[t] : s[t+1, 0] <= 0.5\n  }\n  plan")
FIRST = np.array([0.2, 0.1])


class _Later:
    """A world that goes on as it is for two steps, and then answers something else."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.calls = answer, 0

    def __call__(self, state: Any, action: Any) -> Any:
        self.calls += 1
        return (state, 1.0) if self.calls < 3 else self.answer


def _played(world: Any, text: str = REGULATOR, **options: Any) -> Episodes:
    found = ebmlang.loads(text).plan(world, first=FIRST, steps=5, **options)
    assert isinstance(found, Episodes)
    return found


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (np.zeros(3), "step 2: the function returns an observation of the shape [3] after one of [2]"),
        ("stuck", "step 2: the function returns the observation stuck"),
        (None, "step 2: the function returns the observation None"),
        ((FIRST, "good"), "step 2: the function returns the reward good"),
        ((FIRST, [1.0, 2.0]), "step 2: the function returns the reward [1. 2.]"),
        ((FIRST, 0.0, False, {}), "step 2: the function returns 4 values"),
        (np.array([np.nan, 1.0]), "step 3: `s0` holds 1 NaN"),
        (np.array([1e200, 0.0]), "step 3: 1 entries of `s0` are too large for float32"),
    ],
    ids=["shape", "text", "nothing", "reward", "rewards", "parts", "nan", "large"],
)
def test_an_answer_that_is_none_ends_the_episode_only(answer: Any, says: str) -> None:
    found = _played(_Later(answer))
    steps = int(says[5])
    assert found[0].trouble.startswith(says)
    assert found[0].outcome == "broken off"
    assert found.transitions()["obs"].shape == (steps, 2)
    assert np.allclose(found.transitions()["obs"], FIRST)
    if steps == 2:
        assert found[0].trouble.endswith("after the observation [0.2 0.1]")


def test_the_next_episode_goes_on() -> None:
    found = _played(_Later(np.zeros(3)), episodes=2)
    assert found[0].trouble
    assert found[1].trouble.startswith("step 0: the function returns an observation of the shape [3]")


def test_what_never_fits_is_a_mistake() -> None:
    with pytest.raises(ebmlang.DataError, match=r"\[3\] for `s0`: `s0` is declared real\[2\]"):
        ebmlang.loads(REGULATOR).plan(_Later(None), first=np.zeros(3), steps=2)
    with pytest.raises(ebmlang.DataError, match="returns the observation ahead"):
        ebmlang.loads(REGULATOR).plan(lambda s, a: "ahead", first=FIRST, steps=2)


def test_plans_that_break_a_limit_are_counted() -> None:
    """The place is 0.9 and leaves at speed 3: no force keeps it below 0.5."""

    def world(state: Any, action: Any) -> Any:
        return np.array([0.9, 3.0])

    found = _played(world, WALL)
    episode = found[0]
    assert dict(episode.broken) == {"wall": 4}  # all plans but the first
    assert episode.violations["wall"] == pytest.approx(0.9 + 4 * 0.3 - 0.5, abs=0.1)
    assert episode.failure.startswith("step 1: no feasible point was found: 'wall' is violated by")
    assert found.to_json()["episodes"][0]["violated"] == {"wall": 4}
    said = " ".join(" ".join(notes(found)).split())
    assert "1 of 5 plans the first that did not, in episode 0, step 1: no feasible point" in said
    assert "`wall` in 4 of 5 plans" in said
    assert str(found).splitlines()[1].split()[-2] == "4"


def test_dynamics_without_numbers_are_named() -> None:
    text = REGULATOR.replace("s[t, 1] + 0.1 * a[t, 0]]", "sqrt(s[t, 1] - 1)]")
    found = _played(_Later(FIRST), text)
    assert found[0].failure.startswith("step 0: ")
    assert found[0].failure.endswith(", at the observation [0.2 0.1]")
    assert "nothing was searched" not in " ".join(notes(found))
    assert "non-finite energy in term 'running'" in found[0].failure


def test_more_actions_than_a_plan_has_are_no_matter_of_what_is_observed() -> None:
    with pytest.raises(ebmlang.DataError, match=r"^6 actions are to be carried out, and a plan has 4"):
        _played(_Later(FIRST), every=6)


def test_dynamics_without_numbers_warn_of_nothing() -> None:
    """Beyond 1 the step has no numbers, and the search looks there."""
    text = REGULATOR.replace("0.1 * a[t, 0]]", "sqrt(1 - 4 * a[t, 0])]").replace("[-1, 1]", "[-1, 1] = 1")
    found = _played(_Later(FIRST), text)
    assert "non-finite energy in term 'running'" in found[0].failure
