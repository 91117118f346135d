"""What self-contained HTML pages share: parts in `assets`, marks to fill, a policy, shown names."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from pathlib import Path

_ASSETS = Path(__file__).resolve().parent / "assets"
# Controls, lone surrogates, line separators, and what turns the direction of writing.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def asset(name: str) -> str:
    """The text of a file in `img2img/system/assets`."""
    return (_ASSETS / name).read_text(encoding="utf-8")


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with each `{{name}}` replaced by its value; marks without a value stay."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values.get(match[1], match[0]), template)


def head(title: str, style: str, script: str = "") -> str:
    """The beginning of a self-contained page up to its body, for the mark `{{head}}` of a template
    that ends with `script`. `title` is escaped."""
    values = {"title": title, "style": style, "policy": policy(style, script)}
    return fill(asset("head.html"), values)


def scrolled(label: str) -> str:
    """The opening tag of a `div` that scrolls sideways where its table is too wide for the screen,
    named `label` for assistive programs and reached by the keyboard."""
    return f"<div class='wide' role='region' tabindex='0' aria-label='{html.escape(label)}'>"


def policy(style: str, script: str) -> str:
    """A Content-Security-Policy under which a page has no network: it shows `data:` pictures, and
    has this `style` and this `script` (the texts of its elements) and no other."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hashed(style)}'; "
        f"script-src '{_hashed(script)}'; base-uri 'none'; form-action 'none'"
    )


def shown_name(name: str) -> str:
    """`name` for people: what would be invisible, or turn the direction of writing, as an escape
    (`\\n`, `\\u202e`); a byte of a name that is not UTF-8 as `\\xff`."""

    def escaped(match: re.Match[str]) -> str:
        code = ord(match[0])
        if 0xDC80 <= code <= 0xDCFF:
            return f"\\x{code - 0xDC00:02x}"
        return repr(match[0])[1:-1]

    return _HIDDEN.sub(escaped, name)


def shown_text(text: str) -> str:
    """`shown_name`, escaped for HTML."""
    return html.escape(shown_name(text))


def _hashed(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()
