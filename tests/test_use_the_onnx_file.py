"""The blocks of docs/how-to/use-the-onnx-file.md do what they say."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2img.exporting.onnx import export_onnx
from img2img.runners import open_runner
from tests.conftest import ROOT, picture, stargan

PAGE = ROOT / "docs" / "how-to" / "use-the-onnx-file.md"
WIDTH, HEIGHT = 45, 38
RELEASE = "1.30.0"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    return found


@pytest.fixture
def expected(onnx_file: Path, tmp_path: Path) -> np.ndarray:
    """What img2img makes of photo.png, which lies beside mine.onnx in an empty folder."""
    shutil.copy(onnx_file, tmp_path / "mine.onnx")
    image = picture(WIDTH, HEIGHT, 4)
    image.save(tmp_path / "photo.png")
    (tmp_path / "in.rgb").write_bytes(image.tobytes())
    (tmp_path / "in.rgba").write_bytes(image.convert("RGBA").tobytes())
    return open_runner(onnx_file, "cpu")(np.asarray(image)).astype(int)


def run_python(folder: Path) -> np.ndarray:
    program = block("python").replace("photo.jpg", "photo.png")
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, timeout=120)
    return np.asarray(Image.open(folder / "out.png")).astype(int)


def test_python(expected: np.ndarray, tmp_path: Path) -> None:
    assert np.array_equal(run_python(tmp_path), expected)


@pytest.mark.slow
def test_python_with_domains(tmp_path: Path) -> None:
    export_onnx(stargan(tmp_path / "m.safetensors"), tmp_path / "mine.onnx")
    image = picture(WIDTH, HEIGHT, 4)
    image.save(tmp_path / "photo.png")
    wanted = open_runner(tmp_path / "mine.onnx", "cpu")(np.asarray(image), (1, 0, 0))
    assert np.array_equal(run_python(tmp_path), wanted)


def resolved(node: str, package: str, folder: Path) -> str | None:
    """Where Node.js finds the package, looking from `folder` or in those of NODE_PATH."""
    probe = f"console.log(require.resolve('{package}', {{paths: [{str(folder)!r}]}}))"
    done = subprocess.run([node, "-e", probe], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


@pytest.mark.slow
@pytest.mark.parametrize("package", ["onnxruntime-node", "onnxruntime-web"])
def test_javascript(package: str, expected: np.ndarray, tmp_path: Path) -> None:
    """onnxruntime-node is installed where it is not; onnxruntime-web is taken where it is."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        pytest.skip("Node.js is not installed")
    place = resolved(node, package, ROOT)
    if place is None and npm is not None and package == "onnxruntime-node":
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        command += ["--prefix", str(tmp_path / "npm"), f"{package}@{RELEASE}"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=180)
            place = resolved(node, package, tmp_path / "npm")
    if place is None:
        pytest.skip(f"the npm package {package} is not available (NODE_PATH may name where it is)")
    program = block("javascript").replace('"onnxruntime-node"', repr(place), 1)
    (tmp_path / "translate.js").write_text(program)
    arguments = ["translate.js", "mine.onnx", "in.rgba", str(WIDTH), str(HEIGHT), "out.rgba"]
    subprocess.run([node, *arguments], cwd=tmp_path, check=True, timeout=120)
    y = np.frombuffer((tmp_path / "out.rgba").read_bytes(), np.uint8).reshape(HEIGHT, WIDTH, 4)
    assert (y[:, :, 3] == 255).all() and y[:, :, :3].std() > 5
    assert np.abs(y[:, :, :3] - expected).max() <= 1


def test_cpp(expected: np.ndarray, tmp_path: Path) -> None:
    home, compiler = os.environ.get("ONNXRUNTIME_HOME"), shutil.which("c++")
    if home is None or compiler is None:
        pytest.skip(
            "no C++ compiler, or no ONNXRUNTIME_HOME with onnxruntime's headers and library"
        )
    (tmp_path / "translate.cpp").write_text(block("cpp"))
    command = [compiler, "-std=c++17", "translate.cpp", f"-I{home}/include", f"-L{home}/lib"]
    command += ["-lonnxruntime", f"-Wl,-rpath,{home}/lib", "-o", "translate"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    arguments = ["mine.onnx", "in.rgb", str(WIDTH), str(HEIGHT), "out.rgb"]
    subprocess.run(["./translate", *arguments], cwd=tmp_path, check=True, timeout=120)
    y = np.frombuffer((tmp_path / "out.rgb").read_bytes(), np.uint8).reshape(HEIGHT, WIDTH, 3)
    assert np.abs(y - expected).max() <= 1
