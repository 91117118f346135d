"""Folder layouts become pairs; what is wrong is listed at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from img2img.data import PairedData
from img2img.errors import ConfigError, DataError
from tests.conftest import picture


def open_pairs(root: Path, split: str = "train", size: int = 48, **more: object) -> PairedData:
    options: dict[str, object] = {"swap": False, "cache_bytes": 2**30} | more
    return PairedData(root, split, size, **options)  # type: ignore[arg-type]


def test_side_by_side_pairs(pairs: Path) -> None:
    data, held_out = open_pairs(pairs), open_pairs(pairs, "held-out")
    assert (len(data), len(held_out)) == (6, 2)
    batch = data.batch([3, 1])
    assert batch.a.shape == (2, 3, 48, 48) and batch.a.dtype == torch.uint8
    assert torch.equal(batch.a, 255 - batch.b)
    on = batch.on(torch.device("cpu"))
    assert torch.allclose(on.a, batch.a.float() / 127.5 - 1) and on.indices == [3, 1]
    swapped = open_pairs(pairs, swap=True).batch([3, 1])
    assert torch.equal(swapped.a, batch.b) and torch.equal(swapped.b, batch.a)


@pytest.mark.parametrize("cache", [0, 2**30])
def test_the_cache_changes_nothing(pairs: Path, cache: int) -> None:
    data = open_pairs(pairs, size=40, cache_bytes=cache)
    assert torch.equal(data.batch([2]).a, open_pairs(pairs, size=40).batch([2]).a)
    assert len(data._cache) == (6 if cache else 0)


def test_pictures_are_loaded_as_the_references_do(pairs: Path) -> None:
    with Image.open(pairs / "train" / "0.png") as image:
        half = image.crop((0, 0, 48, 48)).resize((60, 60), Image.Resampling.BICUBIC)
    given = open_pairs(pairs, size=60).batch([0]).a[0].permute(1, 2, 0).numpy()
    assert np.array_equal(given, np.asarray(half))


@pytest.mark.parametrize(
    ("a", "b"), [("A", "B"), ("trainA", "trainB"), ("train/A", "train/B"), ("A/train", "B/train")]
)
def test_folders_paired_by_stem(tmp_path: Path, a: str, b: str) -> None:
    for folder, suffix in ((a, "jpg"), (b, "png")):
        for name in ("x", "sub/x", "y"):
            path = tmp_path / folder / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(20, 20, len(name)).save(path)
    data = open_pairs(tmp_path, size=20)
    assert [p.name for p in data.pairs] == [str(Path("sub/x")), "x", "y"]
    for k in range(3):
        batch = data.batch([k])
        assert (batch.a.float() - batch.b.float()).abs().mean() < 12  # the same picture, as JPEG


def test_without_a_held_out_part_one_is_split_off_and_stays(tmp_path: Path) -> None:
    for k in range(41):
        Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(tmp_path / f"{k}.png")
    train, held_out = open_pairs(tmp_path, size=4), open_pairs(tmp_path, "held-out", 4)
    names = [{p.name for p in d.pairs} for d in (train, held_out)]
    assert (len(train), len(held_out)) == (39, 2) and not names[0] & names[1]
    assert {p.name for p in open_pairs(tmp_path, "held-out", 4).pairs} == names[1]


def test_everything_wrong_is_listed_at_once(tmp_path: Path) -> None:
    for side, stems in (("A", "abc"), ("B", "bcd")):
        (tmp_path / side).mkdir()
        for stem in stems:
            picture(8, 8).save(tmp_path / side / f"{stem}.png")
    picture(8, 8).save(tmp_path / "A" / "b.jpg")
    with pytest.raises(DataError) as caught:
        open_pairs(tmp_path)
    text = str(caught.value)
    assert "3 files without a clear pair" in text
    assert "a.png has no partner" in text and "d.png has no partner" in text
    assert "have the same stem" in text and "\n" not in text


def test_unusable_pictures_are_listed_at_once(pairs: Path) -> None:
    (pairs / "train" / "broken.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((5, 9, 3), np.uint8)).save(pairs / "train" / "odd.png")
    Image.fromarray(np.zeros((9, 4, 3), np.uint8)).save(pairs / "train" / "tall.png")
    with pytest.raises(DataError) as caught:
        open_pairs(pairs)
    for part in (
        "3 training pictures unusable",
        "broken.png: ",
        "even width, not 9",
        "taller than",
    ):
        assert part in str(caught.value)


def test_grey_pictures_for_networks_of_one_channel(pairs: Path) -> None:
    batch = open_pairs(pairs, channels=(1, 3)).batch([0, 1])
    assert (batch.a.shape[1], batch.b.shape[1]) == (1, 3)
    rgb = open_pairs(pairs).batch([0, 1]).a.float()
    luma = 0.299 * rgb[:, 0] + 0.587 * rgb[:, 1] + 0.114 * rgb[:, 2]
    assert (batch.a[:, 0].float() - luma).abs().max() <= 1
    with pytest.raises(ConfigError, match="3 channels or 1"):
        open_pairs(pairs, channels=(2, 3))


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no pairs of pictures found. Expected side-by-side"):
        open_pairs(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        open_pairs(tmp_path / "nothing")


def test_the_fingerprint_tells_a_change(pairs: Path) -> None:
    before = open_pairs(pairs).fingerprint()
    assert before == open_pairs(pairs).fingerprint()
    (pairs / "train" / "0.png").unlink()
    assert open_pairs(pairs).fingerprint() != before
