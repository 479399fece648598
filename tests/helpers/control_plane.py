"""AWS as the tests know it: moto's account, settings, what a command called and said."""

import json
from dataclasses import dataclass
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
