"""Starting jobs, such that a repeated command does not pay for a second one."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from botocore import xform_name

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud, CloudError, get_if_exists

# Fields of a request that must equal those of an existing job of the same name.
_COMPARED = re.compile(
    r"(TrainingJobDefinition\.Static)?HyperParameters\.(?!_).*|.*TrainingImage|.*S3Uri|ModelName"
    r"|.*ParameterRanges.*|.*InstanceType|.*InstanceCount|.*ContentType|.*MaxNumberOfTrainingJobs"
    r"|.*Objective\.MetricName"
)


def submit_once(
    cloud: Cloud,
    noun: str,
    prefix: str,
    submit: Callable[[str], object],
    *,
    name: str | None,
    new: bool,
) -> str:
    """Start a job, or find the one of this name, or without a name, an equal one that is running.

    `noun` is ``TrainingJob``, ``HyperParameterTuningJob`` or ``TransformJob``, `prefix` as of
    `naming.job_prefix`. `submit` sends the request under a name; a rehearsal of it is compared with
    the job of the requested `name` (see `naming.own_name`). With `new`, a second job starts, but no
    name is used twice. Returned is its name; CloudError if the job of that name has other settings.
    """
    found = None
    client, snake = cloud.sagemaker, xform_name(noun)
    if name:
        name = naming.own_name(cloud.settings, name)
        describe = getattr(client, f"describe_{snake}")
        if there := get_if_exists(describe, **{f"{noun}Name": name}):
            with cloud.rehearsal() as requests:
                submit(name)
            _compare(name, there, requests[-1][f"Create{noun}"])
            found = name
    elif not new:
        list_jobs = getattr(client, f"list_{snake}s")
        running = list_jobs(NameContains=prefix, StatusEquals="InProgress")
        found = next((job[f"{noun}Name"] for job in running.get(f"{noun}Summaries", [])), None)
    if found:
        cloud.kept.append(f"job {found}")
        hint = "" if name else " (--new does)"
        cloud.say(f"{found} exists already: not starting another{hint}")
        return found
    # With the UTC day and time these are at most 31 characters; a tuning job may have 32, as
    # SageMaker derives the names of its training jobs from its own.
    chosen = name or f"{prefix}-{time.strftime('%d%H%M%S', time.gmtime())}"
    cloud.say(f"Starting {snake.replace('_', ' ')} {chosen}")
    submit(chosen)
    return chosen


def _compare(name: str, job: dict[str, Any], request: dict[str, Any]) -> None:
    """Refuse a job with other settings: its results would be mistaken for those of a request."""
    there, here = dict(_leaves(job)), dict(_leaves(request))
    different = [
        f"  {path}: {there.get(path, 'nothing')} there, {here.get(path, 'nothing')} here"
        for path in sorted(here.keys() | there.keys())
        if _COMPARED.fullmatch(path)
        and here.get(path) != there.get(path)
        and (path in here or "HyperParameters" in path)
    ]
    if different:
        text = f"{name} exists already, with other settings; choose another --name:"
        raise CloudError("\n".join([text, *different]))


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, f"{path}.{key}".lstrip("."))
    else:
        yield path, str(value)
