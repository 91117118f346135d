"""The training steps of the reference projects, restated plainly for `time_to_quality.py`.

Networks are ours with the references' settings (their parameter counts and outputs are tested); the
data path, the losses, their order and the optimisers are written out here as the papers' projects
have them: pytorch-CycleGAN-and-pix2pix and stargan, with their defaults. fp32, no channels_last, no
averaged weights, no decay within the time of the benchmark. Pictures are drawn with repetition
instead of epoch by epoch, and faces are not cut out of the middle first.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.evaluation.sources import Item
from img2img.model_format.checkpoint import save_model
from img2img.model_format.info import ModelInfo
from img2img.nets import Generator, build_discriminator, build_generator


class Reference:
    """A training that goes on for a given time.

    Attributes:
        steps: generator steps (StarGAN: critic steps) done.
        G: the generator that is judged.
    """

    G: Generator
    method = ""
    size = 256
    domains: tuple[str, ...] = ()
    one_hot = False

    def __init__(self, files: Any, cores: int):
        torch.manual_seed(0)
        random.seed(0)
        self.files, self.steps, self._cores = files, 0, cores

    def train(self, seconds: float) -> float:
        """Take steps for so long; the seconds really spent."""
        torch.set_num_threads(self._cores)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            self.step()
            self.steps += 1
        return time.monotonic() - began

    def step(self) -> None:
        """One step of the training."""
        raise NotImplementedError

    def save(self, path: Path) -> Path:
        """The generator as a model file; at test time it uses the picture's own statistics."""
        G = self.G
        info = ModelInfo(
            name="reference", method=self.method, generator=G.name,
            generator_config=G.config.model_dump(mode="json", exclude_none=True),
            in_channels=3, out_channels=3, multiple_of=G.multiple_of, minimum=G.minimum,
            norm_statistics=G.norm_statistics, tiling=G.tiling, size=self.size,
            domains=self.domains, one_hot=self.one_hot, training={"step": self.steps},
        )  # fmt: skip
        save_model(path, G, info)
        return path


def picture(image: Image.Image, load: int, crop: int, place: tuple[int, int], flip: bool) -> Tensor:
    """Scaled without regard to its shape, cropped, mirrored, (1, 3, crop, crop) in [-1, 1]."""
    image = image.resize((load, load), Image.Resampling.BICUBIC)
    image = image.crop((*place, place[0] + crop, place[1] + crop))
    pixels = np.array(image, np.float32)
    x = torch.from_numpy(pixels[:, ::-1].copy() if flip else pixels)
    return x.permute(2, 0, 1)[None] / 127.5 - 1


def places(load: int = 286, crop: int = 256) -> tuple[tuple[int, int], bool]:
    """Where to crop, and whether to mirror."""
    return (random.randint(0, load - crop), random.randint(0, load - crop)), random.random() < 0.5


def adam(*nets: nn.Module, lr: float = 2e-4) -> torch.optim.Adam:
    """With the references' momenta."""
    return torch.optim.Adam([p for net in nets for p in net.parameters()], lr, (0.5, 0.999))


def freeze(frozen: bool, *nets: nn.Module) -> None:
    """No gradients for the discriminators while the generator learns."""
    for net in nets:
        net.requires_grad_(not frozen)


class Pix2Pix(Reference):
    """arXiv 1611.07004: U-Net 256 of width 64 with dropout, 70x70 PatchGAN, cross entropy and
    100 L1, batch 1."""

    method = "pix2pix"

    def __init__(self, files: Sequence[tuple[Path, Path | None, bool]], cores: int):
        super().__init__(files, cores)
        self.G = build_generator("unet", {})
        self.D = build_discriminator("patch", {"condition_channels": 3, "in_channels": 3})
        self.G.use_norm_statistics("batch")
        self._of_G, self._of_D = adam(self.G), adam(self.D)

    def step(self) -> None:
        a, b = self._pair()
        fake = self.G(a)
        freeze(False, self.D)
        on_fake = self.D(torch.cat((a, fake.detach()), 1))
        on_real = self.D(torch.cat((a, b), 1))
        loss = (entropy(on_fake, 0.0) + entropy(on_real, 1.0)) / 2
        self._of_D.zero_grad()
        loss.backward()
        self._of_D.step()
        freeze(True, self.D)
        loss = entropy(self.D(torch.cat((a, fake), 1)), 1.0) + 100 * F.l1_loss(fake, b)
        self._of_G.zero_grad()
        loss.backward()
        self._of_G.step()

    def _pair(self) -> tuple[Tensor, Tensor]:
        first, second, swapped = random.choice(self.files)
        if second is None or first is None:
            whole = Image.open(first or second).convert("RGB")
            half = whole.width // 2
            left = whole.crop((0, 0, half, whole.height))
            right = whole.crop((half, 0, 2 * half, whole.height))
            images = (right, left) if swapped else (left, right)
        else:
            images = (Image.open(first).convert("RGB"), Image.open(second).convert("RGB"))
        place, flip = places()
        a, b = (picture(image, 286, 256, place, flip) for image in images)
        return a, b


def entropy(logits: Tensor, target: float) -> Tensor:
    """Binary cross entropy against a constant."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


class CycleGAN(Reference):
    """arXiv 1703.10593: ResNets of 9 blocks and width 64, least squares, cycles 10, identity 0.5 of
    it, pools of 50, batch 1."""

    method = "cyclegan"

    def __init__(self, files: tuple[list[Path], list[Path]], cores: int):
        super().__init__(files, cores)
        self.G, self.back = (build_generator("resnet", {}) for _ in range(2))
        self.D_a, self.D_b = (build_discriminator("patch", {"norm": "instance"}) for _ in range(2))
        self._of_G, self._of_D = adam(self.G, self.back), adam(self.D_a, self.D_b)
        self._pools: dict[str, list[Tensor]] = {"a": [], "b": []}

    def step(self) -> None:
        a, b = (self._one(side) for side in self.files)
        fake_b, fake_a = self.G(a), self.back(b)
        freeze(True, self.D_a, self.D_b)
        loss = 5 * (F.l1_loss(self.G(b), b) + F.l1_loss(self.back(a), a))
        loss = loss + square(self.D_b(fake_b), 1.0) + square(self.D_a(fake_a), 1.0)
        loss = loss + 10 * F.l1_loss(self.back(fake_b), a) + 10 * F.l1_loss(self.G(fake_a), b)
        self._of_G.zero_grad()
        loss.backward()
        self._of_G.step()
        freeze(False, self.D_a, self.D_b)
        self._of_D.zero_grad()
        for D, real, fake, pool in ((self.D_a, a, fake_a, "a"), (self.D_b, b, fake_b, "b")):
            shown = self._pooled(pool, fake.detach())
            ((square(D(real), 1.0) + square(D(shown), 0.0)) / 2).backward()
        self._of_D.step()

    def _one(self, files: list[Path]) -> Tensor:
        place, flip = places()
        return picture(Image.open(random.choice(files)).convert("RGB"), 286, 256, place, flip)

    def _pooled(self, name: str, fake: Tensor) -> Tensor:
        pool = self._pools[name]
        if len(pool) < 50:
            pool.append(fake)
            return fake
        if random.random() < 0.5:
            return fake
        k = random.randrange(50)
        fake, pool[k] = pool[k], fake
        return fake


def square(answer: Tensor, target: float) -> Tensor:
    """The least squares objective of arXiv 1611.04076."""
    return ((answer - target) ** 2).mean()


class StarGAN(Reference):
    """arXiv 1711.09020: six blocks of width 64, WGAN-GP with weight 10, classification 1,
    reconstruction 10, five critic steps a generator step, 1e-4, batch 16 at 128 pixels."""

    method, size = "stargan", 128

    def __init__(self, files: tuple[tuple[str, ...], bool, Sequence[Item]], cores: int):
        self.domains, self.one_hot, items = files
        super().__init__(items, cores)
        count = len(self.domains)
        options = {
            "norm": "instance", "affine": True, "blocks": 6, "kernel": 4, "padding": "zero",
            "bias": False, "head_bias": False, "init": "default", "domains": count,
        }  # fmt: skip
        self.G = build_generator("resnet", options)
        self.D = build_discriminator("stargan", {"domains": count, "size": 128})
        self._of_G, self._of_D = adam(self.G, lr=1e-4), adam(self.D, lr=1e-4)

    def step(self) -> None:
        x, label = self._batch()
        target = label[torch.randperm(len(label))]
        on_real, named = self.D(x)
        with torch.no_grad():
            fake = self.G(x, target)
        loss = -on_real.mean() + self.D(fake)[0].mean() + self._named(named, label)
        mixed = torch.rand(len(x), 1, 1, 1)
        mixed = (mixed * x + (1 - mixed) * fake).requires_grad_()
        score = self.D(mixed)[0]
        (slope,) = torch.autograd.grad(score, mixed, torch.ones_like(score), create_graph=True)
        loss = loss + 10 * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        self._of_D.zero_grad()
        loss.backward()
        self._of_D.step()
        if (self.steps + 1) % 5:
            return
        fake = self.G(x, target)
        on_fake, named = self.D(fake)
        loss = -on_fake.mean() + self._named(named, target)
        loss = loss + 10 * F.l1_loss(self.G(fake, label), x)
        self._of_G.zero_grad()
        loss.backward()
        self._of_G.step()

    def _batch(self) -> tuple[Tensor, Tensor]:
        chosen = random.sample(list(self.files), 16)
        pictures = [
            picture(Image.open(i.path).convert("RGB"), 128, 128, (0, 0), random.random() < 0.5)
            for i in chosen
        ]
        return torch.cat(pictures), torch.tensor([i.label for i in chosen])

    def _named(self, logits: Tensor, label: Tensor) -> Tensor:
        if self.one_hot:
            return F.cross_entropy(logits, label.argmax(1))
        summed = F.binary_cross_entropy_with_logits(logits, label, reduction="sum")
        return summed / len(logits)
