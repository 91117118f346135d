"""VGG19's convolutions as a frozen feature network (Simonyan and Zisserman, arXiv 1409.1556)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError

# Configuration E of table 1: convolutions of each block and their channels.
_BLOCKS = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
# Means of ImageNet in 0..255, blue, green, red, as the weights were trained.
_MEANS = (103.939, 116.779, 123.68)

LAYERS = tuple(
    f"relu{b}_{k}" for b, (count, _) in enumerate(_BLOCKS, 1) for k in range(1, count + 1)
)


class VGG19(nn.Module):
    """Float (N, 3, H, W) RGB in [-1, 1] -> feature maps by name, e.g. `relu4_1` (N, 512, H/8, W/8).

    The features of each convolution after its ReLU; blocks are halved by max pooling, so a side
    needs 2**(b-1) pixels for block b. No parameter takes a gradient; the input may.
    """

    def __init__(self, deepest: str = "relu5_4"):
        super().__init__()
        self.names = LAYERS[: LAYERS.index(deepest) + 1]
        self.means: Tensor
        channels = 3
        self.convs = nn.ModuleDict()
        for name in self.names:
            after = _BLOCKS[int(name[4]) - 1][1]
            self.convs[name] = nn.Conv2d(channels, after, 3, padding=1)
            channels = after
        self.register_buffer("means", torch.tensor(_MEANS)[None, :, None, None])
        self.requires_grad_(False)

    def forward(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The maps `layers`; nothing beyond the deepest of them is computed.

        Raises ConfigError for a layer that this network does not have.
        """
        if unknown := [name for name in layers if name not in self.names]:
            raise ConfigError(f"VGG19 (up to {self.names[-1]}) has no layer {', '.join(unknown)}")
        x = (x.flip(1) + 1) * 127.5 - self.means
        wanted, found = set(layers), {}
        for name in self.names[: max(map(self.names.index, wanted)) + 1]:
            if name.endswith("_1") and name != "relu1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(self.convs[name](x))
            if name in wanted:
                found[name] = x
        return found


def load_vgg19(path: Path, deepest: str = "relu4_1") -> VGG19:
    """VGG19 up to `deepest` with the weights in `path`, which `find_features` has verified.

    The file holds 256 levels for each convolution and one byte for each weight; only tensors are
    read from it, never code.
    """
    stored = torch.load(path, map_location="cpu", weights_only=True)
    net = VGG19(deepest)
    for name, conv in net.convs.items():
        key = f"block{name[4]}_conv{name[6]}"
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None
        conv.weight.copy_(stored[f"{key}_W_table"].float()[stored[f"{key}_W_q"].long()])
        conv.bias.copy_(stored[f"{key}_b"].float())
    return net.eval()
