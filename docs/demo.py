"""The two ends of `make demo`: a dictionary to start from, and a picture of what was found.

    python docs/demo.py dictionary DICTIONARY.safetensors
    python docs/demo.py picture DICTIONARY.safetensors CODES.npz OUT.png

The dictionary is not trained: it holds digits as they are, every fourteenth one, at length 1.
"""

from __future__ import annotations

import sys

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits

COLUMNS = 128
SHOWN = 12


def write_dictionary(path: str) -> None:
    columns = load_digits().data[::14][:COLUMNS]
    columns = columns / np.linalg.norm(columns, axis=1, keepdims=True)
    save_file({"D": np.ascontiguousarray(columns.T)}, path)


def draw(dictionary_path: str, codes_path: str, picture_path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    digits = load_digits().data
    with np.load(codes_path) as found:
        codes = found["z"]
    rebuilt = codes @ load_file(dictionary_path)["D"].T
    used = (codes != 0).sum(axis=1)
    error = np.abs(rebuilt - digits).mean()

    shown = np.arange(1, 1 + SHOWN)  # number 0 is itself in the dictionary
    figure, axes = pyplot.subplots(2, SHOWN, figsize=(SHOWN * 0.8, 2.2))
    for name, images, line in zip(("digit", "rebuilt"), (digits, rebuilt), axes, strict=True):
        for row, place in zip(shown, line, strict=True):
            place.imshow(images[row].reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
            place.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    for row, place in zip(shown, axes[1], strict=True):
        place.set_xlabel(f"{used[row]} codes", fontsize=8)
    figure.tight_layout()
    figure.savefig(picture_path, dpi=100)
    print(
        f"{len(codes):,} digits: {used.mean():.1f} of {codes.shape[1]} codes in use on average, "
        f"mean error {error:.2f} on pixels from 0 to 16"
    )


def main(words: list[str]) -> int:
    match words:
        case ["dictionary", path]:
            write_dictionary(path)
        case ["picture", dictionary, codes, picture]:
            draw(dictionary, codes, picture)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
