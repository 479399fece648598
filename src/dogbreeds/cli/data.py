"""``dogbreeds data ...``: the verbs that need no AWS. Those that do are in `dogbreeds.cloud`."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from dogbreeds.system.resources import available_cpus

_LAYOUT = "photos in train|valid|test/CLASS/, or in CLASS/; or shards"
_Verb = Callable[[argparse.Namespace], int]


def register(verbs: Any) -> Any:  # noqa: ANN401  (argparse's type is private)
    """Add the verb ``data`` with verbs of its own.

    Returns:
        Where more of those can be added.
    """
    text = "fetch, check, split, shard and upload photos"
    data = verbs.add_parser("data", help=text, description=text)
    group = data.add_subparsers(required=True, metavar="VERB")

    check = _add(group, "check", _check, "find broken, duplicate and leaking photos",
                 "The exit code is 0 if there is nothing to mend, 1 otherwise.")  # fmt: skip
    check.add_argument("folder", type=Path, help=_LAYOUT)
    check.add_argument("--json", type=Path, metavar="FILE", help="write all findings")
    check.add_argument("--html", type=Path, metavar="FILE", help="write a page with thumbnails")
    what = check.add_mutually_exclusive_group()
    what.add_argument("--fix", action="store_true",
                      help="move offenders to FOLDER-quarantine")  # fmt: skip
    what.add_argument("--undo", action="store_true", help="move it back, and check nothing")
    add_workers(check)

    split = _add(group, "split", _split, "make train, valid and test of one folder a class",
                 "Classes are split alike; photos that look the same stay together.")  # fmt: skip
    split.add_argument("folder", type=Path, help="photos in CLASS/; it stays as it is")
    split.add_argument("out", type=Path, metavar="OUT", help="the photos directory to make")
    split.add_argument("--valid", type=_share, default=0.1, help="share (default: 0.1)")
    split.add_argument("--test", type=_share, default=0.1, help="share (default: 0.1)")
    split.add_argument("--seed", type=int, default=0, help="another seed, another split")
    split.add_argument("--link", action="store_true", help="hard links instead of copies")
    add_workers(split)

    shard = _add(group, "shard", _shard, "pack photos into tar shards",
                 "For large sets: training reads OUT as it reads FOLDER, with few requests to"
                 " object storage.")  # fmt: skip
    shard.add_argument("folder", type=Path, help=_LAYOUT.partition(";")[0])
    shard.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    shard.add_argument("--megabytes", type=_positive, default=256, metavar="N",
                       help="size of a shard (default: 256)")  # fmt: skip
    return group


def _add(group: Any, name: str, run: _Verb, text: str, more: str = "") -> argparse.ArgumentParser:  # noqa: ANN401
    parser: argparse.ArgumentParser = group.add_parser(
        name, help=text, description=text + ". " + more
    )
    parser.set_defaults(run=lambda _, options: guarded(partial(run, options)))
    return parser


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add a flag for how many processes work."""
    parser.add_argument("--workers", type=_positive, default=available_cpus(), metavar="N",
                        help="processes (default: one a core)")  # fmt: skip


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to under 1, got {text!r}")
    return share


def guarded(run: Callable[[], int]) -> int:
    """Run a verb and turn its errors into a line and an exit code."""
    from dogbreeds.data.photo import PhotosError

    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # names of files
    try:
        return run()
    except (PhotosError, OSError) as error:
        from dogbreeds.data.check_report import printable

        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def progress_bar(label: str, total: int | None, unit: str = " photos") -> "tqdm[NoReturn]":
    """Return a bar that is short-lived on a terminal and rare in a log.

    Args:
        label: What is going on.
        total: How much there is, if that is known.
        unit: ``"B"`` for bytes, which are then scaled.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        desc=label,
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        unit_divisor=1024 if unit == "B" else 1000,
        mininterval=0.2 if terminal else 30,
        leave=not terminal,
        dynamic_ncols=terminal,
        file=sys.stderr,
    )


@contextmanager
def bar_to_come(label: str) -> Iterator[Callable[[int], Callable[[int], object]]]:
    """Give what starts a progress bar when it is told how many photos there are."""
    with ExitStack() as stack:
        yield lambda photos: stack.enter_context(progress_bar(label, photos)).update


def _check(options: argparse.Namespace) -> int:
    from dogbreeds.data import check_report, quarantine
    from dogbreeds.data.check import check
    from dogbreeds.data.photo import PhotosError, ShardPhoto
    from dogbreeds.html.page import write_page
    from dogbreeds.system.files import write_json

    if options.undo:
        return _undo(options.folder)
    with bar_to_come("Check") as on_start:
        checked = check(options.folder, options.workers, on_start)
    print(check_report.text(checked))
    if options.json:
        write_json(options.json, checked.report)
    if options.html:  # before the photos are moved that it shows
        write_page(options.html, check_report.html(checked))
    if options.fix and checked.offenders:
        if any(isinstance(photo, ShardPhoto) for photo in checked.photos.values()):
            raise PhotosError("photos cannot be moved out of shards: fix the folder they came from")
        away = quarantine.move_away(options.folder, checked.offenders)
        print(f"Moved {len(checked.offenders)} photos to {away}; --undo moves them back")
    return 0 if checked.clean else 1


def _undo(folder: Path) -> int:
    from dogbreeds.data import quarantine

    try:
        count, staying = quarantine.restore(folder)
    except FileNotFoundError:
        print(f"There is nothing in quarantine: no {quarantine.folder_of(folder)}")
        return 1
    print(f"Moved {count} photos back")
    for name in staying:
        print(f"error: {name} stays in quarantine: there is another file in its place",
              file=sys.stderr)  # fmt: skip
    return 1 if staying else 0


def _split(options: argparse.Namespace) -> int:
    from dogbreeds.data.check_report import printable
    from dogbreeds.data.photo import PhotosError
    from dogbreeds.data.split import split_photos

    if options.valid + options.test >= 1:
        raise PhotosError("expected --valid and --test to leave photos to train on")
    with bar_to_come("Look at photos") as on_start:
        counts, broken = split_photos(
            options.folder,
            options.out,
            valid=options.valid,
            test=options.test,
            seed=options.seed,
            link=options.link,
            workers=options.workers,
            on_start=on_start,
        )
    for path, reason in broken.items():
        print(f"Left out {printable(str(path))}: {reason}")
    print(f"Wrote {options.out}: " + ", ".join(f"{n} {split}" for split, n in counts.items() if n))
    return 0


def _shard(options: argparse.Namespace) -> int:
    from dogbreeds.data.folders import find_roots
    from dogbreeds.data.listing import list_folder
    from dogbreeds.data.photo import PhotosError
    from dogbreeds.data.shards import write_shards
    from dogbreeds.system.files import atomic_folder

    listings = {name: list_folder(root) for name, root in find_roots(options.folder).items()}
    total = sum(len(listing.photos) for listing in listings.values())
    if not total:
        raise PhotosError(f"expected photos in {options.folder}, found none")
    classes = sorted({name for listing in listings.values() for name in listing.classes})
    with atomic_folder(options.out) as partial, progress_bar("Pack", total) as bar:
        for name, listing in listings.items():
            folder = partial / name
            folder.mkdir(exist_ok=True)
            write_shards(
                folder,
                name or "photos",
                listing.photos,
                listing.labels,
                classes,
                options.megabytes * 2**20,
                bar.update,
            )
    print(f"Wrote {options.out}: {total} photos in {len(list(options.out.rglob('*.tar')))} shards")
    return 0
