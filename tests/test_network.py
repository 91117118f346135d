"""The network as the pipeline sees it: batches, scale, strength, and memory that runs out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from img2img.errors import MemoryFault, UsageError
from img2img.images import Pixels
from img2img.inference import JobEvent, Network, Report, TileProgress, plan, run_jobs
from img2img.inference.network import blend
from img2img.model_format.export_info import ExportInfo
from img2img.runners import Runner, open_runner
from img2img.runners.base import Float
from img2img.tiling import tiles
from tests.conftest import Each, info_of, picture, small_generator


class Small(Runner):
    """Inverts; has memory for `room` pixels at once."""

    def __init__(self, room: int = 10**9):
        self.info = info_of(small_generator())
        self.description = "a stand-in"
        self.room = room
        self.calls: list[int] = []

    def _infer(self, x: Float, domain: Float | None) -> Float:
        raise NotImplementedError

    def _release(self) -> None:
        pass

    def batch(self, pictures: Sequence[Pixels], domains: object = None) -> list[Pixels]:
        self.calls.append(len(pictures))
        if sum(p.shape[0] * p.shape[1] for p in pictures) > self.room:
            raise MemoryFault("no memory")
        return [np.iinfo(p.dtype).max - p for p in pictures]


def noise(height: int, width: int, kind: type = np.uint8, seed: int = 0) -> Pixels:
    top = np.iinfo(kind).max
    return np.random.default_rng(seed).integers(0, top, (height, width, 3), kind, endpoint=True)


def test_equal_sizes_go_at_once_and_large_ones_alone() -> None:
    network = Network(Small())
    assert network.limit(noise(64, 64)) == 16
    assert network.limit(noise(128, 128)) == 4
    assert network.limit(noise(256, 256)) == 1
    many = Small()
    many.batch_pixels = 2**20
    assert Network(many).limit(noise(512, 512)) == 4
    assert network.limit(noise(3000, 2000)) == 1
    assert Network(Small(), batch=3).limit(noise(3000, 2000)) == 3
    assert Network(Small(), size=64).limit(noise(2000, 2000)) == 16
    assert Network(Small(), size=64).limit(noise(20, 2000)) == 16


def test_batches_are_of_one_size(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for k in range(30):
        picture(20 + 10 * (k % 2), 20, k).save(tmp_path / "in" / f"{k}.png")
    each = Each(lambda pixels: 255 - pixels, most=8)
    assert run_jobs(plan([tmp_path / "in"], tmp_path / "out"), each).done == 30
    assert sum(each.batches) == 30 and max(each.batches) <= 8
    from PIL import Image

    for k in range(30):
        before = np.asarray(Image.open(tmp_path / "in" / f"{k}.png"))
        assert np.array_equal(255 - before, np.asarray(Image.open(tmp_path / "out" / f"{k}.png")))


def test_a_picture_does_not_depend_on_its_neighbours(onnx_file: Path) -> None:
    runner = open_runner(onnx_file, "cpu")
    pictures = [noise(40, 48, seed=k) for k in range(5)]
    together = runner.batch(pictures)
    for pixels, answer in zip(pictures, together, strict=True):
        assert np.abs(runner(pixels).astype(int) - answer.astype(int)).max() <= 1


def test_memory_that_runs_out_halves_the_batch_and_says_so() -> None:
    said: list[str] = []
    small = Small(room=3 * 64 * 64)
    network = Network(small)
    pictures = [noise(64, 64, seed=k) for k in range(16)]
    answers = network.run(pictures, None, Report(said.append))
    assert all(np.array_equal(255 - p, a) for p, a in zip(pictures, answers, strict=True))
    assert network.limit(pictures[0]) == 2 and len(said) == 1
    small.calls.clear()
    network.run(pictures[:2], None)
    assert small.calls == [2]
    with pytest.raises(MemoryFault, match="100x90 does not fit in memory"):
        Network(Small(room=10)).run([noise(90, 100)], None)


def test_a_picture_that_does_not_fit_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for k, side in enumerate((20, 300, 20)):
        picture(side, 20, k).save(tmp_path / "in" / f"{k}.png")
    network = Network(Small(room=1000))
    summary = run_jobs(plan([tmp_path / "in"], tmp_path / "out"), network)
    assert summary.done == 2
    assert [(p.name, r) for p, r in summary.failed] == [("1.png", "300x20 does not fit in memory")]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_another_scale_keeps_the_size(kind: type) -> None:
    seen: list[tuple[int, ...]] = []

    class Watching(Small):
        def batch(self, pictures: Sequence[Pixels], domains: object = None) -> list[Pixels]:
            seen.extend(p.shape for p in pictures)
            return [p[:, :, :1] for p in pictures]

    (answer,) = Network(Watching(), size=32).run([noise(100, 151, kind)], None)
    assert seen == [(21, 32, 3)] and answer.shape == (100, 151, 1) and answer.dtype == kind
    flat = np.full((90, 60, 3), 77, kind)
    (same,) = Network(Watching(), size=32).run([flat], None)
    assert np.array_equal(same, flat[:, :, :1])


def test_the_model_states_the_size_at_which_the_network_works() -> None:
    class Stated(Small):
        def __init__(self, **more: object):
            super().__init__()
            self.info = info_of(small_generator(), **more)
            self.seen: list[tuple[int, ...]] = []

        def batch(self, pictures: Sequence[Pixels], domains: object = None) -> list[Pixels]:
            self.seen.append(pictures[0].shape[:2])
            return super().batch(pictures, domains)

    large, little = noise(90, 120), noise(20, 30)
    for more, given, seen in (
        ({"working_size": 60}, None, [(45, 60), (20, 30)]),
        ({"working_size": None}, None, [(48, 64), (20, 30)]),  # an older file: its crop size
        ({"working_size": 60}, 0, [(90, 120), (20, 30)]),
        ({"working_size": 0}, 40, [(30, 40), (20, 30)]),
    ):
        runner = Stated(**more)
        network = Network(runner, size=given)
        for pixels in (large, little):
            assert network.run([pixels], None)[0].shape == pixels.shape
        assert runner.seen == seen
    fixed = Stated(working_size=60)
    fixed.export = ExportInfo(height=90, width=120)  # takes no other size
    assert Network(fixed).size == 0


def test_the_model_states_how_its_answer_is_enlarged() -> None:
    pixels = np.zeros((96, 96, 3), np.uint8)
    pixels[:, 50:] = 200  # an edge between two pixels of the working size
    answers = []
    for upsampling in ("plain", "guided"):
        runner = Small()
        runner.info = info_of(small_generator(), working_size=24, upsampling=upsampling)
        answers += Network(runner).run([pixels], None)
    plain, guided = (np.abs(a.astype(int) - (255 - pixels)).mean() for a in answers)
    assert guided < plain / 3


def test_a_size_below_the_minimum_of_the_network() -> None:
    with pytest.raises(UsageError, match="`size` 4: model test works at 8 to 65536 pixels"):
        Network(Small(), size=4)


def test_strength_blends_with_the_source() -> None:
    pixels = noise(8, 9)
    for strength in (0.0, 0.25, 1.0):
        (answer,) = Network(Small(), strength=strength).run([pixels], None)
        wanted = np.rint((1 - strength) * pixels + strength * (255.0 - pixels))
        assert np.abs(answer.astype(int) - wanted).max() <= (1 if 0 < strength < 1 else 0)
    grey = blend(pixels, pixels[:, :, :1], 0.5)
    assert grey.shape == pixels.shape


def test_options_out_of_range() -> None:
    for options in ({"size": -1}, {"size": 70000}, {"strength": 1.5}, {"batch": 0}):
        with pytest.raises(UsageError, match=f"`{next(iter(options))}"):
            Network(Small(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("file", ["onnx_file", "model_file"])
def test_memory_that_runs_out_at_one_picture_means_tiles(
    file: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = open_runner(request.getfixturevalue(file), "cpu")
    pixels = np.asarray(picture(300, 200))
    whole = runner(pixels)
    said: list[str] = []
    network, report = Network(runner), Report(said.append)
    monkeypatch.setattr(runner, "batch", Small(room=0).batch)
    (tiled,) = network.run([pixels], None, report)
    assert np.abs(tiled.astype(int) - whole.astype(int)).max() <= 1
    assert said == ["memory ran out at 300x200; continuing in tiles"]
    tries: list[int] = []
    made = runner.planes

    def short(pixels: Pixels) -> np.ndarray:
        tries.append(pixels.shape[0] * pixels.shape[1])
        if tries[-1] > 20_000:
            raise MemoryFault("no memory")
        return made(pixels)

    monkeypatch.setattr(runner, "planes", short)
    (tiled,) = network.run([pixels], None, report)
    assert np.abs(tiled.astype(int) - whole.astype(int)).max() <= 1
    assert max(tries) > 20_000 and said[1:] == ["memory ran out; continuing in smaller tiles"]
    with pytest.raises(MemoryFault, match="300x200 does not fit in memory"):
        Network(runner, tile="off").run([pixels], None)


def test_a_job_stops_between_tiles(onnx_file: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    picture(400, 300).save(tmp_path / "in" / "a.png")
    events: list[JobEvent] = []
    network = Network(open_runner(onnx_file, "cpu"), tile=32)
    summary = run_jobs(
        plan([tmp_path / "in"], tmp_path / "out"), network, listen=events.append,
        should_stop=lambda: len(events) > 2,
    )  # fmt: skip
    steps = [e for e in events if isinstance(e, TileProgress)]
    assert [e.done for e in steps] == [*range(1, len(steps) + 1)]
    assert 2 < len(steps) < steps[0].total
    assert (summary.seen, summary.not_reached) == (0, 1)
    assert not list((tmp_path / "out").glob("*"))


def test_a_picture_that_the_free_memory_does_not_hold_is_tiled_and_that_is_reported(
    onnx_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = open_runner(onnx_file, "cpu")
    pixels = np.asarray(picture(300, 200))
    whole = runner(pixels)
    said: list[str] = []
    steps: list[int] = []
    report = Report(said.append, lambda done, total: steps.append(done))
    per_pixel = runner.tiled_model().locality.bytes_per_pixel
    monkeypatch.setattr(tiles, "free_memory", lambda: int(per_pixel * 40_000))
    network = Network(runner)
    for _ in range(2):
        (tiled,) = network.run([pixels], None, report)
        assert np.abs(tiled.astype(int) - whole.astype(int)).max() <= 1
    (text,) = said
    assert "300x200 in tiles of" in text and len(steps) > 4
    # What one picture went through whole, the next does too, though the runner keeps its memory.
    steps.clear()
    monkeypatch.setattr(tiles, "free_memory", lambda: 4 * int(per_pixel * 70_000))
    network = Network(runner)
    network.run([pixels], None, report)
    monkeypatch.setattr(tiles, "free_memory", lambda: int(per_pixel * 40_000))
    network.run([pixels], None, report)
    assert steps == []
