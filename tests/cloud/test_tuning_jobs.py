"""`dogbreeds tune`: the one search space, and the table of the best jobs."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from dogbreeds.cloud.aws import Cloud
from dogbreeds.cloud.jobs import tuning
from dogbreeds.cloud.settings_sources import load
from dogbreeds.job_output.search import read_tuning, write_tuning
from dogbreeds.training.search_space import SEARCH_SPACE, Choice
from dogbreeds.training.settings import Settings
from helpers.control_plane import Calls, Result, assert_golden

Run = Callable[..., Result]


def job(name: str, lr: str, objective: float | None) -> dict[str, Any]:
    """Return a summary as SageMaker gives it."""
    summary: dict[str, Any] = {
        "TrainingJobName": name,
        "TrainingJobArn": f"arn:aws:sagemaker:eu-central-1:123456789012:training-job/{name}",
        "CreationTime": datetime.now(UTC),
        "TrainingJobStatus": "Completed" if objective is not None else "Failed",
        "TunedHyperParameters": {
            "lr": lr, "batch_size": "32", "optimizer": "adam", "epochs": "10",
        },
    }  # fmt: skip
    if objective is not None:
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = {
            "MetricName": "valid_accuracy",
            "Value": objective,
        }
    return summary


@pytest.fixture
def rows(workplace: Path) -> list[dict[str, Any]]:
    """The results of three jobs on two pages; moto does not have this call."""
    cloud = Cloud(load())
    operation = "list_training_jobs_for_hyper_parameter_tuning_job"
    with Stubber(cloud.sagemaker) as stub:
        stub.add_response(
            operation,
            {
                "TrainingJobSummaries": [job("a", "0.01", 0.5), job("b", "0.1", None)],
                "NextToken": "n",
            },
            {"HyperParameterTuningJobName": "dogbreeds-tune-1"},
        )
        stub.add_response(
            operation,
            {"TrainingJobSummaries": [job("c", "0.001", 0.9)]},
            {"HyperParameterTuningJobName": "dogbreeds-tune-1", "NextToken": "n"},
        )
        return tuning.results(cloud, "dogbreeds-tune-1")


def test_the_search_space_holds_values_that_training_takes() -> None:
    for name, space in SEARCH_SPACE.items():
        for value in space.values if isinstance(space, Choice) else (space.low, space.high):
            assert getattr(Settings.from_mapping({name: str(value)}), name) == value


def test_a_dry_run_prints_the_request(dogbreeds: Run) -> None:
    path = Path("dogbreeds.toml")
    path.write_text(path.read_text() + "[training.hyperparameters]\nepochs = 3\n")
    result = dogbreeds(
        "tune", "--dry-run", "--json", "--name", "dogbreeds-tune-1", "--warm-start", "old-1",
        "--spot", "--set", "batch-size=8", "--set", "model=mobilenet_v2", "--set", "weights=none",
    )  # fmt: skip
    assert result.code == 0
    assert "searched for, whatever the settings say: epochs" in result.err
    assert_golden("tune", json.loads(result.out))


def test_a_loss_is_minimised(dogbreeds: Run) -> None:
    [request] = json.loads(
        dogbreeds("tune", "--dry-run", "--json", "--objective", "valid_loss").out
    )
    config = request["CreateHyperParameterTuningJob"]["HyperParameterTuningJobConfig"]
    objective = config["HyperParameterTuningJobObjective"]
    assert objective == {"Type": "Minimize", "MetricName": "valid_loss"}


def test_the_name_fits_into_sagemakers_32_characters(dogbreeds: Run) -> None:
    Path("dogbreeds.toml").write_text(
        'project = "dog-breeds1"\n' + Path("dogbreeds.toml").read_text()
    )
    [request] = json.loads(dogbreeds("tune", "--dry-run", "--json").out)
    assert len(request["CreateHyperParameterTuningJob"]["HyperParameterTuningJobName"]) <= 32


def test_an_objective_that_is_no_metric_is_refused(dogbreeds: Run) -> None:
    result = dogbreeds("tune", "--objective", "accuracy")
    assert result.code == 2
    assert "valid_accuracy" in result.err


def test_the_same_command_does_not_start_a_second_job(
    dogbreeds: Run, aws: boto3.Session, calls: Calls
) -> None:
    for _ in range(2):
        assert dogbreeds("tune", "--name", "dogbreeds-tune-1", "--no-wait").code == 0
    assert len(calls.of("CreateHyperParameterTuningJob")) == 1


def test_the_best_job_comes_first_and_the_failed_last(rows: list[dict[str, Any]]) -> None:
    assert [row["job_name"] for row in rows] == ["c", "a", "b"]
    assert tuple(rows[0]) == tuning.COLUMNS
    assert list(rows[0].values())[:6] == ["c", "32", "0.001", "adam", "10", 0.9]
    assert rows[2]["FinalObjectiveValue"] is None


def test_the_table_is_written_for_a_report(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    write_tuning(tmp_path / "new" / "tune-1.csv", rows)
    table = read_tuning(tmp_path / "new" / "tune-1.csv")
    assert table["columns"] == list(tuning.COLUMNS)
    assert [row[0] for row in table["rows"]] == ["c", "a", "b"]
