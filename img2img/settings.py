"""`Settings`: frozen and validated; its errors name the setting and propose what is known."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from img2img.errors import ConfigError, proposal


class Settings(BaseModel):
    """Base of all settings. Frozen; an unknown name is refused.

    Raises:
        ConfigError: from `parse`, in one line, for an unknown name or an impossible value.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "") -> Self:
        """Validate `values`. `where` prefixes setting names in messages (e.g. `generator.`)."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(_one_line(cls, error, where)) from None


@dataclass(frozen=True)
class SettingHelp:
    """One setting in words: its type, default, range (may be empty) and meaning."""

    name: str
    type: str
    default: str
    range: str
    meaning: str


def described(
    settings: type[Settings],
    defaults: Mapping[str, Any] | None = None,
    leave_out: Collection[str] = (),
) -> list[SettingHelp]:
    """Every setting of a class but `leave_out`, in order; `defaults` replace those of the class."""
    rows = []
    for name, field in settings.model_fields.items():
        if name in leave_out:
            continue
        default = field.get_default(call_default_factory=True)
        if defaults and name in defaults:
            default = defaults[name]
        rows.append(
            SettingHelp(
                name,
                _type(field.annotation),
                _written(default),
                _range(field.metadata),
                _meaning(settings, name),
            )
        )
    return rows


def _meaning(settings: type[Settings], name: str) -> str:
    """The description of a setting, or that of the class in which another default replaced it."""
    fields = (
        base.model_fields.get(name) for base in settings.__mro__ if issubclass(base, Settings)
    )
    return next((field.description for field in fields if field and field.description), "")


_TYPES: dict[object, str] = {
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "text",
    Path: "path",
}


def _type(annotation: object) -> str:
    """A type in words; None in a union means that the setting may be absent."""
    kinds = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(map(str, kinds))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(_type(kind) for kind in kinds if kind is not type(None))
    if typing.get_origin(annotation) is tuple:
        return "list"
    if typing.get_origin(annotation) is dict:
        return "table"
    return _TYPES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _range(metadata: Collection[object]) -> str:
    signs = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
    limits = [
        f"{sign} {value:g}"
        for item in metadata
        for name, sign in signs
        if (value := getattr(item, name, None)) is not None
    ]
    return ", ".join(limits)


def _written(default: object) -> str:
    if default is None or default == "":
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, (tuple, list)):
        return "[" + ", ".join(map(_written, default)) + "]"
    return str(default)


def _one_line(cls: type[BaseModel], error: ValidationError, where: str) -> str:
    parts = []
    for item in error.errors():
        name = ".".join(str(p) for p in item["loc"])
        if item["type"] == "extra_forbidden":
            parts.append(f"unknown setting '{where}{name}'.{proposal(name, cls.model_fields)}")
        elif item["type"] == "value_error":
            message = item["msg"].removeprefix("Value error, ")
            parts.append(f"{where}{name}: {message}" if name else message)
        else:
            parts.append(f"{where}{name}: {item['msg']} (given: {item['input']!r})")
    return "; ".join(parts)
