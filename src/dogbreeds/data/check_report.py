"""The report of `dogbreeds.data.check` for people: as text, and as a page with thumbnails."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from dogbreeds.data.check import KINDS, LEFT_OUT, ODDITIES, OFFENCES, Checked
from dogbreeds.html.page import asset, escape, page
from dogbreeds.html.thumbnails import thumbnail
from dogbreeds.system.terminal import printable

_LISTED = 10  # findings per kind in the text; JSON and the page show more
_PICTURED = 48  # findings per kind on the page, about 10 kB each
_ROWS = 1000  # classes in the page's table
_CSS = """
meter { width: 100%; min-width: 5rem; height: .8rem; }
figure .pair { display: grid; grid-template-columns: 1fr 1fr; gap: 2px; }
figure:has(.pair) { grid-column: span 2; }
.kinds { display: flex; gap: .5rem; align-items: center; flex-wrap: wrap; }
"""


def text(checked: Checked) -> str:
    """Return the report as lines for a terminal."""
    return "\n".join(map(printable, [*_lines(checked.report), *_verdict(checked)]))


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    for split, classes in report["splits"].items():
        yield f"{split or 'photos'}: {sum(classes.values())} photos of {len(classes)} classes"
    shown = [f"{label}: {count}" for label, count in report["sizes"].items() if count]
    if shown:
        yield f"short side in pixels: {', '.join(shown)}"
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
    """Return the report as one page that needs no network."""
    report = checked.report
    offences = sum(len(report["findings"].get(kind, ())) for kind in OFFENCES)
    splits = [(split, sum(count.values())) for split, count in report["splits"].items() if split]
    cards = [("Photos", report["photos"]), ("To mend", offences), *splits]
    body = [
        f'<header class="top"><h1>Photos of {escape(report["folder"])}</h1>'
        f'<p class="lead {"good" if checked.clean else "bad"}">'
        f"{escape(printable(' '.join(_verdict(checked))))}</p></header><main>",
        '<section><div class="cards">',
        *(
            f'<div class="card"><div class="label">{escape(label)}</div>'
            f'<div class="value">{value:,}</div></div>'
            for label, value in cards
        ),
        "</div>",
        *(f'<p class="bad">{escape(problem)}</p>' for problem in report["problems"]),
        *(f'<p class="warn">{escape(note)}</p>' for note in report["notes"]),
        "</section>",
        *(_section(checked, kind, meaning) for kind, meaning in KINDS.items()),
        _table(
            "Sizes",
            ["Short side in pixels", "Photos"],
            {label: [count] for label, count in report["sizes"].items()},
        ),
        _classes(report["splits"]),
        "</main>",
    ]
    script = asset("check_report.js", __package__)
    return page(f"Photos of {report['folder']}", "".join(body), css=_CSS, script=script)


def _section(checked: Checked, kind: str, meaning: str) -> str:
    found = checked.report["findings"].get(kind, [])
    if not found:
        return ""
    color = "bad" if kind in OFFENCES or kind in LEFT_OUT else "warn"
    more = len(found) - _PICTURED
    rest = f'<p class="note">and {more} more: see <code>--json</code></p>' if more > 0 else ""
    return (
        f'<section data-kind="{kind}"><h2>{kind.capitalize()}'
        f' <span class="tag {color}">{len(found)}</span></h2>'
        f'<p class="note">{escape(meaning)}</p><div class="photos">'
        f"{''.join(_figure(checked, entry) for entry in found[:_PICTURED])}</div>{rest}</section>"
    )


def _figure(checked: Checked, entry: Mapping[str, str]) -> str:
    shown = [entry[key] for key in ("photo", "like") if key in entry]
    pictures = "".join(_picture(checked, name) for name in shown)
    return (
        f'<figure><div class="{"pair" if len(shown) > 1 else "one"}">{pictures}</div>'
        f"<figcaption>{escape(printable(entry['photo']))}<br>"
        f'<span class="muted">{escape(printable(entry["detail"]))}</span></figcaption></figure>'
    )


def _picture(checked: Checked, name: str) -> str:
    photo = checked.photos.get(name)
    if photo is None or (address := thumbnail(photo)) is None:
        return '<div class="missing">no picture</div>'
    return f'<img src="{address}" alt="{escape(printable(name))}" loading="lazy">'


def _table(title: str, columns: Iterable[str], rows: Mapping[str, Sequence[int]]) -> str:
    """Return a section with numbers by name; the last of each row is shown as a bar, too."""
    most = max((numbers[-1] for numbers in rows.values()), default=0) or 1
    first, *rest = map(escape, columns)
    head = "".join(f'<th class="number">{column}</th>' for column in rest)
    body = "".join(
        f"<tr><th>{escape(printable(name))}</th>"
        + "".join(f'<td class="number">{number:,}</td>' for number in numbers)
        + f'<td><meter max="{most}" value="{numbers[-1]}">{numbers[-1]}</meter></td></tr>'
        for name, numbers in rows.items()
    )
    return (
        f'<section><h2>{title}</h2><div class="panel"><div class="scroll tall">'
        f'<table class="sortable"><thead><tr><th>{first}</th>{head}<th></th></tr></thead>'
        f"<tbody>{body}</tbody></table></div></div></section>"
    )


def _classes(splits: Mapping[str, Mapping[str, int]]) -> str:
    labels = sorted(set(chain.from_iterable(splits.values())))[:_ROWS]
    counts = {label: [found.get(label, 0) for found in splits.values()] for label in labels}
    rows = {label: [*numbers, sum(numbers)] for label, numbers in counts.items()}
    return _table("Classes", ["Class", *(split or "photos" for split in splits), "All"], rows)
