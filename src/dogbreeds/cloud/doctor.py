"""Preflight checks: errors that would cost minutes and money on AWS, found in seconds, for free."""

import functools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from dogbreeds.cloud import aws, drivers, s3
from dogbreeds.cloud.aws import Cloud, CloudError, error_code, every, explain, get_if_exists
from dogbreeds.cloud.endpoints import models
from dogbreeds.cloud.endpoints.config import check as check_endpoint
from dogbreeds.cloud.images.ecr import scan_findings
from dogbreeds.cloud.images.uri import ECR_IMAGE, cuda_of_image, in_ecr, job_image, manifest_problem
from dogbreeds.cloud.jobs.training import channels
from dogbreeds.cloud.jobs.training import check as check_training
from dogbreeds.cloud.jobs.transform import check as check_transform
from dogbreeds.cloud.role import permissions, trusts_sagemaker
from dogbreeds.cloud.settings import ConfigError

_USES = {
    "train": ("training", "training job usage"),
    "deploy": ("endpoint", "endpoint usage"),
    "transform": ("transform", "transform job usage"),
}
_DISK_SHARE = 0.8  # of the volume for photos; the image, the cache and the model take the rest


@dataclass(frozen=True)
class Finding:
    """The result of a check."""

    level: str  # ok, note (not checked, or worth knowing) or FAIL
    what: str  # was checked, and its state
    remedy: str = ""  # why it will fail, and what to do


_ok, _note, _fail = (functools.partial(Finding, level) for level in ("ok", "note", "FAIL"))


class _FailError(Exception):
    """Ends a check: what will fail, and what to do."""


def examine(cloud: Cloud, purpose: str, model: str | None = None) -> Iterator[Finding]:
    """Yield findings about everything a job or endpoint needs, changing nothing and at no cost.

    `purpose` is ``train``, ``deploy`` or ``transform``; `model` is checked too, see
    `models.artifact_of`.
    """
    try:
        yield _ok(f"credentials: account {cloud.account}, region {cloud.region}")
    except aws.AWS_ERRORS as error:
        yield _fail("credentials", explain(error))
        return
    checks = {"role": _role, "bucket": _bucket, "image": _image, "quota": _quota}
    if purpose == "train":
        checks |= {"job": _job, "photos": _photos}
    else:
        checks["host"] = _host
    if model:
        checks["artifact"] = lambda cloud, _: _artifact(cloud, model)
    for name, check in checks.items():
        try:
            yield from check(cloud, purpose)
        except _FailError as problem:
            yield _fail(*problem.args)
        except (ConfigError, CloudError) as error:
            yield _fail(name, str(error))
        except aws.AWS_ERRORS as error:
            if error_code(error).startswith("AccessDenied"):
                yield _note(f"{name}: not allowed to check", explain(error))
            else:
                yield _fail(name, explain(error))


def _role(cloud: Cloud, purpose: str) -> Iterator[Finding]:
    cloud.settings.require("aws.role")
    arn, policy = cloud.settings.aws.role, "iam/job-role.json"
    if purpose != "train":
        arn, policy = cloud.settings.aws.endpoint_role or arn, "iam/endpoint-role.json"
    if arn.split(":")[4] != cloud.account:
        raise _FailError(f"role: {arn} is of another account", "use a role of this account")
    iam = cloud.client("iam")
    try:
        role = iam.get_role(RoleName=arn.rpartition("/")[2])["Role"]
    except iam.exceptions.NoSuchEntityException:
        remedy = f"create it from iam/trust.json and {policy} (iam/README.md)"
        raise _FailError(f"role: there is no {arn}", remedy) from None
    if not trusts_sagemaker(role["AssumeRolePolicyDocument"]):
        remedy = "the job could not assume it: give it the trust policy iam/trust.json"
        raise _FailError(f"role: {arn} does not trust SageMaker", remedy)
    denied = []
    for action, resource in permissions(cloud, arn.split(":")[1], purpose):
        answer = iam.simulate_principal_policy(
            PolicySourceArn=arn, ActionNames=[action], ResourceArns=[resource]
        )
        if answer["EvaluationResults"][0]["EvalDecision"] != "allowed":
            denied.append(f"{action} on {resource}")
    if denied:
        raise _FailError(f"role: {arn} lacks {', '.join(denied)}", f"add the policy {policy} to it")
    yield _ok(f"role: {arn}")


def _bucket(cloud: Cloud, _: str) -> Iterator[Finding]:
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
    if region == cloud.region:
        return _ok(f"bucket: {bucket} in {region}")
    remedy = f"a job in {cloud.region} reads and writes there only: use a bucket of that region"
    return _fail(f"bucket: {bucket} is in {region}", remedy)


def _image(cloud: Cloud, purpose: str) -> Iterator[Finding]:
    uri = job_image(cloud, "training" if purpose == "train" else "serving")
    parts = ECR_IMAGE.fullmatch(uri)
    if not parts:
        raise _FailError(f"image: {uri} is not in ECR", "SageMaker needs it there: run make push")
    client = cloud.client("ecr")
    where, key = in_ecr(parts)
    found = get_if_exists(client.describe_images, **where, imageIds=[key])
    if found is None:
        raise _FailError(f"image: there is no {uri}", "run make push (did it expire?)")
    [image] = found["imageDetails"]
    if problem := manifest_problem(image):
        raise _FailError(f"image: {uri}", problem)
    gigabytes = image.get("imageSizeInBytes", 0) / 1e9
    if _is_serverless(cloud, purpose) and gigabytes > drivers.MAX_SERVERLESS_IMAGE_GB:
        most = drivers.MAX_SERVERLESS_IMAGE_GB
        remedy = f"a serverless endpoint takes at most {most} GB: use FLAVOR=cpu"
        raise _FailError(f"image: {gigabytes:.1f} GB compressed", remedy)
    yield _ok(f"image: {uri}, {gigabytes:.1f} GB compressed")
    scan = scan_findings(client, where | {"imageId": key})
    serious = any(level in scan for level in ("CRITICAL", "HIGH"))
    yield (_note(scan, "rebuild on a newer base: make build push") if serious else _ok(scan))


def _is_serverless(cloud: Cloud, purpose: str) -> bool:
    return purpose == "deploy" and cloud.settings.endpoint.kind == "serverless"


def _quota(cloud: Cloud, purpose: str) -> Iterator[Finding]:
    settings = cloud.settings
    section, usage = _USES[purpose]
    if _is_serverless(cloud, purpose):
        return
    chosen = getattr(settings, section)
    spot = "spot " if purpose == "train" and settings.training.spot else ""
    needed = {f"{chosen.instance_type} for {spot}{usage}": chosen.instance_count}
    if purpose == "train" and settings.training.warm_pool:
        needed[f"{chosen.instance_type} for training warm pool usage"] = 1
    client = cloud.client("service-quotas")
    listed = every(client, "list_service_quotas", "Quotas", ServiceCode="sagemaker")
    quotas = {quota["QuotaName"]: quota["Value"] for quota in listed}
    for name, count in needed.items():
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


def _job(cloud: Cloud, _: str) -> Iterator[Finding]:
    """Check the hyperparameters against what the image contains."""
    settings = cloud.settings
    hyperparameters = check_training(settings)
    yield _ok(f"hyperparameters: {hyperparameters.model}, weights {hyperparameters.weights}")
    if settings.training.debugger or settings.training.profiler:
        remedy = "SageMaker refuses it for accounts that did not use it by 2026-07-30"
        yield _note("Debugger is on", remedy)
    instance = settings.training.instance_type
    if settings.images.flavor == "cpu" and drivers.has_gpu(instance):
        remedy = "the GPU would idle at full price: use FLAVOR=gpu or an ml.m5 or ml.c7i instance"
        yield _fail(f"a CPU image on {instance}", remedy)
    if settings.network.subnets:
        remedy = "its subnets need access to S3 (a gateway endpoint), or the channels time out"
        yield _note("the job runs in a VPC", remedy)


def _photos(cloud: Cloud, _: str) -> Iterator[Finding]:
    settings = cloud.settings
    settings.require("training.data")
    inputs = [uri for uri in (settings.training.data, settings.training.weights) if uri]
    for bucket in sorted({s3.parse(uri)[0] for uri in inputs} - {settings.aws.bucket}):
        yield _bucket_finding(cloud, bucket)
    found = channels(cloud)
    sizes = {n: [o["Size"] for o in s3.objects_in(cloud, uri)] for n, uri in found.items()}
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


def _host(cloud: Cloud, purpose: str) -> Iterator[Finding]:
    settings = cloud.settings
    chosen = settings.endpoint if purpose == "deploy" else settings.transform
    if purpose == "deploy":
        check_endpoint(settings, None, None)
    else:
        check_transform(settings)
    if _is_serverless(cloud, purpose):
        return
    if not drivers.has_gpu(chosen.instance_type):
        if settings.images.flavor == "gpu":
            remedy = "it works, but the image is 12 GB to pull: FLAVOR=cpu starts sooner"
            yield _note(f"a GPU image on {chosen.instance_type}", remedy)
        return
    cuda = cuda_of_image(cloud, "serving")
    if purpose == "deploy":
        ami = settings.endpoint.ami_version or drivers.endpoint_ami(chosen.instance_type, cuda)
    else:
        ami = drivers.batch_ami(chosen.instance_type, cuda)
    driver = drivers.AMIS.get(ami, 0) if ami else drivers.default_driver(chosen.instance_type)
    host = ami or "the default host image"
    if problem := drivers.check(chosen.instance_type, cuda, ami, driver):
        yield _fail(f"driver: {host}", problem)
    elif cuda:
        yield _ok(f"driver: CUDA {cuda[0]}.{cuda[1]} on {host} ({driver})")


def _artifact(cloud: Cloud, model: str) -> Iterator[Finding]:
    """Download the model artifact and read it as the serving image does, without unpickling."""
    uri = models.artifact_of(cloud, model)
    bucket, key = s3.parse(uri)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tar.gz"
        try:
            cloud.client("s3").download_file(bucket, key, str(path))
        except ClientError as error:
            if error_code(error) not in ("404", "NoSuchBucket"):
                raise
            raise _FailError(f"artifact: there is no {uri}", "give another model") from error
        from dogbreeds.model.document import ArtifactError, read_document

        try:
            document = read_document(path)
        except ArtifactError as error:
            reason = str(error).replace(str(path), uri)
            raise _FailError(f"artifact: {reason}", "train again, or give another model") from error
    yield _ok(f"artifact: {document['architecture']}, {len(document['classes'])} classes")
