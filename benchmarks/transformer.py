"""A transformer of library parts alone (models/std/transformer.ebm) against the same network in torch.nn:
the curve of the loss over 300 steps of Adam on made-up text, and what a step of training costs."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

import ebmlang
from benchmarks.measure import ROOT, Row, processor_in_turns, shown

STEPS = 300
BATCH, LENGTH, WIDTH, LAYERS, HEADS = 32, 64, 128, 4, 4
RATE = 3e-4

TALE = "the energy of a text is low where it is likely and training makes what was seen likely"
WORDS = TALE.split()


def text_of(rows: int, length: int, seed: int) -> tuple[Tensor, Tensor, int]:
    """Symbols [rows, length] of made-up sentences, those that follow, and how many there are."""
    drawn = torch.randint(len(WORDS), (rows, length), generator=torch.Generator().manual_seed(seed))
    lines = [" ".join(WORDS[i] for i in row)[: length + 1] for row in drawn.tolist()]
    letters = sorted(set("".join(WORDS)) | {" "})
    codes = torch.tensor([[letters.index(c) for c in line] for line in lines])
    return codes[:, :-1], codes[:, 1:], len(letters)


class Written(nn.Module):
    """The network in torch.nn; `later[t, s]` is true where s comes after t."""

    def __init__(
        self, symbols: int, length: int, d: int, layers: int, heads: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, d, dtype=dtype)
        self.position = nn.Parameter(torch.zeros(length, d, dtype=dtype))
        layer: dict[str, Any] = {
            "batch_first": True,
            "norm_first": True,
            "activation": "gelu",
            "dtype": dtype,
        }
        made = [nn.TransformerEncoderLayer(d, heads, 4 * d, dropout=0.0, **layer) for _ in range(layers)]
        self.blocks = nn.ModuleList(made)
        self.norm, self.head = nn.LayerNorm(d, dtype=dtype), nn.Linear(d, symbols, dtype=dtype)
        self.later = torch.ones(length, length, dtype=torch.bool).triu(1)

    def forward(self, codes: Tensor) -> Tensor:
        h = self.embed(codes) + self.position
        for block in self.blocks:
            h = block(h, src_mask=self.later)
        return self.head(self.norm(h))  # type: ignore[no-any-return]

    @torch.no_grad()
    def take(self, model: ebmlang.Model) -> None:
        """The weights of our model."""
        ours = dict(model.named_parameters())
        state: dict[str, Tensor] = {"position": ours["position"]}
        state |= {
            n: ours[n] for n in ("embed.weight", "norm.weight", "norm.bias", "head.weight", "head.bias")
        }
        d = self.position.shape[1]
        for k in range(len(self.blocks)):
            part, to = {n.removeprefix("block."): p for n, p in ours.items()}, f"blocks.{k}"
            for of, name in (("att.Wo", "out_proj.weight"), ("att.bo", "out_proj.bias")):
                state[f"{to}.self_attn.{name}"] = part[of][k].reshape(d, -1).squeeze(-1)
            state[f"{to}.self_attn.in_proj_weight"] = torch.cat(
                [part[f"att.{n}"][k].reshape(d, d) for n in ("Wq", "Wk", "Wv")]
            )
            state[f"{to}.self_attn.in_proj_bias"] = torch.cat(
                [part[f"att.{n}"][k].reshape(d) for n in ("bq", "bk", "bv")]
            )
            for of, name in (
                ("norm1", "norm1"),
                ("norm2", "norm2"),
                ("feed.0", "linear1"),
                ("feed.2", "linear2"),
            ):
                net, *rest = of.split(".")
                for kind in ("weight", "bias"):
                    state[f"{to}.{name}.{kind}"] = part[".".join([net, str(k), *rest, kind])]
        self.load_state_dict(state)


def started(
    rows: int, length: int, d: int, layers: int, heads: int, dtype: torch.dtype = torch.float32, seed: int = 0
) -> tuple[ebmlang.Model, Written, Tensor, Tensor]:
    """Both networks with the same weights, and a text [rows, length] with what follows every symbol."""
    text, target, symbols = text_of(rows, length, seed)
    path = ROOT / "models" / "std" / "transformer.ebm"
    model = ebmlang.load(path, T=length, d=d, layers=layers, heads=heads, symbols=symbols, seed=seed)
    model.bind(text=text, target=target).to(dtype)
    written = Written(symbols, length, d, layers, heads, dtype)
    written.take(model)
    return model, written, text, target


def losses_of(written: Written, text: Tensor, target: Tensor, steps: int, rate: float = RATE) -> list[float]:
    """The loop that people write: the mean cross-entropy before every step of Adam."""
    optimiser = torch.optim.Adam(written.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(written(text).flatten(0, 1), target.flatten())
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
        optimiser.step()
        losses.append(loss.item())
    return losses


def rows() -> list[Row]:
    """Curves of a small network in both precisions; steps of it, and of the larger one that has a bar."""
    small = _cost(16, 32, 32, 2, 4, None)
    return [
        *map(_curve, (torch.float32, torch.float64)),
        small,
        _cost(BATCH, LENGTH, WIDTH, LAYERS, HEADS, 1.15),
    ]


def _curve(dtype: torch.dtype) -> Row:
    """The loss before every step. Adam makes differences of rounding grow from step to step; how much shows
    torch's own loop on the same rows in another order, which is the same sum."""
    model, written, text, target = started(64, 32, 32, 2, 4, dtype)
    again = copy.deepcopy(written)
    ours = list(model.fit(text=text, target=target, steps=STEPS, lr=RATE).loss)
    theirs = losses_of(written, text, target, STEPS)
    order = torch.randperm(len(text), generator=torch.Generator().manual_seed(1))
    other = losses_of(again, text[order], target[order], STEPS)
    apart, by_rounding = _apart(ours, theirs), _apart(other, theirs)
    name, exact = str(dtype).removeprefix("torch."), dtype == torch.float64
    return Row(
        f"transformer, {name}: difference of the loss to torch's over {STEPS} steps ({theirs[0]:.2f} to "
        f"{theirs[-1]:.2f}); beside it torch with its rows in another order",
        f"{apart:.1g}",
        f"{by_rounding:.1g}",
        "",
        "<= 0.0001" if exact else "",
        apart <= 1e-4 if exact else None,
    )


def _apart(some: list[float], others: list[float]) -> float:
    return float(max(abs(a - b) for a, b in zip(some, others, strict=True)))


def _cost(rows: int, length: int, d: int, layers: int, heads: int, bar: float | None) -> Row:
    """A step within a run of ten, so that checking the data counts as it does in use."""
    model, written, text, target = started(rows, length, d, layers, heads)
    pair = processor_in_turns(
        lambda: model.fit(text=text, target=target, steps=10, lr=RATE),
        lambda: losses_of(written, text, target, 10),
        seconds=30.0,
    )
    return Row(
        f"transformer, {layers} layers of {d}, {rows} texts of {length}: ten steps of training",
        shown(pair.ours),
        shown(pair.theirs),
        f"{pair.ratio:.2f}",
        "" if bar is None else f"<= {bar}",
        None if bar is None else pair.ratio <= bar,
    )
