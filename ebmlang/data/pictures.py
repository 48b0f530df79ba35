"""Pictures as arrays: decoded when they are asked for. Needs Pillow, which comes with `ebmlang[data]`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from ebmlang.data.dataset import DType, Numbers, Rows
from ebmlang.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What is decoded. Others may start programs (EPS) or are rarely tried."""

_SIXTEEN_BITS = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_MOST_PIXELS = 2**26
"""A picture that unpacks to more is taken for an attack, or for a mistake."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the pixels of a picture are laid out in an array."""

    name: str
    colour: bool
    shape: Callable[[int, int], tuple[int, ...]]
    """Of height and width."""
    arranged: Callable[[Numbers], Numbers]
    """From [height, width], or [height, width, 3] in colour."""


LAYOUTS = (
    Layout("rgb", True, lambda h, w: (3, h, w), lambda x: np.moveaxis(x, -1, 0)),
    Layout("rgb_last", True, lambda h, w: (h, w, 3), lambda x: x),
    Layout("grey", False, lambda h, w: (h, w), lambda x: x),
    Layout("grey_first", False, lambda h, w: (1, h, w), lambda x: x[None]),
    Layout("flat", False, lambda h, w: (h * w,), lambda x: x.reshape(-1)),
)

LEVELS = ".levels"
"""What follows the name of a layout for whole numbers from 0 to 255, instead of shares of white."""


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Pictures of one size. `opened` gives the bytes of one, `name` says which it is; `colour` tells that
    some are not grey."""

    count: int
    opened: Callable[[int], IO[bytes]]
    name: Callable[[int], str]
    height: int
    width: int
    colour: bool

    @staticmethod
    def of(
        count: int, opened: Callable[[int], IO[bytes]], name: Callable[[int], str], where: str
    ) -> Pictures:
        """Look at the beginning of every picture. Raises DataError where one cannot be opened, or sizes
        differ."""
        size: tuple[int, int] | None = None
        colour = False
        for number in range(count):
            with _opened(opened, name, number) as image:
                if size is None:
                    size = image.size
                elif image.size != size:
                    raise DataError(
                        f"the pictures of {where} differ in size: {name(0)} is {size[0]} x {size[1]}, "
                        f"{name(number)} is {image.size[0]} x {image.size[1]}",
                        f"bring them to one size: mogrify -resize {size[0]}x{size[1]}! FILES",
                    )
                colour = colour or not (image.mode in _SIXTEEN_BITS or image.mode in ("1", "L", "LA"))
        width, height = size or (0, 0)
        return Pictures(count, opened, name, height, width, colour)

    def pixels(self, number: int, colour: bool, levels: bool) -> Numbers:
        """One picture, [height, width] or [height, width, 3]: uint8 levels, or float32 from 0 to 1."""
        with _opened(self.opened, self.name, number) as image:
            if image.size != (self.width, self.height):
                raise DataError(f"{self.name(number)} changed while it was read", "leave it in place")
            if image.mode == "F":
                raise DataError(f"{self.name(number)} holds floats, not levels of grey", "save it as a .npy")
            if image.mode in _SIXTEEN_BITS:
                return self._sixteen_bits(number, np.asarray(image), colour, levels)
            if "transparency" in image.info:
                image = image.convert("RGBA")
            found = np.asarray(image.convert("RGB" if colour else "L"))
        return found if levels else found.astype(np.float32) / np.float32(255)

    def _sixteen_bits(self, number: int, found: Numbers, colour: bool, levels: bool) -> Numbers:
        if levels:
            raise DataError(
                f"{self.name(number)} has 65,536 levels, not 256", "declare the variable real, or save 8 bits"
            )
        grey = found.astype(np.float32) / np.float32(65535)
        return np.repeat(grey[..., None], 3, -1) if colour else grey


@dataclass(frozen=True, slots=True, eq=False)
class PictureArray:
    """Pictures in one layout."""

    pictures: Pictures
    layout: Layout
    levels: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.pictures.count, *self.layout.shape(self.pictures.height, self.pictures.width))

    @property
    def dtype(self) -> DType:
        return np.dtype(np.uint8 if self.levels else np.float32)

    def read(self, start: int, stop: int) -> Numbers:
        return self.pick(np.arange(start, stop, dtype=np.int64))

    def pick(self, rows: Rows) -> Numbers:
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for place, row in enumerate(rows.tolist()):
            pixels = self.pictures.pixels(row, self.layout.colour, self.levels)
            found[place] = self.layout.arranged(pixels)
        return found

    def whole(self) -> Numbers:
        return self.read(0, self.pictures.count)


def picture_arrays(name: str, pictures: Pictures) -> dict[str, PictureArray]:
    """All arrays that pictures may be taken for, `NAME.grey` and so on, those that lose nothing first."""
    layouts = sorted(LAYOUTS, key=lambda layout: layout.colour != pictures.colour)
    return {
        f"{name}.{layout.name}{LEVELS * levels}": PictureArray(pictures, layout, levels)
        for levels in (False, True)
        for layout in layouts
    }


def require_pillow(what: str) -> None:
    """Raises DataError where Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise DataError(f"reading {what} needs Pillow", "pip install 'ebmlang[data]'") from error


def class_note(where: str, names: Sequence[str]) -> str:
    """`classes of shapes/: 0 = circle, 1 = square`, cut after ten."""
    shown = ", ".join(f"{number} = {name}" for number, name in enumerate(names[:10]))
    return f"classes of {where}: {shown}" + (f" and {len(names) - 10} more" if len(names) > 10 else "")


_DAMAGE = (OSError, SyntaxError, ValueError, LookupError, ArithmeticError, EOFError, struct.error, zlib.error)
"""What the decoders of Pillow raise for bytes that are no picture; bombs have a class of their own."""


@contextmanager
def _opened(opened: Callable[[int], IO[bytes]], name: Callable[[int], str], number: int) -> Iterator[Any]:
    """A picture, its size known and nothing else read. Raises DataError, also for what is wrong with it
    later."""
    from PIL import Image

    try:
        with opened(number) as stream, Image.open(stream, formats=FORMATS) as image:
            width, height = image.size
            if width * height > _MOST_PIXELS:
                raise DataError(
                    f"{name(number)} unpacks to {width:,} x {height:,} pixels", "a smaller picture"
                )
            yield image
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        text = str(error).strip() or type(error).__name__
        raise DataError(
            f"{name(number)} is damaged, or no picture: {text.splitlines()[0]}",
            "write it again, or remove it",
        ) from error
