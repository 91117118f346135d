"""What contributors are told is so: files and verbs that are named exist, versions agree, every page is
in the site."""

from __future__ import annotations

import re
import tomllib

import yaml

import img2img
from tests.conftest import ROOT

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_files_that_are_named_exist() -> None:
    text = GUIDE + (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:md|toml|yml|py|cff))`", text))
    paths = {n for n in named if "NAME" not in n and n not in ("site/", "dist/")}
    assert len(paths) > 15
    assert [n for n in sorted(paths) if not (ROOT / n).exists()] == []
    modules = re.findall(r"python -m (tests\.\w+)", text)
    assert modules and all((ROOT / f"{m.replace('.', '/')}.py").is_file() for m in modules)


def test_the_verbs_are_those_of_nox_and_of_ci() -> None:
    verbs = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.M))
    assert set(re.findall(r"^\| `nox -s (\w+)`", GUIDE, re.M)) == verbs
    for script in (".ci/run", ".github/workflows/ci.yml"):
        text = (ROOT / script).read_text(encoding="utf-8")
        used = {v for line in re.findall(r"nox -s ([a-z ]+)", text) for v in line.split()}
        assert used and used <= verbs, script


def test_names_in_the_steps_exist() -> None:
    from img2img.methods import METHODS
    from img2img.metrics import METRICS
    from img2img.runners import RUNNERS

    for name, table in (("methods", METHODS), ("runners", RUNNERS), ("metrics", METRICS)):
        assert f"img2img/{name}/__init__.py" in GUIDE and table
    tests = {"test_loop.py": ["SETTINGS"], "test_runners.py": ["STATED", "def opened"],
             "test_architecture.py": ["LEVELS"]}  # fmt: skip
    for file, names in tests.items():
        assert all(name in (ROOT / "tests" / file).read_text() for name in names), file
        assert all(f"`{name.removeprefix('def ')}`" in GUIDE for name in names), file


def test_markers_are_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    markers = [m.split(":")[0] for m in project["tool"]["pytest"]["ini_options"]["markers"]]
    assert markers and all(f"`{marker}`" in GUIDE for marker in markers)


def test_versions_of_python_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    reported = re.findall(r"Python :: (3\.\d+)$", "\n".join(project["classifiers"]), re.M)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == reported
    assert {os.split("-")[0] for os in matrix["os"]} == {"ubuntu", "macos", "windows"}
    least, beyond = re.findall(r"3\.(\d+)", project["requires-python"])
    assert reported == [f"3.{k}" for k in range(int(least), int(beyond))]


def test_the_citation_knows_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == img2img.__version__
    assert citation["license"] == "Apache-2.0"


def test_every_page_is_in_the_site() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def pages(nav: object) -> list[str]:
        if isinstance(nav, str):
            return [nav]
        parts = nav.values() if isinstance(nav, dict) else nav
        return [page for part in parts for page in pages(part)]  # type: ignore[union-attr]

    listed = pages(site["nav"])
    docs = ROOT / "docs"
    there = sorted(p.relative_to(docs).as_posix() for p in docs.rglob("*.md"))
    assert sorted(listed) == there
