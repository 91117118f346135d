"""`DegradeConfig`: what is done to a clean photograph to make the input of a pair; `RECIPES`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from img2img.errors import ConfigError, proposal
from img2img.settings import Settings


def _range(given: object) -> object:
    """0 or an empty list: off; one number: always this."""
    if given is None or given == [] or given == () or (given == 0 and given is not False):
        return None
    return (given, given) if isinstance(given, (int, float)) else given


Range = Annotated[tuple[float, float] | None, BeforeValidator(_range)]
Probability = Annotated[float, Field(ge=0, le=1)]

# Least and most of each range.
_LIMITS = {
    "blur": (0.0, 20.0),
    "resize": (0.02, 1.0),
    "noise": (0.0, 255.0),
    "shot": (0.0, 255.0),
    "jpeg": (1.0, 100.0),
    "exposure": (-8.0, 8.0),
    "contrast": (0.0, 10.0),
    "gamma": (0.05, 20.0),
    "cast": (0.05, 20.0),
    "saturation": (0.0, 10.0),
    "fade": (0.0, 1.0),
    "vignette": (0.0, 1.0),
    "scratches": (0.0, 200.0),
    "dust": (0.0, 2000.0),
}


class DegradeConfig(Settings):
    """Each operation has a range, (least, most), of uniform draws; 0 or an empty range switches it
    off, one number is that very value. In this order:

    - `blur`: sigma of a Gaussian in pixels, along both axes alike or (half of the pictures) along
      two turned axes. `resize`: the picture is reduced to this part of its side and enlarged again.
      `noise`: standard deviation in levels of 255, equal in all channels in 40 %. `shot`: the same
      at white, falling with the root of the light. `jpeg`: quality, 4:2:0 or 4:4:4, the blocks
      beginning anywhere in `jpeg_shifted` of them, else at the corner. These make a round, and
      `order` 2 makes two, drawn apart (arXiv 2107.10833, sec. 3.2). `X_probability`: in how many
      of the pictures.
    - `exposure`: stops. `contrast`: factor about middle grey. `gamma`: exponent. `cast`: factor of
      the light of each channel. `saturation`: factor, 0 is grey. `fade`: 1 lifts black to a fifth
      and lowers white, warmly. `vignette`: what the corners lose of their light.
    - `scratches`, `dust`: how many thin lines and small spots.
    - `grey`: probability of luma in place of colour.

    `clean`: the share of pictures that nothing is done to.
    """

    clean: Probability = 0.1
    order: Literal[1, 2] = 1
    blur: Range = None
    blur_probability: Probability = 1.0
    resize: Range = None
    resize_probability: Probability = 1.0
    noise: Range = None
    noise_probability: Probability = 1.0
    shot: Range = None
    jpeg: Range = None
    jpeg_probability: Probability = 1.0
    jpeg_shifted: Probability = 1.0
    exposure: Range = None
    contrast: Range = None
    gamma: Range = None
    cast: Range = None
    saturation: Range = None
    fade: Range = None
    vignette: Range = None
    scratches: Range = None
    dust: Range = None
    grey: Probability = 0.0

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name, (least, most) in _LIMITS.items():
            given = getattr(self, name)
            if given is None:
                continue
            low, high = given
            if not least <= low <= high <= most:
                raise ValueError(
                    f"{name} must be {least:g} <= least <= most <= {most:g}, not {low:g}, {high:g}"
                )
        return self

    @property
    def always_grey(self) -> bool:
        """Whether every input is grey."""
        return self.grey == 1 and self.clean == 0


_RESTORE = {
    "noise": (0, 18), "jpeg": (22, 90), "resize": (0.4, 0.9), "resize_probability": 0.3,
    # A network that halves the sides three times learns where the blocks of a whole file begin.
    "jpeg_shifted": 0.4,
}  # fmt: skip
RECIPES: dict[str, dict[str, Any]] = {
    "restore": _RESTORE,
    "old": _RESTORE
    | {"order": 2, "fade": (0.2, 1.0), "scratches": (0, 5), "dust": (0, 20)},
    "enhance": {
        "exposure": (-1.5, 1.5), "contrast": (0.5, 1.4), "gamma": (0.6, 1.6), "cast": (0.8, 1.25),
        "saturation": (0.4, 1.3),
    },
    "colour": {"grey": 1.0, "clean": 0.0},
    "enlarge": {
        "clean": 0.4, "noise": (0, 4), "noise_probability": 0.5, "jpeg": (70, 98),
        "jpeg_probability": 0.6,
    },
}  # fmt: skip


def recipe(name: str, options: Mapping[str, Any]) -> DegradeConfig:
    """A recipe of `RECIPES` with single values replaced by `options`.

    Raises ConfigError for an unknown recipe or option, or an impossible value.
    """
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe '{name}'.{proposal(name, RECIPES)}")
    return DegradeConfig.parse({**RECIPES[name], **options}, "degrade.")
