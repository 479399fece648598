"""A photos directory in the Udacity layout: ``train|valid|test/NNN.Breed_name/*.jpg``.

A split can also be tar shards, see `dogbreeds.data.shards`.
"""

import random
from dataclasses import dataclass, replace
from pathlib import Path

from dogbreeds.data.photo import Photo, PhotosError
from dogbreeds.data.shards import is_sharded, list_shards
from dogbreeds.model.classes import PhotoClass, parse_folder
from dogbreeds.model.photo_formats import is_photo_file

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Listing:
    """What a folder of class folders, or of shards, holds.

    Attributes:
        classes: Names of the classes, sorted; also those of folders without photos.
        photos: Sorted by class and name; those of shards in the order of the shards.
        labels: For each photo the name of its class.
        ignored: Files that are no photos by name and content, e.g. ``Thumbs.db``.
    """

    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    labels: tuple[str, ...]
    ignored: tuple[Path, ...]


@dataclass(frozen=True)
class Split:
    """The photos of one split.

    Attributes:
        name: ``"train"``, ``"valid"`` or ``"test"``.
        paths: The photos, in an order that is the same for every run.
        targets: For each path the index of its class.
        ignored: Files that are no photos by name and content, e.g. ``Thumbs.db``.
    """

    name: str
    paths: tuple[Photo, ...]
    targets: tuple[int, ...]
    ignored: tuple[Path, ...]


def find_photos(roots: dict[str, Path]) -> tuple[tuple[PhotoClass, ...], dict[str, Split]]:
    """List the photos of every split; files are opened only where their names are silent.

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
    listings = {split: _list_split(split, root) for split, root in roots.items()}
    names = listings["train"].classes
    classes = tuple(parse_folder(name) for name in names)
    ids = [found.label for found in classes]
    if twice := sorted({class_id for class_id in ids if ids.count(class_id) > 1}):
        raise PhotosError(f"expected one folder a class id in train, got several for {twice[0]}")
    if len(names) < 2:
        raise PhotosError(f"expected at least 2 class folders in train, got only {names[0]}")
    splits = {}
    for split, found in listings.items():
        if unknown := sorted(set(found.classes) - set(names)):
            raise PhotosError(
                f"split {split} has the class folder {unknown[0]}, which train has not: add its"
                " photos to train or remove it"
            )
        targets = {name: target for target, name in enumerate(names)}
        labels = tuple(targets[label] for label in found.labels)
        splits[split] = Split(split, found.photos, labels, found.ignored)
    train = splits["train"]
    if empty := sorted(set(range(len(names))) - set(train.targets)):
        raise PhotosError(
            f"class folder {names[empty[0]]} has no photos in train: add some or remove the folder"
        )
    for listed in splits.values():
        if not listed.paths:
            raise PhotosError(f"expected photos in split {listed.name}, found none")
    return classes, splits


def _list_split(split: str, root: Path) -> Listing:
    if not root.is_dir():
        raise PhotosError(f"expected a folder for split {split}, found none at {root}")
    listing = list_folder(root)
    if not listing.classes:
        raise PhotosError(
            f"expected class folders such as 069.French_bulldog, or shards, in split {split}, found"
            f" none in {root}"
        )
    return listing


def hold_out(train: Split, seed: int) -> tuple[Split, Split]:
    """Part the training photos: a tenth of each class stands in for the split ``valid``.

    Args:
        train: Each class keeps a photo; one of two and more gives at least one.
        seed: Chooses the photos.

    Returns:
        The rest of ``train``, and ``valid``.

    Raises:
        PhotosError: No class has two photos.
    """
    photos: dict[int, list[int]] = {}
    for index, target in enumerate(train.targets):
        photos.setdefault(target, []).append(index)
    chooser = random.Random(seed)  # noqa: S311  (not for secrets)
    held = {
        index
        for of_class in photos.values()
        if len(of_class) > 1
        for index in chooser.sample(of_class, max(1, len(of_class) // 10))
    }
    if not held:
        raise PhotosError("expected a split valid, or two photos of a class in train; add some")

    def part(name: str, indexes: list[int]) -> Split:
        paths = tuple(train.paths[index] for index in indexes)
        return replace(
            train, name=name, paths=paths, targets=tuple(train.targets[i] for i in indexes)
        )

    kept = [index for index in range(len(train.targets)) if index not in held]
    return part("train", kept), replace(part("valid", sorted(held)), ignored=())


def list_folder(folder: Path) -> Listing:
    """List the photos of a folder of class folders, or of shards; photos are not opened.

    Args:
        folder: Of a split, or of photos that are not split.

    Raises:
        PhotosError: The shards in it are broken.
        OSError: It cannot be read.
    """
    if is_sharded(folder):
        shards = list_shards(folder)
        labels = tuple(photo.label for photo in shards)
        return Listing(tuple(sorted(set(labels))), tuple(shards), labels, ())
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    photos: list[tuple[Photo, str]] = []
    ignored: list[Path] = []
    for name in classes:
        for path in sorted((folder / name).iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            if is_photo_file(path):
                photos.append((path, name))
            else:
                ignored.append(path)
    return Listing(
        tuple(classes),
        tuple(photo for photo, _ in photos),
        tuple(name for _, name in photos),
        tuple(ignored),
    )
