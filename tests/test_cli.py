"""The command line as a person meets it: one line, the right exit code, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import img2img
from img2img.model_format.checkpoint import save_model
from tests.conftest import Cli, Main, info_of, picture, small_generator

TRAIN = [
    "--steps", "6", "--device", "cpu", "--precision", "fp32", "--threads", "1", "--set", "load_size=40",
    "--set", "crop_size=32", "--set", "generator.width=4", "--set", "generator.depth=3",
    "--set", "discriminator.width=4", "--set", "log_every=2",
]  # fmt: skip


def test_version_and_help(cli: Cli) -> None:
    assert cli("--version").stdout == f"img2img {img2img.__version__}\n"
    for command in ([], ["translate"], ["train"], ["export"], ["models"], ["doctor"]):
        done = cli(*command, "--help")
        assert done.returncode == 0 and "Usage" in done.stdout


def test_translate_a_folder(cli: Cli, photos: Path, onnx_file: Path, tmp_path: Path) -> None:
    done = cli("translate", photos, "-o", "out", "-m", onnx_file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 translated into out in ")
    out = tmp_path / "out"
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*") if ".img2img" not in str(p)) == [
        "one.jpg", os.path.join("sub", "one.jpg"), "two.png",
    ]  # fmt: skip
    again = cli("translate", photos, "-o", "out", "-m", onnx_file)
    assert "3 already there" in again.stdout and again.returncode == 0


def test_translate_json_formats_and_torch(
    cli: Cli, photos: Path, model_file: Path, tmp_path: Path
) -> None:
    done = cli("translate", photos / "one.jpg", photos / "two.png", "-o", "out", "-m", model_file,
               "--format", "webp", "--json")  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["event"] for r in rows] == ["start", "picture", "picture", "summary"]
    assert "torch" in rows[0]["runner"] and rows[-1]["done"] == 2
    with Image.open(tmp_path / "out" / "one.webp") as image:
        assert (image.format, image.size) == ("WEBP", (40, 30))


@pytest.mark.slow
def test_globs_that_the_shell_left_alone(cli: Cli, photos: Path, onnx_file: Path) -> None:
    done = cli("translate", "photos/*.jpg", "-o", "out", "-m", onnx_file)
    assert done.stdout.startswith("1 translated")
    assert cli("translate", "photos/*.bmp", "-o", "out", "-m", onnx_file).returncode == 2


def test_a_bad_picture_is_listed_and_the_exit_code_is_1(
    cli: Cli, photos: Path, onnx_file: Path
) -> None:
    (photos / "x[").mkdir()
    (photos / "x[" / "red]%s.png").write_bytes(b"no picture")
    done = cli("translate", photos, "-o", "out", "-m", onnx_file)
    assert done.returncode == 1
    assert done.stdout.startswith("3 translated") and "1 failed" in done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert len(lines) == 1 and "x[/red]%s.png: cannot be decoded: not a picture" in lines[0]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="file names that are not text")
def test_names_that_are_not_text_do_not_stop_the_printer(
    cli: Cli, photos: Path, onnx_file: Path, tmp_path: Path
) -> None:
    bad = os.fsencode(photos) + b"/\xff\xfe\n.png"
    Path(os.fsdecode(bad)).write_bytes(b"no picture")
    good = os.fsdecode(os.fsencode(photos) + b"/caf\xe9.png")
    picture(8, 8).save(good)
    for locale in ("C", "C.UTF-8"):
        done = cli("translate", photos, "-o", "out", "-m", onnx_file, "--overwrite", "--json",
                   env={"LC_ALL": locale, "PYTHONUTF8": "0"})  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert all(json.loads(line) for line in done.stdout.splitlines())
        plain = cli("translate", photos, "-o", "out", "-m", onnx_file, "--overwrite",
                    env={"LC_ALL": locale, "PYTHONUTF8": "0"})  # fmt: skip
        assert len([x for x in plain.stderr.splitlines() if x.startswith("failed: ")]) == 1
    assert b"caf\xe9.png" in os.listdir(os.fsencode(tmp_path) + b"/out")


def test_wrong_use(
    main: Main, photos: Path, model_file: Path, onnx_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.onnx").write_text("x")
    (tmp_path / "text.txt").write_text("x")
    six = small_generator(in_channels=6)
    save_model(tmp_path / "six.safetensors", six, info_of(six))
    rows: list[tuple[list[object], int, str]] = [
        (["translate", "missing", "-o", "out"], 2, "missing: no such file or folder"),
        (["translate", "empty", "-o", "out"], 2, "empty: no picture in this folder"),
        (["translate", photos, "-o", photos / "out"], 2, "would be read again"),
        (["translate", photos, "-o", "text.txt"], 2, "is a file"),
        (["translate", photos, "-o", "out", "-m", "paintnig"], 2, "Did you mean 'painting'"),
        (["translate", photos, "-o", "out", "-m", "none/x.onnx"], 2, "no such model file"),
        (["translate", photos, "-o", "out", "-m", "empty"], 2, "without a model file"),
        (["translate", photos, "-o", "out", "-m", "text.txt"], 3, "not a model file"),
        (["translate", photos, "-o", "out", "-m", "text.onnx"], 3, "not an ONNX file that can be used"),
        (["translate", photos, "-o", "out", "-m", "six.safetensors"], 3, "takes 6 and gives 3"),
        (["translate", photos, "-o", "out", "--format", "jgp"], 2, "Did you mean 'jpg'"),
        (["translate", photos, "-o", "out", "--runner", "touch"], 2, "unknown runner 'touch'"),
        (["translate", photos, "-o", "out", "-m", onnx_file, "--device", "cuda:63"], 4, "is not available"),
        (["translate", photos, "-o", "out", "-m", onnx_file, "--device", "abacus"], 2, "abacus"),
        (["export", "missing", "-o", "x.onnx"], 2, "no model named 'missing'"),
        (["export", onnx_file, "-o", "x.onnx"], 2, "takes a .safetensors"),
        (["export", "six.safetensors", "-o", "nowhere/x.onnx"], 2, "no such folder"),
        (["export", "six.safetensors", "-o", "x.pb"], 2, "suffix .onnx"),
        (["export", "six.safetensors", "-o", "x.onnx"], 3, "takes 6 and gives 3"),
        (["export", model_file, "-o", "x.onnx", "--io", "int8"], 2, "give uint8 or float"),
        (["export", model_file, "-o", "x.onnx", "--static", "9"], 2, "such as 256x320"),
        (["export", model_file, "-o", "x.onnx", "--opset", "9"], 2, "opset 9 is not in 18 to 22"),
        (["export", model_file, "-o", "x.onnx", "--int8", "--fp16"], 2, "choose one"),
        (["export", model_file, "-o", "x.onnx", "--int8"], 2, "give --pictures"),
        (["export", model_file, "-o", "x.onnx", "--pictures", "none"], 2, "no such folder of pictures"),
        (["export", model_file, "-o", "x.onnx", "--pictures", "empty"], 2, "no picture that can be read"),
        (["models", "shaw"], 2, "Did you mean 'show'"),
        (["train", "pix2pics", photos, "-o", "run"], 2, "Did you mean 'pix2pix'"),
        (["train", "pix2pix", "missing", "-o", "run"], 2, "no such folder"),
        (["train", "pix2pix", "empty", "-o", "run"], 2, "no pictures in empty; expected: pairs"),
        (["train", "pix2pix", photos, "-o", "run", "--set", "lamda_l1=3"], 2, "Did you mean 'lambda_l1'"),
        (["train", "pix2pix", photos, "-o", "run", "--set", "x"], 2, "needs NAME=VALUE"),
        (["train", "pix2pix", photos, "-o", "run", "--config", "text.txt"], 2, "not TOML"),
        (["train", "pix2pix", photos, "-o", "run", "--precision", "fp7"], 2, "precision"),
    ]  # fmt: skip
    for arguments, code, text in rows:
        done = main(*arguments)
        assert done.returncode == code, (arguments, done.returncode, done.stderr)
        assert text in done.stderr, (arguments, done.stderr)
        errors = [x for x in done.stderr.splitlines() if not x.startswith("read ")]
        assert len(errors) == 1 and errors[0].startswith("img2img: "), (arguments, done.stderr)
        assert "Traceback" not in done.stderr and done.stdout == ""
    assert not (tmp_path / "run").exists() and not list((tmp_path / "empty").iterdir())


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits of the file size are set the POSIX way")
def test_a_full_disk_is_one_line_and_4(
    cli: Cli, photos: Path, onnx_file: Path, model_file: Path, pairs: Path, tmp_path: Path
) -> None:
    import resource

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    Image.fromarray(noise).save(photos / "zzz.png")
    Image.fromarray(noise[:9, :9]).save(photos / "tiny.png")
    commands: list[list[object]] = [
        ["translate", photos, "-o", "out", "-m", onnx_file],
        ["export", model_file, "-o", "x.onnx"],
        ["train", "pix2pix", pairs, "-o", "run", *TRAIN],
    ]
    for command in commands:
        done = cli(*command, preexec_fn=small_disk)
        assert done.returncode == 4, (command, done.stderr)
        (line,) = [x for x in done.stderr.splitlines() if x.startswith("img2img: ")]
        assert "disk full" in line and "Traceback" not in done.stderr
    assert not (tmp_path / "x.onnx").exists()
    assert not list(tmp_path.rglob(".i2i-*"))
    for path in (tmp_path / "out").glob("[!.]*.*"):
        with Image.open(path) as image:
            image.load()


def test_debug_shows_the_traceback(cli: Cli) -> None:
    assert "Traceback" in cli("translate", "missing", "-o", "out", "--debug").stderr


@pytest.mark.slow
def test_train_resume_translate_export(cli: Cli, pairs: Path, photos: Path, tmp_path: Path) -> None:
    done = cli("train", "pix2pix", pairs, "-o", "run", "--name", "mine", *TRAIN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == os.path.join("run", "model.safetensors")
    for text in (
        "6 pictures or pairs, 2 held out, 6 steps",
        "pictures/s",
        "left",
        "img2img translate PHOTOS -o OUT -m run",
        "report.html",
        "PSNR",
        "done after",
    ):
        assert text in done.stderr
    again = cli("train", "pix2pix", pairs, "-o", "run", *TRAIN)
    assert "resumed at step 6" in again.stderr and again.returncode == 0
    config = cli("train", "pix2pix", pairs, "-o", "run2", "--config", "run/config.toml", "--json")
    rows = [json.loads(line) for line in config.stdout.splitlines()]
    assert rows[-1]["event"] == "done" and rows[-1]["step"] == 6, config.stderr
    assert (tmp_path / "run2" / "model.safetensors").exists()

    exported = cli("export", "run", "-o", "m.onnx")
    assert exported.returncode == 0, exported.stderr
    assert "max levels" in exported.stdout and exported.stderr == ""
    shown = cli("models", "show", "m.onnx", "--all")
    assert "name: mine" in shown.stdout and "step: 6" in shown.stdout
    for model in ("run", "m.onnx"):
        out = cli("translate", photos, "-o", f"out-{model}", "-m", model)
        assert out.stdout.startswith("3 translated"), out.stderr
    a, b = (
        np.asarray(Image.open(tmp_path / f"out-{m}" / "two.png")).astype(int)
        for m in ("run", "m.onnx")
    )
    assert np.abs(a - b).max() <= 1


@pytest.mark.slow
def test_a_foreign_state_is_refused(cli: Cli, pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state-00000003.i2i").write_bytes(b"something else")
    done = cli("train", "pix2pix", pairs, "-o", "run", *TRAIN)
    assert done.returncode == 3 and "not a training state" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_a_signal_stops_a_training_at_a_step_and_it_resumes(
    pairs: Path, tmp_path: Path, number: signal.Signals
) -> None:
    command = [
        sys.executable,
        "-m",
        "img2img.cli",
        "train",
        "pix2pix",
        str(pairs),
        "-o",
        "run",
        *TRAIN,
    ]
    command[command.index("6")] = "100000"
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step 1/"):
            break
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait(timeout=300) == 128 + number
    assert "the same command resumes" in rest
    assert "Traceback" not in rest
    (state,) = (tmp_path / "run").glob("state-*.i2i")
    assert int(state.stem[6:]) >= 1
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_ctrl_c_stops_a_translation_cleanly(onnx_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    first = folder / "0000.jpg"
    picture(300, 300, 1).save(first)
    for k in range(1, 600):
        (folder / f"{k:04}.jpg").write_bytes(first.read_bytes())
    process = subprocess.Popen(
        [sys.executable, "-m", "img2img.cli", "translate", str(folder), "-o", "out",
         "-m", str(onnx_file), "--json"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    summary = json.loads(rest.splitlines()[-1])
    assert summary["not_reached"] > 0 and summary["failed"] == 0
    files = list((tmp_path / "out").glob("[!.]*"))
    assert len(files) == summary["done"]
    for path in files:
        with Image.open(path) as image:
            image.load()


def test_models_list_and_show(cli: Cli) -> None:
    listed = [json.loads(x) for x in cli("models", "list", "--json").stdout.splitlines()]
    assert sum(row["default"] for row in listed) == 1
    for row in listed:
        shown = json.loads(cli("models", "show", row["name"], "--json").stdout)
        assert shown["name"] == row["name"] and shown["licence"] == row["licence"]
        assert shown["bytes"] == row["bytes"] and shown["working_size"] == row["working_size"]


@pytest.mark.slow
def test_doctor(cli: Cli) -> None:
    done = cli("doctor", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == (1 if any(r["status"] == "problem" for r in rows) else 0)
    assert any("device cpu" in r["what"] and r["status"] == "ok" for r in rows)
    assert any(r["what"].startswith("torch ") for r in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["translate", "x"], "Missing option '-o'"),
        (["translate", "x", "-o", "y", "--qualty", "3"], "--quality"),
        (["nosuch"], "No such command 'nosuch'"),
        (["translate", "x", "-o", "y", "--quality", "300"], "--quality"),
    ],
)
def test_a_wrong_option_is_one_line(cli: Cli, arguments: list[str], said: str) -> None:
    done = cli(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert said in line and "--help" in line


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_a_reader_that_leaves_ends_the_job_quietly(
    photos: Path, onnx_file: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "img2img.cli", "translate", photos, "-o", tmp_path / "out",
         "-m", onnx_file, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(timeout=60) == 141 and said == b""
