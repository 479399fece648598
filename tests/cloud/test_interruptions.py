"""Throttling, lost connections, expired credentials and Ctrl-C: nothing is lost or made twice."""

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.stub import Stubber

from dogbreeds.cloud.aws import Cloud, CloudError
from dogbreeds.cloud.jobs import follow, submit, training
from dogbreeds.cloud.settings_sources import load
from helpers.control_plane import TRAINING_URI, Calls, Result

Run = Callable[..., Result]
DROP = "drop the connection"


class Control(ThreadingHTTPServer):
    """A control plane that answers DescribeTrainingJob from a list, the last one for ever."""

    daemon_threads = True
    answers: list[Any]
    asked = 0


class Handler(BaseHTTPRequestHandler):
    server: Control

    def do_GET(self) -> None:  # S3: all splits are there
        body = b"<ListBucketResult><Contents><Key>x</Key></Contents></ListBucketResult>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if "DescribeLogStreams" in self.headers["X-Amz-Target"]:
            self.respond(200, {"logStreams": []})
            return
        answers = self.server.answers
        self.server.asked += 1
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer == DROP:
            self.connection.close()
        else:
            self.respond(400 if "__type" in answer else 200, answer)

    def respond(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def control(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    server = Control(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        "botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01
    )
    yield server
    server.shutdown()
    server.server_close()


def job(status: str) -> dict[str, Any]:
    moment = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    return {
        "TrainingJobName": "dogbreeds-job-1",
        "TrainingJobArn": "arn:aws:sagemaker:x:1:training-job/dogbreeds-job-1",
        "TrainingJobStatus": status, "CreationTime": moment, "FailureReason": "no memory left",
        "AlgorithmSpecification": {"TrainingImage": TRAINING_URI},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1},
        "OutputDataConfig": {"S3OutputPath": "s3://dog-bucket/dogbreeds/jobs"},
        "InputDataConfig": [
            {"ChannelName": split,
             "DataSource": {"S3DataSource": {"S3Uri": f"s3://dog-bucket/photos/{split}/"}}}
            for split in ("train", "valid", "test")
        ],
    }  # fmt: skip


def fault(code: str) -> dict[str, str]:
    return {"__type": code, "message": "said the test"}


def test_throttling_is_borne(control: Control) -> None:
    control.answers = [*[fault("ThrottlingException")] * 12, job("Completed")]
    description = training.wait(Cloud(load()), "dogbreeds-job-1")
    assert description["TrainingJobStatus"] == "Completed"
    assert control.asked == 13


def test_a_lost_connection_is_borne(control: Control, capsys: pytest.CaptureFixture[str]) -> None:
    control.answers = [job("InProgress"), *[DROP] * 20, job("Completed")]
    assert training.wait(Cloud(load()), "dogbreeds-job-1")["TrainingJobStatus"] == "Completed"
    assert "trying again" in capsys.readouterr().err


def test_a_connection_that_stays_lost_ends_with_what_to_do(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    control.answers = [DROP]
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(CloudError, match="run the same command again"):
        training.wait(Cloud(load()), "dogbreeds-job-1")


def test_expired_credentials_end_with_what_to_do(control: Control, dogbreeds: Run) -> None:
    control.answers = [job("InProgress"), fault("ExpiredTokenException")]
    result = dogbreeds("train", "--name=dogbreeds-job-1")
    assert result.code == 1
    assert "credentials have expired" in result.err
    assert "run the same command again" in result.err


def test_a_failed_job_ends_with_sagemakers_reason(control: Control, dogbreeds: Run) -> None:
    control.answers = [job("InProgress"), job("Failed")]
    result = dogbreeds("train", "--name=dogbreeds-job-1")
    assert result.code == 1
    assert "no memory left" in result.err


def test_what_is_not_allowed_points_to_the_policies(control: Control, dogbreeds: Run) -> None:
    control.answers = [fault("AccessDeniedException")]
    result = dogbreeds("train", "--name=dogbreeds-job-1")
    assert result.code == 1
    assert "iam/" in result.err


def test_ctrl_c_leaves_the_job_and_the_same_command_follows_it_again(
    dogbreeds: Run, aws: boto3.Session, monkeypatch: pytest.MonkeyPatch, calls: Calls
) -> None:
    arguments = ("train", "--name=dogbreeds-job-1")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(follow, "follow", interrupt)
        result = dogbreeds(*arguments)
    assert result.code == 130
    assert "what was started on AWS continues" in result.err
    assert "dogbreeds-job-1" in dogbreeds("list").out
    result = dogbreeds(*arguments)
    assert result.code == 0
    assert "dogbreeds-job-1: Completed" in result.out
    assert len(calls.of("CreateTrainingJob")) == 1


DEPLOY = ("deploy", "s3://dog-bucket/m/model.tar.gz", "--no-wait")


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (("train", "--name=dogbreeds-job-1"), "CreateTrainingJob"),
        (DEPLOY, "CreateModel"),
        (DEPLOY, "CreateEndpointConfig"),
        (DEPLOY, "CreateEndpoint"),
    ],
)
def test_a_command_cut_short_anywhere_is_listed_and_completed_when_run_again(
    dogbreeds: Run,
    aws: boto3.Session,
    monkeypatch: pytest.MonkeyPatch,
    calls: Calls,
    arguments: tuple[str, ...],
    call: str,
) -> None:
    make = botocore.client.BaseClient._make_api_call

    def cut(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        answer = make(client, operation, parameters)
        if operation == call:
            raise KeyboardInterrupt  # after AWS has done it
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", cut)
        assert dogbreeds(*arguments).code == 130
    listed = json.loads(dogbreeds("list", "--json").out)
    listed = [item for item in listed if item["kind"] != "alarm"]  # put, not created
    assert len(listed) == len([name for _, name, _ in calls if name.startswith("Create")])
    assert dogbreeds(*arguments).code == 0
    made = [name for _, name, _ in calls if name.startswith("Create")]
    assert len(made) == len(set(made))  # nothing was made twice


def test_a_job_that_runs_from_the_same_request_is_found_without_a_name(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = Cloud(load())
    running = {
        "TrainingJobName": "dogbreeds-train-1a2b3c-01000000",
        "TrainingJobArn": "arn:aws:sagemaker:x:1:training-job/x",
        "CreationTime": datetime.now(UTC),
        "TrainingJobStatus": "InProgress",
    }
    start = functools.partial(
        submit.submit_once, cloud, "TrainingJob", "dogbreeds-train-1a2b3c", list, name=None
    )
    with Stubber(cloud.sagemaker) as stub:
        stub.add_response(
            "list_training_jobs",
            {"TrainingJobSummaries": [running]},
            {"NameContains": "dogbreeds-train-1a2b3c", "StatusEquals": "InProgress"},
        )
        stub.add_response("list_training_jobs", {"TrainingJobSummaries": []})
        found, *started = [start(new=new) for new in (False, False, True)]
        stub.assert_no_pending_responses()
    assert found == running["TrainingJobName"]
    assert all(name.startswith("dogbreeds-train-1a2b3c-") and name != found for name in started)
    assert "not starting another (--new does)" in capsys.readouterr().err


def test_the_same_request_has_the_same_name_and_any_change_another(dogbreeds: Run) -> None:
    def prefix(*flags: str) -> str:
        [request] = json.loads(dogbreeds("train", "--dry-run", "--json", *flags).out)
        return str(request["CreateTrainingJob"]["TrainingJobName"]).rpartition("-")[0]

    assert prefix() == prefix()
    assert len({prefix(), prefix("--set=epochs=9"), prefix("--spot"), prefix("--isolation")}) == 4


def test_help_starts_without_the_sdk_and_torch() -> None:
    code = (
        "import sys; from dogbreeds.cli import main as cli\n"
        "cli.main(['--help']); cli.main(['train', '--help'])\n"
        "heavy = {'boto3', 'botocore', 'sagemaker', 'torch', 'numpy', 'PIL', 'rich', 'tqdm'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
