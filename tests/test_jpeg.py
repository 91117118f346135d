"""JPEG decoding by torchvision, with a stand-in where the real one cannot be installed."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from img2img.data import Loading, jpeg
from img2img.data.store import load_picture
from img2img.errors import EnvironmentFault

SHADE = 7  # what the stand-in adds, so that its pixels are known from Pillow's


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def decode_jpeg(data: torch.Tensor, mode: object, device: str) -> torch.Tensor:
        asked.append(device)
        with Image.open(io.BytesIO(data.numpy().tobytes())) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        return torch.from_numpy(pixels + SHADE).permute(2, 0, 1)

    fake = types.SimpleNamespace(
        decode_jpeg=decode_jpeg, ImageReadMode=types.SimpleNamespace(RGB="RGB")
    )
    monkeypatch.setattr(jpeg, "_torchvision", lambda: fake)
    return asked


def jpeg_file(path: Path, **options: object) -> Path:
    Image.new("RGB", (40, 32), (100, 120, 140)).save(path, "JPEG", **options)
    return path


def test_plain_jpegs_go_to_the_requested_device(tmp_path: Path, stand_in: list[str]) -> None:
    path = jpeg_file(tmp_path / "a.jpg")
    by_pillow = load_picture(path, Loading(32), 3)
    by_other = load_picture(path, Loading(32, jpeg="cuda:1"), 3)
    assert stand_in == ["cuda:1"]
    assert np.array_equal(by_other, by_pillow + SHADE)


@pytest.mark.parametrize("kind", ["turned", "profiled", "grey", "png", "damaged"])
def test_all_others_are_read_as_ever(tmp_path: Path, stand_in: list[str], kind: str) -> None:
    path = tmp_path / "a.jpg"
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        jpeg_file(path, exif=exif)
    elif kind == "profiled":
        jpeg_file(path, icc_profile=b"not a profile")
    elif kind == "grey":
        Image.new("L", (8, 8)).save(path)
    elif kind == "png":
        Image.new("RGB", (8, 8)).save(path, "PNG")
    else:
        path.write_bytes(b"\xff\xd8 no more")
    assert jpeg.decode(path, "cpu") is None
    assert stand_in == []


def test_a_missing_torchvision_is_reported_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    jpeg._torchvision.cache_clear()
    with pytest.raises(EnvironmentFault, match=r"\[gpu\].* or use `jpeg_decoder=pillow`"):
        jpeg.check_decoder("torchvision")
    jpeg.check_decoder("pillow")


def test_the_cache_knows_the_decoder(tmp_path: Path, stand_in: list[str]) -> None:
    from img2img.data import PairedData

    (tmp_path / "train").mkdir()
    for k in range(4):
        Image.new("RGB", (64, 32), (k, 0, 0)).save(tmp_path / "train" / f"{k}.jpg")
    stores = [
        PairedData(tmp_path, "train", Loading(16, jpeg=device)).store for device in ("", "cpu")
    ]
    assert stores[0]._settings() != stores[1]._settings()
