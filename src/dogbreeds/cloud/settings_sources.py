"""Sources of the settings of `dogbreeds.cloud.settings`: defaults, file, environment, flags.

A later source overrides an earlier one. Every value records its source for error messages.
"""

import dataclasses
import difflib
import os
import re
import sys
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dogbreeds.cloud.settings import (
    DEFAULT_FILE,
    ENV_PREFIX,
    OTHER_VARIABLES,
    SECTIONS,
    TOP,
    CloudSettings,
    ConfigError,
    environment_name,
    setting_field,
    setting_names,
)  # fmt: skip


def load(
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, object] | None = None,
) -> CloudSettings:
    """Read the settings.

    Args:
        file: Default: ``DOGBREEDS_CONFIG``, else `DEFAULT_FILE` where it exists.
        environ: ``DOGBREEDS_AWS_REGION`` sets ``aws.region``; lists are separated by commas.
            ``AWS_REGION`` does too, unless the file names a region.
        flags: By setting name; they override the other sources.

    Raises:
        ConfigError: A key is unknown, a value invalid, or a named file missing.
    """
    given: dict[str, tuple[object, str]] = {}
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
    """Return settings given as ``SECTION.KEY=VALUE``, for the flags of `load`.

    Raises:
        ConfigError: There is no such setting, or no ``=``.
    """
    given: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--setting: expected SECTION.KEY=VALUE, got {pair!r}")
        if name not in setting_names():
            raise ConfigError(f"--setting: unknown setting {name}{_nearest(name, setting_names())}")
        given[name] = value
    return given


def override(settings: CloudSettings, name: str, value: object, origin: str) -> CloudSettings:
    """Return the settings with another value, which is validated as that of a flag.

    Args:
        settings: As returned by `load`.
        name: Such as ``"training.data"``.
        value: The value.
        origin: Its source, e.g. the flag.

    Raises:
        ConfigError: The value is invalid.
    """
    section, _, key = name.rpartition(".")
    part = dataclasses.replace(getattr(settings, section), **{key: _convert(name, value, origin)})
    origins = {**settings.origins, name: origin}
    return dataclasses.replace(settings, **{section: part}, origins=origins)


def _read_file(path: Path) -> dict[str, tuple[object, str]]:
    try:
        document = tomllib.loads(text := path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from error
    given: dict[str, tuple[object, str]] = {}
    for top, content in document.items():
        place = f"{path}:{_line_of(text, top)}"
        if top in TOP:
            given[top] = (content, place)
        elif top not in SECTIONS:
            hint = _nearest(top, [*SECTIONS, *TOP])
            raise ConfigError(f"{place}: unknown section or key {top!r}{hint}")
        elif not isinstance(content, dict):
            raise ConfigError(f"{place}: expected a section [{top}], got {content!r}")
        else:
            known = [f.name for f in dataclasses.fields(SECTIONS[top])]
            for key, value in content.items():
                place = f"{path}:{_line_of(text, top, key)}"
                if key not in known:
                    hint = _nearest(key, known)
                    raise ConfigError(f"{place}: unknown key {key!r} in section [{top}]{hint}")
                given[f"{top}.{key}"] = (value, place)
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


def _read_environment(environ: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    names = {environment_name(name): name for name in setting_names()}
    sections = tuple(f"{ENV_PREFIX}{section.upper()}_" for section in SECTIONS)
    given: dict[str, tuple[object, str]] = {}
    for variable, value in environ.items():
        if variable in names:
            given[names[variable]] = (value, variable)
        elif variable.startswith(sections):
            raise ConfigError(f"unknown environment variable {variable}{_nearest(variable, names)}")
        elif variable.startswith(ENV_PREFIX) and variable not in OTHER_VARIABLES:
            known = [*names, *OTHER_VARIABLES]
            print(f"warning: unknown environment variable {variable}{_nearest(variable, known)}",
                  file=sys.stderr)  # fmt: skip
    return given


def _nearest(word: str, known: typing.Iterable[str]) -> str:
    known = list(known)
    if close := difflib.get_close_matches(word, known, n=1):
        return f": did you mean {close[0]}?"
    return f" (known: {', '.join(known)})"


def _convert(name: str, value: object, origin: str) -> object:
    """Convert a value to the setting's type and check it."""
    described = setting_field(name)
    owner = SECTIONS[name.rpartition(".")[0]] if "." in name else CloudSettings
    kind = typing.get_type_hints(owner)[described.name]
    try:
        if kind is bool:
            return _to_bool(value)
        if kind is int:
            return _to_number(value, int, described.metadata)
        if kind is str:
            return _to_word(value, described.metadata)
        if kind == tuple[str, ...]:
            return _to_list(value)
        return _to_table(value, described.metadata if kind == dict[str, float] else None)
    except ValueError as error:
        raise ConfigError(f"{origin}: {name}: expected {error}, got {value!r}") from None


def _to_bool(value: object) -> bool:
    word = str(value).lower()
    if word not in ("true", "false"):
        raise ValueError("true or false")
    return word == "true"


def _to_number(value: object, kind: type, metadata: Mapping[str, Any]) -> float:
    low, high = metadata["low"], metadata["high"]
    expected = "a whole number" if kind is int else "a number"
    expected += f" from {low:g}" + (f" to {high:g}" if high is not None else "")
    try:
        number: float = kind(str(value))
    except ValueError:
        raise ValueError(expected) from None
    if isinstance(value, bool) or not low <= number <= (high if high is not None else number):
        raise ValueError(expected)
    return number


def _to_word(value: object, metadata: Mapping[str, Any]) -> str:
    if not isinstance(value, str):
        raise ValueError("a string in quotes")
    if metadata["choices"] and value not in metadata["choices"]:
        raise ValueError(" or ".join(metadata["choices"]))
    if value and metadata["pattern"] and not re.fullmatch(metadata["pattern"][0], value):
        raise ValueError(metadata["pattern"][1])
    return value


def _to_list(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise ValueError("a list of strings")
    return tuple(value)


def _to_table(value: object, number: Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError("NAME=VALUE,...")
        value = {name.strip(): content.strip() for name, _, content in pairs}
    if not isinstance(value, dict) or any(isinstance(v, dict | list) for v in value.values()):
        raise ValueError("a table of names and values")
    if number is not None:
        return {name: float(_to_number(v, float, number)) for name, v in value.items()}
    return {name: str(v).lower() if isinstance(v, bool) else str(v) for name, v in value.items()}
