"""How much of the hardware a training job uses, side by side in one run.

    python benchmarks/training.py [step] [reference] [inspection] [memory] [--data DIR]
        [--model resnet18] [--batch-size 32] [--output FILE.csv]

- ``step``: photos/s of the job (cache, augmentation, loop) against the bare training step on random
  tensors: same model, batch, optimiser, precision and threads.
- ``reference``: the job, first decoding included, against a loop like torchvision's reference
  script (ImageFolder, DataLoader, PIL transforms) on photos of 1600 x 1200.
- ``inspection``: the one pass that inspects and decodes all photos against decoding alone, and the
  share of the cores that is busy meanwhile.
- ``memory``: resident size at the end of a job of 20 epochs against that after epoch 2.

timm's training script is no peer here: it is in neither the wheel nor the source archive of timm on
PyPI, only in its repository, and an imitation of it would measure the imitation.

Without ``--data`` photos are invented. Compared things alternate, and the median of the rounds
counts.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch
from environment import write_csv
from PIL import Image
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision import datasets, transforms

from dogbreeds.data.folders import Split, find_photos
from dogbreeds.data.photo import Photo
from dogbreeds.data.pixels import decode_split
from dogbreeds.model.networks import create_model
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.system.resources import available_cpus, keep_freed_memory
from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.loop import Trainer
from dogbreeds.training.optimizer import create_optimizer
from dogbreeds.training.settings import Settings
from dogbreeds.training.stop import StopRequest

CLASSES = 8
Row = dict[str, object]


def invent_photos(folder: Path, photos: int, size: tuple[int, int], seed: int = 0) -> None:
    """Write JPEG photos as detailed as real ones: smooth shapes with some noise."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", photos), ("test", CLASSES)):
        for number in range(count):
            breed = folder / split / f"{number % CLASSES:03d}.Class"
            breed.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
            noisy = smooth + rng.integers(-12, 13, smooth.shape, dtype=np.int16)
            image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
            image.save(breed / f"{number:05d}.jpg", quality=88)


def new_model(settings: Settings, device: Device, classes: int) -> nn.Module:
    """Return the model as a job has it."""
    torch.manual_seed(0)
    model = create_model(settings.model, classes).to(device.device)
    return model.to(memory_format=torch.channels_last)


def synchronize(device: Device) -> None:
    """Wait until the GPU has done its work."""
    if device.device.type == "cuda":
        torch.cuda.synchronize()


def bare_step(settings: Settings, device: Device, steps: int) -> Callable[[], float]:
    """Return what measures the photos/s of a training step whose data costs nothing."""
    model = new_model(settings, device, CLASSES).train()
    optimizer = create_optimizer(model, settings)
    size, batch = settings.image_size, settings.batch_size
    images = torch.randn(batch, 3, size, size, device=device.device)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, CLASSES, (batch,), device=device.device)

    def step() -> None:
        with device.autocast():
            loss = F.cross_entropy(model(images).float(), targets, label_smoothing=0.1)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def measure() -> float:
        step()
        synchronize(device)
        started = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize(device)
        return steps * batch / (time.perf_counter() - started)

    return measure


def load(photos: Path, settings: Settings, device: Device) -> dict[str, PixelStore]:
    """Decode the photos as a job does."""
    _, splits = find_photos({name: photos / name for name in ("train", "test")})
    preprocessing = Preprocessing(settings.image_size, settings.image_size)
    stores = {}
    for name, split in splits.items():
        decoded = decode_split(split, preprocessing, workers=available_cpus())
        stores[name] = PixelStore(decoded, preprocessing, device)
    stores["valid"] = stores.pop("test")  # a job evaluates one split after each epoch
    return stores


def benchmark_step(options: argparse.Namespace, photos: Path) -> list[Row]:
    """The job against the bare step."""
    device = Device.best()
    settings = Settings(
        model=options.model, batch_size=options.batch_size, image_size=options.image_size,
        epochs=options.rounds + 1, weights="none",
    )  # fmt: skip
    stores = load(photos, settings, device)
    steps = max(1, len(stores["train"]) // settings.batch_size)
    bare = bare_step(settings, device, steps)
    bare_rates: list[float] = []
    with tempfile.TemporaryDirectory() as checkpoints:
        job = Trainer(
            new_model(settings, device, CLASSES), settings, stores, device, Path(checkpoints),
            StopRequest(),
        )  # fmt: skip
        job.run(lambda: bare_rates.append(bare()))
    job_rates = [epoch["photos_per_second"] for epoch in job.history]
    # The first round warms both up.
    return compare("step", "job", job_rates[1:], "bare step", bare_rates[1:], "photos/s")


def reference_loop(photos: Path, settings: Settings, device: Device, epochs: int) -> float:
    """Return the seconds that a loop like torchvision's references/classification takes."""
    size = settings.image_size
    started = time.perf_counter()
    data = datasets.ImageFolder(
        str(photos / "train"),
        transforms.Compose(
            [
                transforms.RandomResizedCrop(size),
                transforms.RandomHorizontalFlip(),
                transforms.ColorJitter(0.2, 0.2, 0.2),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        ),
    )
    loader = torch.utils.data.DataLoader(
        data, settings.batch_size, shuffle=True, drop_last=True, num_workers=available_cpus(),
        pin_memory=device.device.type == "cuda", persistent_workers=True,
    )  # fmt: skip
    model = new_model(settings, device, CLASSES).train()
    optimizer = create_optimizer(model, settings)
    for _ in range(epochs):
        for images, targets in loader:
            images = images.to(device.device, memory_format=torch.channels_last)
            with device.autocast():
                loss = F.cross_entropy(model(images).float(), targets.to(device.device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    synchronize(device)
    return time.perf_counter() - started


def benchmark_reference(options: argparse.Namespace, photos: Path) -> list[Row]:
    """The job, decoding included, against the reference-style loop."""
    device = Device.best()
    settings = Settings(
        model=options.model, batch_size=options.batch_size, image_size=options.image_size,
        epochs=options.epochs, weights="none",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder, "photos")
        invent_photos(large, options.photos, (1600, 1200))
        job_rates, reference_rates = [], []
        for number in range(options.rounds):
            started = time.perf_counter()
            stores = load(large, settings, device)
            job = Trainer(
                new_model(settings, device, CLASSES), settings, stores, device,
                Path(folder, str(number)), StopRequest(),
            )  # fmt: skip
            job.run(lambda: None)  # with evaluations and checkpoints
            seen = job.state.total_steps * job.batch_size
            job_rates.append(seen / (time.perf_counter() - started))
            seconds = reference_loop(large, settings, device, options.epochs)
            reference_rates.append(seen / seconds)
    return compare("reference", "job", job_rates, "reference loop", reference_rates, "photos/s")


def decode_only(split: Split, preprocessing: Preprocessing) -> float:
    """Return the seconds that decoding takes with a process a core and nothing else."""
    started = time.perf_counter()
    context = multiprocessing.get_context("fork")
    with context.Pool(available_cpus()) as pool:
        for _ in pool.imap_unordered(_DecodeOne(preprocessing), split.paths, chunksize=16):
            pass
        pool.close()  # to terminate it would wait for workers that inherit our handler of SIGTERM
        pool.join()
    return time.perf_counter() - started


class _DecodeOne:
    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing

    def __call__(self, photo: Photo) -> None:
        self.preprocessing.read_pixels(photo)


def benchmark_inspection(options: argparse.Namespace, photos: Path) -> list[Row]:
    """Inspecting and decoding against decoding alone."""
    _, splits = find_photos({name: photos / name for name in ("train", "test")})
    split = splits["train"]
    preprocessing = Preprocessing(224, 224)
    ours, plain, busy = [], [], []
    for _ in range(options.rounds):
        before, started = os.times(), time.perf_counter()
        decode_split(split, preprocessing, workers=available_cpus())
        seconds, after = time.perf_counter() - started, os.times()
        used = sum(after[:4]) - sum(before[:4])
        ours.append(len(split.paths) / seconds)
        busy.append(used / seconds / available_cpus())
        plain.append(len(split.paths) / decode_only(split, preprocessing))
    rows = compare("inspection", "inspection", ours, "decoding", plain, "photos/s")
    return [*rows, row("inspection", "cores busy", statistics.median(busy), "share")]


def benchmark_memory(options: argparse.Namespace, photos: Path) -> list[Row]:
    """The resident size at the end of a job of 20 epochs against that after epoch 2."""
    device = Device.best()
    settings = Settings(
        model=options.model, batch_size=options.batch_size, image_size=options.image_size,
        epochs=20, weights="none",
    )  # fmt: skip
    stores = load(photos, settings, device)
    sizes: list[float] = []
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as checkpoints:
        Trainer(
            new_model(settings, device, CLASSES), settings, stores, device, Path(checkpoints),
            StopRequest(),
        ).run(lambda: sizes.append(process.memory_info().rss / 2**20))  # fmt: skip
    return [
        row("memory", "after epoch 2", sizes[1], "MiB"),
        row("memory", "after epoch 20", sizes[-1], "MiB"),
        row("memory", "growth", sizes[-1] / sizes[1] - 1, "share"),
    ]


def compare(
    benchmark: str, one: str, ones: list[float], other: str, others: list[float], unit: str
) -> list[Row]:
    """Return the medians of two alternating measurements, and the median of their ratios."""
    ratio = statistics.median(a / b for a, b in zip(ones, others, strict=True))
    return [
        row(benchmark, one, statistics.median(ones), unit),
        row(benchmark, other, statistics.median(others), unit),
        row(benchmark, f"{one} / {other}", ratio, "ratio"),
    ]


def row(benchmark: str, what: str, value: float, unit: str) -> Row:
    """Return a line of the result."""
    return {
        "benchmark": benchmark,
        "what": what,
        "value": f"{value:.4g}",
        "unit": unit,
    }


BENCHMARKS = {
    "step": benchmark_step,
    "reference": benchmark_reference,
    "inspection": benchmark_inspection,
    "memory": benchmark_memory,
}


def main() -> int:
    """Run the benchmarks asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("benchmarks", nargs="*", metavar="|".join(BENCHMARKS))
    parser.add_argument("--data", type=Path, metavar="DIR", help="photos in train|test/CLASS/")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--photos", type=int, default=256, help="how many to invent")
    parser.add_argument("--epochs", type=int, default=5, help="of the reference comparison")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, metavar="FILE", help="a CSV file to write")
    options = parser.parse_args()
    chosen = options.benchmarks or list(BENCHMARKS)
    if unknown := set(chosen) - BENCHMARKS.keys():
        parser.error(f"expected {', '.join(BENCHMARKS)}, got {', '.join(unknown)}")
    rows: list[Row] = []
    keep_freed_memory()  # as a job does
    with tempfile.TemporaryDirectory() as folder:
        photos = options.data
        if photos is None:
            photos = Path(folder)
            invent_photos(photos, options.photos, (500, 375))
        for name in chosen:
            for found in BENCHMARKS[name](options, photos):
                print(f"{name}: {found['what']}: {found['value']} {found['unit']}", flush=True)
                rows.append(found)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        with options.output.open("w", newline="") as stream:
            write_csv(rows, stream)
    return 0


if __name__ == "__main__":
    sys.exit(main())
