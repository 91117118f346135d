"""How the routes are described in the OpenAPI document and on its page."""

from __future__ import annotations

from typing import Any

from img2img.server.service import OPTIONS
from img2img.server.uploads import FIELD

DESCRIPTION = "Translates pictures. Where the server has a token, send Authorization: Bearer TOKEN."
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_DETAIL = {
    "application/json": {"schema": {"type": "object", "properties": {"detail": {"type": "string"}}}}
}
_OPTIONS = {name: {"type": "string", "description": text} for name, text in OPTIONS.items()}
_ERRORS = {
    400: "an unknown option, model or domain, or no picture",
    401: "the token is missing or wrong",
    403: "cross-origin request refused",
    408: "the request was sent too slowly",
    413: "the request is too long",
    415: "not a picture of a known format",
    421: "the Host header is not one of the server's names",
    422: "the picture is damaged or too large",
    503: "the queue is full: try again after Retry-After seconds",
}


def _refusals() -> dict[int | str, dict[str, Any]]:
    return {code: {"description": text, "content": _DETAIL} for code, text in _ERRORS.items()}


TRANSLATE: dict[str, Any] = {
    "summary": "Translate a picture, or several",
    "description": (
        "One picture, as the body or as multipart/form-data: the translated file, in the same "
        "format and size, with its metadata. Several: a ZIP archive, or multipart/mixed where "
        "Accept asks for it; those that failed are listed in its part failed.json, and "
        "X-Img2img-Failed says how many. Options are query parameters or fields of the form."
    ),
    "responses": {
        200: {
            "description": "the translated picture, or several",
            "content": {"image/*": _BINARY, "application/zip": _BINARY, "multipart/mixed": _BINARY},
        },
        **_refusals(),
    },
    "openapi_extra": {
        "parameters": [
            {"name": name, "in": "query", "required": False,
             "schema": {"type": "string"}, "description": text}
            for name, text in OPTIONS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": [FIELD],
                        "properties": {
                            FIELD: {
                                "type": "array",
                                "items": {"type": "string", "format": "binary"},
                            },
                            **_OPTIONS,
                        },
                    }
                },
                "image/*": _BINARY,
            },
        },
    },
}  # fmt: skip
MODELS: dict[str, Any] = {
    "summary": "The models",
    "description": "The served models, the default first, with their domains.",
}
HEALTH: dict[str, Any] = {
    "summary": "Whether the server is working",
    "description": "Needs no token.",
}
METRICS: dict[str, Any] = {"summary": "Counters for Prometheus"}
