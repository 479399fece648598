"""Neither image looks anybody up, while the network would let it; both write where they may."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.containers import Job, MakeJob, container, run, server
from helpers.resolver import recording_resolver

pytestmark = pytest.mark.images

LOADED_SECONDS = 60
TELEMETRY_HOST = "mobile.events.data.microsoft.com"
LOUD = "import onnxruntime, time; time.sleep(60)"  # as any other program would use it


@pytest.fixture(scope="module")
def gateway() -> str:
    """This machine's address on Docker's default network."""
    network = json.loads(run("docker", "network", "inspect", "bridge").stdout)[0]
    return str(network["IPAM"]["Config"][0]["Gateway"])


@pytest.fixture
def names(gateway: str) -> Iterator[list[str]]:
    """What containers with ``--dns`` of the gateway have looked up so far."""
    try:
        with recording_resolver(gateway) as asked:
            yield asked
    except PermissionError as error:
        assert not os.environ.get("CI"), error
        pytest.skip("needs root, for a resolver on port 53")


def test_the_serving_image_looks_nobody_up_under_load(
    serving_image: str, trained: Job, photos: dict[str, Path], gateway: str, names: list[str]
) -> None:
    photo = next(photos["test"].glob("*/*.jpg")).read_bytes()
    with server(serving_image, trained.model, f"--dns={gateway}") as running:
        running.wait_until_ready()
        deadline = time.monotonic() + LOADED_SECONDS
        while time.monotonic() < deadline:
            assert running.invoke(photo, "image/jpeg").status == 200
    assert names == []


def test_the_training_image_looks_nobody_up_and_writes_only_where_it_may(
    training_image: str, make_job: MakeJob, gateway: str, names: list[str]
) -> None:
    host = (f"--dns={gateway}", "--hostname=algo-1", "--add-host=algo-1:127.0.0.1")
    arguments = [a for a in make_job().arguments(training_image, *host) if a != "--network=none"]
    with container(*arguments) as identifier:
        assert run("docker", "wait", identifier, timeout=240).stdout.strip() == "0"
        changed = run("docker", "diff", identifier).stdout.splitlines()
    assert names == []
    written = [line.split(maxsplit=1)[1] for line in changed if line.startswith("A ")]
    assert [path for path in written if not path.startswith(("/tmp/", "/opt/ml"))] == []


def test_the_resolver_catches_a_container_without_the_switch(
    serving_image: str, gateway: str, names: list[str]
) -> None:
    options = (f"--dns={gateway}", "--env=ORT_DISABLE_TELEMETRY=0", serving_image)
    with container(*options, "python", "-c", LOUD):
        deadline = time.monotonic() + 60
        while TELEMETRY_HOST not in names:
            assert time.monotonic() < deadline, names
            time.sleep(1)
