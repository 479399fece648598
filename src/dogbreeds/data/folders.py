"""A photos directory in the Udacity layout: ``train|valid|test/NNN.Breed_name/*.jpg``."""

from dataclasses import dataclass
from pathlib import Path

from dogbreeds.labels import Breed, parse_folder

SPLITS = ("train", "valid", "test")
PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


class PhotosError(ValueError):
    """The photos directory cannot be trained on; the message says what to change."""


@dataclass(frozen=True)
class Split:
    """The photos of one split.

    Attributes:
        name: ``"train"``, ``"valid"`` or ``"test"``.
        paths: The files, sorted, so that every run sees them in the same order.
        targets: For each path the index of its class.
        ignored: Files that are no photos by their suffix, e.g. ``Thumbs.db``.
    """

    name: str
    paths: tuple[Path, ...]
    targets: tuple[int, ...]
    ignored: tuple[Path, ...]


def find_photos(roots: dict[str, Path]) -> tuple[tuple[Breed, ...], dict[str, Split]]:
    """List the photos of every split; nothing is opened.

    Args:
        roots: Folder of each split that was given, by split name. ``train`` is required, and at
            least one of ``valid`` and ``test`` to measure what was learned.

    Returns:
        The classes, sorted by folder name, and the splits by name.

    Raises:
        PhotosError: A required split is missing or empty, a class has no photos in ``train``, or
            a class of another split is unknown in ``train``.
    """
    if "train" not in roots:
        raise PhotosError(f"expected a split train, got {', '.join(sorted(roots)) or 'none'}")
    if not roots.keys() & {"valid", "test"}:
        raise PhotosError("expected a split valid or test to measure accuracy on, got only train")
    folders = {split: _class_folders(split, root) for split, root in roots.items()}
    names = sorted(folders["train"])
    breeds = tuple(parse_folder(name) for name in names)
    ids = [breed.class_id for breed in breeds]
    if twice := sorted({class_id for class_id in ids if ids.count(class_id) > 1}):
        raise PhotosError(f"expected one folder a class id in train, got several for {twice[0]}")
    if len(names) < 2:
        raise PhotosError(f"expected at least 2 class folders in train, got only {names[0]}")
    splits = {}
    for split, found in folders.items():
        if unknown := sorted(found.keys() - set(names)):
            raise PhotosError(
                f"split {split} has the class folder {unknown[0]}, which train has not: add its"
                " photos to train or remove it"
            )
        splits[split] = _list_photos(split, found, names)
    train = splits["train"]
    if empty := sorted(set(range(len(names))) - set(train.targets)):
        raise PhotosError(
            f"class folder {names[empty[0]]} has no photos in train: add some or remove the folder"
        )
    for listed in splits.values():
        if not listed.paths:
            raise PhotosError(f"expected photos in split {listed.name}, found none")
    return breeds, splits


def _class_folders(split: str, root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise PhotosError(f"expected a folder for split {split}, found none at {root}")
    folders = {p.name: p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")}
    if not folders:
        raise PhotosError(
            f"expected class folders such as 069.French_bulldog in split {split}, found none in"
            f" {root}"
        )
    return folders


def _list_photos(split: str, folders: dict[str, Path], names: list[str]) -> Split:
    paths: list[Path] = []
    targets: list[int] = []
    ignored: list[Path] = []
    for target, name in enumerate(names):
        if name not in folders:
            continue
        for path in sorted(folders[name].iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            if path.suffix.lower() in PHOTO_SUFFIXES:
                paths.append(path)
                targets.append(target)
            else:
                ignored.append(path)
    return Split(split, tuple(paths), tuple(targets), tuple(ignored))
