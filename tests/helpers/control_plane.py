"""AWS as the tests know it: moto's account, settings, what a command called and said."""

import json
import os
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3

from dogbreeds.cloud.images.ecr import DOCKER_MANIFEST

REGION = "eu-central-1"
ACCOUNT = "123456789012"  # moto's
ROLE = f"arn:aws:iam::{ACCOUNT}:role/dogbreeds-job"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
TRAINING_URI = f"{REGISTRY}/dogbreeds-training@sha256:{'a' * 64}"
SERVING_URI = f"{REGISTRY}/dogbreeds-serving@sha256:{'b' * 64}"

DIGEST = f"sha256:{'2' * 64}"

SETTINGS = f"""
[aws]
region = "{REGION}"
role = "{ROLE}"
bucket = "dog-bucket"

[images]
training_uri = "{TRAINING_URI}"
serving_uri = "{SERVING_URI}"

[training]
data = "s3://dog-bucket/photos"

[endpoint]
instance_type = "ml.m5.large"  # moto knows no newer GPU

[transform]
instance_type = "ml.m5.large"
"""


def assert_golden(name: str, requests: object) -> None:
    """Compare requests with reviewed ones; UPDATE_GOLDEN=1 writes them, to be reviewed again."""
    path = Path(__file__).parents[1] / "cloud" / "golden" / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(json.dumps(requests, indent=2) + "\n")
    assert requests == json.loads(path.read_text())


class Calls(list[tuple[str, str, dict[str, Any]]]):
    """Service, operation and parameters of every call."""

    def of(self, operation: str) -> list[dict[str, Any]]:
        """Return the parameters of an operation's calls."""
        return [parameters for _, name, parameters in self if name == operation]


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


def put_image(aws: boto3.Session, repository: str, tag: str, image_id: str, **more: Any) -> None:
    """Put a manifest into ECR, as a push does."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": "application/json", "size": 1, "digest": image_id},
        "layers": [],
    }
    aws.client("ecr").put_image(
        repositoryName=repository,
        imageManifest=json.dumps(manifest),
        imageManifestMediaType=DOCKER_MANIFEST,
        imageTag=tag,
        imageDigest=DIGEST,
        **more,
    )


ANSWER = {"predicted_label": "069", "class_name": "French_bulldog", "probability": 0.9}


class Runtime(ThreadingHTTPServer):
    """SageMaker's runtime; moto's takes no photos. A photo that says so is refused."""

    daemon_threads = True
    answer: object = ANSWER


class RuntimeHandler(BaseHTTPRequestHandler):
    server: Runtime

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.protocol_version = "HTTP/1.1"
        if b"refuse me" in body:
            self.respond(424, {"Message": "client error (400)", "OriginalMessage": "not a photo"},
                         {"x-amzn-errortype": "ModelError"})  # fmt: skip
        elif self.path != "/endpoints/dogbreeds/invocations":
            self.respond(
                400, {"Message": f"no {self.path}"}, {"x-amzn-errortype": "ValidationError"}
            )
        else:
            self.respond(200, self.server.answer, {"x-Amzn-Invoked-Production-Variant": "main"})

    def respond(self, status: int, document: object, headers: dict[str, str]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
