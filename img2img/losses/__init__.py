"""Loss terms: pure functions, tensors in, scalar out. Any method takes any of them by a weight."""

from img2img.losses.gan import (
    EXP_LIMIT,
    GANS,
    Critic,
    Gan,
    Judgement,
    bounded_exp,
    classification_loss,
    discriminator_loss,
    generator_loss,
)
from img2img.losses.penalties import (
    PENALTIES,
    Penalty,
    check_objective,
    clip_weights,
    gradient_penalty,
    r1_penalty,
)
from img2img.losses.perceptual import (
    content_loss,
    feature_matching_loss,
    gram_matrix,
    gram_style_loss,
)
from img2img.losses.reconstruction import (
    chroma,
    l1_loss,
    low_frequency_colour_loss,
    low_frequency_light_loss,
    saturation_weighted_l1,
    total_variation_loss,
)

__all__ = [
    "EXP_LIMIT",
    "GANS",
    "PENALTIES",
    "Critic",
    "Gan",
    "Judgement",
    "Penalty",
    "bounded_exp",
    "check_objective",
    "chroma",
    "classification_loss",
    "clip_weights",
    "content_loss",
    "discriminator_loss",
    "feature_matching_loss",
    "generator_loss",
    "gradient_penalty",
    "gram_matrix",
    "gram_style_loss",
    "l1_loss",
    "low_frequency_colour_loss",
    "low_frequency_light_loss",
    "r1_penalty",
    "saturation_weighted_l1",
    "total_variation_loss",
]
