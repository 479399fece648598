"""Which planted problems `dogbreeds data check` finds, and how soon, beside other checkers.

    python benchmarks/findings.py [PHOTOS] [--photos 1000] [--planted 25] [--output FILE.csv]

Into a copy of so many photos of PHOTOS, a folder with split and class folders (without it: invented
ones), the same problems are planted: copies of photos (the same file; at half the size; as JPEG of
quality 40; with 5 % cut off at each side), and photos that were made dark, blurred (by 3 % of the
short side) or cut short as files. cleanvision and imagededup, the latter with its perceptual hash,
are installed for the while and run with their defaults. Each tool is a process of its own, started
anew; the median of the rounds counts. A copy is found if it and its original are named together.
``others`` are photos named in which nothing was planted: of real photos, some are right. What a
tool does not look for is left empty.
cleanvision ends with an error at the first broken file, so it is given the photos without them.
The thresholds of our check were chosen on photos like those that `make bench` gives; other photos
tell more.
"""

import argparse
import functools
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from data import DOGBREEDS, invent_photos
from environment import write_csv
from PIL import Image, ImageFilter
from serving_peers import install

from dogbreeds.model.photo_formats import is_photo_name

PACKAGES = ("cleanvision==0.3.7", "imagededup==0.3.3.post2")
COPIES = ("same file", "resized", "recompressed", "cropped")
CHANGES = ("dark", "blurred", "broken")
# Each prints JSON: "groups" of photos that are alike, and photos by what is wrong with them.
CLEANVISION = """
import json, sys
from cleanvision import Imagelab
lab = Imagelab(data_path=sys.argv[1])
lab.find_issues(verbose=False)
issues, info = lab.issues, lab.info
groups = [group for kind in ("exact_duplicates", "near_duplicates") for group in info[kind]["sets"]]
named = {ours: list(issues.index[issues[f"is_{theirs}_issue"]])
         for ours, theirs in (("dark", "dark"), ("blurred", "blurry"))}
print(json.dumps({"groups": groups, **named}))
"""
IMAGEDEDUP = """
import json, sys
from pathlib import Path
from imagededup.methods import PHash
if __name__ == "__main__":  # its processes import this file
    folder = Path(sys.argv[1])
    found = PHash(verbose=False).find_duplicates(image_dir=folder, recursive=True)
    photos = {str(path.relative_to(folder)) for path in folder.rglob("*.jpg")}
    print(json.dumps({  # it warns of files that it cannot read, and leaves them out
        "groups": [[photo, *others] for photo, others in found.items() if others],
        "broken": sorted(photos - found.keys())}))
"""

Found = dict[str, list[Any]]  # "groups" of photos that are alike, and photos by what is wrong


@dataclass
class Planted:
    """What was planted: copies with their originals, and changed photos, by problem."""

    copies: dict[str, dict[str, str]] = field(default_factory=dict)
    changed: dict[str, set[str]] = field(default_factory=dict)


def plant(folder: Path, count: int) -> Planted:
    """Plant so many of each problem in the photos of a folder; names are paths under it."""
    photos = sorted(path for path in folder.rglob("*") if is_photo_name(path.name))
    needed = count * len(COPIES + CHANGES)
    if len(photos) < needed:
        raise SystemExit(f"expected at least {needed} photos, got {len(photos)}")
    chosen = np.random.default_rng(0).permutation(len(photos))[:needed].reshape(-1, count)
    planted = Planted()
    for problem, numbers in zip(COPIES + CHANGES, chosen, strict=True):
        for number in numbers:
            path = photos[number]
            made = _changed(path, problem)
            if problem in COPIES:
                copy = path.with_name(f"{problem.replace(' ', '-')}-{number}.jpg")
                copy.write_bytes(made)
                pairs = planted.copies.setdefault(problem, {})
                pairs[str(copy.relative_to(folder))] = str(path.relative_to(folder))
            else:
                path.write_bytes(made)
                planted.changed.setdefault(problem, set()).add(str(path.relative_to(folder)))
    return planted


def _changed(path: Path, problem: str) -> bytes:
    """Return the file of a photo with the problem."""
    data = path.read_bytes()
    if problem == "same file":
        return data
    if problem == "broken":
        return data[: len(data) // 2]
    image = Image.open(path).convert("RGB")
    width, height = image.size
    if problem == "resized":
        image = image.resize((width // 2, height // 2))
    elif problem == "cropped":
        image = image.crop((width // 20, height // 20, width * 19 // 20, height * 19 // 20))
    elif problem == "dark":
        image = image.point(lambda value: value // 8)
    elif problem == "blurred":
        image = image.filter(ImageFilter.GaussianBlur(0.03 * min(width, height)))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=40 if problem == "recompressed" else 90)
    return encoded.getvalue()


def dogbreeds(folder: Path) -> Found:
    """Return what our check finds."""
    done = subprocess.run([*DOGBREEDS, "check", "--json", folder], capture_output=True, check=False)
    findings = json.loads(done.stdout)["findings"]
    alike = [
        found for kind in ("duplicate", "leak", "conflict") for found in findings.get(kind, [])
    ]
    return {
        "groups": [[found["photo"], found["like"]] for found in alike],
        **{kind: [found["photo"] for found in findings.get(kind, [])] for kind in CHANGES},
    }


def peer(python: Path, program: Path, folder: Path) -> Found:
    """Return what a program prints, with paths under the folder."""
    done = subprocess.run([python, program, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program.stem}: {done.stderr[-2000:]}")
    found: Found = json.loads(done.stdout.splitlines()[-1].replace(f"{folder}/", ""))
    return found


def judge(found: Found, planted: Planted) -> dict[str, object]:
    """Return how many of each planted problem were found, and how many other photos were named.

    A problem that a tool does not look for has "".
    """
    together: dict[str, set[str]] = {}  # groups are transitive
    for group in found["groups"]:
        members = set(group).union(*(together.get(photo, set()) for photo in group))
        together.update(dict.fromkeys(members, members))
    copies = {
        problem: sum(original in together.get(copy, ()) for copy, original in pairs.items())
        for problem, pairs in planted.copies.items()
    }
    changed = {
        problem: len(photos.intersection(found[problem])) if problem in found else ""
        for problem, photos in planted.changed.items()
    }
    near = [problem for problem in COPIES if problem != "same file"]
    recall = sum(copies[problem] for problem in near) / sum(len(planted.copies[p]) for p in near)
    named = set(together).union(*(found.get(problem, []) for problem in CHANGES))
    pairs = {name for pairs in planted.copies.values() for pair in pairs.items() for name in pair}
    others = named - pairs.union(*planted.changed.values())
    return {**copies, **changed, "near_copy_recall": f"{recall:.2f}", "others": len(others)}


def take(source: Path | None, folder: Path, photos: int) -> None:
    """Fill a folder with so many photos, of all classes, or with invented ones."""
    if source is None:
        invent_photos(folder, photos)
        return
    found = sorted(path for path in source.rglob("*") if is_photo_name(path.name))
    for path in found[:: max(1, len(found) // photos)][:photos]:
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def main() -> None:
    """Plant, look and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("source", type=Path, nargs="?", metavar="PHOTOS")
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--planted", type=int, default=25, help="of each problem")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="CSV; standard output if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dogbreeds-benchmark-") as name:
        temporary = Path(name).resolve()
        python = install(temporary / "peers", *PACKAGES) / "python"
        photos, readable = temporary / "photos", temporary / "readable"
        take(options.source, photos, options.photos)
        planted = plant(photos, options.planted)
        shutil.copytree(photos, readable, copy_function=os.link)
        for broken in planted.changed["broken"]:
            (readable / broken).unlink()
        programs = {"cleanvision": (CLEANVISION, readable), "imagededup": (IMAGEDEDUP, photos)}
        tools: dict[str, Callable[[], Found]] = {"dogbreeds": lambda: dogbreeds(photos)}
        for tool, (program, folder) in programs.items():
            file = temporary / f"{tool}_program.py"
            file.write_text(program)
            tools[tool] = functools.partial(peer, python, file, folder)
        seconds: dict[str, list[float]] = {tool: [] for tool in tools}
        found: dict[str, Found] = {}
        for _ in range(options.rounds):
            for tool, look in tools.items():
                started = time.perf_counter()
                found[tool] = look()
                seconds[tool].append(time.perf_counter() - started)
                print(f"{tool}: {seconds[tool][-1]:.1f} s", file=sys.stderr)
        count = sum(1 for path in photos.rglob("*") if path.is_file())
        rows = [
            {
                "tool": tool,
                "photos": count,
                "planted": options.planted,
                "per_second": f"{count / statistics.median(seconds[tool]):.1f}",
                **judge(found[tool], planted),
            }
            for tool in tools
        ]
    with options.output.open("w") if options.output else sys.stdout as stream:
        write_csv(rows, stream, device="cpu")


if __name__ == "__main__":
    main()
