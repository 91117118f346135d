"""What one step is, for each method. `METHODS` is the table."""

from img2img.methods.base import Method
from img2img.methods.cut import CUT, CUTConfig
from img2img.methods.cyclegan import CycleGAN, CycleGANConfig
from img2img.methods.pix2pix import Pix2Pix, Pix2PixConfig
from img2img.methods.stargan import StarGAN, StarGANConfig
from img2img.methods.stylize import Stylize, StylizeConfig

METHODS: dict[str, type[Method]] = {
    Pix2Pix.name: Pix2Pix,
    CycleGAN.name: CycleGAN,
    CUT.name: CUT,
    StarGAN.name: StarGAN,
    Stylize.name: Stylize,
}

__all__ = [
    "CUT",
    "METHODS",
    "CUTConfig",
    "CycleGAN",
    "CycleGANConfig",
    "Method",
    "Pix2Pix",
    "Pix2PixConfig",
    "StarGAN",
    "StarGANConfig",
    "Stylize",
    "StylizeConfig",
]
