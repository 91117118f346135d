"""What is given in one call moves together; the draw depends on (seed, step, index, call) alone."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from img2img.augment import Augment, AugmentConfig, maps
from img2img.errors import ConfigError, MissingExtra

GEOMETRY = ("vflip", "jitter", "rotate", "affine", "perspective")
OPERATIONS = (
    *GEOMETRY,
    *("brightness", "contrast", "saturation", "hue", "blur", "noise", "cutout"),
)


def grid(n: int = 3, side: int = 12) -> torch.Tensor:
    return torch.arange(n * side * side, dtype=torch.float32).view(n, 1, side, side)


def test_one_call_moves_together_two_move_apart() -> None:
    augment = Augment(8, True, seed=1)
    augment.begin(0, [0, 1, 2])
    a, b = augment(grid(), grid() + 0.5)
    assert a.shape == (3, 1, 8, 8)
    assert torch.equal(a + 0.5, b)
    (c,) = augment(grid())
    assert not torch.equal(a, c)


def test_the_draw_is_a_function_of_seed_step_and_index() -> None:
    def run(seed: int, step: int, indices: list[int]) -> torch.Tensor:
        augment = Augment(8, True, seed)
        augment.begin(step, indices)
        return augment(grid(len(indices)) % 144)[0]

    together = run(0, 5, [7, 8, 9])
    assert torch.equal(together[1], run(0, 5, [8])[0])
    assert not torch.equal(together, run(0, 6, [7, 8, 9]))
    assert not torch.equal(together, run(1, 5, [7, 8, 9]))


def test_every_offset_and_both_flips_occur() -> None:
    augment = Augment(10, True, seed=0)
    seen = set()
    for step in range(300):
        augment.begin(step, [0])
        out = augment(grid(1))[0][0, 0]
        flipped = bool(out[0, 1] < out[0, 0])
        corner = int(out[0, -1] if flipped else out[0, 0])
        seen.add((corner // 12, corner % 12, flipped))
    assert seen == {(y, x, f) for y in range(3) for x in range(3) for f in (False, True)}


def test_without_flip_and_crop_nothing_changes() -> None:
    augment = Augment(12, False, seed=0)
    augment.begin(0, [0, 1, 2])
    assert torch.equal(augment(grid())[0], grid())


def test_a_crop_larger_than_the_picture_is_refused() -> None:
    augment = Augment(13, False, seed=0)
    augment.begin(0, [0])
    with pytest.raises(ConfigError, match="crop_size 13 is larger than the loaded pictures"):
        augment(grid(1))


# --- what AugmentConfig adds

EVERYTHING = AugmentConfig(
    **{name: 1.0 for name in OPERATIONS if name not in ("vflip", "cutout")}, vflip=0.5, cutout=0.5
)


def photo(n: int = 3, side: int = 24, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures in [-1, 1] that reach both ends."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, channels, 5, 5, generator=g) * 3 - 1.5
    return torch.nn.functional.interpolate(x, size=side, mode="bicubic").clamp(-1, 1)


def made(
    config: AugmentConfig, size: int = 16, flip: bool = True, step: int = 0, n: int = 3
) -> Augment:
    augment = Augment(size, flip, 0, config)
    augment.begin(step, list(range(n)))
    return augment


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_each_operation_alone(operation: str, channels: int) -> None:
    """Smoke, cardinality, range; it changes pictures (but a colour that there is not)."""
    config = AugmentConfig(**{operation: 1.0})
    x = photo(channels=channels)
    before = x.clone()
    (y,) = made(config)(x)
    (plain,) = made(AugmentConfig())(x)
    assert y.shape == (3, channels, 16, 16) and y.dtype == x.dtype
    assert y.min() >= -1 and y.max() <= 1 and torch.isfinite(y).all()
    assert torch.equal(x, before)
    nothing = channels != 3 and operation in ("saturation", "hue")
    assert torch.allclose(y, plain, atol=1e-6) == nothing


@pytest.mark.parametrize("size", [16, 24])
def test_everything_at_once_keeps_shape_and_range(size: int) -> None:
    for step in range(5):
        a, b = made(EVERYTHING, size, step=step)(photo(), photo(seed=1))
        for y in (a, b):
            assert y.shape == (3, 3, size, size)
            assert torch.isfinite(y).all() and y.min() >= -1 and y.max() <= 1


def test_the_default_is_crop_and_flip_to_the_bit() -> None:
    """The draws of the reference are (top, left, flip), the first three of the stream."""
    x = photo(4, 21)
    augment = Augment(16, True, 9)
    augment.begin(5, [3, 1, 4, 1])
    for call in range(2):
        (y,) = augment(x)
        for i, index in enumerate([3, 1, 4, 1]):
            u, v, f = np.random.default_rng([9, 5, index, call]).random(3)
            part = x[i, :, int(u * 6) :, int(v * 6) :][:, :16, :16]
            assert torch.equal(y[i], part.flip(-1) if f < 0.5 else part)


def test_strength_0_is_crop_and_flip_and_strength_grows() -> None:
    still = EVERYTHING.model_copy(update={"strength": 0.0})
    x = photo()
    (plain,) = made(AugmentConfig())(x)
    assert torch.equal(made(still)(x)[0], plain)
    colour = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 1.0}
    distances = [
        float((made(AugmentConfig(**colour, strength=s))(x)[0] - plain).abs().mean())
        for s in (0.01, 0.3, 1.0, 2.0)
    ]
    assert distances == sorted(distances) and distances[0] < 0.02 < distances[2]
    most = AugmentConfig(strength=1000.0, vflip=0.3).scaled()
    assert most.perspective_tilt == 0.45 and most.rotate_degrees == 180 and most.vflip == 0.5


@pytest.mark.parametrize("photometric", ["input", "all"])
def test_one_call_moves_together(photometric: str) -> None:
    geometry = dict.fromkeys(GEOMETRY, 1.0)
    a, b = made(AugmentConfig(**geometry))(photo(), photo())
    assert torch.equal(a, b)
    config = EVERYTHING.model_copy(update={"photometric": photometric})
    a, b, c = made(config)(photo(), photo(), photo())
    assert torch.equal(b, c)
    assert torch.equal(a, b) == (photometric == "all")
    augment = made(AugmentConfig(**geometry))
    assert not torch.equal(augment(photo())[0], augment(photo())[0])


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o not in GEOMETRY])
def test_photometric_operations_leave_the_others_untouched(operation: str) -> None:
    a, b = made(AugmentConfig(**{operation: 1.0}))(photo(), photo())
    (plain,) = made(AugmentConfig())(photo())
    assert torch.equal(b, plain) and not torch.equal(a, plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int64])
def test_label_maps_move_along_and_keep_their_values(dtype: torch.dtype) -> None:
    config = EVERYTHING.model_copy(update={"photometric": "all"})
    values = torch.tensor([0, 3, 7, 250])
    labels = values[torch.randint(0, 4, (3, 1, 6, 6), generator=torch.Generator().manual_seed(0))]
    labels = labels.repeat_interleave(4, 2).repeat_interleave(4, 3).to(dtype)
    _, moved = made(config)(photo(), labels, nearest=(1,))
    assert moved.dtype == dtype and set(moved.unique().tolist()) <= set(values.tolist())
    # Bilinear and nearest agree where the neighbourhood is of one label.
    geometry = AugmentConfig(**dict.fromkeys(GEOMETRY, 1.0))
    soft, hard = made(geometry)(labels.float(), labels, nearest=[1])
    assert ((soft - hard.float()).abs() < 1e-3).float().mean() > 0.4


@pytest.mark.parametrize("config", [AugmentConfig(), EVERYTHING])
def test_neighbours_and_batch_size_do_not_matter(config: AugmentConfig) -> None:
    x = photo(5)
    augment = Augment(16, True, 3, config)
    augment.begin(11, [4, 9, 2, 30, 7])
    (together,) = augment(x)
    for i, index in enumerate([4, 9, 2, 30, 7]):
        augment.begin(11, [index])
        assert torch.allclose(augment(x[i : i + 1])[0][0], together[i], atol=1e-6)
    augment.begin(12, [4, 9, 2, 30, 7])
    assert not torch.equal(augment(x)[0], together)


def test_one_operation_does_not_change_the_draws_of_another() -> None:
    """Cutout's square stays where it is when colour is switched on."""
    (a,) = made(AugmentConfig(cutout=1.0))(photo().abs() + 0.01)
    (b,) = made(AugmentConfig(cutout=1.0, contrast=1.0))(photo().abs() + 0.01)
    assert torch.equal((a == 0).all(1), (b == 0).all(1)) and not torch.equal(a, b)


def test_pictures_that_draw_nothing_stay_exact() -> None:
    """With probabilities below 1 some pictures are only cut out, to the bit."""
    config = AugmentConfig(**dict.fromkeys(OPERATIONS, 0.1))
    x = photo(64)
    (y,) = made(config, n=64)(x)
    (plain,) = made(AugmentConfig(), n=64)(x)
    same = sum(torch.equal(p, q) for p, q in zip(y, plain, strict=True))
    assert 8 <= same <= 40  # expected: 64 * 0.9^12 = 18


def test_mixed_precision_changes_nothing() -> None:
    (plain,) = made(EVERYTHING)(photo())
    with torch.autocast("cpu", torch.bfloat16):
        (mixed,) = made(EVERYTHING)(photo())
    assert torch.equal(plain, mixed)


def test_a_jitter_never_looks_beyond_the_picture() -> None:
    """A picture whose outermost pixels differ: mirrored ones would be seen twice."""
    x = torch.zeros(1, 1, 20, 20)
    x[..., 0] = x[..., -1] = 1
    for step in range(50):
        (y,) = made(AugmentConfig(jitter=1.0, jitter_scale=(0.3, 1.2)), step=step, n=1)(x)
        assert float(y.sum(-1).max()) <= 2.01


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="image 1 is"):
        made(AugmentConfig())(photo(), photo(side=30))
    with pytest.raises(ValueError, match="there are 2 images"):
        made(AugmentConfig())(photo(), photo(), nearest=(2,))
    for wrong, message in (
        ({"rotation": 1}, "unknown setting 'rotation'. Did you mean 'rotate'"),
        ({"rotate": 1.5}, "rotate: Input should be less than or equal to 1"),
        ({"jitter_scale": (1.2, 1.0)}, "jitter_scale must be 0 < low <= high"),
        ({"perspective_tilt": 0.7}, "more than its limit 0.45"),
    ):
        with pytest.raises(ConfigError, match=message):
            AugmentConfig.parse(wrong)


def test_blur_without_kornia_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [m for m in sys.modules if m.split(".")[0] == "kornia"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kornia", None)
    made(EVERYTHING.model_copy(update={"blur": 0.0}))(photo())
    made(AugmentConfig(blur=1.0, strength=0))(photo())
    with pytest.raises(MissingExtra, match="'train' extra"):
        Augment(16, True, 0, AugmentConfig(blur=1.0))


def test_the_uniform_numbers_of_a_step() -> None:
    augment = made(AugmentConfig())
    alpha = augment.uniform(photo())
    assert alpha.shape == (3, 1, 1, 1) and alpha.min() >= 0 and alpha.max() < 1
    assert not torch.equal(alpha, augment.uniform(photo()))
    assert torch.equal(alpha, made(AugmentConfig()).uniform(photo()))


# --- the matrices


def test_a_quarter_turn_is_rot90() -> None:
    x = photo(2, 16)
    for k in range(4):
        y = maps.warp(x, [maps.rotation(90 * k)] * 2, (16, 16))
        assert torch.allclose(y, torch.rot90(x, k, (2, 3)), atol=1e-5)


def test_the_matrix_of_a_crop_and_a_flip_is_slicing() -> None:
    x = photo(1, 24)
    matrix = maps.window(3, 5, 16, 24, 24) @ maps.scaling(-1, 1)
    y = maps.warp(x, [matrix], (16, 16))
    assert torch.allclose(y, x[..., 3:19, 5:21].flip(-1), atol=1e-5)
    # One pixel of 24 in half sides is 2/24.
    moved = maps.warp(x, [maps.translation(2 / 24, -4 / 24)], (24, 24))
    assert torch.allclose(moved[..., :22, 1:], x[..., 2:, :23], atol=1e-5)


def test_one_sampling_says_what_kornia_says() -> None:
    """Away from the edge, where kornia puts black: alone to rounding, and in turn but for the
    blur of kornia's second interpolation."""
    transform = pytest.importorskip("kornia.geometry.transform")
    x, centre = photo(1, 64), torch.tensor([[31.5, 31.5]])
    turned = transform.rotate(x, torch.tensor([12.0]), centre)
    ours = maps.warp(x, [maps.rotation(12)], (64, 64))
    assert (ours - turned)[..., 16:48, 16:48].abs().max() < 1e-4
    both = transform.scale(turned, torch.tensor([[1.1, 1.1]]), centre)
    ours = maps.warp(x, [maps.rotation(12) @ maps.scaling(1.1, 1.1)], (64, 64))
    assert (ours - both)[..., 16:48, 16:48].abs().mean() < 0.01


def test_a_perspective_keeps_the_centre_and_straight_lines() -> None:
    x = torch.linspace(-1, 1, 33).expand(1, 1, 33, 33)
    y = maps.warp(x, [maps.tilt(0.3, 0.0)], (33, 33))
    assert abs(float(y[0, 0, 16, 16])) < 1e-6
    assert y[0, 0].std(0).max() < 1e-6  # upright lines stay upright under a sideways tilt
    right, left = y[0, 0, 0, 16:20].diff().mean(), y[0, 0, 0, 13:17].diff().mean()
    assert left > right


@pytest.mark.parametrize(
    ("matrix", "colour", "expected"),
    [
        (maps.brightness(0.2), (0.1, -0.3, 0.5), (0.3, -0.1, 0.7)),
        (maps.contrast(2.0), (0.1, -0.3, 0.4), (0.2, -0.6, 0.8)),
        (maps.hue(120), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0)),
        (maps.hue(77), (0.3, 0.3, 0.3), (0.3, 0.3, 0.3)),
        (maps.saturation(0.0), (1.0, 0.0, 0.0), (0.299, 0.299, 0.299)),
        (maps.saturation(3.0), (0.2, 0.2, 0.2), (0.2, 0.2, 0.2)),
        (maps.luma_flip(), (0.4, 0.4, 0.4), (-0.4, -0.4, -0.4)),
        (maps.after(maps.contrast(2), maps.brightness(0.1)), (0.1, 0.2, 0.3), (0.4, 0.6, 0.8)),
    ],
)
def test_known_colours(matrix: maps.Matrix, colour: tuple, expected: tuple) -> None:
    x = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    y = maps.recolour(x, [matrix])
    assert torch.allclose(y[0, :, 0, 0], torch.tensor(expected), atol=1e-6)
    if len(set(colour)) == 1:  # a grey picture of one channel becomes the same grey
        assert torch.allclose(maps.recolour(x[:, :1], [matrix]), y[:, :1], atol=1e-6)
