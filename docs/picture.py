"""Draws digits beside what their sparse codes say: `python docs/picture.py MODEL CODES.npz OUT.png`.

The last step of `make demo`. The file of codes holds no dictionary: it is drawn again, from the same seed.
"""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
from sklearn.datasets import load_digits

import ebmlang

SHOWN = 12


def main(model_path: str, codes_path: str, picture_path: str) -> int:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    digits = load_digits().data
    with np.load(codes_path) as found:
        codes = found["z"]
    model = ebmlang.load(model_path, k=codes.shape[1]).bind(y=digits[:1])
    dictionary = model.value("D").detach().numpy()
    rebuilt = codes @ dictionary.T
    used = (codes != 0).sum(axis=1)
    error = np.abs(rebuilt - digits).mean()

    figure, axes = pyplot.subplots(2, SHOWN, figsize=(SHOWN * 0.8, 2.2))
    for name, images, line in zip(("digit", "rebuilt"), (digits, rebuilt), axes, strict=True):
        for image, place in zip(images, line, strict=False):
            place.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
            place.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    for place, count in zip(axes[1], used, strict=False):
        place.set_xlabel(f"{count} codes", fontsize=8)
    figure.tight_layout()
    figure.savefig(picture_path, dpi=100)
    print(
        f"{len(codes):,} digits: {used.mean():.1f} of {codes.shape[1]} codes in use on average, "
        f"mean error {error:.2f} on pixels from 0 to 16"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
