"""The product speaks to nobody: each workload under a trace, in a network of its own.

No look-up, no connection beyond this machine, and no file outside the work and temporary folders.
What `helpers.tracing` finds is named with the process, e.g. ``python -m ...: looked up ...``.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import dogbreeds
from helpers import tracing
from helpers.serving_process import one_line_reason, photo

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

LOADED_SECONDS = 60
LOAD = Path(tracing.__file__).with_name("load_server.py")
TELEMETRY_HOST = "mobile.events.data.microsoft.com"

SETTINGS = """
[aws]
region = "eu-central-1"
role = "arn:aws:iam::123456789012:role/dogbreeds-job"
bucket = "dog-bucket"
[images]
training_uri = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/training@sha256:{digest}"
serving_uri = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/serving@sha256:{digest}"
[training]
data = "s3://dog-bucket/photos"
"""

# With AWS's control plane on loopback, which is the only address that the settings name.
COMMAND_LINE = """
set -e
export AWS_ENDPOINT_URL=http://127.0.0.1:5005 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
python -m moto.server -H 127.0.0.1 -p 5005 >moto.log 2>&1 &
trap "kill $!" EXIT
dogbreeds sample photos
dogbreeds data check photos --html photos.html >findings || [ $? = 1 ]  # it has some
dogbreeds data split photos/train split
dogbreeds config
python -c '
import boto3
boto3.Session(region_name="eu-central-1").client("s3").create_bucket(
    Bucket="dog-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})'
dogbreeds data upload photos
dogbreeds train --name job-1
dogbreeds list
dogbreeds deploy s3://dog-bucket/model.tar.gz --dry-run
"""

DEMO_AND_REPORTS = """
set -e
dogbreeds demo --out demo --set epochs=1 --set model=squeezenet1_1 --set debugger=true
dogbreeds report demo -o report.html
dogbreeds profile demo/opt-ml
dogbreeds debug demo/opt-ml || [ $? = 1 ]  # a rule may be triggered
"""

LOCAL_TUNING = """
set -e
dogbreeds sample photos
dogbreeds tune photos --on local --max-jobs 2 --parallel-jobs 2 --out search \\
    --set model=squeezenet1_1 --set weights=none --set image-size=64 --set epochs=1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tracing.skip_where_nothing_can_be_traced()
    return tmp_path_factory.mktemp("silence")


@pytest.fixture(scope="module")
def loading_command(folder: Path, model_dir: Path) -> list[str]:
    """The command that serves and asks; its last argument is for how many seconds."""
    asked = folder / "photo.jpg"
    asked.write_bytes(photo())
    return [sys.executable, str(LOAD), str(model_dir), str(asked)]


@pytest.fixture(scope="module")
def server(folder: Path, loading_command: list[str]) -> Iterator[tracing.Traced]:
    """The server under load, which the tests of this file begin with, since it takes a minute."""
    with traced([*loading_command, str(LOADED_SECONDS)], folder / "server") as running:
        yield running


@contextmanager
def traced(command: list[str], folder: Path, **environment: str) -> Iterator[tracing.Traced]:
    running = tracing.start(command, folder, environment)
    try:
        yield running
    finally:
        running.stop()


def test_the_command_line_speaks_to_aws_alone(server: tracing.Traced, folder: Path) -> None:
    settings = folder / "settings.toml"
    settings.write_text(SETTINGS.format(digest="a" * 64))
    command = ["sh", "-c", COMMAND_LINE]
    with traced(command, folder / "cli", DOGBREEDS_CONFIG=str(settings)) as running:
        assert running.wait(300) == []


def test_the_demo_its_training_and_its_reports_are_silent(
    server: tracing.Traced, folder: Path
) -> None:
    with traced(["sh", "-c", DEMO_AND_REPORTS], folder / "demo") as running:
        assert running.wait(400) == []


def test_a_search_on_this_machine_is_silent(server: tracing.Traced, folder: Path) -> None:
    with traced(["sh", "-c", LOCAL_TUNING], folder / "tuning") as running:
        assert running.wait(300) == []


def test_the_server_is_silent_under_load(server: tracing.Traced) -> None:
    assert server.wait(300) == []
    answers = int(server.log.read_text().split(" answers")[0])
    assert answers > LOADED_SECONDS  # more than one a second: it was under load


def without_the_switch(folder: Path, *, guarded: bool) -> Path:
    """Return a copy of the package with ONNX Runtime's telemetry on, as its vendor ships it."""
    copy = folder / "src"
    package = copy / "dogbreeds"
    shutil.copytree(Path(dogbreeds.__file__).parent, package)
    engine = package / "model/onnx_runtime.py"
    edit(engine, '"ORT_DISABLE_TELEMETRY": "1"', '"ORT": "1"')
    if not guarded:
        edit(engine, "if psutil.Process().num_threads() > threads:", "if False:")
    return copy


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"expected {old!r} once in {file}"
    file.write_text(text.replace(old, new))


def test_the_trace_catches_a_server_without_the_switch(
    folder: Path, loading_command: list[str]
) -> None:
    source = without_the_switch(folder / "unguarded", guarded=False)
    command = [*loading_command, "300"]  # ended earlier
    with traced(command, folder / "loud", PYTHONPATH=str(source)) as running:
        deadline = time.monotonic() + 120
        while not any(TELEMETRY_HOST in line for line in running.violations()):
            assert time.monotonic() < deadline, f"{running.violations()}\n{running.log.read_text()}"
            time.sleep(2)
        found = running.violations()
    asking = [line for line in found if line.endswith(f": looked up {TELEMETRY_HOST}")]
    assert any("dogbreeds.serving.loading" in line or "worker" in line for line in asking), found
    assert any(f"wrote {running.home}" in line for line in found), found


def test_the_server_refuses_an_engine_that_ignores_the_switch(
    folder: Path, loading_command: list[str]
) -> None:
    source = without_the_switch(folder / "guarded", guarded=True)
    with (
        traced([*loading_command, "5"], folder / "refused", PYTHONPATH=str(source)) as running,
        pytest.raises(AssertionError, match="exit code 1"),
    ):
        running.wait(120)
    log = (folder / "refused" / "work" / "serve.log").read_text()
    assert "telemetry" in one_line_reason(log)
