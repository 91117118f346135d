"""Whether a whole data set lives on the device that learns from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from img2img.data.store import Store
from img2img.errors import ConfigError, EnvironmentFault, first_line

OnDevice = Literal["auto", "yes", "no"]
# Networks, optimizers and activations come later and are not known yet.
_SHARE = 0.25


def settle(
    stores: Sequence[Store], wanted: OnDevice, device: torch.device, free: int | None = None
) -> bool:
    """Move all pictures of `stores` to `device` if they belong there, and say so.

    `auto` does it on CUDA when they take at most a quarter of the memory that is `free` (asked
    from the device where not given) and no pipeline of the user's changes them on the CPU. `yes`
    does it on any device.

    Raises:
        ConfigError: `yes` together with a pipeline that needs the pictures on the CPU.
        EnvironmentFault: `yes`, and the device has no room for them.
    """
    changed = any(store.albument is not None for store in stores)
    if wanted == "yes" and changed:
        raise ConfigError(
            "on_device=yes cannot be combined with albumentations: the pipeline runs on the CPU"
        )
    needed = sum(store.bytes for store in stores)
    if wanted == "auto":
        if device.type != "cuda" or changed:
            return False
        if free is None:
            free, _ = torch.cuda.mem_get_info(device)
        if needed > free * _SHARE:
            return False
    elif wanted == "no":
        return False
    try:
        for store in stores:
            store.move_to(device)
    except RuntimeError as error:  # torch's out-of-memory errors are these
        raise EnvironmentFault(
            f"the device has no room for {needed / 2**20:.0f} MB of pictures "
            f"({first_line(error)}); use `on_device=no`"
        ) from None
    return True
