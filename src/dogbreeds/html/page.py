"""One self-contained HTML document from a body, a script and the data that it shows.

Each page contains a Content-Security-Policy: it loads nothing, and runs only the script and style
given here, which the policy names by their hashes. So a hostile file or class name that was not
passed through `escape` would still be plain text.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

from dogbreeds.system.files import atomic_write


def asset(name: str, package: str = __name__.rpartition(".")[0]) -> str:
    """Return the text of a ``.html``, ``.css`` or ``.js`` file in a package."""
    return (resources.files(package) / name).read_text(encoding="utf-8")


def escape(text: object) -> str:
    """Escape a text for use between tags or in a quoted attribute.

    Bytes of file names that are not UTF-8, which Python keeps as lone surrogates, become "?".
    """
    return html.escape(str(text).encode("utf-8", "replace").decode())


def page(
    title: str, body: str, *, css: str = "", script: str = "", data: object = None,
    policy: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """Return a page in the project's style: see ``page.css`` for the classes a body can use.

    A click on a column header of a table of class ``sortable`` sorts it, by the cells'
    ``data-value`` where they have one. The document is to be written as UTF-8.

    All outside text in `body`, which is HTML, has passed `escape`; the policy forbids ``style`` and
    ``on...`` attributes. `script` is an ES module that runs when the body is loaded; `data`, a
    JSON-ready value for it, is in the element ``#data``, with null for NaN and infinity. `policy`
    has more Content-Security-Policy directives, e.g. ``{"connect-src": "'self'"}``.
    """
    style, code = asset("page.css") + css, asset("page.js") + script
    directives = {
        "default-src": "'none'", "base-uri": "'none'", "form-action": "'none'",
        "img-src": "data:", "style-src": _hash(style), "script-src": _hash(code), **(policy or {}),
    }  # fmt: skip
    return Template(asset("page.html")).substitute(
        policy=escape("; ".join(f"{name} {value}" for name, value in directives.items())),
        title=escape(title), style=style, body=body, data=_embedded(data), script=code,
    )  # fmt: skip


def write_page(path: Path, document: str) -> None:
    """Write a document of `page` atomically; OSError if that fails."""
    with atomic_write(path) as partial:
        partial.write_text(document, encoding="utf-8", errors="backslashreplace")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _embedded(value: object) -> str:
    """Return ASCII JSON that cannot end the script element around it."""
    finite = json.loads(json.dumps(value), parse_constant=lambda name: None)  # NaN, Infinity
    return json.dumps(finite, separators=(",", ":")).replace("<", "\\u003c")
