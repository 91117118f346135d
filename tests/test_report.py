"""The page of a training and the table of runs, made of what lies in run folders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from img2img.errors import UsageError
from img2img.images import contact_sheet
from img2img.training import train
from img2img.training.curves import POINTS, evenly, thin
from img2img.training.differences import changed_settings
from img2img.training.presets import resolve
from img2img.training.report import SHEETS, write_comparison, write_report
from img2img.training.runs import find_runs, read_run, summaries
from tests.test_training import Stop, config_of


def run_at(
    folder: Path, steps: int = 40, sheets: int = 2, config: str = "", rows: list[Any] | None = None
) -> Path:
    """A run folder as a training of `steps` steps leaves it, without its models."""
    (folder / "samples").mkdir(parents=True)
    (folder / "config.toml").write_text(
        'method = "pix2pix"\ndata = "pairs"\nname = ""\ncrop_size = 16\n'
        f"{config}\n[settings]\nlr = 0.1\n"
    )
    written = rows or [
        {"event": "step", "step": n, "steps": steps, "lr_factor": 1.0, "steps_per_second": 2.0,
         "losses": {"D": 1 / n, "G/l1": float(n)}}
        for n in range(1, steps + 1)
    ]  # fmt: skip
    for k in range(1, sheets + 1):
        step = steps * k // sheets
        picture = np.full((16, 16, 3), 5 * k, np.uint8)
        sheet = contact_sheet([[picture, picture]] * 2, ["input", "output"])
        Image.fromarray(sheet).save(folder / "samples" / f"step-{step:08d}.jpg")
        written.append({"event": "validation", "step": step, "psnr": 20.0 - k})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    return folder


def data_of(page: Path) -> dict[str, Any]:
    text = page.read_text()
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(found)


def test_curves_are_thinned_to_means_with_their_range() -> None:
    curve = thin(list(range(1, 9)), [0, 2, 4, 6, 1, 1, 0, float("nan")], most=4)
    assert curve["steps"] == [2, 4, 6, 8] and curve["mean"] == [1, 5, 1, None]
    assert curve["low"][:3] == [0, 4, 1] and curve["high"][:3] == [2, 6, 1]
    assert thin([1, 2], [0.5, 0.25]) == {"steps": [1, 2], "mean": [0.5, 0.25]}


def test_sheets_are_kept_evenly() -> None:
    assert evenly([1, 2, 3], 5) == [1, 2, 3]
    assert evenly(list(range(101)), 5) == [0, 25, 50, 75, 100]


def test_the_page_holds_curves_samples_and_commands(tmp_path: Path) -> None:
    page = write_report(read_run(run_at(tmp_path / "my run")))
    data, text = data_of(page), page.read_text()
    curves = data["runs"][0]["curves"]
    assert set(curves["losses"]) == {"D", "G/l1"} and set(curves["figures"]) == {"psnr"}
    assert curves["pace"]["learning rate"]["mean"][0] == 0.1
    assert [sheet["step"] for sheet in data["sheets"]] == [20, 40]
    newest = data["newest"]
    assert (newest["side"], newest["rows"], newest["columns"]) == (16, 2, ["column 1", "column 2"])
    best = {"step": 20, "kind": "best", "text": "best so far by psnr: 19"}
    assert data["runs"][0]["events"] == [best]
    assert f"img2img translate PHOTOS -o OUT -m &#x27;{tmp_path}/my run&#x27;" in text
    assert not re.search(r"(?:src|href)=['\"](?!data:)", text) and "://" not in re.sub(
        r"xmlns=\S+|\"http://www.w3.org/2000/svg\"", "", text
    )


def test_a_long_run_makes_a_small_page(tmp_path: Path) -> None:
    steps = 100_000
    rows = [
        {"event": "step", "step": n, "steps": steps, "lr_factor": 1.0, "steps_per_second": 2.0,
         "losses": {"D": n / 3}}
        for n in range(100, steps + 1, 100)
    ]  # fmt: skip
    page = write_report(read_run(run_at(tmp_path / "run", steps, sheets=40, rows=rows)))
    data = data_of(page)
    assert len(data["runs"][0]["curves"]["losses"]["D"]["steps"]) == POINTS
    assert len(data["sheets"]) == SHEETS and data["sheets"][-1]["step"] == steps
    assert page.stat().st_size < 2_000_000


@pytest.mark.slow
def test_a_page_of_photographs_stays_small_enough_to_send(tmp_path: Path) -> None:
    """100 000 steps of 40 curves and 40 sheets of 6 rows of 3 crops of 256 pixels, as detailed as
    photographs of foliage: after JPEG, about a bit and a half per pixel."""
    steps, draws = 100_000, np.random.default_rng(0)
    rows = [
        {"event": "step", "step": n, "steps": steps, "lr_factor": 1.0, "steps_per_second": 2.0,
         "losses": dict(zip((f"loss {k}" for k in range(40)), draws.random(40), strict=True))}
        for n in range(100, steps + 1, 100)
    ]  # fmt: skip
    folder = run_at(tmp_path / "run", steps, sheets=40, rows=rows)
    config = (folder / "config.toml").read_text().replace("crop_size = 16", "crop_size = 256")
    (folder / "config.toml").write_text(config)
    newest = 0
    for path in sorted((folder / "samples").iterdir()):
        crops = [[_foliage(draws) for _ in range(3)] for _ in range(6)]
        sheet = contact_sheet(crops, ["input", "output", "truth"])
        Image.fromarray(sheet).save(path, quality=92)
        newest = path.stat().st_size
    assert 8 * newest > 1.5 * 6 * 3 * 256**2  # as detailed as that
    size = write_report(read_run(folder)).stat().st_size
    print(newest, size)
    assert 3_000_000 < size < 20_000_000


def _foliage(draws: np.random.Generator) -> np.ndarray:
    """A crop of 256 pixels with detail of every size."""
    pixels = np.zeros((256, 256, 3), np.float32)
    for side in (2, 4, 8, 16, 32, 64, 128, 256):
        noise = draws.integers(0, 256, (side, side, 3), np.uint8)
        pixels += np.asarray(Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC))
    return np.clip(2 * (pixels / 8 - 127.5) + 127.5, 0, 255).astype(np.uint8)


def test_names_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script>"
    rows = [{"event": "step", "step": 1, "steps": 1, "losses": {hostile: 1.0}, "lr_factor": 1,
             "steps_per_second": 1}]  # fmt: skip
    folder = run_at(tmp_path / "run", 1, 1, rows=rows)
    text = (folder / "config.toml").read_text().replace('name = ""', f'name = "{hostile}"')
    (folder / "config.toml").write_text(text)
    page = write_report(read_run(folder))
    assert "<script>alert" not in page.read_text()
    assert hostile in data_of(page)["runs"][0]["curves"]["losses"]


def test_only_what_differs_from_the_preset_is_listed(tmp_path: Path) -> None:
    values = {"method": "pix2pix", "data": "d", "out": tmp_path, "settings": {"lambda_l1": 7.0}}
    config = resolve(values | {"seed": 3}, "tiny").model_dump(mode="json", exclude_none=True)
    assert config["preset"] == "tiny"
    assert changed_settings(config) == [("seed", "3", "0"), ("lambda_l1", "7.0", "100.0")]
    config["settings"]["generator"] = "unet"
    config["settings"]["generator_options"]["width"] = 99
    assert ("generator.width", "99", "16") in changed_settings(config)
    assert changed_settings({"method": "of another version"}) == []


def test_runs_beside_each_other(tmp_path: Path) -> None:
    run_at(tmp_path / "runs" / "a")
    run_at(tmp_path / "runs" / "group" / "b", config='best = "psnr"')
    assert [p.name for p in find_runs(tmp_path / "runs")] == ["a", "b"]
    assert find_runs(tmp_path / "runs" / "a") == [tmp_path / "runs" / "a"]
    a, b = summaries(find_runs(tmp_path / "runs"))
    assert (a.method, a.state, a.step, a.steps) == ("pix2pix", "finished", 40, 40)
    assert (b.best, b.best_value, b.best_step, b.seconds) == ("psnr", 19.0, 20, None)
    page = tmp_path / "two.html"
    write_comparison(page, find_runs(tmp_path / "runs"))
    assert [run["name"] for run in data_of(page)["runs"]] == ["a", "b"]
    with pytest.raises(UsageError, match="no run folder"):
        find_runs(tmp_path / "nothing")


def test_a_training_writes_its_report(pairs: Path, tmp_path: Path) -> None:
    config = config_of(pairs, tmp_path / "run", steps=2, sample_every=1, save_every=1)
    train(config, should_stop=Stop(1))
    run = read_run(config.out)
    assert (run.state, run.record["state"], run.step) == ("stopped", "stopped", 1)
    assert run.record["memory_bytes"] > 0 and run.record["environment"]["device"] == "cpu"
    train(config)
    run, data = read_run(config.out), data_of(config.out / "report.html")
    assert run.state == "finished" and run.minutes is not None
    assert [s["step"] for s in data["sheets"]] == [1, 2]
    texts = [event["text"] for event in data["runs"][0]["events"]]
    assert texts[:2] == ["stopped", "resumed"]


def test_a_run_that_trains_now_is_running(tmp_path: Path) -> None:
    from img2img.training.run_folder import claimed

    folder = run_at(tmp_path / "run")
    with claimed(folder):
        assert read_run(folder).state == "running"
    assert read_run(folder).state == "finished"
