"""An account for a notebook: moto's control plane, and endpoints answered by a real server."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

_BEST_JOBS = "SageMaker.ListTrainingJobsForHyperParameterTuningJob"


@contextmanager
def account(
    moto_url: str, serving_url: str, on_training: Callable[[dict[str, Any]], None]
) -> Iterator[str]:
    """Yield the address of an account.

    Args:
        moto_url: Answers all calls but the two below.
        serving_url: A server; each endpoint's invocations go there.
        on_training: Gets the request of each training job, to leave on S3 what the job would.
    """

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("x-amz-target") == _BEST_JOBS:  # which moto does not know
                self._send(200, "application/x-amz-json-1.1", _best_jobs())
                return
            if self.headers.get("x-amz-target") == "SageMaker.CreateTrainingJob":
                on_training(json.loads(body))
            url = f"{moto_url}{self.path}"
            if re.fullmatch("/endpoints/[^/]+/invocations", self.path):
                url = f"{serving_url}/invocations"
            request = urllib.request.Request(
                url, body or None, dict(self.headers), method=self.command
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    content_type, content = answer.headers.get("content-type"), answer.read()
                    if self.headers.get("x-amz-target"):
                        content = json.dumps(_without_empty(json.loads(content or b"{}"))).encode()
                    self._send(answer.status, content_type, content)
            except urllib.error.HTTPError as error:
                self._send(error.code, error.headers.get("content-type"), error.read())

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer  # noqa: N815

        def _send(self, status: int, content_type: str | None, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", content_type or "application/octet-stream")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        proxy.server_close()


def _without_empty(value: object) -> object:
    """Leave out what moto answers as ``{}`` and AWS not at all: the SDK v3 refuses it."""
    if not isinstance(value, dict):
        return value
    return {key: _without_empty(part) for key, part in value.items() if part != {}}


def _best_jobs() -> bytes:
    tuned = {"lr": "0.001", "batch_size": "32", "epochs": "5", "optimizer": "adam"}
    jobs = [
        {
            "TrainingJobName": f"breeds-{number}",
            "TrainingJobArn": f"arn:aws:sagemaker:eu-central-1:123456789012:training-job/{number}",
            "CreationTime": 1.7e9,
            "TrainingJobStatus": "Completed",
            "TunedHyperParameters": tuned,
            "FinalHyperParameterTuningJobObjectiveMetric": {
                "MetricName": "valid_loss",
                "Value": 1.0 / number,
            },
        }
        for number in (1, 2, 3)
    ]
    return json.dumps({"TrainingJobSummaries": jobs}).encode()
