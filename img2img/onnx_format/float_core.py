"""The float network inside an exported file, cut out without the onnx package.

An export of ours names two tensors: `img2img_x`, float32 NCHW in [-1, 1], after what normalises the
pixels, and `img2img_y` before what rounds them. The nodes around them are named `img2img/...`.
Cutting these off gives a graph from `img2img_x` (and `domain`) to `img2img_y`, which keeps 16 bits
and serves `Runner.infer`. Everything between stays byte for byte.
"""

from __future__ import annotations

from dataclasses import replace

from img2img.onnx_format.model import OnnxModel

X, Y = "img2img_x", "img2img_y"
AROUND = "img2img/"


def float_core(model: OnnxModel) -> OnnxModel:
    """The bare network in the export `model`. A model without the two names (older, float) is
    returned as it is."""
    if X not in model.values or Y not in model.values:
        return model
    return replace(
        model,
        data=b"",
        nodes=tuple(node for node in model.nodes if not node.name.startswith(AROUND)),
        inputs=(model.values[X], *model.inputs[1:]),
        outputs=(model.values[Y],),
        values={},
    )
