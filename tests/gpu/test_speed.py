"""How much of the device a training job uses, what it takes, and what its monitor sees."""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import dogbreeds.entrypoint
from dogbreeds.data.folders import Split
from dogbreeds.data.pixels import decode_split
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.system.resources import available_cpus
from dogbreeds.training.augmentation import DRAWS, augment
from dogbreeds.training.device import Device
from helpers.gpu import (
    LIMIT,
    Recorder,
    Scale,
    benchmark,
    device_name,
    network,
    noise_store,
    rate,
    synchronize,
    toy,
    write_photos,
)

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(2 * LIMIT)]


def card_target(a100: float, h100: float) -> float | None:
    """Return the target of this card's class, if there is one."""
    classes = {a100: ("A100", "A800", "L40", "A6000"), h100: ("H100", "H200", "B200", "B300")}
    for target, names in classes.items():
        if any(name in device_name() for name in names):
            return target
    return None


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, scale: Scale) -> Path:
    """Photos of 500 x 375 in train/ and test/, as JPEG files."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, scale.job_photos)
    return folder


def test_the_job_against_the_bare_step(scale: Scale, photos: Path, found: Recorder) -> None:
    """Cache, augmentation, loop and checkpoints included; same model, batch and precision."""
    training = benchmark("training")
    options = argparse.Namespace(
        model=scale.architecture, batch_size=scale.batch_size,
        image_size=scale.image_size, rounds=1 if toy() else 4,
    )  # fmt: skip
    job, bare, ratio = training.benchmark_step(options, photos)
    found.speed("job", float(job["value"]), "photos/s")
    found.speed("bare step", float(bare["value"]), "photos/s")
    found.speed("job / bare step", float(ratio["value"]), "ratio", None if toy() else 0.9)


def test_photos_from_the_cache_on_the_device(device: Device, scale: Scale, found: Recorder) -> None:
    """The loop's input alone: batches out of the cache, augmented and normalized."""
    store = noise_store(device, scale.photos, scale.image_size)
    if device.device.type == "cuda":
        assert store._pixels is not None and store._pixels.is_cuda
    index = torch.split(torch.randperm(len(store)), scale.batch_size)
    draw = torch.rand(DRAWS, scale.batch_size)

    def epoch() -> int:
        for pixels, _ in store.batches(index):
            cut = augment(pixels, scale.image_size, draw[:, : len(pixels)])
            store.preprocessing.normalize(cut)
        return len(store)

    found.speed("batches and augmentation", rate(epoch, scale.seconds), "photos/s",
                card_target(10_000, 20_000))  # fmt: skip


def test_decoding_by_all_cores(scale: Scale, photos: Path, found: Recorder) -> None:
    files = tuple(sorted((photos / "train").glob("*/*.jpg")))
    split = Split("train", files, tuple(0 for _ in files), ())
    preprocessing, cores = Preprocessing(scale.image_size, scale.image_size), available_cpus()
    started = time.perf_counter()
    decoded = decode_split(split, preprocessing, workers=cores)
    seconds = time.perf_counter() - started
    assert len(decoded.paths) == len(files)
    found.speed(f"{cores} cores, inspected too", len(files) / seconds, "photos/s")


def test_a_job_from_the_start_of_its_process(
    scale: Scale, photos: Path, tmp_path: Path, found: Recorder
) -> None:
    """The training image's program with its monitors, reports and artifact."""
    for package in ("psutil", "matplotlib"):
        pytest.importorskip(package, reason=f"needs the package {package}")
    root = tmp_path / "ml"
    for folder in ("input/config", "model", "output/data", "checkpoints"):
        (root / folder).mkdir(parents=True)
    (root / "input/config/resourceconfig.json").write_text(
        json.dumps({"current_host": "algo-1", "hosts": ["algo-1"]})
    )
    program = Path(dogbreeds.entrypoint.__file__).parent / "program" / "train.py"
    channels = {f"SM_CHANNEL_{name.upper()}": str(photos / name) for name in ("train", "test")}
    hyperparameters = {
        "weights": "none", "quantize": "false", "epochs": scale.job_epochs,
        "batch_size": scale.batch_size, "image_size": scale.image_size,
        "model": scale.architecture,
    }  # fmt: skip
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, **channels, "SAGEMAKER_BASE_DIR": str(root),
             "SM_HPS": json.dumps(hyperparameters)},
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    assert (root / "model" / "model.safetensors").is_file()
    found.speed(f"{scale.job_photos} photos, {scale.job_epochs} epochs", seconds, "s")
    samples = [json.loads(line) for file in root.glob("output/data/profiler/**/*.json")
               for line in file.read_text().splitlines()]  # fmt: skip
    for name in ("GPUUtilization", "GPUMemoryUtilization", "CPUUtilization"):
        values = [sample["Value"] for sample in samples if sample["Dimension"] == name]
        if values:
            found.speed(f"{name}: mean", float(np.mean(values)), "%")
            found.speed(f"{name}: highest", max(values), "%")
    seen = {sample["Name"] for sample in samples if sample["Type"] == "gpu"}
    if not torch.cuda.is_available():
        assert not seen
    else:
        pytest.importorskip("pynvml", reason="needs the package nvidia-ml-py")
        assert len(seen) >= torch.cuda.device_count()


def test_memory(device: Device, scale: Scale, found: Recorder) -> None:
    """The peak of a training step; pixels are kept on the GPU in up to a third of its memory."""
    model = network().to(device.device).train()
    images = torch.zeros(scale.batch_size, 3, scale.image_size, scale.image_size)
    if device.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with device.autocast():
        loss = model(images.to(device.device)).float().sum()
    loss.backward()
    synchronize()
    if device.device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        peak = torch.cuda.max_memory_allocated()
        found.speed(f"peak of a step of {scale.batch_size} photos", peak / 2**20, "MiB")
        found.speed("the same, of the GPU's memory", 100 * peak / total, "%")
        found.speed("free of the GPU's memory", 100 * free / total, "%")
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found.speed("peak of this process's resident memory", resident, "MiB")
