"""Docker's command line, and the local images that `make build` makes."""

import subprocess
from typing import NamedTuple

from dogbreeds import __version__
from dogbreeds.cloud.aws import CloudError
from dogbreeds.cloud.settings import CloudSettings


class LocalImage(NamedTuple):
    """An image in the local engine: its name, its id, and the name of its base image."""

    name: str
    identifier: str
    base: str


def docker(*arguments: str, timeout: float = 60, check: bool = True) -> str:
    """Run Docker's command line and return what it prints.

    CloudError if there is no Docker, its engine does not answer within `timeout` seconds, or, with
    `check`, the command failed.
    """
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, check=False, timeout=timeout
        )
    except FileNotFoundError as error:
        raise CloudError("docker is not on the PATH: install Docker") from error
    except subprocess.TimeoutExpired as error:
        hint = "is the engine running?"
        raise CloudError(f"docker {arguments[0]} does not answer: {hint}") from error
    if done.returncode == 0 or not check:
        return done.stdout.strip()
    if "cannot connect" in done.stderr.lower() or "permission denied" in done.stderr.lower():
        raise CloudError(f"no Docker engine answers: {done.stderr.strip()}: is it running?")
    raise CloudError(done.stderr.strip() or f"docker {arguments[0]} failed")


def find_image(settings: CloudSettings, image: str, name: str = "") -> LocalImage:
    """Return the local ``training`` or ``serving`` image, or that of a name; CloudError if none."""
    name = name or f"dogbreeds-{image}:{__version__}-{settings.images.flavor}"
    label = '{{index .Config.Labels "org.opencontainers.image.base.name"}}'
    try:
        answer = docker("image", "inspect", "--format", "{{.Id}} " + label, name)
    except CloudError as error:
        if "no such image" not in str(error).lower():  # the engine is down or unreachable
            raise
        hint = f"run make build FLAVOR={settings.images.flavor}"
        raise CloudError(f"no image {name} here: {hint} ({error})") from error
    identifier, _, base = answer.partition(" ")
    return LocalImage(name, identifier, base)
