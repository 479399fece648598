"""Tuning jobs: a HyperparameterTuner over the project's search space."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dogbreeds.cloud import naming
from dogbreeds.cloud.aws import Cloud, CloudError, every
from dogbreeds.cloud.images.uri import job_image
from dogbreeds.cloud.jobs import follow
from dogbreeds.cloud.jobs.submit import submit_once
from dogbreeds.cloud.jobs.training import channels, check, make_estimator
from dogbreeds.cloud.settings import refuse
from dogbreeds.job_output.metrics import METRIC_DEFINITIONS, METRICS
from dogbreeds.job_output.search import rank
from dogbreeds.training.search_space import SEARCH_SPACE, Choice, LogUniform, searched

COLUMNS = (
    "job_name", "batch_size", "learning_rate", "optimizer", "epochs", "FinalObjectiveValue",
    "status",
)  # fmt: skip


def start(
    cloud: Cloud, *, name: str | None = None, new: bool = False,
    warm_start: Sequence[str] = (), fixed: Sequence[str] = (),
) -> str:  # fmt: skip
    """Start a tuning job, or find the one that the same command started before; return its name.

    `warm_start` names finished tuning jobs to learn from. Hyperparameters that are `fixed` keep
    their given value; other given values of the search space apply to `dogbreeds train` only. For
    `name`, `new` and CloudError see `submit_once`; ConfigError if the settings are invalid.
    """
    settings = cloud.settings
    tuning = settings.tuning
    check(settings)
    space = searched(fixed)
    given = settings.training.hyperparameters
    if tuning.strategy == "Hyperband" and isinstance(epochs := space.pop("epochs", None), Choice):
        # Hyperband assigns epochs itself: each job may use up to the maximum of the space.
        given = {"epochs": str(max(epochs.values)), **given}
    kept = {name: value for name, value in given.items() if name.replace("-", "_") not in space}
    refuse(
        (tuning.objective not in METRICS,
         f"tuning.objective: expected a metric ({', '.join(METRICS)}), got {tuning.objective}"),
        (tuning.parallel_jobs > tuning.max_jobs,
         f"tuning.parallel_jobs: expected at most tuning.max_jobs, {tuning.max_jobs}, got"
         f" {tuning.parallel_jobs}"),
        (not space,
         f"--set fixes the whole search space ({', '.join(SEARCH_SPACE)}): leave one out, or run"
         " dogbreeds train"),
    )  # fmt: skip
    if ignored := sorted(set(given) - set(kept)):
        print(f"searched for, whatever the settings say: {', '.join(ignored)}", file=sys.stderr)
    request = [job_image(cloud, "training"), settings.training, tuning, settings.network]
    prefix = naming.job_prefix(settings, "tune", [*request, settings.aws, list(warm_start), kept])
    inputs = channels(cloud)

    def submit(name: str) -> None:
        # A common checkpoint folder would mix the jobs up, so checkpoints are not stored.
        tuner = _make_tuner(cloud, make_estimator(cloud, None, kept), space, warm_start)
        tuner.fit(dict(inputs), job_name=name, wait=False, include_cls_metadata=False)

    return submit_once(cloud, "HyperParameterTuningJob", prefix, submit, name=name, new=new)


def _make_tuner(
    cloud: Cloud,
    estimator: Any,  # noqa: ANN401
    search_space: Mapping[str, LogUniform | Choice],
    warm_start: Sequence[str],
) -> Any:  # noqa: ANN401
    from sagemaker import tuner

    ranges = {
        name: tuner.ContinuousParameter(space.low, space.high, "Logarithmic")
        if isinstance(space, LogUniform)
        else tuner.CategoricalParameter(list(space.values))
        for name, space in search_space.items()
    }
    tuning = cloud.settings.tuning
    hyperband = tuning.strategy == "Hyperband"  # has its own early stopping
    epochs = int(estimator.hyperparameters().get("epochs", 0))
    kind = tuner.WarmStartTypes.IDENTICAL_DATA_AND_ALGORITHM
    warm = tuner.WarmStartConfig(kind, set(warm_start)) if warm_start else None
    maximum = tuner.StrategyConfig(tuner.HyperbandStrategyConfig(epochs, 1)) if hyperband else None
    return tuner.HyperparameterTuner(
        estimator=estimator,
        objective_metric_name=tuning.objective,
        objective_type="Minimize" if tuning.objective.endswith("loss") else "Maximize",
        hyperparameter_ranges=ranges,
        metric_definitions=METRIC_DEFINITIONS,
        strategy=tuning.strategy,
        max_jobs=tuning.max_jobs,
        max_parallel_jobs=tuning.parallel_jobs,
        strategy_config=maximum,
        early_stopping_type="Auto" if tuning.early_stopping and not hyperband else "Off",
        tags=naming.tags(cloud.settings),
        warm_start_config=warm,
    )


def wait(cloud: Cloud, name: str) -> dict[str, Any]:
    """Follow a tuning job to its end and return its description; CloudError if it failed."""
    description = follow.follow(cloud, "HyperParameterTuningJob", name, status=_status)
    if description["HyperParameterTuningJobStatus"] == "Failed":
        raise CloudError(f"{name} failed: {follow.reason(description)}")
    return description


def _status(description: Mapping[str, Any]) -> str:
    counts = description.get("TrainingJobStatusCounters", {})
    done = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    best = description.get("BestTrainingJob", {}).get("FinalHyperParameterTuningJobObjectiveMetric")
    text = f"{description['HyperParameterTuningJobStatus']}: {done or 'no job yet'}"
    return text + (f"; best {best['MetricName']} {best['Value']:.4f}" if best else "")


def results(cloud: Cloud, name: str) -> list[dict[str, Any]]:
    """Return a row with `COLUMNS` per training job, the best first; the objective may be None."""
    call = "list_training_jobs_for_hyper_parameter_tuning_job"
    of_job = {"HyperParameterTuningJobName": name}
    rows = []
    for job in every(cloud.sagemaker, call, "TrainingJobSummaries", **of_job):
        tuned = job["TunedHyperParameters"]
        reached = job.get("FinalHyperParameterTuningJobObjectiveMetric", {})
        found = {
            **{"learning_rate" if name == "lr" else name: value for name, value in tuned.items()},
            "job_name": job["TrainingJobName"],
            "FinalObjectiveValue": reached.get("Value"),
            "status": job["TrainingJobStatus"],
        }
        rows.append({column: found.get(column) for column in COLUMNS})
    objective = cloud.settings.tuning.objective
    return sorted(rows, key=lambda row: rank(objective, row["FinalObjectiveValue"]))
