"""Samplers against loops written by hand: Langevin on a mixture, with and without kernels of torch.compile,
and Hamiltonian trajectories on a Gaussian, also beside BlackJAX where it is installed.

`pip install '.[rivals]'` installs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import ebmlang
from benchmarks.measure import Row, processor_in_turns, shown
from benchmarks.rivals.contest import available
from ebmlang.questions import ask_samples
from ebmlang.runtime import posing
from ebmlang.runtime.samplers.diagnostics import diagnose
from ebmlang.runtime.samplers.hmc import Hmc
from ebmlang.runtime.samplers.langevin import Langevin
from ebmlang.runtime.samplers.randomness import OneGenerator
from ebmlang.runtime.samplers.sampler import moved
from ebmlang.runtime.samplers.target import Target, target_of

RING = """model ring(k: int, sigma: real in positive = 0.5) {
  shared observed M : real[k, 2]
  latent z : real[2] = 0
  energy mixture = -logsumexp(-sum((z[None, ..] - M)^2, over = 1) / (2 * sigma^2))
  sample z
}"""

NARROW = """model narrow(n: int) {
  shared observed s : real[n]
  latent z : real[n] = 0
  energy e = 1/2 * sum((z / s)^2)
  sample z
}"""

CPU = torch.device("cpu")


def _target(text: str, data: dict[str, Tensor], chains: int, torch_compile: bool = False) -> Target:
    model = ebmlang.loads(text)
    asked = ask_samples(model.checked, None, frozenset(data), None, None, frozenset())
    _, module = model.compiled(asked, None)
    settings = model.settings(data, None, None, 0, None, torch_compile)
    bound = model.bound(module, data, settings, frozenset())
    return target_of(posing.make_problem(bound, {})).select(torch.zeros(chains, dtype=torch.int64))


def _source(chains: int) -> OneGenerator:
    return OneGenerator(torch.Generator().manual_seed(0), chains, torch.float32, CPU)


def _langevin(torch_compile: bool, chains: int = 10_000, steps: int = 50, step: float = 0.01) -> Row:
    """Both sides as they are written, or both as kernels; making these is no part of the time."""
    angle = torch.arange(8) * math.pi / 4
    centres = 3 * torch.stack((angle.cos(), angle.sin()), 1)
    target = _target(RING, {"M": centres}, chains, torch_compile)
    source, generator = _source(chains), torch.Generator().manual_seed(0)
    start = torch.zeros(chains, 2)

    def written(x: Tensor, noise: Tensor) -> Tensor:
        apart = x[:, None] - centres
        share = torch.softmax(apart.square().sum(-1) / -0.5, 1)
        slope = (share[..., None] * apart).sum(1) / 0.25
        return x - step * slope + math.sqrt(2 * step) * noise

    one: Callable[[Tensor, Tensor], Tensor] = torch.compile(written) if torch_compile else written

    @torch.no_grad()
    def by_hand() -> Tensor:
        x = start
        for _ in range(steps):
            x = one(x, torch.randn(chains, 2, generator=generator))
        return x

    @torch.no_grad()
    def ours() -> Tensor:
        return moved(Langevin(step), target, start, steps, source)

    pair = processor_in_turns(ours, by_hand)
    done, word = chains * steps / 1e6, ", torch_compile" if torch_compile else ""
    return Row(
        f"Langevin, mixture of 8 in the plane, {chains:,} chains{word}: million chain-steps a second",
        f"{done / pair.ours:.2f}",
        f"{done / pair.theirs:.2f}, step by hand{', compiled' if torch_compile else ''}",
        f"{pair.ratio:.2f}",
        "<= 1.0",
        pair.ratio <= 1.0,
    )


def _trajectories(chains: int, steps: int = 50, leapfrogs: int = 10) -> list[Row]:
    """Known scales, steps of 0.9 of them: acceptance near 0.8, as after a warm-up."""
    scales = torch.logspace(-1, 0, 100)
    target, start = _target(NARROW, {"s": scales}, chains), torch.randn(chains, 100) * scales
    sampler, source = Hmc(0.1, leapfrogs=leapfrogs, jitter=0.0), _source(chains)

    @torch.no_grad()
    def drawn() -> list[Tensor]:
        state, found = sampler.init(target, start), []
        for _ in range(steps):
            state, _ = sampler.step(target, state, source)
            found.append(state.x)
        return found

    def ours() -> Tensor:
        return torch.stack(drawn(), 2)

    pair = processor_in_turns(ours, _by_hand(start, scales, steps, leapfrogs))
    other = _blackjax(start, scales, steps, leapfrogs)
    beside = None if other is None else processor_in_turns(lambda: torch.stack(drawn()), other)
    effective = float(diagnose(ours().permute(1, 0, 2)).bulk.mean())
    name = f"HMC, 100 dimensions, condition number 100, {chains:,} chains, {leapfrogs} leapfrogs"
    return [
        Row(
            f"{name}: {steps} steps",
            shown(pair.ours),
            f"{shown(pair.theirs)}, gradient by hand",
            f"{pair.ratio:.2f}",
            "<= 1.05",
            pair.ratio <= 1.05,
        ),
        Row(
            "the same beside BlackJAX, compiled",
            "" if beside is None else shown(beside.ours),
            "blackjax not installed" if beside is None else shown(beside.theirs),
            "" if beside is None else f"{beside.ratio:.2f}",
            "",
            None,
        ),
        Row(
            "the same: effective draws a second, mean", f"{effective / pair.ours:,.0f}", "", "", "none", None
        ),
    ]


def _by_hand(start: Tensor, scales: Tensor, steps: int, leapfrogs: int) -> Callable[[], Tensor]:
    generator, precision, step = torch.Generator().manual_seed(0), scales**-2, 0.1

    @torch.no_grad()
    def run() -> Tensor:
        x, found = start, []
        for _ in range(steps):
            v = torch.randn(x.shape, generator=generator)
            before = ((x * x * precision).sum(1) + (v * v).sum(1)) / 2
            new, v = x, v - step / 2 * precision * x
            for number in range(leapfrogs):
                new = new + step * v
                v = v - (step if number + 1 < leapfrogs else step / 2) * precision * new
            after = ((new * new * precision).sum(1) + (v * v).sum(1)) / 2
            taken = torch.rand(len(x), generator=generator) < torch.exp(before - after)
            x = torch.where(taken[:, None], new, x)
            found.append(x)
        return torch.stack(found, 2)

    return run


def _blackjax(start: Tensor, scales: Tensor, steps: int, leapfrogs: int) -> Callable[[], object] | None:
    """The same chains by BlackJAX (Cabezas et al. 2024), compiled beforehand; None where it is not
    installed."""
    if not available("jax", "blackjax"):
        return None
    import blackjax
    import jax
    import jax.numpy as jnp

    precision = jnp.asarray(scales.numpy()) ** -2.0
    kernel = blackjax.hmc(
        lambda x: -(x * x * precision).sum() / 2, 0.1, jnp.ones(len(scales)), num_integration_steps=leapfrogs
    )

    @jax.jit
    def chains(key: Any, positions: Any) -> Any:
        def one(state: Any, key: Any) -> Any:
            state, _ = jax.vmap(kernel.step)(jax.random.split(key, len(positions)), state)
            return state, state.position

        return jax.lax.scan(one, jax.vmap(kernel.init)(positions), jax.random.split(key, steps))[1]

    key, positions = jax.random.key(0), jnp.asarray(start.numpy())
    chains(key, positions).block_until_ready()
    return lambda: chains(key, positions).block_until_ready()


def rows() -> list[Row]:
    return [_langevin(False), _langevin(True), *_trajectories(100), *_trajectories(1000)]
