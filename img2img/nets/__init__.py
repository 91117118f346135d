"""Networks: tensors in, tensors out. `GENERATORS` and `DISCRIMINATORS` are the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from img2img.errors import ConfigError, proposal
from img2img.nets.curve import CurveConfig, CurveGenerator
from img2img.nets.discriminator import Discriminator, DiscriminatorConfig
from img2img.nets.fast import FastConfig, FastGenerator
from img2img.nets.generator import Generator
from img2img.nets.image import ImageConfig, ImageDiscriminator
from img2img.nets.multiscale import MultiscaleConfig, MultiscaleDiscriminator
from img2img.nets.patch import PatchConfig, PatchDiscriminator
from img2img.nets.projected import ProjectedConfig, ProjectedDiscriminator
from img2img.nets.resnet import ResNetConfig, ResNetGenerator
from img2img.nets.stargan import StarGANDiscriminator, StarGANDiscriminatorConfig
from img2img.nets.unet import UNetConfig, UNetGenerator

DECIDED_BY_DATA = ("domains", "size", "condition_channels")
"""Network options that the data and the other network decide, not the user."""

GENERATORS: dict[str, type[Generator]] = {
    UNetGenerator.name: UNetGenerator,
    ResNetGenerator.name: ResNetGenerator,
    FastGenerator.name: FastGenerator,
    CurveGenerator.name: CurveGenerator,
}

DISCRIMINATORS: dict[str, type[Discriminator]] = {
    PatchDiscriminator.name: PatchDiscriminator,
    MultiscaleDiscriminator.name: MultiscaleDiscriminator,
    ImageDiscriminator.name: ImageDiscriminator,
    StarGANDiscriminator.name: StarGANDiscriminator,
    ProjectedDiscriminator.name: ProjectedDiscriminator,
}


NETWORKS: dict[str, Mapping[str, type[Generator] | type[Discriminator]]] = {
    "generator": GENERATORS,
    "discriminator": DISCRIMINATORS,
}
"""Both tables by the setting that chooses from them; `NAME_options` holds the options."""


def build_generator(name: str, options: Mapping[str, Any]) -> Generator:
    """Build the generator `name` of `GENERATORS` with `options`.

    Raises:
        ConfigError: for an unknown name or option, listing the known ones.
    """
    if name not in GENERATORS:
        raise ConfigError(f"unknown generator '{name}'.{proposal(name, GENERATORS)}")
    cls = GENERATORS[name]
    return cls(cls.Config.parse(options, "generator."))


def check_scale(name: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the generator `name` with `options`, which say `scale`, exists."""
    if name in GENERATORS and "scale" not in GENERATORS[name].Config.model_fields:
        able = [n for n, net in GENERATORS.items() if "scale" in net.Config.model_fields]
        raise ConfigError(
            f"generator.scale={options['scale']}: {name} keeps the size of its input; "
            f"give `generator={able[0]}`"
        )
    build_generator(name, options)


def build_discriminator(name: str, options: Mapping[str, Any]) -> Discriminator:
    """Build the discriminator `name` of `DISCRIMINATORS` with `options`; raises as above."""
    if name not in DISCRIMINATORS:
        raise ConfigError(f"unknown discriminator '{name}'.{proposal(name, DISCRIMINATORS)}")
    cls = DISCRIMINATORS[name]
    return cls(cls.Config.parse(options, "discriminator."))


__all__ = [
    "DECIDED_BY_DATA",
    "DISCRIMINATORS",
    "GENERATORS",
    "NETWORKS",
    "CurveConfig",
    "CurveGenerator",
    "Discriminator",
    "DiscriminatorConfig",
    "FastConfig",
    "FastGenerator",
    "Generator",
    "ImageConfig",
    "ImageDiscriminator",
    "MultiscaleConfig",
    "MultiscaleDiscriminator",
    "PatchConfig",
    "PatchDiscriminator",
    "ProjectedConfig",
    "ProjectedDiscriminator",
    "ResNetConfig",
    "ResNetGenerator",
    "StarGANDiscriminator",
    "StarGANDiscriminatorConfig",
    "UNetConfig",
    "UNetGenerator",
    "build_discriminator",
    "build_generator",
    "check_scale",
]
