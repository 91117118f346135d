"""The layouts of the reference implementations' generators: recognised by the names of their
tensors, and the names that our tensors have in them.

    cyclegan resnet_{N}blocks   the PyTorch CycleGAN/pix2pix repository
    pix2pix unet_{side}         the same repository; side = 2 ** depth
    cut resnet_{N}blocks        the CUT repository, with its antialiased sampling (without it, its
                                generators are those of CycleGAN and are so named)
    stargan                     the StarGAN (v1) repository, any number of domains
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from img2img.errors import ModelError, UsageError
from img2img.model_format.unpickling import quoted

_MAX_DEPTH = 12  # of UNetConfig
RUNNING = ("running_mean", "running_var", "num_batches_tracked")
STARGAN_V2 = (
    "weights of StarGAN v2 (style codes, adaptive instance norm), which is not supported; "
    "StarGAN v1 generators are"
)
_BATCH = "the reference translates with each picture's own batch statistics, not the running ones"

NORMS = ("instance", "batch", "none")
PADDINGS = ("reflect", "replicate")


@dataclass(frozen=True)
class Hints:
    """What a file of weights may leave open. None takes what the reference's options have by
    default, and a note says so.

    Attributes:
        norm: `instance`, `batch` or `none`, where the tensors fit more than one of them: without
            weights of its own a norm leaves no trace, or running statistics alone.
        dropout: whether the U-Net has it, which matters to further training alone.
        padding: of the residual blocks, `reflect` or `replicate`; zeros show in the file.
        entry: which part of a file of several state_dicts, or the first part of the names.

    Raises UsageError for an unknown norm or padding.
    """

    norm: str | None = None
    dropout: bool | None = None
    padding: str | None = None
    entry: str | None = None

    def __post_init__(self) -> None:
        for name, known in (("norm", NORMS), ("padding", PADDINGS)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise UsageError(f"`{name}` {value}: give {' or '.join(known)}")


@dataclass(frozen=True)
class Layout:
    """A layout with its sizes read from the shapes.

    Attributes:
        layout: its name.
        generator, config: what `build_generator` takes.
        theirs: turns the names of our tensors into those of the reference.
        notes: what was assumed, one phrase each.
    """

    layout: str
    generator: str
    config: dict[str, Any]
    theirs: Callable[[str], str]
    notes: tuple[str, ...]


def resnet_names(key: str) -> str:
    """The name of a tensor of our ResNet generator in CycleGAN's and CUT's."""
    return key.replace("layers", "model", 1).replace("layers", "conv_block")


def stargan_names(key: str) -> str:
    """The name of a tensor of our ResNet generator in StarGAN's."""
    return key.replace("layers", "main")


def unet_names(depth: int) -> Callable[[str], str]:
    """The names of the tensors of our U-Net of `depth` levels in pix2pix's."""

    def theirs(key: str) -> str:
        side, number, layer, field = key.split(".")
        level = int(number) if side == "downs" else depth - 1 - int(number)
        # Within a level: down, (norm), submodule, ReLU, up, (norm); the two ends lack some.
        shift = 0 if side == "downs" else 4 if 0 < level < depth - 1 else 2
        return f"{_level(level)}{int(layer) + shift}.{field}"

    return theirs


def _level(level: int) -> str:
    """The prefix of a level of pix2pix's U-Net: level k + 1 is the submodule of level k."""
    return "model.model." + ("1." + "model.3." * (level - 1) + "model." if level else "")


def recognise(tensors: Mapping[str, Tensor], hints: Hints) -> Layout:
    """Tell the layout by the names, and its sizes by the shapes.

    Raises:
        ModelError: it is none of these; networks that are no generator are named where known.
        UsageError: a hint that contradicts the file.
    """

    def has(pattern: str) -> bool:
        return any(re.match(pattern, key) for key in tensors)

    def kernel(key: str) -> list[int]:
        return list(tensors[key].shape[2:]) if key in tensors else []

    if has(r"model\.\d+\.conv_block\."):
        return _resnet(tensors, hints)
    if has(r"model\.model\.[013]\."):
        return _unet(tensors, hints)
    if has(r"(from_rgb|to_rgb|encode|decode|shared|unshared)\."):
        raise ModelError(STARGAN_V2)
    if has(r"main\.\d+\.main\."):
        return _stargan(tensors, hints)
    other = None
    if has(r"main\.0\.") and has(r"conv1\.") and has(r"conv2\."):
        other = "a discriminator of StarGAN"
    elif kernel("model.0.weight") == [4, 4]:
        other = "a PatchGAN discriminator" + (" of CUT" if has(r".*\.filt$") else "")
    elif kernel("net.0.weight") == [1, 1]:
        other = "a pixel discriminator (1x1 PatchGAN)"
    elif has(r"mlp_\d+\."):
        other = "a feature network (netF) of CUT"
    if other:
        raise ModelError(f"{other}, not a generator; give the file of G (such as *_net_G.pth)")
    raise ModelError(
        f"unknown weights ({quoted(tensors)}); known are the generators of "
        "CycleGAN/pix2pix (ResNet, U-Net), CUT (ResNet) and StarGAN"
    )


def _norm_of(
    tensors: Mapping[str, Tensor], hints: Hints, biased: bool, notes: list[str]
) -> tuple[str, bool]:
    """The norm, and whether it has weights of its own. In the reference a convolution has a bias
    exactly where instance norm follows."""
    weights = [v.dim() for k, v in tensors.items() if k.endswith(".weight")]
    affine = 2 * weights.count(1) >= weights.count(4) > 0
    running = any(k.endswith(".running_mean") for k in tensors)
    if affine:
        possible: tuple[str, ...] = ("batch", "instance")
    elif running:
        possible = ("instance", "batch") if biased else ("batch", "instance")
    elif biased:
        possible = ("instance", "none")
    else:
        possible = ("none",)
    if hints.norm is not None and hints.norm not in possible:
        raise UsageError(
            f"`norm` {hints.norm}: by its tensors the network has {' or '.join(possible)}"
        )
    norm = hints.norm or possible[0]
    if hints.norm is None and norm == "instance":  # the references' batch norm shows
        notes.append(f"{norm} norm assumed (its tensors also fit `norm` {possible[1]})")
    if norm == "batch":
        notes.append(_BATCH)
    return norm, affine


def _resnet(tensors: Mapping[str, Tensor], hints: Hints) -> Layout:
    """Layout of `ResnetGenerator`: outer layers `model.N`, residual blocks `model.N.conv_block`."""
    blocks: set[int] = set()
    convs: set[int] = set()
    for key, value in tensors.items():
        found = re.match(r"model\.(\d{1,6})\.conv_block\.(\d{1,6})\.(\w+)$", key)
        if found:
            blocks.add(int(found[1]))
            if found[3] == "weight" and value.dim() == 4:
                convs.add(int(found[2]))
    blurs = {int(m[1]) for m in (re.match(r"model\.(\d{1,6})\.filt$", key) for key in tensors) if m}
    start, end = (min(blocks), max(blocks)) if blocks else (0, 0)
    blurred_down, blurred_up = any(k < start for k in blurs), any(k > end for k in blurs)
    layout = f"{'cut' if blurs else 'cyclegan'} resnet_{len(blocks)}blocks"
    # A halving or doubling is a convolution, a norm and an activation; a filter is one layer more.
    downs = max(start - 4, 0) // (4 if blurred_down else 3)
    if downs != 2:
        layout += f" with {downs} halvings"
    ahead = 4 + downs * (4 if blurred_down else 3) + len(blocks)
    first = _shape(tensors, "model.1.weight", layout)
    last = _shape(tensors, f"model.{ahead + downs * (4 if blurred_up else 3) + 1}.weight", layout)
    notes: list[str] = []
    biased = "model.1.bias" in tensors
    norm, affine = _norm_of(tensors, hints, biased, notes)
    # Dropout has no weights, but moves the block's second convolution by one (5 -> 6, 3 -> 4).
    dropout = convs in ({1, 6}, {0, 4})
    if hints.dropout not in (None, dropout):
        raise UsageError(
            f"`dropout`: by its tensors the network has {'one' if dropout else 'none'}"
        )
    config = {
        "in_channels": first[1],
        "out_channels": last[0],
        "width": first[0],
        "blocks": len(blocks),
        "downs": downs,
        "norm": norm,
        "dropout": dropout,
        "padding": "reflect",
    }
    if blurred_down:
        config["downsample"] = "blurred"
    if blurred_up:
        config["upsample"] = "blurred"
    if norm == "instance" and affine:
        config |= {"affine": True, "bias": biased}
    elif biased != (norm != "batch"):
        config["bias"] = biased
    if convs in ({0, 3}, {0, 4}):
        config["block_padding"] = "zero"
        if hints.padding is not None:
            raise UsageError(f"`padding` {hints.padding}: by its tensors the blocks pad with zeros")
    elif hints.padding == "replicate":
        config["block_padding"] = "replicate"
    elif hints.padding is None:
        notes.append("reflection padding assumed (the weights do not show it)")
    return Layout(layout, "resnet", config, resnet_names, tuple(notes))


def _unet(tensors: Mapping[str, Tensor], hints: Hints) -> Layout:
    """Layout of `UnetGenerator`."""
    depth = 1
    while depth <= _MAX_DEPTH and any(key.startswith(_level(depth)) for key in tensors):
        depth += 1
    if depth > _MAX_DEPTH:
        raise ModelError(
            f"a U-Net of more than {_MAX_DEPTH} levels, which our generator does not support"
        )
    layout = f"pix2pix unet_{2**depth}"
    first = _shape(tensors, "model.model.0.weight", layout)
    last = _shape(tensors, "model.model.3.weight", layout)
    notes: list[str] = []
    norm, affine = _norm_of(tensors, hints, "model.model.0.bias" in tensors, notes)
    biased = "model.model.0.bias" in tensors
    if biased != (norm != "batch") or (affine and norm == "instance"):
        raise ModelError(
            f"looks like {layout}, but of {norm} norm {'with' if biased else 'without'} biases "
            f"of the convolutions{' and with weights' if affine else ''}, which our U-Net does "
            f"not support"
        )
    if hints.padding is not None:
        raise UsageError(f"`padding` {hints.padding}: a U-Net pads with zeros")
    # The reference puts dropout on the levels beyond five, unless --no_dropout (CycleGAN's own).
    dropout = (norm == "batch" and depth > 5) if hints.dropout is None else hints.dropout
    config = {
        "in_channels": first[1],
        "out_channels": last[1],
        "width": first[0],
        "depth": depth,
        "norm": norm,
        "dropout": dropout,
        "padding": "zero",
    }
    if depth > 5 and hints.dropout is None:
        notes.append(f"dropout {'on' if dropout else 'off'} assumed (the weights do not show it)")
    return Layout(layout, "unet", config, unet_names(depth), tuple(notes))


def _stargan(tensors: Mapping[str, Tensor], hints: Hints) -> Layout:
    """Layout of StarGAN's `Generator`: `main.N`, residual blocks `main.N.main`."""
    layout = "stargan"
    for name in ("norm", "dropout", "padding"):
        if getattr(hints, name) is not None:
            raise UsageError(f"`{name}`: the weights of a StarGAN generator already determine this")
    found = (re.match(r"main\.(\d{1,6})\.main\.", key) for key in tensors)
    blocks = {int(match[1]) for match in found if match}
    downs = max(min(blocks) - 3, 0) // 3 if blocks else 0
    first = _shape(tensors, "main.0.weight", layout)
    last = _shape(tensors, f"main.{3 + 6 * downs + len(blocks)}.weight", layout)
    domains = first[1] - last[0]
    if domains < 1:
        raise ModelError(
            f"{layout}, but its {first[1]} input channels leave none for domains beside the "
            f"picture's {last[0]}"
        )
    config = STARGAN | {
        "in_channels": last[0],
        "out_channels": last[0],
        "width": first[0],
        "blocks": len(blocks),
        "downs": downs,
        "domains": domains,
    }
    notes = (f"the names of its {domains} domains are not in the file",)
    return Layout(layout, "resnet", config, stargan_names, notes)


STARGAN: dict[str, Any] = {
    "norm": "instance",
    "affine": True,
    "dropout": False,
    "padding": "zero",
    "kernel": 4,
    "bias": False,
    "head_bias": False,
}
"""Settings of our ResNet generator that every generator of StarGAN has."""


def _shape(tensors: Mapping[str, Tensor], key: str, layout: str) -> tuple[int, int]:
    """The first two sizes of the convolution `key`."""
    if key not in tensors:
        raise ModelError(f"looks like {layout}, but lacks {quoted([key])}")
    shape = tensors[key].shape
    if len(shape) != 4:
        raise ModelError(
            f"looks like {layout}, but {quoted([key])} of shape {tuple(shape)} is not a convolution"
        )
    return shape[0], shape[1]
