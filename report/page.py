"""One HTML file from what it is to show: template, style sheet and script together."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

MARK = '<meta name="generator" content="tlx report">'  # by which a report is known
_FOLDER = files(__package__ or "tlx.report")


def render(content: Mapping[str, Any], data: Mapping[str, Any]) -> bytes:
    """Return the page as UTF-8.

    Every name in it is escaped by the template engine, what the script reads is JSON that cannot
    end its element, and the page's own policy lets neither anything be loaded from elsewhere nor
    any script or style run but the two that are in it.

    Parameters
    ----------
    content : mapping of str
        What the template shows.
    data : mapping of str
        What the script reads, as JSON.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    style, script = _text("page.css"), _text("page.js")
    policy = (
        "default-src 'none'; img-src data:; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        content, mark=MARK, policy=policy, style=style, script=script, data=embedded_json(data)
    )
    return page.encode("utf-8", "backslashreplace")


def embedded_json(value: Any) -> str:
    r"""Return JSON that may stand in a script element: it has no ``<`` and no line separator.

    Examples
    --------
    >>> embedded_json(["</script>"])
    '["\\u003c/script\\u003e"]'
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
