"""What each loss part adds to a training step.

    python benchmarks/part_costs.py [--size 128] [--batch 2] [--rounds 5] [--threads 1] [--json]

Each part is computed for random pictures, forward and backward down to the output, as a step does.
The parts take turns; the table shows the median of the rounds in milliseconds of CPU time, which
other programs change little, without a warm-up round. Parts of VGG19 include its look at the
output, which several of them share, and at the source; `all of VGG19` is their cost together. VGG19
has random weights, so no file is needed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from img2img.features import VGG19
from img2img.losses import l1_loss, multilayer_nce_loss
from img2img.methods.cut import PatchHeads, encoder_features
from img2img.methods.parts import Parts, PartSettings, Transfer
from img2img.nets import ResNetGenerator, build_generator

_SINGLE = ("tv", "colour", "light", "frequency", "perceptual", "statistics", "sliced")


def parts_of() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """For each row of the table, (fake, source) -> loss."""
    torch.manual_seed(0)
    features = VGG19("relu4_2").eval()
    weights = {f"lambda_{name}": 1.0 for name in _SINGLE}
    of_vgg19 = {n: w for n, w in weights.items() if n.split("_")[1] in _SINGLE[4:]}
    made = {name: Parts(PartSettings.parse({f"lambda_{name}": 1.0}), features) for name in _SINGLE}
    made["content"] = Parts(PartSettings.parse({}), features, Transfer(content=1.0))
    made["style"] = Parts(PartSettings.parse({}), features, Transfer(style=1.0))
    made["all of VGG19"] = Parts(PartSettings.parse(of_vgg19), features, Transfer(1.0, 1.0))
    rows: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"identity (L1)": l1_loss}
    return rows | {name: _Row(parts) for name, parts in made.items()} | {"PatchNCE": _Contrast()}


class _Row:
    def __init__(self, parts: Parts):
        self.parts = parts
        self.style = parts.style_of([torch.rand(1, 3, 128, 128)]) if parts.styled else None

    def __call__(self, fake: Tensor, source: Tensor) -> Tensor:
        return torch.stack(list(self.parts(fake, source, style=self.style).values())).sum()


class _Contrast:
    """Of the preset `laptop` of `cut`: two looks of its encoder, 256 patches of five layers."""

    def __init__(self) -> None:
        G = build_generator("resnet", {"width": 24, "blocks": 6})
        assert isinstance(G, ResNetGenerator)
        self.G, self.F = G, PatchHeads([3, 48, 96, 96, 96], 64)

    def __call__(self, fake: Tensor, source: Tensor) -> Tensor:
        queries = encoder_features(self.G, fake, (1, 5))
        with torch.no_grad():
            keys = encoder_features(self.G, source, (1, 5))
        places = [
            torch.stack([torch.randperm(x.shape[2] * x.shape[3])[:256] for _ in x]) for x in keys
        ]
        asked = self.F(queries, places)
        with torch.no_grad():
            keys_at = self.F(keys, places)
        return multilayer_nce_loss(asked, keys_at)


def milliseconds(loss: Callable[[Tensor, Tensor], Tensor], fake: Tensor, source: Tensor) -> float:
    """Of CPU time, for one loss and its gradient."""
    began = time.process_time()
    loss(fake.detach().requires_grad_(), source).backward()
    return 1000 * (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    shape = (given.batch, 3, given.size, given.size)
    fake, source = torch.rand(shape) * 2 - 1, torch.rand(shape) * 2 - 1
    parts = parts_of()
    times: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(given.rounds + 1):
        for name, loss in parts.items():
            spent = milliseconds(loss, fake, source)
            if turn:
                times[name].append(spent)
    medians = {name: statistics.median(row) for name, row in times.items()}
    if given.json:
        print(json.dumps({name: round(ms, 2) for name, ms in medians.items()}))
        return
    print("| part | ms of CPU a step |\n|---|---:|")
    for name, ms in medians.items():
        print(f"| {name} | {ms:.1f} |")


if __name__ == "__main__":
    main()
