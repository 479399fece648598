import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dogbreeds.data.sample import draw_sample
from helpers.containers import SPLITS, Job, MakeJob, run

# From random weights, on small pictures: seconds, not minutes.
QUICK = {"weights": "none", "epochs": "1", "image-size": "64", "lr": "0.001"}


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """These tests were asked for: without an engine they fail rather than pass unseen."""
    if shutil.which("docker") is None or run("docker", "info", check=False).returncode:
        pytest.exit("no Docker engine answers: start one, or source DIR/env of .ci/docker-engine")


@pytest.fixture(scope="session")
def training_image(engine: None) -> Iterator[str]:
    # No ImageNet weights, whether they could be downloaded here or not.
    yield from _built("training", weights="none")


@pytest.fixture(scope="session")
def serving_image(engine: None) -> Iterator[str]:
    yield from _built("serving")


@pytest.fixture(scope="session")
def slim_image(engine: None) -> Iterator[str]:
    yield from _built("serving", flavor="slim")


def _built(image: str, weights: str = "auto", flavor: str = "cpu") -> Iterator[str]:
    tag = f"dogbreeds-{image}-{flavor}:test-{os.getpid()}"
    run("docker/build", image, flavor, tag, timeout=1200, WEIGHTS=weights)
    yield tag
    run("docker", "image", "rm", tag)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The channels of the drawn sample."""
    root = tmp_path_factory.mktemp("photos") / "sample"
    draw_sample(root)
    return {split: root / split for split in SPLITS}


@pytest.fixture(scope="session")
def make_job(
    tmp_path_factory: pytest.TempPathFactory, training_image: str, photos: dict[str, Path]
) -> Iterator[MakeJob]:
    """Make a quick job over the drawn sample; hyperparameters are added to the quick ones."""
    roots: list[Path] = []

    def make(
        hyperparameters: Mapping[str, str] | None = None,
        channels: Mapping[str, Path] | None = None,
        defaults: Mapping[str, str] = QUICK,
    ) -> Job:
        root = tmp_path_factory.mktemp("job") / "ml"
        roots.append(root)
        return Job.create(root, channels or photos, {**defaults, **(hyperparameters or {})})

    yield make
    if os.getuid() != 0:  # what containers wrote as root must be removable by whoever runs this
        owner = f"{os.getuid()}:{os.getgid()}"
        for root in roots:
            chown = ("--entrypoint=chown", f"--volume={root}:/job", training_image)
            run("docker", "run", "--rm", *chown, "--recursive", owner, "/job")


@pytest.fixture(scope="session")
def trained(make_job: MakeJob, training_image: str) -> Job:
    """A finished training: as root, without a network, with 64 MB of /dev/shm."""
    job = make_job({"epochs": "2"})
    job.train(training_image)
    return job


@pytest.fixture
def tiny_image(tmp_path: Path) -> Iterator[str]:
    """An image of a few bytes, built by what builds the real ones of gigabytes."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    tag = f"dogbreeds-tiny:test-{os.getpid()}"
    run("docker/buildx", "--tag", tag, str(tmp_path))
    yield tag
    run("docker", "image", "rm", tag)
