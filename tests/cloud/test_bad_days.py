"""Proxies, hanging endpoints, sign-ins that ended, engines that are down, unknown images."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from botocore.stub import Stubber

from dogbreeds.cloud import aws as cloud_aws
from dogbreeds.cloud import drivers
from dogbreeds.cloud.aws import Cloud, CloudError
from dogbreeds.cloud.images import ecr, uri
from dogbreeds.cloud.settings_sources import load
from helpers.control_plane import Result

Run = Callable[..., Result]
ROOT = Path(__file__).parents[2]


class Proxy(BaseHTTPRequestHandler):
    """A proxy that answers everything with a page of its own."""

    status = 403

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        body = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Portal(Proxy):
    """A network that wants a sign-in first."""

    status = 200


class Hanging(Proxy):
    """An endpoint that never answers."""

    asked = threading.Event()

    def do_POST(self) -> None:
        self.asked.set()
        time.sleep(300)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), request.param)
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("server", [Proxy, Portal], indirect=True)
@pytest.mark.parametrize("command", [("list",), ("train", "--name=x"), ("doctor", "train")])
def test_a_proxys_page_is_told_as_one(
    dogbreeds: Run,
    workplace: Path,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    result = dogbreeds(*command)
    assert result.code == 1
    assert "got a web page: a proxy intercepts the connection" in result.err + result.out


@pytest.mark.parametrize("server", [Hanging], indirect=True)
def test_ctrl_c_does_not_wait_for_an_endpoint_that_hangs(
    workplace: Path, server: str, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8 a photo")
    command = [sys.executable, "-m", "dogbreeds.cli.main", "predict", "a.jpg"]
    environ = {**os.environ, "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": server}
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    assert Hanging.asked.wait(60)
    pressed = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - pressed < 10
    assert process.returncode == 130
    assert "what was started on AWS goes on" not in err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            botocore.exceptions.UnauthorizedSSOTokenError(),
            "aws sso login",
        ),
        (
            botocore.exceptions.TokenRetrievalError(provider="sso", error_msg="expired"),
            "aws sso login",
        ),
        (
            botocore.exceptions.PartialCredentialsError(
                provider="env", cred_var="AWS_SECRET_ACCESS_KEY"
            ),
            "the AWS credentials are incomplete: .*AWS_SECRET_ACCESS_KEY",
        ),
        (
            botocore.exceptions.InvalidConfigError(error_msg="sso_region is missing"),
            "the configuration of AWS does not work: sso_region is missing",
        ),
        (
            botocore.exceptions.SSLError(endpoint_url="https://x", error="self-signed"),
            "name its certificates in AWS_CA_BUNDLE",
        ),
        (
            botocore.exceptions.ClientError(
                {"Error": {"Code": "InvalidClientTokenId", "Message": "is invalid"}}, "GetUser"
            ),
            "the AWS credentials are wrong: is invalid",
        ),
    ],
)
def test_credentials_that_do_not_work_are_told_with_the_remedy(
    error: Exception, message: str
) -> None:
    assert re.search(message, cloud_aws.explain(error))
    assert "run the same command again" not in cloud_aws.explain(error)


def test_the_sdk_prints_no_tracebacks_on_standard_output(workplace: Path) -> None:
    code = (
        "import sys; from dogbreeds.cloud import aws; aws.quieten_sdk()\n"
        "import sagemaker.estimator, sagemaker_core.main.utils as utils\n"
        "utils.logger.error('of the SDK')\n"
        "raise RuntimeError('ours')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert "RuntimeError: ours" in done.stderr


def test_push_says_that_the_engine_is_down(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = workplace / "docker"
    docker.write_text(
        "#!/bin/sh\necho 'Cannot connect to the Docker daemon at unix:///x. Is it running?' >&2\n"
        "exit 1\n"
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{workplace}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(CloudError, match="no Docker engine answers") as raised:
        ecr.push(Cloud(load()))
    assert "make build" not in str(raised.value)


@pytest.mark.parametrize(
    ("config", "cuda"),
    [
        ({"Labels": {"org.opencontainers.image.base.name": "nvcr.io/nvidia/pytorch:25.12-py3"}},
         (13, 0)),
        ({"Env": ["PATH=/bin", "CUDA_VERSION=12.8.1.012"]}, (12, 8)),
        ({}, (12, 9)),
    ],
)  # fmt: skip
def test_the_base_is_read_from_the_image_in_ecr(
    workplace: Path, config: dict[str, Any], cuda: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = Cloud(load())
    client = cloud.client("ecr")
    blob = workplace / "config.json"
    blob.write_text(json.dumps({"config": config}))
    manifest = json.dumps({"config": {"digest": "sha256:1"}})
    monkeypatch.setattr(Cloud, "client", lambda *_: client)
    with Stubber(client) as stub:
        stub.add_response("batch_get_image", {"images": [{"imageManifest": manifest}]})
        stub.add_response("get_download_url_for_layer", {"downloadUrl": blob.as_uri()})
        assert uri.cuda_of_image(cloud, "serving") == cuda


def test_the_default_base_is_the_same_in_dockerfiles_table_and_doctor() -> None:
    for image in ("training", "serving"):
        text = (ROOT / "containers" / image / "Dockerfile").read_text()
        assert f"ARG BASE_IMAGE={drivers.DEFAULT_BASE}\n" in text
    page = (ROOT / "docs" / "sagemaker.md").read_text()
    table = page.split("<!-- bases -->\n")[1].split("\n<!-- end -->")[0].splitlines()[2:]
    assert len(table) >= 5
    for row in table:
        tag, cuda, _, _, driver, ami = [cell.strip(" `") for cell in row.strip("|").split(" | ")]
        base = f"nvcr.io/nvidia/pytorch:{tag.split('`')[0]}"
        version = drivers.cuda_of_base(base)
        assert version is not None
        assert (".".join(map(str, version)) in cuda) or cuda.startswith(f"{version[0]}.")
        assert driver == str(drivers.needed_driver(version))
        assert ami == drivers.endpoint_ami("ml.g5.xlarge", version)
        assert ("(default)" in tag) is (base == drivers.DEFAULT_BASE)
