"""What all tests share."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dogbreeds.data.sample import draw_sample

# At once, so that no module of tests can load ONNX Runtime before it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# A shell makes what it starts in the background ignore Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A temporary folder that goes with what killed processes left in it."""
    tmp_path_factory.getbasetemp()  # pytest's own, which it clears by itself, is not in it
    with (
        tempfile.TemporaryDirectory(prefix="dogbreeds-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(folder).chmod(0o755)  # a server may run as another user
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn sample photos."""
    folder = tmp_path_factory.mktemp("photos") / "sample"
    draw_sample(folder)
    return folder
