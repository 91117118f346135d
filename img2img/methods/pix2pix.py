"""Pix2Pix, arXiv 1611.07004: paired pictures, a conditional PatchGAN and L1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, cat, no_grad
from torch.nn.functional import interpolate

from img2img.augment import Degrade, Edges, recipe
from img2img.data import Loading, PairedBatch, PairedData, PhotographData
from img2img.data.dataset import Folder
from img2img.data.store import Progress, Split
from img2img.features import VGG19
from img2img.losses import (
    Judgement,
    feature_matching_loss,
    generator_loss,
    l1_loss,
    saturation_weighted_l1,
)
from img2img.methods.base import (
    GanSettings,
    Method,
    adam,
    adversary_loss,
    clip_critic,
    evaluating,
)
from img2img.methods.parts import Parts, PartSettings, check_parts, load_features
from img2img.methods.pause import logged
from img2img.methods.tasks import (
    COLOUR,
    COLOUR_GPU,
    ENHANCE,
    ENHANCE_GPU,
    ENLARGE,
    ENLARGE_GPU,
    LABELS,
    LABELS_GPU,
    RESTORE,
    RESTORE_GPU,
)
from img2img.nets import build_discriminator, build_generator, check_scale
from img2img.nets.blocks import NormStatistics
from img2img.nets.modes import frozen


class Pix2PixConfig(PartSettings, GanSettings):
    """Defaults are those of the PyTorch reference: U-Net of depth 8, 70x70 PatchGAN with batch
    norm, non-saturating BCE, L1 weight 100, Adam(0.5, 0.999) at 2e-4.

    `lambda_gan = 0` trains the plain L1 baseline without a discriminator step.
    `lambda_features` weights feature matching (arXiv 1711.11585; its 10 is 40 here, where the
    layers are averaged).

    The terms of `PartSettings` compare an output with its truth. `pretrain_steps` steps learn from
    what does not need the discriminator before it comes in (two stages, as SRGAN's, arXiv
    1609.04802, sec. 3.2).

    With `pairs` other than files the data are photographs alone: the output is to be a photograph,
    and the input is made of it at every step, degraded or drawn in lines. With `generator.scale` 2
    or 4 the input is reduced by as much before it is degraded, and the generator enlarges (SRGAN,
    arXiv 1609.04802; without an adversary EDSR, arXiv 1707.02921).
    """

    direction: Literal["AtoB", "BtoA"] = Field("AtoB", description="which side is the input")
    norm_statistics: NormStatistics = Field(
        "batch", description="whether a trained batch norm uses the picture's own statistics"
    )
    lambda_gan: float = Field(1.0, ge=0, description="weight of the adversarial loss; 0: L1 only")
    lambda_l1: float = Field(100.0, ge=0, description="weight of the L1 distance to the truth")
    lambda_features: float = Field(0.0, ge=0, description="weight of feature matching")
    pretrain_steps: int = Field(0, ge=0, description="steps before the discriminator is used")
    lambda_saturation: float = Field(
        0.0, ge=0, description="extra weight of saturated pixels in the L1 distance"
    )
    pairs: Literal["files", "degrade", "edges"] = Field(
        "files",
        description="source of the inputs: files, or photographs that are degraded or reduced to "
        "line drawings",
    )
    recipe: str = Field(
        "",
        description="recipe that degrades the inputs: restore, old, enhance, colour or enlarge; "
        "by default restore, "
        "with generator.scale above 1 enlarge",
    )
    degrade_options: dict[str, Any] = Field(
        default_factory=dict,
        description="single values of the recipe, such as degrade.noise=[0,10]",
    )
    crops: int = Field(2000, ge=1, description="minimum number of crops of photographs")
    crop_scale: tuple[float, float] = Field(
        (0.25, 1.0), description="smallest and largest side of a crop, relative to the shorter side"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_scale must be 0 < least <= most <= 1, not {low}, {high}")
        if self.scale != 1 and self.pairs != "degrade":
            raise ValueError(
                f"generator.scale={self.scale} needs inputs that are smaller than their truths, "
                f"and pairs={self.pairs} gives both the same size; give `pairs=degrade` and a "
                "folder of good photographs, from which the small ones are made"
            )
        if self.recipe == "enlarge" and self.scale == 1:
            raise ValueError(
                "recipe=enlarge is for networks that enlarge; give `generator.scale=2` or 4"
            )
        for name in ("recipe", "degrade_options"):
            if getattr(self, name) and self.pairs != "degrade":
                raise ValueError(
                    f"{name} is for pairs=degrade, not pairs={self.pairs}; give "
                    "`pairs=degrade`, or leave it out"
                )
        if self.pairs == "files":
            return self
        if self.direction == "BtoA":
            raise ValueError(
                f"direction BtoA is for pairs=files; pairs={self.pairs} makes A from B"
            )
        if self.generator_options.get("out_channels", 3) != 3:
            raise ValueError(f"pairs={self.pairs} gives colour; leave generator.out_channels at 3")
        grey = self.pairs == "edges" or recipe(self._recipe, self.degrade_options).always_grey
        if self.generator_options.get("in_channels", 3) == 1 and not grey:
            raise ValueError(
                "one input channel is for inputs that are always grey; give `recipe=colour`, "
                "or leave generator.in_channels at 3"
            )
        return self

    @model_validator(mode="after")
    def _used(self) -> Self:
        """Nothing is set that another setting leaves without effect."""
        for name in ("lambda_features", "pretrain_steps", "pause_accuracy"):
            if getattr(self, name) and not self.lambda_gan:
                raise ValueError(
                    f"{name} needs the discriminator, which lambda_gan=0 leaves out; give "
                    f"`lambda_gan=1`, or leave {name} out"
                )
        if self.lambda_saturation and not self.lambda_l1:
            raise ValueError("lambda_saturation weights the L1 distance; give `lambda_l1` above 0")
        if self.lambda_saturation and self.generator_options.get("out_channels", 3) == 1:
            raise ValueError("lambda_saturation: grey has no saturation; leave it out")
        parts = (name for name in PartSettings.model_fields if name.startswith("lambda_"))
        if self.pretrain_steps and not self.lambda_l1 and not any(getattr(self, n) for n in parts):
            raise ValueError(
                "pretrain_steps learn from all but the discriminator, and nothing else has a "
                "weight; give `lambda_l1` above 0"
            )
        return self

    @property
    def _recipe(self) -> str:
        return self.recipe or ("restore" if self.scale == 1 else "enlarge")

    def maker(self, seed: int) -> Degrade | Edges | None:
        """What makes the input of a photograph; None where it is in the files."""
        if self.pairs == "degrade":
            return Degrade(recipe(self._recipe, self.degrade_options), seed, self.scale)
        return Edges(seed) if self.pairs == "edges" else None


class Pix2Pix(Method[Pix2PixConfig, PairedData | PhotographData, PairedBatch]):
    """G: a -> b. D judges (a, b) against (a, G(a)).

    `seed`: of the draws that make the inputs, where they are not in the files. `features`: where
    a weight of `PartSettings` needs it.
    """

    name = "pix2pix"
    Config = Pix2PixConfig
    Data = PairedData
    path_settings = ("vgg19",)
    enlarges = True
    compared: ClassVar[dict[str, str]] = {"output": "truth output"}
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "pix2pix-256": {"load_size": 286, "crop_size": 256},
        "laptop": LABELS,  # pairs in files; those of photographs alone are named by their task
        "gpu": LABELS_GPU,
        "restore": RESTORE,
        "enhance": ENHANCE,
        "colour": COLOUR,
        "labels": LABELS,
        "enlarge": ENLARGE,
        "restore-gpu": RESTORE_GPU,
        "enhance-gpu": ENHANCE_GPU,
        "colour-gpu": COLOUR_GPU,
        "enlarge-gpu": ENLARGE_GPU,
        "labels-gpu": LABELS_GPU,
        "tiny": {
            "settings": {
                "generator_options": {"width": 16, "depth": 5, "norm": "instance"},
                "discriminator_options": {"width": 16, "norm": "instance"},
            }
        },
    }

    def __init__(self, config: Pix2PixConfig, seed: int = 0, features: VGG19 | None = None):
        super().__init__()
        self.config = c = config
        self.G = build_generator(c.generator, c.generator_options)
        self.G.use_norm_statistics(c.norm_statistics)
        options = {"condition_channels": self.G.in_channels, "in_channels": self.G.out_channels}
        self.D = build_discriminator(c.discriminator, options | c.discriminator_options)
        self.nets = {"G": self.G, "D": self.D}
        self.judged_by({"D": self.D}, c)
        self.optimizers = {
            name: adam([net], c.lr, c.beta1, c.beta2) for name, net in self.nets.items()
        }
        self.generators = {"model": self.G}
        self.make = c.maker(seed)
        self.parts = Parts(c, features)
        self.frozen_nets = self.parts.frozen_nets
        names = {"degrade": "degraded -> photograph", "edges": "drawing -> photograph"}
        if self.G.scale > 1:
            names["degrade"] = f"photograph -> {self.G.scale} times as large"
        files = "A -> B" if c.direction == "AtoB" else "B -> A"
        self.directions = {"model": names.get(c.pairs, files)}

    @classmethod
    def check(cls, config: Pix2PixConfig) -> None:
        """Raises ConfigError for terms without meaning, a network that cannot enlarge where it is
        to, or where VGG19's weights are missing."""
        if config.scale != 1:
            check_scale(config.generator, config.generator_options)
        check_parts(config, cls.channels(config), truth=True)

    @classmethod
    def usual_size(cls, config: Pix2PixConfig) -> int | None:
        """What repairs pixels must see them as they are; colours may come from a smaller one."""
        repairs = config.pairs == "degrade" and config._recipe != "colour"
        return 0 if repairs else cls.working_size

    @classmethod
    def warm_up_steps(cls, config: Pix2PixConfig) -> int:
        return config.pretrain_steps

    @classmethod
    def swaps_sides(cls, config: Pix2PixConfig) -> bool:
        return config.direction == "BtoA"

    @classmethod
    def open(
        cls,
        config: Pix2PixConfig,
        root: Folder,
        split: Split,
        loading: Loading,
        progress: Progress,
    ) -> PairedData | PhotographData:
        if config.pairs == "files":
            return PairedData(root, split, loading, progress)
        return PhotographData(
            root, split, loading, progress, crops=config.crops, crop_scale=config.crop_scale
        )

    @classmethod
    def build(cls, config: Pix2PixConfig, data: PairedData | PhotographData, size: int) -> Self:
        seed = data.loading.seed if isinstance(data, PhotographData) else 0
        return cls(config, seed, load_features(config, size))

    def pairs(self, batch: PairedBatch) -> tuple[Tensor, Tensor]:
        """What this step learns from: augmented, then made where the files have no inputs."""
        if self.make is None:
            a, b = self.augment(batch.a, batch.b)
            return a, b
        (b,) = self.augment(batch.b)
        return self._made(self.number, b, batch.indices), b

    def _made(self, step: int | None, clean: Tensor, indices: list[int]) -> Tensor:
        assert self.make is not None
        self.make.begin(step, indices)
        return self.make(clean)[:, : self.G.in_channels]

    def seen(self, batch: PairedBatch) -> list[Tensor]:
        a, b = self.pairs(batch)
        return [b, interpolate(a, scale_factor=float(self.G.scale), mode="nearest")]

    def viewed(self, seen: Sequence[Tensor]) -> list[Tensor]:
        b, a = seen
        both = self._viewed(cat([a, b], 1), a)
        return [both[:, a.shape[1] :], both[:, : a.shape[1]]]

    def inputs(self, batch: PairedBatch) -> dict[str, Tensor]:
        return {"model": self.pairs(batch)[0]}

    def step(self, batch: PairedBatch) -> dict[str, Tensor]:
        c = self.config
        a, b = self.pairs(batch)
        fake = self.G(a)
        a = self.G.enlarged(a)
        by = c.lambda_saturation
        l1 = saturation_weighted_l1(fake, b, by) if by else l1_loss(fake, b)
        parts = self.parts(fake, a, b)
        supervised = c.lambda_l1 * l1 + sum(parts.values(), start=l1.new_zeros(()))
        detached = {name: loss.detach() for name, loss in ({"G/l1": l1} | parts).items()}
        if c.lambda_gan == 0 or self.number < c.pretrain_steps:
            self.descend("G", supervised)
            return detached
        both = cat([a, fake], 1)
        plain = both.detach()
        real, made, seen = (self._viewed(x, a) for x in (cat([a, b], 1), plain, both))
        # A view that changes nothing lets D's step and G's share what a frozen network sees.
        of_fake = self.D.look(seen)
        of_made = [x.detach() for x in of_fake] if made is plain else self.D.look(made)
        of_real = self.D.look(real)
        alpha = self.augment.uniform(a)
        judge = self._judge([of_real, of_made])
        pause = self.pauses.get("D")
        d = adversary_loss(judge, real, made, c, alpha, self.observe_real, self.number, pause)
        self.descend_judge("D", d)
        clip_critic(self.D, c)
        with frozen(self.D):
            losses = self._adversary_of(seen, of_fake, real, of_real)
            total = c.lambda_gan * losses["G/gan"] + supervised
            if c.lambda_features:
                total = total + c.lambda_features * losses["G/features"]
            self.descend("G", total)
        gan = {name: loss.detach() for name, loss in losses.items()}
        return {"D": d.detach()} | logged(self.pauses) | gan | detached

    def _viewed(self, x: Tensor, a: Tensor) -> Tensor:
        return self.view(x, a.shape[1])

    def _judge(self, looked: list[list[Tensor]]) -> Callable[[Tensor], Judgement]:
        """D, to which the first pictures that it judges were shown already; a penalty that judges
        more than these looks itself."""
        rest = iter(looked)

        def judge(x: Tensor) -> Judgement:
            known = next(rest, None)
            return _logits(self.D.features_of(x, known)) if known else self.D(x)

        return judge

    def _adversary_of(
        self, seen: Tensor, of_seen: list[Tensor], real: Tensor, of_real: list[Tensor]
    ) -> dict[str, Tensor]:
        """What G minimises of D, by one pass of D over `seen`, the outputs beside their inputs."""
        gan = self.config.gan
        if not self.config.lambda_features:
            return {"G/gan": generator_loss(self._judge([of_seen]), seen, gan)}
        given = self.D.features_of(seen, of_seen)
        with no_grad():
            wanted = self.D.features_of(real, of_real)
        # Without the last of each scale: these are the logits, judged beside them.
        levels = ([scale[:-1] for scale in maps] for maps in (wanted, given))
        return {
            "G/gan": generator_loss(lambda _: _logits(given), seen, gan),
            "G/features": feature_matching_loss(*levels),
        }

    def columns(self, batch: PairedBatch) -> dict[str, Tensor]:
        a = self._given(batch)
        with evaluating(self.G):
            return {"input": self.G.enlarged(a), "output": self.G(a), "truth output": batch.b}

    def judged_real(self, batch: PairedBatch) -> dict[str, Tensor]:
        if self.config.lambda_gan == 0 or self.number < self.config.pretrain_steps:
            return {}
        return {"D": cat([self.G.enlarged(self._given(batch)), batch.b], 1)}

    def judged_fake(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"D": cat([columns["input"], columns["output"]], 1)}

    def _given(self, batch: PairedBatch) -> Tensor:
        """The inputs of held-out pictures, made the same way each time."""
        return batch.a if self.make is None else self._made(None, batch.b, batch.indices)


def _logits(features: list[list[Tensor]]) -> Judgement:
    return [scale[-1] for scale in features]
