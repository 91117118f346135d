"""Augmentation on the device. What is given in one call moves together; two calls move apart.

Augment            what the networks learn from: crop, flip and, if asked, much more
DiffAugment        what the discriminator sees, differentiable (arXiv 2006.10738)
AdaptiveAugment    the same with a probability that follows its overfitting (arXiv 2006.06676)
Degrade            from a clean photograph, the one to repair (arXiv 2107.10833)
Edges              from a photograph, a line drawing
"""

from img2img.augment.config import AugmentConfig
from img2img.augment.degrade import Degrade
from img2img.augment.edges import Edges
from img2img.augment.judged import AdaptiveAugment, DiffAugment, JudgedView
from img2img.augment.pipeline import Augment
from img2img.augment.recipes import RECIPES, DegradeConfig, recipe

__all__ = [
    "RECIPES",
    "AdaptiveAugment",
    "Augment",
    "AugmentConfig",
    "Degrade",
    "DegradeConfig",
    "DiffAugment",
    "Edges",
    "JudgedView",
    "recipe",
]
