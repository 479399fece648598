"""Report broken, duplicate, leaking, conflicting and too small photos of a job."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from dogbreeds.data.alike import Member, find_alike, findings
from dogbreeds.data.folders import Split
from dogbreeds.data.pixels import DecodedSplit

_ENLARGED = 2  # a photo that is enlarged more than this is called small
_LISTED = 10  # warnings per kind in the log; the report contains all


def inspect(
    decoded: Mapping[str, DecodedSplit], splits: Mapping[str, Split], image_size: int
) -> dict[str, Any]:
    """Report on the decoded photos of all splits, and on the listings they come from; JSON-ready.

    By split name it has the number of ``photos`` used, ``broken`` files and ``left_out`` photos
    with the reason, ``ignored`` files that are not photos, and ``small`` photos (relative to the
    model's `image_size` in pixels) with their size; and ``duplicates``, groups of files that show
    the same photo. ``leaks`` and ``conflicts`` are numbers of photos, as `data.check` counts them.
    """
    report: dict[str, Any] = {
        name: {
            "photos": len(split.paths),
            "broken": {str(path): reason for path, reason in split.broken},
            "ignored": [str(path) for path in splits[name].ignored],
            "left_out": {str(path): reason for path, reason in splits[name].left_out},
            "small": {
                str(path): [facts.width, facts.height]
                for path, facts in zip(split.paths, split.facts, strict=True)
                if min(facts.width, facts.height) * _ENLARGED < image_size
            },
        }
        for name, split in decoded.items()
    }
    members = [
        Member(str(path), name, splits[name].classes[target], facts)
        for name, split in decoded.items()
        for path, target, facts in zip(split.paths, split.targets, split.facts, strict=True)
    ]
    groups = find_alike(members)
    report["duplicates"] = [
        {
            "files": [member.name for member in group],
            "splits": sorted({member.split for member in group}),
            "classes": sorted({member.label for member in group}),
        }
        for group in groups
    ]
    kinds = Counter(kind for group in groups for kind, _ in findings(group))
    report["leaks"], report["conflicts"] = kinds["leak"], kinds["conflict"]
    return report


def warnings(report: Mapping[str, Any]) -> list[str]:
    """Return the findings of a report of `inspect` as lines for the log."""
    lines: list[str] = []
    for name, split in report.items():
        if not isinstance(split, dict):
            continue
        lines += [f"Left out {path}: {reason}" for path, reason in split["broken"].items()]
        left_out = [f"Left out {path}: {reason}" for path, reason in split["left_out"].items()]
        lines += _shortened(left_out, f"left out of {name}")
        small = [f"Small photo {path}: {w} x {h} pixels" for path, (w, h) in split["small"].items()]
        lines += _shortened(small, f"small photos in {name}")
    duplicates = [
        f"The same photo in {' and '.join(group['splits'])}"
        f" ({' and '.join(group['classes'])}): {', '.join(group['files'])}"
        for group in sorted(report["duplicates"], key=lambda group: -len(group["splits"]))
    ]
    lines += _shortened(duplicates, "duplicates")
    if leaks := report["leaks"]:
        measured = "the accuracy measured on them is too good"
        lines.append(f"{leaks} photos are in another split as well: {measured}")
    if conflicts := report["conflicts"]:
        lines.append(f"{conflicts} photos are in another class as well: one label must be wrong")
    return lines


def _shortened(lines: list[str], what: str) -> list[str]:
    more = len(lines) - _LISTED
    return [*lines[:_LISTED], *([f"... and {more} more {what}"] if more > 0 else [])]
