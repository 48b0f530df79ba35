"""Records the moving pictures of planning: `python -m docs.animations [NAME...]`.

The commands in the comment of a model are run as they are written, in a folder of their own; the last of them
plays one episode, and what it looks like becomes docs/gallery/pictures/NAME.gif. Models that learn first take
minutes. A model that acts in no world with pictures has none.
"""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageSequence

from docs import systems

WIDTH, FRAMES, COLOURS, MILLISECONDS = 240, 80, 24, 80
"""A picture is scaled down to this width, and of a long episode every n-th is kept."""

SHOWN = ("gymnasium:", "generated:")


def record(name: str) -> Path | None:
    """Run a model's commands and keep the pictures; None where its last command acts in no such world.

    Raises CalledProcessError where a command fails.
    """
    *before, last = (shlex.split(command) for command in systems.commands(name))
    if last[1] != "plan" or not last[last.index("--env") + 1].startswith(SHOWN):
        return None
    if "--episodes" in last:
        at = last.index("--episodes")
        del last[at : at + 2]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").symlink_to(systems.DOCS.parent / "models")
        for words in (*before, [*last, "--gif", "episode.gif", "--force"]):
            subprocess.run([sys.executable, "-m", *words, "--no-progress"], cwd=folder, check=True)
        return small(Path(folder) / "episode.gif", systems.PICTURES / f"{name}.gif")


def small(recorded: Path, path: Path) -> Path:
    """A short and narrow copy of a moving picture."""
    with Image.open(recorded) as pictures:
        whole = [frame.copy() for frame in ImageSequence.Iterator(pictures)]
    frames = [shrunk(frame) for frame in whole[:: -(-len(whole) // FRAMES)]]
    content = io.BytesIO()
    frames[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=MILLISECONDS,
        loop=0,
        optimize=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.getvalue())
    return path


def shrunk(frame: Image.Image) -> Image.Image:
    width = min(WIDTH, frame.width)
    size = (width, round(frame.height * width / frame.width))
    return frame.convert("RGB").resize(size, Image.Resampling.LANCZOS).quantize(COLOURS)


def main(words: list[str]) -> int:
    unknown = set(words) - set(systems.names())
    if unknown:
        print(f"no such models: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    for name in words or systems.names():
        path = record(name)
        print(f"{name}: acts in no world with pictures" if path is None else f"wrote {path}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
