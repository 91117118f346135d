"""Feature networks for sets of pictures: architectures, preparation, independence of the batch."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.evaluation.evaluate import evaluate
from img2img.evaluation.figures import figures_of
from img2img.evaluation.gather import Collected, Gathered
from img2img.evaluation.request import EvaluateRequest
from img2img.features import FEATURES, Features, extract, open_features
from img2img.features.extract import resize
from img2img.features.inception import InceptionV3
from img2img.features.lite0 import Lite0, _SameConv
from img2img.features.mobilenetv2 import MobileNetV2
from img2img.images import read_picture
from tests.conftest import ROOT, picture

INSTALLED = ("vgg19", "lite0", "mobilenetv2")


def opened(name: str) -> Features:
    """A network with its real weights; skips where its package is not installed."""
    try:
        return open_features(name)
    except ConfigError as error:
        pytest.skip(str(error))


def pictures(count: int, height: int = 40, width: int = 56) -> Tensor:
    some = [np.array(picture(width, height, seed)) for seed in range(count)]
    return torch.from_numpy(np.stack(some)).permute(0, 3, 1, 2).contiguous()


def filled(net: nn.Module) -> nn.Module:
    """Weights and statistics with which signals neither fade nor grow, from a seed."""
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.1, generator=generator)
        elif value.ndim == 4:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
    return net


@pytest.fixture
def inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with Inception's names and random weights that counts as the known one."""
    path = tmp_path / FEATURES["inception"].file
    torch.save(filled(InceptionV3()).state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    row = dataclasses.replace(FEATURES["inception"], sha256=digest)
    monkeypatch.setitem(FEATURES, "inception", row)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTALLED)
def test_a_pictures_features_are_its_own(name: str) -> None:
    network = opened(name)
    count = 3 if name == "vgg19" else 16  # as a batch, 16 would differ in the last bits
    x = pictures(count)
    whole = network.features(x)
    assert whole.dtype == torch.float32 and whole.shape == (count, network.width)
    assert whole.isfinite().all() and not whole.requires_grad
    # Again, alone and in another order: the same bits.
    assert torch.equal(whole[[1]], network.features(x[[1]]))
    assert torch.equal(whole[:3].flip(0), network.features(x[:3].flip(0)))
    # A picture without detail has the same features in every size.
    plain = torch.full((1, 3, 20, 31), 90, dtype=torch.uint8)
    small, large = network.features(plain), network.features(plain.repeat(1, 1, 20, 9))
    assert torch.allclose(small, large, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(whole[0], whole[1], atol=1e-2)
    assert network.features(x[:0]).shape == (0, network.width)
    assert not any(p.requires_grad for p in network._net.parameters())


def test_only_pictures_are_taken() -> None:
    network = opened("mobilenetv2")
    for wrong in (pictures(1).float(), pictures(1)[0], pictures(1)[:, :1]):
        with pytest.raises(ValueError, match=r"uint8 \(N, 3, H, W\)"):
            network.features(wrong)
    with pytest.raises(ValueError, match="mobilenetv2 has no classes"):
        network.logits(pictures(1))
    assert network.classes == 0


@pytest.mark.parametrize(
    ("photo", "named"), [("fragrant-chamomile.jpg", 985), ("lake-sherburne.jpg", 970)]
)
def test_lite0_names_what_a_photograph_shows(photo: str, named: int) -> None:
    """ImageNet's classes daisy and alp: weights, preparation and order of the channels fit."""
    network = opened("lite0")
    x = torch.from_numpy(read_picture(ROOT / "examples" / "photos" / photo).pixels.copy())
    features = network.features(x.movedim(2, 0)[None])
    logits = network.logits_of(features)
    assert logits.shape == (1, network.classes) == (1, 1000)
    assert int(logits.argmax()) == named
    assert torch.equal(logits, network.logits(x.movedim(2, 0)[None]))


def test_lite0_pads_as_tensorflow_does() -> None:
    conv = _SameConv(1, 1, 3, 2)
    conv.weight.data.fill_(1)
    seen = conv(torch.ones(1, 1, 4, 5))[0, 0]
    # An even side is padded at its end only, an odd one at both.
    assert seen.tolist() == [[6, 9, 6], [4, 6, 4]]


@pytest.mark.parametrize("kind", [Lite0, MobileNetV2])
def test_norms_folded_into_convolutions_change_nothing(kind: type[Lite0 | MobileNetV2]) -> None:
    net = kind().eval()
    source = torch.Generator().manual_seed(3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.running_mean, module.running_var, module.weight, module.bias):
                assert values is not None
                values.data.copy_(torch.rand(values.shape, generator=source) + 0.5)
    x = torch.rand(1, 3, 64, 64, generator=source) * 2 - 1

    def seen() -> list[torch.Tensor]:
        return [net(x), *(net.maps(x) if isinstance(net, Lite0) else ())]

    before = seen()
    net.fold_norms()
    net.fold_norms()
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
    assert not any(p.requires_grad for p in net.parameters())
    for a, b in zip(before, seen(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(a.abs().max()))


def test_the_sizes_are_those_of_the_papers() -> None:
    def count(net: nn.Module) -> int:
        return sum(p.numel() for p in net.parameters())

    assert count(Lite0()) == 4_652_008
    assert count(MobileNetV2()) == 3_504_872 - 1_281_000  # without the classifier
    assert count(InceptionV3()) == 21_785_568 + 2049 * 1008  # torchvision's trunk, 1008 classes


def test_a_file_with_other_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(Lite0().state_dict(), path)
    with pytest.raises(ConfigError, match="not the known weights of lite0"):
        open_features("lite0", path)
    with pytest.raises(RuntimeError, match="Missing key"):
        extract._KINDS["mobilenetv2"].load(path)


def test_inception_by_path(inception: Path) -> None:
    network = open_features("inception", inception)
    assert (network.name, network.width, network.classes, network.side) == (
        "inception", 2048, 1008, 299,
    )  # fmt: skip
    x = pictures(2)
    features = network.features(x)
    assert features.shape == (2, 2048)
    assert torch.equal(features[1:], network.features(x[1:]))
    net = InceptionV3()
    net.load_state_dict(torch.load(inception, weights_only=True))
    direct = net((resize(x[:1], 299, "bicubic") - 128) / 128)
    assert torch.equal(features[:1], direct)
    assert torch.allclose(network.logits(x), features @ net.fc.weight.T, atol=1e-3)


def test_the_pools_of_fids_network() -> None:
    """Average pools leave the padding out; the last block takes the maximum."""
    net = InceptionV3()
    means = nn.functional.avg_pool2d(torch.ones(1, 1, 4, 4), 3, 1, 1)
    assert means[0, 0, 0, 0] != 1  # torchvision's way
    for name, block in net.named_children():
        if name in ("Mixed_5b", "Mixed_6e", "Mixed_7b", "Mixed_7c"):
            seen: list[Tensor] = []
            block.branch_pool.register_forward_pre_hook(
                lambda module, given, seen=seen: seen.append(given[0])
            )
            ramp = torch.arange(25.0).reshape(1, 1, 5, 5)
            block(ramp.repeat(1, block.branch_pool.conv.in_channels, 1, 1))
            corner = float(seen[0][0, 0, 0, 0])
            assert corner == (6 if name == "Mixed_7c" else 3), name  # of 0, 1, 5, 6


def test_resizing_is_pillows_in_floating_point() -> None:
    """What clean-fid does: each channel as float32, bicubic, cut to 0..255."""
    worst = 0.0
    for height, width in ((227, 227), (40, 700), (512, 300), (299, 299)):
        noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
        ours = resize(torch.from_numpy(noise).permute(2, 0, 1)[None], 299, "bicubic")[0]
        for k in range(3):
            channel = Image.fromarray(noise[:, :, k].astype(np.float32))
            theirs = np.asarray(channel.resize((299, 299), Image.Resampling.BICUBIC))
            worst = max(worst, float(np.abs(theirs.clip(0, 255) - ours[k].numpy()).max()))
    assert worst < 1e-4


def test_inception_is_that_of_torch_fidelity(inception: Path) -> None:
    theirs = other("torch_fidelity.feature_extractor_inceptionv3")
    reference = theirs.FeatureExtractorInceptionV3(
        "reference", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(inception)
    )
    x = pictures(2, 299, 299)
    features, logits = reference(x)
    network = open_features("inception", inception)
    assert torch.allclose(network.features(x), features, rtol=1e-4, atol=1e-4)
    assert torch.allclose(network.logits(x), logits, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_fid_and_kid_are_inceptions_alone_and_those_of_a_plain_computation(
    inception: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From two folders to the report, against Pillow's resizing, the network by itself and numpy."""
    monkeypatch.setenv(FEATURES["inception"].variable, str(inception))
    sets: list[np.ndarray] = []
    net = InceptionV3().eval()
    net.load_state_dict(torch.load(inception, weights_only=True))
    for name, first in (("fake", 0), ("real", 10)):
        (tmp_path / name).mkdir()
        rows = []
        for k in range(6):
            made = picture(60 + k, 44, first + k)
            made.save(tmp_path / name / f"{k}.png")
            channels = [
                Image.fromarray(z.astype(np.float32)) for z in np.moveaxis(np.array(made), 2, 0)
            ]
            large = np.stack([z.resize((299, 299), Image.Resampling.BICUBIC) for z in channels])
            with torch.no_grad():
                rows.append(
                    net((torch.from_numpy(large.clip(0, 255))[None] - 128) / 128)[0].numpy()
                )
        sets.append(np.stack(rows).astype(np.float64))
    request = EvaluateRequest(
        fake=tmp_path / "fake", real=tmp_path / "real", paired=False, networks=("inception",)
    )
    figures = evaluate(request).report.figures
    shares = {f"{name}_inception" for name in ("precision", "density", "recall", "coverage")}
    assert set(figures) == {"fid", "kid", "inception_score"} | shares
    fake, real = sets
    a, b = ((z - z.mean(0)) / 5**0.5 for z in (fake, real))  # so that a.T @ a is the covariance
    roots = np.linalg.eigvals((a @ b.T) @ (b @ a.T)).real.clip(0) ** 0.5
    expected = (
        ((fake.mean(0) - real.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * roots.sum()
    )
    assert figures["fid"].value == pytest.approx(expected, rel=1e-3)
    kernel = lambda x, y: (x @ y.T / 2048 + 1) ** 3  # noqa: E731
    own = [kernel(z, z) for z in sets]
    expected = sum((k.sum() - np.trace(k)) / 30 for k in own) - 2 * kernel(fake, real).mean()
    assert figures["kid"].value == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("network", [name for name in FEATURES if name != "inception"])
def test_no_other_network_gives_an_established_name(network: str) -> None:
    row = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    sets = [Collected(features={network: row + k}, logits={network: row}) for k in (0, 1)]
    figures, _ = figures_of(Gathered(fakes=sets[0], reals=sets[1]))
    assert {f"fd_{network}", f"kd_{network}", f"is_{network}"} < set(figures)
    assert all(name.endswith(f"_{network}") for name in figures)


def other(name: str) -> ModuleType:
    """An optional package of the test; skips where it is absent or does not fit this torch."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported: {error}")
