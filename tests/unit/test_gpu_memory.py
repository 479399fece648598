"""What is kept in a GPU's memory, and what a job says where a step does not fit into it."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dogbreeds.training.callbacks import Callback
from dogbreeds.training.memory import fits_on_gpu, passes_that_fit, runs_out
from dogbreeds.training.settings import SettingsError
from helpers.small_jobs import job, network


class Limited(nn.Module):
    """A network on a device with room for so many photos of a pass."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.layers, self.room = network(), room

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        logits: torch.Tensor = self.layers(images)
        return logits


@pytest.mark.parametrize(
    ("size", "free", "fits"),
    [
        (6_680 * 3 * 224**2, 14 * 2**30, True),  # 1 GB of the dogs beside a T4's 15
        (100_000 * 3 * 224**2, 14 * 2**30, False),
        (5 * 2**30, 15 * 2**30, False),  # exactly a third
        (5 * 2**30 - 1, 15 * 2**30, True),
    ],
)
def test_pixels_take_less_than_a_third_of_the_free_memory(size: int, free: int, fits: bool) -> None:
    assert fits_on_gpu(size, free) is fits


@pytest.mark.parametrize(
    ("room", "photos", "passes", "fitting"),
    [(8, 32, 1, 4), (9, 32, 1, 4), (8, 32, 2, 4), (1, 7, 1, 7), (0, 8, 1, 0), (3, 10, 3, 6)],
)
def test_passes_double_until_they_fit(room: int, photos: int, passes: int, fitting: int) -> None:
    def run(count: int) -> None:
        if count > room:
            raise torch.OutOfMemoryError

    assert passes_that_fit(run, photos, passes) == fitting


def test_what_a_failed_call_held_is_free_again() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def run() -> None:
        activations = torch.zeros(8)
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError

    assert runs_out(run)
    assert held[0]() is None


def test_other_errors_are_no_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="CUDA error"):
        runs_out(lambda: (_ for _ in ()).throw(RuntimeError("CUDA error: invalid argument")))
    assert not runs_out(lambda: None)


@pytest.mark.parametrize(
    ("room", "settings", "advice"),
    [
        (3, {}, "8 photos in 1 passes: use gradient_accumulation_steps=4 or a smaller batch_size"),
        (3, {"gradient_accumulation_steps": 2}, "in 2 passes: use gradient_accumulation_steps=4"),
        (0, {}, "choose a smaller model or image_size"),
    ],
)
def test_a_step_that_does_not_fit_ends_the_job_with_what_fits(
    tmp_path: Path, room: int, settings: dict[str, Any], advice: str
) -> None:
    trainer = job(tmp_path, Callback(), Limited(room), **settings)
    with pytest.raises(SettingsError, match=advice):
        trainer.run(lambda: None)


def test_a_job_runs_with_the_advised_setting(tmp_path: Path) -> None:
    trainer = job(tmp_path, Callback(), Limited(3), gradient_accumulation_steps=4, epochs=1)
    trainer.run(lambda: None)
    assert trainer.state.step == trainer.state.total_steps
