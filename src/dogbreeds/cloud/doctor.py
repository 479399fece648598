"""Preflight checks: errors that would cost minutes and money on AWS, found in seconds, for free."""

import functools
import json
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from dogbreeds.cloud import drivers, s3
from dogbreeds.cloud.aws import Cloud, CloudError, error_code, explain, get_if_exists
from dogbreeds.cloud.endpoints import models
from dogbreeds.cloud.images.ecr import scan_findings
from dogbreeds.cloud.images.uri import DOCKER_MANIFEST, ECR_IMAGE, cuda_of_image, in_ecr, job_image
from dogbreeds.cloud.jobs.training import channels
from dogbreeds.cloud.jobs.training import check as check_training
from dogbreeds.cloud.s3 import list_objects
from dogbreeds.cloud.settings import ConfigError

_USES = {
    "train": ("training", "training job usage"),
    "deploy": ("endpoint", "endpoint usage"),
    "transform": ("transform", "transform job usage"),
}
_DISK_SHARE = 0.8  # of the volume for photos; the image, the cache and the model take the rest


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        level: ``ok``, ``note`` (not checked, or worth knowing) or ``FAIL``.
        what: What was checked, and its state.
        remedy: Why it will fail and what to do; empty for ``ok``.
    """

    level: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the lines for the terminal."""
        return f"{self.level:<5} {self.what}" + (f"\n      {self.remedy}" if self.remedy else "")


_ok, _note, _fail = (functools.partial(Finding, level) for level in ("ok", "note", "FAIL"))


def examine(cloud: Cloud, purpose: str, model: str | None = None) -> Iterator[Finding]:
    """Check everything a job or endpoint needs, changing nothing and at no cost.

    Args:
        cloud: The account, region and settings.
        purpose: ``train``, ``deploy`` or ``transform``.
        model: The model to check, as in `models.archive_of`.

    Yields:
        Findings, as they are made.
    """
    try:
        yield _ok(f"credentials: account {cloud.account}, region {cloud.region}")
    except (ClientError, BotoCoreError, ResponseParserError) as error:
        yield _fail("credentials", explain(error))
        return
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("role", lambda: _role(cloud, purpose)),
        ("bucket", lambda: _bucket(cloud)),
        ("image", lambda: _image(cloud, purpose)),
        ("quota", lambda: _quota(cloud, purpose)),
    ]
    if purpose == "train":
        checks += [("job", lambda: _job(cloud)), ("photos", lambda: _photos(cloud))]
    else:
        checks.append(("driver", lambda: _driver(cloud, purpose)))
    if model:
        checks.append(("archive", lambda: _archive(cloud, model)))
    for name, check in checks:
        try:
            yield from check()
        except (ConfigError, CloudError) as error:
            yield _fail(name, str(error))
        except (ClientError, BotoCoreError, ResponseParserError) as error:
            if error_code(error).startswith("AccessDenied"):
                yield _note(f"{name}: not allowed to check", explain(error))
            else:
                yield _fail(name, explain(error))


def _role(cloud: Cloud, purpose: str) -> Iterator[Finding]:
    cloud.settings.require("aws.role")
    aws = cloud.settings.aws
    trained = purpose == "train"
    arn = aws.role if trained else aws.endpoint_role or aws.role
    policy = "iam/job-role.json" if trained else "iam/endpoint-role.json"
    if arn.split(":")[4] != cloud.account:
        yield _fail(f"role: {arn} is of another account", "SageMaker needs a role of its account")
        return
    iam = cloud.client("iam")
    try:
        role = iam.get_role(RoleName=arn.rpartition("/")[2])["Role"]
    except ClientError as error:
        if error_code(error) != "NoSuchEntity":
            raise
        remedy = f"create it from iam/trust.json and {policy} (iam/README.md)"
        yield _fail(f"role: there is no {arn}", remedy)
        return
    if not _trusts_sagemaker(role["AssumeRolePolicyDocument"]):
        yield _fail(
            f"role: {arn} does not trust SageMaker",
            "the job could not assume it: give it the trust policy iam/trust.json",
        )
        return
    denied = [
        f"{action} on {resource}"
        for action, resource in _needs(cloud, arn.split(":")[1], purpose)
        if iam.simulate_principal_policy(
            PolicySourceArn=arn, ActionNames=[action], ResourceArns=[resource]
        )["EvaluationResults"][0]["EvalDecision"]
        != "allowed"
    ]
    if denied:
        yield _fail(f"role: {arn} lacks {', '.join(denied)}", f"add the policy {policy} to it")
    else:
        yield _ok(f"role: {arn}")


def _trusts_sagemaker(document: Any) -> bool:  # noqa: ANN401  (IAM returns text or parsed JSON)
    if isinstance(document, str):
        document = json.loads(urllib.parse.unquote(document))
    for statement in document["Statement"]:
        services = statement.get("Principal", {}).get("Service", [])
        services = [services] if isinstance(services, str) else services
        if statement["Effect"] == "Allow" and "sagemaker.amazonaws.com" in services:
            return True
    return False


def _needs(cloud: Cloud, partition: str, purpose: str) -> Iterator[tuple[str, str]]:
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


def _bucket(cloud: Cloud) -> Iterator[Finding]:
    cloud.settings.require("aws.bucket")
    yield _bucket_finding(cloud, cloud.settings.aws.bucket)


def _bucket_finding(cloud: Cloud, bucket: str) -> Finding:
    try:
        answer = cloud.client("s3").get_bucket_location(Bucket=bucket)
    except ClientError as error:
        if error_code(error) != "NoSuchBucket":
            raise
        return _fail(f"bucket: there is no {bucket}", f"aws s3 mb s3://{bucket}")
    region = answer["LocationConstraint"] or "us-east-1"  # S3 reports this region as null
    if region != cloud.region:
        return _fail(
            f"bucket: {bucket} is in {region}",
            f"a job in {cloud.region} reads and writes in its own region only: use a bucket there",
        )
    return _ok(f"bucket: {bucket} in {region}")


def _image(cloud: Cloud, purpose: str) -> Iterator[Finding]:
    uri = job_image(cloud, "training" if purpose == "train" else "serving")
    parts = ECR_IMAGE.fullmatch(uri)
    if not parts:
        yield _fail(f"image: {uri} is not in ECR", "SageMaker needs it there: run make push")
        return
    client = cloud.client("ecr")
    where, key = in_ecr(parts)
    answer = get_if_exists(client.describe_images, **where, imageIds=[key])
    if answer is None:
        yield _fail(f"image: there is no {uri}", "run make push (did it expire?)")
        return
    [image] = answer["imageDetails"]
    media_type = image.get("imageManifestMediaType", DOCKER_MANIFEST)
    if media_type != DOCKER_MANIFEST:
        yield _fail(
            f"image: {uri} has manifest type {media_type}",
            'SageMaker would say "Unsupported manifest media type": build with make build',
        )
        return
    gigabytes = image.get("imageSizeInBytes", 0) / 1e9
    kind = cloud.settings.endpoint.kind
    if purpose == "deploy" and gigabytes > drivers.MAX_IMAGE_GB[kind]:
        yield _fail(
            f"image: {gigabytes:.1f} GB compressed",
            f"a {kind} endpoint takes at most {drivers.MAX_IMAGE_GB[kind]} GB: use FLAVOR=cpu",
        )
        return
    yield _ok(f"image: {uri}, {gigabytes:.1f} GB compressed")
    found = scan_findings(client, where | {"imageId": key})
    serious = any(level in found for level in ("CRITICAL", "HIGH"))
    yield (_note(found, "rebuild on a newer base: make build push") if serious else _ok(found))


def _quota(cloud: Cloud, purpose: str) -> Iterator[Finding]:
    settings = cloud.settings
    section, usage = _USES[purpose]
    if purpose == "deploy" and settings.endpoint.kind == "serverless":
        return
    chosen = getattr(settings, section)
    spot = "spot " if purpose == "train" and settings.training.spot else ""
    needed = [(f"{chosen.instance_type} for {spot}{usage}", chosen.instance_count)]
    if purpose == "train" and settings.training.warm_pool:
        needed.append((f"{chosen.instance_type} for training warm pool usage", 1))
    pages = cloud.client("service-quotas").get_paginator("list_service_quotas")
    quotas = {
        quota["QuotaName"]: quota["Value"]
        for page in pages.paginate(ServiceCode="sagemaker")
        for quota in page["Quotas"]
    }
    for name, count in needed:
        if name not in quotas:
            yield _note(f"quota: none named {name!r}", "is the instance type offered here?")
        elif quotas[name] < count:
            yield _fail(
                f"quota: {name}: {quotas[name]:g}, needed {count}",
                "SageMaker would refuse with ResourceLimitExceeded: request more under Service"
                " Quotas (takes hours to days), or use another instance type",
            )
        else:
            yield _ok(f"quota: {name}: {quotas[name]:g}")


def _job(cloud: Cloud) -> Iterator[Finding]:
    """Check the hyperparameters against what the image contains."""
    settings = cloud.settings
    hyperparameters = check_training(settings)
    yield _ok(f"hyperparameters: {hyperparameters.model}, weights {hyperparameters.weights}")
    if settings.training.debugger or settings.training.profiler:
        remedy = "SageMaker refuses it for accounts that did not use it by 2026-07-30"
        yield _note("Debugger is on", remedy)
    instance = settings.training.instance_type
    if settings.images.flavor == "cpu" and drivers.has_gpu(instance):
        yield _fail(
            f"a CPU image on {instance}",
            "the GPU would idle at full price: use FLAVOR=gpu or an ml.m5 or ml.c7i instance",
        )
    if settings.network.subnets:
        yield _note(
            "the job runs in a VPC",
            "its subnets need access to S3 (a gateway endpoint), or the channels time out",
        )


def _photos(cloud: Cloud) -> Iterator[Finding]:
    settings = cloud.settings
    settings.require("training.data")
    inputs = [uri for uri in (settings.training.data, settings.training.weights) if uri]
    for bucket in sorted({s3.parse(uri)[0] for uri in inputs} - {settings.aws.bucket}):
        yield _bucket_finding(cloud, bucket)
    found = channels(cloud)
    sizes = {name: [o["Size"] for o in list_objects(cloud, uri)] for name, uri in found.items()}
    for channel, uri in found.items():
        if not sizes[channel]:
            yield _fail(f"channel {channel}: nothing is in {uri}", "the job needs it: upload it")
    total = sum(map(sum, sizes.values()))
    limit = settings.training.volume_gb * 1e9 * _DISK_SHARE
    local_disk = drivers.has_local_disk(settings.training.instance_type)
    if settings.training.input_mode == "File" and total > limit and not local_disk:
        yield _fail(
            f"disk: {total / 1e9:.1f} GB of photos on {settings.training.volume_gb} GB",
            "the job would run out of disk: raise training.volume_gb or use input_mode FastFile",
        )
    elif all(sizes.values()):
        yield _ok(f"photos: {total / 1e9:.2f} GB in {', '.join(found)}")


def _driver(cloud: Cloud, purpose: str) -> Iterator[Finding]:
    settings = cloud.settings
    chosen = settings.endpoint if purpose == "deploy" else settings.transform
    if purpose == "deploy" and settings.endpoint.kind == "serverless":
        if settings.images.flavor == "gpu":
            yield _fail("a GPU image on a serverless endpoint", "there are no GPUs: FLAVOR=cpu")
        return
    if not drivers.has_gpu(chosen.instance_type):
        if settings.images.flavor == "gpu":
            yield _note(
                f"a GPU image on {chosen.instance_type}",
                "it works, but the image is 12 GB to pull: FLAVOR=cpu starts sooner",
            )
        return
    cuda = cuda_of_image(cloud, "serving")
    if purpose == "deploy":
        hosts = drivers.ENDPOINT_AMIS
        ami = settings.endpoint.ami_version or drivers.endpoint_ami(chosen.instance_type, cuda)
    else:
        hosts, ami = drivers.BATCH_AMIS, drivers.batch_ami(chosen.instance_type, cuda)
    driver = hosts.get(ami, 0) if ami else drivers.default_driver(chosen.instance_type)
    host = ami or "the default host image"
    if problem := drivers.check(chosen.instance_type, cuda, ami, driver):
        yield _fail(f"driver: {host}", problem)
    elif cuda:
        yield _ok(f"driver: CUDA {cuda[0]}.{cuda[1]} on {host} ({driver})")


def _archive(cloud: Cloud, model: str) -> Iterator[Finding]:
    """Download the model artifact and read it as the serving image does, without unpickling."""
    uri = models.archive_of(cloud, model)
    bucket, key = s3.parse(uri)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tar.gz"
        try:
            cloud.client("s3").download_file(bucket, key, str(path))
        except ClientError as error:
            if error_code(error) not in ("404", "NoSuchBucket"):
                raise
            yield _fail(f"archive: there is no {uri}", "give another model")
            return
        from dogbreeds.model import artifact  # imports torch, which takes seconds

        try:
            document = artifact.read_document(path)
        except artifact.ArtifactError as error:
            reason = str(error).replace(str(path), uri)
            yield _fail(f"archive: {reason}", "train again, or give another model")
            return
    yield _ok(f"artifact: {document['architecture']}, {len(document['classes'])} classes")
