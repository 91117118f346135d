"""Loss terms: pure functions, tensors in, scalar out. Any method takes any of them by a weight."""

from img2img.losses.contrastive import multilayer_nce_loss, patch_nce_loss
from img2img.losses.frequency import focal_frequency_loss
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
    perceptual_loss,
)
from img2img.losses.reconstruction import (
    chroma,
    l1_loss,
    low_frequency_colour_loss,
    low_frequency_light_loss,
    saturation_weighted_l1,
    total_variation_loss,
)
from img2img.losses.style import (
    channel_statistics,
    sliced_quantiles,
    sliced_style_loss,
    statistics_style_loss,
    style_directions,
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
    "channel_statistics",
    "check_objective",
    "chroma",
    "classification_loss",
    "clip_weights",
    "content_loss",
    "discriminator_loss",
    "feature_matching_loss",
    "focal_frequency_loss",
    "generator_loss",
    "gradient_penalty",
    "gram_matrix",
    "gram_style_loss",
    "l1_loss",
    "low_frequency_colour_loss",
    "low_frequency_light_loss",
    "multilayer_nce_loss",
    "patch_nce_loss",
    "perceptual_loss",
    "r1_penalty",
    "saturation_weighted_l1",
    "sliced_quantiles",
    "sliced_style_loss",
    "statistics_style_loss",
    "style_directions",
    "total_variation_loss",
]
