"""AWS's control plane on loopback: moto's server, empty for every test, over real HTTP."""

import contextlib
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import botocore.client
import botocore.loaders
import botocore.session
import pytest
from moto.server import ThreadedMotoServer

from dogbreeds.cli import main
from dogbreeds.cloud import aws as cloud_aws
from dogbreeds.cloud.jobs import follow
from helpers.control_plane import REGION, SETTINGS, Calls, Result, Runtime, RuntimeHandler


@pytest.fixture(scope="session", autouse=True)
def constants_are_read_once() -> Iterator[None]:
    """Save two seconds a command: botocore's models are parsed once, and the SDK, which validates
    its configuration (a constant of ours) 22 times a command, does not.
    """
    cloud_aws.quieten_sdk()
    import sagemaker.session
    import sagemaker.utils

    loader = botocore.loaders.create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", lambda *_: loader)
        for module in (sagemaker.session, sagemaker.utils):
            patch.setattr(module, "validate_sagemaker_config", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with settings, and no way to the real AWS."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dogbreeds.toml").write_text(SETTINGS)
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # nobody listens there
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.01)
    return tmp_path


@pytest.fixture
def aws(workplace: Path, moto_url: str, monkeypatch: pytest.MonkeyPatch) -> boto3.Session:
    """An empty account with a bucket; `dogbreeds` reaches it, too."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    reset = urllib.request.Request(f"{moto_url}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset, timeout=10).close()
    session = boto3.Session(region_name=REGION)
    session.client("s3").create_bucket(
        Bucket="dog-bucket", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    for split in ("train", "valid", "test"):
        session.client("s3").put_object(
            Bucket="dog-bucket", Key=f"photos/{split}/1.A/a.jpg", Body=b"x"
        )
    return session


@pytest.fixture
def calls() -> Calls:
    """The calls that `dogbreeds` makes (and not a test's own)."""
    return Calls()


@pytest.fixture
def dogbreeds(
    workplace: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Run a command line in this process."""

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        make_api_call = botocore.client.BaseClient._make_api_call

        def record(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            calls.append((client.meta.service_model.service_name, operation, parameters))
            return make_api_call(client, operation, parameters)

        rehearse = cloud_aws.Cloud.rehearsal

        @contextlib.contextmanager
        def rehearsal(cloud: cloud_aws.Cloud) -> Iterator[list[dict[str, Any]]]:
            before = len(calls)
            with rehearse(cloud) as requests:
                yield requests
            del calls[before:]  # were not sent

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(botocore.client.BaseClient, "_make_api_call", record)
            patch.setattr(cloud_aws.Cloud, "rehearsal", rehearsal)
            code = main.main(list(arguments))
        captured = capsys.readouterr()
        sys.stderr.write(captured.err)  # shown if the test fails
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def runtime(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    server = Runtime(("127.0.0.1", 0), RuntimeHandler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", url)
    yield server
    server.shutdown()
    server.server_close()
