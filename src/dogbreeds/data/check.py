"""Find what is wrong, and what is unusual, in a folder of photos before training on it."""

import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from dogbreeds.data import alike
from dogbreeds.data.examine import Facts, examine
from dogbreeds.data.folders import find_beside, find_problems, find_roots
from dogbreeds.data.listing import list_folder
from dogbreeds.data.photo import Photo, PhotosError
from dogbreeds.system.terminal import progress_bar

_MEANINGS = tomllib.loads(Path(__file__).with_name("check.toml").read_text())
OFFENCES: dict[str, str] = _MEANINGS["offences"]
"""Findings that ``--fix`` moves away."""
LEFT_OUT: dict[str, str] = _MEANINGS["left_out"]
"""Findings that only a person can fix: move them to a class folder, or fetch a link's file."""
ODDITIES: dict[str, str] = _MEANINGS["oddities"]
"""Findings that do not make `Checked.clean` false."""
KINDS = {**OFFENCES, **LEFT_OUT, **ODDITIES}
"""All kinds of findings and their meaning."""

_TINY = 64  # pixels of the short side: a 224-pixel model enlarges it more than three times
_HUGE = 25e6  # pixels, which take about a second to decode
_IMBALANCE = 5  # maximum ratio of the largest to the smallest class
_LONG = 3  # maximum ratio of the long to the short side
# No photo of three sets (dogs, hands, CIFAR-10) is below 0.29; all dogs fall below 0.27 under a
# Gaussian blur of 1.3 % of the short side.
_BLURRED = 0.28
_BLANK = 8  # gray levels of 256 between the darkest and the brightest parts
_DARK, _BRIGHT = 70, 235  # gray levels that the brightest, or the darkest, parts do not reach
_PLAIN = ("RGB", "L", "1", "P")
_FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WebP", ".bmp": "BMP", ".gif": "GIF",
    ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF", ".heic": "HEIC", ".heif": "HEIC",
}  # fmt: skip


@dataclass(frozen=True)
class Checked:
    """The photos and what was found in them.

    The report is JSON-ready. It has in ``splits`` the photos per class, by split, in ``findings``
    by kind (`KINDS`) a list of ``photo``, ``detail`` and, for look-alikes, ``like``, the other
    photo, in ``problems`` what training refuses, in ``notes`` what it accepts with a warning.
    """

    photos: dict[str, Photo]  # by path under the folder, e.g. train/069.French_bulldog/1.jpg
    labels: dict[str, str]  # class folder of each photo, by the same path
    report: dict[str, Any]
    members: list[alike.Member]  # the photos that can be decoded

    @property
    def offenders(self) -> dict[str, str]:
        """The photos to move away, with the reason."""
        return {
            entry["photo"]: f"{kind}: {entry['detail']}"
            for kind in OFFENCES
            for entry in self.report["findings"].get(kind, ())
        }

    @property
    def clean(self) -> bool:
        """Whether there is nothing to fix."""
        return not self.report["problems"] and self.report["findings"].keys() <= ODDITIES.keys()


def check(folder: Path, workers: int) -> Checked:
    """Examine all photos of a folder in any layout.

    PhotosError if there are none; OSError if the folder cannot be read.
    """
    roots = find_roots(folder)
    listings = {name: list_folder(root) for name, root in roots.items()}
    left_out = [] if "" in roots else list(find_beside(roots.values()))
    left_out += [entry for listing in listings.values() for entry in listing.left_out]
    entries = [
        (split, label, photo)
        for split, listing in listings.items()
        for label, photo in zip(listing.labels, listing.photos, strict=True)
    ]
    if not entries:
        others = f" but {len(left_out)} left out, e.g. {left_out[0][0]}" if left_out else ""
        raise PhotosError(
            f"expected photos in {folder}/train|valid|test/CLASS or {folder}/CLASS, found none"
            f"{others}"
        )
    photos = {str(photo).removeprefix(f"{folder}/"): photo for *_, photo in entries}
    with progress_bar("Check", len(photos)) as bar:
        facts = examine(list(photos.values()), workers, bar.update)

    findings: dict[str, list[dict[str, str]]] = defaultdict(list)
    members: list[alike.Member] = []
    for (split, label, _), name, found in zip(entries, photos, facts, strict=True):
        for kind, detail in _oddities(name, found):
            findings[kind].append({"photo": name, "detail": detail})
        if isinstance(found, Facts):
            members.append(alike.Member(name, split, label, found))
    unused = [(path, "ignored", "not a photo") for x in listings.values() for path in x.ignored]
    unused += [(path, "left out", reason) for path, reason in left_out]
    for path, kind, detail in unused:
        findings[kind].append({"photo": str(path.relative_to(folder)), "detail": detail})
    for group in alike.find_alike(members):
        for kind, finding in alike.findings(group):
            findings[kind].append(finding)
    classes = {
        name: dict.fromkeys(listing.classes, 0) | Counter(listing.labels)
        for name, listing in listings.items()
    }
    report = {
        "folder": str(folder),
        "photos": len(photos),
        "splits": classes,
        "findings": {kind: findings[kind] for kind in KINDS if findings.get(kind)},
        "problems": find_problems(listings),
        "notes": list(imbalances(classes)),
    }
    labels = {name: label for name, (_, label, _) in zip(photos, entries, strict=True)}
    return Checked(photos, labels, report, members)


def _oddities(name: str, found: Facts | str) -> Iterator[tuple[str, str]]:
    if isinstance(found, str):
        yield "broken", found
        return
    size = f"{found.width} x {found.height} pixels"
    short, long = sorted((found.width, found.height))
    if short < _TINY:
        yield "tiny", size
    if found.width * found.height > _HUGE:
        yield "huge", size
    if long > _LONG * short:
        yield "shape", size
    below = np.bincount(np.frombuffer(found.look.picture, dtype=np.uint8)).cumsum()
    darkest, brightest = np.searchsorted(below, (0.01 * below[-1], 0.99 * below[-1]))
    if brightest - darkest <= _BLANK:
        yield "blank", f"gray levels {darkest} to {brightest} of 0 to 255"
    elif brightest < _DARK:
        yield "dark", f"gray levels up to {brightest} of 255"
    elif darkest > _BRIGHT:
        yield "bright", f"gray levels from {darkest} of 255"
    elif found.sharpness < _BLURRED:
        yield "blurred", f"sharpness {found.sharpness:.2f}, expected at least {_BLURRED}"
    if found.format != _FORMATS.get(PurePath(name).suffix.lower(), found.format):
        yield "extension", f"{found.format} in a file {PurePath(name).suffix}"
    if found.mode not in _PLAIN:
        yield "color", found.mode


def imbalances(splits: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yield a note for each split whose classes are out of balance, by photos per class."""
    for split, classes in splits.items():
        counts = sorted((count, label) for label, count in classes.items() if count)
        if counts and counts[-1][0] > _IMBALANCE * counts[0][0]:
            (fewest, rare), (most, common) = counts[0], counts[-1]
            yield (
                f"classes are out of balance{split and ' in '}{split}: {most} photos of {common},"
                f" {fewest} of {rare}"
            )
