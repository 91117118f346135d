"""A user's own albumentations pipeline, on the CPU, picture by picture.

The pipeline is a file that albumentations itself wrote (`albumentations.save`, YAML or JSON).
What is drawn for a picture is a function of (seed, epoch, index, which) and of nothing else, so it
is the same in this process, in any number of workers and after a resume. albumentations' own
seeding gives every worker the same numbers, and `set_random_seed` gives every transform of a
pipeline the same ones (two flips then always happen together); therefore one generator, made for
the sample, is shared by all transforms.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from img2img.errors import ConfigError, MissingExtra, describe_os_error
from img2img.images import Pixels

if TYPE_CHECKING:
    from albumentations import BaseCompose

_STREAM = 5  # of the draws made from a run's seed; the others stand in store, unpaired, pool ...
_FORMATS = (".yaml", ".yml", ".json")
_TRIALS = 16


class Albument:
    """The pipeline in the file `path`.

    Attributes:
        digest: SHA-256 of the file and albumentations' version: what the draws depend on.

    Raises:
        ConfigError: the file cannot be read, is no pipeline, or names something unknown.
        MissingExtra: albumentations is not installed.
    """

    def __init__(self, path: Path):
        self.path = path
        if path.suffix.lower() not in _FORMATS:
            raise ConfigError(f"{path}: an albumentations pipeline is a .yaml or .json file")
        try:
            self._text = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: {describe_os_error(error)}") from None
        version = _albumentations().__version__
        self.digest = f"{hashlib.sha256(self._text).hexdigest()[:16]} (albumentations {version})"
        self._pipelines: dict[int, Any] = {}
        self._pipeline(1)

    def __call__(self, pictures: Sequence[Pixels], draw: Sequence[int]) -> tuple[Pixels, ...]:
        """The pictures of one sample, uint8 (H, W, C) each, changed by one draw.

        `draw` is (seed, epoch, index, which).

        Raises:
            ConfigError: the pipeline fails, or gives another size or type than it got.
        """
        pipeline = self._pipeline(len(pictures))
        seed, *rest = draw
        source = np.random.SeedSequence([seed, _STREAM, *rest])
        numpy_state, python_state = source.spawn(2)
        number = int(python_state.generate_state(1, np.uint64)[0])
        pipeline.set_random_state(np.random.default_rng(numpy_state), random.Random(number))
        names = _names(len(pictures))
        # A transform may write into what it is given, and that may be the cache.
        given = {n: np.array(p) for n, p in zip(names, pictures, strict=True)}
        try:
            made = pipeline(**given)
        except Exception as error:  # whatever a pipeline of the user's may raise
            raise ConfigError(f"{self.path}: the pipeline fails: {_line(error)}") from None
        return tuple(self._same(p, made[n]) for n, p in zip(names, pictures, strict=True))

    def check(self, size: int, channels: Sequence[int]) -> None:
        """Try the pipeline on made-up pictures of `size` with these channels, several draws.

        Raises:
            ConfigError: as a call does.
        """
        ramp = np.linspace(0, 255, size * size).astype(np.uint8).reshape(size, size, 1)
        for trial in range(_TRIALS):
            self([np.repeat(ramp, c, 2) for c in channels], (0, 0, trial, 0))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pipelines": {}}

    def _pipeline(self, count: int) -> BaseCompose:
        """The pipeline that treats `count` pictures alike."""
        if count not in self._pipelines:
            pipeline = self._parse()
            pipeline.add_targets(dict.fromkeys(_names(count)[1:], "image"))
            self._pipelines[count] = pipeline
        return self._pipelines[count]

    def _parse(self) -> BaseCompose:
        A = _albumentations()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                pipeline = A.from_dict(self._read())
        except KeyError as error:
            what = "not an albumentations pipeline" if error.args == ("transform",) else None
            raise ConfigError(
                f"{self.path}: {what or f'unknown transform or missing entry {error}'}"
            ) from None
        except Exception as error:
            raise ConfigError(
                f"{self.path}: not an albumentations pipeline: {_line(error)}"
            ) from None
        for warning in caught:
            if "not valid" in str(warning.message):  # a misspelt argument would do nothing
                raise ConfigError(f"{self.path}: {_line(warning.message)}")
        return pipeline if isinstance(pipeline, A.BaseCompose) else A.Compose([pipeline])

    def _read(self) -> object:
        if self.path.suffix.lower() == ".json":
            return json.loads(self._text)
        import yaml  # albumentations brings it

        return yaml.safe_load(self._text)

    def _same(self, given: Pixels, made: object) -> Pixels:
        if not isinstance(made, np.ndarray) or made.dtype != np.uint8:
            kind = getattr(made, "dtype", type(made).__name__)
            raise ConfigError(
                f"{self.path}: the pipeline gives {kind} pictures, but uint8 is needed; leave out "
                "normalisation and conversion to tensors"
            )
        if made.ndim == 2:
            made = made[:, :, None]
        if made.shape != given.shape:
            height, width, channels = made.shape
            raise ConfigError(
                f"{self.path}: the pipeline changes {given.shape[1]}x{given.shape[0]}x"
                f"{given.shape[2]} to {width}x{height}x{channels}; the size must not change: "
                f"follow a crop with a resize to load_size ({given.shape[0]})"
            )
        return made


def _names(count: int) -> list[str]:
    return ["image", *(f"image{k}" for k in range(1, count))]


def _line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _albumentations() -> ModuleType:
    # Importing it asks the network for a newer version otherwise, and takes seconds: only here.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    try:
        import albumentations
    except ImportError:
        raise MissingExtra("the setting albumentations", "train") from None
    return albumentations
