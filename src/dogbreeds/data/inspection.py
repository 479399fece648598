"""What is odd about the photos of a job: broken, duplicate, leaking between splits, too small."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from dogbreeds.data.folders import Split
from dogbreeds.data.photo import Photo
from dogbreeds.data.pixels import DecodedSplit

_ENLARGED = 2  # a photo that must be enlarged more than this shows the model little
_LISTED = 10  # warnings of a kind in the log; the report has all


def inspect(
    decoded: Mapping[str, DecodedSplit], splits: Mapping[str, Split], image_size: int
) -> dict[str, Any]:
    """Report on the photos of all splits; no file is read again.

    Args:
        decoded: By split name.
        splits: The listing that was decoded.
        image_size: Side of the model's input in pixels.

    Returns:
        JSON-ready: by split name the number of ``photos`` used, ``broken`` files with the reason,
        ``ignored`` files and ``small`` ones with their size; and ``duplicates``, groups of files
        that show the same photo, with the classes and splits that they stand in. ``leaks`` is
        the number of groups that span two splits: a model is measured on what it was trained on.
        ``conflicts`` is the number of groups that span two classes: one label must be wrong.
    """
    report: dict[str, Any] = {
        name: {
            "photos": len(split.paths),
            "broken": {str(path): reason for path, reason in split.broken},
            "ignored": [str(path) for path in splits[name].ignored],
            "small": {
                str(path): [facts.width, facts.height]
                for path, facts in zip(split.paths, split.facts, strict=True)
                if min(facts.width, facts.height) * _ENLARGED < image_size
            },
        }
        for name, split in decoded.items()
    }
    groups = _duplicates(decoded.values())
    report["duplicates"] = groups
    report["leaks"] = sum(len(group["splits"]) > 1 for group in groups)
    report["conflicts"] = sum(len(group["classes"]) > 1 for group in groups)
    return report


def _duplicates(splits: Iterable[DecodedSplit]) -> list[dict[str, list[str]]]:
    found: dict[bytes, list[tuple[str, Photo]]] = defaultdict(list)
    for split in splits:
        for path, facts in zip(split.paths, split.facts, strict=True):
            found[facts.digest].append((split.name, path))
    return [
        {
            "files": [str(path) for _, path in photos],
            "splits": sorted({split for split, _ in photos}),
            "classes": sorted({path.parent.name for _, path in photos}),
        }
        for photos in found.values()
        if len(photos) > 1
    ]


def warnings(report: Mapping[str, Any]) -> list[str]:
    """Return a report's findings as lines for the log.

    Args:
        report: Of `inspect`.
    """
    lines: list[str] = []
    for name, split in report.items():
        if not isinstance(split, dict):
            continue
        lines += [f"Left out {path}: {reason}" for path, reason in split["broken"].items()]
        lines += _shortened(
            [f"Small photo {path}: {w} x {h} pixels" for path, (w, h) in split["small"].items()],
            f"small photos in {name}",
        )
    lines += _shortened(
        [
            f"The same photo in {' and '.join(group['splits'])}"
            f" ({' and '.join(group['classes'])}): {', '.join(group['files'])}"
            for group in sorted(report["duplicates"], key=lambda group: -len(group["splits"]))
        ],
        "duplicates",
    )
    if report["leaks"]:
        lines.append(
            f"{report['leaks']} photos stand in more than one split: the accuracy measured on them"
            " is too good"
        )
    if report["conflicts"]:
        lines.append(
            f"{report['conflicts']} photos stand in more than one class: one label must be wrong"
        )
    return lines


def _shortened(lines: list[str], what: str) -> list[str]:
    more = len(lines) - _LISTED
    return [*lines[:_LISTED], *([f"... and {more} more {what}"] if more > 0 else [])]
