"""From one folder per class to train, valid and test: stratified and reproducible."""

import errno
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dogbreeds.data.alike import Member, find_alike
from dogbreeds.data.examine import Facts, examine
from dogbreeds.data.folders import SPLITS, Split, find_problems, find_roots
from dogbreeds.data.listing import list_folder
from dogbreeds.data.photo import PhotosError
from dogbreeds.data.workers import OnStart
from dogbreeds.system.files import atomic_folder, free_path
from dogbreeds.system.resources import available_cpus

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)


def split_photos(
    source: Path,
    target: Path,
    *,
    valid: float,
    test: float,
    seed: int,
    link: bool,
    workers: int,
    on_start: OnStart,
) -> tuple[dict[str, int], dict[Path, str]]:
    """Split photos; look-alikes stay in one split, so that no test photo was trained on.

    The same seed and photos give the same splits. The target appears when it is complete.

    Args:
        source: Unsplit photos: class folders or a labels file. They stay as they are.
        target: The photos directory to make.
        valid: Share of each class for validation, 0 to 1; `test` likewise.
        test: Share of each class.
        seed: Of the shuffle.
        link: Make hard links instead of copies where the file system allows it.
        workers: Processes that examine the photos.
        on_start: Told the number of photos.

    Returns:
        Photos by split, and those left out because they cannot be decoded, with the reason.

    Raises:
        PhotosError: The source is split already, has fewer than two classes, or a class has too
            few distinct photos for all splits.
        OSError: The target exists, or cannot be written.
    """
    roots = find_roots(source)
    if "" not in roots:
        raise PhotosError(f"expected class folders in {source}, got splits: it is split already")
    listing = list_folder(roots[""])
    if problems := find_problems({"": listing}):
        raise PhotosError(problems[0])
    photos = [photo for photo in listing.photos if isinstance(photo, Path)]
    if len(photos) < len(listing.photos):
        raise PhotosError(f"expected class folders in {source}, got shards")
    facts = examine(photos, workers, on_start(len(photos)))
    broken = {p: f for p, f in zip(photos, facts, strict=True) if isinstance(f, str)}
    members = [
        Member(str(photo), "", label, found)
        for photo, label, found in zip(photos, listing.labels, facts, strict=True)
        if isinstance(found, Facts)
    ]
    chosen = _assign(_units(members), {"test": test, "valid": valid}, seed)
    shares = {"train": 1, "valid": valid, "test": test}
    requested = [split for split, share in shares.items() if share]
    _check_classes(listing.classes, chosen, requested)
    with atomic_folder(target) as partial:
        for split, assigned in chosen.items():
            for member in assigned:
                place = free_path(partial / split / member.label / Path(member.name).name)
                place.parent.mkdir(parents=True, exist_ok=True)
                _place(Path(member.name).resolve(), place, link=link)
    return {split: len(assigned) for split, assigned in chosen.items()}, broken


def hold_out(train: Split, seed: int, workers: int) -> tuple[Split, Split]:
    """Move a tenth of each class, drawn with `seed`, from ``train`` to a split ``valid``.

    Look-alikes stay together. Each class keeps at least one photo, and gives one if it can.

    Returns:
        The rest of ``train``, which includes what cannot be decoded, and ``valid``.

    Raises:
        PhotosError: No class has two different photos.
        OSError: A worker was killed.
    """
    members = [
        Member(str(photo), "", train.classes[target], found)
        for photo, target, found in zip(
            train.paths, train.targets, examine(train.paths, workers), strict=True
        )
        if isinstance(found, Facts)
    ]
    held = {member.name for member in _assign(_units(members), {"valid": 0.1}, seed)["valid"]}
    if not held:
        raise PhotosError(
            "expected a split valid, or two different photos of a class in train; add some"
        )

    def part(name: str, *, of_held: bool) -> Split:
        chosen = [i for i, path in enumerate(train.paths) if (str(path) in held) == of_held]
        paths = tuple(train.paths[i] for i in chosen)
        return replace(
            train, name=name, paths=paths, targets=tuple(train.targets[i] for i in chosen)
        )

    return part("train", of_held=False), replace(
        part("valid", of_held=True), ignored=(), left_out=()
    )


def ensure_split(folder: Path, target: Path) -> Path:
    """Return the folder itself if it has splits, otherwise `target`, a split made from it.

    An existing `target` is reused: an earlier start made it.

    Raises:
        PhotosError, OSError: As `split_photos` does.
    """
    if "" not in find_roots(folder):
        return folder
    if target.is_dir():
        return target
    counts, broken = split_photos(
        folder,
        target,
        valid=0.1,
        test=0.1,
        seed=0,
        link=True,
        workers=available_cpus(),
        on_start=lambda photos: lambda done: None,
    )
    shown = ", ".join(f"{count} {split}" for split, count in counts.items())
    print(
        f"{folder} is not split: made {target} of it with {shown} photos (stratified, copies kept"
        f" together, seed 0; dogbreeds data split makes other shares)",
        flush=True,
    )
    for path, reason in broken.items():
        print(f"Left out {path}: {reason}", flush=True)
    return target


def _place(photo: Path, place: Path, *, link: bool) -> None:
    try:
        (os.link if link else shutil.copy2)(photo, place)
    except OSError as error:
        if not link or error.errno not in _NO_LINKS:
            raise
        shutil.copy2(photo, place)


def _units(members: Sequence[Member]) -> list[tuple[Member, ...]]:
    """Return what must stay together: groups of look-alikes, and single photos."""
    groups = [group.members for group in find_alike(members)]
    grouped = {member.name for group in groups for member in group}
    return [*groups, *((member,) for member in members if member.name not in grouped)]


def _assign(
    units: Sequence[tuple[Member, ...]], shares: dict[str, float], seed: int
) -> dict[str, list[Member]]:
    """Fill test and validation of each class with shuffled units; the rest is for training.

    The first unit of a class is always for training.
    """
    by_class: dict[str, list[tuple[Member, ...]]] = defaultdict(list)
    for unit in units:
        by_class[min(member.label for member in unit)].append(unit)
    chosen: dict[str, list[Member]] = {split: [] for split in SPLITS}
    for label, own in sorted(by_class.items()):
        own.sort(key=lambda unit: min(member.name for member in unit))
        random.Random(f"{seed}/{label}").shuffle(own)  # noqa: S311
        total = sum(map(len, own))
        lacking = {split: max(1, round(total * share)) for split, share in shares.items() if share}
        chosen["train"].extend(own[0])
        for unit in own[1:]:
            split = next((s for s, count in lacking.items() if count >= len(unit)), "train")
            chosen[split].extend(unit)
            if split != "train":
                lacking[split] -= len(unit)
    return chosen


def _check_classes(
    classes: Sequence[str], chosen: dict[str, list[Member]], requested: Sequence[str]
) -> None:
    for split in requested:
        if missing := sorted(set(classes) - {member.label for member in chosen[split]}):
            raise PhotosError(
                f"class {missing[0]} has too few different photos to have some in {split}: add"
                " photos, remove the class, or request fewer splits"
            )
