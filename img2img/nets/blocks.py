"""Layers shared by the networks: normalisation, padding, sampling, attention, initialisation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from img2img.nets.antialias import BlurUp

Norm = Literal["instance", "batch", "none"]
Padding = Literal["reflect", "zero"]
BlockPadding = Literal["reflect", "replicate", "zero"]
Upsample = Literal["transposed", "resize", "blurred"]
NormStatistics = Literal["batch", "running"]


GivenStatistics = Callable[[Tensor], tuple[Tensor, Tensor]]


class InstanceNorm(nn.Module):
    """Instance normalisation that never keeps running statistics (arXiv 1607.08022, eq. 3).

    Input and output: float (N, C, H, W) with H*W > 1. The same at training, test and export.
    Where `given` is set, mean and variance (C,) are what it says for this input; see
    `statistics_given`.
    """

    given: GivenStatistics | None = None

    def __init__(self, channels: int, affine: bool = False, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        if self.given is not None:
            return F.batch_norm(x, *self.given(x), self.weight, self.bias, eps=self.eps)
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation (arXiv 1502.03167) whose use outside training is a recorded choice.

    `statistics = "batch"`: each picture is normalised by its own statistics, which is what the
    pix2pix reference does at test time with batches of one, and independent of the picture's
    neighbours in a batch. `statistics = "running"`: the averages kept while training.

    In training each of several processes sees an equal part of the batch; see `share_statistics`.
    """

    statistics: NormStatistics = "batch"
    given: GivenStatistics | None = None
    parts = 1
    mean_of_parts: Callable[[Tensor], Tensor] | None = None
    recomputing: bool = False

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.mean_of_parts is not None:
            return self._whole_batch(x, self.mean_of_parts)
        if self.recomputing and self.running_mean is not None and self.running_var is not None:
            # Copies: this batch has been counted in the running statistics already.
            copies = self.running_mean.clone(), self.running_var.clone()
            return F.batch_norm(x, *copies, self.weight, self.bias, training=True, eps=self.eps)
        if self.training or self.statistics == "running":
            return super().forward(x)
        if self.given is not None:
            return F.batch_norm(x, *self.given(x), self.weight, self.bias, eps=self.eps)
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)

    def _whole_batch(self, x: Tensor, mean_of_parts: Callable[[Tensor], Tensor]) -> Tensor:
        """What one process would compute from all parts; the gradient crosses over as well."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None and self.num_batches_tracked is not None
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float()
            mean = mean_of_parts(wide.mean((0, 2, 3)))
            centred = wide - mean[:, None, None]
            # From the centred values: E[x^2] - E[x]^2 would lose digits.
            var = mean_of_parts(centred.square().mean((0, 2, 3)))
            scale = self.weight * (var + self.eps).rsqrt()
            y = centred * scale[:, None, None] + self.bias[:, None, None]
        if self.recomputing:  # this batch has been counted in the running statistics already
            return y.to(x.dtype)
        n = self.parts * x.numel() // x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * n / (n - 1), self.momentum)
            self.num_batches_tracked += 1
        return y.to(x.dtype)


@contextlib.contextmanager
def statistics_given(net: nn.Module, given: GivenStatistics) -> Iterator[None]:
    """Within it, the norms of `net` that would use each picture's own statistics (outside
    training) call `given` with their input, in the order of execution, and use the mean and the
    variance, (C,) each, that it returns. An exception that it raises ends the pass there."""
    norms = [m for m in net.modules() if isinstance(m, (InstanceNorm, BatchNorm))]
    for norm in norms:
        norm.given = given
    try:
        yield
    finally:
        for norm in norms:
            norm.given = None


def norm_layer(norm: Norm, channels: int, affine: bool = False) -> nn.Module:
    """Return the normalisation `norm` for `channels`; `affine` concerns instance norm only."""
    if norm == "instance":
        return InstanceNorm(channels, affine)
    if norm == "batch":
        return BatchNorm(channels)
    return nn.Identity()


def set_norm_statistics(net: nn.Module, statistics: NormStatistics) -> None:
    """Choose, for every BatchNorm of `net`, the statistics used outside training."""
    for module in net.modules():
        if isinstance(module, BatchNorm):
            module.statistics = statistics


def share_statistics(net: nn.Module, mean_of_parts: Callable[[Tensor], Tensor], parts: int) -> None:
    """Let every BatchNorm of `net` normalise by the whole batch in training, of which `parts`
    processes see equal parts. `mean_of_parts` averages a tensor over them and can be differentiated
    (torch's SyncBatchNorm does the same, but not on the CPU, nor twice)."""
    for module in net.modules():
        if isinstance(module, BatchNorm):
            module.mean_of_parts, module.parts = mean_of_parts, parts


def recomputed(part: nn.Module, x: Tensor) -> Tensor:
    """`part(x)`, keeping only `x` and computing the inside once more in the backward pass
    (arXiv 1604.06174, sec. 4.1). The same values, gradients and running statistics; dropout draws
    the same numbers again."""
    norms = [module for module in part.modules() if isinstance(module, BatchNorm)]

    @contextlib.contextmanager
    def again() -> Iterator[None]:
        for norm in norms:
            norm.recomputing = True
        try:
            yield
        finally:
            for norm in norms:
                norm.recomputing = False

    return checkpoint(
        part, x, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), again())
    )


class ReflectPad(nn.Module):
    """Pad all four sides by `size` pixels by reflection without repeating the edge."""

    mode = "reflect"

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        p = self.size
        return F.pad(x, (p, p, p, p), mode=self.mode)


class ReplicatePad(ReflectPad):
    """Pad all four sides by `size` pixels by repeating the edge."""

    mode = "replicate"


def refuse_forgotten_domain(what: str, domains: int, norm: Norm, padding: Padding) -> None:
    """Raise ValueError where the domain planes of a network, called `what`, would be lost: a
    constant plane padded by reflection stays constant, and instance norm subtracts it."""
    if domains and padding == "reflect" and norm == "instance":
        raise ValueError(
            f"a {what} with domains, instance norm and reflection padding loses its domain; "
            "use padding=zero"
        )


def padded_conv(
    cin: int, cout: int, kernel: int, padding: BlockPadding, bias: bool
) -> list[nn.Module]:
    """A stride-1 convolution that keeps H and W, padded by reflection, repetition or zeros."""
    if padding != "zero":
        pad = ReflectPad if padding == "reflect" else ReplicatePad
        return [pad(kernel // 2), nn.Conv2d(cin, cout, kernel, bias=bias)]
    return [nn.Conv2d(cin, cout, kernel, padding=kernel // 2, bias=bias)]


def upsample_conv(
    cin: int, cout: int, upsample: Upsample, kernel: int, bias: bool, padding: Padding
) -> list[nn.Module]:
    """Double H and W: a transposed convolution (kernel 3 or 4), nearest resize and a 3x3
    convolution with `padding` (Odena et al., "Deconvolution and Checkerboard Artifacts", 2016), or
    an antialiased doubling and a 3x3 convolution with zeros around (`nets.antialias`)."""
    if upsample == "blurred":
        return [BlurUp(cin), *padded_conv(cin, cout, 3, "zero", bias)]
    if upsample == "resize":
        return [nn.Upsample(scale_factor=2.0), *padded_conv(cin, cout, 3, padding, bias)]
    extra = 1 if kernel == 3 else 0
    return [
        nn.ConvTranspose2d(cin, cout, kernel, stride=2, padding=1, output_padding=extra, bias=bias)
    ]


class SelfAttention(nn.Module):
    """x + gamma * o(x): every place looks at all others (SAGAN, arXiv 1805.08318, sec. 3).

    Float (N, C, H, W) -> the same shape. As in the paper queries, keys and values all have C/8
    channels (at least 1), the four maps are 1x1 convolutions without bias, scores are not scaled,
    and gamma starts at 0, so that a fresh block changes nothing.

    Args:
        channels: C.
        second_order: compute so that gradients of gradients exist, which a gradient penalty needs
            and PyTorch's fused attention lacks. It keeps an (H*W)^2 matrix for each picture; the
            fused one does not.
    """

    def __init__(self, channels: int, second_order: bool = False):
        super().__init__()
        inner = max(channels // 8, 1)
        self.second_order = second_order
        self.query = nn.Conv2d(channels, inner, 1, bias=False)
        self.key = nn.Conv2d(channels, inner, 1, bias=False)
        self.value = nn.Conv2d(channels, inner, 1, bias=False)
        self.out = nn.Conv2d(inner, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (_places(conv(x)) for conv in (self.query, self.key, self.value))
        if self.second_order:
            seen = torch.softmax(q @ k.transpose(2, 3), 3) @ v
        else:
            seen = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        seen = seen.squeeze(1).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.gamma * self.out(seen)


def _places(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 1, H*W, C): one head, a row for each place."""
    # Strided rows would send PyTorch to the path that keeps the whole matrix.
    return x.flatten(2).transpose(1, 2).contiguous().unsqueeze(1)


def mirror_to(x: Tensor, height: int, width: int) -> Tensor:
    """Extend (N, C, H, W) at the bottom and the right to (height, width) by reflection.

    Works for any extension, also when it is longer than the picture (the reflection repeats) and
    for one-pixel sides (the pixel repeats). Exportable: no branch depends on the size.
    """
    for dim, size in ((2, height), (3, width)):
        n = x.shape[dim]
        index = torch.arange(size, device=x.device)
        # A tensor, since the ONNX exporter does not take a symbolic number as a divisor.
        period = torch.full((1,), torch.sym_max(2 * n - 2, 1), dtype=index.dtype, device=x.device)
        index = torch.remainder(index, period)
        x = x.index_select(dim, torch.minimum(index, period - index))
    return x


def round_up(size: int, multiple_of: int, minimum: int) -> int:
    """The least size that is >= `size` and `minimum` and a multiple of `multiple_of`."""
    size = torch.sym_max(size, minimum)
    return (size + multiple_of - 1) // multiple_of * multiple_of


Init = Literal["normal", "xavier", "kaiming", "orthogonal", "default"]


class Started(Protocol):
    """Settings of a network that say how it starts."""

    norm: Norm
    init: Init
    init_gain: float

    @property
    def model_fields_set(self) -> set[str]: ...


def initialise_generator(
    net: nn.Module, config: Started, seconds: Sequence[nn.Conv2d], last: nn.Module
) -> None:
    """Initialise in place as `config` says. A chain without norms shrinks what passes through it at
    every layer: where `config` says neither `init` nor `init_gain`, its convolutions start as
    Kaiming's (arXiv 1502.01852), `seconds`, the second ones of residual blocks, and the `last` one
    at a tenth of that."""
    if config.norm != "none" or {"init", "init_gain"} & config.model_fields_set:
        initialise(net, config.init, config.init_gain)
        return
    initialise(net, "kaiming")
    for conv in (*seconds, last):
        assert isinstance(conv.weight, Tensor)
        conv.weight.data.mul_(0.1)


def initialise(net: nn.Module, init: Init = "normal", gain: float = 0.02) -> None:
    """Initialise in place as the reference implementations do.

    Convolutions N(0, gain) (or as `init` says), biases 0, BatchNorm weights N(1, gain) and biases
    0. `default` leaves PyTorch's own initialisation (StarGAN). Source: arXiv 1611.07004, 6.2.
    """
    if init == "default":
        return
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            if init == "normal":
                nn.init.normal_(module.weight, 0.0, gain)
            elif init == "xavier":
                nn.init.xavier_normal_(module.weight, gain=gain)
            elif init == "kaiming":
                nn.init.kaiming_normal_(module.weight, a=0, mode="fan_in")
            else:
                nn.init.orthogonal_(module.weight, gain=gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, gain)
            nn.init.zeros_(module.bias)
