"""How fast photos are checked, unpacked and sent, beside what one would use otherwise.

    python benchmarks/data.py [check] [unpack] [upload] [--photos 8350] [--output FILE.csv]

- ``check``: photos/s of `dogbreeds data check` against photos/s of one core that only decodes
  them, times the cores; and how much memory it takes for all photos and for a quarter of them.
- ``unpack``: `dogbreeds data fetch` of a local zip against Info-ZIP's ``unzip`` (where that is not
  installed: ``python -m zipfile``), both to the same disk.
- ``upload``: `dogbreeds data upload` against ``aws s3 sync`` (where it is installed), both to the
  same moto server; and a second run of each, which finds nothing changed.

Photos of 500 x 400 are invented. Compared things alternate, and the median of the rounds counts.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from environment import write_csv
from PIL import Image

from dogbreeds.data.workers import in_processes
from dogbreeds.model.photo import decode
from dogbreeds.model.photo_formats import is_photo_name
from dogbreeds.system.resources import available_cpus

SIZE = (500, 400)
CLASSES = 10
DOGBREEDS = (sys.executable, "-m", "dogbreeds.cli.main", "data")
Row = dict[str, object]


def invent(root: Path, chunk: range) -> None:
    """Write JPEG photos as detailed as real ones, all different."""
    for number in chunk:
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = smooth + rng.integers(-12, 13, smooth.shape, dtype=np.int16)
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        split = "test" if number // CLASSES % 5 == 0 else "train"
        image.save(root / split / f"{number % CLASSES:03d}.Class" / f"{number:05d}.jpg", quality=88)


def invent_photos(root: Path, photos: int) -> None:
    """Write a photos directory."""
    for split in ("train", "test"):
        for label in range(CLASSES):
            (root / split / f"{label:03d}.Class").mkdir(parents=True)
    list(in_processes(partial(invent, root), photos, available_cpus()))


def timed(*command: str | Path, env: dict[str, str] | None = None) -> float:
    """Run a command and return its seconds."""
    started = time.perf_counter()
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, env=env, check=False
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout.decode()}{done.stderr.decode()}")
    return time.perf_counter() - started


def median(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """Return the median of each measure; they alternate."""
    results: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for measure, result in zip(measures, results, strict=True):
            result.append(measure())
    return [statistics.median(result) for result in results]


def decode_on_one_core(paths: list[Path]) -> float:
    """Return the seconds that plain decoding at full size takes."""
    started = time.perf_counter()
    for path in paths:
        decode(path)
    return time.perf_counter() - started


def peak_memory(*command: str | Path) -> float:
    """Return the most MiB that a command and its processes had at once, shared memory once."""
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        most = 0
        while process.poll() is None:
            try:
                root = psutil.Process(process.pid)
                family = [root, *root.children(recursive=True)]
                most = max(most, sum(member.memory_full_info().pss for member in family))
            except psutil.Error:
                pass
            time.sleep(0.1)
    return most / 2**20


def benchmark_check(photos: Path, scratch: Path, rounds: int) -> list[Row]:
    """All cores that check against one that decodes."""
    paths = sorted(path for path in photos.rglob("*") if is_photo_name(path.name))
    some = paths[:: max(1, len(paths) // 1000)]
    command = (*DOGBREEDS, "check", photos)
    seconds, one_core = median(rounds, lambda: timed(*command), lambda: decode_on_one_core(some))
    cores = available_cpus()
    ideal = one_core / len(some) * len(paths) / cores
    quarter = scratch / "quarter"
    for path in paths[::4]:
        target = quarter / path.relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(path)
    all_memory, quarter_memory = peak_memory(*command), peak_memory(*DOGBREEDS, "check", quarter)
    shutil.rmtree(quarter)
    return [
        row("check, s", seconds, "decoding on one core / cores, s", ideal, ideal / seconds),
        row("check all, MiB", all_memory, "a quarter, MiB", quarter_memory,
            quarter_memory / all_memory),
    ]  # fmt: skip


def row(ours: str, value: float, other: str, reference: float, ratio: float) -> Row:
    """Return a line of the results; a ratio above 1 speaks for us."""
    return {
        "ours": ours,
        "value": round(value, 3),
        "reference": other,
        "reference_value": round(reference, 3),
        "ratio": round(ratio, 3),
    }


def benchmark_unpack(photos: Path, scratch: Path, rounds: int) -> list[Row]:
    """A zip of all photos, unpacked."""
    archive = scratch / "photos.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(photos.rglob("*.jpg")):
            file.write(path, Path("dogImages") / path.relative_to(photos))

    def ours() -> float:
        shutil.rmtree(scratch / "ours", ignore_errors=True)
        os.sync()
        return timed(*DOGBREEDS, "fetch", archive, "--out", scratch / "ours")

    unzip = shutil.which("unzip")

    def theirs() -> float:
        shutil.rmtree(scratch / "theirs", ignore_errors=True)
        os.sync()
        if unzip:
            return timed(unzip, "-q", archive, "-d", scratch / "theirs")
        return timed(sys.executable, "-m", "zipfile", "-e", archive, scratch / "theirs")

    seconds, reference = median(rounds, ours, theirs)
    again = timed(*DOGBREEDS, "fetch", archive, "--out", scratch / "ours")
    name = "unzip, s" if unzip else "python -m zipfile, s"
    return [
        row("fetch of a local zip, s", seconds, name, reference, reference / seconds),
        row("fetch again, s", again, "the first time, s", seconds, seconds / again),
    ]


@contextmanager
def moto() -> Iterator[dict[str, str]]:
    """Run a moto server; gives the environment of commands that talk to it."""
    import boto3

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    server = Path(sys.executable).with_name("moto_server")
    with subprocess.Popen(
        [str(server), "-H", "127.0.0.1", "-p", port],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        credentials = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        try:
            os.environ.update(credentials)
            for _ in range(300):
                with socket.socket() as attempt:
                    if attempt.connect_ex(("127.0.0.1", int(port))) == 0:
                        break
                time.sleep(0.2)
            client = boto3.client("s3")
            client.create_bucket(Bucket="ours")
            client.create_bucket(Bucket="theirs")
            yield {**os.environ}
        finally:
            process.terminate()


def benchmark_upload(photos: Path, scratch: Path, rounds: int) -> list[Row]:
    """To the same server, then once more."""
    import boto3

    aws = shutil.which("aws")
    rows = []
    with moto() as environment:
        client = boto3.resource("s3")

        def ours(*, anew: bool) -> float:
            if anew:
                client.Bucket("ours").objects.delete()
            return timed(*DOGBREEDS, "upload", photos, "--data", "s3://ours/photos",
                         env=environment)  # fmt: skip

        def theirs(*, anew: bool) -> float:
            if anew:
                client.Bucket("theirs").objects.delete()
            return timed(aws or "", "s3", "sync", "--only-show-errors", photos,
                         "s3://theirs/photos", env=environment)  # fmt: skip

        first = [lambda: ours(anew=True), *([lambda: theirs(anew=True)] if aws else [])]
        second = [lambda: ours(anew=False), *([lambda: theirs(anew=False)] if aws else [])]
        sent = median(rounds, *first)
        again = median(rounds, *second)
    if aws:
        rows.append(row("upload, s", sent[0], "aws s3 sync, s", sent[1], sent[1] / sent[0]))
        rows.append(row("upload of nothing new, s", again[0], "aws s3 sync of nothing new, s",
                        again[1], again[1] / again[0]))  # fmt: skip
    else:
        print("upload is not compared: there is no aws on the PATH", file=sys.stderr)
    rows.append(row("upload of nothing new, s", again[0], "the first upload, s", sent[0],
                    sent[0] / again[0]))  # fmt: skip
    return rows


BENCHMARKS = {"check": benchmark_check, "unpack": benchmark_unpack, "upload": benchmark_upload}


def main() -> None:
    """Run the benchmarks asked for and write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar="NAME",
                        help=f"{', '.join(BENCHMARKS)} (default: all)")  # fmt: skip
    parser.add_argument("--photos", type=int, default=8350, help="fewer for a quick look")
    parser.add_argument("--rounds", type=int, default=3, help="the median of these counts")
    parser.add_argument("--output", type=Path, help="CSV file to write")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        photos = Path(name) / "photos"
        invent_photos(photos, options.photos)
        size = sum(path.stat().st_size for path in photos.rglob("*.jpg"))
        print(f"{options.photos} photos, {size / 2**20:.0f} MiB, {available_cpus()} cores")
        for benchmark in options.names or BENCHMARKS:
            for result in BENCHMARKS[benchmark](photos, Path(name), options.rounds):
                print(result, flush=True)
                rows.append({**result, "photos": options.photos})
    if options.output:
        with options.output.open("w", newline="") as stream:
            write_csv(rows, stream)


if __name__ == "__main__":
    main()
