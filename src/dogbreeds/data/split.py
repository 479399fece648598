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
from dogbreeds.data.photo import Photo, PhotosError
from dogbreeds.system.files import atomic_folder, free_path
from dogbreeds.system.resources import available_cpus
from dogbreeds.system.terminal import progress_bar

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)


def split_photos(
    source: Path,
    target: Path,
    *,
    valid: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    link: bool,
    workers: int,
) -> tuple[dict[str, int], dict[Path, str]]:
    """Split photos; look-alikes stay in one split, so that no test photo was trained on.

    The source has class folders or a labels file, and stays as it is. The target is a photos
    directory that appears when it is complete; `link` makes hard links instead of copies where the
    file system allows it. `valid` and `test` are shares of each class, 0 to 1. The same seed and
    photos give the same splits. `workers` processes examine the photos.

    The number of photos by split is returned, and those left out because they cannot be decoded,
    with the reason. PhotosError if the source is split already, has fewer than two classes, or a
    class has too few distinct photos for all splits; OSError if the target exists.
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
    with progress_bar("Look at photos", len(photos)) as bar:
        facts = examine(photos, workers, bar.update)
    broken = {p: f for p, f in zip(photos, facts, strict=True) if isinstance(f, str)}
    chosen = _assign(photos, listing.labels, facts, {"test": test, "valid": valid}, seed)
    shares = {"train": 1, "valid": valid, "test": test}
    for split in (split for split, share in shares.items() if share):
        if missing := sorted(set(listing.classes) - {member.label for member in chosen[split]}):
            raise PhotosError(
                f"class {missing[0]} has too few different photos to have some in {split}: add"
                " photos, remove the class, or request fewer splits"
            )
    with atomic_folder(target) as partial:
        for split, assigned in chosen.items():
            for member in assigned:
                place = free_path(partial / split / member.label / Path(member.name).name)
                place.parent.mkdir(parents=True, exist_ok=True)
                _place(Path(member.name).resolve(), place, link=link)
    return {split: len(assigned) for split, assigned in chosen.items()}, broken


def hold_out(train: Split, seed: int, workers: int) -> tuple[Split, Split]:
    """Move a tenth of each class, drawn with `seed`, from ``train`` to a split ``valid``.

    Look-alikes stay together. Each class keeps at least one photo, and gives one if it can; what
    cannot be decoded stays in ``train``. PhotosError if no class has two different photos, OSError
    if a worker was killed.
    """
    labels = [train.classes[target] for target in train.targets]
    chosen = _assign(train.paths, labels, examine(train.paths, workers), {"valid": 0.1}, seed)
    held = {member.name for member in chosen["valid"]}
    if not held:
        raise PhotosError(
            "expected a split valid, or two different photos of a class in train; add some"
        )

    def part(*, of_held: bool) -> Split:
        rows = [i for i, path in enumerate(train.paths) if (str(path) in held) == of_held]
        paths, targets = train.paths, train.targets
        return replace(
            train, paths=tuple(paths[i] for i in rows), targets=tuple(targets[i] for i in rows)
        )

    valid = replace(part(of_held=True), name="valid", ignored=(), left_out=())
    return part(of_held=False), valid


def ensure_split(folder: Path, target: Path) -> Path:
    """Return the folder if it has splits, else `target`: its split, made now or before.

    PhotosError or OSError as of `split_photos`.
    """
    if "" not in find_roots(folder):
        return folder
    if target.is_dir():
        return target
    counts, broken = split_photos(folder, target, link=True, workers=available_cpus())
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


def _assign(
    photos: Sequence[Photo],
    labels: Sequence[str],
    facts: Sequence[Facts | str],
    shares: dict[str, float],
    seed: int,
) -> dict[str, list[Member]]:
    """Fill test and validation of each class with shuffled units; the rest is for training.

    A unit is a group of look-alikes or a single photo; the first of a class is for training.
    """
    members = [
        Member(str(photo), "", label, found)
        for photo, label, found in zip(photos, labels, facts, strict=True)
        if isinstance(found, Facts)
    ]
    groups = find_alike(members)
    grouped = {member.name for group in groups for member in group}
    by_class: dict[str, list[list[Member]]] = defaultdict(list)
    for unit in (*groups, *([member] for member in members if member.name not in grouped)):
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
