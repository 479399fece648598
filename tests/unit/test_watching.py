"""TensorBoard's files, traces and phases; and what is not requested costs nothing."""

import json
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dogbreeds.entrypoint import monitors
from dogbreeds.monitoring.callbacks import Phases, TensorBoard, Traces
from dogbreeds.training.callbacks import Callback, Callbacks
from dogbreeds.training.distributed import Cluster
from dogbreeds.training.paths import JobPaths
from dogbreeds.training.settings import Settings, SettingsError
from helpers.small_jobs import job, run


class KilledAfter(Callback):
    """Ends the process, as it were, when an epoch is evaluated."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, values: dict[str, float]) -> None:
        if epoch == self._epoch:
            raise KeyboardInterrupt


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder)).Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_tensorboard_shows_the_metrics_of_the_log(tmp_path: Path) -> None:
    trainer = run(job(tmp_path, TensorBoard(tmp_path / "tensorboard")))
    found = scalars(tmp_path / "tensorboard")
    assert found.keys() == trainer.history[0].keys()
    for name, points in found.items():
        assert [step for step, _ in points] == [1, 2, 3]
        expected = [epoch[name] for epoch in trainer.history]
        assert [value for _, value in points] == pytest.approx(expected)


def test_a_resumed_job_shows_each_epoch_once(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    with pytest.raises(KeyboardInterrupt):  # epoch 2 is written but has no checkpoint
        run(job(tmp_path, Callbacks([TensorBoard(folder), KilledAfter(2)])))
    trainer = run(job(tmp_path, TensorBoard(folder)), resume=True)
    losses = scalars(folder)["train_loss"]
    assert [step for step, _ in losses] == [1, 2, 3]
    assert [value for _, value in losses] == pytest.approx(
        [epoch["train_loss"] for epoch in trainer.history]
    )


def test_a_trace_has_the_operations_of_its_steps(tmp_path: Path) -> None:
    run(job(tmp_path, Traces(tmp_path / "traces", range(2, 4))))
    [file] = (tmp_path / "traces").iterdir()
    assert file.name == "steps-2-4.json"
    events = json.loads(file.read_text())["traceEvents"]
    complete = [event for event in events if event.get("ph") == "X"]
    assert all({"name", "ts", "dur", "pid", "tid"} <= event.keys() for event in complete)
    names = [event["name"] for event in complete]
    for operation in ("aten::conv2d", "aten::convolution_backward", "aten::cross_entropy_loss"):
        assert names.count(operation) == 2, operation
    assert any(name.startswith("Optimizer.step") for name in names)


def test_steps_that_do_not_come_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(job(tmp_path, Traces(tmp_path / "traces", range(16, 30))))
    assert "profile_steps: steps 16 to 30 are not all among" in capsys.readouterr().out
    assert [file.name for file in (tmp_path / "traces").iterdir()] == ["steps-16-30.json"]


@pytest.mark.parametrize("wrong", ["20", "30:20", "a:b", "5:5", ""])
def test_steps_to_trace_are_checked(wrong: str) -> None:
    with pytest.raises(SettingsError, match="profile_steps: expected none or FIRST:END"):
        Settings.from_mapping({"profile_steps": wrong})


def test_phases_follow_each_other_and_survive_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "phases.json"
    with pytest.raises(KeyboardInterrupt):
        run(job(tmp_path, Callbacks([Phases(file), KilledAfter(2)])))
    run(job(tmp_path, Phases(file)), resume=True)
    phases = json.loads(file.read_text())
    assert [phase["name"] for phase in phases] == [
        "train 1", "evaluate 1", "train 2", "evaluate 2",
        "train 2", "evaluate 2", "train 3", "evaluate 3",
    ]  # fmt: skip
    moments = [moment for phase in phases for moment in (phase["start"], phase["end"])]
    assert moments == sorted(moments)
    run(job(tmp_path / "another", Phases(file), epochs=1))
    assert len(json.loads(file.read_text())) == 2


@pytest.fixture
def paths(tmp_path: Path) -> JobPaths:
    (tmp_path / "input" / "config").mkdir(parents=True)
    return JobPaths.from_environment({"SAGEMAKER_BASE_DIR": str(tmp_path)})


def test_debugger_without_smdebug_fails_the_job_that_asks_for_it_by_name(
    paths: JobPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "dogbreeds.monitoring.debugger.hook", None)
    asked = Settings(profiler="false", debugger=True)
    with (
        pytest.raises(SettingsError, match="hyperparameter debugger: smdebug cannot be used"),
        monitors.watched(asked, paths, Cluster()),
    ):
        pass
    # SageMaker's SDK configures it for every job, asked or not.
    (paths.config / "debughookconfig.json").write_text('{"LocalPath": "/opt/ml/output/tensors"}')
    with monitors.watched(Settings(profiler="false"), paths, Cluster()):
        assert "Debugger is configured, but smdebug cannot be used" in capsys.readouterr().out
