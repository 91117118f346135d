"""Tiles of ONNX files made elsewhere: pictures change their values on the way in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from img2img.errors import UsageError
from img2img.onnx_format.session import Array
from img2img.runners.onnx_tiled import GraphTiledModel
from img2img.tiling.locality import Core, Float, Given, Pass, PassResult, TiledModel


class ForeignTiledModel(TiledModel):
    """`graph` with other values for pictures.

    Args:
        graph: the network by tiles.
        entered: [-1, 1] float32 (N, C, H, W) -> what the graph takes.
        left: what it gives, as float32 (N, C, H, W) -> [-1, 1].
        multiple_of: what sides are extended to multiples of.
        name: of the model, for messages.

    Raises UsageError where tiles cannot be cut on the grid of the graph.
    """

    def __init__(
        self,
        graph: GraphTiledModel,
        entered: Callable[[Float], Array],
        left: Callable[[Array], Float],
        multiple_of: int,
        name: str,
    ):
        if multiple_of % graph.coarsest:
            raise UsageError(
                f"{name}: cannot be translated in tiles: it takes sides that are not multiples "
                f"of {graph.coarsest}, the stride of its coarsest map; use `tile` off"
            )
        self._graph, self._entered, self._left = graph, entered, left
        self.locality = graph.locality

    def passes(self, kept: float) -> Sequence[Pass]:
        return self._graph.passes(kept)

    def run(
        self,
        step: Pass,
        x: Float | None,
        domain: Float | None,
        maps: Mapping[str, Array],
        given: Given,
        core: Core,
    ) -> PassResult:
        entered = None if x is None else self._entered(x[None])[0]
        made = self._graph.run(step, entered, domain, maps, given, core)
        if made.pixels is None:
            return made
        return replace(made, pixels=self._left(made.pixels[None])[0])
