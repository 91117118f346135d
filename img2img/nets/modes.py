"""States of networks for the length of a block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """Take no gradient with respect to the parameters of `nets` inside the block."""
    parameters = [p for net in nets for p in net.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
