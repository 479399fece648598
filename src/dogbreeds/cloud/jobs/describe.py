"""Jobs that are there already, so that the same command does not pay for a second one."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud, CloudError, is_missing

# What tells one job from another: the fields of a request whose values must be those of the job.
_COMPARED = re.compile(
    r"(TrainingJobDefinition\.Static)?HyperParameters\.(?!_).*|.*TrainingImage|.*S3Uri|ModelName"
    r"|.*ParameterRanges.*|.*InstanceType|.*InstanceCount"
)


def find(
    cloud: Cloud,
    noun: str,
    prefix: str,
    name: str | None,
    *,
    new: bool,
    submit: Callable[[], object],
) -> str | None:
    """Return a job of this name, or else one that runs from the same request.

    Args:
        cloud: Where.
        noun: ``TrainingJob``, ``HyperParameterTuningJob`` or ``TransformJob``.
        prefix: How the names of the request's jobs begin (`naming.job_prefix`).
        name: The name that was requested.
        new: Whether another job is requested all the same; a name is never used twice.
        submit: Sends the request; it is rehearsed to compare it with a job of the name.

    Raises:
        CloudError: The job of this name was made with other settings.
    """
    snake = naming.snake_case(noun)
    found = None
    if name:
        try:
            there = getattr(cloud.sagemaker, f"describe_{snake}")(**{f"{noun}Name": name})
        except ClientError as error:
            if not is_missing(error):
                raise
        else:
            _compare(cloud, noun, name, there, submit)
            found = name
    elif not new:
        running = getattr(cloud.sagemaker, f"list_{snake}s")(
            NameContains=prefix, StatusEquals="InProgress"
        )
        found = next((job[f"{noun}Name"] for job in running.get(f"{noun}Summaries", [])), None)
    if found:
        hint = "" if name else " (--new does)"
        cloud.keep("job", found)
        cloud.say(f"{found} is there already: not starting another{hint}")
    return found


def _compare(
    cloud: Cloud, noun: str, name: str, there: dict[str, Any], submit: Callable[[], object]
) -> None:
    """Refuse a job that was made with other settings: its results would be taken for new ones."""
    with cloud.rehearsal() as requests:
        submit()
    here = dict(_leaves(requests[-1][f"Create{noun}"]))
    made_of = dict(_leaves(there))
    different = [
        f"  {path}: {made_of.get(path, 'nothing')} there, {here.get(path, 'nothing')} here"
        for path in sorted(here.keys() | made_of.keys())
        if _COMPARED.fullmatch(path)
        and here.get(path) != made_of.get(path)
        and (path in here or "HyperParameters" in path)
    ]
    if different:
        raise CloudError(
            f"{name} is there already, with other settings; choose another --name:\n"
            + "\n".join(different)
        )


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, f"{path}.{key}".lstrip("."))
    else:
        yield path, str(value)
