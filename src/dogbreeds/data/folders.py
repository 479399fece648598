"""The layout of a photos directory, and what training and `dogbreeds.data.check` refuse alike."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dogbreeds.data.labels import find_labels
from dogbreeds.data.listing import Listing, is_junk, list_folder, walk
from dogbreeds.data.photo import Photo, PhotosError
from dogbreeds.data.shards import is_sharded
from dogbreeds.model.classes import PhotoClass, parse_folder
from dogbreeds.model.photo_formats import is_photo_name

SPLITS = ("train", "valid", "test")
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "eval": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Names of folders and channels of each split, in lower case; case does not matter."""


@dataclass(frozen=True)
class Split:
    """The photos of one split, in an order that is the same for every run."""

    name: str  # "train", "valid" or "test"
    paths: tuple[Photo, ...]
    targets: tuple[int, ...]  # class index of each path
    ignored: tuple[Path, ...]  # files that are not photos, e.g. Thumbs.db
    left_out: tuple[tuple[Path, str], ...] = ()  # photos that are not used, with the reason
    classes: tuple[str, ...] = ()  # folder names of all classes


def name_splits(folders: Mapping[str, Path]) -> dict[str, Path]:
    """Return the folder of each split in `SPLITS`' order; PhotosError if two names mean one."""
    found: dict[str, str] = {}
    for name in folders:
        split = SPLIT_NAMES.get(name.lower())
        if split and found.setdefault(split, name) != name:
            raise PhotosError(
                f"expected one folder or channel for split {split}, got {found[split]} and {name}:"
                " rename one"
            )
    return {split: folders[found[split]] for split in SPLITS if split in found}


def find_channels(channels: Mapping[str, Path]) -> dict[str, Path]:
    """Return the folder of each split among a job's channels; see `find_roots` for errors.

    A single channel of training photos may contain the complete photos directory: this is what
    the SageMaker SDK makes of ``fit("s3://...")``.
    """
    roots = name_splits(channels)
    if set(roots) == {"train"} and roots["train"].is_dir():
        inside = find_roots(roots["train"])
        return roots if "" in inside else inside
    return roots


def find_roots(folder: Path) -> dict[str, Path]:
    """Return the folders of the splits, or the folder itself as ``""`` where it is not split.

    `root_of` the folder is searched. PhotosError if there is none, or two mean one split.
    """
    if not folder.is_dir():
        raise PhotosError(f"expected a folder of photos, found none at {folder}")
    folder = root_of(folder)
    folders = _folders(folder)
    splits = name_splits(folders)
    # "train" may be a class next to "car" and "bus" if it contains photos but no class folders.
    if len(folders) > len(splits) and all(
        any(is_photo_name(path.name) for path in split.iterdir())
        and not (_folders(split) or _is_labelled(split))
        for split in splits.values()
    ):
        return {"": folder}
    if not any(map(_folders, splits.values())) and find_labels(folder):  # names train/1.jpg etc.
        return {"": folder}
    return splits or {"": folder}


def root_of(folder: Path) -> Path:
    """Skip folders that contain only one folder of folders, as unpacked archives do."""
    while True:
        entries = [path for path in folder.iterdir() if not is_junk(path.name)]
        if len(entries) != 1 or entries[0].name.lower() in SPLIT_NAMES:
            return folder
        if not entries[0].is_dir() or not (_folders(entries[0]) or _is_labelled(entries[0])):
            return folder
        folder = entries[0]


def _folders(folder: Path) -> dict[str, Path]:
    entries = sorted(folder.iterdir())
    return {path.name: path for path in entries if not is_junk(path.name) and path.is_dir()}


def _is_labelled(folder: Path) -> bool:
    return is_sharded(folder) or find_labels(folder) is not None


def find_beside(roots: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield photos, and folders of photos, next to the split folders `roots`, with the reason."""
    known = {root: root.parent for root in roots}
    for folder in sorted(set(known.values())):
        for path in sorted(folder.iterdir()):
            if path in known or is_junk(path.name):
                continue
            if path.is_dir():
                if count := sum(is_photo_name(found.name) for found in walk(path)):
                    yield path, f"not a split: its {count} photos are not used"
            elif is_photo_name(path.name):
                yield path, "not in a split"


def find_photos(roots: Mapping[str, Path]) -> tuple[tuple[PhotoClass, ...], dict[str, Split]]:
    """Return the classes, by folder name, and the splits.

    PhotosError for one of `find_problems`, or if a folder is missing; OSError if it cannot be read.
    """
    for split, root in roots.items():
        if not root.is_dir():
            raise PhotosError(f"expected a folder for split {split}, found none at {root}")
    listings = {split: list_folder(root) for split, root in roots.items()}
    if problems := find_problems(listings):
        more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise PhotosError(f"{problems[0]}{more}")
    names = listings["train"].classes
    targets = {name: target for target, name in enumerate(names)}
    splits = {}
    for split, found in listings.items():
        indexes = tuple(targets[label] for label in found.labels)
        splits[split] = Split(split, found.photos, indexes, found.ignored, found.left_out, names)
    return tuple(parse_folder(name) for name in names), splits


def find_problems(listings: Mapping[str, Listing]) -> list[str]:
    """Return in words what training refuses of the splits; ``""`` is one yet to be split."""
    problems: list[str] = []
    if "" not in listings:
        if "train" not in listings:
            problems.append(f"expected a split train, got {', '.join(sorted(listings)) or 'none'}")
        if not listings.keys() & {"valid", "test"}:
            roots = " ".join(str(found.root) for found in listings.values())
            problems.append(
                "expected a split valid or test to measure accuracy on, got only"
                f" {', '.join(listings) or 'none'}: make them with dogbreeds data split {roots} OUT"
            )
    for split, found in listings.items():
        if not found.classes:
            problems.append(
                "expected class folders such as 069.French_bulldog, or shards, in"
                f" {_called(split)}, found none in {found.root}"
            )
        problems += found.problems
    train = listings.get("train") or listings.get("")
    if train and train.classes:
        problems += _class_problems(train, listings)
    problems += [
        f"expected photos in {_called(split)}, found none"
        for split, found in listings.items()
        if found.classes and not found.photos
    ]
    return problems


def _class_problems(train: Listing, listings: Mapping[str, Listing]) -> Iterator[str]:
    where = "train" if "train" in listings else "the folder"
    by_id: dict[str, list[str]] = defaultdict(list)
    for name in train.classes:
        by_id[parse_folder(name).label].append(name)
    for class_id, names in by_id.items():
        if len(names) > 1:
            several = f"{class_id}: {', '.join(names)}"
            yield f"expected one folder per class id in {where}, got several for {several}"
    if len(train.classes) < 2:
        yield f"expected at least 2 class folders in {where}, got only {train.classes[0]}"
    for split, found in listings.items():
        if unknown := sorted(set(found.classes) - set(train.classes)):
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            yield (
                f"split {split} has the class folder {unknown[0]}{more}, which train has not: add"
                " its photos to train or remove it"
            )
    if empty := sorted(set(train.classes) - set(train.labels)):
        more = f" ({len(empty) - 1} more)" if len(empty) > 1 else ""
        yield (
            f"class folder {empty[0]} has no photos in {where}: add some or remove the folder{more}"
        )


def _called(split: str) -> str:
    return f"split {split}" if split else "the folder"
