"""The record of a run for TensorBoard, where that is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ebmlang.errors import DataError
from ebmlang.runtime.training.history import Record


def board(folder: Path, done: int) -> tuple[Callable[[Record], None], Callable[[], None]]:
    """Functions that note a record in a folder of event files, and that end it. What was noted after `done`
    steps in an earlier call is hidden. Raises DataError without tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise DataError("--tensorboard needs tensorboard", "pip install 'ebmlang[tensorboard]'") from None
    writer = SummaryWriter(str(folder), purge_step=done + 1)

    def note(record: Record) -> None:
        for name, value in scalars(record).items():
            writer.add_scalar(name, value, record.step)

    return note, writer.close


def scalars(record: Record) -> dict[str, float]:
    """The numbers of a record by the names that they are shown under."""
    found = {"loss": record.loss, "gradient": record.gradient, "unconverged": float(record.unconverged)}
    found.update({f"term/{name}": value for name, value in record.terms.items()})
    found.update({f"line/{name}": value for name, value in record.lines.items()})
    found.update({f"health/{name}": value for name, value in record.health.items()})
    if record.validation is not None:
        found["validation"] = record.validation
    return found
