"""Metrics and a sheet for a StarGAN model: every edit of every held-out picture against the truth.

    python benchmarks/stargan_edits.py MODEL.safetensors DATA [--truth FOLDER] [--held-out N]
        [--sheet SHEET.jpg] [--classifier-epochs 6]

For an attribute table, FOLDER (by default DATA/truth) holds `STEM_ATTRIBUTE.png`: the held-out
picture STEM with that attribute set (members of an exclusive group) or toggled (the others). For a
folder per domain the truth is the picture of the same name in the target's folder.

Prints for each edit: PSNR (dB) and SSIM of the edited picture against the truth, compared with
those of the unedited picture; and the share of edits that a classifier recognises, compared with
its share on the true pictures. The classifier is trained by this script on the training part only
and shares nothing with the discriminator.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from img2img.data import LabelledData, Loading
from img2img.data.store import load_picture
from img2img.images import Picture, contact_sheet, encode_format, to_network, write_picture
from img2img.losses import classification_loss
from img2img.methods.stargan import edited
from img2img.metrics import paired as metrics
from img2img.model_format.checkpoint import load_model
from img2img.nets import Generator
from img2img.training.validation import to_pixels


@dataclass(frozen=True)
class Edit:
    """Row `row` of the data, edited to `target`; the `domain` that changes; the true picture."""

    row: int
    domain: int
    target: Tensor
    truth: Path


def edits_of(data: LabelledData, truth: Path, groups: list[list[int]]) -> Iterator[Edit]:
    """All edits whose true picture exists on disk."""
    for k, row in enumerate(data.rows):
        label = torch.tensor(row.label)
        for domain, name in enumerate(data.domains):
            if data.one_hot:
                path = row.path.parent.parent / name / row.path.name
            else:
                path = truth / f"{row.path.stem}_{name}.png"
            target = edited(label[None], domain, groups)[0]
            if path.is_file() and not torch.equal(target, label):
                yield Edit(k, domain, target, path)


def classifier_of(data: LabelledData, epochs: int) -> nn.Module:
    """A small convolutional network that predicts the domains, trained on `data`."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(
            nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU())
            for i, o in ((3, 16), (16, 32), (32, 64), (64, 96))
        ),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(96 * 16, len(data.domains)),
    )
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(data)).tolist()
        for k in range(0, len(order) - 31, 32):
            batch = data.batch(order[k : k + 32]).on(torch.device("cpu"))
            x = batch.x + 0.05 * torch.randn_like(batch.x)
            loss = classification_loss(net(x), batch.label, data.one_hot)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


def recognised(
    net: nn.Module, x: Tensor, edit: Edit, one_hot: bool, groups: list[list[int]]
) -> bool:
    """Whether the classifier recognises the requested edit in `x` (1, C, H, W)."""
    with torch.inference_mode():
        answer = net(x)[0]
    if one_hot:
        return int(answer.argmax()) == edit.domain
    for group in groups:
        if edit.domain in group:
            return group[int(answer[group].argmax())] == edit.domain
    return bool(answer[edit.domain] > 0) == bool(edit.target[edit.domain] > 0.5)


def picture(path: Path, loading: Loading) -> Tensor:
    """(1, 3, size, size) in [-1, 1]."""
    pixels = torch.from_numpy(load_picture(path, loading, 3).copy())
    return to_network(pixels.permute(2, 0, 1)[None].float())


def compared(x: Tensor, y: Tensor) -> list[float]:
    """PSNR and SSIM of two pictures in [-1, 1]."""
    a, b = (((v + 1) * 127.5).round().clamp(0, 255) for v in (x, y))
    return [min(float(metrics.psnr(a, b)), 99.0), float(metrics.ssim(a, b))]


def run(G: Generator, x: Tensor, label: Tensor) -> Tensor:
    """G(x, label) without gradients."""
    with torch.inference_mode():
        return G(x, label[None])


def main() -> None:
    """Print the table and write the sheet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--held-out", type=int)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--classifier-epochs", type=int, default=6)
    given = parser.parse_args()
    torch.set_num_threads(1)
    G, info = load_model(given.model)
    loading = Loading(info.size, held_out=given.held_out)
    training = LabelledData(given.data, "train", loading, attributes=info.domains)
    data = LabelledData(given.data, "held-out", loading, attributes=info.domains)
    exclusive = info.training["settings"].get("exclusive", [])
    groups = [[info.domains.index(name) for name in group] for group in exclusive]
    if data.one_hot:
        groups = [list(range(len(info.domains)))]
    classifier = classifier_of(training, given.classifier_epochs)
    sums: dict[str, list[list[float]]] = defaultdict(list)
    for edit in edits_of(data, given.truth or given.data / "truth", groups):
        x, truth = picture(data.rows[edit.row].path, loading), picture(edit.truth, loading)
        y = run(G, x, edit.target)
        found = [float(recognised(classifier, v, edit, data.one_hot, groups)) for v in (y, truth)]
        values = [*compared(y, truth), *compared(x, truth), *found]
        sums[info.domains[edit.domain]].append(values)
        sums["all"].append(values)
    print(f"{len(data)} held-out pictures of {info.size}x{info.size}, {info.name}")
    print("| edit | n | PSNR | SSIM | PSNR unedited | SSIM unedited | recognised | of the truth |")
    print("|---|---|---|---|---|---|---|---|")
    for name, rows in sums.items():
        p, s, p0, s0, r, t = np.mean(rows, 0)
        figures = f"{p:.2f} | {s:.3f} | {p0:.2f} | {s0:.3f} | {r:.1%} | {t:.1%}"
        print(f"| {name} | {len(rows)} | {figures} |")
    if given.sheet:
        write_sheet(given.sheet, G, data, groups)


def write_sheet(path: Path, G: Generator, data: LabelledData, groups: list[list[int]]) -> None:
    """Write eight evenly spaced held-out pictures in every domain."""
    rows = []
    for k in np.linspace(0, len(data) - 1, 8).astype(int).tolist():
        batch = data.batch([k]).on(torch.device("cpu"))
        outputs = [
            run(G, batch.x, edited(batch.label, domain, groups)[0])
            for domain in range(len(data.domains))
        ]
        rows.append([to_pixels(x)[0] for x in (batch.x, *outputs)])
    sheet = contact_sheet(rows, ["input", *data.domains])
    write_picture(path, Picture(sheet, format=encode_format(path.suffix)[0]))


if __name__ == "__main__":
    main()
