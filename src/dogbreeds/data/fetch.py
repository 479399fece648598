"""Fetch photos: download, unpack and check them, then put them in place atomically."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dogbreeds.data import udacity
from dogbreeds.data.archives import extract
from dogbreeds.data.download import Remote, download
from dogbreeds.data.folders import find_roots, root_of
from dogbreeds.data.listing import is_junk, list_folder
from dogbreeds.data.photo import PhotosError
from dogbreeds.model.archive import ArchiveError
from dogbreeds.system.files import write_json
from dogbreeds.system.terminal import progress_bar

_MARK = ".dogbreeds-fetch.json"  # records in the photos directory where they came from


def fetched_before(target: Path, source: str, sha256: str) -> str | None:
    """Return what was fetched to `target` before; None if it is empty; PhotosError if another."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    try:
        mark = json.loads((target / _MARK).read_text())
        same = mark["source"] == source and (not sha256 or mark["sha256"] == sha256)
        description = str(mark["description"])
    except (OSError, ValueError, KeyError, TypeError):
        came = f"{target} exists already and was not fetched by this command"
        raise PhotosError(f"{came}: name another folder with --out") from None
    if not same:
        came = f"{target} was fetched from {mark['source']}"
        raise PhotosError(f"{came}: name another folder with --out, or remove it")
    return description


def fetch_archive(source: Remote | Path, target: Path, *, sha256: str) -> str:
    """Fetch and unpack an archive to a new photos directory; return a description of its photos.

    On failure, a partial download is kept in ``.NAME.fetch`` next to the target and resumed by the
    next call; a wrong archive (PhotosError, ArchiveError) is deleted. The SHA-256 is in
    hexadecimal; empty if unknown. OSError if it cannot be downloaded, or the disk is full.
    """
    with _workplace(target) as work:
        if isinstance(source, Path):
            address, archive = str(source.resolve()), source
        else:
            address, archive = source.address, work / "archive"

            def on_start(total: int | None) -> None:
                have = sum(file.stat().st_size for file in work.iterdir() if file.is_file())
                free = shutil.disk_usage(work).free + have
                needed = 2 * (total or 0)  # the unpacked photos need about as much again
                if needed > free:
                    raise OSError(
                        f"the disk is too small: {needed:,} bytes are needed for the archive and"
                        f" its photos, {free:,} are free"
                    )
                bar.total = total

            with progress_bar("Download", None, unit="B") as bar:
                download(source, archive, on_start, lambda there: bar.update(there - bar.n))
        try:
            # Hash a local archive only on request: it takes another pass over the file.
            digest = ""
            if sha256 or not isinstance(source, Path):
                with archive.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if sha256 and digest != sha256.lower():
                raise ArchiveError(f"expected the SHA-256 {sha256.lower()}, got {digest}")
            photos = work / "photos"
            photos.mkdir()
            extract(archive, photos)
            return _finish(photos, target, address, digest)
        except (PhotosError, ArchiveError):
            _clear(work)  # the next call should not find it
            raise


def fetch_folder(address: str, target: Path, copy: Callable[[Path], object]) -> str:
    """Fetch photos to a new directory by `copy`, which may skip what a failed call left there."""
    with _workplace(target) as work:
        (work / "copy").mkdir(exist_ok=True)
        copy(work / "copy")
        return _finish(work / "copy", target, address, "")


def copy_folder(source: Path, target: Path) -> None:
    """Copy a local folder of photos for `fetch_folder`; links are followed."""
    shutil.rmtree(target)
    shutil.copytree(source, target, ignore=lambda _, names: set(filter(is_junk, names)))


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """Lock and yield the folder next to the target in which everything is made."""
    work = target.with_name(f".{target.name}.fetch")
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PhotosError(f"another command is fetching {target}: wait for it") from None
        shutil.rmtree(work / "photos", ignore_errors=True)  # left by a killed call
        try:
            yield work
        finally:
            shutil.rmtree(work / "photos", ignore_errors=True)
            if not any(path.name != "lock" for path in work.iterdir()):
                shutil.rmtree(work)


def _finish(photos: Path, target: Path, address: str, sha256: str) -> str:
    root = root_of(photos)
    listings = {name: list_folder(folder) for name, folder in find_roots(root).items()}
    counts = {name: len(listing.photos) for name, listing in listings.items()}
    breeds = len({label for listing in listings.values() for label in listing.labels})
    if not breeds:
        places = "train|valid|test/CLASS/, or in CLASS/"
        raise PhotosError(f"expected photos in {places}, found none in {address}")
    if address == udacity.URL and (breeds, counts) != (udacity.BREEDS, udacity.PHOTOS):
        raise PhotosError(
            f"expected {udacity.BREEDS} breeds with {udacity.PHOTOS} photos in {address}, got"
            f" {breeds} with {counts}"
        )
    shown = [f"{count} {split or 'photos'}" for split, count in counts.items()]
    description = f"{breeds} classes, {', '.join(shown)}"
    write_json(root / _MARK, {"source": address, "sha256": sha256, "description": description})
    if target.exists():
        target.rmdir()  # it is empty
    root.rename(target)
    _clear(photos.parent)
    return description


def _clear(work: Path) -> None:
    """Delete the state that a resumed fetch would use."""
    for name in ("archive", "archive.json"):
        (work / name).unlink(missing_ok=True)
    shutil.rmtree(work / "copy", ignore_errors=True)
