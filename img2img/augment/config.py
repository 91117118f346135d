"""`AugmentConfig`: what the augmentation may do to a picture, how often and how much."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from img2img.settings import Settings

Probability = Annotated[float, Field(ge=0, le=1)]
Magnitude = Annotated[float, Field(ge=0)]

# The most of each magnitude, whatever `strength` makes of it. Beyond these a picture folds over
# (perspective, shear), turns past the other side (angles) or is gone (the rest).
_LIMITS = {
    "rotate_degrees": 180.0,
    "affine_translate": 1.0,
    "affine_scale": 3.0,
    "affine_shear": 60.0,
    "perspective_tilt": 0.45,
    "brightness_by": 1.0,
    "contrast_by": 10.0,
    "saturation_by": 10.0,
    "hue_degrees": 180.0,
    "blur_sigma": 20.0,
    "noise_sd": 1.0,
    "cutout_side": 1.0,
}


class AugmentConfig(Settings):
    """Each operation has a probability, named after it, and a magnitude; the default of every
    probability is 0, which leaves the reference's crop and flip (and these are exact).

    `strength` is the one dial: every magnitude is multiplied by it (up to a limit where the picture
    would be lost), and so is the probability of the vertical flip, which has no magnitude. At 1 the
    settings mean what they say. Towards 0 everything fades; at 0 nothing is left but crop and
    horizontal flip. These two are no distortions, and the dial does not touch them.

    Magnitudes are the bounds of uniform draws, both ways:

    - `jitter_scale`: the picture is resized by a factor between the two (drawn in the logarithm)
      before the crop; never so small that the crop would reach beyond it. Powers of `strength`.
    - `rotate_degrees`; `affine_translate` (parts of the crop's side), `affine_scale` (0.2: from
      1/1.2 to 1.2), `affine_shear` (degrees); `perspective_tilt` (0.2: one edge appears 1/0.8 as
      long and the opposite 1/1.2).
    - `brightness_by` (added, in parts of the range black to white), `contrast_by` about middle grey
      and `saturation_by` (0.25: from 1/1.25 to 1.25), `hue_degrees` (turn about the grey axis).
    - `blur_sigma` (pixels, up to), `noise_sd` (parts of the range, up to), `cutout_side` (side of
      the grey square in parts of the crop's side).

    `photometric` says which pictures of a call colour, blur, noise and cutout act on: its first,
    the network's input, or all of them alike. Where a call gives one picture (unpaired training)
    it is its first.
    """

    strength: Magnitude = 1.0
    photometric: Literal["input", "all"] = "input"
    vflip: Probability = 0.0
    jitter: Probability = 0.0
    jitter_scale: tuple[float, float] = (1.0, 1.25)
    rotate: Probability = 0.0
    rotate_degrees: Magnitude = 15.0
    affine: Probability = 0.0
    affine_translate: Magnitude = 0.1
    affine_scale: Magnitude = 0.15
    affine_shear: Magnitude = 10.0
    perspective: Probability = 0.0
    perspective_tilt: Magnitude = 0.15
    brightness: Probability = 0.0
    brightness_by: Magnitude = 0.15
    contrast: Probability = 0.0
    contrast_by: Magnitude = 0.25
    saturation: Probability = 0.0
    saturation_by: Magnitude = 0.5
    hue: Probability = 0.0
    hue_degrees: Magnitude = 20.0
    blur: Probability = 0.0
    blur_sigma: Magnitude = 1.5
    noise: Probability = 0.0
    noise_sd: Magnitude = 0.03
    cutout: Probability = 0.0
    cutout_side: Magnitude = 0.3

    @model_validator(mode="after")
    def _possible(self) -> Self:
        low, high = self.jitter_scale
        if not 0 < low <= high:
            raise ValueError(f"jitter_scale must be 0 < low <= high, not {low}, {high}")
        for name, limit in _LIMITS.items():
            if getattr(self, name) > limit:
                raise ValueError(f"{name} {getattr(self, name)} is more than its limit {limit}")
        return self

    def scaled(self) -> AugmentConfig:
        """The same settings with the dial worked into them and standing at 1."""
        if self.strength == 0:
            return AugmentConfig(photometric=self.photometric)
        changed: dict[str, object] = {
            name: min(getattr(self, name) * self.strength, limit) for name, limit in _LIMITS.items()
        }
        low, high = self.jitter_scale
        changed["jitter_scale"] = (low**self.strength, high**self.strength)
        # More than half would mostly flip the pictures; larger values are allowed.
        changed["vflip"] = min(self.vflip * self.strength, max(self.vflip, 0.5))
        return self.model_copy(update=changed | {"strength": 1.0})

    def moves(self) -> bool:
        """Whether any picture can be moved otherwise than by crop and horizontal flip."""
        return any((self.vflip, self.jitter, self.rotate, self.affine, self.perspective))

    def shades(self) -> bool:
        """Whether any picture can be changed otherwise than by moving it."""
        colour = (self.brightness, self.contrast, self.saturation, self.hue)
        return any((*colour, self.blur, self.noise, self.cutout))
