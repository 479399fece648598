"""What one folder holds: photos by class, and by name whatever is not taken as a photo.

The folder contains class folders, whose photos may lie in folders of their own; or a labels file
(see `dogbreeds.data.labels`); or shards (see `dogbreeds.data.shards`).
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
    """Tell whether a file or folder name is hidden, or one that systems leave behind."""
    return name.startswith(".") or name.lower() in _JUNK


@dataclass(frozen=True)
class Listing:
    """What a folder of photos holds.

    Attributes:
        root: The folder.
        classes: Names of the classes, in Unicode's composed form (NFC), sorted; also those of
            folders without photos.
        photos: Sorted by class and name; those of shards and labels files in their order.
        labels: For each photo the name of its class.
        ignored: Files that are not photos, e.g. ``Thumbs.db``.
        left_out: Photos that are not taken, and links to nothing, each with the reason.
        problems: What makes the classes ambiguous, in words.
    """

    root: Path
    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    labels: tuple[str, ...]
    ignored: tuple[Path, ...] = ()
    left_out: tuple[tuple[Path, str], ...] = ()
    problems: tuple[str, ...] = ()


def list_folder(folder: Path) -> Listing:
    """List the photos of a folder; only files with an unknown suffix are opened.

    Args:
        folder: A split, or photos that are not split.

    Raises:
        PhotosError: Its shards or its labels file are broken.
        OSError: It cannot be read.
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
        if entry.is_dir():
            if is_junk(entry.name):
                continue
            label = unicodedata.normalize("NFC", entry.name)
            spellings[label].append(entry.name)
        elif not entry.name.startswith("."):
            label = ""
        else:
            continue
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
    return Listing(
        folder,
        tuple(sorted(spellings)),
        tuple(path for _, path in photos),
        tuple(label for label, _ in photos),
        tuple(ignored),
        tuple(left_out),
        tuple(problems),
    )


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
    return Listing(
        folder,
        tuple(sorted(set(labels.values()))),
        tuple(photos),
        tuple(photos.values()),
        tuple(ignored),
        tuple(left_out),
    )


def _reason_against(path: Path) -> str:
    """Return why a path cannot be a photo, whatever its name; empty: it can."""
    if path.is_file():
        return ""
    return DANGLING if path.is_symlink() else "neither a file nor a folder"


def walk(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Yield the files below a folder in the order of their names; links are followed.

    Args:
        folder: Where to look. Hidden files and junk (`is_junk`) folders in it are skipped.
        above: Device and inode of the folders that are being walked, so that a link to one of them
            is not followed forever.

    Raises:
        OSError: A folder cannot be read.
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
    status = folder.stat()
    return status.st_dev, status.st_ino
