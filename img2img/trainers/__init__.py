"""What one step is, for each method. `TRAINERS` is the table."""

from img2img.trainers.base import Trainer
from img2img.trainers.cyclegan import CycleGANConfig, CycleGANTrainer
from img2img.trainers.pix2pix import Pix2PixConfig, Pix2PixTrainer
from img2img.trainers.stargan import StarGANConfig, StarGANTrainer
from img2img.trainers.stylize import StylizeConfig, StylizeTrainer

TRAINERS: dict[str, type[Trainer]] = {
    Pix2PixTrainer.name: Pix2PixTrainer,
    CycleGANTrainer.name: CycleGANTrainer,
    StarGANTrainer.name: StarGANTrainer,
    StylizeTrainer.name: StylizeTrainer,
}

__all__ = [
    "TRAINERS",
    "CycleGANConfig",
    "CycleGANTrainer",
    "Pix2PixConfig",
    "Pix2PixTrainer",
    "StarGANConfig",
    "StarGANTrainer",
    "StylizeConfig",
    "StylizeTrainer",
    "Trainer",
]
