"""Chooses a job's monitors by its hyperparameters and SageMaker's configuration."""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dogbreeds.job_output.findings import FINDINGS_FILE, table
from dogbreeds.job_output.jobs import STEP_LOSSES_FILE, TENSORBOARD_FOLDER
from dogbreeds.job_output.profile import PHASES_FILE, PROFILER_FOLDER
from dogbreeds.monitoring.phases import Phases
from dogbreeds.monitoring.step_losses import StepLosses
from dogbreeds.monitoring.system_metrics import sampling
from dogbreeds.system.files import write_json
from dogbreeds.training.callbacks import Callback, Callbacks
from dogbreeds.training.distributed import Cluster
from dogbreeds.training.paths import JobPaths
from dogbreeds.training.settings import Settings, SettingsError, parse_steps


@contextlib.contextmanager
def watched(settings: Settings, paths: JobPaths, cluster: Cluster) -> Iterator[Callback]:
    """Yield the callback of a job, and sample this host while the context lasts.

    One process per host samples, to ``paths.output_data``; rank 0 does the rest. SettingsError if
    Debugger is requested, but smdebug cannot be used.
    """
    output = paths.output_data
    with contextlib.ExitStack() as stack:
        if cluster.local_rank == 0 and _samples(settings, paths.config):
            stack.enter_context(sampling(output / PROFILER_FOLDER, _node(paths.config)))
        if not cluster.is_main:
            yield Callback()
            return
        callbacks: list[Callback] = [
            Phases(output / PHASES_FILE), StepLosses(output / STEP_LOSSES_FILE, settings.epochs)
        ]  # fmt: skip
        with contextlib.suppress(ImportError):  # tensorboard may not be installed
            from dogbreeds.monitoring.tensorboard import TensorBoard

            callbacks.append(TensorBoard(output / TENSORBOARD_FOLDER))
        if steps := parse_steps(settings.profile_steps):
            from dogbreeds.monitoring.traces import Traces

            callbacks.append(Traces(output / "traces", steps))
        trial = _add_debugger(callbacks, settings, paths)
        callback = Callbacks(callbacks)
        try:
            yield callback
        finally:
            callback.close()
        if trial:
            _judge(trial, output)


def _samples(settings: Settings, config: Path) -> bool:
    """Tell whether this job samples its host: not if SageMaker's Profiler does."""
    if settings.profiler != "auto":
        return settings.profiler == "true"
    theirs = _read(config / "profilerconfig.json")
    return theirs is None or theirs.get("DisableProfiler") is True


def _node(config: Path) -> str:
    """Return this host's name as the Profiler's readers expect it: ``algo-N``."""
    resources = _read(config / "resourceconfig.json") or {}
    host = str(resources.get("current_host", "algo-1"))
    if re.fullmatch(r"algo-\d+", host):
        return host
    hosts = sorted(resources.get("hosts", [host]))
    return f"algo-{hosts.index(host) + 1 if host in hosts else 1}"


def _add_debugger(callbacks: list[Callback], settings: Settings, paths: JobPaths) -> Path | None:
    """Add Debugger if it is requested, and return the folder of its trial."""
    configuration = _read(
        Path(os.environ.get("SMDEBUG_CONFIG_FILE_PATH", paths.config / "debughookconfig.json"))
    )
    if configuration is None and not settings.debugger:
        return None
    try:
        from dogbreeds.monitoring.debugger.hook import Debugger
    except Exception as error:  # smdebug is old, and newer packages may break it
        reason = f"smdebug cannot be used: {type(error).__name__}: {error}"
        if settings.debugger:
            raise SettingsError(f"hyperparameter debugger: {reason}") from error
        print(f"Debugger is configured, but {reason}; nothing is saved for it", flush=True)
        return None
    trial = Path((configuration or {}).get("LocalPath") or "/opt/ml/output/tensors")
    if trial.is_relative_to("/opt/ml"):  # the tree may be elsewhere
        trial = paths.config.parents[1] / trial.relative_to("/opt/ml")
    callbacks.append(Debugger(trial, configuration))
    return trial


def _judge(trial: Path, output: Path) -> None:
    """Write the rules' findings, which are returned even where the tensors are not."""
    from dogbreeds.monitoring.debugger.rules import check

    started = time.monotonic()
    try:
        findings = check(trial)
        write_json(output / FINDINGS_FILE, [finding.to_json() for finding in findings])
        print(f"Debugger ({time.monotonic() - started:.1f} s):\n{table(findings)}", flush=True)
    except Exception as error:  # it must not fail the job
        print(f"Debugger's rules failed: {type(error).__name__}: {error}", flush=True)


def _read(file: Path) -> dict[str, Any] | None:
    """Read a configuration file; return None if it is missing or no JSON object."""
    try:
        document = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
