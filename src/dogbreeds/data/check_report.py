"""The report of `dogbreeds.data.check` for people: as text, and as a page with thumbnails."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from dogbreeds.data.check import KINDS, LEFT_OUT, ODDITIES, OFFENCES, Checked
from dogbreeds.html.page import asset, page
from dogbreeds.html.thumbnails import thumbnail
from dogbreeds.system.terminal import printable

_LISTED = 10  # findings per kind in the text; JSON and the page show more
_PICTURED = 48  # findings per kind on the page, about 10 kB each


def text(checked: Checked) -> str:
    """Return the report as lines for a terminal."""
    return "\n".join(map(printable, [*_lines(checked.report), *_verdict(checked)]))


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    for split, classes in report["splits"].items():
        yield f"{split or 'photos'}: {sum(classes.values())} photos of {len(classes)} classes"
    yield from (f"note: {note}" for note in report["notes"])
    yield from (f"problem: {problem}" for problem in report["problems"])
    for kind, meaning in KINDS.items():
        found = report["findings"].get(kind, [])
        if found:
            yield f"{kind}, {len(found)} ({meaning}):"
        yield from (f"  {entry['photo']}: {entry['detail']}" for entry in found[:_LISTED])
        if len(found) > _LISTED:
            yield f"  ... and {len(found) - _LISTED} more"


def _verdict(checked: Checked) -> Iterator[str]:
    """Yield how much there is to fix, and the command that does it."""
    report, offenders = checked.report, checked.offenders
    counts = {kind: len(entries) for kind, entries in report["findings"].items()}
    if report["problems"]:
        yield f"Training would refuse this: {len(report['problems'])} problems, see above."
    if offenders:
        shown = ", ".join(f"{counts[kind]} {kind}" for kind in OFFENCES if kind in counts)
        yield (
            f"To mend: {len(offenders)} of {report['photos']} photos ({shown})."
            f" dogbreeds data check --fix {shlex.quote(report['folder'])} moves them away;"
            " --undo moves them back."
        )
    if left := sum(counts.get(kind, 0) for kind in LEFT_OUT):
        yield (
            f"Left out: {left} that training does not take. Move them to class folders, fetch"
            " what links point to, or remove them."
        )
    if checked.clean:
        others = {kind: counts[kind] for kind in ODDITIES if kind in counts}
        shown = ", ".join(f"{count} {kind}" for kind, count in others.items())
        yield f"No photo must be mended; worth a look: {shown}." if others else "Nothing to mend."


def html(checked: Checked) -> str:
    """Return the report as one page that needs no network; ``check_report.js`` builds it."""
    report, found = checked.report, checked.report["findings"]
    shown = {kind: found[kind][:_PICTURED] for kind in KINDS if kind in found}
    names = {
        e[k] for entries in shown.values() for e in entries for k in ("photo", "like") if k in e
    }
    data = {
        **report, "findings": shown, "counts": {kind: len(found[kind]) for kind in shown},
        "kinds": KINDS, "offences": [*OFFENCES], "left_out": [*LEFT_OUT],
        "thumbnails": {n: thumbnail(checked.photos[n]) for n in names if n in checked.photos},
        "verdict": " ".join(_verdict(checked)), "clean": checked.clean,
    }  # fmt: skip
    script, css = (asset(f"check_report.{kind}", __package__) for kind in ("js", "css"))
    title = f"Photos of {report['folder']}"
    return page(title, '<div id="page"></div>', css=css, script=asset("dom.js") + script, data=data)
