"""A model -> the file of weights that a reference implementation loads: importing, backwards."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from img2img.errors import EnvironmentFault, ModelError, UsageError, describe_os_error
from img2img.model_format.checkpoint import load_model
from img2img.model_format.layouts import STARGAN, resnet_names, stargan_names, unet_names
from img2img.nets import Generator
from img2img.nets.antialias import BlurDown, BlurUp
from img2img.nets.blocks import InstanceNorm
from img2img.settings import Settings
from img2img.system.atomic import write_atomic

SUFFIXES = (".pth", ".pt", ".ckpt")
_PLAIN = {"attention": False, "output": "direct"}
# What the reference's generators have alike, and ours may have otherwise.
_RESNET: dict[str, Any] = _PLAIN | {
    "padding": "reflect",
    "downsample_padding": "zero",
    "kernel": 3,
    "head_bias": True,
    "affine": False,
    "domains": 0,
}
_UNET: dict[str, Any] = _PLAIN | {
    "padding": "zero", "upsample": "transposed", "affine": False, "domains": 0,
}  # fmt: skip
_STARGAN: dict[str, Any] = _PLAIN | STARGAN | {
    "downsample": "strided", "downsample_padding": "zero", "upsample": "transposed",
}  # fmt: skip


def export_reference(source: Path, target: Path) -> str:
    """Write the `.safetensors` model `source` to `target` (.pth, .pt or .ckpt) as the repository
    of CycleGAN/pix2pix, of CUT or of StarGAN saves it; return which of them, in words.

    Raises:
        UsageError: a target of another suffix.
        ModelError: the source is refused, or no generator of these has its settings; they are
            named.
        EnvironmentFault: the target cannot be written.
    """
    if target.suffix not in SUFFIXES:
        raise UsageError(f"{target}: a reference file needs the suffix {' or '.join(SUFFIXES)}")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: no such folder")
    generator, _ = load_model(source)
    try:
        layout, theirs = _layout_of(generator)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from None
    payload = io.BytesIO()
    torch.save(_state(generator, theirs), payload)
    try:
        write_atomic(target, payload.getvalue(), durable=True)
    except OSError as error:
        raise EnvironmentFault(f"{target}: not written: {describe_os_error(error)}") from None
    return layout


def _layout_of(generator: Generator) -> tuple[str, Callable[[str], str]]:
    """The layout that has a place for this generator, in words, and its names for our tensors."""
    c = generator.config
    if generator.name == "unet":
        _compare(c, _UNET, "pix2pix")
        if c.norm == "none" or c.depth < 5:
            what = "five levels or more" if c.depth < 5 else "a norm"
            raise ModelError(f"the U-Net of pix2pix requires {what}")
        return f"pix2pix unet_{2**c.depth}", unet_names(c.depth)
    if generator.name != "resnet":
        raise ModelError(
            f"no reference implementation has a '{generator.name}' generator; resnet and unet can "
            "be written"
        )
    if c.domains:
        _compare(c, _STARGAN, "StarGAN")
        return "stargan", stargan_names
    sampling = "blurred" if c.upsample == "blurred" else "transposed"
    _compare(c, _RESNET | {"upsample": sampling}, "CycleGAN")
    biased = c.norm != "batch" if c.bias is None else c.bias
    if biased != (c.norm == "instance"):
        raise ModelError(
            "the convolutions of CycleGAN have a bias if and only if the norm is instance"
        )
    blurred = "blurred" in (c.downsample, c.upsample)
    return f"{'cut' if blurred else 'cyclegan'} resnet_{c.blocks}blocks", resnet_names


def _compare(config: Settings, wanted: dict[str, Any], project: str) -> None:
    given = {name: getattr(config, name) for name in wanted}
    if given.get("bias", False) is None:  # none where a norm with its own bias follows
        given["bias"] = not given["affine"]
    other = [f"{k} {v} (not {wanted[k]})" for k, v in given.items() if v != wanted[k]]
    if other:
        raise ModelError(f"no generator of {project} has {', '.join(other)}")


def _state(generator: Generator, theirs: Callable[[str], str]) -> dict[str, Tensor]:
    """The weights under their names. StarGAN's networks also want statistics that they never use
    while they are in training mode, as the reference leaves them, and CUT's its filters."""
    state = {theirs(key): value for key, value in generator.state_dict().items()}
    for name, module in generator.named_modules():
        if isinstance(module, (BlurDown, BlurUp)):
            state[theirs(f"{name}.filt")] = module.blur.clone()
        if isinstance(module, InstanceNorm) and module.weight is not None:
            for field, value in (
                ("running_mean", torch.zeros_like(module.weight)),
                ("running_var", torch.ones_like(module.weight)),
                ("num_batches_tracked", torch.zeros((), dtype=torch.int64)),
            ):
                state[theirs(f"{name}.{field}")] = value.detach()
    return state
