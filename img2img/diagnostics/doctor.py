"""What is installed, what really works, and how to fix what does not."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import Requirement

from img2img._version import __version__
from img2img.errors import EnvironmentFault, Img2ImgError, first_line
from img2img.model_format.find import find_model, shipped
from img2img.runners import open_runner
from img2img.system import cpu, installed
from img2img.system.cuda import cuda_device_count
from img2img.system.threads import wait_policy

# What each extra adds.
EXTRAS = {
    "train": "training, export and .safetensors models",
    "features": "VGG19, which train stylize needs, and EfficientNet-Lite0 for evaluation",
    "gpu": "CUDA's libraries for onnxruntime",
    "tensorboard": "training curves in TensorBoard",
    "heic": "reading HEIC files",
    "video": "translating video clips",
    "openvino": "a runner that translates many pictures faster on most CPUs",
    "serve": "a page and an HTTP API for other programs",
    "scale": "translating on a Ray cluster, from and into object stores",
    "docs": "building this documentation",
    "dev": "running the tests",
}

# Input pixels, as those of a thousand photographs.
_LONG_JOB = 10**10

# Distributions that install the same import name; two of a row at once overwrite each other.
_RIVALS = (
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino"),
    (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    ("albumentations", "albumentationsx"),
    ("pillow", "pillow-simd"),
)


@dataclass(frozen=True)
class Finding:
    """One line of the report. `fix` is the command that helps, where one does."""

    status: Literal["ok", "note", "problem"]
    what: str
    fix: str = ""


def examine() -> list[Finding]:
    """Look at the whole installation; no network is used and nothing is changed."""
    system = f"{platform.system()} {platform.machine()}"
    rows = [Finding("ok", f"img2img {__version__}, Python {platform.python_version()}, {system}")]
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        rows.append(Finding("problem", "Python 3.11 to 3.14 is needed", "install Python 3.13"))
    return rows + _requirements() + _rivals() + _devices() + _weights()


def version_of(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements() -> dict[str, list[str]]:
    """Distributions that img2img needs, by extra; `""` is the plain installation."""
    groups: dict[str, list[str]] = {"": []}
    for text in importlib.metadata.requires(installed.DISTRIBUTION) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        for extra in ("", *EXTRAS):
            # A plain requirement holds without any extra and belongs to the plain installation.
            if marker is None or marker.evaluate({"extra": extra}):
                if requirement.name != installed.DISTRIBUTION:
                    groups.setdefault(extra, []).append(requirement.name)
                break
    return groups


_IMPORTS = {
    "mkdocs-material": "material",
    "pillow": "PIL",
    "onnxruntime-gpu": "onnxruntime",
    "tomli-w": "tomli_w",
    "python-multipart": "python_multipart",
}


def _requirements() -> list[Finding]:
    try:
        groups = requirements()
    except importlib.metadata.PackageNotFoundError:
        return [
            Finding(
                "problem",
                f"{installed.DISTRIBUTION} itself is not installed (run from a folder)",
                installed.reinstall(),
            )
        ]
    rows = []
    for extra, names in groups.items():
        if extra in ("dev", "gpu"):
            continue
        fix = installed.hint(extra) if extra else installed.reinstall(dependencies=True)
        missing = [n for n in names if version_of(n) is None]
        # Other packages may bring parts of an extra; the first one is what it is installed for.
        if extra and names[0] in missing:
            rows.append(Finding("note", f"extra '{extra}' is not installed: {EXTRAS[extra]}", fix))
            continue
        for name in missing:
            rows.append(Finding("problem", f"{name} is missing", fix))
        rows += [_load(name) for name in names if name not in missing]
    return rows


def _load(name: str) -> Finding:
    version = version_of(name)
    # albumentations asks the network for a newer version while it is imported.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    module = _IMPORTS.get(name.lower(), name.lower().replace("-", "_"))
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken wheel may raise anything
        line = first_line(error)
        return Finding(
            "problem",
            f"{name} {version} does not load: {line}",
            installed.pip("install", "--force-reinstall", name),
        )
    return Finding("ok", f"{name} {version}")


def _rivals() -> list[Finding]:
    rows = []
    other = installed.other_project_version()
    if other is not None:
        rows.append(
            Finding(
                "problem",
                f"img2img {other} is another project with the same import name; "
                "its files replace ours",
                f"{installed.uninstall('img2img')} && {installed.reinstall()}",
            )
        )
    successor = version_of("albumentationsx")
    if successor is not None and version_of("albumentations") is None:
        # It answers to the same import name, so nothing else would tell.
        rows.append(
            Finding(
                "problem",
                f"`import albumentations` is albumentationsx {successor}, which is under the AGPL",
                _instead(["albumentationsx"], "albumentations>=2.0.8,<2.1"),
            )
        )
    for group in _RIVALS:
        present = [name for name in group if version_of(name) is not None]
        if len(present) > 1:
            keep = _kept(present)
            rows.append(
                Finding(
                    "problem",
                    f"{' and '.join(present)} overwrite each other",
                    _instead(present, keep),
                )
            )
    return rows


def _instead(present: list[str], keep: str) -> str:
    return f"{installed.uninstall(*present)} && {installed.pip('install', keep)}"


def _kept(present: list[str]) -> str:
    try:
        wanted = {n.lower() for names in requirements().values() for n in names}
    except importlib.metadata.PackageNotFoundError:
        wanted = set()
    return next((n for n in present if n in wanted), present[0])


def _devices() -> list[Finding]:
    rows = []
    name = next(iter(shipped()))
    for device in ("cpu", *(f"cuda:{n}" for n in range(cuda_device_count()))):
        try:
            runner = open_runner(find_model(name, (".onnx",)), device)
            rows.append(Finding("ok", f"device {device}: {runner.description}"))
        except Img2ImgError as error:
            fix = installed.hint("gpu") if device != "cpu" else installed.reinstall()
            rows.append(Finding("problem", f"device {device}: {error}", fix))
    if version_of("torch") is not None:
        rows += _torch_devices()
    return [*rows, _processor(), *_openvino()]


def _processor() -> Finding:
    bf16 = cpu.bf16_arithmetic()
    if bf16 is None:
        found = "this system does not report whether the processor computes bf16"
    else:
        found = f"bf16 by {bf16}" if bf16 else "no bf16 arithmetic, so fp32"
    waits = wait_policy() or "idle threads follow OpenMP's default wait policy"
    cores = f"{cpu.cores()} cores for this process"
    return Finding("ok", f"processor: {cores}, {found}, {waits}")


def _openvino() -> list[Finding]:
    """What OpenVINO can do, and which runner `auto` takes for a long job on the CPU; opening the
    runner measures."""
    rows = []
    name = next(iter(shipped()))
    path = find_model(name, (".onnx",))
    if version_of("openvino") is not None:
        try:
            open_runner(path, "cpu", "openvino", "fp32")
            precisions = ["fp32"]
            for precision in ("bf16", "fp16"):
                with contextlib.suppress(EnvironmentFault):
                    open_runner(path, "cpu", "openvino", precision)
                    precisions.append(precision)
            rows.append(Finding("ok", f"device cpu: openvino {', '.join(precisions)}"))
        except Img2ImgError as error:
            fix = installed.pip("install", "--force-reinstall", "openvino")
            rows.append(Finding("problem", f"device cpu: {error}", fix))
    try:
        runner = open_runner(path, pixels=_LONG_JOB)
        found = f"a long job with {name} uses {runner.description}: {runner.reason}"
        rows.append(Finding("ok", found))
    except Img2ImgError as error:
        rows.append(Finding("problem", f"runner auto: {error}", installed.reinstall()))
    return rows


def _torch_devices() -> list[Finding]:
    try:
        import torch

        torch.ones(2).sum().item()
        rows = [Finding("ok", "device cpu: torch")]
        for n in range(torch.cuda.device_count()):
            torch.ones(2, device=f"cuda:{n}").sum().item()
            rows.append(Finding("ok", f"device cuda:{n}: torch, {torch.cuda.get_device_name(n)}"))
        if torch.backends.mps.is_available():
            torch.ones(2, device="mps").sum().item()
            rows.append(Finding("ok", "device mps: torch"))
        if cuda_device_count() > torch.cuda.device_count():
            rows.append(
                Finding(
                    "problem",
                    "this torch does not see the CUDA device",
                    installed.pip("install", "--force-reinstall", "torch"),
                )
            )
        return rows
    except Exception as error:
        line = first_line(error)
        fix = installed.pip("install", "--force-reinstall", "torch")
        return [Finding("problem", f"torch: {line}", fix)]


def _weights() -> list[Finding]:
    rows = []
    for model in shipped().values():
        try:
            open_runner(find_model(model.name, (".onnx",)), "cpu")
            from img2img.model_format.checkpoint import read_model_info

            read_model_info(find_model(model.name, (".safetensors",)))
            rows.append(Finding("ok", f"shipped model {model.name}"))
        except Img2ImgError as error:
            rows.append(Finding("problem", str(error), installed.reinstall()))
    return rows
