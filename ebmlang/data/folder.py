"""A folder of pictures, with sub-folders as classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ebmlang.compiler.diagnostics import listing
from ebmlang.data.dataset import DataSet, LazyArray, Loaded
from ebmlang.data.pictures import Pictures, class_note, picture_arrays, require_pillow
from ebmlang.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
"""Files with another ending are left out."""

PICTURE, CLASS = "image", "target"
"""What the arrays of a folder are called."""


def holds_pictures(folder: Path) -> bool:
    """Whether there is a picture in a folder, or below it."""
    return next((path for path in _files(folder) if _is_picture(path)), None) is not None


def read_folder(folder: Path) -> DataSet:
    """`image` [rows, ...], one of the layouts of `pictures.LAYOUTS`, and `target` [rows] int64 where the
    pictures lie in sub-folders: the number of the sub-folder, by name. Rows are in the order of the paths.

    Raises DataError for pictures that cannot be opened or differ in size, and for links that lead out.
    """
    require_pillow(f"the pictures of {folder}")
    files = sorted(_files(folder), key=lambda path: path.relative_to(folder).parts)
    paths = [path for path in files if _is_picture(path)]
    for path in paths:
        _require_inside(folder, path)
    tops = [path.relative_to(folder).parts[0] if path.parent != folder else "" for path in paths]
    classes = sorted(set(tops))
    if "" in classes and len(classes) > 1:
        raise DataError(
            f"{folder} holds pictures, such as {paths[tops.index('')].name}, and sub-folders with pictures",
            f"move the pictures into a sub-folder, or name one folder: {folder / classes[1]}",
        )
    pictures = Pictures.of(
        len(paths), lambda row: paths[row].open("rb"), lambda row: str(paths[row]), str(folder)
    )
    arrays: dict[str, LazyArray] = {**picture_arrays(PICTURE, pictures)}
    views = {PICTURE: tuple(arrays)}
    notes = []
    if classes != [""]:
        numbers = {name: number for number, name in enumerate(classes)}
        arrays[CLASS] = Loaded(np.array([numbers[top] for top in tops], dtype=np.int64))
        notes.append(class_note(str(folder), classes))
    foreign = [str(path.relative_to(folder)) for path in files if not _is_picture(path)]
    if foreign:
        shown = listing(foreign[:3], "and") if len(foreign) <= 3 else f"{', '.join(foreign[:3])}, ..."
        notes.append(f"{len(foreign)} file(s) of {folder} that are no pictures are left out: {shown}")
    return DataSet(str(folder), arrays, "folder", tuple(notes), views=views)


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those below it; links to folders and hidden ones are not followed."""
    for place, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(place) / name for name in names if not name.startswith("."))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS


def _require_inside(folder: Path, path: Path) -> None:
    """Raises DataError for what is no plain file of the folder: a folder from a stranger must not reach
    others."""
    real = Path(os.path.realpath(path))
    if path.is_symlink() and not real.is_relative_to(os.path.realpath(folder)):
        raise DataError(f"{path} is a link that leads out of {folder}, to {real}", "copy the file there")
    if not real.is_file():
        raise DataError(f"{path} is not an ordinary file", "remove it")
