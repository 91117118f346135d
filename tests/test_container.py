"""The Dockerfile against the project: what it copies is enough for the wheel, its extras exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "how-to" / "run-in-a-container.md").read_text(encoding="utf-8")


def test_its_extras_and_its_python_are_ours() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    given = re.findall(r"EXTRAS=([\w,]+)", DOCKERFILE + PAGE)
    assert len(given) == 3
    assert {extra for text in given for extra in text.split(",")} <= {
        *project["optional-dependencies"]
    }
    (version,) = re.findall(r"ARG PYTHON=([\d.]+)", DOCKERFILE)
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_ci_builds_it_translates_and_serves() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    done = "\n".join(step.get("run", "") for step in workflow["jobs"]["container"]["steps"])
    for words in ("docker build -t img2img .", "translate photos/", "/healthz", "docker stop"):
        assert words in done
    # The options are those of the page.
    for words in ("serve painting --host 0.0.0.0 --allow-host localhost", "-p 127.0.0.1:8000:8000"):
        assert words in done and words in PAGE
    for photo in re.findall(r"examples/photos/[\w-]+\.jpg", done):
        assert (ROOT / photo).is_file()


@pytest.mark.slow
def test_the_files_it_is_given_make_the_wheel(tmp_path: Path) -> None:
    """As `COPY . /source` takes them: everything but what `.dockerignore` does not take back."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    source = tmp_path / "source"
    source.mkdir()
    for name in [line[1:] for line in lines if line.startswith("!")]:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = {*zipfile.ZipFile(wheel).namelist()}
    assert {"img2img/cli/__init__.py", "img2img/weights/painting.onnx"} <= names
    assert "img2img/system/assets/serve.html" in names
