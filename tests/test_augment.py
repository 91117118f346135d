"""What is given in one call moves together; the draw depends on (seed, step, index, call) alone."""

from __future__ import annotations

import pytest
import torch

from img2img.augment import Augment
from img2img.errors import ConfigError


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
