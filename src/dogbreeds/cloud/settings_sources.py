"""Sources of settings: defaults, file, environment, flags; a later one overrides an earlier."""

import dataclasses
import difflib
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dogbreeds.cloud.settings import (
    DEFAULT_FILE,
    ENV_PREFIX,
    FIELDS,
    OTHER_VARIABLES,
    SECTIONS,
    CloudSettings,
    ConfigError,
    environment_name,
)  # fmt: skip

Given = dict[str, tuple[object, str]]
"""Value and source, by the setting's name."""


def load(
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, object] | None = None,
) -> CloudSettings:
    """Read the settings; ConfigError if a key is unknown, a value invalid, or a file missing.

    `file` is by default ``DOGBREEDS_CONFIG``, else `DEFAULT_FILE` where it exists. In `environ`,
    ``DOGBREEDS_AWS_REGION`` sets ``aws.region``, and lists are separated by commas; ``AWS_REGION``
    does too, unless the file names a region. `flags`, by setting name, override the others.
    """
    given: Given = {}
    if region := environ.get("AWS_REGION"):  # boto3 itself reads only AWS_DEFAULT_REGION
        given["aws.region"] = (region, "AWS_REGION")
    if file is None and (name := environ.get("DOGBREEDS_CONFIG")):
        file = Path(name)
    if file is None and DEFAULT_FILE.is_file():
        file = DEFAULT_FILE
    if file is not None:
        given.update(_read_file(file))
    given.update(_read_environment(environ))
    for name, value in (flags or {}).items():
        given[name] = (value, f"--{name.rpartition('.')[2].replace('_', '-')}")

    values: dict[str, dict[str, Any]] = {section: {} for section in (*SECTIONS, "")}
    for name, (value, origin) in given.items():
        section, _, key = name.rpartition(".")
        values[section][key] = _convert(name, value, origin)
    return CloudSettings(
        **{section: kind(**values[section]) for section, kind in SECTIONS.items()},
        **values[""],
        origins={name: origin for name, (_, origin) in given.items()},
    )


def read_settings(pairs: Sequence[str]) -> dict[str, object]:
    """Return settings given as ``SECTION.KEY=VALUE``, for `load`; ConfigError for other texts."""
    given: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--setting: expected SECTION.KEY=VALUE, got {pair!r}")
        if name not in FIELDS:
            raise ConfigError(f"--setting: unknown setting {name}{_nearest(name, FIELDS)}")
        given[name] = value
    return given


def override(settings: CloudSettings, name: str, value: object, origin: str) -> CloudSettings:
    """Return the settings with another value and source; ConfigError if the value is invalid."""
    section, _, key = name.rpartition(".")
    part = dataclasses.replace(getattr(settings, section), **{key: _convert(name, value, origin)})
    origins = {**settings.origins, name: origin}
    return dataclasses.replace(settings, **{section: part}, origins=origins)


def _read_file(path: Path) -> Given:
    try:
        document = tomllib.loads(text := path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from error
    given: Given = {}
    for top, content in document.items():
        if top in SECTIONS and not isinstance(content, dict):
            line = _line_of(text, top)
            raise ConfigError(f"{path}:{line}: expected a section [{top}], got {content!r}")
        values = {(top, k): v for k, v in content.items()} if top in SECTIONS else {(top,): content}
        for keys, value in values.items():
            name, place = ".".join(keys), f"{path}:{_line_of(text, *keys)}"
            if name not in FIELDS:
                hint = _nearest(name, FIELDS if top in SECTIONS else [*SECTIONS, *FIELDS])
                raise ConfigError(f"{place}: unknown setting {name}{hint}")
            given[name] = (value, place)
    return given


def _line_of(text: str, *path: str) -> int:
    """Return the line of a key or section, which the TOML parser does not provide."""
    here: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+([^\]]+)\]", line):
            here = tuple(part.strip(" \"'") for part in header[1].split("."))
            key: tuple[str, ...] = ()
        elif assignment := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            key = tuple(part.strip("\"'") for part in assignment[1].split("."))
        else:
            continue
        if (*here, *key)[: len(path)] == path:
            return number
    return 1


def _read_environment(environ: Mapping[str, str]) -> Given:
    names = {environment_name(name): name for name in FIELDS}
    sections = tuple(f"{ENV_PREFIX}{section.upper()}_" for section in SECTIONS)
    given: Given = {}
    for variable, value in environ.items():
        if variable in names:
            given[names[variable]] = (value, variable)
        elif variable.startswith(ENV_PREFIX) and variable not in OTHER_VARIABLES:
            hint = _nearest(variable, [*names, *OTHER_VARIABLES])
            text = f"unknown environment variable {variable}{hint}"
            if variable.startswith(sections):
                raise ConfigError(text)
            print(f"warning: {text}", file=sys.stderr)
    return given


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known := list(known), n=1)
    return f": did you mean {close[0]}?" if close else f" (known: {', '.join(known)})"


def _convert(name: str, value: object, origin: str) -> object:
    """Convert a value to the setting's type and check it."""
    field = FIELDS[name]
    try:
        return _CONVERTERS[field.type](value, field.metadata)
    except ValueError as error:
        raise ConfigError(f"{origin}: {name}: expected {error}, got {value!r}") from None


def _to_bool(value: object, _: Mapping[str, Any]) -> bool:
    if (word := str(value).lower()) not in ("true", "false"):
        raise ValueError("true or false")
    return word == "true"


def _to_number(value: object, metadata: Mapping[str, Any], kind: type = int) -> float:
    low, high = metadata["low"], metadata["high"]
    try:
        number: float = kind(str(value))
        if low <= number <= (number if high is None else high):
            return number
    except ValueError:
        pass
    limits = f"from {low:g}" + ("" if high is None else f" to {high:g}")
    raise ValueError(f"{'a whole number' if kind is int else 'a number'} {limits}")


def _to_word(value: object, metadata: Mapping[str, Any]) -> str:
    if not isinstance(value, str):
        raise ValueError("a string in quotes")
    if metadata["choices"] and value not in metadata["choices"]:
        raise ValueError(" or ".join(metadata["choices"]))
    if value and metadata["pattern"] and not re.fullmatch(metadata["pattern"][0], value):
        raise ValueError(metadata["pattern"][1])
    return value


def _to_list(value: object, _: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise ValueError("a list of strings")
    return tuple(value)


def _to_table(value: object, _: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError("NAME=VALUE,...")
        value = {name.strip(): content.strip() for name, _, content in pairs}
    if not isinstance(value, dict) or any(isinstance(v, dict | list) for v in value.values()):
        raise ValueError("a table of names and values")
    return {name: str(v).lower() if isinstance(v, bool) else str(v) for name, v in value.items()}


def _to_numbers(value: object, metadata: Mapping[str, Any]) -> dict[str, float]:
    return {k: _to_number(v, metadata, float) for k, v in _to_table(value, metadata).items()}


_CONVERTERS: dict[object, Callable[[object, Mapping[str, Any]], object]] = {
    bool: _to_bool, int: _to_number, str: _to_word, tuple[str, ...]: _to_list,
    dict[str, str]: _to_table, dict[str, float]: _to_numbers,
}  # fmt: skip
