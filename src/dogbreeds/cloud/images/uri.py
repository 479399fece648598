"""The images that were pushed last: written by `dogbreeds push`, read by jobs."""

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
"""The one manifest type that SageMaker always accepts; it refuses OCI indexes."""

ECR_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[^@:]+)(@(?P<digest>sha256:[0-9a-f]+)|:(?P<tag>.+))"
)
_BASE_LABEL = "org.opencontainers.image.base.name"


def read_images() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the content of `IMAGES_FILE`; empty if nothing was pushed, ConfigError if damaged."""
    try:
        return json.loads(IMAGES_FILE.read_text())  # type: ignore[no-any-return]
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(f"{IMAGES_FILE} is damaged ({error}): run make push again") from error


def write_image(flavor: str, image: str, entry: dict[str, Any]) -> None:
    """Record a pushed image by flavor (``gpu``, ``cpu``) and name in `IMAGES_FILE`, atomically."""
    images = read_images()
    images.setdefault(flavor, {})[image] = entry
    IMAGES_FILE.parent.mkdir(exist_ok=True)
    write_json(IMAGES_FILE, images)


def image_uri(image: str, settings: CloudSettings | None = None) -> str:
    """Return the address of the ``training`` or ``serving`` image for jobs.

    It is the one in the settings (default: those found here), else by digest the one pushed last;
    ConfigError if no image of the flavor was pushed from here.
    """
    settings = settings or settings_sources.load()
    if given := getattr(settings.images, f"{image}_uri"):
        return str(given)
    flavor = settings.images.flavor
    try:
        return str(read_images()[flavor][image]["uri"])
    except KeyError:
        raise ConfigError(
            f"no {image} image of flavor {flavor} is in {IMAGES_FILE}: run"
            f" make build push FLAVOR={flavor}, or give images.{image}_uri"
        ) from None


def job_image(cloud: Cloud, image: str) -> str:
    """Return `image_uri`; ConfigError if there is none, or a job of this region cannot pull it."""
    uri = image_uri(image, cloud.settings)
    parts = ECR_IMAGE.fullmatch(uri)
    if parts and parts["region"] != cloud.region:
        raise ConfigError(
            f"image {uri} is in {parts['region']}: SageMaker pulls from its own region only, push"
            f" to {cloud.region} (make push with aws.region set to it)"
        )
    return uri


def cuda_of_image(cloud: Cloud, image: str) -> drivers.Cuda | None:
    """Return an image's CUDA version, None without; one of unknown base counts as CUDA 12."""
    uri = image_uri(image, cloud.settings)
    for entries in read_images().values():
        if (entry := entries.get(image, {})).get("uri") == uri and entry.get("base"):
            return drivers.cuda_of_base(entry["base"])
    try:
        base = "" if cloud.offline else _base_in_ecr(cloud, uri)
    except ClientError as error:
        if not is_missing(error) and not error_code(error).startswith("AccessDenied"):
            raise
        base = ""  # the repository is not accessible
    return drivers.cuda_of_base(base) if base or cloud.settings.images.flavor != "cpu" else None


def in_ecr(parts: re.Match[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return repository and image id of a match of `ECR_IMAGE`, as parameters of ECR's calls."""
    key = {"imageDigest": parts["digest"]} if parts["digest"] else {"imageTag": parts["tag"]}
    return {"registryId": parts["account"], "repositoryName": parts["repository"]}, key


def manifest_problem(image: dict[str, Any]) -> str:
    """Return what SageMaker may refuse about an image of `describe_images`; empty if nothing."""
    kind = image.get("imageManifestMediaType", DOCKER_MANIFEST)
    if kind == DOCKER_MANIFEST:
        return ""
    return (
        f"has manifest type {kind}, for which SageMaker may say Unsupported manifest media type:"
        " build with make build, which requests Docker's type, on an engine whose image store"
        " preserves it (not containerd's)"
    )


def get_digests(client: Any, where: dict[str, str], key: dict[str, str]) -> tuple[str, str]:  # noqa: ANN401
    """Return the digests of an image in ECR and of its configuration; empty for a missing one."""
    answer = client.batch_get_image(**where, imageIds=[key], acceptedMediaTypes=[DOCKER_MANIFEST])
    for image in answer.get("images", []):
        manifest = json.loads(image["imageManifest"])
        digest = image.get("imageId", {}).get("imageDigest", "")
        return digest, manifest.get("config", {}).get("digest", "")
    return "", ""


def _base_in_ecr(cloud: Cloud, uri: str) -> str:
    """Return the base in an image's labels in ECR, else its CUDA version; empty for neither."""
    parts = ECR_IMAGE.fullmatch(uri)
    if not parts:
        return ""
    client = cloud.client("ecr")
    where, key = in_ecr(parts)
    _, digest = get_digests(client, where, key)
    if not digest:
        return ""
    url = client.get_download_url_for_layer(**where, layerDigest=digest)["downloadUrl"]
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  (ECR's own)
        described = json.load(answer).get("config", {})
    if base := (described.get("Labels") or {}).get(_BASE_LABEL):
        return str(base)
    variables = dict(pair.split("=", 1) for pair in described.get("Env") or [])
    return f"cuda:{variables['CUDA_VERSION']}" if "CUDA_VERSION" in variables else ""
