"""The quickstart's commands for the images, run as they are there, over the drawn sample."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.containers import REPOSITORY, run

pytestmark = pytest.mark.images


def commands(section: str) -> list[str]:
    """Return the lines of the shell block in a section of the quickstart."""
    page = (REPOSITORY / "docs" / "quickstart.md").read_text()
    text = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block is not None
    return block[1].splitlines()


@pytest.fixture
def tags() -> Iterator[None]:
    """Remove the tags that `make build` makes, unless they were there before."""

    def existing() -> set[str]:
        listed = run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").stdout
        return {tag for tag in listed.split() if tag.startswith("dogbreeds-")}

    before = existing()
    yield
    for tag in existing() - before - {"dogbreeds-base:cpu"}:
        run("docker", "image", "rm", tag)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.usefixtures("training_image", "serving_image", "tags")  # built once, then cached
def test_build_train_serve_and_ask(photos: dict[str, Path], tmp_path: Path) -> None:
    build, train, serve = commands("In containers")
    ping, ask = commands("Send a request")
    run(*shlex.split(build), timeout=900, WEIGHTS="none")

    train = train.replace("path/to/dogImages", str(photos["train"].parent))
    run(*shlex.split(train), f"OUT={tmp_path}", "WEIGHTS=none", timeout=300)

    port = free_port()
    server = subprocess.Popen(
        [*shlex.split(serve), f"MODEL_DIR={tmp_path}/ml/model", f"PORT={port}"],
        cwd=REPOSITORY,
        start_new_session=True,
    )
    try:
        ping = ping.replace(":8080", f":{port}")
        deadline = time.monotonic() + 90
        while run(*shlex.split(ping), "--fail", check=False).returncode:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        photo = next(photos["test"].glob("*/*.jpg"))
        ask = ask.replace(":8080", f":{port}").replace("photo.jpg", str(photo))
        answer = json.loads(run(*shlex.split(ask), "--silent").stdout)
        assert answer["predicted_label"] in {f"{i:03d}" for i in range(1, 7)}
    finally:
        os.killpg(server.pid, signal.SIGINT)  # Ctrl-C
        server.wait(60)
