"""CUT and FastCUT, arXiv 2007.15651: unpaired sets, one direction, content kept patch by patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.data import UnpairedBatch, UnpairedData
from img2img.errors import ConfigError
from img2img.features import VGG19
from img2img.losses import Gan, generator_loss, multilayer_nce_loss
from img2img.methods.base import (
    LAPTOP,
    GanSettings,
    Method,
    adam,
    adversary_loss,
    clip_critic,
    evaluating,
)
from img2img.methods.parts import (
    Parts,
    PartSettings,
    Style,
    check_parts,
    load_features,
    pictures_of,
    style_on,
)
from img2img.methods.pause import logged
from img2img.methods.tasks import larger
from img2img.nets import Generator, ResNetGenerator, build_discriminator, build_generator
from img2img.nets.blocks import NormStatistics, initialise, mirror_to, round_up
from img2img.nets.modes import frozen
from img2img.nets.resnet import ResidualBlock

# FastCUT, small. The norm stays that of each picture: the encoder sees pictures of A,
# outputs and, with an identity, pictures of B, whose running averages would be of no set.
_LAPTOP: dict[str, Any] = LAPTOP | {
    "memory_format": "auto",
    "warm_up": 50,
    "batch_size": 1,
    "load_size": 216,
    "crop_size": 192,
    "ema": 0.99,
    "settings": {
        # Reflection and resizing: blank areas must not give patches along an edge.
        "generator_options": {
            "width": 24, "blocks": 6, "downsample_padding": "reflect", "upsample": "resize",
        },
        "discriminator_options": {"width": 32},
        "lambda_nce": 10.0,
        "identity_nce": False,
        "flip_equivariance": True,
        "head_width": 64,
    },
}  # fmt: skip
_GPU = larger(_LAPTOP, 256, 4, 286, judge=64, width=64, blocks=9)


class CUTConfig(PartSettings, GanSettings):
    """Defaults are those of the PyTorch reference for CUT: ResNet-9, 70x70 PatchGAN, both with
    instance norm and Xavier initialisation, least squares, PatchNCE and its identity with weight 1,
    256 patches in five layers, temperature 0.07. The reference also blurs where it samples (arXiv
    1904.11486); `generator.downsample=blurred` and `generator.upsample=blurred` do so.

    FastCUT: `lambda_nce` 10, `identity_nce` false, `flip_equivariance` true (the preset
    fastcut-256). Patches are compared in the picture, after each halving and after the residual
    blocks `nce_blocks`. The terms of `PartSettings` compare an output with its source, and with the
    style of the whole training set B, computed once before the first step.
    """

    generator: str = "resnet"
    norm_statistics: NormStatistics = Field(
        "batch", description="whether a trained batch norm uses the picture's own statistics"
    )
    gan: Gan = "lsgan"
    lambda_gan: float = Field(1.0, ge=0, description="weight of the adversarial loss")
    lambda_nce: float = Field(1.0, ge=0, description="weight of the patchwise contrast (PatchNCE)")
    identity_nce: bool = Field(
        True, description="whether the contrast also keeps pictures of B unchanged (identity)"
    )
    flip_equivariance: bool = Field(
        False,
        description="whether half of the pictures are mirrored and their features mirrored back",
    )
    nce_blocks: tuple[int, ...] = Field(
        (1, 5), description="residual blocks, counted from 1, after which patches are compared"
    )
    patches: int = Field(256, ge=2, description="patches compared per picture and layer")
    head_width: int = Field(256, ge=1, description="width of the heads that embed patches")
    temperature: float = Field(0.07, gt=0, description="temperature of the contrast")


class CUT(Method[CUTConfig, UnpairedData, UnpairedBatch]):
    """G: A -> B; its first half is the encoder whose features F, two layers a place, compares. D
    judges pictures of B."""

    name = "cut"
    Config = CUTConfig
    Data = UnpairedData
    path_settings = ("vgg19",)
    compared: ClassVar[dict[str, str]] = {"A to B": "B"}
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "cut-256": {"load_size": 286, "crop_size": 256, "epochs": 200, "epochs_decay": 200},
        "fastcut-256": {
            "load_size": 286,
            "crop_size": 256,
            "epochs": 150,
            "epochs_decay": 50,
            "settings": {"lambda_nce": 10.0, "identity_nce": False, "flip_equivariance": True},
        },
        "laptop": _LAPTOP,
        "gpu": _GPU,
        "tiny": {
            "settings": {
                "generator_options": {"width": 12, "blocks": 3},
                "discriminator_options": {"width": 16},
                "nce_blocks": [1, 3],
                "head_width": 32,
            }
        },
    }

    def __init__(self, config: CUTConfig, features: VGG19 | None = None):
        super().__init__()
        self.config = c = config
        shared = {"norm": "instance", "init": "xavier"}
        self.G = _resnet(build_generator(c.generator, shared | c.generator_options), c)
        self.G.use_norm_statistics(c.norm_statistics)
        judged = shared | {"in_channels": self.G.out_channels} | c.discriminator_options
        self.D = build_discriminator(c.discriminator, judged)
        self.F = PatchHeads(_encoder_channels(self.G, c.nce_blocks), c.head_width)
        self.nets = {"G": self.G, "D": self.D, "F": self.F}
        self.judged_by({"D": self.D}, c)
        # G and F follow one loss, at one rate: one Adam does what the reference's two do.
        self.optimizers = {
            "G": adam([self.G, self.F], c.lr, c.beta1, c.beta2),
            "D": adam([self.D], c.lr, c.beta1, c.beta2),
        }
        self.generators = {"model": self.G}
        self.directions = {"model": "A -> B"}
        self.parts = Parts(c, features)
        self.frozen_nets = self.parts.frozen_nets
        self.style: Style = {}

    @classmethod
    def check(cls, config: CUTConfig) -> None:
        check_parts(config, cls.channels(config), styled=True)

    @classmethod
    def build(cls, config: CUTConfig, data: UnpairedData, size: int) -> Self:
        return cls(config, load_features(config, size))

    def prepare(self, data: UnpairedData) -> None:
        """What the style terms compare, averaged over set B."""
        if self.parts.styled:
            device = next(self.G.parameters()).device
            self.style = self.parts.style_of(pictures_of(data.stores, 1, device))

    def viewed(self, seen: Sequence[Tensor]) -> list[Tensor]:
        return [self.view(seen[1])]  # inputs are not judged

    def step(self, batch: UnpairedBatch) -> dict[str, Tensor]:
        c = self.config
        (a,), (b,) = self.augment(batch.a), self.augment(batch.b)
        mirrored = self.augment.uniform(a) < 0.5 if c.flip_equivariance else None
        source = _flipped(a, mirrored)
        fake = self.G(source)
        alpha = self.augment.uniform(a)
        real, made = self.view(b, 0), self.view(fake.detach(), 0)
        pause = self.pauses.get("D")
        d = adversary_loss(self.D, real, made, c, alpha, self.observe_real, self.number, pause)
        self.descend_judge("D", d)
        clip_critic(self.D, c)
        with frozen(self.D):
            judged = generator_loss(self.D, self.view(fake, 0), c.gan)
            losses = {"G/gan": c.lambda_gan * judged}
            if c.lambda_nce:
                share = 0.5 if c.identity_nce else 1.0
                losses["G/nce"] = share * c.lambda_nce * self._nce(fake, a, mirrored)
                if c.identity_nce:
                    kept = self._nce(self.G(b), b)
                    losses["G/identity"] = share * c.lambda_nce * kept
            losses |= self.parts(fake, source, style=self.style, across=self.across)
            self.descend("G", torch.stack(list(losses.values())).sum())
        losses |= {"D": d} | logged(self.pauses)
        return {name: loss.detach() for name, loss in losses.items()}

    def _nce(self, fake: Tensor, source: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """PatchNCE between `fake` and what it was made of, mirrored where `mirrored` says so."""
        c = self.config
        queries = encoder_features(self.G, fake, c.nce_blocks)
        with torch.no_grad():
            keys = encoder_features(self.G, source, c.nce_blocks)
        queries = [_flipped(q, mirrored) for q in queries]
        places = self._places(queries)
        query_patches = self.F(queries, places)
        with torch.no_grad():
            key_patches = self.F(keys, places)
        return multilayer_nce_loss(query_patches, key_patches, c.temperature)

    def _places(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(N, P) places of each map, without repetition: a function of seed, step and picture, so
        that a resume, or several processes, draw the same."""
        drawn = self.augment.uniform(torch.empty(len(maps[0]), 1, dtype=torch.float64))
        sources = [np.random.default_rng(int(u * 2**53)) for u in drawn.flatten().tolist()]
        sizes = [x.shape[2] * x.shape[3] for x in maps]
        picks = (
            np.stack([s.choice(n, min(n, self.config.patches), replace=False) for s in sources])
            for n in sizes
        )
        return [torch.from_numpy(p).to(maps[0].device, non_blocking=True) for p in picks]

    def columns(self, batch: UnpairedBatch) -> dict[str, Tensor]:
        with evaluating(self.G):
            columns = {"A": batch.a, "A to B": self.G(batch.a), "B": batch.b}
        if batch.paired:
            columns["truth A to B"] = batch.b
        return columns

    def judged_real(self, batch: UnpairedBatch) -> dict[str, Tensor]:
        return {"D": batch.b}

    def judged_fake(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"D": columns["A to B"]}

    def state_dict(self) -> dict[str, Any]:
        return {"style": self.style}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.style = style_on(state["style"], next(self.G.parameters()).device)


class PatchHeads(nn.Module):
    """For each layer two linear layers with a ReLU between them (arXiv 2007.15651, sec. 3): the
    features (N, C, H, W) of the layers at `places` (N, P) each -> (N, P, width) each."""

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(c, width), nn.ReLU(), nn.Linear(width, width)) for c in channels
        )
        initialise(self, "xavier", 0.02)

    def forward(self, maps: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        out = []
        for head, x, at in zip(self.heads, maps, places, strict=True):
            index = at[:, None].expand(-1, x.shape[1], -1)
            out.append(head(x.flatten(2).gather(2, index).transpose(1, 2)))
        return out


def encoder_features(G: ResNetGenerator, x: Tensor, blocks: Sequence[int]) -> list[Tensor]:
    """`x` itself, the convolutions that halve it, and what residual `blocks` (from 1) give; nothing
    behind the last of these is computed. (N, C, H, W) each, of `x` extended as G extends it."""
    h, w = (round_up(side, G.multiple_of, G.minimum) for side in x.shape[2:])
    x = x if (h, w) == tuple(x.shape[2:]) else mirror_to(x, h, w)
    found, done = [x], 0
    halvings = G.config.downs
    for position, layer in enumerate(G.layers):
        if halvings == 0 and done == max(blocks, default=0):
            break
        if G.attention is not None and position == G._attended:
            x = G.attention(x)
        if isinstance(layer, ResidualBlock):
            x, done = G.part(layer, x), done + 1
            if done in blocks:
                found.append(x)
            continue
        x = layer(x)
        # The first is 7x7; those of a blurred halving do not stride themselves.
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (7, 7):
            halvings -= 1
            found.append(x)
    return found


def _encoder_channels(G: ResNetGenerator, blocks: Sequence[int]) -> list[int]:
    c = G.config
    halved = [c.width * 2**k for k in range(1, c.downs + 1)]
    return [c.in_channels, *halved, *[c.width * 2**c.downs] * len(set(blocks))]


def _resnet(G: Generator, c: CUTConfig) -> ResNetGenerator:
    """G, of whose encoder the method can compare features. Raises ConfigError for another."""
    if not isinstance(G, ResNetGenerator):
        raise ConfigError(
            f"cut compares features along the encoder of a ResNet, which {c.generator} is not: use "
            "generator=resnet"
        )
    if G.in_channels != G.out_channels:
        raise ConfigError(
            "cut encodes sources and outputs with one encoder and needs as many channels in A as "
            "in B; use cyclegan, with lambda_identity=0"
        )
    count = G.config.blocks
    if any(not 1 <= block <= count for block in c.nce_blocks):
        fitting = sorted({1, count // 2 + 1}) if count else []
        raise ConfigError(
            f"nce_blocks = {list(c.nce_blocks)}: the generator has {count} residual blocks; give "
            f"`nce_blocks={fitting}`"
        )
    return G


def _flipped(x: Tensor, mirrored: Tensor | None) -> Tensor:
    """`x` (N, C, H, W) with the pictures mirrored where `mirrored` (N, 1, 1, 1) says so."""
    return x if mirrored is None else torch.where(mirrored, x.flip(3), x)
