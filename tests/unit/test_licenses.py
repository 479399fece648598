"""Every package of the images has a license that an image may be passed on with."""

import importlib.metadata
import re
from pathlib import Path

import pytest

CONTAINERS = Path(__file__).parents[2] / "containers"
LOCKS = ("training/requirements", "training/debugger", "serving/requirements", "serving/slim")

PERMISSIVE = re.compile(
    r"Apache|BSD|MIT|PSF|Python Software Foundation|ISC|Zlib|CC0-1\.0|ZPL|HPND|Unlicense",
    re.IGNORECASE,
)
# Their source is available and unchanged, and they are separate packages that a user can replace.
WEAK_COPYLEFT = {
    "certifi": "MPL", "tqdm": "MPL", "paramiko": "LGPL",
    "pi-heif": "LGPL",  # the decoder libheif, linked dynamically
}  # fmt: skip
UNDECLARED = {"pyinstrument-cext": "BSD"}  # its repository has the text
WINDOWS_ONLY = ("colorama",)


def packages() -> list[str]:
    locks = [(CONTAINERS / f"{lock}.txt").read_text() for lock in LOCKS]
    found = {name for lock in locks for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    return sorted(found - set(WINDOWS_ONLY))


def license_of(name: str) -> str:
    """Return the declared license: SPDX's expression, else the classifiers, else the text."""
    known = importlib.metadata.metadata(name).json
    classified = [str(c) for c in known.get("classifier", ()) if str(c).startswith("License :: ")]
    shown = ", ".join(text.rpartition(" :: ")[2] for text in classified)
    text = known.get("license_expression") or shown or known.get("license") or ""
    return UNDECLARED.get(name, str(text))


@pytest.mark.parametrize("name", packages())
def test_the_license_is_on_the_list(name: str) -> None:
    text = license_of(name)
    if expected := WEAK_COPYLEFT.get(name):
        assert expected in text or "Mozilla" in text or "Lesser" in text
        return
    parts = re.split(r" AND |, |; ", text)
    assert parts and all(PERMISSIVE.search(part) or part == "OSI Approved" for part in parts), text


def test_the_list_of_exceptions_is_up_to_date() -> None:
    assert {*WEAK_COPYLEFT, *UNDECLARED} <= set(packages())
