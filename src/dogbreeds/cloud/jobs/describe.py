"""Jobs that are there already, so that the same command does not pay for a second one."""

import re
import sys

from botocore.exceptions import ClientError

from dogbreeds.cloud.aws import Cloud, is_missing


def find(cloud: Cloud, noun: str, prefix: str, name: str | None, *, new: bool) -> str | None:
    """Return a job of this name, or else one that runs from the same request.

    Args:
        cloud: Where.
        noun: ``TrainingJob``, ``HyperParameterTuningJob`` or ``TransformJob``.
        prefix: How the names of the request's jobs begin (`naming.job_prefix`).
        name: The name that was asked for.
        new: Whether another job is wanted all the same; a name is never used twice.
    """
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", noun).lower()
    found = None
    if name:
        try:
            getattr(cloud.sagemaker, f"describe_{snake}")(**{f"{noun}Name": name})
            found = name
        except ClientError as error:
            if not is_missing(error):
                raise
    elif not new:
        running = getattr(cloud.sagemaker, f"list_{snake}s")(
            NameContains=prefix, StatusEquals="InProgress"
        )
        found = next((job[f"{noun}Name"] for job in running.get(f"{noun}Summaries", [])), None)
    if found:
        hint = "" if name else " (--new does)"
        print(f"{found} is there already: not starting another{hint}", file=sys.stderr)
    return found
