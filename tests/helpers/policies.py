"""The policies in iam/, evaluated as IAM does: actions, resources and conditions."""

import fnmatch
import json
from pathlib import Path
from typing import Any

from helpers.control_plane import ACCOUNT, REGION

FOLDER = Path(__file__).parents[2] / "iam"
BUCKET = "dog-bucket"
# Where an action has another name than the call, or than its service.
_ACTIONS = {
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "sagemaker-runtime:InvokeEndpoint": "sagemaker:InvokeEndpoint",
    "sagemaker-runtime:InvokeEndpointAsync": "sagemaker:InvokeEndpointAsync",
    "service-quotas:ListServiceQuotas": "servicequotas:ListServiceQuotas",
}
_SAGEMAKER = {
    "TrainingJobName": "training-job",
    "HyperParameterTuningJobName": "hyper-parameter-tuning-job",
    "TransformJobName": "transform-job",
    "EndpointName": "endpoint",
    "EndpointConfigName": "endpoint-config",
    "ModelName": "model",
    "ModelPackageGroupName": "model-package-group",
}


def read(file: str) -> dict[str, Any]:
    """Return a policy with this test's account, region and bucket in it."""
    text = (FOLDER / file).read_text()
    for word, value in (("ACCOUNT", ACCOUNT), ("REGION", REGION), ("BUCKET", BUCKET)):
        text = text.replace(word, value)
    document: dict[str, Any] = json.loads(text)
    return document


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def allows(file: str, action: str, resource: str) -> bool:
    """Whether a policy allows an action on a resource; conditions count as met."""
    return any(
        action in as_list(statement["Action"])
        and any(fnmatch.fnmatchcase(resource, known) for known in as_list(statement["Resource"]))
        for statement in read(file)["Statement"]
    )


def action_of(service: str, operation: str) -> str:
    """Return the action that a call needs."""
    if service == "cloudwatch" and operation == "ListTagsForResource":
        return "cloudwatch:ListTagsForResource"
    return _ACTIONS.get(f"{service}:{operation}", f"{service}:{operation}")


def resource_of(service: str, operation: str, parameters: dict[str, Any]) -> str:
    """Return the ARN that a call is about; ``*`` for calls that are about none."""
    here = f"{REGION}:{ACCOUNT}"
    for name in ("ResourceArn", "resourceArn", "ResourceARN", "ModelPackageName"):
        if str(parameters.get(name, "")).startswith("arn:"):
            return str(parameters[name])
    if service == "s3":
        bucket = f"arn:aws:s3:::{parameters['Bucket']}"
        return f"{bucket}/{parameters['Key']}" if "Key" in parameters else bucket
    if service == "ecr" and (name := parameters.get("repositoryName")):
        return f"arn:aws:ecr:{here}:repository/{name}"
    if service == "logs":
        return f"arn:aws:logs:{here}:log-group:{parameters['logGroupName']}"
    if service == "iam":
        return f"arn:aws:iam::{ACCOUNT}:role/{parameters['RoleName']}"
    if service == "cloudwatch":
        for key in ("DashboardName", "DashboardNames"):
            if key in parameters:
                return f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/{as_list(parameters[key])[0]}"
        for key in ("AlarmName", "AlarmNames"):
            if key in parameters and not operation.startswith("Describe"):
                return f"arn:aws:cloudwatch:{here}:alarm:{as_list(parameters[key])[0]}"
    if service.startswith("sagemaker") and not operation.startswith("List"):
        for key, kind in _SAGEMAKER.items():
            if key in parameters:
                return f"arn:aws:sagemaker:{here}:{kind}/{parameters[key]}"
    return "*"
