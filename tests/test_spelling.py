"""The library names options as Python does; only the command line turns them into its flags."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from img2img.cli.spelling import _OTHER, _flags, as_typed
from img2img.training.health import PROBLEMS
from tests.conftest import Main

LIBRARY = Path(__file__).resolve().parent.parent / "img2img"
# Flags of other programs, and what is no flag.
FOREIGN = {
    "system/installed.py": "pip, pipx and uv",
    "diagnostics/doctor.py": "pip",
    "features/found.py": "pip",
    "images/formats.py": "pip",
    "exporting/web_runtime.py": "npm",
    "diagnostics/bench.py": "python -m",
    "onnx_format/trial.py": "python -m",
    "inference/decoders.py": "python -c",
    "evaluation/report.py": "-inf",
    "exporting/onnx.py": "the package onnxruntime-gpu",
    "data/checks/check.py": "the command to type",
    "training/report.py": "the commands to type",
}
# Words between backticks that are no options.
WORDS = {"bounded_exp", "best"}


@functools.cache
def texts() -> set[tuple[str, str]]:
    """The strings of the library but docstrings, with their file."""
    found = set()
    for path in sorted(LIBRARY.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        alone = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in alone:
                found.add((path.relative_to(LIBRARY).as_posix(), str(node.value)))
    return found


def test_no_text_of_the_library_names_a_flag() -> None:
    flag = re.compile(r"(?<![\w-])--?[a-z]")
    found = {(file, text) for file, text in texts() if flag.search(text)}
    assert {row for row in found if row[0] not in FOREIGN} == set()
    assert FOREIGN.keys() == {file for file, _ in found}


def test_every_option_that_the_library_names_has_a_flag() -> None:
    named = {name for _, text in texts() for name in re.findall(r"`([a-z_]+)`", text)}
    assert {"size", "out", "overwrite"} <= named
    assert named - WORDS <= _flags().keys()
    assert _OTHER.keys() <= named


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("`size` 4: too small", "--size 4: too small"),
        ("give another `out`", "give another -o"),
        ("`max_megapixels` 328 lifts it", "--max-megapixels 328 lifts it"),
        ("choose with `domains`", "choose with --domain"),
        ("give `load_size=286` or more", "give --set load_size=286 or more"),
        ("use `generator=unet` `generator.depth=3`", "use --set generator=unet --set generator.depth=3"),
        ('give `metrics=["l1", "ssim"]`', """give --set 'metrics=["l1", "ssim"]'"""),
        ("the `best` one", "the `best` one"),
        ("a size=64 b.jpg", "a size=64 b.jpg"),
    ],
)  # fmt: skip
def test_an_option_is_printed_as_it_is_typed(text: str, typed: str) -> None:
    assert as_typed(text) == typed


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["translate", "", "-o", "out"], "an input, -o or -m is an empty name"),
        (["translate", "a.jpg", "-o", "s3://out"], "-o s3://out: a URL; give a folder or a file"),
        (["translate", "a.jpg", "-o", "out", "--name", "x"], "--name 'x': needs {stem} or {number}"),
        (["translate", "a.jpg", "-o", "b", "--timeout", "1e9"], "--timeout 1e+09: at most a million"),
        (["evaluate", "--fake", "a"], "--fake and --real belong together"),
    ],
)  # fmt: skip
def test_the_command_line_says_flags(
    main: Main, arguments: list[str], line: str, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").touch()
    done = main(*arguments)
    assert done.returncode == 2 and done.stderr.startswith(f"img2img: {line}")


def test_a_setting_may_have_digits_in_its_name() -> None:
    assert as_typed("give `beta1=0` or `lambda_l1=5`") == "give --set beta1=0 or --set lambda_l1=5"


def test_what_health_proposes_can_be_typed() -> None:
    for problem in PROBLEMS.values():
        assert "`" not in as_typed(problem.text)
