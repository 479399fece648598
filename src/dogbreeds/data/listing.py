"""List one folder of class folders, shards or photos with a labels file: its photos by class."""

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
    """List a split or an unsplit folder; PhotosError if its shards or labels file are broken.

    Only files of unknown suffix are opened.
    """
    if is_sharded(folder):
        shards = list_shards(folder)
        labels = tuple(photo.label for photo in shards)
        return Listing(folder, tuple(sorted(set(labels))), tuple(shards), labels)
    labels_file = find_labels(folder)
    given = read_labels(labels_file) if labels_file else {}
    source = labels_file.name if labels_file else ""
    names: dict[str, str] = {}  # class of each class folder
    if not labels_file:
        folders = (path.name for path in sorted(folder.iterdir()) if path.is_dir())
        names = {name: unicodedata.normalize("NFC", name) for name in folders if not is_junk(name)}
    photos: list[tuple[str, Path]] = []
    ignored: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    for path, label in given.items():
        if path.is_file():
            photos.append((label, path))
        else:
            reason = f"{source} names it, but there is no such file"
            left_out.append((path, DANGLING if path.is_symlink() else reason))
    depth = len(folder.parts)
    for path in walk(folder):
        if path in given or path == labels_file:
            continue
        if not path.is_file():
            reason = DANGLING if path.is_symlink() else "neither a file nor a folder"
            left_out.append((path, reason))
        elif not is_photo_file(path):
            ignored.append(path)
        elif path.parts[depth] in names:
            photos.append((names[path.parts[depth]], path))
        else:
            left_out.append((path, f"{source} does not name it" if source else STRAY))
    if names:
        photos.sort(key=lambda photo: photo[0])
    spellings: dict[str, list[str]] = defaultdict(list)
    for name, label in names.items():
        spellings[label].append(name)
    problems = tuple(
        f"expected one class folder per name, got {len(several)} that spell {label} in different"
        f" Unicode forms ({', '.join(map(ascii, several))}): move their photos into one"
        for label, several in spellings.items()
        if len(several) > 1
    )
    classes = tuple(sorted({*names.values(), *given.values()}))
    labels, paths = tuple(label for label, _ in photos), tuple(path for _, path in photos)
    return Listing(folder, classes, paths, labels, tuple(ignored), tuple(left_out), problems)


def walk(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Yield the files below a folder in the order of their names; links are followed.

    Hidden files and junk folders (`is_junk`) are skipped. `above` has the device and inode of each
    parent folder, to break cycles of links.
    """
    status = folder.stat()
    own = status.st_dev, status.st_ino
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
