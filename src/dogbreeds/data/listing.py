"""List one folder: its photos by class, and the files that are not used.

The folder contains class folders, possibly nested; or a labels file (`dogbreeds.data.labels`); or
shards (`dogbreeds.data.shards`).
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dogbreeds.data.labels import find_labels, read_labels
from dogbreeds.data.photo import Photo
from dogbreeds.data.shards import is_sharded, list_shards
from dogbreeds.model.photo_formats import is_photo_file

# Folders and files that macOS, Windows, NAS boxes and Python leave behind, in lower case.
_JUNK = {
    "__macosx", "@eadir", "@__thumb", "#recycle", "@recycle", "$recycle.bin", "recycler",
    "system volume information", "lost+found", "__pycache__", "thumbs.db", "desktop.ini",
}  # fmt: skip
STRAY = "not in a class folder"
DANGLING = "a link to nothing: fetch its file first, e.g. with git annex get or dvc pull"


def is_junk(name: str) -> bool:
    """Tell whether a file or folder name is hidden or left behind by a system."""
    return name.startswith(".") or name.lower() in _JUNK


@dataclass(frozen=True)
class Listing:
    """What a folder of photos contains.

    Photos are sorted by class and name; those of shards and labels files keep their order.
    """

    root: Path
    classes: tuple[str, ...]  # in Unicode's composed form (NFC), sorted; also those without photos
    photos: tuple[Photo, ...]
    labels: tuple[str, ...]  # class name of each photo
    ignored: tuple[Path, ...] = ()  # files that are not photos, e.g. Thumbs.db
    left_out: tuple[tuple[Path, str], ...] = ()  # unused photos and dangling links, with the reason
    problems: tuple[str, ...] = ()  # what makes the classes ambiguous, in words


def list_folder(folder: Path) -> Listing:
    """List the photos of a split, or of an unsplit folder; only files of unknown suffix are opened.

    PhotosError if its shards or its labels file are broken.
    """
    if is_sharded(folder):
        shards = list_shards(folder)
        labels = tuple(photo.label for photo in shards)
        return Listing(folder, tuple(sorted(set(labels))), tuple(shards), labels)
    labels_file = find_labels(folder)
    return _list_labelled(folder, labels_file) if labels_file else _list_class_folders(folder)


def _list_class_folders(folder: Path) -> Listing:
    spellings: dict[str, list[str]] = defaultdict(list)
    photos: list[tuple[str, Path]] = []
    ignored: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    for entry in sorted(folder.iterdir()):
        is_class = entry.is_dir()
        if is_junk(entry.name) if is_class else entry.name.startswith("."):
            continue
        label = unicodedata.normalize("NFC", entry.name) if is_class else ""
        if label:
            spellings[label].append(entry.name)
        for path in walk(entry, (_identity(folder),)) if label else [entry]:
            if reason := _reason_against(path):
                left_out.append((path, reason))
            elif not is_photo_file(path):
                ignored.append(path)
            elif label:
                photos.append((label, path))
            else:
                left_out.append((path, STRAY))
    photos.sort(key=lambda photo: photo[0])
    problems = [
        f"expected one class folder per name, got {len(names)} that spell {label} in different"
        f" Unicode forms ({', '.join(map(ascii, names))}): move their photos into one"
        for label, names in spellings.items()
        if len(names) > 1
    ]
    classes, labels = tuple(sorted(spellings)), tuple(label for label, _ in photos)
    paths = tuple(path for _, path in photos)
    rest = tuple(ignored), tuple(left_out), tuple(problems)
    return Listing(folder, classes, paths, labels, *rest)


def _list_labelled(folder: Path, labels_file: Path) -> Listing:
    labels = read_labels(labels_file)
    photos = {path: label for path, label in labels.items() if path.is_file()}
    left_out = [
        (path, _reason_against(path) or f"{labels_file.name} names it, but there is no such file")
        for path in labels
        if path not in photos
    ]
    ignored: list[Path] = []
    for path in walk(folder):
        if path in labels or path == labels_file:
            continue
        if reason := _reason_against(path):
            left_out.append((path, reason))
        elif is_photo_file(path):
            left_out.append((path, f"{labels_file.name} does not name it"))
        else:
            ignored.append(path)
    classes = tuple(sorted(set(labels.values())))
    return Listing(
        folder, classes, tuple(photos), tuple(photos.values()), tuple(ignored), tuple(left_out)
    )


def _reason_against(path: Path) -> str:
    """Return why a path cannot be a photo, whatever its name; empty if it can."""
    if path.is_file():
        return ""
    return DANGLING if path.is_symlink() else "neither a file nor a folder"


def walk(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Yield the files below a folder in the order of their names; links are followed.

    Hidden files and junk folders (`is_junk`) are skipped. `above` has the device and inode of each
    parent folder, to break cycles of links.
    """
    own = _identity(folder)
    if own in above:
        return
    with os.scandir(folder) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir():
            if not is_junk(entry.name):
                yield from walk(Path(entry.path), (*above, own))
        elif not entry.name.startswith("."):
            yield Path(entry.path)


def _identity(folder: Path) -> tuple[int, int]:
    return (status := folder.stat()).st_dev, status.st_ino
