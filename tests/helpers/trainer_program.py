"""A job of the real Trainer on invented photos; run alone or by torchrun. Prints its history.

SM_HPS={...} python trainer_program.py CHECKPOINTS
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn

from dogbreeds.data.pixels import DecodedSplit, SharedArray
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.model.torch_versions import disable_tf32
from dogbreeds.system.processes import die_with_parent
from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.distributed import Cluster, join_cluster
from dogbreeds.training.linear_probe import train_linear_probe
from dogbreeds.training.loop import Trainer
from dogbreeds.training.settings import Settings
from dogbreeds.training.stop import StopRequest

PREPROCESSING = Preprocessing(32, 32)


def invented(name: str, photos: int, seed: int) -> DecodedSplit:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 4, (photos,), generator=generator)
    pixels = torch.randint(0, 64, (photos, 32, 32, 3), generator=generator)
    pixels = (pixels + targets.view(-1, 1, 1, 1) * 48).to(torch.uint8)
    files = tuple(Path(f"{name}{number}") for number in range(photos))
    return DecodedSplit(name, SharedArray(pixels.numpy(), ""), targets.numpy(), files, (), ())


def network() -> nn.Module:
    """As torchvision's: no bias before batch norm, which would learn from rounding errors only."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 4, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip


def main(cluster: Cluster) -> None:
    settings = Settings.from_environment()
    device = Device.best(cluster.local_rank, "float32")
    disable_tf32()  # a GPU shall learn what a CPU does
    stores = {
        name: PixelStore(invented(name, photos, seed), PREPROCESSING, device)
        for name, photos, seed in (("train", 103, 1), ("valid", 29, 3), ("test", 31, 2))
    }
    model = network().to(device.device)
    if settings.linear_probe_epochs:
        train_linear_probe(
            model, stores["train"], device, epochs=settings.linear_probe_epochs, batch_size=8,
            label_smoothing=0.1, seed=0, cluster=cluster,
        )  # fmt: skip
    trainer = Trainer(model, settings, stores, device, Path(sys.argv[1]), StopRequest(), cluster)
    if not trainer.resume({}) and settings.linear_probe_epochs:
        trainer.selection.keep_probe(trainer.model)
    trainer.run(lambda: None)
    if cluster.is_main:
        names = ("train_loss", "test_loss", "test_accuracy", "test_top5", "temperature", "wise_ft")
        told = [{name: epoch.get(name, 1) for name in names} for epoch in trainer.history]
        print(json.dumps(told))


if __name__ == "__main__":
    die_with_parent()  # torchrun, which a test that takes too long kills
    torch.set_num_threads(1)
    with join_cluster() as joined:
        main(joined)
