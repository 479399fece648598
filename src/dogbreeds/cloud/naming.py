"""Names and tags of what this project creates on AWS.

A name contains a fingerprint of what the resource is made from, so that a repeated command finds
the result of the first run instead of creating it again. A tag marks a resource as ours.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from dogbreeds.cloud.settings import CloudSettings

PROJECT_TAG = "dogbreeds:project"


def fingerprint(document: object) -> str:
    """Return 12 hexadecimal digits that change with any part of a JSON document."""
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def own_name(settings: CloudSettings, name: str) -> str:
    """Return ``dogbreeds-breeds-1`` for ``breeds-1``: prefix the project where it is missing.

    The policies in iam/ allow only names with this prefix, and `dogbreeds list` finds them.
    """
    project = settings.project
    return name if f"{name}-".startswith(f"{project}-") else f"{project}-{name}"


def job_prefix(settings: CloudSettings, kind: str, request: object) -> str:
    """Return a prefix of the names of jobs with an equal request: ``dogbreeds-tune-1a2b3c``."""
    return f"{settings.project}-{kind}-{fingerprint(request)[:6]}"


def tags(settings: CloudSettings) -> list[dict[str, str]]:
    """Return the tags of everything that is created."""
    pairs = {**settings.tags, PROJECT_TAG: settings.project}
    return [{"Key": key, "Value": value} for key, value in pairs.items()]


def is_ours(settings: CloudSettings, found: Sequence[dict[str, Any]]) -> bool:
    """Whether the tags of a resource include the project's."""
    return {"Key": PROJECT_TAG, "Value": settings.project} in found
