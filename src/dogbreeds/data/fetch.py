"""Photos from somewhere else: downloaded, unpacked, checked, and there when they are whole."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dogbreeds.data import udacity
from dogbreeds.data.archives import ArchiveError, extract
from dogbreeds.data.download import Remote, download
from dogbreeds.data.folders import find_roots, root_of
from dogbreeds.data.listing import is_junk, list_folder
from dogbreeds.data.photo import PhotosError
from dogbreeds.system.files import write_json

_MARK = ".dogbreeds-fetch.json"  # in the photos directory: where they came from


@dataclass(frozen=True)
class Progress:
    """What is told while photos are fetched.

    Attributes:
        downloading: Called with the size in bytes, or None if unknown; may be called again.
        downloaded: Called with the number of bytes that are there.
        extracting: As `dogbreeds.data.archives.extract` calls it.
    """

    downloading: Callable[[int | None], object]
    downloaded: Callable[[int], object]
    extracting: Callable[[int], Callable[[int], object]]


def fetched_before(target: Path, source: str, sha256: str) -> str | None:
    """Return a description of photos that were fetched before; None: there are none yet.

    Args:
        target: The photos directory.
        source: Where they should come from.
        sha256: That the archive should have; empty: any.

    Raises:
        PhotosError: There is something else.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    try:
        mark = json.loads((target / _MARK).read_text())
        same = mark["source"] == source and (not sha256 or mark["sha256"] == sha256)
        description = str(mark["description"])
    except (OSError, ValueError, KeyError, TypeError):
        raise PhotosError(
            f"{target} exists already and was not fetched by this command: name another folder"
            " with --out"
        ) from None
    if not same:
        raise PhotosError(
            f"{target} was fetched from {mark['source']}: name another folder with --out, or remove"
            " it"
        )
    return description


def fetch_archive(
    source: Remote | Path, target: Path, *, sha256: str, workers: int, progress: Progress
) -> str:
    """Fetch and unpack an archive.

    What was downloaded when this fails is kept in ``.NAME.fetch`` beside the target and used by
    the next call; an archive that turns out to be wrong is not kept.

    Args:
        source: Where the archive is.
        target: The photos directory to make.
        sha256: The archive's, in hexadecimal; empty: not known.
        workers: Processes that unpack.
        progress: Told how it goes.

    Returns:
        A description: how many photos of how many breeds.

    Raises:
        PhotosError: The archive is not what was expected.
        OSError: It cannot be had, or the disk is full.
    """
    with _workplace(target) as work:
        if isinstance(source, Path):
            address, archive = str(source.resolve()), source
        else:
            address, archive = source.address, work / "archive"
            download(source, archive, _with_room(work, progress.downloading), progress.downloaded)
        try:
            # Of a local archive only if asked for: it would be one more pass over all of it.
            digest = _sha256(archive) if sha256 or not isinstance(source, Path) else ""
            if sha256 and digest != sha256.lower():
                raise ArchiveError(f"expected the SHA-256 {sha256.lower()}, got {digest}")
            photos = work / "photos"
            photos.mkdir()
            extract(archive, photos, workers, progress.extracting)
            return _finish(photos, target, address, digest)
        except PhotosError:
            if not isinstance(source, Path):
                _clear(work)  # the next call should not find it
            raise


def fetch_folder(address: str, target: Path, copy: Callable[[Path], object]) -> str:
    """Fetch photos that are no archive.

    Args:
        address: Where they come from.
        target: The photos directory to make.
        copy: Copies them to the folder that it is given; files that are there from a call that
            failed need not be copied again.

    Returns:
        As `fetch_archive` does.

    Raises:
        PhotosError: There are no photos.
        OSError: They cannot be copied.
    """
    with _workplace(target) as work:
        (work / "copy").mkdir(exist_ok=True)
        copy(work / "copy")
        return _finish(work / "copy", target, address, "")


def copy_folder(source: Path) -> Callable[[Path], object]:
    """Return what copies a local folder for `fetch_folder`; links are followed."""

    def ignore(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if is_junk(name)]

    def copy(target: Path) -> None:
        shutil.rmtree(target)
        shutil.copytree(source, target, ignore=ignore)

    return copy


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """Give the folder beside the target where everything is made; only one process may use it."""
    work = target.with_name(f".{target.name}.fetch")
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PhotosError(f"another command is fetching {target}: wait for it") from None
        shutil.rmtree(work / "photos", ignore_errors=True)  # of a call that was killed
        try:
            yield work
        finally:
            shutil.rmtree(work / "photos", ignore_errors=True)
            if not any(path.name != "lock" for path in work.iterdir()):
                shutil.rmtree(work)


def _with_room(
    folder: Path, on_start: Callable[[int | None], object]
) -> Callable[[int | None], object]:
    """Refuse a download that cannot fit; unpacked photos need about as much again."""

    def check(total: int | None) -> None:
        have = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        free = shutil.disk_usage(folder).free + have
        if total is not None and 2 * total > free:
            raise OSError(
                f"the disk is too small: {2 * total:,} bytes are needed for the archive and its"
                f" photos, {free:,} are free"
            )
        on_start(total)

    return check


def _sha256(archive: Path) -> str:
    with archive.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _finish(photos: Path, target: Path, address: str, sha256: str) -> str:
    """Check photos and give them their name."""
    root = root_of(photos)
    listings = {name: list_folder(folder) for name, folder in find_roots(root).items()}
    counts = {name: len(listing.photos) for name, listing in listings.items()}
    breeds = len({label for listing in listings.values() for label in listing.labels})
    if not breeds:
        raise PhotosError(
            f"expected photos in train|valid|test/CLASS/, or in CLASS/, found none in {address}"
        )
    if address == udacity.URL and (breeds, counts) != (udacity.BREEDS, udacity.PHOTOS):
        raise PhotosError(
            f"expected {udacity.BREEDS} breeds with {udacity.PHOTOS} photos in {address}, got"
            f" {breeds} with {counts}"
        )
    shown = [f"{count} {split or 'photos'}" for split, count in counts.items()]
    description = f"{breeds} classes, {', '.join(shown)}"
    mark = {"source": address, "sha256": sha256, "description": description}
    write_json(root / _MARK, mark)
    if target.exists():
        target.rmdir()  # an empty one
    root.rename(target)
    _clear(photos.parent)
    return description


def _clear(work: Path) -> None:
    """Delete the state that a resumed download would use."""
    for name in ("archive", "archive.json"):
        (work / name).unlink(missing_ok=True)
    shutil.rmtree(work / "copy", ignore_errors=True)
