"""Every training that the documentation proposes has methods, presets, options and settings that
exist: with data that do not, each is answered by the missing folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from img2img.features import missing_features
from tests.conftest import ROOT, Main

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *ROOT.glob("weights/*.md")]
# What is left to the reader, or named by the page as a mistake.
_OPEN = re.compile(
    r"[A-Z]{2,}=|=VALUE|\.\.\.|://|--config|--init|--devices|torchrun|albumentations=|\$|<"
)


def commands(page: Path) -> list[str]:
    lines = page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found = (line.strip().removeprefix("$ ") for line in lines)
    return [line for line in found if line.startswith("img2img train ")]


FOUND = [(page, line) for page in PAGES for line in commands(page)]
CHECKED = [(page, line) for page, line in FOUND if not _OPEN.search(line)]


def test_there_are_some() -> None:
    assert len(CHECKED) > 40 and len(CHECKED) > 0.6 * len(FOUND)


@pytest.mark.parametrize("page", sorted({page for page, _ in CHECKED}), ids=lambda p: p.stem)
def test_settings_exist(page: Path, tmp_path: Path, main: Main) -> None:
    if missing := missing_features("vgg19", "lite0"):
        pytest.skip(missing)
    for _, line in (found for found in CHECKED if found[0] == page):
        words = shlex.split(line.partition(" #")[0])[2:]
        if "--help-settings" in words or "-h" in words:
            continue
        words[1] = str(tmp_path / "nowhere")
        if "-o" in words:
            words[words.index("-o") + 1] = str(tmp_path / "run")
        # A set of paintings beside the photographs is as absent as they are.
        words = [re.sub(r"^style=.*", f"style={tmp_path / 'nowhere'}", word) for word in words]
        done = main("train", *words)
        assert done.returncode == 2 and str(tmp_path / "nowhere") in done.stderr, (
            line,
            done.stderr,
        )
