"""Tiles give the picture that no tiles give."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from img2img.errors import UsageError
from img2img.exporting.onnx import export_onnx
from img2img.model_format.checkpoint import save_model
from img2img.model_format.find import shipped
from img2img.nets import Generator
from img2img.nets.blocks import statistics_given
from img2img.runners import Runner, open_runner
from img2img.system.memory import free_memory
from img2img.tiling import tiles
from img2img.tiling.locality import Moments, moments_of
from img2img.tiling.tiles import smaller, tile_for, tiles_of, translate_tiled
from tests.conftest import ROOT, info_of, small_generator, stargan

FAMILIES: dict[str, tuple[str, dict[str, object]]] = {
    "unet instance": ("unet", {}),
    "unet batch": ("unet", {"norm": "batch", "upsample": "resize"}),
    "unet running": ("unet", {"norm": "batch"}),
    "unet affine": ("unet", {"affine": True, "padding": "reflect", "upsample": "resize"}),
    "unet none": ("unet", {"norm": "none", "padding": "reflect"}),
    "resnet reflect": ("resnet", {}),
    "resnet zero": ("resnet", {"padding": "zero", "upsample": "resize", "norm": "batch"}),
    "resnet running": ("resnet", {"norm": "batch", "upsample": "resize"}),
    "resnet identity": ("resnet", {"identity_start": True}),
    "resnet blurred": (
        "resnet",
        {"downsample": "blurred", "upsample": "blurred", "block_padding": "replicate"},
    ),
    "resnet mask": ("resnet", {"output": "mask", "upsample": "resize"}),
    "resnet mirrored": ("resnet", {"upsample": "resize", "downsample_padding": "reflect"}),
    "unet chroma": ("unet", {"output": "chroma", "norm": "batch"}),
    "fast": ("fast", {}),
    "fast levels": ("fast", {"levels": 3, "blocks": 1}),
    "fast mask": ("fast", {"output": "mask", "shrink": 4, "norm": "instance", "blocks": 1}),
    "fast resize": ("fast", {"output": "mask", "shrink": 2, "blocks": 1, "tail": "resize"}),
    "fast chroma": ("fast", {"output": "chroma", "blocks": 1}),
    "fast twice": ("fast", {"scale": 2, "shrink": 1, "blocks": 1, "levels": 2}),
    "fast four times": ("fast", {"scale": 4, "output": "mask", "norm": "instance", "blocks": 1}),
    "resnet none": ("resnet", {"norm": "none", "downs": 1}),
    "resnet grey": ("resnet", {"in_channels": 1, "out_channels": 1, "downs": 0}),
}

EXPORTED = (
    *("unet instance", "unet batch", "resnet reflect", "resnet running", "resnet identity"),
    *("resnet mask", "resnet blurred", "unet chroma", "fast levels", "fast mask", "fast resize"),
    *("fast twice", "fast four times", "fast", "fast chroma", "resnet mirrored"),
    "stargan",
)


def generator_of(family: str) -> Generator:
    name, options = FAMILIES[family]
    generator = small_generator(name, **options)
    if family.endswith("running"):
        generator.use_norm_statistics("running")
        with torch.no_grad():
            for module in generator.modules():
                if isinstance(module, torch.nn.BatchNorm2d) and module.running_mean is not None:
                    module.running_mean.uniform_(-0.2, 0.2)
    return generator


def photograph(height: int, width: int, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    """Light that falls off, edges and grain: no two places have the same statistics."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    base = 200 * y / height + 40 * np.sin(x / 9) * (x > width / 2)
    base = np.where((x - width / 3) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2, 30, base)
    grain = random.normal(0, 12, (height, width, 3)) * (y / height)[:, :, None]
    values = np.clip(base[:, :, None] * [1.0, 0.8, 0.6] + grain, 0, 255) / 255
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


def differences(a: np.ndarray, b: np.ndarray | None) -> int:
    assert b is not None and a.shape == b.shape and a.dtype == b.dtype
    return int(np.abs(a.astype(int) - b.astype(int)).max())


class Models:
    """Model files by name, each made when it is asked for: an export takes seconds."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __truediv__(self, name: str) -> Path:
        path = self._folder / name
        if path.exists():
            return path
        if path.suffix == ".onnx":
            export_onnx(self / f"{path.stem}.safetensors", path)
        elif path.stem == "stargan":
            stargan(path)
        else:
            generator = generator_of(path.stem)
            save_model(path, generator, info_of(generator))
        return path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("families"))


def exported(suffix: str = "") -> list[Any]:
    """Two exports always, the others with the slow tests."""
    always = ("resnet reflect", "stargan")
    return [
        pytest.param(name + suffix, marks=[] if name in always else [pytest.mark.slow])
        for name in EXPORTED
    ]


CASES = [
    *(f"{family}.safetensors" for family in FAMILIES),
    "stargan.safetensors",
    *exported(".onnx"),
]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [(131, 93), (64, 160), (40, 200)])
def test_tiles_give_the_whole_picture(models: Models, name: str, size: tuple[int, int]) -> None:
    runner = open_runner(models / name, "cpu")
    domain = [1.0, 0.0, 1.0] if runner.info.domains else None
    pixels = photograph(*size)
    reported: list[tuple[int, int]] = []
    tiled = translate_tiled(runner, pixels, domain, 32, lambda *count: reported.append(count))
    assert differences(runner(pixels, domain), tiled) <= 1
    total = reported[-1][1]
    assert reported == [(k + 1, total) for k in range(total)]
    assert total == (len(runner.tiled_model().locality.norms) + 1) * len(
        [
            t
            for row in tiles_of(*_extended(runner, size), 32, 0, runner.info.multiple_of)
            for t in row
        ]
    )


def _extended(runner: Runner, size: tuple[int, int]) -> tuple[int, int]:
    step = runner.info.multiple_of
    h, w = (-(-max(side, runner.info.minimum) // step) * step for side in size)
    return h, w


@pytest.mark.parametrize("name", ["unet instance.safetensors", "resnet reflect.onnx"])
def test_sixteen_bits_and_tiles_larger_than_the_picture(models: Models, name: str) -> None:
    runner = open_runner(models / name, "cpu")
    pixels = photograph(70, 90, dtype=np.uint16)
    whole = runner(pixels)
    assert whole.dtype == np.uint16
    for tile in (24, 1000):
        assert differences(whole, translate_tiled(runner, pixels, None, tile)) <= 257 // 8
    tiny = photograph(1, 3)
    assert differences(runner(tiny), translate_tiled(runner, tiny, None, 8)) <= 1


@pytest.mark.parametrize("name", ["unet instance.onnx", "resnet reflect.onnx", "stargan.onnx"])
def test_what_is_kept_between_passes_changes_nothing(models: Models, name: str) -> None:
    runner = open_runner(models / name, "cpu")
    domain = [0.0, 1.0, 0.0] if runner.info.domains else None
    pixels = photograph(120, 170)
    whole = runner(pixels, domain)
    area, fresh = 120 * 176, 0
    for kept in (0, 20, 45, 1000):
        steps = runner.tiled_model().passes(kept)
        fresh_now = sum(bool(step.makes) for step in steps)
        assert fresh_now >= fresh
        fresh = fresh_now
        tiled = translate_tiled(runner, pixels, domain, 40, memory_limit=2 * kept * area)
        assert differences(whole, tiled) <= 1
    assert fresh >= 2


@pytest.mark.parametrize("what", ["mean", "variance", "count", "norms"])
def test_a_wrong_statistic_is_seen(
    models: Models, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    runner = open_runner(models / "unet instance.safetensors", "cpu")
    right = Moments.statistics

    def wrong(self: Moments) -> Any:
        mean, variance = right(self)
        return (mean + 0.1, variance) if what == "mean" else (mean, variance * 1.3)

    if what in ("mean", "variance"):
        monkeypatch.setattr(Moments, "statistics", wrong)
    elif what == "count":  # each tile counts the same, however large its core is
        monkeypatch.setattr(
            Moments, "with_more", lambda a, b: Moments(1, (a.mean + b.mean) / 2, (a.m2 + b.m2) / 2)
        )
    else:  # a tile's own statistics, as without the passes
        monkeypatch.setattr(Moments, "with_more", lambda a, b: b)
    pixels = photograph(131, 93)
    assert differences(runner(pixels), translate_tiled(runner, pixels, None, 32)) > 3


def test_too_small_an_overlap_is_seen_but_fades(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = open_runner(models / "resnet none.safetensors", "cpu")
    pixels = photograph(96, 96)
    whole = runner(pixels)
    monkeypatch.setattr(tiles._Extended, "rows", lambda self, tile, reach: [
        *tiles_of(self.height, self.width, tile, tiles.BLEND, self.multiple_of)])  # fmt: skip
    assert differences(whole, translate_tiled(runner, pixels, None, 32)) > 1


def test_seams_fade_from_the_old_to_the_new() -> None:
    old, new = np.full((40, 2, 3), 100, np.uint8), np.full((40, 2, 3), 180, np.uint8)
    tiles._fade(old, new, 8)
    column = old[:, 0, 0].astype(int)
    assert 100 < column[0] < 105 and 175 < column[15] < 180 and set(column[16:]) == {180}
    assert (np.diff(column) >= 0).all() and np.diff(column).max() <= 6
    same = new.copy()
    tiles._fade(same, new, 8)
    assert (same == new).all()
    first = np.zeros_like(new)
    tiles._fade(first, new, 0)
    assert (first == new).all()


@pytest.mark.parametrize("size", [(100, 260), (64, 64), (129, 31), (1, 1)])
@pytest.mark.parametrize("tile", [8, 32, 64, 500])
def test_cores_cover_the_picture_once(size: tuple[int, int], tile: int) -> None:
    count = np.zeros(size, int)
    for row in tiles_of(*size, tile, 16, 8):
        for part in row:
            top, bottom, left, right = part.core
            count[top:bottom, left:right] += 1
            assert top % 8 == left % 8 == 0 and max(bottom - top, right - left) <= max(tile, 8)
            y, yy, x, xx = part.seen
            assert (y, x) == (max(top - 16, 0), max(left - 16, 0))
            assert (yy, xx) == (min(bottom + 16, size[0]), min(right + 16, size[1]))
    assert (count == 1).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_reach_is_how_far_a_pixel_acts(family: str) -> None:
    generator = generator_of(family)
    reach, step = generator.reach, generator.multiple_of
    side = -(-(2 * reach + 3 * step) // step) * step
    x = torch.from_numpy(
        np.random.default_rng(0).normal(0, 1, (1, generator.in_channels, side, side))
    )
    held = lambda y: (torch.zeros(y.shape[1]).to(y), torch.ones(y.shape[1]).to(y))  # noqa: E731
    farthest = 0
    with torch.inference_mode(), statistics_given(generator.double(), held):
        before = generator(x)
        for offset in range(step):  # a place's part in its block of `multiple_of` pixels matters
            centre = side // 2 // step * step + offset
            changed = x.clone()
            changed[:, :, centre, centre] += 3
            places = (generator(changed) != before).any(1)[0].nonzero()
            assert len(places)
            farthest = max(farthest, int((places // generator.scale - centre).abs().max()))
    assert 0.75 * reach <= farthest <= reach


@pytest.mark.parametrize("name", exported())
def test_the_graph_tells_what_the_generator_tells(models: Models, name: str) -> None:
    ours, graphs = (
        open_runner(models / f"{name}{suffix}", "cpu").tiled_model().locality
        for suffix in (".safetensors", ".onnx")
    )
    assert (ours.reach, ours.norms) == (graphs.reach, graphs.norms)
    assert 0.5 < ours.bytes_per_pixel / graphs.bytes_per_pixel < 2


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
@pytest.mark.parametrize(
    ("name", "more"), [("resnet", {"attention": True}), ("curve", {}), ("fast", {"whole": True})]
)
def test_models_that_look_everywhere_stay_whole(
    name: str, more: dict[str, object], suffix: str, tmp_path: Path
) -> None:
    generator = small_generator(name, **more)
    save_model(tmp_path / "m.safetensors", generator, info_of(generator))
    if suffix == ".onnx":
        export_onnx(tmp_path / "m.safetensors", tmp_path / "m.onnx")
    runner = open_runner(tmp_path / f"m{suffix}", "cpu")
    assert tile_for(runner, 9000, 9000, "auto") is None
    with pytest.raises(UsageError, match=r"cannot be translated in tiles.*whole picture"):
        tile_for(runner, 9000, 9000, 512)


def test_the_tile_follows_the_option_and_the_memory(models: Models) -> None:
    runner = open_runner(models / "unet instance.onnx", "cpu")
    where = runner.tiled_model().locality
    assert tile_for(runner, 30000, 30000, "off") is None
    assert tile_for(runner, 300, 500, 100) == 104  # a multiple of 8
    assert tile_for(runner, 300, 500, 500) is None and tile_for(runner, 300, 505, 500) == 504
    with pytest.raises(UsageError, match="tile of 0"):
        tile_for(runner, 300, 500, 0)
    assert tile_for(runner, 1000, 1000, "auto", 10**9) is None
    limits = [10**5 * 3**k for k in range(8)]
    found = [tile_for(runner, 4000, 4000, "auto", limit) for limit in limits]
    sides = [side for side in found if side is not None]
    overlap = -(-(where.reach + tiles.BLEND) // 8) * 8
    assert sides[0] == -(-max(64, overlap // 2) // 8) * 8
    assert sides == sorted(sides) and len({*sides}) > 4
    for side, limit in zip(found, limits, strict=True):
        if side is not None and side > sides[0]:
            assert (side + 2 * (where.reach + tiles.BLEND)) ** 2 * where.bytes_per_pixel <= limit
    assert smaller(runner, 1000) == 504 and smaller(runner, 72) == 64
    assert smaller(runner, 64) is None
    assert free_memory() > 2**20


def test_stopping_between_tiles(models: Models) -> None:
    runner = open_runner(models / "unet instance.onnx", "cpu")
    reported: list[int] = []
    stopped = translate_tiled(
        runner, photograph(100, 100), None, 32, lambda done, total: reported.append(done),
        lambda: len(reported) == 5,
    )  # fmt: skip
    assert stopped is None and reported == [1, 2, 3, 4, 5]


def test_moments_of_parts_are_those_of_the_whole() -> None:
    x = np.random.default_rng(0).normal(5000, 0.01, (3, 40, 60)).astype(np.float32)
    parts = [moments_of(x, core, 1) for core in ((0, 7, 0, 60), (7, 40, 0, 13), (7, 40, 13, 60))]
    whole = parts[0].with_more(parts[1]).with_more(parts[2])
    wide = x.astype(np.float64).reshape(3, -1)
    assert whole.count == 2400
    assert np.allclose(whole.mean, wide.mean(1), rtol=1e-12)
    assert np.allclose(whole.m2 / whole.count, wide.var(1), rtol=1e-9)


@pytest.mark.slow
# One of each kind always: a picture, chroma, a larger picture.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            n, marks=[] if n in ("painting", "colour", "enlarge2x") else [pytest.mark.slow]
        )
        for n in shipped()
    ],
)
def test_shipped_models_in_tiles(name: str) -> None:
    """Trained weights, both runners, a picture with more than one tile in each direction."""
    sheet = Image.open(ROOT / "docs" / "images" / f"{name}.jpg").convert("RGB").resize((300, 200))
    pixels = np.asarray(sheet)
    for suffix in (".onnx", ".safetensors"):
        runner = open_runner(ROOT / "weights" / f"{name}{suffix}", "cpu")
        count = len(runner.info.domains)
        domain = [1.0, *(count - 1) * [0.0]] if count else None
        tiled = translate_tiled(runner, pixels, domain, 128)
        assert differences(runner(pixels, domain), tiled) <= 1


def test_neither_torch_nor_onnx_is_needed(models: Models) -> None:
    program = (
        "import sys, numpy as np\n"
        "sys.modules.update(torch=None, onnx=None, pydantic=None)\n"
        "from img2img.runners import open_runner\n"
        "from img2img.tiling.tiles import translate_tiled\n"
        "runner = open_runner(sys.argv[1], 'cpu')\n"
        "pixels = np.arange(100 * 90 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 90, 3)\n"
        "tiled = translate_tiled(runner, pixels, None, 32).astype(int)\n"
        "print(abs(tiled - runner(pixels)).max())\n"
    )
    model = str(models / "unet instance.onnx")
    done = subprocess.run([sys.executable, "-c", program, model], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 1


def test_norms_are_as_before_outside_of_tiles(models: Models) -> None:
    runner = open_runner(models / "unet instance.safetensors", "cpu")
    pixels = photograph(64, 64)
    before = runner(pixels)
    translate_tiled(runner, pixels, None, 32)
    assert (runner(pixels) == before).all()
    generator = runner._generator  # type: ignore[attr-defined]
    kinds = Counter(type(m).__name__ for m in generator.modules() if getattr(m, "given", None))
    assert not kinds


def test_a_runner_without_tiles_says_so() -> None:
    class Plain(Runner):
        info = SimpleNamespace(multiple_of=4, minimum=4)  # type: ignore[assignment]
        description = "abacus"

        def _infer(self, x: Any, domain: Any) -> Any:
            return x

        def _release(self) -> None:
            pass

    assert tile_for(Plain(), 9000, 9000, "auto") is None
    with pytest.raises(UsageError, match="abacus does not translate in tiles"):
        translate_tiled(Plain(), photograph(8, 8), None, 64)
