"""The commands and programs of the pages on comparing and deploying, run as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from img2img.exporting.triton import Serving, write_repository
from img2img.exporting.web_runtime import WebRuntime
from tests.conftest import ROOT, Cli, picture
from tests.graph_makers import inverting
from tests.test_web import runtime  # noqa: F401 - a fixture

HOW_TO = ROOT / "docs" / "how-to"


def commands(name: str) -> list[list[str]]:
    lines = re.findall(r"^    img2img (.*)$", (HOW_TO / name).read_text(), re.M)
    assert lines
    return [shlex.split(line) for line in lines]


def program(name: str) -> str:
    (found,) = re.findall(r"^```python\n(.*?)^```$", (HOW_TO / name).read_text(), re.M | re.S)
    return found


def run(text: str, folder: Path) -> None:
    picture(60, 40, 1).save(folder / "photo.png")
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_commands_that_compare(cli: Cli, photos: Path, tmp_path: Path) -> None:
    for command in commands("compare-and-gallery.md"):
        done = cli(*command)
        assert done.returncode == 0, done.stderr
    names = {p.relative_to(photos).as_posix() for p in photos.rglob("*.*")}
    sheets = tmp_path / "sheets"
    assert {p.relative_to(sheets).as_posix() for p in sheets.rglob("*.*")} == names
    assert Image.open(sheets / "one.jpg").size == (2 * 40 + 6, 30)
    text = (tmp_path / "photos.html").read_text()
    assert "3 already there" in text and all(f"<bdi>{name}</bdi>" in text for name in names)


def test_the_program_that_compares(tmp_path: Path) -> None:
    run(program("compare-and-gallery.md"), tmp_path)
    text = (tmp_path / "page.html").read_text()
    assert "1 translated, 1 already there, 1 failed" in text and "Negatives" in text
    assert Image.open(tmp_path / "sheet.png").size == (126, 40)


def test_the_limits_stated_are_those_of_the_code() -> None:
    from img2img.inference.gallery import GAP, LEAST_SIDE, MAX_SHEET_SIDE, QUALITY, SIDES

    text = (HOW_TO / "compare-and-gallery.md").read_text()
    for most, side in SIDES:
        assert f"| up to {most} | {side} pixels |" in text
    assert f"| more | {LEAST_SIDE} pixels |" in text and f"quality {QUALITY}" in text
    assert f"longer than {MAX_SHEET_SIDE} pixels" in text and GAP == 6


@pytest.mark.slow
def test_the_commands_that_deploy(
    cli: Cli,
    model_file: Path,
    tmp_path: Path,
    runtime: WebRuntime,  # noqa: F811 - so that it is cached, or the test skips
) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    shutil.copy(model_file, tmp_path / "runs" / "mine" / "mine.safetensors")
    for command in commands("deploy.md"):
        done = cli(*command)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine.onnx").is_file() and (tmp_path / "page" / "index.html").is_file()
    config = (tmp_path / "models" / "sketch2avatar" / "config.pbtxt").read_text()
    assert "count: 2 kind: KIND_CPU" in config
    assert (tmp_path / "models" / "test" / "1" / "model.onnx").is_file()
    assert f"onnxruntime-web@{runtime.version}" in (HOW_TO / "deploy.md").read_text()


def test_the_triton_client(tmp_path: Path) -> None:
    grpc = pytest.importorskip("grpc")
    pytest.importorskip("tritonclient.grpc")
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    inverting(tmp_path / "m.onnx", "uint8", name="mine")
    place = write_repository(tmp_path / "m.onnx", tmp_path / "models", Serving())
    session = onnxruntime.InferenceSession(place / "1" / "model.onnx")

    class StandIn(service_pb2_grpc.GRPCInferenceServiceServicer):
        def ModelInfer(self, request: Any, context: Any) -> Any:
            (given,) = request.inputs
            assert request.model_name == place.name and given.datatype == "UINT8"
            pixels = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(given.shape)
            (result,) = session.run(None, {given.name: pixels})
            answer = service_pb2.ModelInferResponse(model_name=request.model_name)
            answer.outputs.add(name="output", datatype="UINT8", shape=result.shape)
            answer.raw_output_contents.append(result.tobytes())
            return answer

    server = grpc.server(ThreadPoolExecutor(1))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(StandIn(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        run(program("deploy.md").replace("localhost:8001", f"127.0.0.1:{port}"), tmp_path)
    finally:
        server.stop(None)
    source = np.asarray(Image.open(tmp_path / "photo.png"))
    assert (np.asarray(Image.open(tmp_path / "out.png")) == 255 - source).all()
