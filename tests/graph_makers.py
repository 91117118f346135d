"""ONNX files of ours with a network of one operation, whose result the tests know without it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from img2img.model_format.info import KEY, ModelInfo
from img2img.onnx_format.reading import DIGEST_KEY, NO_DIGEST, digest_of


def inverting(
    path: Path,
    io: str = "float",
    domains: Sequence[str] = (),
    channels: int = 3,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    times: int = 1,
    **more: object,
) -> Path:
    """Write a model that gives the negative picture, its pixels repeated `times` along both sides; one of several `domains` brightens it, by 2
    to the power of the domain's place, for each domain that is 1 (float: that many 255ths of 2)."""
    n: str | int = batch or "batch"
    height, width = size or ("height", "width")
    shape = [n, height, width, channels] if io == "uint8" else [n, channels, height, width]
    kind = TensorProto.UINT8 if io == "uint8" else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("input", kind, shape)]
    constants, nodes = [], []
    if io == "uint8":
        constants.append(helper.make_tensor("white", kind, [], [255]))
        nodes.append(helper.make_node("Sub", ["white", "input"], ["negative"]))
    else:
        nodes.append(helper.make_node("Neg", ["input"], ["negative"]))
    if domains:
        inputs.append(helper.make_tensor_value_info("domain", TensorProto.FLOAT, [n, len(domains)]))
        step = 1 if io == "uint8" else 2 / 255
        weights = [step * 2**k for k in range(len(domains))]
        constants += [
            helper.make_tensor("weights", TensorProto.FLOAT, [len(domains), 1], weights),
            helper.make_tensor("places", TensorProto.INT64, [4], [-1, 1, 1, 1]),
        ]
        nodes += [
            helper.make_node("MatMul", ["domain", "weights"], ["sum"]),
            helper.make_node("Reshape", ["sum", "places"], ["more"]),
            helper.make_node("Cast", ["more"], ["typed"], to=kind),
            helper.make_node("Add", ["negative", "typed"], ["output"]),
        ]
    else:
        sides = [1, times, times, 1] if io == "uint8" else [1, 1, times, times]
        constants.append(helper.make_tensor("sides", TensorProto.FLOAT, [4], sides))
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        inner = ["negative", "", "sides"]
        repeated = helper.make_node("Resize", inner, ["output"], mode="nearest", **how)
        nodes.append(
            repeated if times > 1 else helper.make_node("Identity", ["negative"], ["output"])
        )
        constants = constants if times > 1 else constants[:-1]
    if times > 1:
        shape = [f"out_{k}" if isinstance(side, str) else side for k, side in enumerate(shape)]
        more["scale"] = times
    outputs = [helper.make_tensor_value_info("output", kind, shape)]
    graph = helper.make_graph(nodes, "inverting", inputs, outputs, constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9, producer_name="img2img"
    )
    fields: dict[str, object] = {
        "name": "inverting", "method": "pix2pix", "generator": "unet", "generator_config": {},
        "in_channels": channels, "out_channels": channels, "multiple_of": 1, "minimum": 1,
        "norm_statistics": "none", "tiling": "exact", "size": 64, "working_size": 0,
        "licence": "free", "domains": tuple(domains),
    }  # fmt: skip
    info = ModelInfo(**(fields | more))  # type: ignore[arg-type]
    properties = {KEY: json.dumps(info.to_dict()), DIGEST_KEY: NO_DIGEST.decode()}
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    digest, place = digest_of(data)
    path.write_bytes(data[:place] + digest.encode() + data[place + len(digest) :])
    return path
