"""What is wrong, and what is odd, with a folder of photos before anything is trained on it."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

from dogbreeds.data.alike import Member, find_alike
from dogbreeds.data.examine import Facts, examine
from dogbreeds.data.folders import SPLITS, Listing, list_folder
from dogbreeds.data.photo import Photo, PhotosError

OFFENCES = {
    "broken": "cannot be decoded",
    "tiny": "too small to learn from",
    "conflict": "the same photo in two classes: one label must be wrong",
    "leak": "the same photo in two splits: measured accuracy would be too good",
    "duplicate": "the same photo twice",
}
"""Findings that ``--fix`` moves away."""

ODDITIES = {
    "extension": "another format than the name says; decoded all the same",
    "colour": "not 8-bit RGB or grey; converted when decoded",
    "huge": "slow to decode",
    "ignored": "left out of training",
}
"""Findings that are harmless to our own training and serving."""

_TINY = 64  # pixels of the short side: enlarged more than three times for a model of 224
_HUGE = 25e6  # pixels: decoding so many takes about a second
_IMBALANCE = 5  # photos of the largest class for one of the smallest
_PLAIN = ("RGB", "L", "1", "P")
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
}
_EDGES = (64, 128, 256, 512, 1024, 2048)  # of the histogram of short sides, in pixels


@dataclass(frozen=True)
class Checked:
    """The photos and what was found of them.

    Attributes:
        photos: By their path under the folder, e.g. ``train/069.French_bulldog/1.jpg``.
        report: JSON-ready. ``splits``: by name the number of photos of each class. ``findings``:
            by kind (`OFFENCES`, `ODDITIES`) a list of ``photo``, ``detail`` and, for photos that
            look alike, ``like``, the other one. ``problems``: what training would refuse, in
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
        return not self.offenders and not self.report["problems"]


def find_roots(folder: Path) -> dict[str, Path]:
    """Return the folders of the splits, or the folder itself as ``""`` where it is not split.

    Raises:
        PhotosError: There is no such folder.
    """
    if not folder.is_dir():
        raise PhotosError(f"expected a folder of photos, found none at {folder}")
    splits = {name: folder / name for name in SPLITS if (folder / name).is_dir()}
    return splits or {"": folder}


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
    listings = {name: list_folder(root) for name, root in find_roots(folder).items()}
    photos = [photo for listing in listings.values() for photo in listing.photos]
    if not photos:
        raise PhotosError(
            f"expected photos in {folder}/train|valid|test/CLASS or {folder}/CLASS, found none"
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
            findings["ignored"].append({"photo": name, "detail": "no photo by its name"})
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
        "findings": {kind: findings[kind] for kind in (*OFFENCES, *ODDITIES) if findings.get(kind)},
        "problems": list(_problems(classes)),
        "notes": list(_notes(classes)),
        "sizes": _histogram([min(f.width, f.height) for f in facts if isinstance(f, Facts)]),
    }
    return Checked(dict(zip(names, photos, strict=True)), report)


def _oddities(name: str, found: Facts | str) -> Iterator[tuple[str, str]]:
    if isinstance(found, str):
        yield "broken", found
        return
    size = f"{found.width} x {found.height} pixels"
    if min(found.width, found.height) < _TINY:
        yield "tiny", size
    if found.width * found.height > _HUGE:
        yield "huge", size
    suffix = PurePath(name).suffix
    if suffix.lower() not in _SUFFIXES.get(found.format, (suffix.lower(),)):
        yield "extension", f"{found.format} in a file {suffix}"
    if found.mode not in _PLAIN:
        yield "colour", found.mode


def _class_counts(listing: Listing) -> dict[str, int]:
    counts = Counter(listing.labels)
    return {label: counts[label] for label in listing.classes}


def _problems(splits: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    train = splits.get("train", splits.get("", {}))
    if not train:
        yield "there is no split train"
    elif len(train) < 2:
        yield f"there is only one class, {next(iter(train))}: expected at least 2"
    for label, count in train.items():
        if not count:
            yield f"class {label} has no photos to train on"
    for split, classes in splits.items():
        if train and (unknown := [label for label in classes if label not in train]):
            yield f"split {split} has {len(unknown)} classes that train has not, e.g. {unknown[0]}"


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
