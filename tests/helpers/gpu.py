"""The scale and the results of the tests on a GPU (tests/gpu), as CSV and as a page."""

import csv
import functools
import importlib.util
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dogbreeds.data.pixels import DecodedSplit, SharedArray
from dogbreeds.html.page import escape, page, write_page
from dogbreeds.model.networks import create_model
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.system.resources import available_cpus
from dogbreeds.training.device import Device, PixelStore

ROOT = Path(__file__).parents[2]
CLASSES = 8
LIMIT = 300  # seconds of any program that a test starts, on a machine that has much else to do


@dataclass(frozen=True)
class Scale:
    """How much the tests do, and of what."""

    architecture: str
    image_size: int
    batch_size: int
    photos: int  # of measurements of the loop
    job_photos: int  # of the job that is timed from its start
    job_epochs: int
    seconds: float  # of a measurement
    request_seconds: float


# At full size all of it is to take less than 8 minutes, on CPUs less than one and a half.
FULL = Scale("resnet18", 224, 128, 4096, 6680, 5, seconds=5, request_seconds=4)
TOY = Scale("squeezenet1_1", 64, 8, 48, 32, 1, seconds=0.2, request_seconds=0.5)


class Row(NamedTuple):
    """A line of the results; `value` is a number, ``skipped`` or ``failed``."""

    check: str
    what: str
    value: str
    unit: str = ""
    target: str = ""
    met: str = ""


@dataclass
class Results:
    """What was found, with the name of the device that it was found on."""

    device: str
    rows: list[Row] = field(default_factory=list)

    @property
    def slug(self) -> str:
        """The device's name as part of a file's."""
        return re.sub(r"[^a-z0-9]+", "-", self.device.lower()).strip("-")

    def columns(self) -> dict[str, str]:
        """Return what each line of the CSV says about the machine."""
        on_gpu = torch.cuda.is_available()
        return {
            "device": self.device,
            "devices": str(torch.cuda.device_count() if on_gpu else 1),
            "torch": str(torch.__version__),
            "cuda": str(torch.version.cuda) if on_gpu else "",
            "driver": driver_version(),
            "python": platform.python_version(),
            "date": time.strftime("%Y-%m-%d"),
        }

    def write(self, table: Path, document: Path) -> None:
        """Write the CSV and the page."""
        same = self.columns()
        table.parent.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow([*Row._fields, *same])
            writer.writerows([*row, *same.values()] for row in self.rows)
        head = "".join(f"<th>{name}</th>" for name in Row._fields)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row[:-1]) + _tag(row) + "</tr>"
            for row in self.rows
        )
        facts = escape(", ".join(f"{key} {value}" for key, value in same.items() if value))
        document.parent.mkdir(parents=True, exist_ok=True)
        write_page(
            document,
            page(
                f"GPU checks on {self.device}",
                f'<header class="top"><h1>{escape(self.device)}</h1><p class="lead">{facts}</p>'
                f'</header><main><section><div class="scroll"><table class="sortable"><thead><tr>'
                f"{head}</tr></thead><tbody>{body}</tbody></table></div></section></main>",
            ),
        )


def _tag(row: Row) -> str:
    kind = {"yes": "good", "no": "bad"}.get(row.met, "warn")
    text = row.met or (row.value if row.value in ("skipped", "failed") else "")
    return f'<td><span class="tag {kind}">{text}</span></td>' if text else "<td></td>"


@dataclass(frozen=True)
class Recorder:
    """Adds lines of one test to the results."""

    results: Results
    check: str

    def speed(self, what: str, value: float, unit: str, at_least: float | None = None) -> None:
        """Note a measurement; a target that is not met is reported, and fails no test."""
        target = "" if at_least is None else f">= {at_least:g}"
        met = "" if at_least is None else "yes" if value >= at_least else "no"
        self.results.rows.append(Row(self.check, what, f"{value:.4g}", unit, target, met))

    def within(self, what: str, value: float, bound: float, unit: str = "") -> None:
        """Note an error, and fail if it exceeds its bound; NaN does."""
        met = value <= bound
        row = Row(self.check, what, f"{value:.3g}", unit, f"<= {bound:g}", "yes" if met else "no")
        self.results.rows.append(row)
        assert met, f"{what}: expected at most {bound:g} {unit}, got {value:g}"


def driver_version() -> str:
    """Return the version of NVIDIA's driver, e.g. ``580.65.06``; empty without one."""
    version = Path("/proc/driver/nvidia/version")
    found = re.search(r"Module.*?(\d+\.[\d.]+)", version.read_text()) if version.exists() else None
    return found[1] if found else ""


def device_name() -> str:
    """Return the card's name, or ``cpu``; of containers' cards the host's torch may see none."""
    if os.environ.get("DEVICE") == "images":
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        names = subprocess.run(query, capture_output=True, text=True, check=True).stdout
        return f"images {names.splitlines()[0]}"
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def noise_store(device: Device, photos: int, side: int, seed: int = 0) -> PixelStore:
    """Return noise whose brightness tells one of 8 classes, as a split of a job."""
    rng = np.random.default_rng(seed)
    targets = np.arange(photos, dtype=np.int64) % CLASSES
    pixels = rng.integers(0, 64, (photos, side, side, 3), np.uint8)
    pixels += (targets * 24).astype(np.uint8).reshape(-1, 1, 1, 1)
    paths = tuple(Path(f"{number}.jpg") for number in range(photos))
    split = DecodedSplit("", SharedArray(pixels, ""), targets, paths, (), ())
    return PixelStore(split, Preprocessing(side, side), device)


def draw_photo(seed: int, size: tuple[int, int] = (500, 375)) -> Image.Image:
    """Return shapes with some noise, as detailed as a photo."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)) // 2
    return Image.fromarray(smooth + rng.integers(0, 24, smooth.shape, np.uint8))


def write_photos(folder: Path, photos: int) -> None:
    """Write photos as JPEG files: ``train/CLASS/`` has `photos`, ``test/CLASS/`` one per class."""

    def write(split: str, number: int) -> None:
        breed = folder / split / f"{number % CLASSES:03d}.Class"
        breed.mkdir(parents=True, exist_ok=True)
        draw_photo(number).save(breed / f"{number:05d}.jpg", quality=88)

    with ThreadPoolExecutor(available_cpus()) as pool:
        list(pool.map(functools.partial(write, "train"), range(photos)))
        list(pool.map(functools.partial(write, "test"), range(photos, photos + CLASSES)))


def network() -> nn.Module:
    """Return the classifier to train, of random weights: ResNet-18, or a small one at toy size."""
    torch.manual_seed(0)
    if not toy():
        return create_model("resnet18", CLASSES)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 4, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(32, CLASSES),
    )  # fmt: skip


def synchronize() -> None:
    """Wait until the GPU has done its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def rate(run: Callable[[], int], seconds: float) -> float:
    """Return what `run` does per second; it returns how much one call does."""
    run()  # libraries choose their kernels in the first
    synchronize()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        done += run()
        synchronize()
    return done / (time.perf_counter() - started)


def benchmark(name: str) -> ModuleType:
    """Import a script of ``benchmarks/``; skip the test if it lacks a package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT / "benchmarks"))  # as where it is run
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package == "dogbreeds" or (ROOT / "benchmarks" / f"{package}.py").exists():
            raise  # our own modules are always here
        pytest.skip(f"needs the package {error.name}")
    finally:
        sys.path.pop(0)
    return module


def toy() -> bool:
    """Whether the tests run at toy size, on a CPU."""
    return os.environ.get("DEVICE", "cuda") == "cpu"
