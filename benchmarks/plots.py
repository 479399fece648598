"""Writes results.html: plots of the tables of ``results/``, one self-contained page.

python benchmarks/plots.py

It loads nothing from anywhere; a table that is missing is left out.
"""

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import fmean

from summary import ENVIRONMENT, TABLES

from dogbreeds.html.page import escape, page

HERE = Path(__file__).parent
PAGE = HERE / "results.html"
CSS = """
table.bars { table-layout: fixed; margin-bottom: 1rem; }
table.bars caption { text-align: left; color: var(--muted); font-size: .875rem; }
table.bars th, table.bars td { padding: 0; border: 0; font-size: .875rem; line-height: 1.3; }
table.bars th { width: 34%; padding-right: .6rem; font-weight: 400; }
table.bars td.number { width: 4rem; padding-left: .5rem; }
table.bars svg { display: block; width: 100%; height: 1.5rem; }
table.bars rect { fill: var(--muted); opacity: .45; }
table.bars line { stroke: var(--text); stroke-dasharray: 3 3; }
table.bars .own > * { font-weight: 600; }
table.bars .own rect { fill: var(--accent); opacity: 1; }
"""

RATIOS = ("ratio", "share")  # units of training.csv that are told, not drawn
Row = dict[str, str]
Bar = tuple[str, str, bool]  # its name, its value as the table has it, whether it is ours


def bars(caption: str, rows: Iterable[Bar], *, most: float = 0, mark: float | None = None) -> str:
    """Return a table of bars that begin at 0.

    Args:
        caption: What they show, with its unit.
        rows: The bars, from the top.
        most: The value of a full bar, if it is to be higher than that of the longest.
        mark: A value at which a dashed line crosses all bars.
    """
    rows = list(rows)
    full = max(most, mark or 0, *(float(value) for _, value, _ in rows)) or 1
    line = f"{100 * mark / full:.1f}%" if mark is not None else ""
    return (
        f"<table class='bars'><caption>{escape(caption)}</caption><tbody>"
        + "".join(
            f"<tr class='{'own' if own else 'other'}'><th scope='row'>{escape(name)}</th><td>"
            "<svg aria-hidden='true'>"
            f"<rect width='{100 * float(value) / full:.1f}%' y='15%' height='70%' rx='3'/>"
            + (f"<line x1='{line}' x2='{line}' y1='0' y2='100%'/>" if line else "")
            + f"</svg></td><td class='number'>{value}</td></tr>"
            for name, value, own in rows
        )
        + "</tbody></table>"
    )


def panel(title: str, *parts: str, note: str = "") -> str:
    """Return a framed part of a section."""
    told = f"<p class='note'>{escape(note)}</p>" if note else ""
    return f"<div class='panel'><h3>{escape(title)}</h3>{told}{''.join(parts)}</div>\n"


def grouped(rows: Iterable[Row], *columns: str) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    """Yield rows of equal values in the columns together, in the order of their first."""
    rows = list(rows)
    values = [tuple(row[column] for column in columns) for row in rows]
    for key in dict.fromkeys(values):
        yield key, [row for row, value in zip(rows, values, strict=True) if value == key]


def clients(number: str) -> str:
    """Return how many clients ask at once, in words."""
    return "1 client" if number == "1" else f"{number} clients"


def is_ours(name: str) -> bool:
    """Whether a server is one of ours, however it is set, or a measurement that of a job."""
    return name.partition("-")[0] in ("ours", "job", "inspection") or name.startswith("after epoch")


def by_server(rows: Iterable[Row], column: str, caption: str, **options: float | None) -> str:
    """Return a bar for each server."""
    found = [(row["server"], row[column], is_ours(row["server"])) for row in rows]
    return bars(caption, found, **options)  # type: ignore[arg-type]


def rates(rows: list[Row]) -> list[str]:
    """Return requests/s of servers, for each size of photo a panel."""
    panels = []
    for (photo,), of_size in grouped(rows, "photo"):
        bare = next((float(row["per_second"]) for row in of_size if row["server"] == "bare"), None)
        servers = [row for row in of_size if not row["server"].startswith("bare")]
        most = max((float(row["per_second"]) for row in servers), default=0)
        parts = [
            by_server(of, "per_second", clients(number), most=most, mark=bare)
            for (number,), of in grouped(servers, "concurrency")
        ]
        note = "Longer is better. Dashed: the bare loop, one photo at a time."
        panels.append(panel(f"Requests/s, photos of {photo}", *parts, note=note))
    return panels


def serving(rows: list[Row]) -> str:
    """Return rates, latency and memory of servers."""
    waits, sizes = [], []
    servers = [row for row in rows if not row["server"].startswith("bare")]
    for (photo,), of_size in grouped(servers, "photo"):
        groups = list(grouped(of_size, "concurrency"))
        parts = [by_server(of, "p95_ms", clients(number)) for (number,), of in groups]
        note = "Shorter is better. Each group has a scale of its own."
        waits.append(
            panel(f"95th percentile of latency in ms, photos of {photo}", *parts, note=note)
        )
        (number,), last = groups[-1]
        title = f"Memory in MB (PSS), photos of {photo}, {clients(number)}"
        sizes.append(panel(title, by_server(last, "pss_mb", "Shorter is better.")))
    return "".join([*rates(rows), *waits, *sizes])


def serving_batches(rows: list[Row]) -> str:
    """Return rates by batch size."""
    return "".join(rates(rows))


def user_code(rows: list[Row]) -> str:
    """Return the rates of one script in several servers."""
    most = max(float(row["per_second"]) for row in rows)
    groups = grouped(rows, "concurrency")
    found = [by_server(of, "per_second", clients(number), most=most) for (number,), of in groups]
    return panel("Requests/s, photos of 500x375", *found, note="Longer is better.")


def start(rows: list[Row]) -> str:
    """Return sizes, starts and memory of images."""
    shown = {
        "size_mb": "Size in MB", "start_s": "From docker run to the first 200, s",
        "idle_mb": "Memory before the first request, MB",
        "model_mb": "Memory per further model, MB",
    }  # fmt: skip
    return "".join(
        panel(title, bars("Shorter is better.",
                          [(row["image"], row[column], True) for row in rows]))
        for column, title in shown.items()
    )  # fmt: skip


def serving_backends(rows: list[Row]) -> str:
    """Return the rates of the forward pass."""
    return "".join(
        panel(
            f"Photos/s of {architecture}",
            *(
                bars(f"{batch} at a time", [
                    (row["backend"], row["median_per_second"], False) for row in of_batch])
                for (batch,), of_batch in grouped(of, "batch")
            ),
            note="Longer is better. Each group has a scale of its own.",
        )
        for (architecture,), of in grouped(rows, "architecture")
    )  # fmt: skip


def queueing(rows: list[Row]) -> str:
    """Return the simulated waits."""
    columns = {"median_ms": "Median in ms", "p95_ms": "95th percentile in ms"}
    return "".join(
        panel(title, bars("Shorter is better.",
                          [(row["arrivals"], row[column], True)
                           for row in rows if row[column]]))
        for column, title in columns.items()
    )  # fmt: skip


def training(rows: list[Row]) -> str:
    """Return what is compared in training, and the ratios."""
    panels = []
    for (benchmark,), of in grouped(rows, "benchmark"):
        said = [f"{row['what']}: {row['value']}" for row in of if row["unit"] in RATIOS]
        for (unit,), same in grouped((row for row in of if row["unit"] not in RATIOS), "unit"):
            found = [(row["what"], row["value"], is_ours(row["what"])) for row in same]
            panels.append(panel(f"{benchmark}, {unit}", bars("; ".join(said), found)))
    return "".join(panels)


def recipe(rows: list[Row]) -> str:
    """Return the accuracy of each recipe, for each set."""
    panels = []
    for (photos, model), of in grouped(rows, "set", "model"):
        found = []
        for (name,), jobs in grouped(of, "recipe"):
            mean = fmean(float(job["test_accuracy"]) for job in jobs)
            seeds = f"{len(jobs)} seeds" if len(jobs) > 1 else "one seed"
            found.append((f"{name}, {seeds}", f"{100 * mean:.1f}", name == "default"))
        panels.append(panel(f"{photos}, {model}", bars("Test accuracy in %", found, most=100)))
    return "".join(panels)


def data(rows: list[Row]) -> str:
    """Return each thing that we do beside what else does it."""
    return "".join(
        panel(
            f"{row['ours']}, beside {row['reference']}",
            bars(
                f"Ratio {row['ratio']}; above 1 speaks for us",
                [(row["ours"], row["value"], True),
                 (row["reference"], row["reference_value"], False)],
            ),
        )
        for row in rows
    )  # fmt: skip


def findings(rows: list[Row]) -> str:
    """Return what checkers find, and how soon."""
    rate = [(row["tool"], row["per_second"], row["tool"] == "dogbreeds") for row in rows]
    panels = [panel("Photos/s", bars("Longer is better.", rate))]
    columns = list(rows[0])
    for problem in columns[columns.index("per_second") + 1 : columns.index("near_copy_recall")]:
        looked = [row for row in rows if row[problem]]
        found = [(row["tool"], row[problem], row["tool"] == "dogbreeds") for row in looked]
        planted = rows[0]["planted"]
        panels.append(
            panel(
                f"{problem}: found of {planted}",
                bars("Longer is better.", found, most=int(planted)),
            )
        )
    return "".join(panels)


def newcomer(rows: list[Row]) -> str:
    """Return what a newcomer waits for."""
    found = [(row["step"], row["seconds"], True) for row in rows]
    return panel("Seconds", bars("Shorter is better.", found))


def decode(rows: list[Row]) -> str:
    """Return the times of decoding, this tree's and the other's."""
    return panel("Decoding in ms", *(
        bars(row["photo"], [("this", row["this_ms"], True),
                            ("other", row["other_ms"], False)])
        for row in rows
    ), note="Shorter is better. Each group has a scale of its own.")  # fmt: skip


def ratios(rows: list[Row]) -> str:
    """Return the ratios, with a line at 1."""
    found = [(row["ratio"], row["value"], True) for row in rows]
    return panel("Ratios", bars("Longer is better. Dashed: 1.", found, mark=1))


def table(rows: list[Row]) -> str:
    """Return what is not for bars as it is."""
    columns = [name for name in rows[0] if name not in ENVIRONMENT]
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in columns)
    cells = ("".join(f"<td>{escape(row[name])}</td>" for name in columns) for row in rows)
    lines = "".join(f"<tr>{line}</tr>" for line in cells)
    return (  # focusable, for who scrolls by keys
        "<div class='panel'>"
        f"<div class='scroll' tabindex='0' role='region' aria-label='By {escape(columns[0])}'>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div></div>"
    )


PLOTS: dict[str, Callable[[list[Row]], str]] = {
    "ratios": ratios,
    "serving": serving,
    "user_code": user_code,
    "start": start,
    "serving_batches": serving_batches,
    "serving_backends": serving_backends,
    "queueing": queueing,
    "training": training,
    "recipe": recipe,
    "data": data,
    "findings": findings,
    "decode": decode,
    "newcomer": newcomer,
}  # of the others the table itself is shown


def document(results: Path = HERE / "results") -> str:
    """Return the page, of the tables that there are in a folder."""
    sections, links = [], []
    for name, markdown in TABLES.items():
        if (file := results / f"{name}.csv").is_file():
            with file.open(newline="") as stream:
                rows = list(csv.DictReader(stream))
            title = _html(markdown)
            links.append(f"<a href='#{name}'>{name}</a>")
            sections.append(
                f"<section id='{name}'><h2>{title}</h2>"
                + "".join(f"<p class='note'>{escape(place)}</p>" for place in _places(rows))
                + f"<div class='grid'>{PLOTS.get(name, table)(rows)}</div></section>"
            )
    body = (
        "<header class='top'><h1>Results</h1><p class='lead'>What benchmarks/ measured. Bars of"
        " this project are blue; all columns are in <a href='RESULTS.md'>RESULTS.md</a>.</p>"
        f"</header><nav class='sections' aria-label='Sections'><div>{''.join(links)}</div></nav>"
        f"<main>{''.join(sections)}</main>"
    )
    return page("Results", body, css=CSS)


def _places(rows: list[Row]) -> list[str]:
    """Return where and when rows were measured."""
    places = {", ".join(f"{k} {row[k]}" for k in ENVIRONMENT if row.get(k)) for row in rows}
    return [place or "Where and when is not recorded." for place in sorted(places)]


def _html(markdown: str) -> str:
    """Return a title with its code and its links."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(markdown))
    return re.sub(r"\[([^]]+)\]\(([^)]+)\)", r"<a href='\2'>\1</a>", text)


def main() -> int:
    """Write the page."""
    PAGE.write_text(document())
    return 0


if __name__ == "__main__":
    sys.exit(main())
