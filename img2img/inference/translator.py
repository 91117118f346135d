"""`Translator`: one model, ready to translate pictures that are in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from img2img.errors import UsageError
from img2img.images import Pixels
from img2img.inference.carriers import carrier_of
from img2img.inference.network import Network, TileOption
from img2img.model_format.domains import targets_of, vector_of
from img2img.model_format.find import default_name, find_model
from img2img.model_format.info import ModelInfo
from img2img.runners import Runner, Workload, open_runner, suffixes_for

if TYPE_CHECKING:
    import torch

_MOST_NETWORKS = 32
Domains = str | Sequence[str] | Sequence[float]
Kind = TypeVar("Kind", bytes, "Image.Image", NDArray[np.uint8], NDArray[np.uint16], "torch.Tensor")


class CallOptions(TypedDict, total=False):
    """Options of one call; what is left out is as the Translator was made."""

    domains: Domains | None
    size: int | None
    strength: float | None
    tile: TileOption | None


class TranslatorOptions(TypedDict, total=False):
    """Options of a Translator."""

    runner: str
    device: str
    precision: str
    size: int | None
    strength: float
    tile: TileOption
    batch: int | None
    domains: Domains | None
    direction: str | None
    layout: str | None
    value_range: str | None
    expected_pixels: Workload


class Translator:
    """One opened model: give it a picture and get the picture translated, of the same kind.

    | given | returned |
    |---|---|
    | `bytes` of a picture file | `bytes` of a file in the same format (PNG for GIF and HEIC), with its transparency, metadata and 16 bits |
    | a path (`str` or `Path`) | a PIL image, upright, 8 bits |
    | a PIL image | a PIL image: RGB, RGBA where the given one is transparent, L from a model of one channel |
    | numpy (H, W, 3), uint8 0..255 or uint16 0..65535 | numpy of the same type; (H, W, 1) from a model of one channel |
    | torch tensor (C, H, W) or (N, C, H, W), floating, values in [-1, 1], C of 1 or 3 | tensor of the same type and device; it passes through 16-bit values, so it is exact to 2e-5, and no gradient flows |
    | a list or tuple of these | a list; pictures of one size are translated together |

    Height and width do not change, but by models that enlarge: these give `info.scale` times both,
    with transparency and metadata to match. Calls from several threads are safe; the model works for one at
    a time. As a context manager it is closed at the end. torch is not imported unless the model
    needs it.

    Args:
        model: a shipped model's name, a run folder, a .safetensors or an .onnx file, or an opened
            runner; None: the default model.
        runner, device, precision: as for `open_runner`.
        size: long side in pixels at which the network works; 0: each picture's own size, as
            always for models that enlarge; None: what the model states.
        strength: 1 gives the translation, 0 the source, values in between a blend.
        tile: `auto` takes pictures apart that do not fit in memory, `off` none, a number of
            pixels all that are larger; the result is that of the whole picture.
        batch: at most so many pictures at once; None chooses by their size.
        domains: where a model of several domains translates to: a name, names that are set
            together (`Blond_Hair+Young`, or a sequence), or one number 0 to 1 for each domain.
        direction: AtoB or BtoA, for a run folder of both.
        layout, value_range: of an .onnx file made elsewhere, see `open_runner`.
        expected_pixels: how many pixels are going to be translated, about; with many, `auto` tries
            other runners for speed.

    Attributes:
        info: the metadata of the model file.
        description: what runs it, e.g. `onnxruntime cpu fp32`; `reason`: why `auto` chose it.
        size: the working size in force, in pixels; 0: each picture's own.

    Raises:
        UsageError: no such model, or an impossible option.
        ModelError: the file is refused.
        EnvironmentFault: the device is absent, or (MissingExtra) a package is not installed.
    """  # noqa: E501

    def __init__(
        self,
        model: str | Path | Runner | None = None,
        *,
        runner: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        size: int | None = None,
        strength: float = 1.0,
        tile: TileOption = "auto",
        batch: int | None = None,
        domains: Domains | None = None,
        direction: str | None = None,
        layout: str | None = None,
        value_range: str | None = None,
        expected_pixels: Workload = None,
    ):
        if not isinstance(model, Runner):
            path = model_path(model, runner, direction)
            model = open_runner(
                path, device, runner, precision, expected_pixels, layout, value_range
            )
        self._runner = model
        self.info: ModelInfo = model.info
        self.description, self.reason = model.description, model.reason
        self._lock = threading.RLock()
        self._closed = False
        self._batch = batch
        self._networks: dict[tuple[int | None, float, TileOption], Network] = {}
        self._defaults = (size, strength, tile)
        self._domains = domains
        try:
            self.size = self.network().size
            if domains is not None:
                self.vector(domains)
        except BaseException:
            self.close()
            raise

    @overload
    def __call__(self, picture: str | Path, **options: Unpack[CallOptions]) -> Image.Image: ...
    @overload
    def __call__(self, picture: Kind, **options: Unpack[CallOptions]) -> Kind: ...
    @overload
    def __call__(
        self, picture: list[str] | list[Path] | tuple[str | Path, ...],
        **options: Unpack[CallOptions],
    ) -> list[Image.Image]: ...  # fmt: skip
    @overload
    def __call__(
        self, picture: list[Kind] | tuple[Kind, ...], **options: Unpack[CallOptions]
    ) -> list[Kind]: ...

    def __call__(self, picture: object, **options: Unpack[CallOptions]) -> object:
        """Translate one picture, or a list of them; see the table above. `domains`, `size`,
        `strength` and `tile` hold for this call.

        Raises:
            PictureError: bytes, a file or an image that cannot be decoded.
            UsageError: a kind, type or shape that is not in the table; an impossible option; or the
                Translator is closed.
            MemoryFault: the picture does not fit in memory, not even in tiles.
        """
        unknown = sorted(set(options) - CallOptions.__annotations__.keys())
        if unknown:
            raise TypeError(f"Translator() got an unexpected option '{unknown[0]}'")
        given = picture if isinstance(picture, list | tuple) else [picture]
        carriers = [carrier_of(each) for each in given]
        pixels = [each for carrier in carriers for each in carrier.pixels]
        answers = iter(self._run(pixels, options))
        made = [carrier.back([next(answers) for _ in carrier.pixels]) for carrier in carriers]
        return made if given is picture else made[0]

    def network(
        self,
        size: int | None = None,
        strength: float | None = None,
        tile: TileOption | None = None,
    ) -> Network:
        """The model as the folder pipeline uses it, with the Translator's options for what is
        None."""
        if self._closed:
            raise UsageError(f"the Translator of model {self.info.name} is closed")
        key = (
            self._defaults[0] if size is None else size,
            self._defaults[1] if strength is None else strength,
            self._defaults[2] if tile is None else tile,
        )
        with self._lock:
            if key not in self._networks:
                if len(self._networks) >= _MOST_NETWORKS:
                    self._networks.clear()
                self._networks[key] = Network(self._runner, *key, self._batch, self._lock)
            return self._networks[key]

    def vector(self, domains: Domains | None) -> tuple[float, ...] | None:
        """The domain vector for `domains`, as a call takes them; None for a model without domains.
        Raises UsageError."""
        info = self.info
        if domains is None:
            targets_of(info, ())  # raises where the model needs one
            return None
        if isinstance(domains, str):
            domains = [domains]
        words = [word for word in domains if isinstance(word, str)]
        if len(words) == len(domains):
            targets = targets_of(info, ["+".join(words)])
            if len(targets) > 1:
                raise UsageError(
                    "domains: each picture is translated to one domain at a time; name it"
                )
            return vector_of(info, targets[0])
        values = tuple(float(value) for value in domains)
        least = -1 if info.relative else 0
        if len(values) != len(info.domains) or not all(least <= value <= 1 for value in values):
            raise UsageError(
                f"domains: model {info.name} takes {len(info.domains)} numbers from {least} to 1"
                + (f", for {', '.join(info.domains)}" if info.domains else "; leave them out")
            )
        return values

    def close(self) -> None:
        """Free what the model holds. A call that is running ends first; later ones are refused."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._runner.close()

    def __enter__(self) -> Translator:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Translator {self.info.name} ({self.info.direction}), {self.description}>"

    def _run(self, pixels: list[Pixels], options: CallOptions) -> list[Pixels]:
        network = self.network(options.get("size"), options.get("strength"), options.get("tile"))
        domains = options.get("domains")
        vector = self.vector(self._domains if domains is None else domains)
        groups: dict[tuple[tuple[int, ...], np.dtype[Any]], list[int]] = {}
        for place, each in enumerate(pixels):
            groups.setdefault((each.shape, each.dtype), []).append(place)
        answers: dict[int, Pixels] = {}
        for places in groups.values():
            at = 0
            while at < len(places):
                some = places[at : at + network.limit(pixels[places[at]])]
                vectors = None if vector is None else [vector] * len(some)
                made = network.run([pixels[place] for place in some], vectors)
                answers |= zip(some, made, strict=True)
                at += len(some)
        return [answers[place] for place in range(len(pixels))]


def load(model: str | Path | None = None, **options: Unpack[TranslatorOptions]) -> Translator:
    """Open a model by its name or file: `load("painting")` is `Translator("painting")`."""
    return Translator(model, **options)


def model_path(model: str | Path | None, runner: str, direction: str | None = None) -> Path:
    """The file of a model: by name, run folder or path; None: the default model. Raises as
    `find_model`."""
    name = default_name() if model is None else str(model)
    return find_model(name, suffixes_for(runner), direction)
