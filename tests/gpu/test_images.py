"""Both images on NVIDIA's real base, with a GPU: build, size, driver, training, serving.

`make test-gpu-images` runs this: it takes Docker with NVIDIA's Container Toolkit, and the network.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator

import pytest

from dogbreeds.data.sample import draw_sample
from helpers.containers import SPLITS, Job, run, server
from helpers.gpu import Recorder

pytestmark = [pytest.mark.gpu, pytest.mark.images, pytest.mark.timeout(3600)]

GPU = "--gpus=all"


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    """These tests were asked for: without an engine they fail rather than pass unseen."""
    if shutil.which("docker") is None or run("docker", "info", check=False).returncode:
        pytest.exit("no Docker engine answers: start one", returncode=1)


def built(image: str) -> Iterator[str]:
    tag = f"dogbreeds-{image}-gpu:test-{os.getpid()}"
    run("docker/build", image, "gpu", tag, timeout=3600, WEIGHTS="none")
    yield tag
    run("docker", "image", "rm", tag)


@pytest.fixture(scope="module")
def training_image() -> Iterator[str]:
    yield from built("training")


@pytest.fixture(scope="module")
def serving_image() -> Iterator[str]:
    yield from built("serving")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, training_image: str) -> tuple[Job, float]:
    """A finished job over the drawn sample, and its seconds."""
    root = tmp_path_factory.mktemp("job")
    draw_sample(root / "sample")
    channels = {split: root / "sample" / split for split in SPLITS}
    job = Job.create(root / "ml", channels, {"weights": "none", "epochs": "2", "model": "resnet18"})
    started = time.monotonic()
    done = job.train(training_image, GPU, "--ipc=host", timeout=600, check=False)
    assert done.returncode == 0, done.stdout + job.failure
    assert "on cuda" in done.stdout or "x cuda" in done.stdout
    return job, time.monotonic() - started


def test_sizes(training_image: str, serving_image: str, found: Recorder) -> None:
    for name, image in (("training", training_image), ("serving", serving_image)):
        size = run("docker", "image", "inspect", "--format", "{{.Size}}", image).stdout
        found.speed(f"{name} image", int(size) / 1e9, "GB")


def test_the_check_of_the_driver_lets_cuda_start(training_image: str, found: Recorder) -> None:
    """The image's own entry point decides about the compatibility libraries."""
    code = (
        "import json, os, torch\n"
        "print(json.dumps([torch.__version__, torch.version.cuda, torch.cuda.is_available(),\n"
        "    torch.cuda.get_device_name(), os.environ.get('LD_LIBRARY_PATH', '')]))\n"
    )
    started = time.monotonic()
    done = run("docker", "run", "--rm", GPU, training_image, "python", "-c", code, timeout=300)
    version, cuda, available, card, path = json.loads(done.stdout.splitlines()[-1])
    assert available, done.stdout
    compat = "with" if "compat" in path.split(":")[0] else "without"
    found.speed(f"torch {version}, CUDA {cuda}, {card}, {compat} compatibility libraries: start",
                time.monotonic() - started, "s")  # fmt: skip


def test_training(trained: tuple[Job, float], found: Recorder) -> None:
    job, seconds = trained
    assert (job.model / "model.safetensors").is_file()
    found.speed("docker run train, 2 epochs of the drawn sample", seconds, "s")
    types = {
        json.loads(line)["Type"]
        for file in (job.root / "output/data/profiler").rglob("*.json")
        for line in file.read_text().splitlines()
    }
    assert "gpu" in types, "the job's monitor saw no GPU"


def test_serving(trained: tuple[Job, float], serving_image: str, found: Recorder) -> None:
    job, _ = trained
    photo = next((job.channels["test"]).glob("*/*.jpg")).read_bytes()
    started = time.monotonic()
    with server(serving_image, job.model, GPU) as running:
        running.wait_until_ready(240)
        found.speed("docker run serve to ready", time.monotonic() - started, "s")
        answer = running.invoke(photo, "image/jpeg")
        assert answer.status == 200, answer.body
        log = run("docker", "logs", running.container).stdout
    assert "cuda-graphs" in log or "on pytorch" in log, log
