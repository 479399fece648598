"""Move photos out of the way, and back; nothing is deleted.

``log.jsonl`` in the quarantine folder names each photo and the reason, before it is moved: so
`restore` finds every moved photo even after a crash.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from dogbreeds.system.files import atomic_write, free_path

LOG = "log.jsonl"


def folder_of(photos: Path) -> Path:
    """Return the quarantine folder: next to the photos, so that nothing trains on it."""
    resolved = photos.resolve()
    return resolved.with_name(f"{resolved.name}-quarantine")


def move_away(photos: Path, offenders: Mapping[str, str]) -> Path:
    """Move `offenders`, paths in `photos` with the reason, to the returned quarantine folder.

    If a photo cannot be moved (OSError), those moved before it are logged.
    """
    quarantine = folder_of(photos)
    quarantine.mkdir(exist_ok=True)
    with (quarantine / LOG).open("a", encoding="utf-8") as log:
        for name, reason in offenders.items():
            target = free_path(quarantine / name)
            entry = {"photo": name, "kept": str(target.relative_to(quarantine)), "reason": reason}
            log.write(json.dumps(entry) + "\n")
            log.flush()
            os.fsync(log.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(photos / name, target)
    return quarantine


def restore(photos: Path) -> tuple[int, list[str]]:
    """Put all photos back; return how many, and the names of those whose place is taken.

    FileNotFoundError if there is no quarantine folder. After another error a second call resumes.
    """
    quarantine = folder_of(photos)
    back, staying = 0, list[str]()
    for line in (quarantine / LOG).read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # a power failure cut the line, before the photo was moved
            continue
        kept, home = quarantine / entry["kept"], photos / entry["photo"]
        if kept.exists() and home.exists():
            staying.append(line)
        elif kept.exists():  # else it was put back before, or never moved
            home.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(kept, home)
            back += 1
    if staying:
        with atomic_write(quarantine / LOG) as log:
            log.write_text("".join(f"{line}\n" for line in staying), encoding="utf-8")
    else:
        (quarantine / LOG).unlink()
    for path, _, _ in os.walk(quarantine, topdown=False):
        with contextlib.suppress(OSError):  # keep a folder that is not empty
            Path(path).rmdir()
    return back, [json.loads(line)["photo"] for line in staying]
