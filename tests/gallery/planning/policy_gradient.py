"""A policy for Pendulum-v1 that is trained through the model alone, and acts without searching."""

from __future__ import annotations

import ebmlang
from ebmlang.data.generated import generate
from ebmlang.planning import Episodes
from tests.gallery.figures import Figure, System


def measure() -> list[Figure]:
    m = ebmlang.load(SYSTEM.path, seed=0)
    states = generate("pendulum_states", rows=4000)["obs"]
    m.fit(obs=states, steps=600, batch_size=128, seed=0)
    acting = ebmlang.load(SYSTEM.path, T=1).bind(obs=states[:1])  # one action needs one step
    acting.net("pi").load_state_dict(m.net("pi").state_dict())
    found = acting.plan("gymnasium:Pendulum-v1", episodes=10, seed=0)
    assert isinstance(found, Episodes)
    floors = (("no torque", -1180.0), ("near-optimal dynamic programming", -126.1))
    mean = float(found.returns.mean())
    return [Figure("mean return of seeds 0 to 9", mean, at_least=-200, floors=floors)]


SYSTEM = System("policy gradient", "planning/policy_gradient.ebm", "gymnasium", measure, long=True)
