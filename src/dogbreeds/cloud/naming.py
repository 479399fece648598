"""Names and tags of what this project makes on AWS.

A name tells what a thing is made from (a fingerprint), so that the same command run twice meets
what the first run made instead of making it again. A tag tells that it is ours.
"""

import hashlib
import json
import re
import time

from dogbreeds.cloud.settings import CloudSettings

PROJECT_TAG = "dogbreeds:project"


def fingerprint(document: object) -> str:
    """Return 12 hexadecimal digits that change with any part of a JSON document."""
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def own_name(settings: CloudSettings, name: str) -> str:
    """Return a name as this project makes it: one that does not begin with the project gets it.

    The policies in iam/ allow names that begin so, and `dogbreeds list` finds them.

    Args:
        settings: For the project.
        name: As given, e.g. ``breeds-1``.

    Returns:
        For example ``dogbreeds-breeds-1``.
    """
    project = settings.project
    return name if f"{name}-".startswith(f"{project}-") else f"{project}-{name}"


def snake_case(noun: str) -> str:
    """Return ``training_job`` for ``TrainingJob``, as boto3 names its calls."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", noun).lower()


def job_prefix(settings: CloudSettings, kind: str, request: object) -> str:
    """Return how the names of a request's jobs begin, e.g. ``dogbreeds-tune-1a2b3c``.

    Args:
        settings: For the project.
        kind: ``train``, ``tune`` or ``batch``.
        request: What the job is made from.
    """
    return f"{settings.project}-{kind}-{fingerprint(request)[:6]}"


def job_name(prefix: str) -> str:
    """Return a job's name: its prefix and the UTC day and time.

    At most 31 characters with an 11-character project; a tuning job may have 32, and its training
    jobs' names are made from it by SageMaker.
    """
    return f"{prefix}-{time.strftime('%d%H%M%S', time.gmtime())}"


def tags(settings: CloudSettings) -> list[dict[str, str]]:
    """Return the tags of everything that is made."""
    pairs = {**settings.tags, PROJECT_TAG: settings.project}
    return [{"Key": key, "Value": value} for key, value in pairs.items()]
