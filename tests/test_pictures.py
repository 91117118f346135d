"""What a picture is and what becomes of it: every row of docs/reference/pictures.md, and more."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps

from img2img.errors import PictureError, UsageError
from img2img.images import (
    Picture,
    Reading,
    encode_format,
    formats,
    from_network,
    guard,
    png,
    read_picture,
    to_network,
    write_picture,
)
from img2img.inference import JobEvent, Naming, PictureEvent, plan, run_jobs
from img2img.runners.base import Runner
from tests import hostile, makers
from tests.conftest import ROOT, Each, info_of, picture, small_generator

DEEP = Reading(deep=True)
Row = tuple[bytes, str, NDArray[Any] | None, NDArray[Any] | None]


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def rgb8() -> Row:
    pixels = noise(9, 7, 3)
    return makers.png(pixels), ".png", pixels, None


def rgba8() -> Row:
    pixels = noise(9, 7, 4)
    pixels[:4, :, 3] = 0  # colours under full transparency stay what they are
    return makers.png(pixels), ".png", pixels[:, :, :3], pixels[:, :, 3]


def palette() -> Row:
    image = picture(30, 20, 6).quantize(16)
    return saved(image, "PNG"), ".png", np.asarray(image.convert("RGB")), None


def palette_transparent() -> Row:
    image = picture(30, 20, 6).quantize(16)
    alpha = bytes(range(0, 256, 16))
    colours, index = np.asarray(image.convert("RGB")), np.asarray(image)
    return saved(image, "PNG", transparency=alpha), ".png", colours, np.array([*alpha], np.uint8)[index]  # fmt: skip


def colour_key() -> Row:
    pixels = noise(9, 7, 3) // 128 * 255
    key = makers.chunk(b"tRNS", struct.pack(">3H", 255, 0, 255))
    alpha = np.where((pixels == [255, 0, 255]).all(2), 0, 255)
    assert (alpha == 0).any()
    return makers.png(pixels, more=key), ".png", pixels, alpha.astype(np.uint8)


def grey8() -> Row:
    pixels = noise(9, 7, 1)
    return makers.png(pixels), ".png", np.repeat(pixels, 3, 2), None


def grey_alpha8() -> Row:
    pixels = noise(9, 7, 2)
    return makers.png(pixels), ".png", np.repeat(pixels[:, :, :1], 3, 2), pixels[:, :, 1]


def one_bit() -> Row:
    bits = noise(9, 8, 1) > 127
    image = Image.fromarray(bits[:, :, 0])
    return saved(image, "TIFF"), ".tif", np.repeat(bits.astype(np.uint8) * 255, 3, 2), None


def cmyk() -> Row:
    ink = noise(9, 7, 4)
    data = saved(Image.fromarray(ink, "CMYK"), "TIFF")
    wide = 255 - ink.astype(int)
    expected = (wide[:, :, :3] * wide[:, :, 3:] + 127) // 255
    return data, ".tif", expected.astype(np.uint8), None


def cmyk_profile() -> Row:
    ink = np.zeros((4, 4, 4), np.uint8)
    ink[0, :, 0], ink[1, :, 3] = 255, 255  # cyan, black, paper, paper
    data = saved(Image.fromarray(ink, "CMYK"), "TIFF", icc_profile=makers.cmyk_profile())
    # Lab (55, -37, -50) is outside sRGB; its clipped value by the CIE formulas.
    expected = np.full((4, 4, 3), 255, np.uint8)
    expected[0], expected[1] = (0, 147, 220), 0
    return data, ".tif", expected, None


def ycbcr() -> Row:
    source = picture(32, 16, 4)
    data = saved(source.convert("YCbCr"), "TIFF")
    return data, ".tif", np.asarray(source.convert("YCbCr").convert("RGB")), None


def grey16() -> Row:
    samples = noise(9, 7, 1, dtype=np.uint16)
    return makers.png(samples), ".png", np.repeat(samples, 3, 2), None


def grey_alpha16() -> Row:
    samples = noise(9, 7, 2, dtype=np.uint16)
    return makers.png(samples), ".png", np.repeat(samples[:, :, :1], 3, 2), samples[:, :, 1]


def rgb16() -> Row:
    samples = noise(9, 7, 3, dtype=np.uint16)
    return makers.png(samples), ".png", samples, None


def rgba16() -> Row:
    samples = noise(9, 7, 4, dtype=np.uint16)
    return makers.png(samples), ".png", samples[:, :, :3], samples[:, :, 3]


def rgb16_tiff() -> Row:
    samples = noise(9, 7, 3, dtype=np.uint16)
    return makers.tiff(samples), ".tif", samples, None


def rgba16_tiff() -> Row:
    samples = noise(9, 7, 4, dtype=np.uint16)
    return makers.tiff(samples, ">"), ".tif", samples[:, :, :3], samples[:, :, 3]


def grey16_tiff() -> Row:
    samples = noise(9, 7, 1, dtype=np.uint16)
    data = makers.tiff(samples, photometric=0)  # white is zero
    return data, ".tif", np.repeat(65535 - samples, 3, 2), None


def floating() -> Row:
    values = np.random.default_rng(0).random((9, 7, 1), np.float32)
    return makers.tiff(values, format=3), ".tif", None, None


def integers32() -> Row:
    return makers.tiff(noise(9, 7, 1, dtype=np.int32), format=2), ".tif", None, None


def animation() -> Row:
    frames = [picture(20, 20, k).quantize(8) for k in range(3)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    return data, ".gif", np.asarray(frames[0].convert("RGB")), None


def lab() -> Row:
    source = Image.fromarray(80 + np.asarray(picture(30, 20)) // 4)
    image = ImageCms.profileToProfile(
        source, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert image is not None
    return saved(image, "TIFF"), ".tif", np.asarray(source), None


# The first column of the table in docs/reference/pictures.md -> (maker, tolerance).
ROWS: dict[str, tuple[Callable[[], Row], int]] = {
    "RGB": (rgb8, 0),
    "RGB with alpha": (rgba8, 0),
    "palette": (palette, 0),
    "palette with transparency": (palette_transparent, 0),
    "colour key (PNG tRNS)": (colour_key, 0),
    "grey": (grey8, 0),
    "grey with alpha": (grey_alpha8, 0),
    "1 bit": (one_bit, 0),
    "CMYK without a profile": (cmyk, 1),
    "CMYK with a profile": (cmyk_profile, 4),
    "YCbCr TIFF": (ycbcr, 0),
    "grey, 16 bits (PNG)": (grey16, 0),
    "grey with alpha, 16 bits (PNG)": (grey_alpha16, 0),
    "RGB, 16 bits (PNG)": (rgb16, 0),
    "RGB with alpha, 16 bits (PNG)": (rgba16, 0),
    "grey, 16 bits (TIFF)": (grey16_tiff, 0),
    "RGB, 16 bits (TIFF)": (rgb16_tiff, 0),
    "RGB with alpha, 16 bits (TIFF)": (rgba16_tiff, 0),
    "floating point": (floating, 0),
    "32-bit integers": (integers32, 0),
    "CIE Lab": (lab, 3),
    "animation": (animation, 0),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_table(name: str, tmp_path: Path) -> None:
    make, tolerance = ROWS[name]
    data, suffix, colours, alpha = make()
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    if colours is None:
        with pytest.raises(PictureError, match=r"convert|floating|32-bit"):
            read_picture(path)
        return
    read = read_picture(path, DEEP)
    assert read.pixels.dtype == colours.dtype
    assert np.abs(read.pixels.astype(int) - colours.astype(int)).max() <= tolerance
    assert (read.alpha is None) == (alpha is None)
    assert alpha is None or np.array_equal(read.alpha, alpha)
    for format, end in (("PNG", "png"), ("TIFF", "tif")):
        read.format = format
        write_picture(tmp_path / f"out.{end}", read)
        back = read_picture(tmp_path / f"out.{end}", DEEP)
        assert np.array_equal(back.pixels, read.pixels)
        assert alpha is None or np.array_equal(back.alpha, alpha)
    shallow = read_picture(path)
    if colours.dtype == np.uint16:
        assert "16 bits reduced to 8" in shallow.notes
        colours = np.rint(colours / 257.0)
    assert shallow.pixels.dtype == np.uint8
    assert np.abs(shallow.pixels.astype(int) - colours.astype(int)).max() <= tolerance


def test_the_table_is_that_of_the_document() -> None:
    text = (ROOT / "docs" / "reference" / "pictures.md").read_text(encoding="utf-8")
    table = text.split("| in the file |")[1].split("\n\n")[0].splitlines()[2:]
    assert [line.split("|")[1].strip() for line in table] == list(ROWS)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (17, 9), (8, 8)])
def test_sixteen_bits_interlaced(channels: int, size: tuple[int, int], tmp_path: Path) -> None:
    samples = noise(*size, channels, dtype=np.uint16, seed=channels)
    (tmp_path / "x.png").write_bytes(makers.png(samples, interlaced=True))
    read = read_picture(tmp_path / "x.png", DEEP)
    colours = samples[:, :, :3] if channels > 2 else np.repeat(samples[:, :, :1], 3, 2)
    assert np.array_equal(read.pixels, colours)
    assert channels % 2 or np.array_equal(read.alpha, samples[:, :, -1])


def test_a_colour_key_of_sixteen_bits_is_compared_in_sixteen(tmp_path: Path) -> None:
    samples = np.array([[[1000, 2000, 3000], [1000, 2000, 3001]]], np.uint16)
    key = makers.chunk(b"tRNS", struct.pack(">3H", 1000, 2000, 3000))
    (tmp_path / "x.png").write_bytes(makers.png(samples, more=key))
    read = read_picture(tmp_path / "x.png", DEEP)
    assert read.alpha is not None and read.alpha.tolist() == [[0, 65535]]


class Echo(Runner):
    """A network that gives back what it gets."""

    def __init__(self, channels: int = 3) -> None:
        generator = small_generator(in_channels=channels, out_channels=channels)
        self.info = info_of(generator)
        self.seen: list[NDArray[Any]] = []

    def _infer(self, x: Any, domain: Any) -> Any:
        self.seen.append(x)
        return x

    def _release(self) -> None:
        self.seen.clear()


def test_all_65536_levels_pass_through_the_value_range() -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, 2)
    assert np.array_equal(Echo()(levels), levels)
    values = to_network(np.array([0.0, 255.0]))
    assert values.tolist() == [-1, 1]
    assert from_network(np.array([-2.0, 2.0, 1 / 65535]), bits=16).tolist() == [0, 65535, 32768]
    small = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    assert np.array_equal(Echo()(small), small)


def test_sixteen_bits_in_sixteen_bits_out_where_the_format_can(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    samples = noise(12, 10, 4, dtype=np.uint16)
    (folder / "a.png").write_bytes(makers.png(samples))
    (folder / "b.tif").write_bytes(makers.tiff(samples))
    assert run_jobs(plan([folder], tmp_path / "out"), Each(Echo())).done == 2
    for name in ("a.png", "b.tif"):
        back = read_picture(tmp_path / "out" / name, DEEP)
        assert np.array_equal(back.pixels, samples[:, :, :3])
        assert np.array_equal(back.alpha, samples[:, :, 3])
    events: list[JobEvent] = []
    jobs = plan([folder / "a.png"], tmp_path / "eight", Naming(".webp"))
    run_jobs(jobs, Each(Echo()), listen=events.append)
    assert isinstance(events[0], PictureEvent) and events[0].notes == ("16 bits reduced to 8",)


def test_models_of_one_channel_write_grey(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    grey = picture(30, 20, 1).convert("L")
    for suffix in ("png", "jpg", "tif", "bmp", "webp"):
        grey.save(folder / f"{suffix}.{suffix}")
    assert run_jobs(plan([folder], tmp_path / "out"), Each(Echo(1))).done == 5
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as image:
            assert image.mode == ("RGB" if path.suffix == ".webp" else "L")
            assert np.abs(np.asarray(image.convert("L")).astype(int) - np.asarray(grey)).mean() < 3


def _adobe_to_srgb(values: NDArray[Any]) -> NDArray[Any]:
    """By the definitions: Adobe RGB (1998) and IEC 61966-2-1, through XYZ (D50)."""
    linear = (values**makers.ADOBE_GAMMA) @ makers.ADOBE.T
    to_srgb = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540],
         [0.0719453, -0.2289914, 1.4052427]]
    )  # fmt: skip
    rgb = np.clip(linear @ to_srgb.T, 0, 1)
    return np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)


def test_a_wide_profile_is_converted_in_8_and_in_16_bits(tmp_path: Path) -> None:
    samples = noise(40, 40, 3, dtype=np.uint16, seed=3)
    profile = makers.adobe_rgb()
    packed = makers.chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))
    (tmp_path / "deep.png").write_bytes(makers.png(samples, more=packed))
    eight = ((samples.astype(int) + 128) // 257).astype(np.uint8)
    (tmp_path / "eight.png").write_bytes(makers.png(eight, more=packed))
    deep, plain = (read_picture(tmp_path / n, DEEP) for n in ("deep.png", "eight.png"))
    assert deep.icc and plain.icc and not deep.notes and not plain.notes
    expected = _adobe_to_srgb(samples / 65535)
    assert np.abs(deep.pixels / 65535 - expected).max() < 0.005
    # The same colours by LittleCMS in 8 bits.
    (tmp_path / "same.png").write_bytes(makers.png(eight.astype(np.uint16) * 257, more=packed))
    same = read_picture(tmp_path / "same.png")
    assert np.abs(same.pixels.astype(int) - plain.pixels.astype(int)).max() <= 2
    assert np.abs(eight.astype(int) - plain.pixels.astype(int)).max() > 20  # it does something
    write_picture(tmp_path / "out.jpg", Picture(plain.pixels, icc=plain.icc, format="JPEG"))
    with Image.open(tmp_path / "out.jpg") as image:
        tag = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(tag)


def test_grey_profiles_of_8_and_16_bits_agree(tmp_path: Path) -> None:
    samples = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16, 1)
    packed = makers.chunk(b"iCCP", b"x\0\0" + zlib.compress(makers.grey_profile(1.0)))
    (tmp_path / "deep.png").write_bytes(makers.png(samples, more=packed))
    (tmp_path / "8.png").write_bytes(makers.png((samples // 257).astype(np.uint8), more=packed))
    deep, plain = (read_picture(tmp_path / n, DEEP) for n in ("deep.png", "8.png"))
    x = samples[:, :, 0] / 65535
    expected = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    assert np.abs(deep.pixels[:, :, 0] / 65535 - expected).max() < 1e-4
    assert np.abs(plain.pixels[:, :, 0] / 255 - expected).max() < 0.012


def test_profiles_that_say_srgb_change_no_pixel(tmp_path: Path) -> None:
    source = picture(40, 30, 2)
    source.save(tmp_path / "x.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())  # fmt: skip
    read = read_picture(tmp_path / "x.png")
    assert np.array_equal(read.pixels, np.asarray(source)) and read.icc


@pytest.mark.parametrize("broken", [b"nonsense", bytes(200), makers.cmyk_profile(), makers.adobe_rgb()[:200]])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_broken_profile_counts_as_srgb_and_is_reported(
    broken: bytes, dtype: type, tmp_path: Path
) -> None:
    samples = noise(6, 5, 3, dtype=dtype)
    packed = makers.chunk(b"iCCP", b"x\0\0" + zlib.compress(broken))
    (tmp_path / "x.png").write_bytes(makers.png(samples, more=packed))
    read = read_picture(tmp_path / "x.png", DEEP)
    assert np.array_equal(read.pixels, samples) and not read.icc
    assert any("colour profile ignored, taken as sRGB" in note for note in read.notes)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF", "AVIF"])
def test_upright_in_every_format(format: str, orientation: int, tmp_path: Path) -> None:
    if format == "AVIF" and not formats.has_avif():
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{ {'JPEG': 'jpg', 'TIFF': 'tif'}.get(format, format.lower()) }"
    picture(40, 24, 5).save(path, format=format, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    read = read_picture(path)
    assert np.array_equal(read.pixels, expected)
    read.format = "PNG"
    write_picture(tmp_path / "out.png", read)
    assert np.array_equal(read_picture(tmp_path / "out.png").pixels, expected)


@pytest.mark.parametrize("value", [b"\0\x63", b"\0\0"])
def test_an_odd_orientation_leaves_the_picture_as_it_is(value: bytes, tmp_path: Path) -> None:
    entry = b"\x01\x12\0\x03\0\0\0\x01" + value + b"\0\0"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)
    picture(8, 6, 1).save(tmp_path / "x.png", exif=exif)
    read = read_picture(tmp_path / "x.png")
    assert read.pixels.shape == (6, 8, 3)
    assert read.notes == (
        ["EXIF orientation '99' unknown, so not rotated"] if value == b"\0\x63" else []
    )


def test_exif_that_breaks_the_rotation_is_dropped_and_said(tmp_path: Path) -> None:
    # Orientation, and a Make that claims to be a rational: it reads well and cannot be written.
    entries = b"\x01\x0f\0\x0a\0\0\0\x01\0\0\0\x26" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + entries + bytes(4) + bytes(8)
    data = saved(picture(8, 6, 1), "JPEG", exif=exif)
    (tmp_path / "x.jpg").write_bytes(data)
    with Image.open(tmp_path / "x.jpg") as image, pytest.raises(Exception, match=r".") as caught:
        ImageOps.exif_transpose(image)
    assert not isinstance(caught.value, OSError)
    read = read_picture(tmp_path / "x.jpg")
    assert read.pixels.shape == (8, 6, 3) and read.exif == b""  # upright: that much is readable
    assert any(note.startswith("EXIF unreadable and dropped") for note in read.notes)


XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 tiff:Orientation="6" exif:GPSLatitude="52,31.2N" exif:PixelXDimension="40">
<exif:PixelYDimension>24</exif:PixelYDimension><exif:GPSLongitude>13,24E</exif:GPSLongitude>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
METADATA = ["JPEG", "PNG", "WEBP", "TIFF", *(["AVIF"] if formats.has_avif() else [])]


def described(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0131] = 6, "Maker", "Camera 1.0"
    inner, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    inner[0xA002], inner[0xA003], inner[0x829A] = 40, 24, 0.5
    place[1], place[2] = "N", (52.0, 31.0, 12.0)
    picture(40, 24, 5).save(path, exif=exif, xmp=XMP, dpi=(72, 72))


@pytest.mark.parametrize("format", METADATA)
def test_metadata_is_kept_corrected_and_names_the_model(format: str, tmp_path: Path) -> None:
    described(tmp_path / "x.jpg")
    read = read_picture(tmp_path / "x.jpg")
    read.format, read.software = format, "img2img 0.1.0, model test"
    write_picture(tmp_path / "out", read)
    with Image.open(tmp_path / "out") as image:
        exif, xmp = image.getexif(), image.info.get("xmp")
        inner, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        assert (exif.get(0x0112), exif[0x010F]) == (1, "Maker")
        assert exif[0x0131] == "img2img 0.1.0, model test"
        assert (inner[0xA002], inner[0xA003], float(inner[0x829A])) == (24, 40, 0.5)
        assert place[1] == "N" and [float(v) for v in place[2]] == [52, 31, 12]
        assert image.size == (24, 40)
        if format != "AVIF" and format != "WEBP":
            assert [round(v) for v in image.info["dpi"]] == [72, 72]
        if format == "PNG":
            assert image.info["Software"] == "img2img 0.1.0, model test"
    assert isinstance(xmp, bytes)
    for part in (b'tiff:Orientation="1"', b'PixelXDimension="24"', b">40</exif:PixelYDim",
                 b'xmp:CreatorTool="img2img 0.1.0, model test"', b"GPSLatitude"):  # fmt: skip
        assert part in xmp
    import xml.etree.ElementTree as ElementTree

    ElementTree.fromstring(re.sub(rb"<\?xpacket.*?\?>", b"", xmp))


@pytest.mark.parametrize("format", METADATA)
def test_the_place_alone_or_all_metadata_can_be_left_out(format: str, tmp_path: Path) -> None:
    described(tmp_path / "x.jpg")
    for choice in ("no-gps", "strip"):
        read = read_picture(tmp_path / "x.jpg", Reading(metadata=choice))  # type: ignore[arg-type]
        assert read.pixels.shape == (40, 24, 3)
        read.format = format
        write_picture(tmp_path / "out", read)
        data = (tmp_path / "out").read_bytes()
        with Image.open(tmp_path / "out") as image:
            exif = image.getexif()
            assert 0x8825 not in exif and b"GPS" not in data
            assert exif.get(0x010F) == ("Maker" if choice == "no-gps" else None)
            assert bool(image.info.get("xmp")) == (choice == "no-gps")


def test_the_old_thumbnail_is_left_behind(tmp_path: Path) -> None:
    described(tmp_path / "x.jpg")
    data = (tmp_path / "x.jpg").read_bytes()
    start = data.index(b"Exif\0\0")
    (length,) = struct.unpack_from(">H", data, start - 2)
    tiff = bytearray(data[start + 6 : start - 2 + length])
    order = ">" if tiff[:2] == b"MM" else "<"
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, first)
    small = saved(picture(16, 12, 9), "JPEG")
    struct.pack_into(order + "I", tiff, first + 2 + 12 * count, len(tiff))
    place = len(tiff) + 2 + 24 + 4
    tiff += struct.pack(order + "HHHII", 2, 0x0201, 4, 1, place)
    tiff += struct.pack(order + "HHII", 0x0202, 4, 1, len(small)) + bytes(4) + small
    body = b"Exif\0\0" + bytes(tiff)
    data = data[: start - 2] + struct.pack(">H", len(body) + 2) + body + data[start - 2 + length :]
    (tmp_path / "x.jpg").write_bytes(data)
    assert data.count(b"\xff\xd8\xff") == 2
    assert guard.count_scans(data) == 1  # the thumbnail's scan is not one of the picture
    read = read_picture(tmp_path / "x.jpg")
    read.format = "JPEG"
    write_picture(tmp_path / "out.jpg", read)
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.getexif()[0x010F] == "Maker"
    assert (tmp_path / "out.jpg").read_bytes().count(b"\xff\xd8\xff") == 1


def test_alpha_in_a_format_without_is_laid_on_white_and_said(tmp_path: Path) -> None:
    pixels, alpha = noise(8, 8, 3), noise(8, 8, seed=1)
    read = Picture(pixels, alpha, format="BMP")
    write_picture(tmp_path / "x.bmp", read)
    cover = alpha[:, :, None] / 255
    expected = pixels * cover + 255 * (1 - cover)
    with Image.open(tmp_path / "x.bmp") as image:
        assert np.abs(np.asarray(image) - expected).max() <= 0.51
    assert read.notes == ["BMP has no transparency; placed on white"]


def test_sixteen_bits_in_a_format_of_eight_are_rounded_and_said(tmp_path: Path) -> None:
    pixels, alpha = noise(8, 8, 3, dtype=np.uint16), noise(8, 8, dtype=np.uint16, seed=1)
    read = Picture(pixels, alpha, format="BMP")
    write_picture(tmp_path / "x.bmp", read)
    cover = alpha[:, :, None] / 65535
    expected = (pixels * cover + 65535 * (1 - cover)) / 257
    with Image.open(tmp_path / "x.bmp") as image:
        assert np.abs(np.asarray(image) - expected).max() < 2
    assert read.notes == ["16 bits reduced to 8", "BMP has no transparency; placed on white"]


def test_a_model_of_8_bits_keeps_an_alpha_of_16(tmp_path: Path) -> None:
    alpha = noise(8, 8, dtype=np.uint16)
    write_picture(tmp_path / "x.png", Picture(noise(8, 8, 3), alpha))
    back = read_picture(tmp_path / "x.png", DEEP)
    assert back.pixels.dtype == np.uint8 and back.alpha is not None
    assert np.abs(back.alpha - alpha / 257).max() <= 0.5


@pytest.mark.parametrize("value", ["much", (0, 1), (72,), None, (float("nan"), 1)])
def test_an_odd_resolution_loses_no_picture(
    value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(file: Any) -> Image.Image:
        image = Image.open(file)
        image.info["dpi"] = value
        return image

    monkeypatch.setitem(formats.OPENERS, "JPEG", opened)
    picture(8, 6, 1).save(tmp_path / "x.jpg")
    read = read_picture(tmp_path / "x.jpg")
    assert read.pixels.shape == (6, 8, 3) and read.dpi is None


def test_premultiplied_alpha_is_undone(tmp_path: Path) -> None:
    samples = np.array([[[100, 50, 25, 128], [0, 0, 0, 0]]], np.uint8)
    data = bytearray(makers.tiff(samples))
    place = data.index(struct.pack("<HHIH", 338, 3, 1, 2))
    data[place + 8] = 1  # associated
    (tmp_path / "x.tif").write_bytes(data)
    read = read_picture(tmp_path / "x.tif")
    assert np.abs(read.pixels[0, 0].astype(int) - [199, 100, 50]).max() <= 1
    assert read.alpha is not None and read.alpha.tolist() == [[128, 0]]


@pytest.mark.skipif(not formats.has_avif(), reason="this Pillow has no AVIF")
def test_avif_is_read_and_written(tmp_path: Path) -> None:
    source = picture(40, 30, 3)
    source.putalpha(Image.linear_gradient("L").resize((40, 30)))
    source.save(tmp_path / "x.avif", quality=100)
    read = read_picture(tmp_path / "x.avif")
    assert read.format == "AVIF" and read.alpha is not None
    write_picture(tmp_path / "y.avif", read)
    again = read_picture(tmp_path / "y.avif")
    assert np.abs(again.pixels.astype(int) - np.asarray(source)[:, :, :3].astype(int)).mean() < 3
    sizes = []
    for quality in (30, 95):
        write_picture(tmp_path / "q.avif", read, quality)
        sizes.append((tmp_path / "q.avif").stat().st_size)
    assert sizes[0] < sizes[1]


def test_without_avif_that_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.avif").write_bytes(b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + bytes(40))
    with pytest.raises(PictureError, match="cannot be decoded"):
        read_picture(tmp_path / "x.avif")
    monkeypatch.setattr(formats, "has_avif", lambda: False)
    with pytest.raises(PictureError, match="built without AVIF"):
        read_picture(tmp_path / "x.avif")
    with pytest.raises(UsageError, match="built without AVIF"):
        encode_format("avif")
    assert plan([tmp_path / "x.avif"], tmp_path / "out")[0].target.name == "x.png"


def test_heic_is_read_and_becomes_png(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    folder = tmp_path / "in"
    folder.mkdir()
    source = picture(64, 48, 3)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    heif.from_pillow(source).save(folder / "x.HEIC", quality=95, exif=exif.tobytes())
    read = read_picture(folder / "x.HEIC")
    assert read.format == "HEIC" and read.notes == []
    assert np.abs(read.pixels.astype(int) - np.asarray(source).astype(int)).mean() < 4
    assert run_jobs(plan([folder], tmp_path / "out"), Each(Echo())).done == 1
    with Image.open(tmp_path / "out" / "x.png") as image:
        assert image.getexif()[0x010F] == "Maker"


def test_without_the_extra_heic_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PictureError, match=r"x\.heic: HEIC needs .*install .*\[heic\]"):
        read_picture(tmp_path / "x.heic")


def test_the_content_decides_and_the_suffix_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    source = picture(20, 10, 1)
    source.save(folder / "really.JPG", format="PNG")
    read = read_picture(folder / "really.JPG")
    assert np.array_equal(read.pixels, np.asarray(source))
    assert (read.format, read.notes) == ("PNG", ["a PNG despite its name"])
    assert run_jobs(plan([folder], tmp_path / "out"), Each(Echo())).done == 1
    with Image.open(tmp_path / "out" / "really.JPG") as image:
        assert image.format == "JPEG"


def test_other_formats_than_ours_are_never_tried(tmp_path: Path) -> None:
    # Image.open would hand this one to Ghostscript.
    (tmp_path / "x.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    )
    with pytest.raises(PictureError, match="not a picture"):
        read_picture(tmp_path / "x.png")


@pytest.mark.parametrize("scans", [99, 100, 101, 1000])
def test_scans_are_counted_before_decoding(scans: int, tmp_path: Path) -> None:
    trial = hostile.scan_bomb(np.random.default_rng(0), scans)
    assert guard.count_scans(trial.data) == scans
    (tmp_path / "x.jpg").write_bytes(trial.data)
    if scans > 100:
        with pytest.raises(PictureError, match=f"a JPEG of {scans} scans; more than 100"):
            read_picture(tmp_path / "x.jpg", Reading(salvage=True))
    else:
        assert read_picture(tmp_path / "x.jpg").pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_rows": 1}, {}])
def test_scans_of_ordinary_photographs(options: dict[str, Any]) -> None:
    data = saved(picture(64, 64, 2), "JPEG", quality=100, **options)
    assert guard.count_scans(data) == data.count(b"\xff\xda")


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_salvage_of_a_jpeg_says_what_pillow_would_decode(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(Image.fromarray(noise(64, 64, 3)), "JPEG", **options)
    (tmp_path / "x.jpg").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(PictureError, match="truncated"):
        read_picture(tmp_path / "x.jpg")
    read = read_picture(tmp_path / "x.jpg", Reading(salvage=True))
    assert read.salvaged and read.notes[-1].startswith("salvaged from a damaged file: ")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with Image.open(tmp_path / "x.jpg") as image:
        assert np.array_equal(read.pixels, np.asarray(image))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_salvage_of_a_png_keeps_the_rows_that_are_there(dtype: type, tmp_path: Path) -> None:
    samples = noise(64, 64, 3, dtype=dtype)
    data = makers.png(samples)
    (tmp_path / "x.png").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(PictureError, match="truncated"):
        read_picture(tmp_path / "x.png")
    read = read_picture(tmp_path / "x.png", Reading(deep=True, salvage=True))
    assert read.salvaged and np.array_equal(read.pixels[:38], samples[:38])


def test_a_png_cut_after_its_pixels_is_not_whole(tmp_path: Path) -> None:
    data = makers.png(noise(5, 5, 3))
    (tmp_path / "x.png").write_bytes(data[:-12])
    with pytest.raises(PictureError, match="the PNG has no end"):
        read_picture(tmp_path / "x.png")
    assert read_picture(tmp_path / "x.png", Reading(salvage=True)).salvaged


@pytest.mark.parametrize("size", [(1, 1), (1, 60000), (60000, 1), (33, 17)])
def test_odd_sizes_come_out_as_they_went_in(size: tuple[int, int], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    written = ("png", "jpg", "tif", "bmp")
    for suffix in written:
        picture(*size, 3).save(folder / f"{suffix}.{suffix}")
    assert run_jobs(plan([folder], tmp_path / "out"), Each(Echo())).done == len(written)
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as image:
            assert image.size == size


def test_a_side_too_long_for_a_format_is_reported(tmp_path: Path) -> None:
    tall = Picture(np.zeros((20000, 1, 3), np.uint8), format="WEBP")
    with pytest.raises(
        PictureError, match=r"at most 16383 pixels per side, not 1x20000; use `format`"
    ):
        write_picture(tmp_path / "x.webp", tall)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (40, 23)])
@pytest.mark.parametrize("smooth", [False, True])
def test_our_png_is_read_by_pillow(
    channels: int, size: tuple[int, int], smooth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = noise(*size, channels)
    if smooth:
        samples = np.cumsum(samples % 3, axis=1, dtype=np.uint8)  # where `sub` is the better filter
    monkeypatch.setattr(png, "_BLOCK", 200)  # several blocks even so
    buffer = io.BytesIO()
    png.write_png(buffer, samples)
    with Image.open(buffer) as image:
        assert np.array_equal(np.asarray(image).reshape(samples.shape), samples)


def test_both_filters_are_chosen() -> None:
    across = np.cumsum(noise(50, 50, 3) % 3, axis=1, dtype=np.uint8)
    assert png._better_filter(across.reshape(50, -1), 3) == png._SUB
    down = np.cumsum(noise(50, 50, 3) % 3, axis=0, dtype=np.uint8)
    assert png._better_filter(down.reshape(50, -1), 3) == png._UP


def test_jpeg_is_written_without_subsampling_from_quality_90(tmp_path: Path) -> None:
    read = Picture(noise(32, 32, 3), format="JPEG")
    for quality, sampling in ((95, 0), (90, 0), (80, 2)):
        write_picture(tmp_path / "x.jpg", read, quality)
        with Image.open(tmp_path / "x.jpg") as image:
            from PIL.JpegImagePlugin import get_sampling

            assert get_sampling(image) == sampling


@pytest.mark.filterwarnings("ignore")
def test_hostile_pictures_a_few(tmp_path: Path) -> None:
    wrong = {}
    for number, trial in enumerate(hostile.trials(150, seed=0)):
        said = hostile.attempt(trial, tmp_path)
        if said:
            wrong[number] = (trial.kind, said)
    assert wrong == {}


def test_the_hostile_harness_finds_what_is_planted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    good = hostile.good(rng)
    swapped = hostile.Trial("good", good.name, good.data[:20], "good")
    assert "refused" in hostile.attempt(swapped, tmp_path)
    assert "accepted" in hostile.attempt(hostile.Trial("x", good.name, good.data, "bad"), tmp_path)
    other = hostile.Trial("x", "a.png", makers.png(noise(9, 9, 3)), "either", makers.png(noise(9, 9, 3, seed=1)))  # fmt: skip
    assert "in part" in hostile.attempt(other, tmp_path)


def test_the_options_of_the_command(cli: Any, onnx_file: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    described(tmp_path / "in" / "a.jpg")
    whole = (tmp_path / "in" / "a.jpg").read_bytes()
    (tmp_path / "in" / "b.jpg").write_bytes(whole[:-60])
    picture(60, 40, 1).save(tmp_path / "in" / "c.png")
    done = cli(
        "translate", "in", "-o", "out", "-m", onnx_file, "--strip-gps", "--salvage", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert '"salvaged": true' in done.stdout and done.stdout.count('"salvaged"') == 1
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        exif = image.getexif()
        assert exif[0x0131].startswith("img2img 0") and exif[0x0131].endswith("model test")
        assert 0x8825 not in exif
    done = cli("translate", "in", "-o", "two", "-m", onnx_file, "--strip-metadata")
    assert done.returncode == 1 and "b.jpg: cannot be decoded: " in done.stderr
    with Image.open(tmp_path / "two" / "a.jpg") as image:
        assert not image.getexif() and "xmp" not in image.info
    done = cli("translate", "in", "-o", "three", "-m", onnx_file, "--max-megapixels", "0.001")
    assert done.returncode == 1 and "more than the limit of 0.001 megapixels" in done.stderr


def test_reading_changes_nothing_of_pillow_for_the_process() -> None:
    program = (
        "from PIL import Image, ImageFile; before = (Image.MAX_IMAGE_PIXELS, dict(Image.OPEN));"
        "import img2img.images;"
        "assert Image.MAX_IMAGE_PIXELS == before[0] and not ImageFile.LOAD_TRUNCATED_IMAGES"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        __import__("img2img.images")
