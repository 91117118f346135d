"""LPIPS against the implementation of torchmetrics, on one set of random weights."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from img2img.errors import ConfigError
from img2img.features import PARTS, find_features
from img2img.metrics import METRICS, perceptual

theirs = pytest.importorskip("torchmetrics.functional.image.lpips", reason="torchmetrics is absent")


def layers() -> nn.Sequential:
    """AlexNet's `features` as torchvision numbers them."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[nn.Sequential]:
    """Random weights where torch's hub would have put the trained ones."""
    torch.manual_seed(0)
    made = layers()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    file = folder / PARTS["alexnet"].file
    torch.save({f"features.{name}": value for name, value in made.state_dict().items()}, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    row = dataclasses.replace(PARTS["alexnet"], sha256=digest[:8])
    monkeypatch.setitem(PARTS, "alexnet", row)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("IMG2IMG_ALEXNET", raising=False)
    perceptual._alexnet.cache_clear()
    yield made
    perceptual._alexnet.cache_clear()


@pytest.mark.parametrize("size", [(64, 64), (95, 131), (32, 40)])
def test_it_is_that_of_torchmetrics(
    weights: nn.Sequential, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda *_, **__: weights)
    network = theirs._LPIPS(pretrained=True, net="alex").eval()
    x, y = torch.rand(2, 3, *size) * 255, torch.rand(2, 3, *size) * 255
    with torch.no_grad():
        expected = network(x / 127.5 - 1, y / 127.5 - 1).flatten()
    assert METRICS["lpips"].available()
    found = METRICS["lpips"].of(x, y)
    assert found.shape == (2,) and (found > 0).all()
    assert torch.allclose(found, expected, rtol=1e-5)
    assert METRICS["lpips"].of(x, x).tolist() == [0, 0]
    grey = x[:, :1]
    same = METRICS["lpips"].of(grey.repeat(1, 3, 1, 1), y)
    assert torch.equal(METRICS["lpips"].of(grey, y), same)


def test_without_its_weights_it_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("IMG2IMG_ALEXNET", raising=False)
    assert not METRICS["lpips"].available()
    with pytest.raises(ConfigError, match=r"alexnet-owt-7be5be79\.pth of torchvision"):
        find_features("alexnet")


def test_another_file_is_refused(weights: nn.Sequential, tmp_path: Path) -> None:
    file = tmp_path / "hub" / "checkpoints" / PARTS["alexnet"].file
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ConfigError, match="not the known weights of alexnet"):
        find_features("alexnet")
