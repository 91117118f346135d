"""Loss terms that any method takes by their weights: `PartSettings` in its settings, `Parts` in its
step. VGG19 is loaded only where a weight needs it, and looks at an output once for all terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import torch
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor

from img2img.data import UnpairedBatch
from img2img.data.store import Store
from img2img.errors import ConfigError, proposal
from img2img.features import VGG19, find_features, load_vgg19
from img2img.features.vgg19 import LAYERS
from img2img.losses import (
    channel_statistics,
    content_loss,
    focal_frequency_loss,
    gram_matrix,
    gram_style_loss,
    low_frequency_colour_loss,
    low_frequency_light_loss,
    perceptual_loss,
    sliced_quantiles,
    sliced_style_loss,
    statistics_style_loss,
    style_directions,
    total_variation_loss,
)
from img2img.settings import Settings

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
_CELL = 16  # of the colour and light terms, in pixels

Style = dict[str, dict[str, Tensor]]
"""What a set of pictures looks like: `gram`, `statistics` and `sliced`, where used, by layer."""


def _known(layer: str) -> str:
    if layer not in LAYERS:
        raise ValueError(f"VGG19 has no layer '{layer}'.{proposal(layer, LAYERS)}")
    return layer


LayerName = Annotated[str, AfterValidator(_known)]
"""A layer of VGG19, in a setting."""


class PartSettings(Settings):
    """Terms that compare an output with its truth, where pairs exist, or else with its source, and
    with a set of pictures in the wanted style. All weights are 0: none is computed."""

    lambda_perceptual: float = Field(
        0.0, ge=0, description="weight of VGG19's features of the truth, or else of the source"
    )
    lambda_statistics: float = Field(
        0.0, ge=0, description="weight of the style's feature means and deviations"
    )
    lambda_sliced: float = Field(
        0.0, ge=0, description="weight of the sliced Wasserstein distance to the style"
    )
    lambda_frequency: float = Field(0.0, ge=0, description="weight of the focal frequency loss")
    lambda_tv: float = Field(0.0, ge=0, description="weight of the total variation")
    lambda_colour: float = Field(0.0, ge=0, description="weight of keeping coarse colours")
    lambda_light: float = Field(0.0, ge=0, description="weight of keeping coarse brightness")
    perceptual_layers: tuple[LayerName, ...] = Field(
        ("relu1_2", "relu2_2", "relu3_2", "relu4_2"),
        min_length=1,
        description="layers of VGG19 for lambda_perceptual",
    )
    style_layers: tuple[float, float, float, float] = Field(
        (1.0, 1.0, 1.0, 1.0),
        description="weights of relu1_1, relu2_1, relu3_1 and relu4_1 in all style terms",
    )
    vgg19: str = Field("", description="path of VGG19's weights, where they are not installed")

    @model_validator(mode="after")
    def _layers_weighed(self) -> Self:
        if min(self.style_layers) < 0 or not any(self.style_layers):
            raise ValueError("style_layers needs four weights, none below 0 and one above")
        return self


@dataclass(frozen=True)
class Transfer:
    """Weights that only methods with a source and a style have: of the source's content, at the
    layer `layer`, and of the style's mean Gram matrix."""

    content: float = 0.0
    style: float = 0.0
    layer: str = "relu4_1"


class Parts:
    """The weighted terms of one direction.

    Attributes:
        frozen_nets: VGG19 where a weight needs it, for the method's own `frozen_nets`.
        styled: a term needs a `Style`, which `style_of` computes.
    """

    def __init__(
        self, settings: PartSettings, features: VGG19 | None, transfer: Transfer = Transfer()
    ):
        self.settings, self.transfer = settings, transfer
        self._of_fake, self._of_reference = _layers(settings, transfer)
        if self._of_fake and features is None:
            raise ValueError("these parts need VGG19; load_features loads it")
        self.features = features
        self.frozen_nets: dict[str, torch.nn.Module] = {}
        if features is not None and self._of_fake:
            self.frozen_nets["vgg19"] = features
        self._weights = dict(zip(STYLE_LAYERS, settings.style_layers, strict=True))
        self._described = _described(settings, transfer)
        self.styled = bool(self._described)

    def __call__(
        self,
        fake: Tensor,
        source: Tensor,
        truth: Tensor | None = None,
        style: Style | None = None,
        across: Callable[[Tensor], Tensor] = lambda mean: mean,
    ) -> dict[str, Tensor]:
        """The terms whose weight is not 0, weighted, by name (`G/perceptual`).

        Args:
            fake: (N, C, H, W) in [-1, 1], with gradient.
            source, truth: what it was made of, and what it should be where that is known; the
                terms that compare pictures take the truth, where given. Without gradient.
            style: of `style_of`, where `styled`.
            across: the mean over the processes that share a batch.
        """
        s, t = self.settings, self.transfer
        reference = source if truth is None else truth
        maps = self._look(fake, self._of_fake)
        with torch.no_grad():
            wanted = self._look(reference, self._of_reference)
        losses: dict[str, Tensor] = {}
        if t.content:
            losses["G/content"] = t.content * content_loss(maps[t.layer], wanted[t.layer])
        if self.styled:
            losses |= self._style_terms(maps, style or {}, across)
        if s.lambda_tv:
            losses["G/tv"] = s.lambda_tv * total_variation_loss(fake)
        if s.lambda_colour:
            losses["G/colour"] = s.lambda_colour * low_frequency_colour_loss(fake, reference, _CELL)
        if s.lambda_light:
            losses["G/light"] = s.lambda_light * low_frequency_light_loss(fake, reference, _CELL)
        if s.lambda_perceptual:
            truths = {layer: wanted[layer] for layer in s.perceptual_layers}
            losses["G/perceptual"] = s.lambda_perceptual * perceptual_loss(maps, truths)
        if s.lambda_frequency:
            losses["G/frequency"] = s.lambda_frequency * focal_frequency_loss(fake, reference)
        return losses

    def style_of(self, pictures: Iterable[Tensor]) -> Style:
        """The mean over `pictures`, batches (N, 3, H, W) in [-1, 1], of what the style terms
        compare. No gradient is taken."""
        style: Style = {kind: {} for kind in self._described}
        count = 0
        for x in pictures:
            with torch.no_grad():
                maps = self._look(x, STYLE_LAYERS)
                for kind, describe in self._described.items():
                    for layer, features in maps.items():
                        one, sums = describe(features).sum(0), style[kind]
                        sums[layer] = sums[layer] + one if layer in sums else one
            count += len(x)
        return {kind: {n: s / count for n, s in sums.items()} for kind, sums in style.items()}

    def _style_terms(
        self, maps: dict[str, Tensor], style: Style, across: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        s, weights = self.settings, self._weights
        losses = {}
        if self.transfer.style:
            gram = gram_style_loss(maps, style["gram"], weights, across)
            losses["G/style"] = self.transfer.style * gram
        if s.lambda_statistics:
            off = statistics_style_loss(maps, style["statistics"], weights, across)
            losses["G/statistics"] = s.lambda_statistics * off
        if s.lambda_sliced:
            off = sliced_style_loss(maps, style["sliced"], weights, across)
            losses["G/sliced"] = s.lambda_sliced * off
        return losses

    def _look(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        if not layers:
            return {}
        assert self.features is not None
        return self.features(x, layers)


def check_parts(
    settings: PartSettings,
    channels: tuple[int, int],
    transfer: Transfer = Transfer(),
    *,
    truth: bool = False,
    styled: bool = False,
) -> None:
    """Refuse what makes no sense, before any picture is read.

    Args:
        channels: how many the generator takes and gives.
        truth: outputs are compared with their truth, not with their source.
        styled: the method has a set of pictures in the wanted style.

    Raises:
        ConfigError: a combination that makes no sense, with a proposal; VGG19's weights are missing
            or not the known ones.
    """
    s, (taken, given) = settings, channels
    of_style = {"lambda_statistics": s.lambda_statistics, "lambda_sliced": s.lambda_sliced}
    if not styled and (used := [name for name, weight in of_style.items() if weight]):
        raise ConfigError(
            f"{used[0]} compares with a set of pictures in the wanted style, and this method has "
            f"none: set {used[0]}=0, or use lambda_perceptual, or the method stylize"
        )
    coloured = {
        "lambda_content": transfer.content, "lambda_style": transfer.style,
        "lambda_perceptual": s.lambda_perceptual, **of_style,
        "lambda_colour": s.lambda_colour, "lambda_light": s.lambda_light,
    }  # fmt: skip
    used = [name for name, weight in coloured.items() if weight]
    if used and (given != 3 or (taken != 3 and not truth)):
        raise ConfigError(
            f"{used[0]} needs colour on both sides, and the generator takes {taken} channels and "
            f"gives {given}: set {used[0]}=0; lambda_tv and lambda_frequency work with any channels"
        )
    if s.lambda_frequency and taken != given and not truth:
        raise ConfigError(
            "lambda_frequency compares the output with its source, and the generator takes "
            f"{taken} channels and gives {given}: set lambda_frequency=0"
        )
    if _layers(s, transfer)[0]:
        find_features("vgg19", s.vgg19)


def load_features(
    settings: PartSettings, size: int, transfer: Transfer = Transfer()
) -> VGG19 | None:
    """VGG19 as deep as the terms need it, None where none does.

    Raises:
        ConfigError: its weights are missing, or crops of `size` pixels are too small for a term.
    """
    layers = _layers(settings, transfer)[0]
    least = max([2 ** (int(name[4]) - 1) for name in layers], default=1)
    if settings.lambda_colour or settings.lambda_light:
        least = max(least, _CELL)
    if size < least:
        raise ConfigError(
            f"crops of {size} pixels are too small for these loss terms: give "
            f"`crop_size={least}` or more"
        )
    if not layers:
        return None
    path = find_features("vgg19", settings.vgg19)
    if torch.get_default_device().type == "meta":  # networks in outline
        return VGG19(max(layers))
    return load_vgg19(path, max(layers))


def style_on(style: Style, device: torch.device) -> Style:
    """A saved style on `device`."""
    return {kind: {n: x.to(device) for n, x in layers.items()} for kind, layers in style.items()}


def pictures_of(
    stores: Sequence[Store], side: int, device: torch.device, most: int = 300, at_once: int = 4
) -> Iterator[Tensor]:
    """Whole pictures of side A (0) or B (1) of unpaired data as batches in [-1, 1], a few at a
    time; of more than `most` an even choice. `stores`: of `UnpairedData`."""
    store, place = (stores[side], 0) if len(stores) == 2 else (stores[0], side)
    count = len(store)
    chosen = [k * count // min(count, most) for k in range(min(count, most))]
    for first in range(0, len(chosen), at_once):
        some = chosen[first : first + at_once]
        (x,) = store.batch(some, only=place)
        yield UnpairedBatch(x, x, some).on(device).a


def _layers(s: PartSettings, t: Transfer) -> tuple[list[str], list[str]]:
    """The layers of VGG19 at which an output, and what it is compared with, are looked at."""
    reference = [*s.perceptual_layers] if s.lambda_perceptual else []
    reference += [t.layer] if t.content else []
    styled = [*STYLE_LAYERS] if _described(s, t) else []
    return [*styled, *reference], reference


def _described(s: PartSettings, t: Transfer) -> dict[str, Callable[[Tensor], Tensor]]:
    """How the style terms in use describe the pictures (N, ...) of a batch, by kind."""
    kinds: dict[str, tuple[float, Callable[[Tensor], Tensor]]] = {
        "gram": (t.style, gram_matrix),
        "statistics": (s.lambda_statistics, channel_statistics),
        "sliced": (s.lambda_sliced, _quantiles),
    }
    return {kind: describe for kind, (weight, describe) in kinds.items() if weight}


def _quantiles(features: Tensor) -> Tensor:
    return sliced_quantiles(features, style_directions(features.shape[1]))
