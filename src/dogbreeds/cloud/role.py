"""What a role that SageMaker assumes must allow."""

from collections.abc import Iterator
from typing import Any

from dogbreeds.cloud import s3
from dogbreeds.cloud.aws import Cloud
from dogbreeds.cloud.images.uri import ECR_IMAGE


def trusts_sagemaker(policy: dict[str, Any]) -> bool:
    """Whether a role's trust policy lets SageMaker assume it."""
    return any(
        statement["Effect"] == "Allow"
        and "sagemaker.amazonaws.com" in statement.get("Principal", {}).get("Service", ())
        for statement in policy["Statement"]
    )


def permissions(cloud: Cloud, partition: str, purpose: str) -> Iterator[tuple[str, str]]:
    """Yield the actions and resources that a role needs, for IAM's policy simulator."""
    settings, training = cloud.settings, purpose == "train"
    here = f"{cloud.region}:{cloud.account}"
    bucket = f"arn:{partition}:s3:::{settings.aws.bucket}/{settings.aws.prefix}"
    image = "training" if training else "serving"
    parts = ECR_IMAGE.fullmatch(getattr(settings.images, f"{image}_uri"))
    repository = parts["repository"] if parts else getattr(settings.images, image)
    yield "ecr:BatchGetImage", f"arn:{partition}:ecr:{here}:repository/{repository}"
    log = {"train": "TrainingJobs", "deploy": "Endpoints/x", "transform": "TransformJobs"}[purpose]
    yield "logs:CreateLogStream", f"arn:{partition}:logs:{here}:log-group:/aws/sagemaker/{log}"
    yield "s3:GetObject", f"{bucket}/jobs/x"
    endpoint = settings.endpoint
    writes = {"jobs": training, "batch": purpose == "transform"}
    if purpose == "deploy":
        writes |= {"async": endpoint.kind == "async", "captured": endpoint.capture_percent > 0}
        if endpoint.alarms or endpoint.monitoring:
            yield "cloudwatch:DescribeAlarms", "*"
    yield from (("s3:PutObject", f"{bucket}/{name}/x") for name, used in writes.items() if used)
    if training and settings.training.data:
        where, prefix = s3.parse(settings.training.data.rstrip("/"))
        yield "s3:GetObject", f"arn:{partition}:s3:::{where}/" + f"{prefix}/train/x".lstrip("/")
