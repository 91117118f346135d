"""Decoding processes: one that hangs, crashes or is stopped costs its picture and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from img2img.errors import EnvironmentFault, PictureError
from img2img.images import Reading, read_picture
from img2img.inference import decoders, plan, run_jobs
from img2img.inference.decoders import Decoder, Watch
from tests.conftest import Each, picture

DEEP = Reading(deep=True)
posix = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")


@pytest.fixture
def decoder() -> object:
    made = Decoder(30)
    watch = Watch([made])
    yield made
    watch.close()
    made.close()


def test_a_picture_comes_over_whole(decoder: Decoder, tmp_path: Path) -> None:
    exif = picture(4, 4).getexif()
    exif[0x010F] = "Maker"
    picture(40, 30).save(tmp_path / "a.jpg", exif=exif, dpi=(300, 300))
    picture(41, 29, mode="RGBA").save(tmp_path / "b.png")
    import cv2

    deep = np.random.default_rng(0).integers(0, 65536, (9, 7, 3), np.uint16)
    cv2.imwrite(str(tmp_path / "c.png"), deep)
    for name in ("a.jpg", "b.png", "c.png"):
        here, there = read_picture(tmp_path / name, DEEP), decoder.read(tmp_path / name, DEEP)
        for field in ("exif", "xmp", "icc", "dpi", "format", "salvaged", "notes"):
            assert getattr(here, field) == getattr(there.picture, field), field
        assert np.array_equal(here.pixels, there.picture.pixels)
        assert here.pixels.dtype == there.picture.pixels.dtype
        assert (here.alpha is None) == (there.picture.alpha is None)
        if here.alpha is not None:
            assert np.array_equal(here.alpha, there.picture.alpha)


def test_what_is_wrong_with_a_picture_is_reported_without_its_path(
    decoder: Decoder, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(PictureError, match=r"^cannot be decoded"):
        decoder.read(tmp_path / "bad.png", DEEP)
    with pytest.raises(PictureError, match=r"^no such file"):
        decoder.read(tmp_path / "none.png", DEEP)


@posix
def test_a_process_that_was_killed_is_started_again(decoder: Decoder, tmp_path: Path) -> None:
    picture(40, 30).save(tmp_path / "a.png")
    decoder.read(tmp_path / "a.png", DEEP)
    for _ in range(3):
        assert decoder._process is not None
        os.kill(decoder._process.pid, signal.SIGKILL)
        assert decoder.read(tmp_path / "a.png", DEEP).picture.pixels.shape == (30, 40, 3)


@posix
def test_a_picture_that_kills_its_decoder_twice_is_given_up(
    decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = decoders._CODE.replace(
        "main(float", "import os; d._answer = lambda *a: os._exit(1); main(float"
    ).replace("import main;", "import main; import img2img.inference.decoding as d;")
    assert deadly != decoders._CODE
    monkeypatch.setattr(decoders, "_CODE", deadly)
    picture(4, 4).save(tmp_path / "a.png")
    with pytest.raises(PictureError, match="its decoder died 2 times"):
        decoder.read(tmp_path / "a.png", DEEP)


@pytest.mark.slow
@posix
def test_a_stopped_process_is_replaced_and_a_slow_picture_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = Decoder(12)  # ends the stopped one, and is long for the next
    watch = Watch([decoder])
    picture(40, 30).save(tmp_path / "a.png")
    decoder.read(tmp_path / "a.png", DEEP)
    assert decoder._process is not None
    os.kill(decoder._process.pid, signal.SIGSTOP)
    if sys.platform == "linux":  # elsewhere it cannot be told from a slow one
        assert decoder.read(tmp_path / "a.png", DEEP).picture.pixels.shape == (30, 40, 3)
    watch.close()
    decoder.close()
    decoder = Decoder(3)
    watch = Watch([decoder])
    slow = decoders._CODE.replace(
        "main(float", "import time; d._answer = lambda *a: time.sleep(3600); main(float"
    ).replace("import main;", "import main; import img2img.inference.decoding as d;")
    monkeypatch.setattr(decoders, "_CODE", slow)
    with pytest.raises(PictureError, match="decoding took more than 3 s"):
        decoder.read(tmp_path / "a.png", DEEP)
    watch.close()
    decoder.close()


@pytest.mark.slow
def test_the_start_of_a_process_is_not_the_time_of_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        decoders,
        "_CODE",
        decoders._CODE.replace("import json", "import time; time.sleep(5); import json"),
    )
    decoder = Decoder(4)
    watch = Watch([decoder])
    picture(40, 30).save(tmp_path / "a.png")
    try:
        assert decoder.read(tmp_path / "a.png", DEEP).picture.pixels.shape == (30, 40, 3)
    finally:
        watch.close()
        decoder.close()


def test_processes_that_cannot_start_are_no_fault_of_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "_CODE", "raise ImportError")
    (tmp_path / "in").mkdir()
    for k in range(9):
        picture(4, 4).save(tmp_path / "in" / f"{k}.png")
    with pytest.raises(EnvironmentFault, match="died at its start"):
        run_jobs(plan([tmp_path / "in"], tmp_path / "out"), Each(lambda pixels: pixels))


def test_a_picture_that_does_not_fit_the_memory_costs_itself(
    decoder: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise MemoryError

    picture(40, 30).save(tmp_path / "a.png")
    with monkeypatch.context() as patch:
        patch.setattr(decoders, "_read_into", full)
        with pytest.raises(PictureError, match="does not fit in memory"):
            decoder.read(tmp_path / "a.png", DEEP)
    assert decoder.read(tmp_path / "a.png", DEEP).picture.pixels.shape == (30, 40, 3)


@posix
@pytest.mark.slow
def test_a_whole_job_that_was_stopped_for_long_is_late_with_nothing(tmp_path: Path) -> None:
    """As Ctrl-Z and fg, or a machine that sleeps: the processes stop together and go on together."""
    program = (
        "import sys, time; from pathlib import Path; from img2img.images import Reading;"
        "from img2img.inference import decoders as d;"
        "d._CODE = d._CODE.replace('import main;', 'import main; import time;"
        " import img2img.inference.decoding as x; x.a = x._answer;"
        " x._answer = lambda *y: (time.sleep(1.5), x.a(*y));');"
        "made = d.Decoder(10); watch = d.Watch([made]); made._running(); print('go', flush=True);"
        "print(made.read(Path(sys.argv[1]), Reading()).picture.pixels.shape)"
    )
    picture(40, 30).save(tmp_path / "a.png")
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "a.png"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "go\n"
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(10.5)
    os.killpg(process.pid, signal.SIGCONT)
    out, errors = process.communicate(timeout=60)
    assert out == "(30, 40, 3)\n", errors


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_no_decoder_outlives_a_killed_command(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from img2img.images import Reading;"
        "from img2img.inference.decoders import Decoder; d = Decoder(60);"
        "d.read(Path(sys.argv[1]), Reading()); print(d._process.pid, flush=True); time.sleep(60)"
    )
    picture(4, 4).save(tmp_path / "a.png")
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "a.png"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert Path(f"/proc/{child}").exists()
    process.kill()
    process.wait()
    for _ in range(600):
        if not Path(f"/proc/{child}").exists():
            return
        time.sleep(0.1)
    pytest.fail("the decoding process lives on")
