"""`dogbreeds data check` on many instances: each examines its share, one merges what they found.

python photo_check.py examine PHOTOS OUT RESOURCECONFIG
python photo_check.py merge SHARES OUT

`submit.py` runs both in the training image, as SageMaker Processing jobs.
"""

import base64
import json
import sys
from collections import Counter, defaultdict
from dataclasses import astuple
from pathlib import Path

from dogbreeds.data import alike
from dogbreeds.data.check import KINDS, Checked, check, imbalances
from dogbreeds.data.examine import Facts
from dogbreeds.data.folders import SPLITS, find_problems
from dogbreeds.data.listing import Listing
from dogbreeds.data.near_duplicates import Look, find_groups
from dogbreeds.system.resources import available_cpus

COPIES = ("duplicate", "leak", "conflict")  # kinds of findings that depend on several photos
BUCKET = 2000  # photos whose hashes agree in a part are compared with each other


def examine(photos, out, config):
    """Check the share of an instance; write its report, and what each photo looks like.

    `config` is SageMaker's `/opt/ml/config/resourceconfig.json`, which names the instance.
    """
    Path(out).mkdir(parents=True, exist_ok=True)
    host = json.loads(Path(config).read_text())["current_host"]
    checked = check(Path(photos), available_cpus())
    Path(out, f"{host}.json").write_text(json.dumps(checked.report))
    with Path(out, f"{host}.jsonl").open("w") as lines:
        for member in checked.members:
            lines.write(json.dumps(astuple(member), default=to_base64) + "\n")
    print(f"{host}: {checked.report['photos']} photos")


def merge(shares, out):
    """Write `report.json`, as `dogbreeds data check --json` prints it, and `offenders.txt`.

    The latter has the photos to move away, one per line, as keys below the photos' address.
    """
    reports = [json.loads(file.read_text()) for file in sorted(Path(shares).glob("*.json"))]
    members = [
        to_member(json.loads(line))
        for file in sorted(Path(shares).glob("*.jsonl"))
        for line in file.open()
    ]
    findings = defaultdict(list)
    for report in reports:
        for kind in report["findings"].keys() - set(COPIES):
            findings[kind] += report["findings"][kind]
    bits = max(8, (len(members) // BUCKET).bit_length())  # of a part
    for group in find_copies(members, reports, parts=round(64 / bits)):
        for kind, finding in alike.findings(group):
            findings[kind].append(finding)
    classes = {
        split: dict(sum((Counter(report["splits"].get(split)) for report in reports), Counter()))
        for split in ("", *SPLITS)
        if any(split in report["splits"] for report in reports)
    }
    # A share lacks classes that others have, so its problems are not those of all photos.
    folder = reports[0]["folder"]
    listings = {
        split: Listing(
            Path(folder, split), tuple(sorted(counts)), tuple(map(Path, counts)), (*counts,)
        )
        for split, counts in classes.items()
    }
    report = {
        "folder": folder,
        "photos": sum(report["photos"] for report in reports),
        "splits": classes,
        "findings": {kind: findings[kind] for kind in KINDS if kind in findings},
        "problems": find_problems(listings),
        "notes": list(imbalances(classes)),
    }
    Path(out).mkdir(parents=True, exist_ok=True)
    Path(out, "report.json").write_text(json.dumps(report, indent=2))
    offenders = Checked({}, {}, report, members).offenders
    Path(out, "offenders.txt").write_text("".join(f"{name}\n" for name in offenders))
    print(f"{report['photos']} photos of {len(reports)} shares, {len(offenders)} to move away")
    for line in (*report["problems"], *report["notes"]):
        print(line)
    for kind, entries in report["findings"].items():
        print(f"{kind}, {len(entries)} ({KINDS[kind]})")


def find_copies(members, reports, parts):
    """Yield the groups of look-alikes, of one share or several, the photo to keep first.

    Comparing all pairs of ten million photos would take days. Compared are those whose 64-bit
    hashes agree in one of `parts` parts, so all pairs that differ in fewer bits than that. What the
    shares found by comparing all of their own pairs is kept.
    """
    parents = list(range(len(members)))

    def root(position):
        while parents[position] != position:
            parents[position] = parents[parents[position]]
            position = parents[position]
        return position

    positions = {member.name: position for position, member in enumerate(members)}
    for report in reports:
        for finding in (f for kind in COPIES for f in report["findings"].get(kind, ())):
            parents[root(positions[finding["photo"]])] = root(positions[finding["like"]])
    looks = [member.facts.look for member in members]
    for part in range(parts):
        low, high = 64 * part // parts, 64 * (part + 1) // parts
        buckets = defaultdict(list)
        for position, look in enumerate(looks):
            buckets[look.bits % 2**high >> low].append(position)
        for bucket in buckets.values():
            for first, *others in find_groups([looks[position] for position in bucket]):
                for other in others:
                    parents[root(bucket[other])] = root(bucket[first])
    groups = defaultdict(list)
    for position, member in enumerate(members):
        groups[root(position)].append(member)
    for group in groups.values():
        if len(group) > 1:
            yield from alike.find_alike(group)  # in order


def to_base64(data):
    return base64.b64encode(data).decode()


def to_member(fields):
    name, split, label, (*header, digest, (bits, picture), sharpness) = fields
    look = Look(bits, base64.b64decode(picture))
    return alike.Member(
        name, split, label, Facts(*header, base64.b64decode(digest), look, sharpness)
    )


if __name__ == "__main__":
    {"examine": examine, "merge": merge}[sys.argv[1]](*sys.argv[2:])
