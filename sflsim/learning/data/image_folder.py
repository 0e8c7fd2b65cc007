"""Images in a folder for each class, below a folder for each split, as CINIC-10 comes. Pillow lazily.

train/airplane/x.png  valid/airplane/y.png  test/airplane/z.png
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sflsim.errors import refused
from sflsim.learning.data.source import TEST, TRAIN, VALIDATION, Labels, NoColumns, unreadable
from sflsim.readers.files import IMAGE_BYTES, absolute, check_file

if TYPE_CHECKING:
    from PIL import Image

FOLDERS = {TRAIN: ("train",), TEST: ("test",), VALIDATION: ("valid", "validation", "val")}
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
"""What Pillow may open: others start programs (Ghostscript for EPS) or are hardly ever tried."""
MOST_PIXELS = 64 * 2**20
DARK = 16  # below it in each pixel, of 16 bits 4 or more carry nothing: a camera's 10 or 12
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """How images are decoded: 1 channel (grey) or 3 (red, green, blue); resized, if a size is given."""

    channels: int
    size: tuple[int, int] | None = None

    def decode(self, content: bytes | Path, name: str) -> Bytes:
        """Return an image as bytes [rows, columns, channels], turned as its EXIF entry says.

        Raises:
            ScenarioError: it is damaged, moving, transparent, too large, or of more than 16 bits.
        """
        return self._decoded(content, name)[0]

    def _decoded(self, content: bytes | Path, name: str) -> tuple[Bytes, bool]:
        """Return an image, and whether it is of 16 bits, of which the upper 8 are kept."""
        from PIL import Image, UnidentifiedImageError

        file: IO[bytes] | Path = content if isinstance(content, Path) else io.BytesIO(content)
        allowed = f"one whole image, {', '.join(FORMATS)}, of 8 or 16 bits and without transparent pixels"
        try:
            if isinstance(content, Path):
                check_file(content, IMAGE_BYTES)
            with Image.open(file, formats=FORMATS) as image:
                is_wide = _is_wide(image)
                decoded = _opaque(image).convert("L" if self.channels == 1 else "RGB")
        except UnidentifiedImageError as error:
            raise refused("workload.dataset.path", f"{name}: none of these formats", allowed) from error
        except Exception as error:  # a broken file ends in as many kinds of error as Pillow has readers
            found = f"{name}: {str(error) or type(error).__name__}"
            raise refused("workload.dataset.path", found, allowed) from error
        if self.size is not None:
            decoded = decoded.resize((self.size[1], self.size[0]), Image.Resampling.BILINEAR)
        pixels = np.asarray(decoded, np.uint8).reshape(decoded.height, decoded.width, self.channels)
        return pixels, is_wide

    def decode_all(self, contents: Sequence[bytes | Path], names: Iterable[str]) -> Bytes:
        """Return images as bytes [N, rows, columns, channels].

        Raises:
            ScenarioError: as of `decode`; their sizes differ; or they are of 16 bits that are not used.
        """
        named = list(zip(contents, names, strict=True))
        with ThreadPoolExecutor() as threads:  # Pillow decodes outside of Python's lock
            images = threads.map(lambda one: self._decoded(*one), named)
            first, are_wide = next(images)
            stacked = np.empty((len(named), *first.shape), np.uint8)
            stacked[0] = first
            for place, (image, is_wide) in enumerate(images, start=1):
                are_wide &= is_wide
                if image.shape != first.shape:
                    found = f"{named[place][1]}: an image of {_size(image)}"
                    remedy = "give 'size: [rows, columns]' to a data set of kind huggingface"
                    raise refused("workload.dataset.path", found, f"{_size(first)}, as the first", remedy)
                stacked[place] = image
        if are_wide and len(named) > 1 and stacked.max() < DARK:
            found = f"{len(named)} images of 16 bits, each value of which is below {DARK << 8} of 65,535"
            remedy = "write them so that white is 65,535: of 10 bits, times 64, of 12 bits, times 16"
            raise refused("workload.dataset.path", found, "values that use the 16 bits", remedy)
        return stacked


def _opaque(image: Image.Image) -> Image.Image:
    """Return an opened image in a mode that Pillow turns into grey or colours as it should.

    Of 16 bits the upper 8 are kept, as Pillow does for colours. Pillow itself cuts grey values above
    255 off, and shows the colours hidden behind transparent pixels.

    Raises:
        ValueError: it has no such mode.
    """
    from PIL import Image, ImageOps

    kind = image.format
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"{image.width * image.height} pixels, more than {MOST_PIXELS}")
    if getattr(image, "is_animated", False) and kind != "MPO":  # a JPEG with a preview beside the image
        raise ValueError("several frames or pages")
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        if image.has_transparency_data or (kind == "TIFF" and _tags(image) != ((16,), 1)):
            raise ValueError("grey values that are not 0 (black) to 65,535 (white)")
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ValueError("transparent pixels, which have no colour")
        return image.convert("RGB")
    if image.mode not in ("1", "L", "P", "RGB", "RGBX", "YCbCr", "CMYK"):
        raise ValueError(f"pixels of the mode {image.mode!r}")
    return image


def _is_wide(image: Any) -> bool:
    """Tell whether an opened image has values of 16 bits, grey or colours."""
    return image.mode.startswith("I;16") or any(";16" in repr(tile[3]) for tile in image.tile)


def _tags(image: Any) -> tuple[Any, Any]:
    """Return a TIFF's bits of each sample, and 1 where zero is black."""
    return image.tag_v2.get(258), image.tag_v2.get(262)


@dataclass(frozen=True)
class ImageFolder(NoColumns):
    """A folder of splits of classes of images; classes are numbered in the order of their names."""

    path: Path
    folders: dict[str, Path]
    classes: tuple[str, ...]
    picture: Picture

    @classmethod
    def at(cls, path: Path, picture: Picture) -> ImageFolder | None:
        """Return what lies in a folder, or None where it holds no class of images."""
        if not os.path.isdir(path):
            return None
        named = {split: [path / name for name in names] for split, names in FOLDERS.items()}
        folders = {split: next(filter(os.path.isdir, places), None) for split, places in named.items()}
        known = {split: place for split, place in folders.items() if place is not None}
        if len({absolute(place) for place in known.values()}) < len(known):
            raise unreadable(path, f"one folder as {' and '.join(known)}", "a folder for each split")
        if TRAIN not in known or not any(map(_images, _subfolders(known[TRAIN]))):
            return None
        return cls(path, known, tuple(place.name for place in _subfolders(known[TRAIN])), picture)

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the splits that have a folder."""
        return tuple(self.folders)

    def labels(self, split: str) -> Labels:
        """Return the labels [N]; no image is opened."""
        return np.array([label for _, label in self._files(split)], np.int64)

    def inputs(self, split: str, which: Labels) -> Bytes:
        """Return some images [N, rows, columns, channels]."""
        known = self._files(split)
        files = [known[place][0] for place in which]
        return self.picture.decode_all(files, map(str, files))

    def first(self) -> Path:
        """Return the first image of the training split."""
        return self._files(TRAIN)[0][0]

    def _files(self, split: str) -> list[tuple[Path, int]]:
        """Return every image of a split with its label."""
        found = []
        for place in _subfolders(self.folders[split]):
            if place.name not in self.classes:
                raise unreadable(place, "a class without training images", ", ".join(self.classes))
            found += [(file, self.classes.index(place.name)) for file in _images(place)]
        if not found:
            raise unreadable(self.folders[split], "no image", "a folder for each class, with images in it")
        return found


def _subfolders(path: Path) -> list[Path]:
    return sorted(
        place for place in path.iterdir() if os.path.isdir(place) and not place.name.startswith(".")
    )


def _images(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)


def _size(image: Bytes) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"
