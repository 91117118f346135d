"""`Settings`: frozen and validated; its errors name the setting and propose what is known."""

from __future__ import annotations

from collections.abc import Mapping
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
