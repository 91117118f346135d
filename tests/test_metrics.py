"""Metrics against values computed by hand and their published definitions; the contract of `METRICS`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from img2img.metrics import METRICS
from img2img.metrics import paired as metrics


def test_l1_and_psnr_by_hand() -> None:
    x = torch.zeros(2, 3, 16, 16)
    y = x.clone()
    y[0] += 5
    y[1, 0] += 30
    assert metrics.l1(x, y).tolist() == [5, 10]
    expected = [10 * math.log10(255**2 / 25), 10 * math.log10(255**2 / 300)]
    assert np.allclose(metrics.psnr(x, y), expected)
    assert metrics.psnr(x, x).isinf().all()


def plain_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """SSIM of one channel, window by window, straight from the paper."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    scores = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            scores.append(
                (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
            )
    return float(np.mean(scores))


def test_ssim_is_the_papers() -> None:
    random = np.random.default_rng(0)
    x = random.uniform(0, 255, (2, 20, 17))
    y = np.clip(x + random.normal(0, 40, x.shape), 0, 255)
    given = metrics.ssim(torch.from_numpy(x)[None], torch.from_numpy(y)[None])
    expected = np.mean([plain_ssim(x[k], y[k]) for k in range(2)])
    assert math.isclose(given.item(), expected, rel_tol=1e-7)
    same = torch.from_numpy(x)[None]
    assert math.isclose(metrics.ssim(same, same).item(), 1)


def test_both_at_once_are_those_of_each() -> None:
    noise = torch.Generator().manual_seed(0)
    x = torch.rand(1, 3, 180, 190, generator=noise) * 255
    y = (x + 20 * torch.randn(x.shape, generator=noise)).clamp(0, 255)
    both = metrics.ssim_and_ms_ssim(x, y)
    assert [z.item() for z in both] == [metrics.ssim(x, y).item(), metrics.ms_ssim(x, y).item()]


def inside(x: torch.Tensor, y: torch.Tensor, data_range: float) -> float:
    """torchmetrics' SSIM where the window lies inside, as the paper has it: its own mean takes the
    mirrored border too (0.915 for 0.920, and 0.226 for 0.229, here)."""
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    _, full = ssim(x, y, data_range=data_range, return_full_image=True)
    return float(full[..., 5:-5, 5:-5].mean())


@pytest.mark.parametrize(("name", "within"), [("psnr", 1e-6), ("ssim", 1e-6), ("ms_ssim", 1e-4)])
def test_an_independent_computation_agrees(name: str, within: float) -> None:
    """torchmetrics' in double precision, one pair after the other, as it averages. Its MS-SSIM has
    the border of the last and smallest scale in it, which moves the fifth digit."""
    theirs = pytest.importorskip("torchmetrics.functional.image", reason="no torchmetrics")
    others = {
        "psnr": theirs.peak_signal_noise_ratio,
        "ssim": inside,
        "ms_ssim": theirs.multiscale_structural_similarity_index_measure,
    }
    draw = torch.Generator().manual_seed(0)
    y = torch.rand(2, 3, 12, 13, generator=draw) * 255
    y = torch.nn.functional.interpolate(y, (180, 195), mode="bicubic").clamp(0, 255)
    noise = torch.randn(y.shape, generator=draw) * torch.tensor([5.0, 40.0])[:, None, None, None]
    x = (y + noise).clamp(0, 255)
    alone = [(x[k : k + 1].double(), y[k : k + 1].double()) for k in (0, 1)]
    expected = [float(others[name](a, b, data_range=255.0)) for a, b in alone]
    assert METRICS[name].of(x, y).tolist() == pytest.approx(expected, rel=within)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_contract_of_every_metric(name: str, channels: int) -> None:
    metric = METRICS[name]
    if not metric.available():
        pytest.skip(f"the weights of {name} are not here")
    side = metric.least_side + 5
    noise = torch.Generator().manual_seed(0)
    true = torch.rand(3, channels, side, side + 2, generator=noise) * 255
    error = torch.randn(true.shape, generator=noise)
    same, near, far = ((true + k * error).clamp(0, 255) for k in (0, 4, 40))
    figures = [metric.of(x, true) for x in (same, near, far)]
    assert all(f.shape == (3,) and not f.isnan().any() for f in figures)
    sign = 1 if metric.higher_is_better else -1
    best, good, bad = (sign * f for f in figures)
    assert (best > good).all() and (good > bad).all()
    # A pair's figure does not depend on the others in the batch.
    alone = torch.cat([metric.of(far[k : k + 1], true[k : k + 1]) for k in range(3)])
    assert torch.allclose(alone, figures[2])
    # The least side is enough.
    small = true[:, :, : metric.least_side, : metric.least_side]
    assert metric.of(small, small).shape == (3,)
