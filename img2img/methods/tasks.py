"""Presets of Pix2Pix by task, on two cores or a GPU, and how any preset becomes one for a GPU."""

from __future__ import annotations

from typing import Any

from img2img.methods.base import LAPTOP

_LAPTOP = LAPTOP | {
    "ema": 0.995,
    "warm_up": 50,
    "sample_every": 500,
    "save_every": 500,
    "log_every": 25,
}

# The loop of what is judged by its distance to a truth.
_TRUE = _LAPTOP | {"best": "psnr"}

# Without an adversary: what a small network invents in skin and lettering is worse than blur.
_L1_ALONE: dict[str, Any] = {
    "lambda_gan": 0.0,
    "lambda_l1": 1.0,
    "lr": 1e-3,
    "beta1": 0.9,
    "beta2": 0.99,
}

RESTORE: dict[str, Any] = _TRUE | {
    "load_size": 128,
    "crop_size": 96,
    "batch_size": 8,
    "settings": {
        "pairs": "degrade",
        "recipe": "restore",
        # Large photographs, reduced: their own noise and JPEG blocks must not be learned.
        "crop_scale": (0.15, 0.5),
        "crops": 3000,
        "generator": "fast",
        "generator_options": {"width": 32, "blocks": 1, "levels": 3},
        **_L1_ALONE,
    },
}

ENHANCE: dict[str, Any] = _TRUE | {
    "max_minutes": 20.0,
    "load_size": 144,
    "crop_size": 128,
    "batch_size": 16,
    "settings": {
        "pairs": "degrade",
        "recipe": "enhance",
        "crop_scale": (0.6, 1.0),
        "generator": "curve",
        **_L1_ALONE,
    },
}

COLOUR: dict[str, Any] = _LAPTOP | {
    "load_size": 144,
    "crop_size": 128,
    "batch_size": 8,
    "working_size": 128,  # as in training: at twice the size colours come in patches
    "settings": {
        "pairs": "degrade",
        "recipe": "colour",
        "crop_scale": (0.6, 1.0),
        "generator": "fast",
        "generator_options": {"width": 20, "blocks": 1, "levels": 5, "output": "chroma"},
        "discriminator_options": {"width": 32, "spectral": True, "norm": "none"},
        "gan": "hinge",
        "lambda_gan": 0.02,
        "lambda_l1": 10.0,
        "lambda_saturation": 6.0,
        "lr": 4e-4,
        "beta1": 0.5,
        "beta2": 0.99,
    },
}


# Reflection and resizing: blank areas must not give patches along an edge (docs, networks).
LABELS: dict[str, Any] = _LAPTOP | {
    "load_size": 286,
    "crop_size": 256,
    "batch_size": 2,
    "settings": {
        "generator": "unet",
        "generator_options": {
            "width": 24,
            "depth": 7,
            "norm": "batch",
            "dropout": False,
            "padding": "reflect",
            "upsample": "resize",
            "init": "kaiming",
            "init_gain": 1.0,
        },
        "norm_statistics": "running",
        "discriminator": "projected",
        "discriminator_options": {"width": 32},
        "gan": "hinge",
        "lambda_gan": 1.0,
        "lambda_l1": 10.0,
        "lambda_features": 10.0,
        "lr": 4e-4,
        "beta1": 0.5,
        "beta2": 0.99,
    },
}

# Blurs less than with the levels of `restore`: what to add to a pixel lies close to it.
ENLARGE: dict[str, Any] = RESTORE | {
    "settings": RESTORE["settings"]
    | {
        "recipe": "enlarge",
        "generator_options": {"width": 32, "blocks": 8, "shrink": 1, "scale": 2},
    },
}


def larger(
    preset: dict[str, Any], crop: int, batch: int, load: int, judge: int = 0, **options: int
) -> dict[str, Any]:
    """A preset for two cores made into one for a GPU: larger crops and batches, in the layout in
    memory that the device is fastest with.

    Args:
        load: side in pixels to which pictures are scaled, of which crops of `crop` are cut.
        judge: width of the discriminator; 0: as it is.
        options: of the generator.
    """
    settings = preset.get("settings", {})
    networks = {"generator_options": settings.get("generator_options", {}) | options}
    if judge:
        given = settings.get("discriminator_options", {})
        networks["discriminator_options"] = given | {"width": judge}
    loop = {"load_size": load, "crop_size": crop, "batch_size": batch, "memory_format": "auto"}
    return preset | loop | {"ema": 0.999, "settings": settings | networks}


RESTORE_GPU = larger(RESTORE, 192, 16, 240, width=64, blocks=3, levels=4)
ENHANCE_GPU = larger(ENHANCE, 256, 32, 320, width=48, knots=16)
COLOUR_GPU = larger(COLOUR, 256, 16, 320, width=32, blocks=2)
ENLARGE_GPU = larger(ENLARGE, 192, 16, 240, width=64, blocks=16)
LABELS_GPU = larger(LABELS, 256, 8, 286, judge=64, width=64)
