"""``dogbreeds tune --on local``: the search of SageMaker's tuner on one machine.

Every job is the real `train` on a tree of its own. Jobs that do worse than the median of the
others at the same epoch are pruned. The work directory contains the whole state, so that a search
that was stopped or killed resumes where it was, and its running jobs from their checkpoints.
"""

import itertools
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from dogbreeds.job_output.metrics import METRIC_DEFINITIONS
from dogbreeds.job_output.search import IMPORTANCE_FILE, LOCAL_FILE, rank, write_tuning
from dogbreeds.local import training
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.files import write_json
from dogbreeds.system.resources import available_cpus
from dogbreeds.system.terminal import table
from dogbreeds.training.search_space import LogUniform, searched
from dogbreeds.training.settings import Settings

_TELLING_JOBS = 10  # fewer say nothing of importance
_STARTUP_JOBS = 4  # these run to their end, so that there is a median
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class TuningError(DogbreedsError, ValueError):
    """The search cannot run as requested; the message says why."""


@dataclass
class Search:
    """A search over hyperparameters."""

    work_dir: Path  # it contains the jobs' trees, the state of the search and its table
    photos: Path
    weights: Path | None
    hyperparameters: Mapping[str, object]  # these are fixed for all jobs, and not searched
    objective: str  # this metric is maximized, or minimized if it is a loss
    jobs: int  # this total includes the jobs of an earlier start
    parallel: int = 1  # so many jobs run at a time
    stopped: bool = False  # a signal makes it True
    _running: "set[subprocess.Popen[bytes]]" = field(default_factory=set)

    def run(self) -> list[dict[str, object]]:
        """Search until all jobs are done or a signal arrives; print, save and return the table.

        TuningError if the work directory contains another search, or no job succeeded;
        SettingsError if a fixed hyperparameter is invalid.
        """
        Settings.from_mapping(self.hyperparameters)
        study = self._open()
        # Jobs that were running when the search ended or was killed come first.
        running = study.get_trials(states=(TrialState.RUNNING,))
        resumed = [optuna.Trial(study, trial._trial_id) for trial in running]
        missing = max(0, self.jobs - len(study.get_trials(states=_ENDED)))
        trials = [*resumed, *itertools.repeat(None, self.jobs)][:missing]
        cores = max(1, available_cpus() // self.parallel)
        os.environ["OMP_NUM_THREADS"] = str(cores)  # the jobs inherit it
        numbers = (signal.SIGINT, signal.SIGTERM)
        handlers = [signal.signal(number, self._stop) for number in numbers]
        try:
            with self._board(study), ThreadPoolExecutor(self.parallel) as pool:
                list(pool.map(lambda trial: self._run_job(study, trial, cores), trials))
        finally:
            for number, handler in zip(numbers, handlers, strict=True):
                signal.signal(number, handler)
        rows = self._table(study)
        self._keep_best(rows)
        write_json(self.work_dir / IMPORTANCE_FILE, importance(study))
        write_tuning(self.work_dir / LOCAL_FILE, rows)
        cells = [list(row.values()) for row in rows]
        print(table(cells, list(rows[0])) if rows else "No job ended.", flush=True)
        if not self.stopped and not any(row["state"] == "complete" for row in rows):
            raise TuningError("no job succeeded; the reasons are printed above")
        return rows

    def _board(self, study: optuna.Study) -> AbstractContextManager[object]:
        """Return a context in which a terminal shows the jobs, at most as many as fit."""
        if not sys.stdout.isatty():
            return nullcontext()
        from rich.live import Live

        most = max(1, shutil.get_terminal_size().lines - 6)
        return Live(get_renderable=lambda: board(study, self.objective, most), refresh_per_second=1)

    def _open(self) -> optuna.Study:
        self.work_dir.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # A resumed job may repeat the epoch of its checkpoint.
        warnings.filterwarnings("ignore", "The reported value is ignored", UserWarning)
        study = optuna.create_study(
            study_name="tune",
            storage=JournalStorage(JournalFileBackend(str(self.work_dir / "search.log"))),
            direction="minimize" if self.objective.endswith("loss") else "maximize",
            pruner=optuna.pruners.MedianPruner(_STARTUP_JOBS, n_warmup_steps=1),
            load_if_exists=True,
        )
        # A resumed search must not draw what it drew before: its seed differs.
        study.sampler = optuna.samplers.TPESampler(
            seed=len(study.trials), constant_liar=self.parallel > 1
        )
        request = {
            "photos": str(self.photos.resolve()), "weights": str(self.weights),
            "hyperparameters": {k: str(v) for k, v in sorted(self.hyperparameters.items())},
            "objective": self.objective,
        }  # fmt: skip
        earlier = study.user_attrs.get("request", request)
        if earlier != request:
            raise TuningError(f"{self.work_dir} contains a search with {earlier}, this one has"
                              f" {request}: pass another --out, or delete that one")  # fmt: skip
        study.set_user_attr("request", request)
        return study

    def _run_job(self, study: optuna.Study, trial: optuna.Trial | None, cores: int) -> None:
        """Run a new job or resume one; if stopped, it keeps the state RUNNING for a later start."""
        if self.stopped:
            return
        trial = trial or study.ask()
        chosen = _suggest(trial, self.hyperparameters)
        tree = self._tree(trial)
        if not tree.exists():
            given: dict[str, object] = {"num_workers": cores, **self.hyperparameters, **chosen}
            if self.weights:
                given["weights"] = self.weights.name
            training.make_tree(tree, self.photos, given, self.weights)
        drawn = ", ".join(
            f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in chosen.items()
        )
        print(f"Job {trial.number}: {drawn}", flush=True)
        state, value, message = self._follow(trial, tree)
        if state is TrialState.RUNNING:
            return
        print(f"Job {trial.number}: {message}", flush=True)
        shutil.rmtree(tree / "checkpoints", ignore_errors=True)
        study.tell(trial, value, state=state)

    def _follow(self, trial: optuna.Trial, tree: Path) -> tuple[TrialState, float | None, str]:
        """Run `train`, report each epoch, and return its state, its objective and a message."""
        (regex,) = (d["Regex"] for d in METRIC_DEFINITIONS if d["Name"] == self.objective)
        value: float | None = None
        process = training.start(tree, subprocess.PIPE)
        self._running.add(process)
        try:
            assert process.stdout is not None  # noqa: S101
            with (tree / "log").open("ab") as log:
                for line in process.stdout:
                    log.write(line)
                    if not (found := re.search(regex, line.decode(errors="replace"))):
                        continue
                    value = float(found[1])
                    epoch = re.search(rb"\[metrics\] epoch=(\d+)", line)
                    trial.report(value, int(epoch[1]) if epoch else 0)
                    if trial.should_prune():
                        return TrialState.PRUNED, None, f"stopped early at {value:.4f}"
            code = process.wait()
        finally:
            training.stop(process)
            self._running.discard(process)
        if self.stopped:
            return TrialState.RUNNING, None, ""
        if code == 0 and value is not None and math.isfinite(value):
            return TrialState.COMPLETE, value, f"{self.objective} {value:.4f}"
        return TrialState.FAIL, None, f"failed: {training.failure_reason(tree, code)}"

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopped = True
        for process in list(self._running):
            process.terminate()

    def _tree(self, trial: optuna.Trial | FrozenTrial) -> Path:
        return self.work_dir / "jobs" / f"{trial.number:03d}"

    def _table(self, study: optuna.Study) -> list[dict[str, object]]:
        ended = study.get_trials(states=_ENDED)
        return [
            {"job": self._tree(trial).name, "state": trial.state.name.lower(),
             self.objective: trial.value,
             **{name: trial.params.get(name) for name in searched(self.hyperparameters)},
             "seconds": round(trial.duration.total_seconds()) if trial.duration else None}
            for trial in sorted(ended, key=lambda trial: _rank(self.objective, trial))
        ]  # fmt: skip

    def _keep_best(self, rows: list[dict[str, object]]) -> None:
        """Keep only the best job's model, in ``best``: one model per job would fill the disk."""
        for row in rows[1:]:
            shutil.rmtree(self.work_dir / "jobs" / str(row["job"]) / "model", ignore_errors=True)
        if rows and rows[0]["state"] == "complete":
            link = self.work_dir / "best"
            link.unlink(missing_ok=True)
            link.symlink_to(Path("jobs", str(rows[0]["job"])))


def board(study: optuna.Study, objective: str, most: int) -> str:
    """Return the last jobs of a search, at most so many, and the best one as a table."""
    trials = [t for t in study.get_trials(deepcopy=False) if t.params]
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    best = min(complete, key=lambda trial: _rank(objective, trial), default=None)
    rows, shown = [], trials[-most:]
    for trial in [*([best] if best and best not in shown else []), *shown]:
        epoch, value = max(trial.intermediate_values.items(), default=(None, None))
        state = "best" if trial is best else trial.state.name.lower()
        rows.append([trial.number, *trial.params.values(), epoch, value, state])
    names = trials[0].params if trials else ()
    return table(rows, ["job", *names, "epoch", objective, "state"])


def importance(study: optuna.Study) -> dict[str, float] | None:
    """Return how much each hyperparameter matters; None if too few jobs tell.

    Source: S. Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces", 2023.
    """
    complete = [t for t in study.trials if t.state is TrialState.COMPLETE]
    if len(complete) < _TELLING_JOBS:
        return None
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _rank(objective: str, trial: FrozenTrial) -> float:
    return rank(objective, trial.value if trial.state is TrialState.COMPLETE else None)


def _suggest(trial: optuna.Trial, fixed: Mapping[str, object]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for name, space in searched(fixed).items():
        if isinstance(space, LogUniform):
            chosen[name] = trial.suggest_float(name, space.low, space.high, log=True)
        else:
            chosen[name] = trial.suggest_categorical(name, space.values)
    return chosen
