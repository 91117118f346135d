"""How far the nodes of an ONNX graph look, and how much memory their tensors take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from img2img.onnx_format.elements import Node, Tensor
from img2img.receptive_field import Seen, UnknownReach, widest

_POINTWISE = frozenset(
    {
        "Abs", "Add", "BatchNormalization", "Cast", "CastLike", "Celu", "Clip", "Concat",
        "DequantizeLinear", "Div", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid",
        "HardSwish", "Identity", "InstanceNormalization", "LeakyRelu", "Max", "Min", "Mish", "Mul",
        "Neg", "PRelu", "Pow", "QuantizeLinear", "Relu", "Round", "Selu", "Sigmoid", "Sign",
        "Softplus", "Softsign", "Sqrt", "Sub", "Tanh", "ThresholdedRelu", "Where",
    }
)  # fmt: skip
_IN_PLACE = _POINTWISE - {"Concat", "InstanceNormalization", "BatchNormalization"}
_TAPS = {"nearest": 1, "linear": 2, "cubic": 3}
# Nearest scaling that repeats pixels: what the coordinates and the rounding must be.
_REPEATS = ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")


@dataclass(frozen=True)
class Followed:
    """What a tensor sees of the picture, and its number of channels."""

    seen: Seen
    channels: int


@dataclass(frozen=True)
class Look:
    """Follows the `nodes` of a graph, in the order of execution, whose `constants` are given.

    Raises UnknownReach for an operation that is not local or not known to be,
    LookupError where a name is read that nothing makes, ValueError for a damaged constant.
    """

    nodes: Sequence[Node]
    constants: Mapping[str, Tensor]

    def through(
        self, nodes: Sequence[Node], picture: str, start: Mapping[str, Followed]
    ) -> dict[str, Followed]:
        """What every tensor that depends on `picture`, or on the maps in `start`, sees of them."""
        found = {picture: Followed(Seen(), self._channels()), **start}
        for node in nodes:
            inputs = [found[name] for name in node.inputs if name in found]
            if inputs and node.op != "Shape":
                after = self._node(node, inputs)
                found |= {name: after for name in node.outputs if name}
        return found

    def is_constant(self, name: str) -> bool:
        """Whether the tensor is part of the file."""
        return name in self.constants or any(
            node.op == "Constant" and name in node.outputs for node in self.nodes
        )

    def _channels(self) -> int:
        """Of the picture: what the first convolution takes."""
        first = next((node for node in self.nodes if node.op == "Conv"), None)
        return 3 if first is None else self._weight_sizes(first)[1]

    def _weight_sizes(self, node: Node) -> tuple[int, ...]:
        """Of the weights of a convolution; quantised ones are widened by a node."""
        name = node.inputs[1]
        for other in self.nodes:
            if name in other.outputs and other.op in ("DequantizeLinear", "Cast"):
                name = other.inputs[0]
        if name not in self.constants:
            raise UnknownReach(f"the weights of a {node.op} are computed")
        sizes = self.constants[name].dims
        if len(sizes) != 4 or sizes[2] != sizes[3]:
            raise UnknownReach(f"a {node.op} that is not square")
        return sizes

    def _constant(self, name: str) -> Tensor:
        if name in self.constants:
            return self.constants[name]
        for node in self.nodes:
            if node.op == "Constant" and name in node.outputs and "value" in node.attributes:
                tensor = node.attributes["value"].tensor
                if tensor is not None:
                    return tensor
        raise UnknownReach(f"{name} is computed")

    def _node(self, node: Node, inputs: Sequence[Followed]) -> Followed:
        first = inputs[0]
        if node.op in _POINTWISE:
            if len({x.seen.shrink for x in inputs}) > 1:
                raise UnknownReach(f"a {node.op} joins maps of different sizes")
            if node.op == "Concat" and node.numbers("axis") not in ([1], [-3]):
                raise UnknownReach("a Concat joins something other than channels")
            wide = sum(x.channels for x in inputs) if node.op == "Concat" else first.channels
            return Followed(widest(*(x.seen for x in inputs)), wide)
        if node.op == "Pad":
            return Followed(self._padded(node, first.seen), first.channels)
        if node.op == "Conv":
            sizes = self._weight_sizes(node)
            return Followed(first.seen.windowed(sizes[2], *_square(node)), sizes[0])
        if node.op == "ConvTranspose":
            sizes = self._weight_sizes(node)
            wide = sizes[1] * (node.numbers("group") or [1])[0]
            return Followed(first.seen.transposed(sizes[2], *_square(node)), wide)
        if node.op in ("AveragePool", "MaxPool"):
            kernel = node.numbers("kernel_shape")
            if len({*kernel}) != 1 or any(node.numbers("ceil_mode")):
                raise UnknownReach(f"a {node.op} that is not the same on both axes")
            return Followed(first.seen.windowed(kernel[0], *_square(node)), first.channels)
        if node.op == "Resize":
            return Followed(self._resized(node, first.seen), first.channels)
        if node.op == "Slice":
            return Followed(first.seen, self._sliced(node, first.channels))
        if node.op == "DepthToSpace":
            factor = node.numbers("blocksize")[0]
            return Followed(first.seen.enlarged(factor), first.channels // factor**2)
        raise UnknownReach(f"its {node.op} may look at the whole picture")

    def _padded(self, node: Node, seen: Seen) -> Seen:
        pads = node.numbers("pads")
        if len(node.inputs) > 1:
            pads = self._constant(node.inputs[1]).integers()
        if len(pads) != 8 or any(pads[k] for k in (0, 1, 4, 5)) or pads[2] != pads[3]:
            raise UnknownReach("a Pad that is not the same on both axes")
        return seen.padded(pads[2])

    def _sliced(self, node: Node, channels: int) -> int:
        """The number of channels that a Slice leaves."""
        given = [self._constant(name).integers() for name in node.inputs[1:] if name]
        if len(given) < 3 or given[2] not in ([1], [-3]) or (given[3:] or [[1]]) != [[1]]:
            raise UnknownReach("a Slice of something other than channels")
        return len(range(channels)[given[0][0] : given[1][0]])

    def _resized(self, node: Node, seen: Seen) -> Seen:
        given = len(node.inputs) == 3 and node.inputs[2]
        scales = self._constant(node.inputs[2]).floats() if given else []
        if len(scales) != 4 or scales[:2] != [1, 1] or scales[2] != scales[3]:
            raise UnknownReach("a Resize to sizes that are computed")
        mode = node.word("mode", "nearest")
        how = node.word("coordinate_transformation_mode", "half_pixel")
        rounding = node.word("nearest_mode", "round_prefer_floor")
        if mode == "nearest" and scales[2] >= 1 and (how, rounding) in _REPEATS:
            return seen.enlarged(scales[2])
        if mode not in _TAPS:
            raise UnknownReach(f"a Resize of mode {mode}")
        return seen.interpolated(scales[2], _TAPS[mode])


def bytes_per_pixel(
    nodes: Sequence[Node], followed: Mapping[str, Followed], picture: str, result: str
) -> float:
    """Bytes for each pixel where most tensors live at once, each from the node that makes it to
    the last that reads it."""
    left = Counter(name for node in nodes for name in node.inputs if name in followed)
    left[result] += 1
    size = {name: 4.0 * x.channels / float(x.seen.shrink) ** 2 for name, x in followed.items()}
    live = peak = size[picture]
    for node in nodes:
        made = [name for name in node.outputs if name in size]
        read = [name for name in node.inputs if name in size]
        if not made:
            continue
        reused = node.op in _IN_PLACE and bool(read) and left[read[0]] == 1
        live += sum(size[name] for name in made)
        peak = max(peak, live - (size[read[0]] if reused else 0))
        for name in read:
            left[name] -= 1
            if left[name] == 0:
                live -= size[name]
    return peak


def _square(node: Node) -> tuple[int, int, int]:
    """Stride, padding in front, dilation; the same along both sides."""
    if node.word("auto_pad", "NOTSET") != "NOTSET":
        raise UnknownReach(f"a {node.op} that pads by itself")
    found = []
    for name, otherwise in (("strides", 1), ("pads", 0), ("dilations", 1)):
        values = node.numbers(name)[:2] or [otherwise]
        if len({*values}) != 1 or not 0 <= values[0] <= 4096:
            raise UnknownReach(f"a {node.op} that is not the same on both axes")
        found.append(values[0])
    return found[0], found[1], found[2]
