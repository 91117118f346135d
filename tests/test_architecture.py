"""The levels: imports point down only, heavy packages stay where they belong."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
import tomllib
from collections.abc import Collection
from pathlib import Path

import pytest

from img2img.cli.commands import COMMANDS
from img2img.features import JUDGE

ROOT = Path(__file__).resolve().parent.parent
# A package imports only from levels below its own; a module with a level of its own stands there.
LEVELS = {
    "_version": 0, "system.installed": 0,
    "errors": 1,
    "receptive_field": 2, "settings": 2, "system": 2,
    "images": 3, "losses": 3, "nets": 3, "augment": 3,
    "features": 4, "model_format": 4,
    "data": 5, "metrics": 5, "tiling": 5,
    "methods": 6, "onnx_format": 6,
    "runners": 7,
    "training": 8, "inference": 8, "exporting": 8,
    "diagnostics": 9, "evaluation": 9, "server": 9,
    "cli": 10,
}  # fmt: skip
PURE = {"nets", "losses", "augment"}
NO_TRAINING_CODE = {
    "inference",
    "runners",
    "exporting",
    "diagnostics",
    "onnx_format",
    "tiling",
    "server",
}
TRAINING_CODE = {"methods", "training", "data", "losses", "augment"}
# What methods share; they import no other module of their package.
SHARED = ("base", "descent", "image_pool", "parts", "pause", "tasks")
# Packages and modules that import neither torch nor pydantic nor onnx when they are imported.
LIGHT = ("cli", "images", "inference", "onnx_format", "tiling", "diagnostics", "system",
         "errors", "_version", "receptive_field", "model_format.info", "model_format.checkpoint", "model_format.find",
         "model_format.domains", "model_format.labels", "model_format.export_info", "runners", "exporting.graphs",
         "exporting.web", "exporting.web_runtime", "exporting.triton", "evaluation.human")  # fmt: skip
HEAVY_RUNNERS = {"runners.torch", "runners.torch_tiled"}


def sources(root: Path) -> dict[str, Path]:
    found = {}
    for folder, prefix in ((root / "img2img", ""), (root / "cli", "cli.")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[prefix + ".".join(p for p in parts if p != "__init__")] = path
    return {name.strip("."): path for name, path in found.items()}


@functools.cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = parsed(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "img2img":
                names |= {f"img2img.{alias.name}" for alias in node.names}
            else:
                names.add(node.module)
    return names


def level_of(name: str) -> int:
    return LEVELS.get(name, LEVELS[name.split(".")[0]])


def is_light(name: str) -> bool:
    return name not in HEAVY_RUNNERS and any(name == x or name.startswith(x + ".") for x in LIGHT)


def violations(root: Path) -> list[str]:
    """Every broken rule below `root`, in words."""
    wrong = []
    for name, path in sources(root).items():
        package = name.split(".")[0]
        if not package:
            continue
        if package not in LEVELS:
            wrong.append(f"{name}: a package without a level; give it one in LEVELS")
            continue
        for module in imports(path):
            first = module.split(".")[0]
            if first in ("typer", "rich", "click") and package != "cli":
                wrong.append(f"{name} imports {first}; only cli prints")
            if first == "click":
                wrong.append(f"{name} imports click, which typer vendors")
            if first != "img2img" or module == "img2img.cli.app" == f"img2img.{name}":
                continue
            if module == "img2img":
                wrong.append(f"{name} imports img2img itself, which stands above it")
                continue
            other = module.split(".")[1]
            if other not in LEVELS:
                wrong.append(f"{name} imports {module}, a public name, which stands above it")
                continue
            level, below = level_of(name), level_of(module.removeprefix("img2img."))
            if other != package and below >= level:
                wrong.append(f"{name} (level {level}) imports {other} ({below})")
            if package in PURE and other not in PURE | {"errors", "settings", "receptive_field"}:
                wrong.append(f"{name} imports {other}; networks and losses know nothing of it")
            if package in NO_TRAINING_CODE and other in TRAINING_CODE:
                wrong.append(f"{name} imports {other}; translating needs no training code")
            if package == "methods" and other in {"images", "model_format", "inference"}:
                wrong.append(f"{name} imports {other}; a step writes no file")
            method = name.startswith("methods.") and module.startswith("img2img.methods.")
            if method and module.removeprefix("img2img.methods.") not in SHARED:
                wrong.append(f"{name} imports {module}; a method never imports another")
        if package == "methods" and "pathlib" in imports(path):
            wrong.append(f"{name} imports pathlib; a step knows no path")
        if is_light(name):
            heavy = {m.split(".")[0] for m in imports(path, True)} & {"torch", "pydantic", "onnx"}
            wrong += [f"{name} imports {h} at import time" for h in heavy]
    return wrong + circles(root)


def modules_imported(path: Path, known: Collection[str], anywhere: bool = True) -> set[str]:
    """Modules of ours that `path` imports, by their names below img2img: also within functions and
    for the type checker, or only when it is imported itself."""
    found = set()
    tree = parsed(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if anywhere else tree.body:
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("img2img."):
            continue
        module = (node.module or "").removeprefix("img2img.")
        for alias in node.names:
            inner = f"{module}.{alias.name}"
            found.add(inner if inner in known else module)
    return found & set(known)


def circles(root: Path) -> list[str]:
    """Modules that import each other, directly or through others. Of the command line only at
    import time: the program imports its commands when they are called, and they its options."""
    known = sources(root)
    graph = {
        name: modules_imported(path, known, not name.startswith("cli")) - {name}
        for name, path in known.items()
    }
    found = []
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            found.append("a circle of imports: " + " -> ".join((*trail[trail.index(name) :], name)))
            return
        if name in done:
            return
        for other in sorted(graph[name]):
            visit(other, (*trail, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())
    return found


def test_imports_point_down_only() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("losses/gan", "from img2img.images import Picture", "level 3) imports images"),
        ("images/reading", "from img2img import training", "level 3) imports training"),
        ("images/png", "import img2img", "imports img2img itself"),
        ("inference/jobs", "from img2img.data import PairedData", "needs no training code"),
        (
            "images/values",
            "from img2img.images.writing import write_picture",
            "a circle of imports",
        ),
        (
            "images/values",
            "def late(): from img2img.images.writing import write_picture",
            "a circle of imports",
        ),
        ("images/png", "import torch", "torch at import time"),
        ("metrics/paired", "import rich.console", "only cli prints"),
        ("methods/pix2pix", "from pathlib import Path", "a step knows no path"),
        ("attic", "import os", "a package without a level"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, module: str, line: str, complaint: str) -> None:
    for folder in ("img2img", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    planted = tmp_path / "img2img" / f"{module}.py"
    before = planted.read_text() if planted.exists() else ""
    planted.write_text(before + "\n" + line + "\n")
    assert any(complaint in text for text in violations(tmp_path))


def using_the_judge(root: Path) -> list[str]:
    """Modules of what learns that name the network which judges models, or open one by a name."""
    words = {JUDGE, "JUDGE", "MobileNetV2", "open_features"}
    found = []
    for module, path in sources(root).items():
        if module.split(".")[0] in {"losses", "nets", "augment", "methods"}:
            tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            names = [getattr(n, at, None) for n in tree for at in ("id", "name", "value")]
            found += [module] if words.intersection(x for x in names if isinstance(x, str)) else []
    return found


def test_nothing_that_learns_uses_the_judge(tmp_path: Path) -> None:
    assert using_the_judge(ROOT) == []
    (tmp_path / "img2img" / "losses").mkdir(parents=True)
    for line in ("from img2img.features import JUDGE", 'net = load("mobilenetv2")'):
        (tmp_path / "img2img" / "losses" / "mine.py").write_text(line)
        assert using_the_judge(tmp_path) == ["losses.mine"]


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import sys, img2img, img2img.cli.app, img2img.images, img2img.inference, "
        "img2img.runners.choice, img2img.model_format.find, img2img.errors;"
        "heavy = ('torch', 'pydantic', 'onnx', 'onnxruntime', 'openvino', 'rich');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
    alone = "import sys, img2img; print('numpy' in sys.modules or 'PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_public_names_resolve() -> None:
    import img2img

    for name in img2img.__all__:
        assert getattr(img2img, name) is not None
    assert set(img2img._HOMES) | {"__version__"} == set(img2img.__all__)


def test_the_packages_list_is_the_tree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    there = {"img2img.cli", "img2img.weights"}
    for path in (ROOT / "img2img").rglob("__init__.py"):
        there.add(".".join(path.relative_to(ROOT).parent.parts))
    assert listed == there
    assert not (ROOT / "img2img" / "cli").exists()
    assert not (ROOT / "img2img" / "weights").exists()


def imported_by(*arguments: str) -> set[str]:
    """Names of the modules that a Python with these arguments imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True
    )
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines}


def test_help_imports_little() -> None:
    """What `--help` costs beside bare Python with typer is what it imports: counted, not timed."""
    bare = imported_by("-c", "import typer, typer.rich_utils")
    more = imported_by("-m", "img2img.cli", "--help") - bare
    assert "img2img.cli.app" in more
    assert not {name.split(".")[0] for name in more} & {"numpy", "PIL", "torch", "pydantic", "onnx"}
    assert len(more) < 80, sorted(more)  # 16 when this was written; numpy alone is 150


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--version"], set()),
        (["--help"], set()),
        (["translate", "--help"], {"translate_command"}),
        (["models", "import", "--help"], {"models", "models_import", "export"}),
    ],
)
def test_a_command_imports_no_other(arguments: list[str], expected: set[str]) -> None:
    # importlib's own imports are not in what -X importtime prints.
    program = (
        "import atexit, sys; from img2img.cli import main;"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    commands = {known.module for known in COMMANDS.values()} | {"models_import"}
    there = {f"img2img.cli.{name}": name for name in commands - {"help"}}
    assert {there[name] for name in done.stderr.split() if name in there} == expected


def test_the_package_is_seen_at_a_glance() -> None:
    there = [p for p in (ROOT / "img2img").iterdir() if p.name != "__pycache__"]
    assert len(there) <= 25, sorted(p.name for p in there)
