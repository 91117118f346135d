"""What one step is, for each method. `METHODS` is the table.

A method is imported when it is first asked for: the command line lists their names without torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING

from img2img.errors import ConfigError, proposal

if TYPE_CHECKING:
    from img2img.methods.base import Method
    from img2img.methods.cut import CUT, CUTConfig
    from img2img.methods.cyclegan import CycleGAN, CycleGANConfig
    from img2img.methods.pix2pix import Pix2Pix, Pix2PixConfig
    from img2img.methods.stargan import StarGAN, StarGANConfig
    from img2img.methods.stylize import Stylize, StylizeConfig


class _Methods(MutableMapping[str, "type[Method]"]):
    """Methods by their names, each given as its class or as the name that its class has in the
    module of this package that is called as the method is."""

    def __init__(self, classes: dict[str, str | type[Method]]) -> None:
        self._classes = classes

    def __getitem__(self, name: str) -> type[Method]:
        found = self._classes[name]
        if isinstance(found, str):
            module = importlib.import_module(f"img2img.methods.{name}")
            found = self._classes[name] = getattr(module, found)
        return found

    def __setitem__(self, name: str, found: str | type[Method]) -> None:
        self._classes[name] = found

    def __delitem__(self, name: str) -> None:
        del self._classes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


METHODS = _Methods(
    {
        "pix2pix": "Pix2Pix",
        "cyclegan": "CycleGAN",
        "cut": "CUT",
        "stargan": "StarGAN",
        "stylize": "Stylize",
    }
)


def method_named(name: str) -> type[Method]:
    """The method of that name. Raises ConfigError for another, with the nearest known one."""
    if name not in METHODS:
        raise ConfigError(f"unknown method '{name}'.{proposal(name, METHODS)}")
    return METHODS[name]


# Name -> module of this package
_HOMES = {
    "CUT": "cut",
    "CUTConfig": "cut",
    "CycleGAN": "cyclegan",
    "CycleGANConfig": "cyclegan",
    "Method": "base",
    "Pix2Pix": "pix2pix",
    "Pix2PixConfig": "pix2pix",
    "StarGAN": "stargan",
    "StarGANConfig": "stargan",
    "Stylize": "stylize",
    "StylizeConfig": "stylize",
}

__all__ = [
    "CUT",
    "METHODS",
    "CUTConfig",
    "CycleGAN",
    "CycleGANConfig",
    "Method",
    "Pix2Pix",
    "Pix2PixConfig",
    "StarGAN",
    "StarGANConfig",
    "Stylize",
    "StylizeConfig",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"img2img.methods.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'img2img.methods' has no attribute '{name}'")
