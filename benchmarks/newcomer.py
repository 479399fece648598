"""How long a newcomer waits, from the clone to an answer, to own photos and to a plan for AWS.

    python benchmarks/newcomer.py [--output FILE.csv] [NAME=VALUE ...]

It does what README.md, docs/quickstart.md and docs/sagemaker.md say, in a fresh clone in a
temporary folder that is removed afterwards: ``make demo``; the same on 120 invented photos of 8
classes; and, after ``make cloud``, the dry runs of a job and of an endpoint, which send nothing to
AWS. Names with values, such as TORCH_INDEX=... or WEIGHTS=none (where torchvision's weights cannot
be downloaded), are passed to ``make``. It needs up to 10 GB of disk, and some minutes, most of them
for packages: a second run on a machine finds those in pip's cache, so the first is what counts.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environment import write_csv
from training import invent_photos

ROOT = Path(__file__).parents[1]
PHOTOS = 120
# As `make push` would have remembered it, had it been run with an account
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/dogbreeds-{0}@sha256:" + 64 * "0"


def steps(photos: Path, given: list[str]) -> dict[str, list[list[str]]]:
    """Return the commands to each thing that a newcomer wants, in the docs' order."""
    dogbreeds = ".venv/bin/dogbreeds"
    return {
        "clone": [["git", "clone", "--quiet", str(ROOT), "."]],
        "first answer: make demo": [["make", "demo", *given]],
        "make demo again": [["make", "demo", *given]],
        "own photos: make demo DATA=": [["make", "demo", f"DATA={photos}", *given]],
        "a plan for AWS: make cloud, dry runs": [
            ["make", "cloud", *given],
            ["cp", "dogbreeds.example.toml", "dogbreeds.toml"],
            [dogbreeds, "train", "--dry-run", "--training-uri", IMAGE.format("training")],
            [dogbreeds, "deploy", "s3://my-dogbreeds-bucket/model.tar.gz", "--dry-run",
             "--serving-uri", IMAGE.format("serving")],
        ],
    }  # fmt: skip


def run(command: list[str], folder: Path) -> None:
    """Run a command as a newcomer would: nothing of this environment, no account."""
    ours = re.compile("AWS_|DOGBREEDS_|VIRTUAL_ENV|PYTHONPATH|MAKE|MFLAGS")
    environment = {name: value for name, value in os.environ.items() if not ours.match(name)}
    path = [part for part in os.environ["PATH"].split(os.pathsep)
            if Path(part) != Path(sys.executable).parent]  # fmt: skip
    environment.update(
        PATH=os.pathsep.join(path),
        AWS_EC2_METADATA_DISABLED="true",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    )
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-3000:]}")


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("given", nargs="*", metavar="NAME=VALUE", help="passed to make")
    parser.add_argument("--output", type=Path, help="CSV; standard output if not given")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="dogbreeds-newcomer-") as name:
        clone, photos = Path(name, "clone"), Path(name, "photos")
        clone.mkdir()
        invent_photos(photos, PHOTOS, (500, 375))
        began = time.monotonic()
        for step, commands in steps(photos, options.given).items():
            before = time.monotonic()
            for command in commands:
                run(command, clone)
            after = time.monotonic()
            print(f"{step}: {after - before:.1f} s", file=sys.stderr)
            rows.append(
                {
                    "step": step,
                    "seconds": f"{after - before:.1f}",
                    "since_start": f"{after - began:.1f}",
                    "given": " ".join(options.given),
                }
            )
    with options.output.open("w") if options.output else sys.stdout as file:
        write_csv(rows, file, device="cpu")


if __name__ == "__main__":
    main()
