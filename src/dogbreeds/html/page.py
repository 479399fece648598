"""One self-contained HTML document out of a body, a script and the data that it shows.

What a page may do is written into it as a Content-Security-Policy: it loads nothing from anywhere,
and runs no script and no style but those given here, which the policy names by their hashes. So a
hostile file or class name that slipped through an `escape` would still be only text.
"""

import base64
import hashlib
import html
import json
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from dogbreeds.system.files import atomic_write


def asset(name: str, package: str = __name__.rpartition(".")[0]) -> str:
    """Return the text of a packaged ``.html``, ``.css`` or ``.js`` file.

    Args:
        name: The file's name.
        package: The package that it lies in.
    """
    return (resources.files(package) / name).read_text(encoding="utf-8")


def escape(text: object) -> str:
    """Return a text for use between tags or in a quoted attribute.

    Bytes of file names that are not UTF-8, which Python keeps as lone surrogates, become "?".
    """
    return html.escape(str(text).encode("utf-8", "replace").decode())


def page(
    title: str,
    body: str,
    *,
    css: str = "",
    script: str = "",
    data: object = None,
    policy: Mapping[str, str] | None = None,
) -> str:
    """Make a page in the project's style: see ``page.css`` for the classes a body can use.

    Tables of class ``sortable`` are sorted by a click on their column headers, by the cells'
    ``data-value`` where they have one.

    Args:
        title: Plain text.
        body: HTML, in which all that comes from outside has passed `escape`; it may have no
            ``style`` and ``on...`` attributes, which the policy forbids.
        css: Style beyond the project's.
        script: An ES module that is run when the body is there.
        data: JSON-ready value for the script, in the element ``#data``; NaN and infinity, which
            JSON does not know, become null.
        policy: Content-Security-Policy directives beyond the usual, e.g.
            ``{"connect-src": "'self'"}``.

    Returns:
        The document, to be written as UTF-8.
    """
    style = asset("page.css") + css
    code = asset("page.js") + script
    directives = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash(style),
        "script-src": _hash(code),
        "base-uri": "'none'",
        "form-action": "'none'",
        **(policy or {}),
    }
    return Template(asset("page.html")).substitute(
        policy=escape("; ".join(f"{name} {value}" for name, value in directives.items())),
        title=escape(title),
        style=style,
        body=body,
        data=_embedded(data),
        script=code,
    )


def write_page(path: Path, document: str) -> None:
    """Write what `page` gave, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    with atomic_write(path) as partial:
        partial.write_text(document, encoding="utf-8", errors="backslashreplace")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _embedded(value: object) -> str:
    """Return JSON that cannot end the script element it stands in; all of it is ASCII."""
    text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _finite(value: Any) -> Any:  # noqa: ANN401  (any JSON)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value
