"""The page and that of the API, from parts in `system/assets`; nothing comes from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from img2img._version import __version__
from img2img.server.service import Service
from img2img.system.pages import asset, fill

_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_PARTS = ("look.css", "slider.js", "files.js", "serve.css", "serve.js", "zip.js")


def parts(service: Service) -> dict[str, tuple[str, str]]:
    """The files of the page by name: text and media type."""
    request = service.request
    values = {
        "version": html.escape(__version__),
        "max_bytes": str(request.max_bytes),
        "max_upload": f"{request.max_upload:g}",
    }
    found = {name: (asset(name), _KINDS[name[name.rindex(".") :]]) for name in _PARTS}
    found["index.html"] = (fill(asset("serve.html"), values), "text/html; charset=utf-8")
    return found


def reference(schema: Mapping[str, Any], address: str) -> str:
    """An OpenAPI document as a page for people; `address` stands in its examples."""
    sections = [
        part
        for path, methods in schema["paths"].items()
        for method, row in methods.items()
        for part in _section(f"{method.upper()} {path}", row)
    ]
    values = {
        "version": html.escape(__version__),
        "address": html.escape(address),
        "about": html.escape(schema["info"]["description"]),
        "sections": "\n".join(sections),
    }
    return fill(asset("serve-api.html"), values)


def _section(title: str, row: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section><h2><code>{html.escape(title)}</code></h2>"
    yield f"<p>{html.escape(row.get('description') or row['summary'])}</p>"
    options = [(p["name"], p["description"]) for p in row.get("parameters", [])]
    if options:
        yield _table("Option", options)
    yield _table("Status", [(code, r["description"]) for code, r in row["responses"].items()])
    yield "</section>"


def _table(head: str, rows: list[tuple[str, str]]) -> str:
    cells = "".join(
        f"<tr><th scope=row><code>{html.escape(name)}</code></th><td>{html.escape(text)}</td></tr>"
        for name, text in rows
    )
    top = f"<tr><th scope=col>{head}</th><th scope=col>Meaning</th></tr>"
    return f"<table><thead>{top}</thead><tbody>{cells}</tbody></table>"
