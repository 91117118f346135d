"""A file becomes pixels and pixels become a file."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from img2img import images
from img2img.errors import EnvironmentFault, PictureError, UsageError
from img2img.images import (
    Picture,
    Reading,
    from_network,
    guard,
    read_picture,
    to_network,
    write_picture,
)
from img2img.system import memory
from tests import makers
from tests.conftest import picture


def test_the_value_range_round_trips_exactly() -> None:
    levels = np.arange(256, dtype=np.uint8)
    values = to_network(levels.astype(np.float32))
    assert (values.min(), values.max()) == (-1, 1)
    assert np.array_equal(from_network(values), levels)
    assert from_network(np.array([-3.0, 3.0, 0.0039])).tolist() == [0, 255, 128]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_by_exif_and_written_upright(tmp_path: Path, orientation: int) -> None:
    source = picture(40, 24, 5)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003] = 40, 24
    source.save(tmp_path / "in.png", exif=exif)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    upright = source.transpose(undo[orientation]) if orientation > 1 else source
    read = read_picture(tmp_path / "in.png")
    assert np.array_equal(read.pixels, np.asarray(upright))
    write_picture(tmp_path / "out.png", read)
    with Image.open(tmp_path / "out.png") as back:
        written = back.getexif()
        assert np.array_equal(np.asarray(back), np.asarray(upright))
        assert (written.get(0x0112), written[0x010F]) == (1, "Maker")
        inner = written.get_ifd(0x8769)
        assert (inner[0xA002], inner[0xA003]) == upright.size


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "CMYK", "RGB", "YCbCr"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    source = picture(30, 20, 6).convert(mode)
    suffix = ".tif" if mode in ("CMYK", "YCbCr") else ".png"
    source.save(tmp_path / f"in{suffix}")
    read = read_picture(tmp_path / f"in{suffix}")
    assert read.pixels.shape == (20, 30, 3) and read.pixels.dtype == np.uint8
    difference = np.abs(read.pixels.astype(int) - np.asarray(source.convert("RGB")).astype(int))
    assert difference.max() == 0


def test_alpha_goes_round_the_network(tmp_path: Path) -> None:
    source = picture(30, 20, 6)
    source.putalpha(Image.linear_gradient("L").resize((30, 20)))
    source.save(tmp_path / "in.png")
    read = read_picture(tmp_path / "in.png")
    assert read.alpha is not None
    for format, suffix in (("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif")):
        read.format = format
        write_picture(tmp_path / f"out.{suffix}", read)
        with Image.open(tmp_path / f"out.{suffix}") as back:
            assert np.array_equal(np.asarray(back.getchannel("A")), read.alpha)
    read.format = "JPEG"
    write_picture(tmp_path / "out.jpg", read)
    with Image.open(tmp_path / "out.jpg") as back:
        assert back.mode == "RGB"


def test_sixteen_bit_grey_keeps_its_tones(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "in.png")
    read = read_picture(tmp_path / "in.png")
    assert np.abs(read.pixels[:, :, 0].reshape(-1).astype(int) - np.arange(256)).max() <= 1
    assert read.notes == ["16 bits reduced to 8"]


def test_float_pictures_are_refused_not_spoilt(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).random((8, 8), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(PictureError, match="floating point"):
        read_picture(tmp_path / "f.tif")


def test_a_colour_profile_is_converted_and_the_output_tagged(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    srgb = lab.tobytes()
    picture(20, 20, 1).save(tmp_path / "in.jpg", icc_profile=srgb, quality=95)
    read = read_picture(tmp_path / "in.jpg")
    assert read.icc
    write_picture(tmp_path / "out.png", Picture(read.pixels, icc=True))
    with Image.open(tmp_path / "out.png") as back:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(back.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK", "P", "1"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_tiff_round_trip(tmp_path: Path, mode: str, compression: str) -> None:
    exif = Image.Exif()
    for described in (False, True):
        if described:
            exif[0x010F] = "Maker"
        picture(30, 20, 6).convert(mode).save(
            tmp_path / "in.tif", compression=compression, dpi=(300, 300), exif=exif
        )
        read = read_picture(tmp_path / "in.tif")
        write_picture(tmp_path / "out.tif", read)
        with Image.open(tmp_path / "out.tif") as back:
            assert np.array_equal(np.asarray(back.convert("RGB")), read.pixels)
            assert back.getexif().get(0x010F) == ("Maker" if described else None)


def test_exif_of_a_photograph_goes_into_every_format(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x829A] = 0.5
    picture(30, 20, 6).save(tmp_path / "in.jpg", exif=exif)
    read = read_picture(tmp_path / "in.jpg")
    for name, (format, suffix) in images.FORMATS.items():
        read.format = format
        write_picture(tmp_path / f"{name}{suffix}", read)
        with Image.open(tmp_path / f"{name}{suffix}") as back:
            assert format == "BMP" or back.getexif()[0x010F] == "Maker"


def test_first_frame_of_an_animation_and_said_so(tmp_path: Path) -> None:
    frames = [picture(20, 20, k) for k in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    read = read_picture(tmp_path / "a.gif")
    assert read.notes == ["first of several frames"]
    with Image.open(tmp_path / "a.gif") as image:
        assert np.array_equal(read.pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"hello", "not a picture"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "decoded"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(PictureError, match=reason) as caught:
        read_picture(tmp_path / "x.jpg")
    assert str(tmp_path / "x.jpg") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["jpg", "png", "webp", "tiff", "gif", "bmp"])
def test_truncated_pictures_are_refused(tmp_path: Path, format: str) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    Image.fromarray(noise).save(buffer, format={"jpg": "JPEG"}.get(format, format))
    (tmp_path / f"x.{format}").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(PictureError):
        read_picture(tmp_path / f"x.{format}")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PictureError, match="not a regular file"):
        read_picture(tmp_path / "folder.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(PictureError, match="not a regular file"):
            read_picture(tmp_path / "pipe.png")


def test_huge_pictures_are_refused_before_decoding(tmp_path: Path) -> None:
    picture(100, 100).save(tmp_path / "x.png")
    with pytest.raises(PictureError, match=r"100x100 is more than the limit of 0\.009999 mega"):
        read_picture(tmp_path / "x.png", Reading(max_pixels=9_999))
    assert read_picture(tmp_path / "x.png", Reading(max_pixels=10_000)).pixels.shape[0] == 100


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.png"
    target.write_bytes(b"old")
    with pytest.raises(PictureError, match="not written"):
        write_picture(target, Picture(np.zeros((4, 4, 3), np.uint8), format="NOSUCH"))
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.png"]


@pytest.mark.skipif(os.name != "posix", reason="limits of the file size are set the POSIX way")
def test_a_full_disk_is_reported_in_words(tmp_path: Path) -> None:
    import resource
    import signal

    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        with pytest.raises(EnvironmentFault, match="disk full"):
            write_picture(tmp_path / "x.png", Picture(noise))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


def test_written_files_obey_the_umask(tmp_path: Path) -> None:
    write_picture(tmp_path / "x.png", Picture(np.zeros((4, 4, 3), np.uint8)))
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "x.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_find_pictures_is_sorted_and_skips_the_hidden_and_the_linked(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", ".hidden.png", "c.txt", "sub/z.webp", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    if os.name == "posix":
        os.symlink(tmp_path, tmp_path / "loop")
    names = [str(p.relative_to(tmp_path)) for p in images.find_pictures(tmp_path)]
    assert names == ["a.png", "b.JPG", os.path.join("sub", "z.webp")]


def test_unknown_formats_are_answered_with_the_known() -> None:
    with pytest.raises(UsageError, match="Did you mean 'jpg'"):
        images.encode_format("jgp")


def gif_that_claims(width: int, height: int) -> bytes:
    """A GIF of 100-odd bytes, legal, of one colour and of any size."""
    file = io.BytesIO()
    Image.new("P", (8, 8)).save(file, "GIF")
    data = bytearray(file.getvalue())
    place = data.index(b"\x2c\0\0\0\0")  # the descriptor of the only frame
    for start in (6, place + 5):
        data[start : start + 4] = struct.pack("<HH", width, height)
    return bytes(data)


def test_the_limit_follows_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.gif"
    path.write_bytes(gif_that_claims(20000, 16400))
    monkeypatch.setattr(memory, "total_memory", lambda: 8 * 2**30)
    words = (
        r"20000x16400 is more than the limit of 67.11 megapixels for the 8.0 GiB of memory here; "
        r"`max_megapixels` 328 lifts it"
    )
    with pytest.raises(PictureError, match=words):
        read_picture(path)
    assert guard.most_pixels() == 8 * 2**30 // 128
    monkeypatch.setattr(memory, "total_memory", lambda: 2**40)
    assert guard.most_pixels() == 400_000_000
    with pytest.raises(PictureError, match="limit of 300 megapixels; `max_megapixels` 328"):
        read_picture(path, Reading(max_pixels=300_000_000))


@pytest.mark.skipif(sys.platform == "win32", reason="the peak of a process is read on POSIX")
def test_a_huge_picture_is_refused_with_no_memory_taken(tmp_path: Path) -> None:
    (tmp_path / "x.gif").write_bytes(gif_that_claims(20000, 16400))
    program = (
        "import sys; from img2img.images import read_picture; from img2img.errors import PictureError\n"
        "from img2img.system import memory\n"
        "memory.total_memory = lambda: 8 * 2**30\n"
        "before = memory.process_peak()\n"
        "try: read_picture(sys.argv[1])\n"
        "except PictureError: print(memory.process_peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "x.gif"], capture_output=True, text=True
    )
    assert done.stdout and int(done.stdout) < 50 * 2**20, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak of a process is read on POSIX")
@pytest.mark.parametrize("kind", ["gif", "webp", "deep"])
def test_decoding_takes_no_more_than_the_limit_reckons_with(kind: str, tmp_path: Path) -> None:
    """The process's own peak, for a picture of 9 megapixels."""
    width, height = 3000, 3000
    path = tmp_path / "x"
    if kind == "deep":
        path.write_bytes(makers.png(np.full((height, width, 4), 7, np.uint16)))
    else:
        mode = "P" if kind == "gif" else "RGBA"
        Image.new(mode, (width, height)).save(path, kind.upper())
    program = (
        "import sys; from img2img.images import Reading, read_picture\n"
        "from img2img.system.memory import process_peak\n"
        "before = process_peak()\n"
        "picture = read_picture(sys.argv[1], Reading(deep=True))\n"
        "print(process_peak() - before, picture.pixels.nbytes)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    peak, held = map(int, done.stdout.split())
    most = guard.BYTES_PER_PIXEL * width * height + 24 * 2**20  # libraries loaded meanwhile
    assert held < peak <= most, f"{peak / (width * height):.1f} bytes for each pixel"


def test_the_memory_of_the_machine_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  4194304 kB\nMemAvailable:  1024 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_cgroup_limit", lambda: None)
    assert memory.total_memory() == 4 * 2**30
    monkeypatch.setattr(memory, "_cgroup_limit", lambda: 2**30)
    assert memory.total_memory() == 2**30
    monkeypatch.undo()
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._cgroup_limit(tmp_path) is None
    (tmp_path / "memory.max").write_text("536870912\n")
    assert memory._cgroup_limit(tmp_path) == 2**29
