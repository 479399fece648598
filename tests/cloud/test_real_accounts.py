"""What a real account does to a new user's first day: names, settings, bad days, money."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
from botocore.stub import Stubber

from dogbreeds.cloud import aws as cloud_aws
from dogbreeds.cloud import drivers
from dogbreeds.cloud.aws import Cloud, CloudError
from dogbreeds.cloud.endpoints import operations
from dogbreeds.cloud.images import ecr, uri
from dogbreeds.cloud.settings_sources import load
from helpers.control_plane import REGISTRY, SERVING_URI, Calls, Result, Runtime

Run = Callable[..., Result]
ROOT = Path(__file__).parents[2]
MODEL = "s3://dog-bucket/m/model.tar.gz"
BATCH = ("transform", MODEL, "s3://dog-bucket/photos/test")


def readme_commands() -> list[list[str]]:
    """The commands of docs/sagemaker.md that ask AWS, as they stand there."""
    page = (ROOT / "docs" / "sagemaker.md").read_text()
    block = re.search(r"```sh\n(.*?)```", page, re.DOTALL)
    assert block is not None
    lines = [line for line in block[1].splitlines() if line.startswith(".venv/bin/dogbreeds")]
    return [shlex.split(line)[1:] for line in lines]


def test_the_pages_first_commands_work_word_for_word(
    dogbreeds: Run,
    aws: boto3.Session,
    runtime: Runtime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 a photo")
    commands = readme_commands()
    assert ["train", "--name", "breeds-1"] in [command[:3] for command in commands]
    for command in commands:
        if command[0] == "doctor":
            continue  # moto has no simulator and no quotas: test_doctor.py
        extra = ["--no-wait"] if command[0] == "tune" else []  # moto lists no jobs of a search
        result = dogbreeds(*command, *extra)
        assert result.code == 0, (command, result.err)
        if command[0] == "list":
            for name in ("dogbreeds", "dogbreeds-breeds-1", "dogbreeds-breeds-2"):
                assert f" {name} " in result.out
    assert dogbreeds("delete", "--all", "--yes").code == 0
    left = json.loads(dogbreeds("list", "--json").out)
    assert {item["kind"] for item in left} <= {"training-job", "tuning-job"}  # history


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--name=my_job"), "TrainingJobName: expected letters, digits and single -"),
        (("train", "--name=my job"), "TrainingJobName: expected letters, digits and single -"),
        (("train", f"--name={'x' * 60}"), "TrainingJobName: expected 1 to 63 characters"),
        (("tune", f"--name={'x' * 30}"), "JobName: expected 1 to 32 characters"),
        (("deploy", MODEL, "--name=a_b"), "EndpointName: expected letters, digits and single -"),
        (
            ("deploy", MODEL, "--kind=serverless", "--flavor=cpu", "--concurrency=500"),
            "ServerlessConfig.MaxConcurrency: expected 1 to 200, got 500",
        ),
        (("deploy", MODEL, "--kind=serverless"), "a serverless endpoint has no GPU"),
        (("deploy", MODEL, "--update=linear", "--step-percent=5"), "expected at least 10"),
        (
            ("deploy", MODEL, "--instance-type=ml.g5.2large"),
            "InstanceType: 'ml.g5.2large' is not offered there (did you mean ml.g5.2xlarge",
        ),
        (("deploy", MODEL, "--ami-version=gpu-9"), "InferenceAmiVersion: 'gpu-9' is not offered"),
        (
            ("deploy", MODEL, f"--serving-uri={SERVING_URI.replace('eu-central', 'us-east')}"),
            "is in us-east-1: SageMaker pulls from its own region only",
        ),
        (("train", "--set", "model=resnet51"), "got model 'resnet51'"),
        (("train", "--set", "weights=a.pth"), "comes by the channel `weights`"),
        (("train", "--set", "model=resnet50"), "only those of resnet18 are in the image"),
        (("train", "--instance-type=ml.g5.tiny"), "InstanceType: 'ml.g5.tiny' is not offered"),
        ((*BATCH, "--instance-type=ml.p5.48xlarge"), "TransformResources.InstanceType"),
        (("tune", "--max-jobs=2", "--parallel-jobs=3"), "expected at most tuning.max_jobs, 2"),
        ((*BATCH, "--subnets=subnet-1"), "give both or neither"),
        (
            ("tune", "--set=lr=0.1", "--set=batch_size=8", "--set=epochs=3", "--set=optimizer=sgd"),
            "--set fixes the whole search space",
        ),
    ],
)
def test_a_dry_run_refuses_the_impossible(
    dogbreeds: Run, arguments: tuple[str, ...], message: str
) -> None:
    result = dogbreeds(*arguments, "--dry-run")
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_words_that_botocore_does_not_know_yet_are_left_to_aws(aws: boto3.Session) -> None:
    cloud = Cloud(load())
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.new9.xlarge",
               "InitialInstanceCount": 1}  # fmt: skip
    with Stubber(cloud.sagemaker) as stub:
        stub.add_response("create_endpoint_config", {"EndpointConfigArn": "a" * 20})
        cloud.sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (("--set=epochs=3",), ("--set=epochs=4",), "HyperParameters.epochs: 3 there, 4 here"),
        (("--set=epochs=3",), (), "HyperParameters.epochs: 3 there, nothing here"),
        ((), (f"--training-uri={REGISTRY}/x@sha256:{'c' * 64}",), "TrainingImage: "),
    ],
)
def test_a_job_of_this_name_with_other_settings_is_refused(
    dogbreeds: Run,
    aws: boto3.Session,
    first: tuple[str, ...],
    second: tuple[str, ...],
    message: str,
) -> None:
    assert dogbreeds("train", "--name=breeds-1", "--no-wait", *first).code == 0
    result = dogbreeds("train", "--name=breeds-1", *second)
    assert (result.code, result.out) == (1, "")
    assert "dogbreeds-breeds-1 exists already, with other settings" in result.err
    assert message in result.err


def test_a_transform_job_of_this_name_with_other_photos_is_refused(
    dogbreeds: Run, aws: boto3.Session
) -> None:
    assert dogbreeds(*BATCH, "--name=b", "--no-wait").code == 0
    result = dogbreeds(*BATCH, "--name=b", "--content-type=image/png")
    assert "ContentType: image/jpeg there, image/png here" in result.err


@pytest.mark.parametrize(
    "command", [("deploy", "my job"), ("register", "my job"), ("predict", "a.jpg", "--name=my end")]
)
def test_a_name_that_cannot_be_is_refused_before_aws_is_asked(
    dogbreeds: Run, aws: boto3.Session, command: tuple[str, ...]
) -> None:
    Path("a.jpg").touch()
    result = dogbreeds(*command)
    assert result.code == 2
    assert "Name: expected letters, digits and single - between them" in result.err


def test_channels_are_the_splits_that_are_there(
    dogbreeds: Run, aws: boto3.Session, calls: Calls
) -> None:
    s3 = aws.client("s3")
    s3.delete_object(Bucket="dog-bucket", Key="photos/test/1.A/a.jpg")
    assert dogbreeds("train", "--no-wait").code == 0
    [request] = calls.of("CreateTrainingJob")
    channels = [channel["ChannelName"] for channel in request["InputDataConfig"]]
    assert channels == ["train", "valid"]
    s3.delete_object(Bucket="dog-bucket", Key="photos/valid/1.A/a.jpg")
    result = dogbreeds("train", "--no-wait", "--new")
    assert result.code == 2
    assert "found no valid/ or test/" in result.err
    assert "there is no bucket no-bucket" in dogbreeds("train", "s3://no-bucket/x").err


def test_a_plan_says_what_is_made_what_stays_and_what_it_costs(
    dogbreeds: Run, aws: boto3.Session, calls: Calls
) -> None:
    result = dogbreeds("train", "--name=breeds-1", "--dry-run")
    assert "+ training job dogbreeds-breeds-1" in result.out
    assert "1 x 1 x ml.g5.xlarge for at most 4 h, at most about 5.63 USD" in result.out
    assert "Not looked up" not in result.out
    assert not calls.of("CreateTrainingJob") or "{" not in result.out

    plan = dogbreeds("deploy", MODEL, "--dry-run").out
    assert re.search(r"\+ endpoint config dogbreeds-config-\w+\n +main: 1 x ml.m5.large", plan)
    assert dogbreeds("deploy", MODEL, "--no-wait").code == 0
    again = dogbreeds("deploy", MODEL, "--dry-run").out
    assert re.search(r"= model dogbreeds-model-\w+: exists already", again)
    assert "= endpoint dogbreeds: exists already" in again
    update = dogbreeds("deploy", MODEL, "--dry-run", "--startup-seconds=700", "--update=canary").out
    assert "~ endpoint dogbreeds" in update
    assert "rolled back on dogbreeds-5xx, dogbreeds-latency" in update
    unknown = dogbreeds("deploy", MODEL, "--dry-run", "--instance-type=ml.p5.48xlarge").out
    assert "price of ml.p5.48xlarge not known" in unknown


def test_without_credentials_a_plan_says_that_nothing_was_looked_up(
    dogbreeds: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    result = dogbreeds("train", "--dry-run")
    assert "Not looked up: what exists already (no AWS credentials are found" in result.out


def test_list_tells_age_and_cost(dogbreeds: Run, aws: boto3.Session) -> None:
    assert dogbreeds("deploy", MODEL, "--no-wait").code == 0
    [line] = [x for x in dogbreeds("list").out.splitlines() if x.startswith("endpoint ")]
    assert re.search(r"dogbreeds +InService +0\.0 h +about 0\.1[12] USD per hour", line)


def test_alarms_and_dashboard_come_and_go_with_the_endpoint(
    dogbreeds: Run, aws: boto3.Session
) -> None:
    topic = "arn:aws:sns:eu-central-1:123456789012:dogs"
    assert dogbreeds("deploy", MODEL, "--no-wait", f"--alarm-topic={topic}").code == 0
    client = aws.client("cloudwatch")
    made = client.describe_alarms()["MetricAlarms"]
    assert {alarm["AlarmName"] for alarm in made} == {
        "dogbreeds-5xx", "dogbreeds-latency", "dogbreeds-idle", "dogbreeds-disk"
    }  # fmt: skip
    assert {tuple(alarm["AlarmActions"]) for alarm in made} == {(topic,)}
    assert client.list_dashboards()["DashboardEntries"]
    assert dogbreeds("delete", "dogbreeds", "--yes").code == 0
    assert not client.describe_alarms()["MetricAlarms"]
    assert not client.list_dashboards()["DashboardEntries"]


def test_alarms_and_updates_are_what_the_services_take(workplace: Path) -> None:
    flags = {"endpoint.kind": "async", "endpoint.max_instances": "2", "images.flavor": "cpu"}
    cloud = Cloud(load(flags={**flags, "endpoint.scale_to_zero": "true"}), dry_run=True)
    operations.ensure_monitoring(cloud, "dogbreeds")
    operations.scale(cloud)
    requests = [(name, content) for request in cloud.requests for name, content in request.items()]
    assert ("RegisterScalableTarget", 0) in [(n, c.get("MinCapacity")) for n, c in requests]
    wake = [content for _, content in requests if content.get("AlarmName") == "dogbreeds-wake"]
    assert [alarm["MetricName"] for alarm in wake] == ["HasBacklogWithoutCapacity"]


def test_hyperband_hands_out_the_epochs_itself(dogbreeds: Run) -> None:
    result = dogbreeds("tune", "--strategy=Hyperband", "--dry-run", "--json")
    request = json.loads(result.out)[0]["CreateHyperParameterTuningJob"]
    config = request["HyperParameterTuningJobConfig"]
    assert config["TrainingJobEarlyStoppingType"] == "Off"
    assert config["StrategyConfig"]["HyperbandStrategyConfig"] == {
        "MinResource": 1, "MaxResource": 20
    }  # fmt: skip
    assert request["TrainingJobDefinition"]["StaticHyperParameters"]["epochs"] == "20"
    assert "epochs" not in json.dumps(config["ParameterRanges"])


def test_any_setting_can_be_given_as_a_flag(dogbreeds: Run) -> None:
    result = dogbreeds(
        "train", "--dry-run", "--json", "--project=puppies", "--tags=team=dogs,env=x",
        "--setting=images.keep=20",
    )  # fmt: skip
    request = json.loads(result.out)[0]["CreateTrainingJob"]
    assert request["TrainingJobName"].startswith("puppies-train-")
    assert {"Key": "env", "Value": "x"} in request["Tags"]
    assert "unknown setting projct: did you mean project" in (
        dogbreeds("config", "--setting=projct=x").err
    )


def test_a_photo_that_is_not_there_is_told_before_anything_is_made(
    dogbreeds: Run, aws: boto3.Session, calls: Calls
) -> None:
    result = dogbreeds("deploy", MODEL, "--photo=nosuch.jpg")
    assert result.code == 1
    assert "no such photo: nosuch.jpg" in result.err
    Path("empty").mkdir()
    assert "no photos in empty" in dogbreeds("deploy", MODEL, "--photo=empty").err
    assert not calls


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
