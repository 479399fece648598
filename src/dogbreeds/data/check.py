"""What is wrong, and what is odd, with a folder of photos before anything is trained on it."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from dogbreeds.data.alike import Member, find_alike
from dogbreeds.data.examine import Facts, examine
from dogbreeds.data.folders import find_beside, find_problems, find_roots
from dogbreeds.data.listing import Listing, list_folder
from dogbreeds.data.photo import Photo, PhotosError

OFFENCES = {
    "broken": "cannot be decoded",
    "tiny": "too small to learn from",
    "conflict": "the same photo in two classes: one label must be wrong",
    "leak": "the same photo in two splits: measured accuracy would be too good",
    "duplicate": "the same photo twice",
}
"""Findings that ``--fix`` moves away."""

LEFT_OUT = {"left out": "photos that training does not take"}
"""Findings that only a person can mend: move them to a class folder, or fetch a link's file."""

ODDITIES = {
    "blank": "all black, all white or all one colour",
    "dark": "hardly any light",
    "bright": "hardly anything but white",
    "blurred": "no fine detail",
    "shape": "most of it is cut away for the model",
    "extension": "another format than the name says; decoded all the same",
    "colour": "not 8-bit RGB or grey; converted when decoded",
    "huge": "slow to decode",
    "ignored": "other files, which are not used",
}
"""Findings that stop nothing."""

KINDS = {**OFFENCES, **LEFT_OUT, **ODDITIES}
"""All findings, with what they mean."""

_TINY = 64  # pixels of the short side: enlarged more than three times for a model of 224
_HUGE = 25e6  # pixels: decoding so many takes about a second
_IMBALANCE = 5  # photos of the largest class for one of the smallest
_LONG = 3  # long side relative to the short one
# No photo of three sets (dogs, hands, CIFAR-10) is below 0.29; all of the dogs are below 0.27 once
# a Gaussian of 1.3 % of the short side has blurred them.
_BLURRED = 0.28
_BLANK = 8  # grey levels of 256 between the darkest and the brightest parts
_DARK, _BRIGHT = 70, 235  # grey levels that the brightest, or the darkest, parts do not reach
_PLAIN = ("RGB", "L", "1", "P")
_FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF",
    ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF",
}  # fmt: skip
_EDGES = (64, 128, 256, 512, 1024, 2048)  # of the histogram of short sides, in pixels


@dataclass(frozen=True)
class Checked:
    """The photos and what was found of them.

    Attributes:
        photos: By their path under the folder, e.g. ``train/069.French_bulldog/1.jpg``.
        report: JSON-ready. ``splits``: by name the number of photos of each class. ``findings``:
            by kind (`KINDS`) a list of ``photo``, ``detail`` and, for photos that look alike,
            ``like``, the other one. ``problems``: what training would refuse, in
            words. ``notes``: likewise what it would not. ``sizes``: photos by their short side.
    """

    photos: dict[str, Photo]
    report: dict[str, Any]

    @property
    def offenders(self) -> dict[str, str]:
        """The photos to move away, with the reason."""
        findings = self.report["findings"]
        found = [(kind, entry) for kind in OFFENCES for entry in findings.get(kind, ())]
        return {entry["photo"]: f"{kind}: {entry['detail']}" for kind, entry in found}

    @property
    def clean(self) -> bool:
        """Whether there is nothing to mend."""
        left_out = any(kind in self.report["findings"] for kind in LEFT_OUT)
        return not self.offenders and not self.report["problems"] and not left_out


def check(
    folder: Path, workers: int, on_start: Callable[[int], Callable[[int], object]]
) -> Checked:
    """Look at all photos.

    Args:
        folder: With ``train``, ``valid``, ``test``, or with class folders; or the same as shards.
        workers: Processes.
        on_start: Called with the number of photos; what it returns is called with the number of
            photos done since the last call.

    Raises:
        PhotosError: There are no photos.
        OSError: The folder cannot be read.
    """
    roots = find_roots(folder)
    listings = {name: list_folder(root) for name, root in roots.items()}
    left_out = [] if "" in roots else list(find_beside(roots.values()))
    left_out += [entry for listing in listings.values() for entry in listing.left_out]
    photos = [photo for listing in listings.values() for photo in listing.photos]
    if not photos:
        others = f" but {len(left_out)} left out, e.g. {left_out[0][0]}" if left_out else ""
        raise PhotosError(
            f"expected photos in {folder}/train|valid|test/CLASS or {folder}/CLASS, found none"
            f"{others}"
        )
    facts = examine(photos, workers, on_start(len(photos)))
    names = [str(photo).removeprefix(f"{folder}/") for photo in photos]
    splits = [name for name, listing in listings.items() for _ in listing.photos]
    labels = [label for listing in listings.values() for label in listing.labels]

    findings: dict[str, list[dict[str, str]]] = defaultdict(list)
    for name, found in zip(names, facts, strict=True):
        for kind, detail in _oddities(name, found):
            findings[kind].append({"photo": name, "detail": detail})
    for listing in listings.values():
        for path in listing.ignored:
            name = str(path.relative_to(folder))
            findings["ignored"].append({"photo": name, "detail": "not a photo"})
    for path, reason in left_out:
        findings["left out"].append({"photo": str(path.relative_to(folder)), "detail": reason})
    groups = find_alike(
        [
            Member(name, split, label, found)
            for name, split, label, found in zip(names, splits, labels, facts, strict=True)
            if isinstance(found, Facts)
        ]
    )
    for group in groups:
        for kind, finding in group.findings():
            findings[kind].append(finding)
    classes = {name: _class_counts(listing) for name, listing in listings.items()}
    report = {
        "folder": str(folder),
        "photos": len(photos),
        "splits": classes,
        "findings": {kind: findings[kind] for kind in KINDS if findings.get(kind)},
        "problems": find_problems(listings),
        "notes": list(_notes(classes)),
        "sizes": _histogram([min(f.width, f.height) for f in facts if isinstance(f, Facts)]),
    }
    return Checked(dict(zip(names, photos, strict=True)), report)


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
        yield "blank", f"grey levels {darkest} to {brightest} of 0 to 255"
    elif brightest < _DARK:
        yield "dark", f"grey levels up to {brightest} of 255"
    elif darkest > _BRIGHT:
        yield "bright", f"grey levels from {darkest} of 255"
    elif found.sharpness < _BLURRED:
        yield "blurred", f"sharpness {found.sharpness:.2f}, expected at least {_BLURRED}"
    named = _FORMATS.get(PurePath(name).suffix.lower(), found.format)
    if found.format not in (named, "MPO"):
        yield "extension", f"{found.format} in a file {PurePath(name).suffix}"
    if found.mode not in _PLAIN:
        yield "colour", found.mode


def _class_counts(listing: Listing) -> dict[str, int]:
    counts = Counter(listing.labels)
    return {label: counts[label] for label in listing.classes}


def _notes(splits: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for split, classes in splits.items():
        counts = {label: count for label, count in classes.items() if count}
        if not counts:
            continue
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        if counts[most] > _IMBALANCE * counts[least]:
            yield (
                f"classes are out of balance{split and ' in '}{split}: {counts[most]} photos of"
                f" {most}, {counts[least]} of {least}"
            )


def _histogram(sides: list[int]) -> dict[str, int]:
    labels = [f"under {_EDGES[0]}", *(f"{a} to {b - 1}" for a, b in pairwise(_EDGES))]
    labels.append(f"{_EDGES[-1]} and more")
    counts = Counter(bisect_right(_EDGES, side) for side in sides)
    return {label: counts[i] for i, label in enumerate(labels)}
