"""Augmentation on the device. What is given in one call moves together; two calls move apart.

Augment            what the networks learn from: crop, flip and, if asked, much more
DiffAugment        what the discriminator sees, differentiable (arXiv 2006.10738)
AdaptiveAugment    the same with a probability that follows its overfitting (arXiv 2006.06676)
"""

from img2img.augment.config import AugmentConfig
from img2img.augment.judged import AdaptiveAugment, DiffAugment, JudgedView
from img2img.augment.pipeline import Augment

__all__ = ["AdaptiveAugment", "Augment", "AugmentConfig", "DiffAugment", "JudgedView"]
