"""From one folder a class to train, valid and test: stratified, and the same each time."""

import os
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from dogbreeds.data.alike import Member, find_alike
from dogbreeds.data.examine import Facts, examine
from dogbreeds.data.folders import SPLITS, list_folder
from dogbreeds.data.photo import PhotosError
from dogbreeds.system.files import atomic_folder


def split_photos(
    source: Path,
    target: Path,
    *,
    valid: float,
    test: float,
    seed: int,
    link: bool,
    workers: int,
    on_start: Callable[[int], Callable[[int], object]],
) -> tuple[dict[str, int], dict[Path, str]]:
    """Split photos; those that look alike stay in one split, or the test would be no test.

    Args:
        source: With a folder a class.
        target: The photos directory to make; it appears when it is complete.
        valid: Share of each class for validation, 0 to 1.
        test: Share of each class for the test, 0 to 1.
        seed: The same seed and photos give the same splits.
        link: Make hard links instead of copies: no time, no space, but the same file system.
        workers: Processes that look at the photos.
        on_start: Called with the number of photos; what it returns is called with the number of
            photos done since the last call.

    Returns:
        Photos by split, and what was left out because it cannot be decoded, with the reason.

    Raises:
        PhotosError: The source is split already, has fewer than two classes, or a class has too
            few different photos for all splits.
        OSError: The target exists, or cannot be written. The source stays as it is in any case.
    """
    if not source.is_dir():
        raise PhotosError(f"expected a folder of photos, found none at {source}")
    listing = list_folder(source)
    if set(listing.classes) & set(SPLITS):
        raise PhotosError(f"expected class folders in {source}, got splits: it is split already")
    if len(listing.classes) < 2:
        raise PhotosError(
            f"expected at least 2 class folders in {source}, got {len(listing.classes)}"
        )
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
    wanted = [split for split, share in {"train": 1, "valid": valid, "test": test}.items() if share]
    _check_classes(listing.classes, chosen, wanted)
    with atomic_folder(target) as partial:
        for split, assigned in chosen.items():
            for member in assigned:
                place = partial / split / member.label / Path(member.name).name
                place.parent.mkdir(parents=True, exist_ok=True)
                if link:
                    os.link(member.name, place)
                else:
                    shutil.copy2(member.name, place)
    return {split: len(assigned) for split, assigned in chosen.items()}, broken


def _units(members: Sequence[Member]) -> list[tuple[Member, ...]]:
    """Return what must stay together: groups that look alike, and each other photo alone."""
    groups = [group.members for group in find_alike(members)]
    grouped = {member.name for group in groups for member in group}
    return [*groups, *((member,) for member in members if member.name not in grouped)]


def _assign(
    units: Sequence[tuple[Member, ...]], shares: dict[str, float], seed: int
) -> dict[str, list[Member]]:
    """Fill test and validation of each class with shuffled units; the rest is for training."""
    by_class: dict[str, list[tuple[Member, ...]]] = defaultdict(list)
    for unit in units:
        by_class[min(member.label for member in unit)].append(unit)
    chosen: dict[str, list[Member]] = {split: [] for split in SPLITS}
    for label, own in sorted(by_class.items()):
        own.sort(key=lambda unit: min(member.name for member in unit))
        random.Random(f"{seed}/{label}").shuffle(own)  # noqa: S311
        total = sum(map(len, own))
        lacking = {split: max(1, round(total * share)) for split, share in shares.items() if share}
        for unit in own:
            split = next((s for s, count in lacking.items() if count >= len(unit)), "train")
            chosen[split].extend(unit)
            if split != "train":
                lacking[split] -= len(unit)
    return chosen


def _check_classes(
    classes: Sequence[str], chosen: dict[str, list[Member]], wanted: Sequence[str]
) -> None:
    for split in wanted:
        if missing := sorted(set(classes) - {member.label for member in chosen[split]}):
            raise PhotosError(
                f"class {missing[0]} has too few different photos to have some in {split}: add"
                " photos, remove the class, or ask for fewer splits"
            )
