"""Weights of the reference implementations -> ours. Reads `.pth`, `.pt` and `.ckpt`, runs nothing.

Generators whose layout is known, by the names of their tensors:

    cyclegan resnet_{N}blocks   the PyTorch CycleGAN/pix2pix repository; CUT's generators trained
                                with --no_antialias --no_antialias_up are the same and are so named
    pix2pix unet_{side}         the same repository; side = 2 ** depth
    stargan                     the StarGAN (v1) repository, any number of domains

All else is refused, by name where it is known: discriminators, anti-aliased CUT, StarGAN v2. What
weights cannot tell (the kind of padding, the U-Net's dropout) is taken to be as the reference's
options have it by default, and said in `Foreign.notes`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from img2img.errors import ConfigError, ModelError, first_line
from img2img.model_format.unpickling import is_plain, quoted, unpickle
from img2img.nets import build_generator
from img2img.nets.blocks import InstanceNorm

_PREFIXES = ("module.", "_orig_mod.")
_RUNNING = ("running_mean", "running_var", "num_batches_tracked")
_MAX_DEPTH = 12  # of UNetConfig
_STARGAN_V2 = (
    "weights of StarGAN v2 (style codes, adaptive instance norm), which is not supported; "
    "StarGAN v1 generators are"
)
_BATCH = "the reference translates with each picture's own batch statistics, not the running ones"


@dataclass(frozen=True, eq=False)
class Foreign:
    """A reference implementation's generator in our terms.

    `build_generator(generator, config)` builds the network, and its `load_state_dict(state)` takes
    every tensor, no more and no fewer.

    Attributes:
        layout: what was recognised, e.g. `cyclegan resnet_9blocks`, `pix2pix unet_256`, `stargan`.
        generator: the name in `GENERATORS`.
        config: its settings, plain values.
        state: its weights under our names, on the CPU, float32 (counters int64), sharing no memory.
        notes: what was dropped, filled in or assumed, one phrase each.
    """

    layout: str
    generator: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Layout:
    """A layout with its sizes read from the shapes; `theirs` turns our tensor names into theirs."""

    layout: str
    generator: str
    config: dict[str, Any]
    theirs: Callable[[str], str]
    notes: tuple[str, ...]


def load_foreign(path: Path | str) -> Foreign:
    """Read a generator's weights as a reference implementation saved them.

    Raises:
        ModelError: for a file that is unreadable, damaged, compressed, or holds more than tensors
            (no code in it is run); for networks that are no generator of ours, named where known;
            for missing, surplus and misshapen tensors, naming the first.
    """
    try:
        tensors, prefixes = _bare(_state_dict(unpickle(path)))
        layout = _recognise(tensors)
        return _fit(layout, tensors, prefixes)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def describe(foreign: Foreign) -> str:
    """Say in one line what was recognised, its size, and every note."""
    c = foreign.config
    count = sum(v.numel() for k, v in foreign.state.items() if not k.endswith(_RUNNING))
    domains = f" and {c['domains']} domains" if c.get("domains") else ""
    notes = "; ".join(foreign.notes)
    return (
        f"{foreign.layout}: {foreign.generator} generator, {count:,} parameters, "
        f"width {c['width']}, {c['norm']} norm, {c['in_channels']} channels{domains} in, "
        f"{c['out_channels']} out" + (f" ({notes})" if notes else "")
    )


def _state_dict(content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise ModelError(f"holds a {type(content).__name__}, not a state_dict of tensors")
    if not content:
        raise ModelError("its state_dict is empty")
    if {"mapping_network", "style_encoder"} & {k for k in content if isinstance(k, str)}:
        raise ModelError(_STARGAN_V2)
    tensors: dict[str, Tensor] = {}
    for key, value in content.items():
        if not isinstance(key, str):
            raise ModelError(f"not a state_dict: it has the entry {quoted([str(key)])}")
        if not is_plain(value):
            raise ModelError(
                f"not a bare state_dict: its entry {quoted([key])} is not a plain tensor "
                f"but a {type(value).__name__}"
            )
        tensors[key] = value
    return tensors


def _bare(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], set[str]]:
    """The tensors without wrappers' prefixes (DataParallel, compile), and the prefixes met."""
    bare: dict[str, Tensor] = {}
    met: set[str] = set()
    for key, value in tensors.items():
        name = key
        while name.startswith(_PREFIXES):
            prefix = next(p for p in _PREFIXES if name.startswith(p))
            met.add(prefix)
            name = name.removeprefix(prefix)
        if name in bare:
            raise ModelError(f"holds {quoted([name])} twice, with and without a wrapper's prefix")
        bare[name] = value
    return bare, met


def _recognise(tensors: Mapping[str, Tensor]) -> _Layout:
    """Tell the layout by the names, and its sizes by the shapes. Raises ModelError otherwise."""

    def has(pattern: str) -> bool:
        return any(re.match(pattern, key) for key in tensors)

    def kernel(key: str) -> list[int]:
        return list(tensors[key].shape[2:]) if key in tensors else []

    resnet = has(r"model\.\d+\.conv_block\.")
    if resnet and has(r".*\.filt$"):
        raise ModelError(
            "an anti-aliased CUT generator (it has blur filters, 'filt'), whose down- and "
            "up-sampling our generators do not have; only CUT weights trained with --no_antialias "
            "--no_antialias_up fit"
        )
    if resnet:
        return _resnet(tensors)
    if has(r"model\.model\.[013]\."):
        return _unet(tensors)
    if has(r"(from_rgb|to_rgb|encode|decode|shared|unshared)\."):
        raise ModelError(_STARGAN_V2)
    if has(r"main\.\d+\.main\."):
        return _stargan(tensors)
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
        "CycleGAN/pix2pix (ResNet, U-Net), StarGAN, and CUT without anti-aliasing"
    )


def _resnet(tensors: Mapping[str, Tensor]) -> _Layout:
    """Layout of `ResnetGenerator`: outer layers `model.N`, residual blocks `model.N.conv_block`."""
    blocks: set[int] = set()
    convs: set[int] = set()
    for key, value in tensors.items():
        found = re.match(r"model\.(\d{1,6})\.conv_block\.(\d{1,6})\.(\w+)$", key)
        if found:
            blocks.add(int(found[1]))
            if found[3] == "weight" and value.dim() == 4:
                convs.add(int(found[2]))
    layout = f"cyclegan resnet_{len(blocks)}blocks"
    if convs in ({0, 3}, {0, 4}):
        # The reference's padding_type reaches the blocks alone, never the 7x7 layers.
        raise ModelError(
            f"{layout} whose blocks are padded with zeros (padding_type 'zero') and whose outer "
            "layers by reflection; our generator pads all of them alike"
        )
    # Dropout has no weights, but moves the block's second convolution by one (5 -> 6).
    dropout = convs == {1, 6}
    downs = max(min(blocks) - 4, 0) // 3 if blocks else 0
    if downs != 2:
        layout += f" with {downs} halvings"
    first = _shape(tensors, "model.1.weight", layout)
    last = _shape(tensors, f"model.{5 + 6 * downs + len(blocks)}.weight", layout)
    notes = ["padding by reflection assumed (no trace of it in weights)"]
    batch = "model.1.bias" not in tensors  # the reference's use_bias: exactly with instance norm
    if batch:
        notes.append(_BATCH)
    config = {
        "in_channels": first[1],
        "out_channels": last[0],
        "width": first[0],
        "blocks": len(blocks),
        "downs": downs,
        "norm": "batch" if batch else "instance",
        "dropout": dropout,
        "padding": "reflect",
    }

    def theirs(key: str) -> str:
        return key.replace("layers", "model", 1).replace("layers", "conv_block")

    return _Layout(layout, "resnet", config, theirs, tuple(notes))


def _unet(tensors: Mapping[str, Tensor]) -> _Layout:
    """Layout of `UnetGenerator`: level k + 1 is the submodule of level k."""

    def level_prefix(level: int) -> str:
        return "model.model." + ("1." + "model.3." * (level - 1) + "model." if level else "")

    depth = 1
    while depth <= _MAX_DEPTH and any(key.startswith(level_prefix(depth)) for key in tensors):
        depth += 1
    if depth > _MAX_DEPTH:
        raise ModelError(f"a U-Net of more than {_MAX_DEPTH} levels, which our generator has not")
    layout = f"pix2pix unet_{2**depth}"
    first = _shape(tensors, "model.model.0.weight", layout)
    batch = "model.model.0.bias" not in tensors
    # The reference puts dropout on the levels beyond five, unless --no_dropout (CycleGAN's own).
    dropout = batch and depth > 5
    config = {
        "in_channels": first[1],
        "out_channels": _shape(tensors, "model.model.3.weight", layout)[1],
        "width": first[0],
        "depth": depth,
        "norm": "batch" if batch else "instance",
        "dropout": dropout,
        "padding": "zero",
    }

    def theirs(key: str) -> str:
        side, number, layer, field = key.split(".")
        level = int(number) if side == "downs" else depth - 1 - int(number)
        # Within a level: down, (norm), submodule, ReLU, up, (norm); the two ends lack some.
        shift = 0 if side == "downs" else 4 if 0 < level < depth - 1 else 2
        return f"{level_prefix(level)}{int(layer) + shift}.{field}"

    notes = [_BATCH] if batch else []
    if depth > 5:
        notes.append(f"dropout {'on' if dropout else 'off'} assumed (no trace of it in weights)")
    return _Layout(layout, "unet", config, theirs, tuple(notes))


def _stargan(tensors: Mapping[str, Tensor]) -> _Layout:
    """Layout of StarGAN's `Generator`: `main.N`, residual blocks `main.N.main`."""
    layout = "stargan"
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
    config = {
        "in_channels": last[0],
        "out_channels": last[0],
        "width": first[0],
        "blocks": len(blocks),
        "downs": downs,
        "norm": "instance",
        "affine": True,
        "dropout": False,
        "padding": "zero",
        "kernel": 4,
        "bias": False,
        "head_bias": False,
        "domains": domains,
    }
    notes = (f"the names of its {domains} domains are not in the file",)
    return _Layout(layout, "resnet", config, lambda key: key.replace("layers", "main"), notes)


def _shape(tensors: Mapping[str, Tensor], key: str, layout: str) -> tuple[int, int]:
    """The first two sizes of the convolution `key`."""
    if key not in tensors:
        raise ModelError(f"looks like {layout}, but lacks {quoted([key])}")
    shape = tensors[key].shape
    if len(shape) != 4:
        raise ModelError(
            f"looks like {layout}, but {quoted([key])} of shape {tuple(shape)} is no convolution"
        )
    return shape[0], shape[1]


def _fit(found: _Layout, tensors: Mapping[str, Tensor], prefixes: Iterable[str]) -> Foreign:
    """Rename `tensors` to ours; every one must find its place, and every place its tensor."""
    looks = f"looks like {found.layout}, but"
    try:
        # On the meta device a network costs no memory, however large the file says it is.
        with torch.device("meta"):
            net = build_generator(found.generator, found.config)
    except (ConfigError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{looks} its sizes are impossible: {first_line(error)}") from None
    places = {found.theirs(key): (key, value) for key, value in net.state_dict().items()}
    norms = [name for name, module in net.named_modules() if isinstance(module, InstanceNorm)]
    droppable = {found.theirs(f"{name}.{field}") for name in norms for field in _RUNNING}

    counters = [key for key in places if key.endswith("num_batches_tracked")]
    filled = [key for key in counters if key not in tensors]
    missing = [key for key in places if key not in tensors and key not in filled]
    surplus = [key for key in tensors if key not in places and key not in droppable]
    if missing or surplus:
        lacks = f"lacks {quoted(missing)}" if missing else ""
        besides = f"has {quoted(surplus)} besides" if surplus else ""
        raise ModelError(f"{looks} {' and '.join(filter(None, (lacks, besides)))}")

    state: dict[str, Tensor] = {}
    widened: set[str] = set()
    for key, (ours, expected) in places.items():
        if key in filled:
            state[ours] = torch.zeros((), dtype=torch.int64)
            continue
        value = tensors[key].detach()
        if value.shape != expected.shape:
            raise ModelError(
                f"{looks} {quoted([key])} has shape {tuple(value.shape)} where "
                f"{tuple(expected.shape)} is expected"
            )
        if value.is_floating_point() != expected.is_floating_point() or value.is_complex():
            raise ModelError(f"{looks} {quoted([key])} holds numbers of type {value.dtype}")
        if value.dtype != expected.dtype:
            widened.add(str(value.dtype).removeprefix("torch."))
        value = value.to(expected.dtype).clone(memory_format=torch.contiguous_format)
        if not bool(torch.isfinite(value).all()):
            raise ModelError(f"{looks} {quoted([key])} holds NaN or infinite values")
        state[ours] = value

    notes = list(found.notes)
    if any(key in droppable for key in tensors):
        notes.append("running statistics of instance norm dropped (the reference never uses them)")
    if filled:
        notes.append("num_batches_tracked was missing and is 0")
    if widened:
        notes.append(f"{', '.join(sorted(widened))} weights converted to float32")
    if prefixes:
        notes.append(f"prefix {', '.join(sorted(prefixes))} removed")
    return Foreign(found.layout, found.generator, found.config, state, tuple(notes))
