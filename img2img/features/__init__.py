"""Frozen feature networks for losses and metrics: found here, verified, never shipped."""

from __future__ import annotations

from img2img.features.extract import Features, load_lite0, open_features
from img2img.features.found import (
    FEATURES,
    JUDGE,
    PARTS,
    FeatureFile,
    find_features,
    missing_features,
)
from img2img.features.lite0 import Lite0
from img2img.features.vgg19 import VGG19, load_vgg19

__all__ = [
    "FEATURES",
    "JUDGE",
    "PARTS",
    "VGG19",
    "FeatureFile",
    "Features",
    "Lite0",
    "find_features",
    "load_lite0",
    "load_vgg19",
    "missing_features",
    "open_features",
]
