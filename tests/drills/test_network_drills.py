"""What a job on two hosts loses where one is cut off the network: no connection is closed then."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dogbreeds.local import training
from dogbreeds.model.document import WEIGHTS_FILE
from helpers.drill_record import Record

pytestmark = pytest.mark.drill

ADDRESSES = ("10.211.0.1", "10.211.0.2")
JOB = {
    "model": "shufflenet_v2_x0_5", "weights": "none", "image_size": "32", "epochs": "500",
    "batch_size": "16", "quantize": "false",
}  # fmt: skip


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Two network namespaces that a cable joins, by name; each has an interface eth0."""
    names = [f"dogbreeds-{os.getpid()}-{number}" for number in range(2)]
    with ExitStack() as stack:
        try:
            for name in names:
                ip("netns", "add", name)
                stack.callback(ip, "netns", "delete", name)
            one, other = names
            peer = ("type", "veth", "peer", "name", "eth0", "netns", other)
            ip("link", "add", "eth0", "netns", one, *peer)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"making network namespaces is not allowed here: {error}")
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for interface in ("lo", "eth0"):
                ip("-n", name, "link", "set", interface, "up")
        yield names


@pytest.mark.timeout(900)
def test_a_host_cut_off_the_network_ends_the_job_on_both(
    hosts: list[str], sample: Path, tmp_path: Path, record: Record, full: bool
) -> None:
    if not full:
        pytest.skip("gloo waits five minutes for a host that is silent: not with DRILL_QUICK")
    trees = [tmp_path / address for address in ADDRESSES]
    with ExitStack() as stack:
        processes = []
        for host, address, tree in zip(hosts, ADDRESSES, trees, strict=True):
            training.make_tree(tree, sample, JOB)
            resources = {"current_host": address, "hosts": list(ADDRESSES),
                         "network_interface_name": "eth0"}  # fmt: skip
            (tree / "input/config/resourceconfig.json").write_text(json.dumps(resources))
            process = subprocess.Popen(
                ["ip", "netns", "exec", host, sys.executable, "-m", "dogbreeds.entrypoint.train"],
                env={**os.environ, "SAGEMAKER_BASE_DIR": str(tree),
                     "SAGEMAKER_TRAINING_MODULE": "dogbreeds.entrypoint.toolkit:main"},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            stack.callback(training.stop, process)
            processes.append(process)
        deadline = time.monotonic() + 120
        while not (trees[0] / "model" / WEIGHTS_FILE).exists():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        ip("-n", hosts[1], "link", "set", "eth0", "down")
        started = time.monotonic()
        assert [process.wait(600) for process in processes] == [1, 1]
        seconds = time.monotonic() - started
    reasons = [(tree / "output" / "failure").read_text() for tree in trees]
    assert all("lost contact with another process of the job" in reason for reason in reasons)
    record("one of two hosts cut off the network", f"both end with exit code 1: {reasons[0]}",
           "steps since the last checkpoint", seconds)  # fmt: skip
