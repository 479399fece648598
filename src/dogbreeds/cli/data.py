"""``dogbreeds data``: photos, from a download to S3."""

from functools import partial
from pathlib import Path

import click

from dogbreeds.cli import base, flags
from dogbreeds.cloud.settings import CloudSettings, ConfigError
from dogbreeds.system.resources import available_cpus
from dogbreeds.system.terminal import printable, progress_bar

_SHARE = click.FloatRange(0, 1, max_open=True)
_workers = base.option("--workers", type=click.IntRange(1), default=available_cpus, metavar="N",
                       help="Processes.", show_default="one per core")  # fmt: skip


@click.group(cls=base.Group)
def data() -> None:
    """Fetch, check, split, shard and upload photos."""


@data.command()
@click.argument("source", required=False)
@base.option("-o", "--out", type=base.PATH, default=Path("dogImages"), metavar="DIR",
             help="The photos directory to create.")  # fmt: skip
@flags.with_settings("data.sha256")
def fetch(settings: CloudSettings, source: str | None, out: Path) -> None:
    """Download and unpack photos.

    SOURCE is https://, s3:// or local: a zip or tar archive, or a folder (default: the setting
    data.url). An interrupted download is resumed.
    """
    from dogbreeds.data.fetch import fetched_before

    source = source or settings.data.url
    own = source == settings.data.url or settings.origins.get("data.sha256") == "--sha256"
    sha256 = settings.data.sha256 if own else ""  # the setting is the digest of data.url only
    if "://" not in source:
        source = str(Path(source).resolve())
    if there := fetched_before(out, source, sha256):
        click.echo(f"{out} exists already: {there}")
        return
    description = _fetch_from(source, settings, out, sha256)
    click.echo(f"Wrote {out}: {description}")


def _fetch_from(source: str, settings: CloudSettings, out: Path, sha256: str) -> str:
    from dogbreeds.data.download import HttpFile, Remote
    from dogbreeds.data.fetch import copy_folder, fetch_archive, fetch_folder

    archive: Remote | Path
    if source.startswith(("http://", "https://")):
        archive = HttpFile(source)
    elif source.startswith("s3://"):
        from dogbreeds.cloud import s3

        cloud = base.connect(settings)
        if not source.endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")):
            return fetch_folder(source, out, partial(s3.download_folder, cloud, source))
        archive = s3.S3File(cloud, source)
    elif "://" in source:
        raise ConfigError(f"expected https://, s3:// or a local path, got {source}")
    else:
        archive = Path(source)
        if archive.is_dir():
            return fetch_folder(source, out, partial(copy_folder, archive))
        if not archive.exists():
            raise FileNotFoundError(f"there is no {source}")
    return fetch_archive(archive, out, sha256=sha256)


@data.command()
@click.argument("folder", type=base.PATH)
@flags.json_option
@base.option("--html", type=base.PATH, metavar="FILE", help="Write a page with thumbnails.")
@base.option("--model", type=base.PATH, metavar="ARTIFACT",
             help="A model.tar.gz that names likely wrong labels.")  # fmt: skip
@base.option("--fix", is_flag=True, help="Move offenders to FOLDER-quarantine.")
@base.option("--undo", is_flag=True, help="Move them back, and check nothing.")
@_workers
def check(
    folder: Path,
    as_json: bool,
    html: Path | None,
    model: Path | None,
    fix: bool,
    undo: bool,
    workers: int,
) -> int:
    """Find broken, duplicate and leaking photos.

    FOLDER has photos in train|valid|test/CLASS/, or in CLASS/, or shards. The exit code is 0 if
    there is nothing to fix, 1 otherwise.
    """
    from dogbreeds.data import check_report, quarantine
    from dogbreeds.data.check import check as check_photos
    from dogbreeds.data.photo import PhotosError, ShardPhoto
    from dogbreeds.html.page import write_page

    if fix and undo:
        raise click.UsageError("--fix and --undo are mutually exclusive")
    if undo:
        return _undo(folder)
    checked = check_photos(folder, workers)
    if model:
        from dogbreeds.classifier import Classifier
        from dogbreeds.data.doubts import add_doubts

        classifier = Classifier.load(model)
        add_doubts(checked, classifier.classes, classifier.probabilities)
    base.output(as_json, checked.report, lambda: check_report.text(checked))
    if html:  # write it before the photos that it shows are moved
        write_page(html, check_report.html(checked))
    if fix and checked.offenders:
        if any(isinstance(photo, ShardPhoto) for photo in checked.photos.values()):
            raise PhotosError("photos cannot be moved out of shards: fix the folder they came from")
        away = quarantine.move_away(folder, checked.offenders)
        moved = f"Moved {len(checked.offenders)} photos to {away}; --undo moves them back"
        click.echo(moved, err=as_json)
    return 0 if checked.clean else 1


def _undo(folder: Path) -> int:
    from dogbreeds.data import quarantine

    try:
        count, staying = quarantine.restore(folder)
    except FileNotFoundError:
        click.echo(f"There is nothing in quarantine: no {quarantine.folder_of(folder)}")
        return 1
    click.echo(f"Moved {count} photos back")
    for name in staying:
        click.echo(f"error: {name} stays in quarantine: another file took its place", err=True)
    return 1 if staying else 0


@data.command()
@click.argument("folder", type=base.PATH)
@click.argument("out", type=base.PATH)
@base.option("--valid", type=_SHARE, default=0.1, help="Share of the photos.")
@base.option("--test", type=_SHARE, default=0.1, help="Share of the photos.")
@base.option("--seed", type=int, default=0, help="Another seed, another split.")
@base.option("--link", is_flag=True, help="Hard links instead of copies.")
@_workers
def split(
    folder: Path, out: Path, valid: float, test: float, seed: int, link: bool, workers: int
) -> None:
    """Make train, valid and test from one folder per class.

    Reads photos in FOLDER/CLASS/, writes OUT. The split is stratified by class; photos that look
    the same stay together.
    """
    from dogbreeds.data.photo import PhotosError
    from dogbreeds.data.split import split_photos

    if valid + test >= 1:
        raise PhotosError("expected --valid and --test to leave photos to train on")
    counts, broken = split_photos(
        folder, out, valid=valid, test=test, seed=seed, link=link, workers=workers
    )
    for path, reason in broken.items():
        click.echo(f"Left out {printable(str(path))}: {reason}")
    click.echo(f"Wrote {out}: " + ", ".join(f"{n} {split}" for split, n in counts.items() if n))


@data.command()
@click.argument("folder", type=base.PATH)
@click.argument("out", type=base.PATH)
@base.option("--megabytes", type=click.IntRange(1), default=256, metavar="N", help="Per shard.")
def shard(folder: Path, out: Path, megabytes: int) -> None:
    """Pack photos into tar shards.

    For large data sets: training reads OUT like FOLDER, with few requests to object storage.
    """
    from dogbreeds.data.folders import find_roots
    from dogbreeds.data.listing import list_folder
    from dogbreeds.data.photo import PhotosError
    from dogbreeds.data.shards import write_shards
    from dogbreeds.system.files import atomic_folder

    listings = {name: list_folder(root) for name, root in find_roots(folder).items()}
    total = sum(len(listing.photos) for listing in listings.values())
    if not total:
        raise PhotosError(f"expected photos in {folder}, found none")
    classes = sorted({name for listing in listings.values() for name in listing.classes})
    with atomic_folder(out) as partial, progress_bar("Pack", total) as bar:
        for name, listing in listings.items():
            (partial / name).mkdir(exist_ok=True)
            write_shards(partial / name, name or "photos", listing.photos, listing.labels, classes,
                         megabytes * 2**20, bar.update)  # fmt: skip
    click.echo(f"Wrote {out}: {total} photos in {len(list(out.rglob('*.tar')))} shards")


@data.command()
@click.argument("folder", type=base.PATH)
@base.option("--delete", is_flag=True, help="Delete what is on S3 but not in FOLDER.")
@base.option("--dry-run", is_flag=True, help="Print what would be done.")
@flags.with_settings("training.data")
def upload(settings: CloudSettings, folder: Path, delete: bool, dry_run: bool) -> None:
    """Upload a photos directory, or shards, to S3."""
    from dogbreeds.cloud import upload as s3_upload

    address, files = s3_upload.destination(settings), s3_upload.find_files(folder)
    cloud = base.connect(settings)
    planned = s3_upload.plan(cloud, address, files)
    surplus = planned.surplus if delete else []
    if dry_run:
        for name in planned.files:
            click.echo(f"upload {address}/{name}")
        for name in surplus:
            click.echo(f"delete {address}/{name}")
    else:
        size = sum(path.stat().st_size for path in planned.files.values())
        with progress_bar("Upload", size, unit="B") as bar:
            s3_upload.send(cloud, planned, bar.update)
        if surplus:
            s3_upload.delete_surplus(cloud, planned)
    would = "would be " if dry_run else ""
    click.echo(f"{len(planned.files)} files {would}sent, {planned.unchanged} were there already,"
               f" {len(surplus)} {would}deleted")  # fmt: skip
    if planned.surplus and not delete:
        click.echo(f"{len(planned.surplus)} more files are on S3: --delete deletes them")
    is_new = not dry_run and settings.training.data.rstrip("/") != address
    hint = f'\nTo train on them, in dogbreeds.toml:\n\n  [training]\n  data = "{address}"\n'
    click.echo(hint if is_new else address)
