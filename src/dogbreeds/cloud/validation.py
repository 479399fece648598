"""Requests against AWS's own service models: enums, patterns and limits, before anything is sent.

botocore itself checks names, types and lower limits only; its models hold the rest.
"""

import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any


def problems(shape: Any, value: Any, path: str, *, enums: bool = True) -> Iterator[str]:  # noqa: ANN401
    """Yield what a service would refuse in a value.

    Args:
        shape: botocore's description of what is expected.
        value: What would be sent: dicts, lists, strings and numbers.
        path: Where the value is, e.g. ``CreateEndpointConfig.ProductionVariants``.
        enums: Whether words must be known. A service may know more of them (new instance types)
            than an older botocore.
    """
    kind = shape.type_name
    if kind == "structure":
        for name, member in value.items():
            if name in shape.members:  # botocore refuses the others
                yield from problems(shape.members[name], member, f"{path}.{name}", enums=enums)
    elif kind in ("list", "map"):
        yield from _out_of_range(shape, len(value), path, "entries", value)
        for name, item in value.items() if kind == "map" else enumerate(value):
            member = shape.value if kind == "map" else shape.member
            yield from problems(member, item, f"{path}[{name}]", enums=enums)
    elif kind == "string":
        if enums and shape.enum and value not in shape.enum:
            near = difflib.get_close_matches(value, shape.enum, n=3)
            known = f"did you mean {' or '.join(near)}?" if near else f"known: {_some(shape.enum)}"
            yield f"{path}: {value!r} is not offered there ({known})"
        if not shape.enum:
            yield from _out_of_range(shape, len(value), path, "characters", value)
            pattern = shape.metadata.get("pattern", "")
            if (compiled := _compile(pattern)) and not compiled.fullmatch(value):
                yield f"{path}: expected {_in_words(pattern)}, got {value!r}"
    elif kind in ("integer", "long", "float", "double"):
        yield from _out_of_range(shape, value, path, "", value)


def _out_of_range(shape: Any, size: float, path: str, unit: str, value: object) -> Iterator[str]:  # noqa: ANN401
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max")
    if size < low or (high is not None and size > high):
        limits = f"{low} to {high}" if high is not None else f"at least {low}"
        got = f"{size}: {value!r:.80}" if unit else str(value)
        yield f"{path}: expected {limits} {unit}".rstrip() + f", got {got}"


def _some(words: list[str]) -> str:
    return ", ".join(words[:8]) + (", ..." if len(words) > 8 else "")


@functools.cache
def _compile(pattern: str) -> re.Pattern[str] | None:
    """Compile a pattern of a service model, which is written for Java; None where Python cannot."""
    for java, python in ((r"\p{L}", r"\w"), (r"\p{Z}", r"\s"), (r"\p{N}", r"\d")):
        pattern = pattern.replace(java, python)
    try:
        return re.compile(pattern) if pattern else None
    except re.error:
        return None


def _in_words(pattern: str) -> str:
    if re.match(r"\^?\[a-zA-Z0-9\]\(-\*\[a-zA-Z0-9\]\)", pattern):
        return "letters, digits and single - between them"
    return f"text like {pattern}"


def check(model: Any, params: Mapping[str, Any], *, enums: bool) -> None:  # noqa: ANN401
    """Refuse the parameters of a call that the service would refuse.

    Args:
        model: botocore's model of the operation.
        params: Its parameters.
        enums: As in `problems`.

    Raises:
        ValueError: With every problem, a line each.
    """
    if found := list(problems(model.input_shape, params, model.name, enums=enums)):
        raise ValueError("\n".join(found))
