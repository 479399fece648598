"""Training on the device gives what it gives on a CPU, with one process and with several."""

import copy
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from dogbreeds.model.torch_versions import disable_tf32
from dogbreeds.system.ports import free_port
from dogbreeds.training.augmentation import DRAWS, augment
from dogbreeds.training.device import Device
from dogbreeds.training.loop import Trainer
from dogbreeds.training.settings import Settings
from dogbreeds.training.stop import Stopped, StopRequest
from helpers import collectives_program, trainer_program
from helpers.gpu import CLASSES, LIMIT, Recorder, Scale, network, noise_store, toy

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(2 * LIMIT)]

# Largest relative error of ResNet-18's gradient. On a CPU, float16 was seen to differ from float32
# by 0.03 to 0.05 and bfloat16 by 0.09 to 0.16; TF32 has float16's mantissa.
PRECISIONS = {"float32": 1e-3, "tf32": 0.15, "float16": 0.15, "bfloat16": 0.5}
JOB = {"epochs": 2, "batch_size": 20, "lr": 0.05, "linear_probe_epochs": 0}


def gradient(model: nn.Module, images: torch.Tensor, device: Device) -> tuple[float, torch.Tensor]:
    """Return the loss of a step, and all gradients as one vector on the CPU.

    Batch norm uses its running statistics: those of a few random photos amplify any error.
    """
    model = copy.deepcopy(model).to(device.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    images = images.to(device.device).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(len(images), device=device.device) % CLASSES
    with device.autocast():
        logits = model(images)
    loss = F.cross_entropy(logits.float(), targets)
    scale = 1024.0 if device.half is torch.float16 else 1.0  # as the loss scaler does
    (loss * scale).backward()  # type: ignore[no-untyped-call]
    gradients = (parameter.grad for parameter in model.parameters())
    flat = [g.double().flatten().cpu() / scale for g in gradients if g is not None]
    return loss.item(), torch.cat(flat)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_gradient_of_a_step_is_that_of_a_cpu(
    precision: str, device: Device, scale: Scale, found: Recorder
) -> None:
    model = network()
    images = torch.randn(8, 3, scale.image_size, scale.image_size)
    loss, exact = gradient(model, images, Device(torch.device("cpu"), None))
    halves = {"float16": torch.float16, "bfloat16": torch.bfloat16}
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        disable_tf32()
        if precision == "tf32":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        there = Device(device.device, halves.get(precision))
        loss_there, computed = gradient(model, images, there)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    error = ((computed - exact).norm() / exact.norm()).item()
    bound = PRECISIONS[precision]
    found.within("relative error of the gradient", error, bound)
    found.within("relative error of the loss", abs(loss_there - loss) / loss, bound)


def test_augmentation_is_that_of_a_cpu(device: Device, scale: Scale, found: Recorder) -> None:
    side, count = scale.image_size, 16
    pixels = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8)
    draw = torch.rand(DRAWS, count)
    disable_tf32()
    for kind in ("light", "strong", "none"):
        here = augment(pixels, side, draw, kind)
        there = augment(pixels.to(device.device), side, draw, kind).cpu()
        # A pixel at the edge of an erased rectangle may be on its other side.
        found.within(f"{kind}: mean error of 0..255", (here - there).abs().mean().item(), 0.02)


def launch(count: int, program: ModuleType, *arguments: str, **environment: str) -> Any:
    """Run a program in so many processes, in torchrun's variables; return what the first prints."""
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
              "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port(29_500))}  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, str(program.__file__), *arguments],
            env={**os.environ, **environment, **shared, "RANK": str(i), "LOCAL_RANK": str(i)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for i in range(count)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=LIMIT) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), [error for _, error in outputs]
    return json.loads(outputs[0][0].splitlines()[-1])


def history(processes: int, checkpoints: Path, **environment: str) -> list[dict[str, float]]:
    """Train by the real loop, in so many processes."""
    found: list[dict[str, float]] = launch(
        processes, trainer_program, str(checkpoints), SM_HPS=json.dumps(JOB), **environment
    )
    return found


def test_one_and_several_devices_learn_what_a_cpu_does(tmp_path: Path, found: Recorder) -> None:
    cpu = history(1, tmp_path / "cpu", CUDA_VISIBLE_DEVICES="")
    devices = 2 if toy() else torch.cuda.device_count()
    counts = [devices] if toy() else [1] if devices == 1 else [1, devices]
    for count in counts:
        there = history(count, tmp_path / str(count))
        for name in ("train_loss", "test_loss"):
            error = abs(there[-1][name] / cpu[-1][name] - 1)
            found.within(f"{count} processes: relative error of {name}", error, 0.01)
    if devices == 1:
        pytest.skip("several devices: this machine has one GPU")


@pytest.mark.parametrize("several", [False, True])
def test_processes_reach_each_other(several: bool, found: Recorder) -> None:
    """By NCCL on GPUs, where two processes cannot share one, and by gloo on CPUs."""
    count = (2 if toy() else torch.cuda.device_count()) if several else 1
    if several and count == 1:
        pytest.skip("NCCL with several processes: this machine has one GPU")
    answer = launch(count, collectives_program)
    assert answer["sum"] == count * (count + 1) / 2
    found.speed(f"{answer['backend']}, {count} processes: all-reduce of 64 MB",
                answer["gigabytes_per_second"], "GB/s")  # fmt: skip


def job(folder: Path, device: Device, photos: int = 32, side: int = 64, **settings: Any) -> Trainer:
    """Return a job on noise, not started."""
    model = network().to(device.device)
    values = {
        "epochs": 2, "batch_size": 8, "lr": 0.001, "image_size": side, "weights": "none",
        **settings,
    }  # fmt: skip
    splits = {name: noise_store(device, count, side, seed)
              for name, count, seed in (("train", photos, 0), ("valid", 16, 1))}  # fmt: skip
    return Trainer(
        model.to(memory_format=torch.channels_last), Settings.from_mapping(values), splits, device,
        folder, StopRequest(),
    )  # fmt: skip


def weights(trainer: Trainer) -> torch.Tensor:
    """Return all weights as one vector."""
    return torch.cat([t.double().flatten().cpu() for t in trainer.model.state_dict().values()])


def trained(trainer: Trainer) -> torch.Tensor:
    """Train to the end and return the weights."""
    trainer.run(lambda: None)
    return weights(trainer)


def test_a_resumed_job_ends_as_one_that_was_never_stopped(
    tmp_path: Path, device: Device, found: Recorder
) -> None:
    """Bit for bit, as far as the device repeats itself: some of cuDNN's kernels do not."""
    whole = trained(job(tmp_path / "whole", device))
    again = trained(job(tmp_path / "again", device))
    stopped = job(tmp_path / "stopped", device)
    step = stopped._train_step

    def stop_at_third(*arguments: Any) -> None:
        step(*arguments)
        stopped.stop.received = stopped.state.step == 3

    stopped._train_step = stop_at_third  # type: ignore[method-assign, assignment]
    with pytest.raises(Stopped):
        stopped.run(lambda: None)
    resumed = job(tmp_path / "stopped", device)
    assert resumed.resume({}) and resumed.state.step == 3
    difference = ((trained(resumed) - whole).norm() / whole.norm()).item()
    repeated = ((again - whole).norm() / whole.norm()).item()
    found.speed("relative difference of two equal jobs", repeated, "")
    # 10: two draws of the same noise differ by some factor.
    found.within("relative difference of a resumed job", difference, 10 * repeated)


@pytest.mark.parametrize("compiled", [False, True])
def test_compiled_and_eager_steps(
    compiled: bool, tmp_path: Path, device: Device, scale: Scale, found: Recorder
) -> None:
    """Whether torch.compile pays off, its start included."""
    if compiled and toy():  # its C++ takes half a minute on a CPU
        pytest.skip("torch.compile: only on a GPU")
    trainer = job(
        tmp_path, device, scale.photos, scale.image_size, epochs=3,
        batch_size=scale.batch_size, compile=compiled,
    )  # fmt: skip
    started = time.perf_counter()
    trainer.run(lambda: None)
    name = "torch.compile" if compiled else "eager"
    found.speed(f"{name}: last epoch", trainer.history[-1]["photos_per_second"], "photos/s")
    found.speed(f"{name}: three epochs", time.perf_counter() - started, "s")
    assert math.isfinite(trainer.history[-1]["train_loss"])
