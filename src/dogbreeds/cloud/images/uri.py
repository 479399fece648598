"""The images that were pushed last: what `dogbreeds push` writes and every job reads."""

import json
from pathlib import Path
from typing import Any

from dogbreeds.cloud import settings_sources
from dogbreeds.cloud.settings import CloudSettings, ConfigError
from dogbreeds.system.files import write_json

IMAGES_FILE = Path("build/images.json")
"""By flavor, then by image: ``uri`` (with digest), ``tags``, ``base`` (the base image's name)."""


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


def base_image(settings: CloudSettings, image: str) -> str:
    """Return the name of an image's base; empty where it was not pushed from here."""
    uri = image_uri(settings, image)
    for entries in read_images().values():
        entry = entries.get(image, {})
        if entry.get("uri") == uri:
            return str(entry.get("base", ""))
    return ""
