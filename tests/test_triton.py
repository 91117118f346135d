"""The model repository for Triton: its configuration is read by Triton's own message classes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2img.errors import UsageError
from img2img.exporting.graphs import read_graph
from img2img.exporting.triton import Serving, config_text, safe_name, serving, write_repository
from img2img.model_format.find import find_model, shipped
from img2img.runners import open_runner
from tests.conftest import Cli
from tests.graph_makers import inverting


@pytest.fixture
def parsed() -> Any:
    """A function from the text of a configuration to Triton's message."""
    messages = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="no tritonclient")
    text_format = pytest.importorskip("google.protobuf.text_format")

    def parse(text: str) -> Any:
        return text_format.Parse(text, messages.ModelConfig())

    return parse


def tensors(config: Any) -> list[tuple[str, str, list[int]]]:
    rows = [*config.input, *config.output]
    kinds = rows[0].DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    return [(t.name, kinds[t.data_type].name, list(t.dims)) for t in rows]


@pytest.mark.parametrize(
    ("io", "domains", "expected"),
    [
        ("float", (), [("input", "TYPE_FP32", [3, -1, -1]), ("output", "TYPE_FP32", [3, -1, -1])]),
        (
            "uint8",
            ("Dark", "Fair"),
            [
                ("input", "TYPE_UINT8", [-1, -1, 3]),
                ("domain", "TYPE_FP32", [2]),
                ("output", "TYPE_UINT8", [-1, -1, 3]),
            ],
        ),
    ],
)
def test_triton_reads_what_the_graph_takes(
    tmp_path: Path, parsed: Any, io: str, domains: tuple[str, ...], expected: list[Any]
) -> None:
    model = inverting(tmp_path / "m.onnx", io, domains)
    place = write_repository(model, tmp_path / "models", Serving("gpu", 2, 16))
    assert place == tmp_path / "models" / "inverting"
    assert sorted(p.relative_to(place).as_posix() for p in place.rglob("*")) == [
        "1",
        "1/model.onnx",
        "config.pbtxt",
    ]
    config = parsed((place / "config.pbtxt").read_text())
    assert config.name == place.name and config.backend == "onnxruntime"
    assert config.default_model_filename == "model.onnx"
    assert tensors(config) == expected
    assert config.max_batch_size == 16 and config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    (group,) = config.instance_group
    assert group.count == 2 and group.kind == group.KIND_GPU
    assert (place / "1" / "model.onnx").read_bytes() == model.read_bytes()


def test_the_dimensions_are_those_of_the_file(tmp_path: Path, parsed: Any) -> None:
    """For every shape of file: batch dimension and `dims` together are the graph's own."""
    for batch, size, max_batch in [
        (None, None, 8),
        (None, (64, 48), 8),
        (None, None, 0),
        (2, (64, 48), 8),
    ]:
        path = inverting(tmp_path / "m.onnx", "uint8", ("A", "B"), batch=batch, size=size)
        graph = read_graph(path)
        config = parsed(config_text(graph, Serving("cpu", 1, max_batch)))
        for row, tensor in zip(
            [*config.input, *config.output], [*graph.inputs, graph.output], strict=True
        ):
            whole = [-1, *row.dims] if config.max_batch_size else list(row.dims)
            assert whole == [-1 if n is None else n for n in tensor.shape]
        assert (config.max_batch_size > 0) == config.HasField("dynamic_batching")
        assert config.max_batch_size == (max_batch if batch is None else 0)


def test_domains_and_licence_are_written_whatever_they_contain(tmp_path: Path, parsed: Any) -> None:
    domains = ('quo"te', "back\\slash", "línea\nnew", "مرحبا")
    path = inverting(tmp_path / "m.onnx", domains=domains, licence='a "b" \n# c', name='x"\n../é')
    place = write_repository(path, tmp_path / "models", Serving())
    text = (place / "config.pbtxt").read_bytes()
    assert text.isascii() and place.parent == tmp_path / "models"
    config = parsed(text.decode())
    assert config.parameters["licence"].string_value == 'a "b" \n# c'
    assert config.name == place.name == "x__..__"
    assert json.loads(config.parameters["domains"].string_value) == list(domains)


def test_the_shipped_models_are_served(tmp_path: Path, parsed: Any) -> None:
    for name in shipped():
        place = write_repository(find_model(name, (".onnx",)), tmp_path / "models", Serving())
        parsed((place / "config.pbtxt").read_text())
        pixels = np.zeros((64, 64, 3), np.uint8)
        runner = open_runner(place / "1" / "model.onnx", "cpu")
        domain = len(runner.info.domains) * [0.0] or None
        side = 64 * runner.info.scale
        assert runner(pixels, domain).shape == (side, side, 3)
    assert sorted(os.listdir(tmp_path / "models")) == sorted(shipped())


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    model = inverting(tmp_path / "m.onnx")
    models = tmp_path / "models"
    (models / "inverting").mkdir(parents=True)
    with pytest.raises(UsageError, match="was not written by img2img"):
        write_repository(model, models, Serving())
    (models / "inverting").rmdir()
    write_repository(model, models, Serving())
    write_repository(model, models, Serving("cpu"))
    assert "KIND_CPU" in (models / "inverting" / "config.pbtxt").read_text()
    for folder, words in [(model, "is a file"), (tmp_path / "none" / "models", "no such folder")]:
        with pytest.raises(UsageError, match=words):
            write_repository(model, folder, Serving())


def test_names_are_safe() -> None:
    assert [safe_name(n) for n in ("a b", "../x", "...", "é")] == ["a_b", "_x", "model", "_"]


def test_impossible_options() -> None:
    with pytest.raises(UsageError, match="Did you mean 'gpu'"):
        serving("gpuu", 1, 8)
    for instances, batch in ((0, 8), (1, -1)):
        with pytest.raises(UsageError, match="one instance or more"):
            serving("cpu", instances, batch)


def test_the_command_writes_a_repository(cli: Cli, tmp_path: Path) -> None:
    done = cli("export", "sketch2avatar", "--triton", "models", "--triton-kind", "cpu")
    assert done.returncode == 0, done.stderr
    assert "tritonserver --model-repository=models" in done.stdout
    assert "KIND_CPU" in (tmp_path / "models" / "sketch2avatar" / "config.pbtxt").read_text()
    done = cli("export", "sketch2avatar", "--triton", "models", "--json")
    assert '"event": "triton"' in done.stdout
    done = cli("export", "sketch2avatar", "-o", "x.onnx", "--triton-batch", "4")
    assert done.returncode == 2 and "need --triton" in done.stderr
