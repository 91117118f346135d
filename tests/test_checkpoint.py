"""Model files and training states: whole, verified, or refused."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from img2img.errors import EnvironmentFault, ModelError
from img2img.model_format.checkpoint import (
    load_model,
    load_state,
    read_model_info,
    save_model,
    save_state,
)
from img2img.model_format.find import find_model
from img2img.model_format.info import KEY, ModelInfo
from img2img.runners import open_runner
from tests.conftest import info_of, small_generator


@pytest.mark.parametrize("name", ["unet", "resnet"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_model_file_rebuilds_the_generator(tmp_path: Path, name: str, norm: str) -> None:
    generator = small_generator(name, norm=norm, dropout=True)
    info = info_of(generator, licence="free", training={"step": 3}, quality={"l1": 1.5})
    save_model(tmp_path / "m.safetensors", generator, info)
    back, reported = load_model(tmp_path / "m.safetensors")
    assert reported == info == read_model_info(tmp_path / "m.safetensors")
    assert not back.training
    x = torch.rand(1, 3, 20, 30)
    with torch.no_grad():
        assert torch.equal(back(x), generator(x))


def test_running_statistics_are_used_where_they_are_recorded(tmp_path: Path) -> None:
    generator = small_generator(norm="batch")
    generator.use_norm_statistics("running")
    save_model(tmp_path / "m.safetensors", generator, info_of(generator))
    back, info = load_model(tmp_path / "m.safetensors")
    assert (back.norm_statistics, info.tiling) == ("running", "exact")


def test_no_bit_flip_passes(model_file: Path, tmp_path: Path) -> None:
    """Each flipped bit is refused, or the file still says exactly the same."""
    data = model_file.read_bytes()
    info, generator = read_model_info(model_file), load_model(model_file)[0]
    weights = generator.state_dict()
    draw = random.Random(0)
    header = 8 + struct.unpack_from("<Q", data)[0]
    places = [draw.randrange(header) for _ in range(250)]
    places += [draw.randrange(header, len(data)) for _ in range(150)]
    for place in places:
        broken = bytearray(data)
        broken[place] ^= 1 << draw.randrange(8)
        (tmp_path / "b.safetensors").write_bytes(broken)
        try:
            back, reported = load_model(tmp_path / "b.safetensors")
        except ModelError as error:
            assert "\n" not in str(error)
            continue
        assert reported == info
        for name, value in back.state_dict().items():
            assert torch.equal(value, weights[name])


def test_foreign_and_damaged_files_are_refused(tmp_path: Path, model_file: Path) -> None:
    path = tmp_path / "x.safetensors"
    for content, reason in (
        (b"", "not a model file"),
        (b"hello world, this is no model", "not a model file"),
        (struct.pack("<Q", 2**63) + b"{}", "not a model file"),
        (struct.pack("<Q", 2) + b"[]", "not a model file"),
        (struct.pack("<Q", 40_000) + b"[" * 40_000, "not a model file"),
        (model_file.read_bytes()[:-5], "not a model file"),
    ):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=reason):
            load_model(path)
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match="not an img2img model"):
        load_model(path)
    with pytest.raises(ModelError, match="no such file"):
        load_model(tmp_path / "none.safetensors")


def test_contradictions_are_refused(tmp_path: Path) -> None:
    generator = small_generator()
    good = info_of(generator)
    path = tmp_path / "m.safetensors"
    for change, reason in (
        ({"multiple_of": 16}, "contradicts its network"),
        ({"domains": ("a",)}, "contradicts its network"),
        ({"generator": "unknown"}, "cannot be rebuilt: unknown generator"),
        ({"generator_config": {"depth": 4, "width": 4}}, "do not fit its architecture"),
        ({"generator_config": {"depht": 4}}, "unknown setting"),
        ({"in_channels": -3}, "in_channels is -3"),
        ({"value_range": (0.0, 1.0)}, "value range"),
        ({"schema": 99}, "newer img2img"),
    ):
        save_model(path, generator, dataclasses.replace(good, **change))  # type: ignore[arg-type]
        with pytest.raises(ModelError, match=reason):
            load_model(path)


def test_an_older_file_works_at_the_size_of_its_crops(tmp_path: Path) -> None:
    """One written before the working size was in the file, as bytes: no key, its digest right."""

    class Older(ModelInfo):
        def to_dict(self) -> dict[str, Any]:
            new = ("working_size", "upsampling")
            return {name: value for name, value in super().to_dict().items() if name not in new}

    generator = small_generator()
    facts = {f.name: getattr(info_of(generator), f.name) for f in dataclasses.fields(ModelInfo)}
    save_model(tmp_path / "m.safetensors", generator, Older(**facts))
    assert b"working_size" not in (tmp_path / "m.safetensors").read_bytes()
    for info in (
        read_model_info(tmp_path / "m.safetensors"),
        load_model(tmp_path / "m.safetensors")[1],
    ):
        assert (info.working_size, info.long_side, info.upsampling) == (None, 64, "plain")
    for name, size in (("sketch2avatar", 128),):
        for suffix in (".safetensors", ".onnx"):
            path = find_model(name, (suffix,))
            info = open_runner(path, "cpu").info if suffix == ".onnx" else read_model_info(path)
            assert (info.long_side, info.upsampling) == (size, "plain")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("working_size", 4),
        ("working_size", -1),
        ("working_size", 65537),
        ("working_size", "256"),
        ("working_size", True),
        ("working_size", 64.5),
        ("upsampling", "best"),
        ("upsampling", ["guided"]),
    ],
)
def test_an_impossible_working_size_is_refused(field: str, value: object) -> None:
    good = info_of(small_generator()).to_dict()
    for side in (0, 8, 65536):
        assert ModelInfo.from_dict(good | {"working_size": side}, "m").long_side == side
    with pytest.raises(ModelError, match=f"m.onnx: metadata field {field}"):
        ModelInfo.from_dict(good | {field: value}, "m.onnx")


def test_missing_metadata_is_named() -> None:
    with pytest.raises(ModelError, match=r"lacks .*minimum"):
        ModelInfo.from_dict({"schema": 1, "name": "x"}, "m.onnx")
    assert json.loads(
        json.dumps(ModelInfo.from_dict(info_of(small_generator()).to_dict(), "").to_dict())
    )
    assert KEY == "img2img"


def test_a_state_round_trips_and_damage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state-1.i2i"
    state = {"step": 7, "t": torch.rand(50), "nested": {"list": [1, 2.5, "x", None, True]}}
    save_state(path, state)
    back = load_state(path)
    assert torch.equal(back["t"], state["t"]) and back["nested"] == state["nested"]  # type: ignore[arg-type]
    data = path.read_bytes()
    draw = random.Random(1)
    for _ in range(200):
        broken = bytearray(data)
        broken[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(broken)
        with pytest.raises(ModelError):
            load_state(path)
    for cut in (0, 10, 80, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(ModelError):
            load_state(path)


class Payload:
    """Pickles as a call of os.mkdir."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (self.path,))


def signed(payload: bytes) -> bytes:
    import hashlib

    return b"img2img-state-1\n" + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def test_a_hostile_state_runs_no_code(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"x": Payload(str(tmp_path / "owned"))}, buffer)
    (tmp_path / "s.i2i").write_bytes(signed(buffer.getvalue()))
    with pytest.raises(ModelError, match="cannot be read"):
        load_state(tmp_path / "s.i2i")
    assert not (tmp_path / "owned").exists()


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    (tmp_path / "s.i2i").write_bytes(signed(buffer.getvalue()))
    with pytest.raises(ModelError, match="compressed"):
        load_state(tmp_path / "s.i2i")


@pytest.mark.skipif(os.name != "posix", reason="limits of the file size are set the POSIX way")
def test_a_full_disk_keeps_the_old_files(tmp_path: Path) -> None:
    import resource
    import signal

    generator = small_generator()
    save_model(tmp_path / "m.safetensors", generator, info_of(generator))
    save_state(tmp_path / "s.i2i", {"t": torch.zeros(10)})
    old = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
        with pytest.raises(EnvironmentFault, match="disk full"):
            save_model(tmp_path / "m.safetensors", generator, info_of(generator))
        with pytest.raises(EnvironmentFault, match="disk full; the older one is intact"):
            save_state(tmp_path / "s.i2i", {"t": torch.rand(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == old
