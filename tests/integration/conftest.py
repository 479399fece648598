import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from helpers.serving_process import ServingProcess, save_tiny_archive, serving


@pytest.fixture(scope="session")
def real_photos() -> Path:
    """A folder with real photos in dogImages/ and weights of MobileNetV2 beside them."""
    folder = Path(os.environ.get("DOGBREEDS_PHOTOS", "../shared/dogs"))
    if not (folder / "dogImages" / "train").is_dir():
        pytest.skip(f"no real photos at {folder}: set DOGBREEDS_PHOTOS to measure accuracy")
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a small model."""
    return save_tiny_archive(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(model_dir: Path) -> Iterator[ServingProcess]:
    """A server of that archive, ready; one for the tests of a file."""
    secrets = {"AWS_SECRET_ACCESS_KEY": "hush", "DB_PASSWORD": "hush"}
    with serving(model_dir, **secrets) as running:  # type: ignore[arg-type]
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; its camera shows a drawn picture."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium to look at pages with: apt-get install chromium")
    quiet = (
        "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        " --disable-component-update --disable-sync --disable-domain-reliability --disable-breakpad"
        " --no-pings --metrics-recording-only"
    )
    # Whatever it still wants from the network, it finds no name but this machine's.
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"
    camera = "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=program, args=[*quiet.split(), offline, *camera.split()]
        )
        yield running
        running.close()
