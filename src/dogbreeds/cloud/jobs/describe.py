"""Existing jobs, so that a repeated command does not pay for a second one."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud, CloudError, get_if_exists

# Fields of a request that must equal those of an existing job of the same name.
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
    """Return the job of this name, or without a name, a running one of the same request.

    Args:
        cloud: The account.
        noun: ``TrainingJob``, ``HyperParameterTuningJob`` or ``TransformJob``.
        prefix: Prefix of the names of the request's jobs (`naming.job_prefix`).
        name: The requested name.
        new: Whether a second job is requested; a name is never used twice.
        submit: Sends the request; a rehearsal compares it with the job of this name.

    Raises:
        CloudError: The job of this name has other settings.
    """
    snake = naming.snake_case(noun)
    found = None
    if name:
        call = getattr(cloud.sagemaker, f"describe_{snake}")
        if there := get_if_exists(call, **{f"{noun}Name": name}):
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
        cloud.say(f"{found} exists already: not starting another{hint}")
    return found


def _compare(
    cloud: Cloud, noun: str, name: str, there: dict[str, Any], submit: Callable[[], object]
) -> None:
    """Refuse a job with other settings: its results would be mistaken for those of this request."""
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
            f"{name} exists already, with other settings; choose another --name:\n"
            + "\n".join(different)
        )


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, f"{path}.{key}".lstrip("."))
    else:
        yield path, str(value)
