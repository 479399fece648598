"""Serving on the device: the answers of eager float32, and how many of them per second."""

import csv
import functools
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dogbreeds.model import artifact
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.serving.backends.cuda_graphs import SIZES, CudaGraphs, half_types
from dogbreeds.serving.backends.pytorch import PyTorch, create_predictor
from dogbreeds.serving.predictor import MAX_BATCH
from dogbreeds.system.resources import available_cpus
from dogbreeds.training.device import Device
from helpers.gpu import LIMIT, ROOT, Recorder, Scale, draw_photo, rate, toy

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(2 * LIMIT)]

HALVES = [torch.float16, torch.bfloat16]


def photos(count: int, side: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)


def graphs(model_dir: Path, device: Device, dtype: torch.dtype) -> CudaGraphs:
    """Return a started backend; on a CPU it computes over the same fixed memory without graphs."""
    if device.device.type == "cuda":
        supported = half_types(torch.cuda.get_device_capability(device.device))
        if dtype not in supported:
            pytest.skip(f"{dtype}: this GPU is not fast at it")
    backend = CudaGraphs(artifact.load(model_dir), device.device, dtype)
    backend.start(available_cpus())
    return backend


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_graphs_answer_as_eager_float32_for_every_batch(
    model_dir: Path, device: Device, scale: Scale, dtype: torch.dtype, found: Recorder
) -> None:
    reference = PyTorch(artifact.load(model_dir), device.device)
    reference.start(available_cpus())
    half = graphs(model_dir, device, dtype)
    counts = (1, 3, MAX_BATCH) if toy() else range(1, MAX_BATCH + 1)
    errors = [np.abs(half.run(p) - reference.run(p)).max()
              for p in (photos(count, scale.image_size) for count in counts)]  # fmt: skip
    # What the golden example allows, with three bits less of mantissa where it is bfloat16.
    bound = half.tolerance * (1 if dtype is torch.float16 else 4)
    found.within(f"largest error of a probability, batches 1 to {MAX_BATCH}", max(errors), bound)


def test_leftovers_of_a_larger_batch_change_nothing(
    model_dir: Path, device: Device, scale: Scale, found: Recorder
) -> None:
    half = graphs(model_dir, device, HALVES[0])
    alone = half.run(photos(3, scale.image_size))
    half.run(photos(SIZES[-2], scale.image_size))
    error = np.abs(half.run(photos(3, scale.image_size)) - alone).max()
    found.within("difference to the same batch before", error, 0)


@pytest.mark.parametrize("requested", [None, "pytorch", "cuda-graphs"])
def test_the_golden_example_is_reproduced(
    model_dir: Path, device: Device, requested: str | None, found: Recorder
) -> None:
    """As a server does at its start; it would refuse to serve otherwise."""
    if requested == "cuda-graphs" and device.device.type == "cpu":
        pytest.skip("cuda-graphs: only on a GPU")
    loaded = artifact.load(model_dir)
    predictor = create_predictor(loaded, device.device, available_cpus(), requested)
    predictor.start()
    if requested:
        assert predictor.backend.name == requested
    golden = loaded.golden_example
    assert golden is not None
    error = np.abs(predictor.predict(golden.pixels) - golden.probabilities).max()
    name = predictor.backend.name
    found.within(f"{name}: error of the golden example", error, predictor.backend.tolerance)


def jpeg() -> bytes:
    """Return a photo of 500 x 375."""
    encoded = io.BytesIO()
    draw_photo(0).save(encoded, "JPEG", quality=88)
    return encoded.getvalue()


@pytest.fixture(scope="module")
def bare(model_dir: Path, device: Device, scale: Scale) -> dict[str, float]:
    """Photos per second of the server's parts, each alone: what the hardware gives."""
    half = graphs(model_dir, device, HALVES[0])
    rates: dict[str, float] = {}
    for count in (1, MAX_BATCH):
        run = functools.partial(half.run, photos(count, scale.image_size))
        rates[f"forward pass of {count}"] = rate(lambda run=run: len(run()), scale.seconds)  # type: ignore[misc]
    preprocessing, cores = Preprocessing(scale.image_size, scale.image_size), available_cpus()
    data = [jpeg()] * 16 * cores
    with ThreadPoolExecutor(cores) as pool:  # Pillow decodes without the GIL
        decode = functools.partial(pool.map, preprocessing.read_pixels, data)
        rates[f"decoding by {cores} cores"] = rate(lambda: len(list(decode())), scale.seconds)
    return rates


def test_the_bare_loop(bare: dict[str, float], found: Recorder) -> None:
    for name, photos_per_second in bare.items():
        found.speed(name, photos_per_second, "photos/s")


def test_decoding_by_nvjpeg(device: Device, scale: Scale, found: Recorder) -> None:
    """Whether it pays to decode on the GPU; on a CPU the same call uses libjpeg."""
    try:
        from torchvision.io import decode_jpeg
    except ImportError:
        pytest.skip("torchvision was built without decode_jpeg")
    encoded = torch.frombuffer(bytearray(jpeg()), dtype=torch.uint8)
    batch = [encoded] * 16
    try:
        run = lambda: len(decode_jpeg(batch, device=device.device))  # noqa: E731
        decoded = rate(run, scale.seconds)
    except RuntimeError as error:
        pytest.skip(f"torchvision decodes no JPEG on {device.device.type}: {error}")
    found.speed(f"torchvision.io.decode_jpeg on {device.device.type}", decoded, "photos/s")


def test_requests_over_http(
    model_dir: Path, bare: dict[str, float], tmp_path: Path, scale: Scale, found: Recorder
) -> None:
    for package in ("mms", "sagemaker_inference", "psutil"):
        pytest.importorskip(package, reason=f"needs the package {package}")
    table = tmp_path / "serving.csv"
    command = [sys.executable, "benchmarks/serving.py", str(model_dir), "--servers", "ours"]
    command += ["--sizes", "500x375", "--rounds", "1", "--seconds", str(scale.request_seconds)]
    command += ["--concurrency", "1", "16", "64", "--output", str(table)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["concurrency"] for row in rows] == ["1", "16", "64"]
    for row in rows:
        name = f"{row['concurrency']} at a time"
        found.speed(f"{name}: requests", float(row["per_second"]), "1/s")
        found.speed(f"{name}: p50", float(row["median_ms"]), "ms")
        found.speed(f"{name}: p95", float(row["p95_ms"]), "ms")
    # Decoding and forward pass run side by side, so the slower one bounds the server.
    bound = min(value for name, value in bare.items() if name != "forward pass of 1")
    best = max(float(row["per_second"]) for row in rows)
    found.speed("server / bare loop", best / bound, "ratio", None if toy() else 0.8)
