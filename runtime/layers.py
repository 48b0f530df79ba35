"""Layers that torch.nn does not have: dropout keyed by rows, residual blocks, multiplicative recurrences,
transformers whose slopes can be differentiated again."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ebmlang.runtime import seeded
from ebmlang.runtime.seeded import Rows


@dataclass(frozen=True, slots=True)
class Thinning:
    """What the masks of one call are drawn from: a seed, the name of the net, and the global rows of the
    examples, of which the first dimension of the input counts `times` for each."""

    seed: int
    name: str
    rows: Rows
    times: int


THINNING: ContextVar[Thinning | None] = ContextVar("THINNING", default=None)
"""Set while a net is called in a training step; otherwise dropout does nothing."""


class Dropout(nn.Module):
    """Entries set to 0 with probability p, the others divided by 1 - p (Srivastava et al. 2014).

    The mask is a function of seed, net, layer and row: a net has one mask for all calls while one question
    is answered, also at every step of a recurrence (Gal and Ghahramani 2016) and at every position of a
    plate. So an energy has one value, whether the steps are taken in turn or written side by side. Off
    outside of training.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.layer = ""

    def extra_repr(self) -> str:
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        drawn = THINNING.get()
        if drawn is None or not self.p:
            return x
        keep = self._kept(drawn, x)
        return x * keep / (1 - self.p)

    def _kept(self, drawn: Thinning, x: Tensor) -> Tensor:
        name = f"{drawn.name}/{self.layer}/dropout"
        draws = seeded.uniform(drawn.seed, name, drawn.rows, tuple(x.shape[1:]))
        found = torch.from_numpy(draws >= self.p).to(x.device, x.dtype)
        return found.repeat_interleave(drawn.times, 0)


class Residual(nn.Module):
    """act(norm(conv)) twice, added to the input, which a 1 x 1 convolution brings to the same shape
    (He et al. 2016); GroupNorm (Wu and He 2018), so that no example depends on another one."""

    def __init__(self, inside: int, outside: int, stride: int, act: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(1, outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(1, outside)
        self.act = act
        same = stride == 1 and inside == outside
        self.skip = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.act(self.norm1(self.conv1(x)))
        inner = self.norm2(self.conv2(inner))
        found: Tensor = self.act(inner + self.skip(x))
        return found


class Gates(nn.Module):
    """Pre-activations of one recurrent layer with multiplicative integration (Wu et al. 2016, eq. 4):

    alpha * Wx * Uh + beta1 * Uh + beta2 * Wx + b, entry by entry, for `count` gates of `hidden` entries.
    """

    def __init__(self, inside: int, hidden: int, count: int) -> None:
        super().__init__()
        bound = hidden**-0.5
        self.weight_ih = nn.Parameter(torch.empty(count * hidden, inside).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(count * hidden, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(count * hidden).uniform_(-bound, bound))
        self.alpha = nn.Parameter(torch.ones(count * hidden))
        self.beta1 = nn.Parameter(torch.ones(count * hidden))
        self.beta2 = nn.Parameter(torch.ones(count * hidden))

    def inputs(self, x: Tensor) -> Tensor:
        """Wx for all steps: [N, T, count * hidden]."""
        return x @ self.weight_ih.mT

    def forward(self, wx: Tensor, h: Tensor, part: slice = slice(None)) -> Tensor:
        """The pre-activations of one step; `part` selects gates."""
        uh = h @ self.weight_hh[part].mT
        wx = wx[:, part]
        alpha, beta1, beta2 = self.alpha[part], self.beta1[part], self.beta2[part]
        return alpha * wx * uh + beta1 * uh + beta2 * wx + self.bias[part]


class MultiplicativeRNN(nn.Module):
    """[N, T, n] -> ([N, T, d], last state of the last layer); alpha, beta1 and beta2 begin at 1."""

    def __init__(self, inside: int, hidden: int, num_layers: int = 1, nonlinearity: str = "tanh") -> None:
        super().__init__()
        self.hidden, self.act = hidden, {"tanh": torch.tanh, "relu": torch.relu}[nonlinearity]
        self.layers = nn.ModuleList(Gates(hidden if k else inside, hidden, 1) for k in range(num_layers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.layers:
            assert isinstance(layer, Gates)
            h, wx, states = x.new_zeros(x.shape[0], self.hidden), layer.inputs(x), []
            for t in range(x.shape[1]):
                h = self.act(layer(wx[:, t], h))
                states.append(h)
            x = torch.stack(states, 1)
        return x, x[:, -1][None]


class MultiplicativeGRU(nn.Module):
    """The same for the gates r, z and n of torch's `nn.GRU`; the new gate integrates W x with U (r * h)."""

    def __init__(self, inside: int, hidden: int, num_layers: int = 1) -> None:
        super().__init__()
        self.hidden = hidden
        self.layers = nn.ModuleList(Gates(hidden if k else inside, hidden, 3) for k in range(num_layers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d = self.hidden
        for layer in self.layers:
            assert isinstance(layer, Gates)
            h, wx, states = x.new_zeros(x.shape[0], d), layer.inputs(x), []
            for t in range(x.shape[1]):
                r, z = torch.sigmoid(layer(wx[:, t], h, slice(0, 2 * d))).chunk(2, -1)
                n = torch.tanh(layer(wx[:, t], r * h, slice(2 * d, 3 * d)))
                h = (1 - z) * n + z * h
                states.append(h)
            x = torch.stack(states, 1)
        return x, x[:, -1][None]


class MultiplicativeLSTM(nn.Module):
    """The same for the gates i, f, g and o of torch's `nn.LSTM`."""

    def __init__(self, inside: int, hidden: int, num_layers: int = 1) -> None:
        super().__init__()
        self.hidden = hidden
        self.layers = nn.ModuleList(Gates(hidden if k else inside, hidden, 4) for k in range(num_layers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.layers:
            assert isinstance(layer, Gates)
            h = x.new_zeros(x.shape[0], self.hidden)
            cell, wx, states = h, layer.inputs(x), []
            for t in range(x.shape[1]):
                i, f, g, o = layer(wx[:, t], h).chunk(4, -1)
                cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(cell)
                states.append(h)
            x = torch.stack(states, 1)
        return x, x[:, -1][None]


class Attending(nn.Module):
    """x + attention(norm1(x)), then the same with a layer of `expand` times as many units at every position
    (Vaswani et al. 2017; the norm in front: Xiong et al. 2020). torch's own has kernels without second
    derivatives."""

    def __init__(self, width: int, heads: int, expand: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked = nn.Linear(width, 3 * width)
        self.told = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, expand * width), nn.GELU(), nn.Linear(expand * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        n, steps, width = x.shape
        split = self.asked(self.norm1(x)).reshape(n, steps, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        look = torch.softmax(q @ k.mT / (width // self.heads) ** 0.5, -1)
        x = x + self.told((look @ v).transpose(1, 2).reshape(n, steps, width))
        found: Tensor = x + self.feed(self.norm2(x))
        return found


class Transformer(nn.Module):
    """[N, T, n] -> [N, T, d]: a linear map, a learned vector for every position, layers, a norm."""

    def __init__(self, steps: int, inside: int, width: int, layers: int, heads: int, expand: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inside, width)
        self.position = nn.Parameter(torch.randn(steps, width))
        self.layers = nn.ModuleList(Attending(width, heads, expand) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.position
        for layer in self.layers:
            x = layer(x)
        found: Tensor = self.norm(x)
        return found


class Function(nn.Module):
    """A function without parameters as a module, for an extern net."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        found: Tensor = self.function(*inputs)  # type: ignore[operator]
        return found
