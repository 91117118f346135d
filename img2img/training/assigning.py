"""Settings as a person writes them: a TOML file, and NAME=VALUE."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from img2img.errors import ConfigError, UsageError, describe_os_error
from img2img.training.config import TrainConfig


def read_config(path: Path) -> dict[str, Any]:
    """The values of a TOML file, for `resolve`.

    Raises UsageError where it cannot be read, ConfigError where it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {describe_os_error(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def assigned(values: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """`values` for `resolve` with each of `texts`, NAME=VALUE, put where it belongs. VALUE is a
    TOML value or a bare word. `generator.width=32` reaches an option of the generator,
    `augment.NAME` one of the augmentation, `method.NAME` a setting of the method that the loop has
    too.

    Raises ConfigError for a text without a name or a value.
    """
    new = dict(values)
    settings = dict(values.get("settings", {}))
    own = TrainConfig.model_fields.keys() - {"settings"}
    for text in texts:
        _assign(text, new, settings, own)
    return new | {"settings": settings}


def _assign(text: str, values: dict[str, Any], settings: dict[str, Any], own: set[str]) -> None:
    """`NAME=VALUE` with a TOML value or a bare word; `generator.width=32` reaches an option of
    the generator, `method.NAME` a setting of the method that the loop has too."""
    name, equals, written = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise ConfigError(f"setting {text}: needs NAME=VALUE")
    try:
        value = tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        value = written.strip()
    if name in own:
        values[name] = value
        return
    part, dot, option = name.partition(".")
    if dot and part == "method":  # for a setting of the method that the loop has by the same name
        settings[option] = value
    elif dot and part == "augment":
        values["augment"] = values.get("augment", {}) | {option: value}
    elif dot:
        settings[f"{part}_options"] = settings.get(f"{part}_options", {}) | {option: value}
    else:
        settings[name] = value
