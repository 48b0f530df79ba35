"""Parameters in pieces, one in every process: what `--shard` keeps in memory.

FSDP2 of torch holds them (`fully_shard`; Zhao et al. 2023, "PyTorch FSDP"; the idea is ZeRO, Rajbhandari et
al. 2020). Before a loss is looked at, all processes gather the pieces; what they find is lent to the model,
which reads whole parameters and needs to know nothing. While the backward pass goes on, gradients of one
bucket after the other are added up and scattered, and the optimiser moves the pieces. So optimisers, averages
and the copies of the last finite step are pieces too, and only the parameters of a look are whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import nan
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ebmlang.errors import DataError
from ebmlang.runtime.training.moved import gradient_squares
from ebmlang.runtime.training.pieces import Divided

_BUCKET = 1 << 22
"""Numbers of a message; a parameter with more is a message of its own."""


class _Lent(torch.autograd.Function):
    """Parameters as they are. The slope of `tick`, which is 0, is there when those of all of them are: FSDP
    waits for the slopes of the inputs of a module before it sends those of its parameters."""

    @staticmethod
    def forward(ctx: Any, tick: Tensor, *held: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.nothing = torch.zeros_like(tick)
        return tuple(p.view_as(p) for p in held)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return ctx.nothing, *gradients


class _Bucket(nn.Module):
    """Some parameters; its value is all of them, whole."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.held = nn.ParameterList(nn.Parameter(p.detach().clone()) for p in parameters)

    def forward(self, tick: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = _Lent.apply(tick, *self.held)  # type: ignore[no-untyped-call]
        return found


class _Buckets(nn.Module):
    def __init__(self, parts: Sequence[_Bucket]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, ticks: Sequence[Tensor]) -> tuple[Tensor, ...]:
        pairs = zip(self.parts, ticks, strict=True)
        return tuple(value for part, tick in pairs for value in part(tick))


@dataclass(frozen=True, slots=True, eq=False)
class Shards:
    """`originals` are the parameters of the model, empty while a run goes on; `leaves` are the pieces of this
    process, cut along the first dimension, in the memory of FSDP. `mesh` is torch's list of the processes.
    `ticks` are those of the last look, one for each bucket."""

    buckets: Any
    originals: tuple[nn.Parameter, ...]
    leaves: tuple[nn.Parameter, ...]
    mesh: Any
    ticks: list[Tensor] = field(default_factory=list)
    _own: frozenset[int] = frozenset()

    @staticmethod
    @torch.no_grad()
    def of(parameters: Sequence[nn.Parameter], device: torch.device) -> Shards:
        """Divide parameters of one dtype among the processes of the group, and empty them. Raises DataError
        where torch has no FSDP2."""
        try:
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard
        except ImportError:
            raise DataError(f"torch {torch.__version__} cannot divide parameters", "torch 2.8") from None
        mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
        buckets: Any = _Buckets([_Bucket(some) for some in _bucketed(parameters)])
        for one in (*buckets.parts, buckets):
            fully_shard(one, mesh=mesh, reshard_after_forward=False)
            # Losses are shares of the whole: gradients are added up, and nothing is divided on the way.
            one.set_gradient_divide_factor(1.0)
            one.set_force_sum_reduction_for_comms(True)
        leaves = tuple(nn.Parameter(p.to_local()) for p in buckets.parameters())
        for one in parameters:
            _empty(one)
        return Shards(buckets, tuple(parameters), leaves, mesh, _own=frozenset(map(id, leaves)))

    # --- a look at the loss ---

    def lend(self) -> dict[int, Tensor]:
        """The whole parameters by the ids of the originals. Gradients with respect to them reach `collect`.
        All processes call this together."""
        self.rest()  # what was gathered before the pieces moved is old
        self.ticks[:] = [self.leaves[0].new_zeros(()).requires_grad_() for _ in self.buckets.parts]
        with warnings.catch_warnings():
            # Nobody changes what is lent in place, which is what torch warns of.
            warnings.filterwarnings("ignore", "FSDP2-wrapped module")
            whole = self.buckets(self.ticks)
        return {id(own): value for own, value in zip(self.originals, whole, strict=True)}

    def rest(self) -> None:
        """Let go of whole parameters that no backward pass has let go of."""
        for one in (*self.buckets.parts, self.buckets):
            one.reshard()

    def clear(self) -> None:
        """Forget gradients."""
        self.rest()
        for held, leaf in zip(self.buckets.parameters(), self.leaves, strict=True):
            held.grad = leaf.grad = None

    def sources(self, leaves: Sequence[nn.Parameter]) -> list[Tensor]:
        """What the gradients of leaves are taken in, and the ticks, between `lend` and the backward pass."""
        held = {id(leaf): p for leaf, p in zip(self.leaves, self.buckets.parameters(), strict=True)}
        return [*(held.get(id(leaf), leaf) for leaf in leaves), *self.ticks]

    def collect(self) -> None:
        """The pieces of the gradients, in the leaves."""
        for held, leaf in zip(self.buckets.parameters(), self.leaves, strict=True):
            leaf.grad = None if held.grad is None else held.grad.to_local()

    def norm(self, leaves: Sequence[Tensor]) -> Tensor:
        """The Euclidean norm of gradients together, [], of which some are in pieces."""
        grads = [(leaf.grad, self.has(leaf)) for leaf in leaves]
        own = [g for g, divided in grads if not divided and g is not None]
        pieces = [g for g, divided in grads if divided and g is not None]
        squares = [torch.stack([g.square().sum() for g in some]).sum() for some in (own, pieces) if some]
        if pieces:
            distributed.all_reduce(squares[-1])
        return torch.stack(squares).sum().sqrt() if squares else torch.zeros(())

    def gradient_squares(self, leaves: Sequence[Tensor]) -> Tensor:
        """The same as the function of this name, where some of the leaves are pieces."""
        found = gradient_squares(leaves)
        pieces = torch.tensor([self.has(leaf) for leaf in leaves])
        if bool(pieces.any()):
            some = found[pieces].to(leaves[0].device)
            distributed.all_reduce(some)
            found[pieces] = some.cpu()
        return found

    # --- which is which ---

    def leaf(self, original: nn.Parameter) -> nn.Parameter | None:
        """The piece of a parameter, None where it is whole in every process."""
        found = (leaf for own, leaf in zip(self.originals, self.leaves, strict=True) if own is original)
        return next(found, None)

    def has(self, leaf: Tensor) -> bool:
        """Whether a leaf is a piece."""
        return id(leaf) in self._own

    def divided(self, leaf: Tensor, local: Tensor) -> Divided:
        """A piece of something that lies like a parameter, ready for a checkpoint."""
        from torch.distributed.tensor import DTensor, Shard

        whole = self._whole(leaf)
        return Divided(
            DTensor.from_local(
                local, self.mesh, [Shard(0)], run_check=False, shape=whole.shape, stride=whole.stride()
            )
        )

    def piece(self, leaf: Tensor, value: Tensor) -> Tensor:
        """This process's part of what may be whole."""
        if value.shape == leaf.shape:
            return value
        first = -(-len(value) // distributed.get_world_size()) * distributed.get_rank()
        return value[first : first + len(leaf)]

    def _whole(self, leaf: Tensor) -> Any:
        """The DTensor of a leaf."""
        self.rest()
        pairs = zip(self.leaves, self.buckets.parameters(), strict=True)
        return next(p for one, p in pairs if one is leaf)

    # --- the model itself ---

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The parameters in the model, without gradients, for what reads it directly. All processes."""
        with torch.no_grad():
            lent = self.lend()
            for one in self.originals:
                one.data = lent[id(one)].detach()
            try:
                yield
            finally:
                for one in self.originals:
                    _empty(one)
                self.rest()

    @torch.no_grad()
    def give_back(self) -> None:
        """The whole parameters in the model, at the end of a run. All processes call this together."""
        self.rest()
        for one, held in zip(self.originals, self.buckets.parameters(), strict=True):
            one.data = held.full_tensor().detach().clone()

    def held(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of the model by name, with pieces in the places of what is divided."""
        pieces = {id(own): leaf for own, leaf in zip(self.originals, self.leaves, strict=True)}
        return {name: pieces.get(id(value), value) for name, value in tensors.items()}


def _bucketed(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Consecutive parameters of about as many numbers as a message has."""
    found: list[list[nn.Parameter]] = []
    size = _BUCKET
    for one in parameters:
        if size + one.numel() > _BUCKET:
            found.append([])
            size = 0
        found[-1].append(one)
        size += one.numel()
    return found


def _empty(parameter: nn.Parameter) -> None:
    """Leave the shape, and NaN where somebody reads it, in the memory of one number."""
    parameter.data = parameter.new_full((), nan).expand(parameter.shape)
