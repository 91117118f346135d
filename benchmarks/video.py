"""Clips against pictures: the speed, and how much the result flickers.

    python benchmarks/video.py [MODEL...] [--frames 60] [--repeats 3] [--step 3] [--noise 1.5]
        [--runner onnxruntime] [--keep DIR] [--json]

The camera pans over a photograph of examples/photos by `--step` pixels a frame (a fraction too),
with sensor noise of `--noise` levels, as 960x540 H.264. Speed: the same frames once as a folder of
JPEG files through `translate_folder` and once as a clip through `translate_clips`, in turns and in
one process each; seconds are those between the start event and the summary, and the ratio is that
of the least of the repeats, since other programs may use the machine. Processor seconds are of all
processes and threads of the job, and nearly the same on a busy machine. Flicker
(docs/reference/metrics.md): each frame for itself, with the statistics of the shot held, and with
the temporal blend too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from img2img.evaluation.flicker import evaluate_video
from img2img.inference import TranslateRequest
from img2img.inference.video import VideoOptions, translate_clips

ROOT = Path(__file__).resolve().parent.parent
SIZE = (960, 540)
WAYS = {
    "each frame for itself": VideoOptions(hold=False, temporal_blend=0),
    "statistics held": VideoOptions(temporal_blend=0),
    "held and blended": VideoOptions(),
}
JOB = """
import os, sys, time
from img2img.inference import Started, Summary, TranslateRequest, translate_folder
from img2img.inference.video import ClipsStarted, ClipSummary, translate_clips
kind, source, out, model, runner = sys.argv[1:]
request = TranslateRequest(inputs=(source,), out=out, model=model, runner=runner)
events = translate_folder(request) if kind == "pictures" else translate_clips(request)
def used():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system
for event in events:
    if isinstance(event, (Started, ClipsStarted)):
        began, cpu = time.perf_counter(), used()
    if isinstance(event, (Summary, ClipSummary)):
        assert event.done and not event.failed, event.failed
        print(time.perf_counter() - began, used() - cpu)
"""


def frames(count: int, step: float, noise: float) -> list[np.ndarray]:
    """A pan over a photograph, sampled between the pixels where `step` is a fraction."""
    image = Image.open(ROOT / "examples" / "photos" / "roman-colosseum.jpg").convert("RGB")
    wide = SIZE[0] + int(count * step) + 2
    image = image.resize((max(wide, 1600), max(wide, 1600) * image.height // image.width))
    rng, found = np.random.default_rng(0), []
    for k in range(count):
        x, y = k * step, (image.height - SIZE[1]) / 2
        part = image.transform(
            SIZE, Image.Transform.AFFINE, (1, 0, x, 0, 1, y), Image.Resampling.BICUBIC
        )
        seen = np.asarray(part) + rng.normal(0, noise, (SIZE[1], SIZE[0], 3))
        found.append(np.clip(np.rint(seen), 0, 255).astype(np.uint8))
    return found


def write(pictures: list[np.ndarray], folder: Path) -> Path:
    """The frames as JPEG files below `folder`, and as a clip, which is returned."""
    import av

    (folder / "frames").mkdir()
    path = folder / "clip.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"crf": "16", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for k, pixels in enumerate(pictures):
            Image.fromarray(pixels).save(folder / "frames" / f"{k:04}.jpg", quality=95)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 30)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def timed(kind: str, source: Path, out: Path, model: str, runner: str) -> tuple[float, float]:
    """Seconds and processor seconds of one job."""
    done = subprocess.run(
        [sys.executable, "-c", JOB, kind, str(source), str(out), model, runner],
        capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"}, cwd=ROOT,
    )  # fmt: skip
    seconds, used = map(float, done.stdout.split())
    return seconds, used


def judge(model: str, given: argparse.Namespace, folder: Path) -> dict[str, object]:
    """All figures of one model."""
    source = folder / "clip.mp4"
    found: dict[str, list[tuple[float, float]]] = {"pictures": [], "video": []}
    for turn in range(given.repeats):
        for kind, one in (("pictures", folder / "frames"), ("video", source)):
            out = folder / f"{model}-{kind}-{turn}"
            found[kind].append(timed(kind, one, out, model, given.runner))
    least = {
        kind: [min(column) for column in zip(*rows, strict=True)] for kind, rows in found.items()
    }
    row: dict[str, object] = {
        "model": model,
        "pictures_per_second": given.frames / least["pictures"][0],
        "frames_per_second": given.frames / least["video"][0],
    }
    for k, name in enumerate(("speed", "speed_by_processor_seconds")):
        row[name] = least["pictures"][k] / least["video"][k]
    for name, options in WAYS.items():
        target = folder / f"{model}-{name.replace(' ', '-')}.mp4"
        request = TranslateRequest(
            inputs=(source,), out=target, model=model, runner=given.runner, overwrite=True
        )
        for _ in translate_clips(request, options):
            pass
        row[name] = evaluate_video(target, source).flicker
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", default=["painting"])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--step", type=float, default=3)
    parser.add_argument("--noise", type=float, default=1.5)
    parser.add_argument("--runner", default="onnxruntime")
    parser.add_argument("--keep", type=Path, help="a new folder for the clips, which stay")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=given.keep is None)
        write(frames(given.frames, given.step, given.noise), folder)
        for model in given.models:
            row = judge(model, given, folder)
            if given.json:
                print(json.dumps(row))
                continue
            print(f"{model}: speed {row['speed']:.2f} of the pictures' "
                  f"({row['speed_by_processor_seconds']:.2f} by processor seconds), "
                  f"{row['frames_per_second']:.2f} frames/s")  # fmt: skip
            for name in WAYS:
                print(f"  flicker, {name}: {row[name]:.3f} levels", flush=True)


if __name__ == "__main__":
    main()
