"""Help that one likes: no line is too long, nothing is cut off, the examples can be typed."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from img2img.cli import commands as program
from img2img.cli.app import app
from img2img.methods import METHODS
from img2img.metrics import METRICS
from img2img.model_format.find import shipped
from img2img.runners import RUNNERS
from img2img.training.presets import presets_of
from tests.conftest import OWN, Cli, Main

COMMANDS = [
    "translate",
    "train",
    "runs",
    "report",
    "export",
    "serve",
    "evaluate",
    "models",
    "bench",
    "doctor",
    "data",
    "help",
]
INNER = ["data check", "data preview", "data demo", "data pair", "data split"]
INNER += ["models list", "models show", "models import"]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("command", ["", *COMMANDS, *INNER])
def test_help_fits_eighty_columns_and_is_whole(command: str, main: Main) -> None:
    long = main(*command.split(), "--help").stdout
    assert long and long == main(*command.split(), "-h").stdout
    assert max(map(len, long.splitlines())) <= 80
    # "..." stands only where arguments may be repeated.
    assert (
        re.sub(
            r"INPUT\.\.\.|RUN\.\.\.|COMMAND ?\.\.\.|\[MODEL\.\.\.\]|MODEL\.\.\.", "", long
        ).count("...")
        == 0
    )
    assert "TEXT" not in re.sub(r"--(?:name|licence) TEXT", "", long)
    assert "INTEGER" not in long and "RANGE" not in long and "Path" not in long


@pytest.mark.parametrize("command", [*COMMANDS, *INNER])
def test_help_of_a_command(command: str, main: Main) -> None:
    done = main("help", *command.split())
    assert done.returncode == 0 and done.stdout == main(*command.split(), "--help").stdout
    assert "[[" not in done.stdout
    assert "--quiet" in done.stdout or command in ("help", "data")


def test_help_alone_and_of_nothing(main: Main) -> None:
    assert main("help").stdout == main("--help").stdout
    done = main("help", "translte")
    assert done.returncode == 2 and "translate" in done.stderr
    done = main("help", "models", "shwo")
    assert done.returncode == 2 and "show" in done.stderr
    done = main("help", "translate", "photos")
    assert done.returncode == 2 and "img2img translate has no command 'photos'" in done.stderr


@pytest.mark.parametrize("command", [*COMMANDS, *INNER])
def test_the_examples_can_be_typed(command: str, main: Main) -> None:
    text = main(*command.split(), "-h").stdout.split("Examples:\n")[1].replace("\\\n", " ")
    examples = [shlex.split(line) for line in text.splitlines() if line.strip()]
    assert 1 < len(examples) <= 4
    root = typer.main.get_command(app)
    for name, first, *rest in examples:
        assert name == "img2img"
        found = root.get_command(None, first)  # type: ignore[attr-defined]
        assert found is not None, first
        if inner := getattr(found, "commands", {}).get(rest[0] if rest else ""):
            found, first, *rest = inner, *rest
        found.make_context(first, list(rest), resilient_parsing=False)


@pytest.mark.parametrize("name", program.COMMANDS)
def test_the_list_says_what_the_command_says_first(name: str) -> None:
    made = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    said = " ".join(made.help.split("\n\n")[0].split())
    assert made.name == name and program.COMMANDS[name].summary == said


def test_colour_only_on_a_terminal(cli: Cli) -> None:
    for command in (["translate", "-h"], []):  # without a command the help goes to stderr
        done = cli(*command, env={"NO_COLOR": ""})
        assert "Options:" in done.stdout or "Commands:" in done.stderr
        assert "\x1b" not in done.stdout + done.stderr


def test_what_is_typed_as_it_stands_is_shown_so(main: Main) -> None:
    assert "--norm instance|batch|none" in main("models", "import", "-h").stdout


def test_quiet_leaves_results_and_errors(cli: Cli, photos: object, onnx_file: object) -> None:
    (photos / "bad.png").write_bytes(b"no picture")  # type: ignore[operator]
    loud = cli("translate", photos, "-o", "loud", "-m", onnx_file)
    quiet = cli("translate", photos, "-o", "quiet", "-m", onnx_file, "--quiet")
    assert quiet.returncode == loud.returncode == 1
    assert quiet.stdout.startswith("3 translated")
    lines = quiet.stderr.splitlines()
    assert len(lines) == 1 and "bad.png" in lines[0] and len(loud.stderr.splitlines()) > 1


def test_completion_knows_the_models() -> None:
    from img2img.cli.options import model_names

    assert [name for name, _ in model_names("pain")] == ["painting"]
    assert model_names("nothing") == []


def test_the_command_line_knows_every_method_runner_and_metric() -> None:
    from img2img.cli import options

    assert (*METHODS,) == options.METHODS
    assert (*METRICS,) == options.METRICS
    assert ("auto", *RUNNERS) == options.RUNNERS


def _help_of(command: str, option: str) -> str:
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    return next(p.help for p in found.params if option in p.opts)


def test_the_help_names_every_method_preset_and_model() -> None:
    """The command line imports no training code to print its help, so the names stand there as text."""
    presets = {name for method in OWN for name in presets_of(METHODS[method])}
    assert set(re.findall(r"[\w-]+", _help_of("train", "method"))) - {"or"} == set(METHODS)
    said = _help_of("train", "--preset")
    assert presets == set(re.findall(r"[\w-]+", said)) - {"for", "every", "method", "or"}
    assert f"[default: {next(iter(shipped()))}]" in _help_of("translate", "--model")
    sizes = {name: METHODS[name].defaults.get("batch_size", 1) for name in OWN}
    said = _help_of("train", "--batch-size")
    reported = dict(re.findall(r"(\w+) (\d+)(?=[,\]])", said.partition("[default: 1;")[2]))
    assert reported == {name: str(size) for name, size in sizes.items() if size != 1}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_help_is_coloured_on_a_terminal(tmp_path: Path) -> None:
    """Headings or names of options in colour, and with NO_COLOR the same text without."""
    plain = on_a_terminal(tmp_path, NO_COLOR="1")
    coloured = on_a_terminal(tmp_path)
    assert "-m, --model" in plain and "\x1b" not in plain
    assert "\x1b[36m--model\x1b[0m" in coloured and "\x1b[1m" in coloured  # cyan; bold headings
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def on_a_terminal(folder: Path, **environment: str) -> str:
    """What `img2img translate --help` writes to a terminal of 80 columns."""
    import pty

    ours, theirs = pty.openpty()
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "img2img.cli", "translate", "--help"],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder,
        env=inherited | {"TERM": "xterm-256color", "COLUMNS": "80"} | environment,
    )  # fmt: skip
    os.close(theirs)
    parts = []
    with contextlib.suppress(OSError):  # Linux's answer once the other side is closed
        while part := os.read(ours, 65536):
            parts.append(part)
    os.close(ours)
    assert process.wait() == 0
    return b"".join(parts).decode()


@pytest.mark.parametrize("name", shipped())
def test_models_show_opens_with_what_the_model_is_for(name: str, main: Main) -> None:
    """First its title and purpose, then size, speed and a sample; the rest behind --all."""
    model = shipped()[name]
    done = main("models", "show", name)
    assert done.returncode == 0 and f"img2img models show {name} --all" in done.stderr
    head, _, facts = done.stdout.partition("\n\n")
    title, *purpose = head.splitlines()
    assert title.startswith(f"{name}: {model.title}") and " ".join(purpose).endswith(".")
    rows = [line.partition(":") for line in facts.splitlines() if ":" in line]
    given = {title: text.strip() for title, _, text in rows}
    assert list(given)[:3] == ["file", "size on disk", "working size"]
    assert re.fullmatch(r"[\d.]+ [KM]B", given["size on disk"])
    assert re.match(r"[\d.]+ .*\(onnxruntime.* CPU core", given["speed"])
    assert Path(given["sample"]).is_file()
    assert len(done.stdout.splitlines()) < len(
        main("models", "show", name, "--all").stdout.splitlines()
    )
