"""Every layout of weights all the way, by the commands of docs/how-to/import-weights.md: imported,
translated with, exported, translated with again. The references are those of `tests.reference_nets`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.conftest import Main, picture
from tests.reference_nets import (
    State,
    TheirResNet,
    TheirStarGAN,
    TheirUNet,
    saved,
    shaken,
    without_dropout,
)

pytestmark = pytest.mark.slow
PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "import-weights.md"
SIDE = 256  # at which the U-Net of eight levels ends in one pixel
# Keys of the file, and its network. Widths are small, all else is as in the wild.
LAYOUTS: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "CycleGAN": (48, TheirResNet),
    "CycleGAN, released": (117, lambda: TheirResNet(tracked=True)),
    "CycleGAN, dropout": (48, lambda: TheirResNet(dropout=True)),
    "CycleGAN, batch norm": (140, lambda: TheirResNet(norm="batch")),
    "CUT": (52, lambda: TheirResNet(blurred=(True, True))),
    "pix2pix": (82, TheirUNet),
    "pix2pix, old": (69, TheirUNet),
    "pix2pix, instance norm": (32, lambda: TheirUNet(norm="instance", dropout=False)),
    "StarGAN": (103, TheirStarGAN),
}


def state_of(name: str, net: nn.Module) -> State:
    """The tensors as the file has them: before torch 0.4 nothing counted the batches."""
    old = name.endswith("old")
    state = net.state_dict()
    return {k: v for k, v in state.items() if not (old and k.endswith("num_batches_tracked"))}


@torch.no_grad()
def reference(net: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """What the network of the other project gives: floats in 0..255."""
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    label = [torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0]])] if isinstance(net, TheirStarGAN) else []
    y: Tensor = without_dropout(net)(x, *label)
    return ((y[0].permute(1, 2, 0) + 1) * 127.5).numpy()


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_of_another_project_goes_all_the_way(name: str, tmp_path: Path, main: Main) -> None:
    keys, make = LAYOUTS[name]
    net = shaken(make())
    state = state_of(name, net)
    assert len(state) == keys
    saved(tmp_path / "latest_net_G.pth", state)
    photo = picture(SIDE, SIDE, 3)
    photo.save(tmp_path / "photo.png")
    wanted = reference(net, np.asarray(photo))
    domain = ["--domain", "domain2"] if isinstance(net, TheirStarGAN) else []
    commands: list[list[Any]] = [
        ["models", "import", "latest_net_G.pth", "-o", "m.safetensors", "--size", SIDE],
        ["translate", "photo.png", "-o", "first.png", "-m", "m.safetensors", *domain],
        ["export", "m.safetensors", "-o", "m.onnx"],
        ["translate", "photo.png", "-o", "second.png", "-m", "m.onnx", *domain],
    ]
    for command in commands:
        done = main(*command)
        assert done.returncode == 0, (command, done.stderr)
    assert wanted.std() > 5, "a constant picture proves nothing"
    for file in ("first.png", "second.png"):
        made = np.asarray(Image.open(tmp_path / file)).astype(float)
        assert np.abs(made - wanted.round()).max() <= 1, file


def plain(text: str) -> list[str]:
    """Lines without their numbers and without what lines up tables."""
    return [" ".join(re.sub(r"[\d.,]+", "#", line).split()) for line in text.splitlines()]


def test_the_session_of_the_page_is_what_the_commands_print(tmp_path: Path, main: Main) -> None:
    saved(tmp_path / "latest_net_G.pth", shaken(TheirResNet()).state_dict())
    (tmp_path / "photos").mkdir()
    for k in range(2):
        picture(64, 48, k).save(tmp_path / "photos" / f"{k}.jpg")
    session = PAGE.read_text().split("<!-- session -->\n```console\n$ ")[1].split("```")[0]
    for part in session.split("\n$ "):
        command, _, shown = part.partition("\n")
        program, *arguments = shlex.split(command)
        assert program == "img2img"
        done = main(*arguments)
        assert done.returncode == 0, done.stderr
        printed = plain(done.stderr + done.stdout)
        assert [line for line in plain(shown) if line not in printed] == [], command
