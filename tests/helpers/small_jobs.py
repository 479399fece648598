"""Training jobs of a second, in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dogbreeds.data.pixels import DecodedSplit, SharedArray
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.training.callbacks import Callback
from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.loop import Trainer
from dogbreeds.training.settings import Settings
from dogbreeds.training.stop import StopRequest

CPU = Device(torch.device("cpu"), None)


def network() -> nn.Sequential:
    """A healthy classifier of three classes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), nn.GroupNorm(2, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip


def store(
    counts: Sequence[int] = (16, 16, 16), seed: int = 0, tell: int = 90, noise: int = 40
) -> PixelStore:
    """Noise of 32 x 32 pixels.

    Args:
        counts: Photos of each class.
        seed: Of the noise.
        tell: How much brighter each class is than the one before.
        noise: Its range.
    """
    targets = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, noise, (len(targets), 32, 32, 3), generator=generator)
    pixels = (pixels + targets.view(-1, 1, 1, 1) * tell).to(torch.uint8)
    photos = tuple(Path(f"{number}.jpg") for number in range(len(targets)))
    split = DecodedSplit("", SharedArray(pixels.numpy(), ""), targets.numpy(), photos, (), ())
    return PixelStore(split, Preprocessing(32, 32), CPU)


def job(
    folder: Path,
    callback: Callback,
    model: nn.Module | None = None,
    *,
    train: PixelStore | None = None,
    test: PixelStore | None = None,
    device: Device = CPU,
    **settings: Any,
) -> Trainer:
    """Make a job of 3 epochs of 6 steps."""
    values: dict[str, object] = {
        "epochs": 3, "batch_size": 8, "lr": 0.01, "layer_decay": 1, "image_size": 32,
        "augmentation": "none", "min_steps_per_epoch": 1, **settings,
    }  # fmt: skip
    splits = {"train": train or store(), "valid": store(seed=2), "test": test or store(seed=1)}
    return Trainer(
        model or network(),
        Settings.from_mapping(values),
        splits,
        device,
        folder / "checkpoints",
        StopRequest(),
        callback=callback,
    )


def run(trainer: Trainer, *, resume: bool = False) -> Trainer:
    """Train to the end, and tell the callback so."""
    assert trainer.resume({}) is resume
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more only wait for each other over so little
    try:
        trainer.run(lambda: None)
    finally:
        torch.set_num_threads(threads)
        trainer.callback.close()
    return trainer
