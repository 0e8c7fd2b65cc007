"""Pictures in every mode that files have: the right grey values and colours, or a refusal."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from sflsim.errors import ScenarioError
from sflsim.learning.data.image_folder import Picture
from sflsim.learning.data.images import image_data
from sflsim.registry import datasets as kinds

Grey = npt.NDArray[np.uint8]
GREY: Grey = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
COLOURS: Grey = np.stack([GREY, 255 - GREY, GREY[::-1]], axis=-1)


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png(bits: int, kind: int, rows: list[bytes], width: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of its very parts, for modes that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return content


def wide(values: Grey) -> npt.NDArray[np.uint16]:
    """16 bits for each value: the same brightness, with something below it."""
    return values.astype(np.uint16) * 257


def grey(content: bytes) -> Grey:
    return Picture(1).decode(content, "it")[..., 0]


def colours(content: bytes) -> Grey:
    return Picture(3).decode(content, "it")


def tiff(values: npt.NDArray[Any], **tags: int) -> bytes:
    """Return a TIFF with other tags than Pillow gives it."""
    content = bytearray(saved(Image.fromarray(values), "TIFF"))
    for name, value in tags.items():
        number = {"bits": 258, "zero_is": 262}[name]
        place = content.index(struct.pack("<HHI", number, 3, 1))
        content[place + 8 : place + 10] = struct.pack("<H", value)
    return bytes(content)


SIXTEEN = {
    "PNG": saved(Image.fromarray(wide(GREY))),
    "PNG by hand": png(16, 0, [row.astype(">u2").tobytes() for row in wide(GREY)], 6),
    "TIFF": saved(Image.fromarray(wide(GREY)), "TIFF"),
    "TIFF, other end": saved(Image.fromarray(wide(GREY).astype(">u2")), "TIFF"),
    "PGM": b"P5 6 4 65535\n" + wide(GREY).astype(">u2").tobytes(),
    "TIFF, packed": saved(Image.fromarray(wide(GREY)), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("content", SIXTEEN.values(), ids=SIXTEEN)
def test_sixteen_bits_keep_their_brightness(content: bytes) -> None:
    """The upper 8 of them, in grey and in colours; Pillow's own conversion makes nearly all white."""
    assert np.array_equal(grey(content), GREY)
    assert np.array_equal(colours(content), np.repeat(GREY[..., None], 3, axis=-1))


RGB, L = Image.fromarray(COLOURS), Image.fromarray(GREY)
SOLID = Image.new("L", RGB.size, 255)
EXACT = {
    "RGB": saved(RGB),
    "RGBA, opaque": saved(Image.merge("RGBA", (*RGB.split(), SOLID))),
    "palette": saved(RGB.quantize(256)),
    "palette, opaque": saved(RGB.quantize(256), transparency=b"\xff" * 256),
    "16 bits a colour": png(16, 2, [row.astype(">u2").tobytes() for row in COLOURS * np.uint16(257)], 6),
    "BMP": saved(RGB, "BMP"),
    "GIF": saved(RGB.quantize(256), "GIF"),
    "PPM": saved(RGB, "PPM"),
    "TIFF": saved(RGB, "TIFF"),
    "WebP": saved(RGB, "WEBP", lossless=True),
}


@pytest.mark.parametrize("content", EXACT.values(), ids=EXACT)
def test_colours_are_those_written(content: bytes) -> None:
    """In every mode and format without loss; grey is their luma (ITU-R 601)."""
    luma = np.asarray(RGB.convert("L"))
    assert np.array_equal(colours(content), COLOURS)
    assert np.abs(grey(content).astype(int) - luma).max() <= 1


BITS = np.array([[0, 1, 1, 0, 1, 0, 0, 1], [1, 0, 0, 1, 0, 1, 1, 0]], np.uint8)
FEW = np.arange(16, dtype=np.uint8).reshape(2, 8)
GREYS = {
    "L": (saved(L), GREY),
    "LA, opaque": (saved(Image.merge("LA", (L, SOLID))), GREY),
    "1 bit": (saved(Image.fromarray(BITS * 255).convert("1")), BITS * 255),
    "1 bit TIFF": (saved(Image.fromarray(BITS * 255).convert("1"), "TIFF"), BITS * 255),
    "1 bit PBM": (b"P1 8 2\n1 0 0 1 0 1 1 0 0 1 1 0 1 0 0 1", BITS * 255),
    "2 bits": (png(2, 0, [b"\x1b\x1b"] * 2, 8), np.array([[0, 85, 170, 255] * 2] * 2, np.uint8)),
    "4 bits": (png(4, 0, [b"\x01\x23\x45\x67", b"\x89\xab\xcd\xef"], 8), FEW * 17),
    "1 bit palette": (
        png(1, 3, [np.packbits(row).tobytes() for row in BITS], 8, (b"PLTE", b"\x0a\x0a\x0a\xc8\xc8\xc8")),
        np.where(BITS == 1, 200, 10).astype(np.uint8),
    ),
    "16 bits and opaque": (
        png(16, 4, [b"".join(struct.pack(">HH", v, 65535) for v in row) for row in wide(GREY).tolist()], 6),
        GREY,
    ),
    "PGM of 100": (b"P5 3 1 100\n\x00\x32\x64", np.array([[0, 128, 255]], np.uint8)),
}


@pytest.mark.parametrize(("content", "wanted"), GREYS.values(), ids=GREYS)
def test_grey_values_are_those_written(content: bytes, wanted: Grey) -> None:
    """Black is 0 and white is 255, however many bits say so."""
    assert np.array_equal(grey(content), wanted)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_inks_become_colours(form: str) -> None:
    """CMYK, also as Adobe's programs write it, is about the colour that it was made from."""
    plain = Image.new("RGB", (8, 8), (200, 40, 90))
    found = colours(saved(plain.convert("CMYK"), form))
    assert np.abs(found.astype(int) - [200, 40, 90]).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_stand_upright(form: str, orientation: int) -> None:
    """As the EXIF entry of a camera says: turned and mirrored, rows and columns changed."""
    image = Image.fromarray(np.kron(GREY[:2, :3] * np.uint8(5), np.ones((16, 16), np.uint8))).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    content = saved(image, form, exif=exif, **options)
    turned = image.copy()
    turned.getexif()[0x0112] = orientation
    wanted = np.asarray(ImageOps.exif_transpose(turned))

    found = colours(content)
    assert found.shape == wanted.shape == ((48, 32, 3) if orientation > 4 else (32, 48, 3))
    assert np.abs(found.astype(int) - wanted).max() <= 3


def frames(form: str) -> bytes:
    first, second = (Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (0, 200))
    return saved(first, form, save_all=True, append_images=[second])


CLEAR = Image.fromarray(np.tile(np.array([0, 255] * 3, np.uint8), (4, 1)))
REFUSED = {
    "animated GIF": (frames("GIF"), "several frames"),
    "animated PNG": (frames("PNG"), "several frames"),
    "animated WebP": (frames("WEBP"), "several frames"),
    "TIFF of two pages": (frames("TIFF"), "several frames"),
    "floats": (saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "mode 'F'"),
    "PFM": (b"Pf\n1 1\n-1.0\n" + struct.pack("<f", 0.5), "mode 'F'"),
    "32 bits": (saved(Image.fromarray(GREY.astype(np.int32)), "TIFF"), "mode 'I'"),
    "Lab": (saved(Image.merge("LAB", RGB.split()), "TIFF"), "mode 'LAB'"),
    "16 bits, zero is white": (tiff(wide(GREY), zero_is=0), "0 (black) to 65,535 (white)"),
    "RGBA": (saved(Image.merge("RGBA", (*RGB.split(), CLEAR))), "transparent pixels"),
    "LA": (saved(Image.merge("LA", (L, CLEAR))), "transparent pixels"),
    "palette": (saved(RGB.quantize(256), transparency=0), "transparent pixels"),
    "one colour is clear": (saved(RGB, transparency=tuple(COLOURS[0, 0].tolist())), "transparent pixels"),
    "16 bits, one grey is clear": (
        png(16, 0, [row.astype(">u2").tobytes() for row in wide(GREY)], 6, (b"tRNS", b"\0\0")),
        "0 (black)",
    ),
    "EPS": (saved(RGB, "EPS"), "none of these formats"),
    "PDF": (saved(RGB, "PDF"), "none of these formats"),
    "ICO": (saved(RGB, "ICO"), "none of these formats"),
    "JPEG 2000": (saved(RGB, "JPEG2000"), "none of these formats"),
    "SGI": (saved(RGB, "SGI"), "none of these formats"),
    "TGA": (saved(RGB, "TGA"), "none of these formats"),
    "text": (b"no picture", "none of these formats"),
    "nothing": (b"", "none of these formats"),
    "cut short": (saved(RGB, "BMP")[:-20], "it: "),
    "cut JPEG": (saved(RGB.resize((64, 64)), "JPEG")[:-300], "it: "),
    "a bomb": (png(1, 0, [b"\0" * 1250] * 8000, 10_000), "80000000 pixels"),
    "a large bomb": (png(8, 0, [b"\0"], 2**30), "it: "),
}  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_right_is_refused(content: bytes, words: str, channels: int) -> None:
    """Moving, transparent, of more than 16 bits, too large, damaged, of another format."""
    with pytest.raises(ScenarioError) as caught:
        Picture(channels).decode(content, "it")
    assert words in str(caught.value)


def test_a_preview_beside_a_photo_is_no_second_frame() -> None:
    """Phones write JPEGs with a small picture behind the large one (MPO): the first is the photo."""
    large, small = Image.new("RGB", (16, 16), (200, 40, 90)), Image.new("RGB", (4, 4))
    assert colours(saved(large, "MPO", save_all=True, append_images=[small])).shape == (16, 16, 3)


def test_a_name_does_not_start_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An EPS that is called .png is refused before a program could be asked."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("started"))
    for split, label in (("train", "a"), ("test", "a")):
        (tmp_path / split / label).mkdir(parents=True)
        (tmp_path / split / label / "1.png").write_bytes(saved(RGB, "EPS"))
    dataset = kinds()["huggingface"].model_validate({"kind": "huggingface", "path": str(tmp_path)})
    with pytest.raises(ScenarioError, match=r"1\.png: none of these formats"):
        _ = dataset.sample_shape


def sixteen(values: npt.NDArray[np.uint16], form: str) -> bytes:
    """Return a picture of 16 bits: grey, or colours as PNG's second form has them."""
    if form == "colours":
        rows = [np.repeat(row, 3).astype(">u2").tobytes() for row in values]
        return png(16, 2, rows, values.shape[1])
    return saved(Image.fromarray(values), form)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "colours"])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_pictures_whose_sixteen_bits_are_not_used_are_refused(bits: int, form: str, channels: int) -> None:
    """A camera's 10 bits as they are would be four shades of black; scaled they are read, and so is one."""
    rng = np.random.Generator(np.random.Philox(3))
    raw = [rng.integers(0, 2**bits, (5, 5), np.uint16) for _ in range(4)]
    picture, names = Picture(channels), "abcd"
    with pytest.raises(ScenarioError, match="4 images of 16 bits, each value of which is below 4096"):
        picture.decode_all([sixteen(one, form) for one in raw], names)
    scaled = picture.decode_all([sixteen(one << (16 - bits), form) for one in raw], names)
    wanted = np.stack([one.astype(int) << 8 >> bits for one in raw])
    assert np.abs(scaled.astype(int) - wanted[..., None]).max() <= (1 if channels == 1 else 0)
    assert picture.decode_all([sixteen(raw[0], form)], "a").shape == (1, 5, 5, channels)


def test_dark_pictures_of_eight_bits_are_read_as_they_are() -> None:
    """Masks of 0 and 1, say; and one bright picture of 16 bits shows that the others are dark."""
    masks = [saved(Image.fromarray(np.eye(5, dtype=np.uint8) * value)) for value in (1, 3)]
    assert Picture(1).decode_all(masks, "ab").max() == 3
    bright = [saved(Image.fromarray(np.full((5, 5), value, np.uint16))) for value in (1000, 4096)]
    assert Picture(1).decode_all(bright, "ab").max() == 16


@pytest.mark.parametrize("part", ["training", "held-out"])
@pytest.mark.parametrize("value", [0, 255, 7])
def test_a_set_of_one_colour_is_refused(part: str, value: int) -> None:
    """White, black or grey all over: nothing can be learned, something went wrong in reading or writing."""
    rng = np.random.Generator(np.random.Philox(1))
    good, flat = rng.integers(0, 256, (6, 4, 4, 1), np.uint8), np.full((6, 4, 4, 1), value, np.uint8)
    labels = np.arange(6)
    images = (flat, good) if part == "training" else (good, flat)
    with pytest.raises(ScenarioError, match=f"6 images, each pixel of which is {value}"):
        image_data([images[0], labels, images[1], labels], (1, 4, 4), 6)


def test_a_set_of_sixteen_bit_pictures_is_learned_from_its_values(tmp_path: Path) -> None:
    """The whole way: a folder of 16-bit PNGs gives the bytes that 8-bit PNGs of the same pictures give."""
    rng = np.random.Generator(np.random.Philox(2))
    for split in ("train", "test"):
        for number in range(4):
            values = rng.integers(0, 256, (5, 5), np.uint8)
            for form, pixels in (("eight", values), ("sixteen", wide(values))):
                folder = tmp_path / form / split / ("a", "b")[number % 2]
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{number}.png").write_bytes(saved(Image.fromarray(pixels)))
    eight, sixteen = (
        kinds()["huggingface"]
        .model_validate({"kind": "huggingface", "path": str(tmp_path / form), "channels": 1})
        .read()
        for form in ("eight", "sixteen")
    )
    assert eight.fingerprint == sixteen.fingerprint
