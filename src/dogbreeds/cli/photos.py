"""``dogbreeds data fetch`` and ``upload``: the verbs about photos that use the settings."""

import argparse
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dogbreeds.cli.data import add_workers, bar_to_come, guarded, progress_bar
from dogbreeds.cli.verbs import Verb, add
from dogbreeds.cloud.settings import CloudSettings, ConfigError

if TYPE_CHECKING:
    from dogbreeds.data.fetch import Progress


def register(data: Any) -> None:  # noqa: ANN401
    """Add the verbs.

    Args:
        data: Where `dogbreeds.cli.data.register` says.
    """
    fetch = add(data, "fetch", _guarded(_fetch), ("data.sha256",), "download and unpack photos")
    fetch.add_argument("source", nargs="?", metavar="SOURCE",
                       help="https://, s3:// or local: a zip or tar archive, or a folder"
                            " (default: data.url)")  # fmt: skip
    fetch.add_argument("--to", type=Path, default=Path("dogImages"), metavar="DIR",
                       help="the photos directory to make (default: dogImages)")  # fmt: skip
    add_workers(fetch)

    upload = add(data, "upload", _guarded(_upload), ("training.data",), "send photos to S3")
    upload.add_argument("folder", type=Path, help="photos directory, or shards")
    upload.add_argument("--delete", action="store_true",
                        help="delete what is on S3 but not in FOLDER")  # fmt: skip
    upload.add_argument("--dry-run", action="store_true", help="say what would be done")


def _guarded(verb: Verb) -> Verb:
    return lambda settings, options: guarded(partial(verb, settings, options))


def _fetch(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.data.fetch import fetched_before

    source: str = options.source or settings.data.url
    own = source == settings.data.url or settings.origins.get("data.sha256") == "--sha256"
    sha256 = settings.data.sha256 if own else ""  # of the file's url, not of another source
    if "://" not in source:
        source = str(Path(source).resolve())
    if there := fetched_before(options.to, source, sha256):
        print(f"{options.to} is there already: {there}")
        return 0
    with ExitStack() as stack:
        description = _fetch_from(source, settings, options, sha256, _progress(stack))
    print(f"Wrote {options.to}: {description}")
    return 0


def _fetch_from(
    source: str,
    settings: CloudSettings,
    options: argparse.Namespace,
    sha256: str,
    progress: "Progress",
) -> str:
    from dogbreeds.data.download import HttpFile, Remote
    from dogbreeds.data.fetch import copy_folder, fetch_archive, fetch_folder

    archive: Remote | Path
    if source.startswith(("http://", "https://")):
        archive = HttpFile(source)
    elif source.startswith("s3://"):
        from dogbreeds.cloud import s3
        from dogbreeds.cloud.aws import Cloud

        cloud = Cloud(settings)
        if not source.endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")):
            copy = s3.copy_folder(cloud, source, progress.extracting)
            return fetch_folder(source, options.to, copy)
        archive = s3.S3File(cloud, source)
    elif "://" in source:
        raise ConfigError(f"expected https://, s3:// or a local path, got {source}")
    else:
        archive = Path(source)
        if archive.is_dir():
            return fetch_folder(source, options.to, copy_folder(archive))
        if not archive.exists():
            raise FileNotFoundError(f"there is no {source}")
    return fetch_archive(
        archive, options.to, sha256=sha256, workers=options.workers, progress=progress
    )


def _progress(stack: ExitStack) -> "Progress":
    """Return bars that are there when something is to be shown, and end with the stack."""
    from dogbreeds.data.fetch import Progress

    bars: list[Any] = []

    def downloading(total: int | None) -> None:
        if not bars:
            bars.append(stack.enter_context(progress_bar("Download", total, unit="B")))
        bars[0].total = total

    def downloaded(there: int) -> None:
        bars[0].update(there - bars[0].n)

    return Progress(downloading, downloaded, stack.enter_context(bar_to_come("Unpack")))


def _upload(settings: CloudSettings, options: argparse.Namespace) -> int:
    from dogbreeds.cloud import upload
    from dogbreeds.cloud.aws import Cloud

    address = upload.destination(settings)
    files = upload.find_files(options.folder)
    cloud = Cloud(settings)
    planned = upload.plan(cloud, address, files)
    surplus = planned.surplus if options.delete else []
    if options.dry_run:
        for name in planned.files:
            print(f"upload {address}/{name}")
        for name in surplus:
            print(f"delete {address}/{name}")
    else:
        size = upload.size_of(planned.files.values())
        with progress_bar("Upload", size, unit="B") as bar:
            upload.send(cloud, planned, bar.update)
        if surplus:
            upload.delete_surplus(cloud, planned)
    would = "would be " if options.dry_run else ""
    print(
        f"{len(planned.files)} files {would}sent, {planned.unchanged} were there already,"
        f" {len(surplus)} {would}deleted"
    )
    if planned.surplus and not options.delete:
        print(f"{len(planned.surplus)} more files are on S3: --delete deletes them")
    if not options.dry_run and settings.training.data.rstrip("/") != address:
        print(f'\nTo train on them, in dogbreeds.toml:\n\n  [training]\n  data = "{address}"\n')
    else:
        print(address)
    return 0
