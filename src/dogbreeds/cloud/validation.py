"""Validation of requests by AWS's service models: enums, patterns and limits, before sending.

botocore itself checks only names, types and lower limits; its models hold the rest.
"""

import difflib
import functools
import re
from collections.abc import Iterator
from typing import Any


def problems(shape: Any, value: Any, path: str, *, enums: bool = True) -> Iterator[str]:  # noqa: ANN401
    """Yield what a service would refuse in a value, by botocore's model of it.

    Enums can be left out: a service may support values (new instance types) that an older botocore
    does not know. `path` locates the value, e.g. ``CreateEndpointConfig.ProductionVariants``.
    """
    kind, low, high = shape.type_name, shape.metadata.get("min", 0), shape.metadata.get("max")
    sized = kind in ("list", "map", "string")
    if sized or kind in ("integer", "long", "float", "double"):
        size = len(value) if sized else value
        if not getattr(shape, "enum", None) and not low <= size <= (size if high is None else high):
            unit = {"string": " characters", "list": " entries", "map": " entries"}.get(kind, "")
            limits = f"at least {low}" if high is None else f"{low} to {high}"
            yield f"{path}: expected {limits}{unit}, got {f'{size}: ' * sized}{value!r:.80}"
    if kind == "structure":
        for name in value.keys() & shape.members.keys():
            yield from problems(shape.members[name], value[name], f"{path}.{name}", enums=enums)
    elif kind == "list":
        for number, item in enumerate(value):
            yield from problems(shape.member, item, f"{path}[{number}]", enums=enums)
    elif kind == "map":
        for name, item in value.items():
            yield from problems(shape.value, item, f"{path}[{name}]", enums=enums)
    elif kind == "string" and shape.enum:
        if enums and value not in shape.enum:
            near = difflib.get_close_matches(value, shape.enum, n=3) or shape.enum[:8]
            yield f"{path}: {value!r} is not offered there (did you mean {' or '.join(near)}?)"
    elif kind == "string":
        pattern = _compile(shape.metadata.get("pattern", ""))
        if pattern and not pattern.fullmatch(value):
            name = pattern.pattern.lstrip("^").startswith("[a-zA-Z0-9](-*[a-zA-Z0-9])")
            like = "letters, digits and single - between them" if name else pattern.pattern
            yield f"{path}: expected {like}, got {value!r}"


@functools.cache
def _compile(pattern: str) -> re.Pattern[str] | None:
    """Compile a pattern of a service model, which is written for Java; None where Python cannot."""
    for java, python in ((r"\p{L}", r"\w"), (r"\p{Z}", r"\s"), (r"\p{N}", r"\d")):
        pattern = pattern.replace(java, python)
    try:
        return re.compile(pattern) if pattern else None
    except re.error:
        return None
