"""How figures came about: everything that a report needs so that somebody else can repeat it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import PIL
import torch

from img2img._version import __version__
from img2img.evaluation.gather import Extractor, Gathered
from img2img.evaluation.request import EvaluateRequest
from img2img.evaluation.sources import Item, Material
from img2img.features import FEATURES, PARTS, find_features
from img2img.metrics import METRICS
from img2img.system.digest import file_sha256

_RUNNERS = ("onnxruntime", "openvino")


def protocol_of(
    request: EvaluateRequest, material: Material, found: Gathered, side: int,
    networks: Sequence[Extractor], metrics: Sequence[str],
) -> dict[str, object]:  # fmt: skip
    """What was requested, of which pictures, with which weights and versions. Folders go by their
    names and pictures by their contents, so that the same pictures elsewhere give the same."""
    folders = {
        name: Path(value).resolve().name
        for name in ("data", "fake", "real", "training")
        if (value := getattr(request, name)) is not None
    }
    used = [network.name for network in networks]
    used += [network for name in metrics for network in METRICS[name].networks]
    return folders | {
        "pictures_sha256": {
            "judged": pictures_sha256(material.judged),
            "reals": pictures_sha256(material.reals),
        },
        "long_side": side,
        "paired": material.paired,
        "direction": request.direction,
        "backwards": request.backwards,
        "seed": request.seed,
        "most": request.most,
        "judged": len(found.rows),
        "reals": len(found.reals.names),
        "metrics": list(metrics),
        "critic": request.critic,
        "labels": request.labels,
        "networks": {name: _weights_sha256(name) for name in dict.fromkeys(used)},
        "img2img": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        **_versions(),
        "python": platform.python_version(),
    }


def pictures_sha256(items: Iterable[Item]) -> str:
    """One digest of the contents of pictures, in order; it does not depend on where they lie. A
    file that cannot be read counts as such."""
    whole = hashlib.sha256()
    path, digest = None, ""
    for item in items:
        if item.path != path:  # edits of one picture follow each other
            path, digest = item.path, _content_sha256(item.path)
        whole.update(f"{digest} {item.half} {item.part}\n".encode())
    return whole.hexdigest()


def _content_sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError:
        return "unreadable"


def _weights_sha256(network: str) -> str:
    known = (FEATURES | PARTS)[network].sha256  # of the file that was verified when it was opened
    return known if len(known) == 64 else file_sha256(find_features(network))


def _versions() -> dict[str, str]:
    found = {}
    for name in _RUNNERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
