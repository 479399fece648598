"""`dogbreeds serve --benchmark`: what a model is measured at, by the real server."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dogbreeds.entrypoint.graphs import add_graphs
from dogbreeds.system.ports import free_port
from helpers.serving_process import photo, save_tiny_archive

pytestmark = pytest.mark.integration


def test_a_model_is_measured_at_several_concurrencies(tmp_path: Path) -> None:
    add_graphs(save_tiny_archive(tmp_path / "model"), {}, quantize=False)
    picture, text = tmp_path / "photo.jpg", tmp_path / "text.jpg"
    picture.write_bytes(photo())
    text.write_text("no photo")

    def serve(option: str, file: Path) -> "subprocess.CompletedProcess[str]":
        command = ["serve", str(tmp_path / "model"), "--port", str(free_port(21_000))]
        return subprocess.run(
            [sys.executable, "-m", "dogbreeds.cli.main", *command, option, str(file)],
            capture_output=True,
            text=True,
            check=False,
        )

    done = serve("--benchmark", picture)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^float32 +(\d+)((?: +[\d.]+){4})$", done.stdout, re.MULTILINE)
    assert [int(clients) for clients, _ in rows] == [1, 4, 16]  # and no int8, which it lacks
    for _, numbers in rows:
        per_second, median, p95, memory = map(float, numbers.split())
        assert per_second > 0 and 0 < median <= p95 and memory > 100
    assert "int8" not in done.stdout

    refused = serve("--benchmark", text)
    assert refused.returncode == 1
    assert f"expected 200 for {text}, got 400" in refused.stderr
    refused = serve("--photo", text)
    assert refused.returncode == 1
    assert f"{text} is refused: 400 " in refused.stderr
