"""Weights of the reference implementations -> ours. Reads `.pth`, `.pt`, `.ckpt` and
`.safetensors`, runs nothing.

`layouts` tells which generators are known. All else is refused, by name where it is known:
discriminators, StarGAN v2. What weights cannot tell (the kind of padding, the U-Net's dropout) is
taken to be as the reference's options have it by default, or as `Hints` say, and is said in
`Foreign.notes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from img2img.errors import ConfigError, ModelError, UsageError, first_line, proposal
from img2img.model_format.layouts import RUNNING, STARGAN_V2, Hints, Layout, recognise
from img2img.model_format.unpickling import is_plain, quoted, read_weights
from img2img.nets import build_generator
from img2img.nets.antialias import BlurDown, BlurUp
from img2img.nets.blocks import BatchNorm, InstanceNorm

_PREFIXES = ("module.", "_orig_mod.")
# Names by which spectral normalisation keeps a weight and its two vectors, old and new.
_SPECTRAL = (
    ("weight_orig", "weight_u", "weight_v"),
    (
        "parametrizations.weight.original",
        "parametrizations.weight.0._u",
        "parametrizations.weight.0._v",
    ),
)
_NO_STATISTICS = "it has no running statistics; 0 and 1 are substituted and never used to translate"
Vectors = dict[str, tuple[Tensor, Tensor]]


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
        statistics: whether the file has running statistics of batch norm.
    """

    layout: str
    generator: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    notes: tuple[str, ...]
    statistics: bool = False

    @property
    def parameters(self) -> int:
        """How many numbers training has changed."""
        return sum(v.numel() for k, v in self.state.items() if not k.endswith(RUNNING))


def load_foreign(path: Path | str, hints: Hints | None = None) -> Foreign:
    """Read a generator's weights as a reference implementation saved them.

    Raises:
        ModelError: for a file that is unreadable, damaged, compressed, or holds more than tensors
            (no code in it is run); for networks that are no generator of ours, named where known;
            for missing, surplus and misshapen tensors, naming the first.
        UsageError: for a hint that contradicts the file.
    """
    try:
        hints = hints or Hints()
        content, notes = _chosen(read_weights(path), hints.entry)
        tensors, prefixes = _bare(_state_dict(content))
        if prefixes:
            notes.append(f"prefix {', '.join(sorted(prefixes))} removed")
        tensors, vectors = _spectral(tensors)
        return _fit(recognise(tensors, hints), tensors, vectors, notes)
    except (ModelError, UsageError) as error:
        raise type(error)(f"{path}: {error}") from None


def describe(foreign: Foreign) -> str:
    """Say in one line what was recognised, its size, and every note."""
    notes = "; ".join(foreign.notes)
    return size_of(foreign) + (f" ({notes})" if notes else "")


def size_of(foreign: Foreign) -> str:
    """Say in one line what was recognised, and its size."""
    c = foreign.config
    domains = f" and {c['domains']} domains" if c.get("domains") else ""
    return (
        f"{foreign.layout}: {foreign.generator} generator, {foreign.parameters:,} parameters, "
        f"width {c['width']}, {c['norm']} norm, {c['in_channels']} channels{domains} in, "
        f"{c['out_channels']} out"
    )


def _chosen(content: object, entry: str | None) -> tuple[object, list[str]]:
    """The part of a file that holds the generator, and what there is to say of the choice: the
    whole, its `entry`, its only state_dict, or what is called so."""
    if not isinstance(content, Mapping):
        return content, []
    if {"mapping_network", "style_encoder"} & {k for k in content if isinstance(k, str)}:
        raise ModelError(STARGAN_V2)
    inner = {k: v for k, v in content.items() if isinstance(k, str) and _is_state_dict(v)}
    if entry is not None:
        start = f"{entry}."
        named = {k.removeprefix(start): v for k, v in content.items() if str(k).startswith(start)}
        if entry in inner or named:
            return inner.get(entry, named), [f"entry {quoted([entry])} taken"]
        first = {str(k).partition(".")[0] for k in content}
        raise UsageError(f"`entry` {entry}: not in the file.{proposal(entry, sorted(first)[:20])}")
    if len(inner) > 1 and "state_dict" not in inner:
        raise ModelError(
            f"holds several state_dicts ({quoted(inner)}); choose the generator's with `entry`"
        )
    if inner:
        name = "state_dict" if "state_dict" in inner else next(iter(inner))
        return inner[name], [f"entry {quoted([name])} taken"]
    return content, []


def _is_state_dict(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(map(is_plain, value.values()))


def _state_dict(content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise ModelError(f"holds a {type(content).__name__}, not a state_dict of tensors")
    if not content:
        raise ModelError("its state_dict is empty")
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


def _spectral(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], Vectors]:
    """The tensors with spectrally normalised weights under their plain names, and the two vectors
    of each, whose product with it is what it is divided by (arXiv 1802.05957, eq. 2)."""
    plain, vectors = dict(tensors), Vectors()
    for weight, u, v in _SPECTRAL:
        for key in [k for k in tensors if k.endswith(f".{weight}")]:
            layer = key.removesuffix(weight)
            if f"{layer}{u}" not in plain or f"{layer}{v}" not in plain:
                raise ModelError(f"has {quoted([key])} without the vectors {u} and {v}")
            if f"{layer}weight" in plain:
                raise ModelError(f"holds {quoted([f'{layer}weight'])} twice, plain and normalised")
            vectors[f"{layer}weight"] = plain.pop(f"{layer}{u}"), plain.pop(f"{layer}{v}")
            plain[f"{layer}weight"] = plain.pop(key)
    return plain, vectors


def _divided(weight: Tensor, vectors: tuple[Tensor, Tensor], dim: int) -> Tensor:
    """A weight whose spectral norm is divided out, as torch does it outside training."""
    u, v = (vector.double().flatten() for vector in vectors)
    rows = weight.double().movedim(dim, 0).flatten(1)
    if (len(u), len(v)) != rows.shape:
        raise ModelError(f"vectors of {len(u)} and {len(v)} numbers for {tuple(weight.shape)}")
    return (weight.double() / (u @ rows @ v)).float()


def _fit(
    found: Layout, tensors: Mapping[str, Tensor], vectors: Vectors, notes: Iterable[str]
) -> Foreign:
    """Rename `tensors` to ours; every one must find its place, and every place its tensor."""
    looks = f"looks like {found.layout}, but"
    try:
        # On the meta device a network costs no memory, however large the file says it is.
        with torch.device("meta"):
            net = build_generator(found.generator, found.config)
    except (ConfigError, RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{looks} its sizes are impossible: {first_line(error)}") from None
    places = {found.theirs(key): (key, value) for key, value in net.state_dict().items()}
    droppable = _droppable(net, found, tensors, looks)
    filled, more = _filled(net, found, tensors)
    missing = [key for key in places if key not in tensors and key not in filled]
    surplus = [key for key in tensors if key not in places and key not in droppable]
    if missing or surplus:
        lacks = f"lacks {quoted(missing)}" if missing else ""
        besides = f"also has {quoted(surplus)}" if surplus else ""
        raise ModelError(f"{looks} {' and '.join(filter(None, (lacks, besides)))}")
    wide = {
        found.theirs(f"{name}.weight")
        for name, module in net.named_modules()
        if isinstance(module, nn.ConvTranspose2d)
    }

    state: dict[str, Tensor] = {}
    widened: set[str] = set()
    for key, (ours, expected) in places.items():
        if key in filled:
            state[ours] = torch.full(expected.shape, filled[key], dtype=expected.dtype)
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
        if key in vectors:
            try:
                value = _divided(value, vectors[key], 1 if key in wide else 0)
            except ModelError as error:
                raise ModelError(f"{looks} {quoted([key])} has {error}") from None
        value = value.to(expected.dtype).clone(memory_format=torch.contiguous_format)
        if not bool(torch.isfinite(value).all()):
            raise ModelError(f"{looks} {quoted([key])} holds NaN or infinite values")
        state[ours] = value

    said = [*found.notes, *more]
    if any(key.endswith(RUNNING) and key in droppable for key in tensors):
        said.append("running statistics of instance norm dropped (the reference never uses them)")
    if vectors:
        said.append(f"spectral norm divided out of {len(vectors)} weights")
    if widened:
        said.append(f"{', '.join(sorted(widened))} weights converted to float32")
    statistics = any(key.endswith(RUNNING[:2]) and key not in filled for key in places)
    return Foreign(found.layout, found.generator, found.config, state, (*said, *notes), statistics)


def _droppable(
    net: nn.Module, found: Layout, tensors: Mapping[str, Tensor], looks: str
) -> set[str]:
    """Names in the file that our network has no use for: statistics of instance norm, and the
    filters of antialiasing, which must be there and be ours."""
    names = set()
    for name, module in net.named_modules():
        if isinstance(module, InstanceNorm):
            names |= {found.theirs(f"{name}.{field}") for field in RUNNING}
        if isinstance(module, (BlurDown, BlurUp)):
            key = found.theirs(f"{name}.filt")
            if key not in tensors:
                raise ModelError(f"{looks} lacks {quoted([key])}")
            one = type(module)(1).blur
            if tensors[key].shape != module.blur.shape or not torch.allclose(
                tensors[key].float(), one, atol=1e-4
            ):
                raise ModelError(f"{looks} its filter {quoted([key])} differs from ours")
            names.add(key)
    return names


def _filled(
    net: nn.Module, found: Layout, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, float], list[str]]:
    """What stands in for tensors that no batch norm of the file has, by their names there, and
    notes on them."""
    names = [name for name, module in net.named_modules() if isinstance(module, BatchNorm)]
    filled: dict[str, float] = {}
    notes = []
    for field, value, note in (
        ("num_batches_tracked", 0.0, "num_batches_tracked was missing and is 0"),
        ("running_mean", 0.0, _NO_STATISTICS),
        ("running_var", 1.0, ""),
        ("weight", 1.0, "batch norm without weights of its own: 1 and 0 are substituted"),
        ("bias", 0.0, ""),
    ):
        keys = [found.theirs(f"{name}.{field}") for name in names]
        absent = [key for key in keys if key not in tensors]
        if absent and (len(absent) == len(keys) or field == "num_batches_tracked"):
            filled |= dict.fromkeys(absent, value)
            notes += [note] if note else []
    return filled, notes
