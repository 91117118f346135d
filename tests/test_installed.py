"""The command of every hint fits the way img2img was installed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from img2img.diagnostics import doctor
from img2img.system import installed

ROOT = Path(__file__).resolve().parent.parent
SHELL = pytest.mark.skipif(os.name == "nt", reason="quoted for a POSIX shell")


def distribution(
    folder: Path, name: str = installed.DISTRIBUTION, version: str = "0.1.0", **files: str
) -> None:
    """Write the notes of an installed distribution into `folder`."""
    notes = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    notes.mkdir(parents=True)
    (notes / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for file, text in files.items():
        suffix = ".json" if file == "direct_url" else ".txt" if file == "entry_points" else ""
        (notes / f"{file}{suffix}").write_text(text)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed distributions that is the only one, and `pip` of this interpreter."""
    folder = tmp_path / "site"
    folder.mkdir()
    found = importlib.metadata.distributions
    monkeypatch.setattr(
        importlib.metadata, "distributions", lambda **more: found(path=[str(folder)], **more)
    )
    monkeypatch.setattr(
        installed, "_version", lambda: "0.1.0" if list(folder.glob("img2img_tr*")) else None
    )
    monkeypatch.setattr(installed.sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(installed.sys, "executable", str(tmp_path / "prefix" / "bin" / "python"))
    monkeypatch.setattr(
        installed.shutil, "which", lambda name: str(tmp_path / f"prefix/bin/{name}")
    )
    (tmp_path / "prefix").mkdir()
    return folder


def noted(path: Path, **more: object) -> str:
    return json.dumps({"url": path.as_uri(), **more})


def test_the_names_are_those_of_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == installed.DISTRIBUTION
    assert project["scripts"] == {"img2img": "img2img.cli:main"}
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"])
    (itself,) = [x for x in project["optional-dependencies"]["dev"] if "img2img" in x]
    assert itself.startswith(f"{installed.DISTRIBUTION}[")


@SHELL
def test_a_checkout_and_an_archive(environment: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "my clone"
    checkout.mkdir()
    distribution(environment, direct_url=noted(checkout, dir_info={"editable": True}))
    assert installed.hint("train") == f"pip install -e '{checkout}[train]'"
    (notes,) = environment.iterdir()
    (notes / "direct_url.json").write_text(noted(checkout, dir_info={}))
    assert installed.hint("train") == f"pip install '{checkout}[train]'"
    checkout.rmdir()  # nothing to install from; pip adds the extra to what is installed
    assert installed.hint("train") == "pip install 'img2img-translate[train]'"
    wheel = tmp_path / "x.whl"
    wheel.touch()
    (notes / "direct_url.json").write_text(noted(wheel, archive_info={}))
    assert installed.hint("heic") == "pip install 'img2img-translate[heic]'"
    assert installed.reinstall() == f"pip install --force-reinstall --no-deps {wheel}"
    for damaged in ("", "[1]", "{", '{"url": 3, "dir_info": {}}'):
        (notes / "direct_url.json").write_text(damaged)
        assert installed.hint("heic") == "pip install 'img2img-translate[heic]'"
    assert installed.reinstall().endswith(" --no-deps img2img-translate==0.1.0")


@SHELL
def test_what_is_not_installed_is_installed_from_its_folder(environment: Path) -> None:
    assert installed.hint("train") == f"pip install '{ROOT}[train]'"


@SHELL
def test_the_tool_and_the_interpreter(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(environment)
    python, prefix = installed.sys.executable, tmp_path / "prefix"
    monkeypatch.setattr(installed.shutil, "which", lambda name: "/elsewhere/pip")
    assert installed.hint("gpu") == f"{python} -m pip install 'img2img-translate[gpu]'"
    (prefix / "pipx_metadata.json").touch()
    assert installed.hint("gpu") == "pipx runpip prefix install 'img2img-translate[gpu]'"
    (prefix / "pipx_metadata.json").unlink()
    (environment / "img2img_translate-0.1.0.dist-info" / "INSTALLER").write_text("uv\n")
    assert installed.hint("gpu") == f"uv pip install --python {python} 'img2img-translate[gpu]'"
    assert installed.uninstall("a") == f"uv pip uninstall --python {python} a"
    receipt = '[tool]\nrequirements = [{ name = "img2img-translate", extras = ["heic"] }]\n'
    (prefix / "uv-receipt.toml").write_text(receipt)
    assert installed.hint("gpu") == "uv tool install --force 'img2img-translate[gpu,heic]'"


def test_double_quotes_for_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed.os, "name", "nt")
    line = installed._line("pip", "install", "-e", "C:\\my clone[train]")
    assert line == 'pip install -e "C:\\my clone[train]"'


def test_the_other_project_is_noticed(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(environment)
    assert installed.other_project_version() is None
    ours = "[console_scripts]\nimg2img = img2img.cli:main\n"  # as this project was once called
    distribution(environment, "img2img", "0.1.0", entry_points=ours)
    assert installed.other_project_version() is None
    theirs = "[console_scripts]\njpg2png = img2img:jpg2png\n"
    distribution(environment, "img2img", "0.2.0", entry_points=theirs)
    assert installed.other_project_version() == "0.2.0"
    row = doctor._rivals()[0]
    assert row.status == "problem" and "img2img 0.2.0 is another project" in row.what
    assert "uninstall -y img2img && " in row.fix and "img2img-translate==0.1.0" in row.fix


def test_nothing_names_the_other_project() -> None:
    """No hint, page or text may send a user to `pip install img2img`."""
    wrong = []
    texts = (".py", ".md", ".html", ".js", ".json", ".toml", ".txt", "")
    for folder in ("img2img", "cli", "docs", "weights", "examples", ".ci"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix not in texts or not path.is_file() or "__pycache__" in path.parts:
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            if "img2img[" in text or "pip install img2img" in text.replace("'", ""):
                wrong.append(str(path.relative_to(ROOT)))
    for name in ("README.md", "pyproject.toml", "CHANGELOG.md"):
        if "img2img[" in (ROOT / name).read_text():
            wrong.append(name)
    assert wrong == []


def test_a_hint_leaves_distutils_to_setuptools() -> None:
    """Setuptools gives its distutils up for good when a module called pip is looked for."""
    program = (
        "import sys; from img2img.system import installed; installed.hint('train')\n"
        "hooks = [h for h in sys.meta_path if type(h).__name__ == 'DistutilsMetaFinder']\n"
        "print(all(h.find_spec('distutils', None) is not None for h in hooks))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
