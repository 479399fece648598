"""Pushing the two images to ECR, and keeping their digests."""

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dogbreeds import __version__
from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud, CloudError, get_if_exists
from dogbreeds.cloud.images.docker import docker, find_image
from dogbreeds.cloud.images.uri import get_digests, manifest_problem, write_image
from dogbreeds.cloud.settings import CloudSettings

ROOT = Path(__file__).parents[4]
"""The repository's root: images are built and pushed from a checkout."""

_CREDENTIAL_HELPER = """#!/bin/sh
# Docker asks for the registry's credentials here, so they are in no file and on no command line.
[ "$1" = get ] || exit 1
printf '%s' "$REGISTRY_CREDENTIALS"
"""


def push(cloud: Cloud) -> dict[str, str]:
    """Push both images of a flavor, creating repositories, and write their digests for jobs to use.

    Every image gets the tags ``VERSION-FLAVOR`` and ``git-SHA-FLAVOR``. Tags are immutable: an
    existing one stays as it is. Returned are the addresses with digest of ``training`` and
    ``serving``; CloudError if one was not built, or Docker failed.
    """
    images, client = ("training", "serving"), cloud.client("ecr")
    for image in images:
        find_image(cloud.settings, image)  # fail before anything is created
    uris = {}
    [login] = client.get_authorization_token()["authorizationData"]
    host = login["proxyEndpoint"].removeprefix("https://")
    user, _, password = base64.b64decode(login["authorizationToken"]).decode().partition(":")
    with docker_credentials(host, user, password) as environ:
        for image in images:
            repository = getattr(cloud.settings.images, image)
            ensure_repository(client, cloud.settings, repository)
            uris[image] = _push_image(cloud, image, host, environ)
            digest = {"imageDigest": uris[image].partition("@")[2]}
            cloud.say(scan_findings(client, {"repositoryName": repository, "imageId": digest}))
    return uris


def ensure_repository(client: Any, settings: CloudSettings, name: str) -> None:  # noqa: ANN401
    """Create a repository if it is missing; one of ours keeps the last ``images.keep`` images."""
    try:
        client.create_repository(
            repositoryName=name,
            tags=naming.tags(settings),
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
        )
    except client.exceptions.RepositoryAlreadyExistsException:
        [repository] = client.describe_repositories(repositoryNames=[name])["repositories"]
        tags = client.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]
        if not naming.is_ours(settings, tags):
            return
    policy = json.loads(Path(__file__).with_name("lifecycle.json").read_text())
    policy["rules"][0]["selection"]["countNumber"] = settings.images.keep
    client.put_lifecycle_policy(repositoryName=name, lifecyclePolicyText=json.dumps(policy))


def scan_findings(client: Any, image: dict[str, Any]) -> str:  # noqa: ANN401
    """Return the summary of ECR's scan of an image, given as in `describe_image_scan_findings`."""
    name = f"scan of {image['repositoryName']}"
    answer = get_if_exists(client.describe_image_scan_findings, **image)
    if answer is None:
        return f"{name}: none yet"
    counts = answer.get("imageScanFindings", {}).get("findingSeverityCounts", {})
    status = answer.get("imageScanStatus", {}).get("status", "").lower().replace("_", " ")
    found = ", ".join(f"{count} {level}" for level, count in counts.items()) or "no finding"
    return f"{name}: {found if status in ('complete', 'active') else status}"


@contextmanager
def docker_credentials(host: str, user: str, password: str) -> Iterator[dict[str, str]]:
    """Yield an environment in which Docker is logged in to a registry, ``HOST[:PORT]``.

    `docker login` would write the password to a file. Instead, Docker gets a configuration of its
    own with a credential helper that reads the environment.
    """
    own = Path(os.environ.get("DOCKER_CONFIG", "~/.docker")).expanduser()
    with tempfile.TemporaryDirectory(prefix="dogbreeds-docker-") as name:
        folder = Path(name)
        helper = folder / "docker-credential-dogbreeds"
        helper.write_text(_CREDENTIAL_HELPER)
        helper.chmod(0o700)
        (folder / "config.json").write_text(json.dumps({"credHelpers": {host: "dogbreeds"}}))
        if (own / "cli-plugins").is_dir():
            (folder / "cli-plugins").symlink_to(own / "cli-plugins")
        # The new configuration lacks the selected context, so pass its engine.
        engine = docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
        yield {
            **os.environ,
            "DOCKER_HOST": engine,
            "DOCKER_CONFIG": name,
            "PATH": f"{name}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "REGISTRY_CREDENTIALS": json.dumps({"Username": user, "Secret": password}),
        }


def _push_image(cloud: Cloud, image: str, registry: str, environ: Mapping[str, str]) -> str:
    """Tag and push one image; return its address with digest."""
    settings, client = cloud.settings, cloud.client("ecr")
    local = find_image(settings, image)
    repository = getattr(settings.images, image)
    tags = [f"{__version__}-{settings.images.flavor}", _revision_tag(settings, local.identifier)]
    missing, digest, where = [], "", {"repositoryName": repository}
    for tag in tags:
        there, image_id = get_digests(client, where, {"imageTag": tag})
        if not there:
            missing.append(tag)
        elif image_id == local.identifier:
            digest = there
        else:
            print(
                f"{repository}:{tag} is another build and stays as it is (raise __version__ in"
                " src/dogbreeds/__init__.py to publish this one under its own version)"
            )
    if missing:
        digest = _push_tags(registry, repository, local.name, missing, environ)
    uri = f"{registry}/{repository}@{digest}"
    answer = client.describe_images(**where, imageIds=[{"imageDigest": digest}])
    if problem := manifest_problem(answer["imageDetails"][0]):
        raise CloudError(f"{uri} {problem}")
    write_image(settings.images.flavor, image, {"uri": uri, "tags": tags, "base": local.base})
    return uri


def _push_tags(
    registry: str, repository: str, local: str, tags: list[str], environ: Mapping[str, str]
) -> str:
    """Push an image under some tags with docker/push; return the digest it prints."""
    names = [f"{repository}:{tag}" for tag in tags]
    for name in names:
        docker("tag", local, name)
    done = subprocess.run(
        [str(ROOT / "docker" / "push"), registry, *names],
        env=environ, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    start = f"{registry}/{repository}@sha256:"
    lines = [line for line in done.stdout.splitlines() if line.startswith(start)]
    if done.returncode != 0 or not lines:
        raise CloudError(f"pushing {', '.join(names)} to {registry} failed; see above")
    return lines[-1].partition("@")[2]


def _revision_tag(settings: CloudSettings, image_id: str) -> str:
    """Return ``git-SHA-FLAVOR``; with uncommitted changes, part of the image's id is added."""
    git = ["git", "-C", str(ROOT)]
    try:
        revision = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True)
        changed = subprocess.check_output([*git, "status", "--porcelain", "src", "containers"])
    except (OSError, subprocess.CalledProcessError) as error:
        raise CloudError(f"cannot read the git revision of {ROOT}: {error}") from error
    tag = f"git-{revision.strip()}-{settings.images.flavor}"
    return f"{tag}-{image_id.removeprefix('sha256:')[:8]}" if changed else tag
