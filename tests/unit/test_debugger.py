"""Tensors saved by training jobs, read back as SageMaker's rules and a user's notebook do."""

import errno
import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dogbreeds.monitoring.debugger.hook import LOSS, Debugger, default_configuration
from dogbreeds.monitoring.debugger.smdebug_compat import ModeKeys, create_trial
from dogbreeds.training.callbacks import Callback, Callbacks, TrainingState
from dogbreeds.training.device import Device
from helpers.small_jobs import job, network, run, store

WEIGHT = "Sequential_0.weight"
EVERY_STEP = {
    "CollectionConfigurations": [
        {"CollectionName": name, "CollectionParameters": {"save_interval": "1"}}
        for name in ("losses", "weights", "gradients")
    ],
    "HookParameters": {"save_interval": "1"},
}


class Noted(Callback):
    """Keeps what a job computes, for comparison."""

    def __init__(self) -> None:
        self.weights: list[np.ndarray[Any, Any]] = []
        self.gradients: list[np.ndarray[Any, Any]] = []

    def on_train_begin(self, state: TrainingState) -> None:
        self._weight = state.model.get_parameter("0.weight")

    def on_gradients(self) -> None:
        assert self._weight.grad is not None
        self.weights.append(self._weight.detach().clone().numpy())
        self.gradients.append(self._weight.grad.clone().numpy())


def trial_of(folder: Path) -> Any:
    return create_trial(str(folder))


def values(trial: Any, name: str, mode: ModeKeys = ModeKeys.TRAIN) -> np.ndarray[Any, Any]:
    """Return a tensor of all steps, the steps first."""
    tensor = trial.tensor(name)
    return np.array([tensor.value(step, mode=mode) for step in tensor.steps(mode=mode)])


def test_what_a_job_computes_is_what_a_trial_gives_back(tmp_path: Path) -> None:
    noted = Noted()
    losses = [epoch["train_loss"] for epoch in run(job(tmp_path / "plain", noted)).history]
    debugger = Debugger(tmp_path / "tensors", EVERY_STEP)
    trainer = run(job(tmp_path, debugger))
    assert [epoch["train_loss"] for epoch in trainer.history] == losses  # it only looks on

    trial = trial_of(tmp_path / "tensors")
    assert len(trial.steps(mode=ModeKeys.TRAIN)) == 18
    assert len(trial.steps(mode=ModeKeys.EVAL)) == 3
    np.testing.assert_array_equal(values(trial, WEIGHT), noted.weights)
    np.testing.assert_array_equal(values(trial, f"gradient/{WEIGHT}"), noted.gradients)
    saved = values(trial, LOSS).reshape(3, 6)
    np.testing.assert_allclose(saved.mean(1), losses, rtol=1e-5)
    evaluated = values(trial, LOSS, ModeKeys.EVAL)
    assert [epoch["valid_loss"] for epoch in trainer.history] == pytest.approx(evaluated)
    assert set(trial.tensor_names(collection="weights")) == {
        f"Sequential_{name}" for name, _ in network().named_parameters() if "weight" in name
    }
    assert set(trial.tensor_names(collection="gradients")) == {
        f"gradient/Sequential_{name}" for name, _ in network().named_parameters()
    }


def test_our_own_numbers_stand_beside_them(tmp_path: Path) -> None:
    trainer = run(job(tmp_path, Debugger(tmp_path / "tensors", EVERY_STEP)))
    trial = trial_of(tmp_path / "tensors")
    accuracies = values(trial, "scalar/test_accuracy", ModeKeys.EVAL).flatten()
    assert [epoch["test_accuracy"] for epoch in trainer.history] == pytest.approx(accuracies)
    rates = values(trial, "scalar/lr").flatten()
    assert rates.max() == pytest.approx(0.01, rel=0.05)
    assert rates[0] < rates.max()  # warmup
    weights, ratios = values(trial, WEIGHT), values(trial, "update_ratio/Sequential_0")
    change = np.linalg.norm(weights[4] - weights[3]) / np.linalg.norm(weights[3])
    assert ratios[3] == pytest.approx(change, rel=1e-4)
    [activity, *_] = values(trial, "relu_activity/2_0")
    assert activity.shape == (8,)
    assert (activity > 0).any()
    assert values(trial, "class_counts")[0].tolist() == [16, 16, 16]


def test_parts_of_a_step_are_one_step(tmp_path: Path) -> None:
    for parts in (1, 4):
        folder = tmp_path / str(parts)
        run(
            job(folder, Debugger(folder / "tensors", EVERY_STEP), gradient_accumulation_steps=parts)
        )
    whole, parted = (trial_of(tmp_path / name / "tensors") for name in ("1", "4"))
    assert whole.steps() == parted.steps()
    for name in (LOSS, f"gradient/{WEIGHT}"):
        np.testing.assert_allclose(values(parted, name), values(whole, name), atol=1e-6)


def test_gradients_of_half_precision_are_saved_unscaled(tmp_path: Path) -> None:
    noted = Noted()
    run(job(tmp_path / "plain", noted))
    half = Device(torch.device("cpu"), torch.float16)
    run(job(tmp_path, Debugger(tmp_path / "tensors", EVERY_STEP), device=half))
    [first, *_] = values(trial_of(tmp_path / "tensors"), f"gradient/{WEIGHT}")
    np.testing.assert_allclose(first, noted.gradients[0], rtol=0.05, atol=1e-3)


def test_bfloat16_activations_that_are_requested_are_saved(tmp_path: Path) -> None:
    outputs = {"CollectionName": "mine", "CollectionParameters": {"include_regex": "^2_output"}}
    configuration = {"CollectionConfigurations": [outputs]}
    half = Device(torch.device("cpu"), torch.bfloat16)
    run(job(tmp_path, Debugger(tmp_path / "tensors", configuration), device=half))
    [first] = values(trial_of(tmp_path / "tensors"), "2_output_0")
    assert first.shape == (8, 8, 8, 8)


def test_compiled_jobs_save_all_but_activations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    noted = Noted()
    run(job(tmp_path / "plain", noted, epochs=1))
    run(job(tmp_path, Debugger(tmp_path / "tensors", EVERY_STEP), compile=True, epochs=1))
    trial = trial_of(tmp_path / "tensors")
    np.testing.assert_allclose(
        values(trial, f"gradient/{WEIGHT}"), noted.gradients, rtol=1e-4, atol=1e-6
    )
    assert not any("relu" in name for name in trial.tensor_names())


class Killed(Callback):
    """Debugger, in a process that dies during a step."""

    def __init__(self, debugger: Debugger, step: int) -> None:
        self._step = step
        for name in ("on_train_begin", "on_step_begin", "on_loss", "on_epoch_end"):
            setattr(self, name, getattr(debugger, name))
        self.on_gradients = debugger.on_gradients  # type: ignore[method-assign]
        self._ended = debugger.on_step_end

    def on_step_end(self) -> None:
        self._ended()
        self._step -= 1
        if self._step == 0:
            raise KeyboardInterrupt


def test_a_resumed_job_continues_its_trial(tmp_path: Path) -> None:
    killed = Killed(Debugger(tmp_path / "tensors", EVERY_STEP), step=9)
    with pytest.raises(KeyboardInterrupt):  # a checkpoint was written after step 6
        run(job(tmp_path, killed))
    assert (tmp_path / "tensors" / "claim.smd").exists()
    trainer = run(job(tmp_path, Debugger(tmp_path / "tensors", EVERY_STEP)), resume=True)
    trial = trial_of(tmp_path / "tensors")
    assert trial.steps(mode=ModeKeys.TRAIN) == list(range(18))
    assert trial.steps() == list(range(18 + 3))
    losses = values(trial, LOSS).reshape(3, 6).mean(1)
    assert [epoch["train_loss"] for epoch in trainer.history] == pytest.approx(losses)


def test_a_new_job_replaces_the_trial_of_a_finished_one(tmp_path: Path) -> None:
    run(job(tmp_path / "1", Debugger(tmp_path / "tensors", EVERY_STEP)))
    run(job(tmp_path / "2", Debugger(tmp_path / "tensors", EVERY_STEP), epochs=1))
    assert trial_of(tmp_path / "tensors").steps() == list(range(7))


def test_without_a_configuration_a_job_is_saved_about_ten_times(tmp_path: Path) -> None:
    for steps, interval in ((1040, "104"), (100, "10"), (100_000, "500")):
        assert default_configuration(steps)["HookParameters"] == {"save_interval": interval}
    run(job(tmp_path, Debugger(tmp_path / "tensors", None)))
    trial = trial_of(tmp_path / "tensors")
    # 18 steps are few enough to save each: a rule that sees one step cannot judge a job
    assert trial.tensor(WEIGHT).steps(mode=ModeKeys.TRAIN) == list(range(18))
    assert trial.tensor(f"gradient/{WEIGHT}").steps(mode=ModeKeys.TRAIN) == list(range(18))
    assert trial.tensor(LOSS).steps(mode=ModeKeys.TRAIN) == list(range(18))


def test_a_full_disk_ends_the_saving_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cleanups: list[object] = []
    monkeypatch.setattr("smdebug.core.hook.atexit.register", cleanups.append)
    monkeypatch.setattr("dogbreeds.monitoring.debugger.hook.atexit.unregister", cleanups.remove)

    def write_event(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("smdebug.core.tfevent.events_writer.EventsWriter.write_event", write_event)
    trainer = run(job(tmp_path, Callbacks([Debugger(tmp_path / "tensors", EVERY_STEP)])))
    assert len(trainer.history) == 3
    assert capsys.readouterr().err.count("warning: Debugger has failed and observes no more") == 1
    assert not any(module._forward_hooks for module in trainer.model.modules())
    # What smdebug has registered for the exit would wait there for a thread that is gone.
    assert not any("_cleanup" in str(cleanup) for cleanup in cleanups)


def test_a_wrong_configuration_is_named_and_training_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"CollectionConfigurations": [{"CollectionName": "mine"}]}
    trainer = run(job(tmp_path, Callbacks([Debugger(tmp_path / "tensors", wrong)])))
    assert len(trainer.history) == 3
    assert "Debugger has failed and observes no more: Collection mine" in capsys.readouterr().err


def test_the_loss_of_one_of_several_processes_is_the_mean_of_its_photos(tmp_path: Path) -> None:
    debugger = Debugger(tmp_path / "tensors", EVERY_STEP)
    trainer = job(tmp_path, debugger)
    trainer.state.world_size = 2
    debugger.on_train_begin(trainer.state)
    debugger.on_step_begin()
    logits, targets = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)
    loss = nn.functional.cross_entropy(logits, targets, reduction="sum") / 8  # a batch of 8
    debugger.on_loss(loss, logits, targets)
    debugger.on_gradients()
    debugger.on_step_end()
    debugger.close()
    assert values(trial_of(tmp_path / "tensors"), LOSS) == [pytest.approx(np.log(3))]


def test_old_generated_code_is_what_hinders_smdebug_and_is_got_round() -> None:
    """Should this fail, protobuf takes smdebug as it is, and the detour can go."""
    package = Path(importlib.util.find_spec("smdebug").origin).parent  # type: ignore
    versions = package / "core" / "tfevent" / "proto" / "versions_pb2.py"
    with pytest.raises(TypeError, match="Descriptors cannot be created directly"):
        exec(versions.read_text())  # as an import would


def test_photos_have_their_classes(tmp_path: Path) -> None:
    run(
        job(tmp_path, Debugger(tmp_path / "tensors", EVERY_STEP), epochs=1, train=store((9, 30, 1)))
    )
    assert values(trial_of(tmp_path / "tensors"), "class_counts")[0].tolist() == [9, 30, 1]
