import copy
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dogbreeds.data.pixels import DecodedSplit, SharedArray
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.training.callbacks import Callback
from dogbreeds.training.device import Batch, Device, PixelStore
from dogbreeds.training.distributed import Cluster, Vote, VoteCount, join_cluster
from dogbreeds.training.loop import Trainer
from dogbreeds.training.settings import Settings, SettingsError
from dogbreeds.training.stop import Stopped, StopRequest
from dogbreeds.training.weight_average import weight_average
from helpers.small_jobs import job, run

PREPROCESSING = Preprocessing(64, 64)
CPU = Device(torch.device("cpu"), None)


class Sizes(nn.Module):
    """A small classifier that notes the size of each training batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 4, 4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 3),
        )
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(tuple(images.shape))
        logits: torch.Tensor = self.layers(images)
        return logits


def stores(device: Device = CPU) -> dict[str, PixelStore]:
    """Photos whose brightness tells the class."""
    targets = torch.arange(24) % 3
    noise = torch.randint(0, 40, (24, 64, 64, 3), generator=torch.Generator().manual_seed(0))
    pixels = (noise + targets.view(-1, 1, 1, 1) * 90).to(torch.uint8)
    paths = tuple(Path(f"{number}.jpg") for number in range(24))
    split = DecodedSplit("", SharedArray(pixels.numpy(), ""), targets.numpy(), paths, (), ())
    store = PixelStore(split, PREPROCESSING, device)
    return {"train": store, "valid": store, "test": store}


def trainer(
    folder: Path, model: nn.Module | None = None, device: Device = CPU, **settings: Any
) -> Trainer:
    values: dict[str, object] = {
        "epochs": 3, "batch_size": 8, "lr": 0.02, "layer_decay": 1, "image_size": 64,
        "min_steps_per_epoch": 1, **settings,
    }  # fmt: skip
    return Trainer(
        model or Sizes(),
        Settings.from_mapping(values),
        stores(device),
        device,
        folder,
        StopRequest(),
    )


def train(job: Trainer) -> list[float]:
    job.run(lambda: None)
    return [epoch["train_loss"] for epoch in job.history]


def test_a_small_sets_photos_are_repeated_equally_until_an_epoch_has_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = trainer(tmp_path, epochs=1, min_steps_per_epoch=7)
    assert (job.steps_per_epoch, job.state.total_steps) == (7, 7)  # of 8 of its 24 photos
    used: list[int] = []
    read = job.splits["train"].batches

    def batches(indexes: Iterable[torch.Tensor]) -> Iterator[Batch]:
        chosen = list(indexes)
        used.extend(torch.cat(chosen).tolist())
        return read(chosen)

    monkeypatch.setattr(job.splits["train"], "batches", batches)
    job._train_epoch(1)
    assert len(used) == 7 * 8
    assert sorted(used[:24]) == sorted(used[24:48]) == list(range(24))


def test_a_set_with_enough_photos_is_passed_over_once(tmp_path: Path) -> None:
    assert trainer(tmp_path, min_steps_per_epoch=3).steps_per_epoch == 3


def test_accumulation_learns_the_same_from_smaller_passes(tmp_path: Path) -> None:
    whole, parts = Sizes(), Sizes()
    losses = train(trainer(tmp_path / "whole", whole))
    assert train(
        trainer(tmp_path / "parts", parts, gradient_accumulation_steps=4)
    ) == pytest.approx(losses)
    assert {shape[0] for shape in whole.seen} == {8}
    assert {shape[0] for shape in parts.seen} == {2}


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="batch_size: expected at least 9 photos per step"):
        trainer(tmp_path, gradient_accumulation_steps=9)


def test_half_precision_with_a_loss_scaler_learns_what_full_precision_learns(
    tmp_path: Path,
) -> None:
    half = Device(torch.device("cpu"), torch.float16)
    job = trainer(tmp_path / "half", device=half)
    assert train(job) == pytest.approx(train(trainer(tmp_path / "full")), rel=0.02)
    state = torch.load(next((tmp_path / "half").glob("*.pt")), weights_only=True)
    assert state["scaler"]["scale"] > 1


def test_the_average_follows_the_weights_and_is_what_counts(tmp_path: Path) -> None:
    job = trainer(tmp_path, ema_decay=0.9)
    train(job)
    assert job.result.model is not job.model
    last, mean = (m.state_dict()["layers.4.weight"] for m in (job.model, job.result.model))
    assert not torch.equal(last, mean)
    assert torch.dist(last, mean) < torch.dist(last, torch.zeros_like(last))
    assert job.selection.predictions["test"].loss == pytest.approx(job.history[-1]["test_loss"])
    plain = trainer(tmp_path / "plain")
    train(plain)
    assert plain.result.model is plain.model
    assert torch.equal(plain.model.state_dict()["layers.4.weight"], last)
    assert plain.history[-1]["test_loss"] != job.history[-1]["test_loss"]


def test_a_given_share_lies_between_the_probe_and_the_fine_tuned_weights(tmp_path: Path) -> None:
    job = trainer(tmp_path, wise_ft=0.25)
    job.selection.keep_probe(job.model)
    probe = {name: tensor.clone() for name, tensor in job.model.state_dict().items()}
    train(job)
    for name, tensor in job.result.model.state_dict().items():
        fine_tuned = job.model.state_dict()[name]
        assert not torch.equal(fine_tuned, probe[name])
        torch.testing.assert_close(tensor, 0.75 * probe[name] + 0.25 * fine_tuned)
    assert job.history[-1]["wise_ft"] == 0.25
    assert job.selection.predictions["test"].loss == pytest.approx(job.history[-1]["test_loss"])
    resumed = trainer(tmp_path, wise_ft=0.25)
    assert resumed.resume({})
    resumed.evaluate()
    for name, tensor in resumed.result.model.state_dict().items():
        assert torch.equal(tensor, job.result.model.state_dict()[name])


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (1, 0.0)])
def test_the_share_with_the_lowest_validation_loss_is_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shift: int, expected: float
) -> None:
    probe = trainer(tmp_path / "probe")
    train(probe)
    job = trainer(tmp_path / "job", probe.model)
    store = job.splits["train"] = copy.copy(job.splits["train"])
    store.targets = (store.targets + shift) % 3  # learns the same, or all wrong
    job.selection.keep_probe(job.model)
    train(job)
    last = job.history[-1]
    assert last["wise_ft"] == expected
    assert last["valid_loss"] <= last["probe_valid_loss"]
    assert (job.result.model is job.model) == (expected == 1)
    assert job.result.metrics["temperature"] == job.selection.predictions["valid"].temperature
    words = {1.0: "fine-tuned fully (share 1)", 0.0: "linear probe (share 0)"}[expected]
    assert f"Chosen: {words}, valid loss {last['valid_loss']:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize(("shift", "better"), [(0, "fine-tuned"), (1, "probe")])
def test_a_job_stopped_before_its_last_step_saves_the_better_end(
    tmp_path: Path, shift: int, better: str
) -> None:
    job = trainer(tmp_path)
    store = job.splits["train"] = copy.copy(job.splits["train"])
    store.targets = (store.targets + shift) % 3  # learns what is right, or all wrong
    job.selection.keep_probe(job.model)
    assert set(job.result.metrics) == {
        "valid_loss", "valid_accuracy", "valid_top5", "valid_ece", "temperature",
    }  # fmt: skip
    probe = {name: tensor.clone() for name, tensor in job.model.state_dict().items()}

    def stop_after_an_epoch() -> None:
        job.stop.received = True

    with pytest.raises(Stopped):
        job.run(stop_after_an_epoch)
    expected = {"fine-tuned": job.model.state_dict(), "probe": probe}[better]
    for name, tensor in job.result.model.state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_without_a_trained_head_or_with_wise_ft_1_the_result_is_the_fine_tuned_model(
    tmp_path: Path,
) -> None:
    untrained, alone = trainer(tmp_path / "1"), trainer(tmp_path / "2", wise_ft=1)
    alone.selection.keep_probe(alone.model)
    for one in (untrained, alone):
        train(one)
        assert one.result.model is one.model
        assert "wise_ft" not in one.history[-1]


def test_an_average_is_the_weighted_mean_of_what_it_saw() -> None:
    model = nn.BatchNorm1d(1)
    average = weight_average(model, 0.75)
    average.update_parameters(model)
    state = average.module.state_dict()
    assert state["weight"].item() == 1  # the first step starts it
    nn.init.constant_(model.weight, 3.0)
    model.num_batches_tracked += 5  # type: ignore[operator, assignment]
    average.update_parameters(model)  # early averages follow faster: 2 / 11 are kept
    early = 2 / 11 * 1 + 9 / 11 * 3
    assert state["weight"].item() == pytest.approx(early)
    assert state["num_batches_tracked"].item() == 5
    average.n_averaged.fill_(100)
    average.update_parameters(model)
    assert state["weight"].item() == pytest.approx(0.75 * early + 0.25 * 3)


@pytest.mark.parametrize(
    "settings", [{"ema_decay": 0.9}, {"gradient_accumulation_steps": 2, "augmentation": "strong"}]
)
def test_a_stopped_job_resumes_to_the_same_bits(tmp_path: Path, settings: dict[str, Any]) -> None:
    whole = trainer(tmp_path / "whole", **settings)
    train(whole)
    stopped = trainer(tmp_path / "stopped", **settings)
    while_training = stopped._train_step

    def stop_at_fifth(*arguments: Any) -> None:
        while_training(*arguments)
        stopped.stop.received = stopped.state.step == 5

    stopped._train_step = stop_at_fifth  # type: ignore[method-assign, assignment]
    stopped.resume({})
    with pytest.raises(Stopped):
        stopped.run(lambda: None)
    resumed = trainer(tmp_path / "stopped", **settings)
    assert resumed.resume({})
    assert resumed.state.step == 5
    assert train(resumed) == [epoch["train_loss"] for epoch in whole.history]
    for one, other in ((whole.model, resumed.model), (whole.result.model, resumed.result.model)):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_job_stopped_while_it_evaluates_resumes_there(tmp_path: Path) -> None:
    stopped = trainer(tmp_path)
    stopped.resume({})
    check = stopped.stop.check

    def stop_at_first() -> None:
        stopped.stop.received = True
        check()

    stopped.stop.check = stop_at_first  # type: ignore[method-assign, assignment]
    with pytest.raises(Stopped):
        stopped.run(lambda: None)
    assert (stopped.state.step, stopped.history) == (3, [])
    resumed = trainer(tmp_path)
    assert resumed.resume({})
    assert train(resumed) == train(trainer(tmp_path / "whole"))


def test_compiling_changes_nothing_that_is_learned_or_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, compiled = Sizes(), Sizes()
    losses = train(trainer(tmp_path / "plain", plain, epochs=1))
    # Without the half minute that generating and compiling C++ takes.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    frames = torch._dynamo.utils.counters["frames"]
    frames.clear()
    assert train(trainer(tmp_path / "fast", compiled, epochs=1, compile=True)) == losses
    assert frames["ok"] > 0
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_one_process_is_a_cluster_of_its_own() -> None:
    with join_cluster({}) as cluster:
        assert cluster == Cluster()
        photos = torch.arange(5)
        assert torch.equal(cluster.all_gather(cluster.part(photos)), photos)
        assert cluster.broadcast("word") == "word"
        assert VoteCount(cluster).cast(Vote.STOP) is Vote.STOP


def test_shares_cover_every_photo_once() -> None:
    photos = torch.arange(10)
    shares = [Cluster(rank, 3).part(photos) for rank in range(3)]
    assert torch.equal(torch.cat(shares), photos)
    assert [len(share) for share in shares] == [4, 3, 3]


@pytest.mark.parametrize("weights", ["imagenet", "none"])
def test_fine_tuning_keeps_the_statistics_of_batch_norm(tmp_path: Path, weights: str) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    norm: Any = model[1]
    before = norm.running_mean.clone(), norm.running_var.clone(), norm.weight.detach().clone()
    run(job(tmp_path, Callback(), model, weights=weights))
    kept = torch.equal(norm.running_mean, before[0]) and torch.equal(norm.running_var, before[1])
    assert kept is (weights == "imagenet")
    assert not torch.equal(norm.weight, before[2])  # it is trained in any case
