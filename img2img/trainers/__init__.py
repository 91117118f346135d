"""What one step is, for each method. `TRAINERS` is the table."""

from img2img.trainers.base import Trainer
from img2img.trainers.pix2pix import Pix2PixConfig, Pix2PixTrainer

TRAINERS: dict[str, type[Pix2PixTrainer]] = {Pix2PixTrainer.name: Pix2PixTrainer}

__all__ = ["TRAINERS", "Pix2PixConfig", "Pix2PixTrainer", "Trainer"]
