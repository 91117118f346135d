"""A model whose normalisations use given statistics, the same for every picture."""

from __future__ import annotations

import numpy as np

from img2img.runners.base import Float, Runner
from img2img.tiling.locality import Given, HeldTiledModel, TiledModel
from img2img.tiling.tiles import extend_planes


class HeldRunner(Runner):
    """`runner` with the statistics `given`, (mean, variance) of each normalisation in the order of
    execution, in place of each picture's own. It shares the runner, which stays open when this one
    is closed.

    Raises UsageError, saying why, where the statistics of the runner's model cannot be given.
    """

    def __init__(self, runner: Runner, given: Given):
        self.info, self.export = runner.info, runner.export
        self.description, self.reason = runner.description, runner.reason
        self.precision, self.batch_pixels = runner.precision, runner.batch_pixels
        self._whole = runner.tiled_model()
        self._held: TiledModel = HeldTiledModel(self._whole, given)

    def _infer(self, x: Float, domain: Float | None) -> Float:
        (step,), scale = self._held.passes(0), self.info.scale
        height, width = x.shape[2:]
        self._whole.keep_memory()
        answers = []
        for k, planes in enumerate(x):
            seen = extend_planes(planes, self.info.multiple_of, self.info.minimum)
            vector = None if domain is None else domain[k : k + 1]
            core = (0, seen.shape[1], 0, seen.shape[2])
            made = self._held.run(step, seen, vector, {}, (), core)
            assert made.pixels is not None
            answers.append(made.pixels[:, : scale * height, : scale * width])
        return answers[0][None] if len(answers) == 1 else np.stack(answers)

    def _tiles(self) -> TiledModel:
        return self._held

    def _release(self) -> None:
        """Nothing: what runs it belongs to another."""
