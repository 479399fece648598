"""The images that were pushed last: what `dogbreeds push` writes and every job reads."""

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from dogbreeds.cloud import drivers, settings_sources
from dogbreeds.cloud.aws import Cloud, error_code, is_missing
from dogbreeds.cloud.settings import CloudSettings, ConfigError
from dogbreeds.system.files import write_json

IMAGES_FILE = Path(".dogbreeds/images.json")
"""By flavor, then by image: ``uri`` (with digest), ``tags``, ``base`` (the base image's name)."""

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
"""The one manifest type that SageMaker takes for sure; it refuses OCI indexes."""

ECR_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[^@:]+)(@(?P<digest>sha256:[0-9a-f]+)|:(?P<tag>.+))"
)
_BASE_LABEL = "org.opencontainers.image.base.name"


def read_images() -> dict[str, dict[str, dict[str, Any]]]:
    """Return what `IMAGES_FILE` holds; nothing where nothing was pushed.

    Raises:
        ConfigError: The file is damaged.
    """
    try:
        document: dict[str, dict[str, dict[str, Any]]] = json.loads(IMAGES_FILE.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(f"{IMAGES_FILE} is damaged ({error}): run make push again") from error
    return document


def write_image(flavor: str, image: str, entry: dict[str, Any]) -> None:
    """Keep where an image was pushed to; the file is replaced as a whole.

    Args:
        flavor: ``gpu`` or ``cpu``.
        image: ``training`` or ``serving``.
        entry: As in `IMAGES_FILE`.
    """
    images = read_images()
    images.setdefault(flavor, {})[image] = entry
    IMAGES_FILE.parent.mkdir(exist_ok=True)
    write_json(IMAGES_FILE, images)


def image_uri(settings: CloudSettings, image: str) -> str:
    """Return the address of an image for jobs, by digest.

    Args:
        settings: ``images.training_uri`` or ``images.serving_uri`` wins over the image pushed last.
        image: ``training`` or ``serving``.

    Raises:
        ConfigError: No image of the flavor was pushed from here.
    """
    if given := getattr(settings.images, f"{image}_uri"):
        return str(given)
    try:
        return str(read_images()[settings.images.flavor][image]["uri"])
    except KeyError:
        flavor = settings.images.flavor
        raise ConfigError(
            f"no {image} image of flavor {flavor} is in {IMAGES_FILE}: run"
            f" make build push FLAVOR={flavor}, or give images.{image}_uri"
        ) from None


def pushed_image_uri(image: str) -> str:
    """Return the address of the image that jobs take, by the settings found here: for notebooks.

    Raises:
        ConfigError: As `image_uri` does, or the settings cannot be read.
    """
    return image_uri(settings_sources.load(), image)


def job_image(cloud: Cloud, image: str) -> str:
    """Return `image_uri`, if a job of this region can pull it.

    Raises:
        ConfigError: It is in another region, or there is none.
    """
    uri = image_uri(cloud.settings, image)
    parts = ECR_IMAGE.fullmatch(uri)
    if parts and parts["region"] != cloud.region:
        raise ConfigError(
            f"image {uri} is in {parts['region']}: SageMaker pulls from its own region only, push"
            f" to {cloud.region} (make push with aws.region set to it)"
        )
    return uri


def cuda_of_image(cloud: Cloud, image: str) -> drivers.Cuda | None:
    """Return the CUDA version of an image, None for one without CUDA.

    Where nothing tells the image's base, it is taken for one of CUDA 12.

    Args:
        cloud: Where, with which settings.
        image: ``training`` or ``serving``.
    """
    uri = image_uri(cloud.settings, image)
    for entries in read_images().values():
        if (entry := entries.get(image, {})).get("uri") == uri and entry.get("base"):
            return drivers.cuda_of_base(entry["base"])
    try:
        base = "" if cloud.offline else _base_in_ecr(cloud, uri)
    except ClientError as error:
        if not is_missing(error) and not error_code(error).startswith("AccessDenied"):
            raise
        base = ""  # the repository is not to be seen from here
    return (
        None if cloud.settings.images.flavor == "cpu" and not base else drivers.cuda_of_base(base)
    )


def _base_in_ecr(cloud: Cloud, uri: str) -> str:
    """Return the base that an image in ECR names in its labels, or its CUDA; empty for neither."""
    parts = ECR_IMAGE.fullmatch(uri)
    if not parts:
        return ""
    client = cloud.client("ecr")
    where = {"registryId": parts["account"], "repositoryName": parts["repository"]}
    key = {"imageDigest": parts["digest"]} if parts["digest"] else {"imageTag": parts["tag"]}
    found = client.batch_get_image(
        **where, imageIds=[key], acceptedMediaTypes=[DOCKER_MANIFEST]
    ).get("images")
    config = json.loads(found[0]["imageManifest"]).get("config", {}) if found else {}
    if "digest" not in config:
        return ""
    url = client.get_download_url_for_layer(**where, layerDigest=config["digest"])["downloadUrl"]
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  (ECR's own)
        described = json.load(answer).get("config", {})
    if base := (described.get("Labels") or {}).get(_BASE_LABEL):
        return str(base)
    variables = dict(pair.split("=", 1) for pair in described.get("Env") or [])
    return f"cuda:{variables['CUDA_VERSION']}" if "CUDA_VERSION" in variables else ""
