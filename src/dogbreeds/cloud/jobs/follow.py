"""Following something on AWS: its status and its log, tolerating a bad connection."""

import sys
import time
from collections.abc import Callable
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError

from dogbreeds.cloud.aws import Cloud, CloudError, every, explain, given, is_throttling
from dogbreeds.system.terminal import progress_bar

POLL_SECONDS = 5.0
PATIENCE_SECONDS = 900.0
"""Time to tolerate a lost connection or throttling, in seconds."""

_ENDED = ("Completed", "Failed", "Stopped", "InService", "OutOfService", "UpdateRollbackFailed")


def follow(
    cloud: Cloud,
    noun: str,
    name: str,
    *,
    log: bool = False,
    status: Callable[[dict[str, Any]], str] | None = None,
) -> dict[str, Any]:
    """Print status and log until the end, and return the last description.

    `noun` is ``Endpoint``, ``TrainingJob``, ``HyperParameterTuningJob`` or ``TransformJob``; `log`
    prints the job's log from CloudWatch; `status` makes the status line from the description, by
    default status and message. An interruption stops nothing on AWS; CloudError if the connection
    was lost for `PATIENCE_SECONDS`.
    """
    describe = getattr(cloud.sagemaker, f"describe_{xform_name(noun)}")
    reader = _Log(cloud, f"/aws/sagemaker/{noun}s", f"{name}/") if log else None
    on_terminal, shown = sys.stderr.isatty(), ""
    lost_since: float | None = None
    with progress_bar("", None, shown=on_terminal) as bar:
        bar.bar_format = "[{elapsed}] {desc}"
        while True:
            lines: list[str] = []
            ended = False
            try:
                description = dict(describe(**{f"{noun}Name": name}))
                lines = reader.read() if reader else []
                ended = description[f"{noun}Status"] in _ENDED
                text = status(description) if status else _status(description, f"{noun}Status")
                lost_since = None
            except (EndpointConnectionError, HTTPClientError, ClientError) as error:
                if isinstance(error, ClientError) and not is_throttling(error):
                    raise
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > PATIENCE_SECONDS:
                    raise CloudError(explain(error)) from error
                text = f"no answer ({type(error).__name__}), trying again"
            with bar.external_write_mode():
                for line in lines:
                    print(line, flush=True)
            if not on_terminal and text != shown:
                print(text, file=sys.stderr, flush=True)
            bar.set_description_str(shown := text)
            if ended:
                return description
            time.sleep(POLL_SECONDS)


def reason(description: dict[str, Any]) -> str:
    """Return SageMaker's reason for a failure."""
    return str(description.get("FailureReason", "no reason given"))


def _status(description: dict[str, Any], status_key: str) -> str:
    status = str(description[status_key])
    steps = description.get("SecondaryStatusTransitions") or []
    if steps and steps[-1].get("StatusMessage"):
        status += f": {steps[-1]['Status']}: {steps[-1]['StatusMessage']}"
    return status


class _Log:
    """New lines of all streams of a job: one stream per host."""

    def __init__(self, cloud: Cloud, group: str, prefix: str) -> None:
        self._client = cloud.client("logs")
        self._group, self._prefix = group, prefix
        self._tokens: dict[str, str] = {}

    def read(self) -> list[str]:
        """Return the lines since the last call; with several hosts, labeled by host."""
        request = given(logGroupName=self._group, logStreamNamePrefix=self._prefix)
        try:
            streams = list(every(self._client, "describe_log_streams", "logStreams", **request))
        except self._client.exceptions.ResourceNotFoundException:
            return []  # the group appears with the account's first job
        names, lines = [stream["logStreamName"] for stream in streams], []
        for name in names:
            host = name.removeprefix(self._prefix).partition("/")[0].rsplit("-", 1)[0]
            label = f"{host} | " if len(names) > 1 else ""
            lines += [label + text for text in self._read_stream(name)]
        return lines

    def _read_stream(self, name: str) -> list[str]:
        lines: list[str] = []
        while True:
            options = {"nextToken": self._tokens[name]} if name in self._tokens else {}
            page = self._client.get_log_events(
                logGroupName=self._group, logStreamName=name, startFromHead=True, **options
            )
            lines += [event["message"].rstrip() for event in page["events"]]
            token = page["nextForwardToken"]
            if token == self._tokens.get(name):  # CloudWatch repeats the token at the end
                return lines
            self._tokens[name] = token


def last_lines(cloud: Cloud, group: str, count: int = 20) -> list[str]:
    """Return the last lines of a log group; none where there is no such group."""
    return _Log(cloud, group, "").read()[-count:]
