"""From one folder per class to train, valid and test: stratified, and the same each time."""

import errno
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from dogbreeds.data.alike import Member, find_alike
from dogbreeds.data.examine import Facts, examine
from dogbreeds.data.folders import SPLITS, find_problems, find_roots
from dogbreeds.data.listing import list_folder
from dogbreeds.data.photo import PhotosError
from dogbreeds.system.files import atomic_folder, free_path
from dogbreeds.system.resources import available_cpus


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
        source: Photos that are not split: class folders or a labels file.
        target: The photos directory to make; it appears when it is complete.
        valid: Share of each class for validation, 0 to 1.
        test: Share of each class for the test, 0 to 1.
        seed: The same seed and photos give the same splits.
        link: Make hard links instead of copies where the file system allows it: no time, no space.
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
    wanted = [split for split, share in {"train": 1, "valid": valid, "test": test}.items() if share]
    _check_classes(listing.classes, chosen, wanted)
    with atomic_folder(target) as partial:
        for split, assigned in chosen.items():
            for member in assigned:
                place = free_path(partial / split / member.label / Path(member.name).name)
                place.parent.mkdir(parents=True, exist_ok=True)
                _place(Path(member.name).resolve(), place, link=link)
    return {split: len(assigned) for split, assigned in chosen.items()}, broken


def ensure_split(folder: Path, target: Path) -> Path:
    """Return a photos directory with splits: the folder itself, or one that is made of it.

    Args:
        folder: A photos directory, split or not.
        target: The photos directory to make where the folder is not split; one that exists was
            made by an earlier start.

    Raises:
        PhotosError, OSError: As `split_photos` does.
    """
    roots = find_roots(folder)
    if "" not in roots:
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
    if link:
        try:
            os.link(photo, place)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise
        else:
            return
    shutil.copy2(photo, place)


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
