"""Two containers on a Docker network train together, as SageMaker's instances do."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dogbreeds.model import artifact
from helpers.containers import Job, MakeJob, container, logs, run, state, wait_for_log

pytestmark = pytest.mark.images

HOSTS = ("algo-1", "algo-2")


@pytest.fixture
def network() -> Iterator[str]:
    name = f"dogbreeds-test-{os.getpid()}"
    run("docker", "network", "create", name)
    yield name
    run("docker", "network", "rm", name)


def arguments(job: Job, image: str, network: str, host: str) -> list[str]:
    resources = {"current_host": host, "hosts": list(HOSTS), "network_interface_name": "eth0"}
    (job.root / "input/config/resourceconfig.json").write_text(json.dumps(resources))
    mounts = [f"--volume={job.root}:/opt/ml"]
    mounts += [f"--volume={f}:/opt/ml/input/data/{name}:ro" for name, f in job.channels.items()]
    names = [f"--hostname={host}", f"--network-alias={host}"]
    return [f"--network={network}", *names, *mounts, image, "train"]


def test_two_containers_train_together_and_neither_waits_for_a_dead_one(
    make_job: MakeJob, training_image: str, network: str
) -> None:
    with ExitStack() as stack:
        jobs = [make_job({"image-size": "32"}) for _ in HOSTS]
        first, second = (
            stack.enter_context(container(*arguments(job, training_image, network, host)))
            for job, host in zip(jobs, HOSTS, strict=True)
        )
        codes = [int(run("docker", "wait", c, timeout=200).stdout) for c in (first, second)]
        assert codes == [0, 0], logs(first) + logs(second)
        assert "on 2 x cpu" in logs(first)
        assert artifact.load(jobs[0].model).metrics
        assert list(jobs[1].model.iterdir()) == []

        jobs = [make_job({"image-size": "32", "epochs": "500"}) for _ in HOSTS]
        first, second = (
            stack.enter_context(container(*arguments(job, training_image, network, host)))
            for job, host in zip(jobs, HOSTS, strict=True)
        )
        wait_for_log(first, "[metrics] epoch=1;", 120)
        run("docker", "kill", second)
        run("docker", "wait", first, timeout=90)
        assert state(first)["ExitCode"] != 0
        assert "lost contact with another process of the job" in jobs[0].failure
