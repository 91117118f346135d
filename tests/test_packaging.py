"""Wheel, sdist and editable installation, each in a fresh virtual environment without torch."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
IGNORED = shutil.ignore_patterns(
    ".git", ".venv", "*.egg-info", "__pycache__", "build", "dist", ".*_cache", "runs", "out"
)


def run(*command: object, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, env=environment | more, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that building leaves nothing in it."""
    folder = tmp_path_factory.mktemp("source") / "img2img"
    shutil.copytree(ROOT, folder, ignore=IGNORED)
    return folder


@pytest.fixture(scope="module")
def built(source: Path) -> dict[str, Path]:
    done = run(sys.executable, "-m", "build", "--outdir", "dist", ".", cwd=source)
    if done.returncode and "CI" not in os.environ and "setuptools" in done.stdout + done.stderr:
        pytest.skip("the package index cannot be reached, so nothing can be built")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    (sdist,) = (source / "dist").glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist, "editable": source}


@pytest.mark.slow
def test_the_archives_hold_what_they_must(built: dict[str, Path]) -> None:
    names = zipfile.ZipFile(built["wheel"]).namelist()
    (manual,) = [n for n in names if ".data/" in n]
    assert manual.endswith(".data/data/share/man/man1/img2img.1")
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {
        "img2img",
        manual.split("/")[0],
    }
    with tarfile.open(built["sdist"]) as archive:
        sdist = {n.partition("/")[2] for n in archive.getnames()}
    shipped = [p.name for p in (ROOT / "weights").iterdir() if p.is_file() and p.suffix != ".py"]
    assert len(shipped) > 8
    for name in shipped:
        assert f"img2img/weights/{name}" in names and f"weights/{name}" in sdist
    assert "img2img/cli/app.py" in names and "cli/app.py" in sdist
    assert "img2img/py.typed" in names and "docs/man/img2img.1" in sdist
    pages = {
        f"img2img/system/assets/{path.name}"
        for path in (ROOT / "img2img" / "system" / "assets").iterdir()
    }
    assert len(pages) > 8 and pages <= {*names} & sdist
    assert not [n for n in names if n.startswith(("img2img/tests", "tests", "docs"))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
def test_a_fresh_environment_translates(kind: str, built: dict[str, Path], tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "env", cwd=tmp_path)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    wanted = ["-e", built[kind]] if kind == "editable" else [built[kind]]
    constraints = ROOT / ".ci" / "constraints.txt"
    done = run(python, "-m", "pip", "install", "-q", "-c", constraints, *wanted, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run(python, "-c", "import torch", cwd=tmp_path).returncode != 0

    top = "import importlib.metadata as m; print(sorted(k for k, v in m.packages_distributions().items() if 'img2img-translate' in v))"
    names = run(python, "-c", top, cwd=tmp_path).stdout.strip()
    assert names == "['img2img']" or (kind == "editable" and "cli" not in names), names
    for command in ([scripts / "img2img"], [python, "-m", "img2img.cli"]):
        assert run(*command, "--version", cwd=tmp_path).stdout.startswith("img2img ")
    manual = tmp_path / "env" / "share" / "man" / "man1" / "img2img.1"
    assert manual.is_file() is (kind != "editable")
    examples = ROOT / "examples" / "sketches"
    done = run(scripts / "img2img", "translate", examples, "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pictures = {p.name for p in examples.iterdir()}
    assert {p.name for p in (tmp_path / "out").glob("[!.]*")} == pictures

    needs = run(scripts / "img2img", "train", "pix2pix", ".", "-o", "run", cwd=tmp_path)
    assert needs.returncode == 4
    # By name, pip adds the extra to what is installed, wherever that came from, and asks no index.
    spec = f"{built[kind] if kind == 'editable' else 'img2img-translate'}[train]"
    words = ["install", *(["-e"] if kind == "editable" else []), spec]
    hint = shlex.join([str(python), "-m", "pip", *words])
    assert needs.stderr == f"img2img: train needs the 'train' extra: {hint}\n"
    if kind != "editable":
        trial = run(*shlex.split(hint), "--dry-run", "--no-deps", "--no-index", cwd=tmp_path)
        assert trial.returncode == 0, trial.stderr
    doctor = run(scripts / "img2img", "doctor", cwd=tmp_path)
    assert doctor.returncode == 0, doctor.stdout
    assert hint in doctor.stdout
    model = run(
        scripts / "img2img", "translate", examples, "-o", "out2", "--runner", "torch", cwd=tmp_path
    )
    assert model.returncode == 4 and "'train' extra" in model.stderr
