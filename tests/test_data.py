"""Folder layouts become pairs; what is wrong is listed at once."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import img2img.data.store
from img2img.data import LabelledData, Loading, PairedData, StyledData, UnpairedData, settle
from img2img.errors import ConfigError, DataError, EnvironmentFault
from img2img.images import Picture
from tests.conftest import picture


def open_pairs(root: Path, split: str = "train", size: int = 48, **more: object) -> PairedData:
    return PairedData(root, split, Loading(size, **more))  # type: ignore[arg-type]


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


def test_the_place_of_the_pictures_changes_nothing(pairs: Path, tmp_path: Path) -> None:
    expected = open_pairs(pairs, size=40)
    assert expected.store.kind == "memory"
    mapped = {"cache_bytes": 0, "cache": tmp_path / "cache"}
    places: dict[str, PairedData] = {
        "decoded": open_pairs(pairs, size=40, cache_bytes=0),
        "mapped": open_pairs(pairs, size=40, **mapped),
        "device": open_pairs(pairs, size=40, **mapped),
    }
    assert settle(places["device"].stores, "yes", torch.device("cpu"))
    for kind, data in places.items():
        assert data.store.kind == kind
        for indices in ([2], [5, 0, 3]):
            a, b = data.batch(indices), expected.batch(indices)
            assert torch.equal(a.a, b.a) and torch.equal(a.b, b.b), kind
            # The memory format may choose another convolution and other last bits.
            assert (a.a.stride(), a.b.stride()) == (b.a.stride(), b.b.stride()), kind


def test_every_layout_lives_on_a_device(tmp_path: Path) -> None:
    two_sets(tmp_path / "sets", 3, 5)
    people(tmp_path / "people")
    for kind, root in ((UnpairedData, "sets"), (LabelledData, "people")):
        here, there = (kind(tmp_path / root, "train", Loading(6)) for _ in range(2))
        assert settle(there.stores, "yes", torch.device("cpu"))
        assert {store.kind for store in there.stores} == {"device"}
        name = "b" if kind is UnpairedData else "x"
        for epoch in range(3):
            a, b = (getattr(d.batch([0, 4, 2], epoch), name) for d in (here, there))
            assert torch.equal(a, b)


def test_the_device_is_chosen_by_its_free_memory(pairs: Path) -> None:
    data, cuda = open_pairs(pairs, size=40), torch.device("cuda")
    needed = data.store.bytes
    assert needed == 6 * 2 * 3 * 40 * 40
    moved: list[torch.device] = []
    data.store.move_to = moved.append  # type: ignore[method-assign, assignment]
    assert not settle(data.stores, "auto", cuda, free=4 * needed - 1)
    assert not settle(data.stores, "auto", torch.device("cpu"), free=2**40)
    assert not settle(data.stores, "no", cuda, free=2**40)
    assert not moved
    assert settle(data.stores, "auto", cuda, free=4 * needed) and moved == [cuda]

    def full(device: torch.device) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried")

    data.store.move_to = full  # type: ignore[method-assign]
    with pytest.raises(EnvironmentFault, match=r"no room for 0 MB .* `on_device=no`"):
        settle(data.stores, "yes", cuda)


# --- the file of decoded pictures


def open_mapped(pairs: Path, tmp_path: Path, size: int = 40) -> PairedData:
    return open_pairs(pairs, size=size, cache_bytes=0, cache=tmp_path / "cache")


def decodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every picture that is decoded from now on."""
    read: list[Path] = []
    real = img2img.data.store.read_picture

    def counting(path: Path) -> Picture:
        read.append(path)
        return real(path)

    monkeypatch.setattr(img2img.data.store, "read_picture", counting)
    return read


def test_pictures_are_decoded_once_into_one_file(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = decodings(monkeypatch)
    first = open_mapped(pairs, tmp_path)
    assert len(read) == 6
    again = open_mapped(pairs, tmp_path)
    assert torch.equal(again.batch([3, 1]).b, first.batch([3, 1]).b) and len(read) == 6
    (rows,) = (tmp_path / "cache").glob("*.u8")
    assert rows.stat().st_size == first.store.bytes
    assert isinstance(again.store._rows, np.memmap)


def test_a_changed_picture_or_setting_is_decoded_anew_and_the_old_file_goes(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_mapped(pairs, tmp_path)
    path = pairs / "train" / "0.png"
    time = path.stat().st_mtime_ns
    Image.fromarray(np.zeros((48, 96, 3), np.uint8)).save(path)
    os.utime(path, ns=(time + 10**9, time + 10**9))
    assert open_mapped(pairs, tmp_path).batch([0]).a.max() == 0
    os.utime(path, ns=(time + 2 * 10**9, time + 2 * 10**9))  # the time alone counts as well
    read = decodings(monkeypatch)
    open_mapped(pairs, tmp_path)
    assert len(read) == 6
    assert open_mapped(pairs, tmp_path, size=44).batch([0]).a.shape[2] == 44
    names = {p.suffix for p in (tmp_path / "cache").iterdir()}
    assert len(list((tmp_path / "cache").iterdir())) == 3 and names == {".u8", ".json", ""}


@pytest.mark.parametrize("damage", ["no index", "short", "other index"])
def test_half_a_cache_is_never_used(pairs: Path, tmp_path: Path, damage: str) -> None:
    whole = open_mapped(pairs, tmp_path).batch([4]).a
    (rows,), (index,) = ((tmp_path / "cache").glob(f"*.{s}") for s in ("u8", "json"))
    if damage == "no index":
        index.unlink()
        rows.write_bytes(bytes(rows.stat().st_size))
    elif damage == "short":
        rows.write_bytes(rows.read_bytes()[:-1])
    else:
        rows.write_bytes(bytes(rows.stat().st_size))
        index.write_text(index.read_text().replace('"format": 1', '"format": 0'))
    assert torch.equal(open_mapped(pairs, tmp_path).batch([4]).a, whole)


def test_unusable_pictures_leave_no_cache(pairs: Path, tmp_path: Path) -> None:
    (pairs / "train" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 training pictures unusable: .*broken.png"):
        open_mapped(pairs, tmp_path)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on the size of files is POSIX")
def test_a_full_disk_is_reported(pairs: Path, tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(EnvironmentFault, match=r"cache: disk full while .* raise cache_mb"):
            open_mapped(pairs, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["lock"]


def test_too_little_room_is_reported_before_decoding(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = decodings(monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(EnvironmentFault, match="0 MB are free; make room"):
        open_mapped(pairs, tmp_path)
    assert not read


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


# --- unpaired


def two_sets(root: Path, a: int, b: int, names: tuple[str, str] = ("trainA", "trainB")) -> None:
    for name, count, mark in ((names[0], a, 10), (names[1], b, 200)):
        (root / name).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(np.full((6, 6, 3), mark + k, np.uint8)).save(
                root / name / f"{k:02}.png"
            )


@pytest.mark.parametrize(
    "names", [("trainA", "trainB"), ("train/A", "train/B"), ("A/train", "B/train")]
)
def test_unpaired_sets(tmp_path: Path, names: tuple[str, str]) -> None:
    two_sets(tmp_path, 3, 5, names)
    two_sets(tmp_path, 2, 4, tuple(n.replace("train", "test") for n in names))  # type: ignore[arg-type]
    data = UnpairedData(tmp_path, "train", Loading(6))
    assert len(data) == 5
    batch = data.batch(range(5), epoch=0)
    assert batch.a[:, 0, 0, 0].tolist() == [10, 11, 12, 10, 11]
    assert {int(v) for v in batch.b[:, 0, 0, 0]} <= set(range(200, 205))
    assert torch.equal(batch.b, data.batch(range(5), 0).b)
    others = [data.batch(range(5), epoch).b for epoch in range(1, 5)]
    assert any(not torch.equal(batch.b, other) for other in others)
    assert torch.equal(data.batch(range(5), 0, slice(2, 4)).b, batch.b[2:4])
    held_out = UnpairedData(tmp_path, "held-out", Loading(6))
    assert len(held_out) == 2 and not held_out.batch([1]).paired
    assert held_out.batch([1]).b[0, 0, 0, 0] == 201


def test_pairs_used_unpaired_keep_the_truth_hidden(pairs: Path) -> None:
    data = UnpairedData(pairs, "train", Loading(48))
    drawn = [data.batch([i], epoch) for i in range(6) for epoch in range(4)]
    matching = sum(torch.equal(b.a, 255 - b.b) for b in drawn)
    assert matching < len(drawn) / 2
    held_out = UnpairedData(pairs, "held-out", Loading(48)).batch([0])
    assert held_out.paired and torch.equal(held_out.a, 255 - held_out.b)


def test_a_missing_or_empty_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no two sets"):
        UnpairedData(tmp_path, "train", Loading(6))
    two_sets(tmp_path, 2, 0)
    with pytest.raises(DataError, match="set B holds no pictures"):
        UnpairedData(tmp_path, "train", Loading(6))


# --- labelled


def people(root: Path, count: int = 8) -> None:
    (root / "images").mkdir(parents=True)
    rows = [str(count), "Dark Fair Glasses"]
    for k in range(count):
        name = f"{k:03}.png"
        Image.fromarray(np.full((6, 6, 3), k, np.uint8)).save(root / "images" / name)
        dark = 1 if k % 2 else -1
        rows.append(f"{name}  {dark} {-dark}  {1 if k % 3 == 0 else 0}")
    (root / "list_attr.txt").write_text("\n".join(rows) + "\n")


def test_an_attribute_table(tmp_path: Path) -> None:
    people(tmp_path)
    data = LabelledData(tmp_path, "train", Loading(6, held_out=2))
    assert data.domains == ("Dark", "Fair", "Glasses") and not data.one_hot
    batch = data.batch([0, 1, 3])
    assert batch.label.tolist() == [[0, 1, 1], [1, 0, 0], [1, 0, 1]]
    assert batch.x[:, 0, 0, 0].tolist() == [0, 1, 3]
    held_out = LabelledData(tmp_path, "held-out", Loading(6, held_out=2))
    assert held_out.names == ["006.png", "007.png"]
    chosen = LabelledData(tmp_path, "train", Loading(6), attributes=("Glasses", "Dark"))
    assert chosen.batch([0]).label.tolist() == [[1, 0]]
    with pytest.raises(DataError, match=r"no attribute 'Glases'. Did you mean 'Glasses'"):
        LabelledData(tmp_path, "train", Loading(6), attributes=("Glases",))


def test_a_csv_table_gives_the_same_labels(tmp_path: Path) -> None:
    people(tmp_path)
    before = LabelledData(tmp_path, "train", Loading(6)).batch(range(5)).label
    lines = (tmp_path / "list_attr.txt").read_text().splitlines()[2:]
    (tmp_path / "list_attr.txt").unlink()
    table = ["file,Dark,Fair,Glasses", *(",".join(line.split()) for line in lines)]
    (tmp_path / "people.csv").write_text("\n".join(table))
    assert torch.equal(LabelledData(tmp_path, "train", Loading(6)).batch(range(5)).label, before)


def test_everything_wrong_with_a_table_is_listed_at_once(tmp_path: Path) -> None:
    people(tmp_path)
    path = tmp_path / "list_attr.txt"
    lines = path.read_text().splitlines()
    lines[2] = "000.png 1 -1"
    lines[3] = "001.png 1 -1 2"
    lines[4] = lines[5]
    (tmp_path / "images" / "007.png").unlink()
    path.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        LabelledData(tmp_path, "train", Loading(6))
    for part in ("4 bad rows", "has 2 values, not 3", "value '2' is not -1, 0 or 1",
                 "003.png appears a second time", "no picture 007.png"):  # fmt: skip
        assert part in str(caught.value)


def test_a_folder_for_each_domain(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("test", 2)):
        for name in ("red", "green", "blue"):
            (tmp_path / part / name).mkdir(parents=True)
            for k in range(count):
                picture(6, 6, k).save(tmp_path / part / name / f"{k}.png")
    data = LabelledData(tmp_path, "train", Loading(6))
    assert data.domains == ("blue", "green", "red") and data.one_hot and len(data) == 12
    assert data.batch([0, 4, 8]).label.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert len(LabelledData(tmp_path, "held-out", Loading(6))) == 6
    for path in (tmp_path / "train" / "red").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="red: a domain without pictures"):
        LabelledData(tmp_path, "train", Loading(6))


def test_targets_are_a_permutation_of_the_labels_and_shares_agree(tmp_path: Path) -> None:
    people(tmp_path)
    data = LabelledData(tmp_path, "train", Loading(6))
    whole = data.batch([0, 1, 2, 3, 4, 5], epoch=1)
    assert sorted(whole.target.tolist()) == sorted(whole.label.tolist())
    parts = [data.batch([0, 1, 2, 3, 4, 5], 1, share) for share in (slice(0, 3), slice(3, 6))]
    assert torch.equal(torch.cat([p.target for p in parts]), whole.target)
    assert torch.equal(torch.cat([p.x for p in parts]), whole.x)


def test_a_centre_crop_comes_before_the_resize(tmp_path: Path) -> None:
    people(tmp_path)
    pixels = np.zeros((10, 8, 3), np.uint8)
    pixels[3:7, 2:6] = 255
    Image.fromarray(pixels).save(tmp_path / "images" / "000.png")
    x = LabelledData(tmp_path, "train", Loading(8, centre_crop=4)).batch([0]).x
    assert x.min() == 255


def plain(root: Path, side: str, levels: range) -> None:
    """Pictures of one level each, which is their name."""
    (root / side).mkdir(parents=True)
    for level in levels:
        Image.new("RGB", (40, 40), (level,) * 3).save(root / side / f"{level}.png")


@pytest.mark.parametrize("kind", ["unpaired", "styled", "hidden pairs"])
def test_the_files_of_a_batch_are_named(kind: str, tmp_path: Path) -> None:
    """So that both sides of a batch whose loss is not finite are."""
    plain(tmp_path, "A", range(10, 14))
    plain(tmp_path, "B", range(110, 117))
    if kind == "hidden pairs":
        shutil.rmtree(tmp_path / "B")
        for k in range(4):
            wide = Image.new("RGB", (80, 40), (10 + k,) * 3)
            wide.paste((110 + k,) * 3, (40, 0, 80, 40))
            wide.save(tmp_path / f"{10 + k}.png")
        shutil.rmtree(tmp_path / "A")
    loading = Loading(32, held_out=0, side_by_side=True)
    data: UnpairedData | StyledData
    if kind == "styled":
        data = StyledData(tmp_path, "train", loading, style_size=32, crops=12)
    else:
        data = UnpairedData(tmp_path, "train", loading)
    indices = [0, 3, len(data) - 1]
    for epoch in range(3):
        batch = data.batch(indices, epoch)
        levels = [int(x.float().mean().round()) for side in (batch.a, batch.b) for x in side]
        named = [int(Path(name).stem) for name in data.files_of(indices, epoch)]
        if kind == "hidden pairs":  # the file of a B is that of the A beside it
            named[3:] = [level + 100 for level in named[3:]]
        assert named == levels
