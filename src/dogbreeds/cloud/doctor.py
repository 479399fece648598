"""Preflight: what would fail on AWS after minutes and money, found in seconds and for nothing."""

import json
import re
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from dogbreeds.cloud import drivers
from dogbreeds.cloud.aws import Cloud, CloudError, error_code, explain, is_missing
from dogbreeds.cloud.endpoints import models
from dogbreeds.cloud.images.ecr import DOCKER_MANIFEST
from dogbreeds.cloud.images.uri import base_image, image_uri
from dogbreeds.cloud.jobs.training import channels
from dogbreeds.cloud.jobs.training import check as check_training
from dogbreeds.cloud.settings import ConfigError
from dogbreeds.data.folders import SPLITS
from dogbreeds.training.settings import Settings

BAKED_WEIGHTS = "resnet18"
"""The architecture whose ImageNet weights are in the training image."""

_ECR_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[^@:]+)(@(?P<digest>sha256:[0-9a-f]+)|:(?P<tag>.+))"
)
_USES = {
    "train": ("training", "training job usage"),
    "deploy": ("endpoint", "endpoint usage"),
    "transform": ("transform", "transform job usage"),
}
_DISK_SHARE = 0.8  # of the volume for photos; the rest is for the image, the cache and the model


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        level: ``ok``, ``note`` (could not be looked at, or worth knowing) or ``FAIL``.
        what: What was looked at, and how it is.
        remedy: Why it will fail and what to do; empty where nothing is wrong.
    """

    level: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return it for the terminal."""
        return f"{self.level:<5} {self.what}" + (f"\n      {self.remedy}" if self.remedy else "")


def _ok(what: str) -> Finding:
    return Finding("ok", what)


def _note(what: str, remedy: str) -> Finding:
    return Finding("note", what, remedy)


def _fail(what: str, remedy: str) -> Finding:
    return Finding("FAIL", what, remedy)


def examine(cloud: Cloud, purpose: str, model: str | None = None) -> Iterator[Finding]:
    """Look at everything a job or endpoint needs. Nothing is changed and nothing costs money.

    Args:
        cloud: Where, with which settings.
        purpose: ``train``, ``deploy`` or ``transform``.
        model: The archive to look at, as in `models.archive_of`.

    Yields:
        Findings, as they are made.
    """
    try:
        yield _ok(f"credentials: account {cloud.account}, region {cloud.region}")
    except (ClientError, BotoCoreError) as error:
        yield _fail("credentials", explain(error))
        return
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("role", lambda: _role(cloud)),
        ("bucket", lambda: _bucket(cloud)),
        ("image", lambda: _image(cloud, purpose)),
        ("quota", lambda: _quota(cloud, purpose)),
    ]
    if purpose == "train":
        checks.append(("job", lambda: _job(cloud)))
        checks.append(("photos", lambda: _photos(cloud)))
    else:
        checks.append(("driver", lambda: _driver(cloud, purpose)))
    if model:
        checks.append(("archive", lambda: _archive(cloud, model)))
    for name, check in checks:
        try:
            yield from check()
        except (ConfigError, CloudError) as error:
            yield _fail(name, str(error))
        except (ClientError, BotoCoreError) as error:
            if error_code(error).startswith("AccessDenied"):
                yield _note(f"{name}: not allowed to look", explain(error))
            else:
                yield _fail(name, explain(error))


def _role(cloud: Cloud) -> Iterator[Finding]:
    cloud.settings.require("aws.role")
    arn = cloud.settings.aws.role
    if arn.split(":")[4] != cloud.account:
        yield _fail(
            f"role: {arn} is of another account", "SageMaker takes roles of the account it runs in"
        )
        return
    iam = cloud.client("iam")
    try:
        role = iam.get_role(RoleName=arn.rpartition("/")[2])["Role"]
    except ClientError as error:
        if error_code(error) != "NoSuchEntity":
            raise
        yield _fail(
            f"role: there is no {arn}", "make it from iam/job-role-trust.json and iam/job-role.json"
        )
        return
    if not _trusts_sagemaker(role["AssumeRolePolicyDocument"]):
        yield _fail(
            f"role: {arn} does not trust SageMaker",
            "the job could not assume it: give it the trust policy iam/job-role-trust.json",
        )
        return
    yield from _permissions(cloud, iam, arn)


def _trusts_sagemaker(document: Any) -> bool:  # noqa: ANN401  (text or parsed, as IAM likes)
    if isinstance(document, str):
        document = json.loads(urllib.parse.unquote(document))
    for statement in document["Statement"]:
        services = statement.get("Principal", {}).get("Service", [])
        services = [services] if isinstance(services, str) else services
        if statement["Effect"] == "Allow" and "sagemaker.amazonaws.com" in services:
            return True
    return False


def _permissions(cloud: Cloud, iam: Any, arn: str) -> Iterator[Finding]:  # noqa: ANN401
    """Ask IAM's simulator whether the role may do what the job does."""
    aws = cloud.settings.aws
    needs = [
        ("s3:PutObject", f"arn:aws:s3:::{aws.bucket}/{aws.prefix}/x"),
        ("s3:GetObject", f"arn:aws:s3:::{aws.bucket}/{aws.prefix}/x"),
        ("ecr:BatchGetImage", "*"),
        ("logs:CreateLogStream", "*"),
    ]
    if data := cloud.settings.training.data:
        needs.append(("s3:GetObject", f"arn:aws:s3:::{data.removeprefix('s3://')}/train/x"))
    denied = []
    for action, resource in needs:
        answer = iam.simulate_principal_policy(
            PolicySourceArn=arn, ActionNames=[action], ResourceArns=[resource]
        )
        if answer["EvaluationResults"][0]["EvalDecision"] != "allowed":
            denied.append(f"{action} on {resource}")
    if denied:
        yield _fail(
            f"role: {arn} lacks {', '.join(denied)}", "add the policy iam/job-role.json to it"
        )
    else:
        yield _ok(f"role: {arn}")


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
    region = answer["LocationConstraint"] or "us-east-1"  # S3's own way to say so
    if region != cloud.region:
        return _fail(
            f"bucket: {bucket} is in {region}",
            f"a job in {cloud.region} reads and writes in its own region only: use a bucket there",
        )
    return _ok(f"bucket: {bucket} in {region}")


def _image(cloud: Cloud, purpose: str) -> Iterator[Finding]:
    settings = cloud.settings
    name = "training" if purpose == "train" else "serving"
    uri = image_uri(settings, name)
    parts = _ECR_IMAGE.fullmatch(uri)
    if not parts:
        yield _fail(
            f"image: {uri} is not in ECR",
            "SageMaker pulls from ECR: run make push without REGISTRY",
        )
        return
    if parts["region"] != cloud.region:
        yield _fail(
            f"image: {uri} is in {parts['region']}",
            f"SageMaker pulls from its own region only: push to {cloud.region}"
            " (make push with aws.region set to it)",
        )
        return
    key = {"imageDigest": parts["digest"]} if parts["digest"] else {"imageTag": parts["tag"]}
    client = cloud.client("ecr")
    try:
        answer = client.describe_images(
            registryId=parts["account"], repositoryName=parts["repository"], imageIds=[key]
        )
    except ClientError as error:
        if not is_missing(error):
            raise
        yield _fail(f"image: there is no {uri}", "run make push (was it removed by its lifecycle?)")
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
    kind = settings.endpoint.kind
    if purpose == "deploy" and gigabytes > drivers.MAX_IMAGE_GB[kind]:
        yield _fail(
            f"image: {gigabytes:.1f} GB compressed",
            f"a {kind} endpoint takes at most {drivers.MAX_IMAGE_GB[kind]} GB: use FLAVOR=cpu",
        )
        return
    yield _ok(f"image: {uri}, {gigabytes:.1f} GB compressed")


def _quota(cloud: Cloud, purpose: str) -> Iterator[Finding]:
    settings = cloud.settings
    section, usage = _USES[purpose]
    if purpose == "deploy" and settings.endpoint.kind == "serverless":
        return
    chosen = getattr(settings, section)
    wanted = [(f"{chosen.instance_type} for {usage}", chosen.instance_count)]
    if purpose == "train" and settings.training.spot:
        wanted = [(f"{chosen.instance_type} for spot {usage}", chosen.instance_count)]
    if purpose == "train" and settings.training.warm_pool:
        wanted.append((f"{chosen.instance_type} for training warm pool usage", 1))
    pages = cloud.client("service-quotas").get_paginator("list_service_quotas")
    quotas = {
        quota["QuotaName"]: quota["Value"]
        for page in pages.paginate(ServiceCode="sagemaker")
        for quota in page["Quotas"]
    }
    for name, count in wanted:
        if name not in quotas:
            yield _note(f"quota: none named {name!r}", "is the instance type offered here?")
        elif quotas[name] < count:
            yield _fail(
                f"quota: {name}: {quotas[name]:g}, needed {count}",
                "SageMaker would refuse with ResourceLimitExceeded: ask for more under Service"
                " Quotas (hours to days), or take another instance type",
            )
        else:
            yield _ok(f"quota: {name}: {quotas[name]:g}")


def _job(cloud: Cloud) -> Iterator[Finding]:
    """Look at the hyperparameters against what the image brings along."""
    settings = cloud.settings
    check_training(settings)
    hyperparameters = Settings.from_mapping(settings.training.hyperparameters)
    pretrained = hyperparameters.weights == "imagenet"
    if pretrained and hyperparameters.model != BAKED_WEIGHTS:
        yield _fail(
            f"weights: ImageNet weights of {hyperparameters.model} are asked for",
            f"only those of {BAKED_WEIGHTS} are in the image, and nothing is downloaded: give a"
            " file by training.weights and hyperparameter weights, or train from weights=none",
        )
    elif hyperparameters.weights not in ("imagenet", "none") and not settings.training.weights:
        yield _fail(
            f"weights: the file {hyperparameters.weights} is asked for",
            "it comes by the channel `weights`: set training.weights to its s3:// folder",
        )
    else:
        yield _ok(f"hyperparameters: {hyperparameters.model}, weights {hyperparameters.weights}")
    if settings.training.debugger or settings.training.profiler:
        yield _note(
            "Debugger is on", "SageMaker refuses it for accounts that did not use it by 2026-07-30"
        )
    gpu_host = drivers.has_gpu(settings.training.instance_type)
    if settings.images.flavor == "cpu" and gpu_host:
        yield _fail(
            f"a CPU image on {settings.training.instance_type}",
            "the GPU would idle and be paid for: use FLAVOR=gpu or an ml.m5 or ml.c7i instance",
        )
    if settings.network.subnets:
        yield _note(
            "the job runs in a VPC",
            "its subnets need a way to S3 (a gateway endpoint), or the channels time out",
        )


def _photos(cloud: Cloud) -> Iterator[Finding]:
    settings = cloud.settings
    settings.require("training.data")
    buckets = {uri.removeprefix("s3://").partition("/")[0] for uri in channels(settings).values()}
    for bucket in sorted(buckets - {settings.aws.bucket}):
        yield _bucket_finding(cloud, bucket)
    total, missing = 0, []
    for channel, uri in channels(settings).items():
        count, size = _measure(cloud, uri)
        total += size
        if not count:
            missing.append((channel, uri))
    for channel, uri in missing:
        remedy = f"aws s3 sync LOCAL/{channel} {uri}" if channel in SPLITS else "upload the file"
        yield _fail(
            f"channel {channel}: nothing is in {uri}", f"the job fails without it: {remedy}"
        )
    limit = settings.training.volume_gb * 1e9 * _DISK_SHARE
    local_disk = drivers.has_local_disk(settings.training.instance_type)
    if settings.training.input_mode == "File" and total > limit and not local_disk:
        yield _fail(
            f"disk: {total / 1e9:.1f} GB of photos on {settings.training.volume_gb} GB",
            "the job would run out of disk: raise training.volume_gb or use input_mode FastFile",
        )
    elif not missing:
        yield _ok(f"photos: {total / 1e9:.2f} GB in {', '.join(channels(settings))}")


def _measure(cloud: Cloud, uri: str) -> tuple[int, int]:
    """Return count and bytes of the objects below an address."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = cloud.client("s3").get_paginator("list_objects_v2")
    objects = [
        item["Size"]
        for page in pages.paginate(Bucket=bucket, Prefix=prefix)
        for item in page.get("Contents", [])
    ]
    return len(objects), sum(objects)


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
                "it works, but it is 12 GB to pull: FLAVOR=cpu starts sooner",
            )
        return
    base = base_image(settings, "serving")
    cuda = drivers.cuda_of_base(base)
    if cuda is None:
        yield _note(
            f"driver: the CUDA version of {base or 'the serving image'} is not known",
            "set endpoint.ami_version if the container says that the driver is too old",
        )
        return
    needed = drivers.NEEDED_DRIVERS[cuda]
    if purpose == "transform":
        newest = drivers.BATCH_AMIS[-1]
        if newest.driver < needed:
            yield _note(
                f"driver: CUDA {cuda} needs {needed}, batch hosts have {newest.driver}",
                "the image's compatibility libraries step in; if the container refuses, build it"
                " on a base with CUDA 12 (BASE_IMAGE=nvcr.io/nvidia/pytorch:25.04-py3)",
            )
            return
        yield _ok(f"driver: CUDA {cuda} on {newest.ami} ({newest.driver})")
        return
    ami = settings.endpoint.ami_version or drivers.endpoint_ami(chosen.instance_type, cuda)
    known = {host.ami: host.driver for host in drivers.ENDPOINT_AMIS}
    driver = known.get(ami, 0) if ami else drivers.default_driver(chosen.instance_type)
    if driver < needed:
        yield _fail(
            f"driver: CUDA {cuda} needs {needed}, {ami} has {driver or 'an unknown driver'}",
            "the container could not use the GPU: leave endpoint.ami_version out",
        )
    else:
        yield _ok(f"driver: CUDA {cuda} on {ami or 'the default host image'} ({driver})")


def _archive(cloud: Cloud, model: str) -> Iterator[Finding]:
    """Download the archive and read it as the serving image does, without unpickling."""
    uri = models.archive_of(cloud, model)
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tar.gz"
        try:
            cloud.client("s3").download_file(bucket, key, str(path))
        except ClientError as error:
            if error_code(error) not in ("404", "NoSuchBucket"):
                raise
            yield _fail(f"archive: there is no {uri}", "give another model")
            return
        from dogbreeds.model import artifact  # torch's seconds

        try:
            document = artifact.read_document(path)
        except artifact.ArtifactError as error:
            reason = str(error).replace(str(path), uri)
            yield _fail(f"archive: {reason}", "train again, or give another model")
            return
    yield _ok(f"artifact: {document['architecture']}, {len(document['classes'])} classes")
