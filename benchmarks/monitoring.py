"""What watching a job costs: Debugger beside no Debugger, and the sampler's share of a core.

    .venv/bin/python benchmarks/monitoring.py [--model resnet18] [--image-size 224] [--rounds 5]

Steps with and without Debugger alternate in one process, on invented photos, so that both meet the
same machine. A step that saves is measured apart; its cost is then spread over the interval that a
job of ``--steps`` steps gets without a configuration of its own.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch

from dogbreeds.data.pixels import DecodedSplit, SharedArray
from dogbreeds.model import networks
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.monitoring.debugger.hook import Debugger, default_configuration
from dogbreeds.monitoring.system_metrics import sampling
from dogbreeds.system.resources import keep_freed_memory
from dogbreeds.training.callbacks import Callback, TrainingState
from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.loop import Trainer
from dogbreeds.training.settings import Settings
from dogbreeds.training.stop import StopRequest

_CLASSES = 133


class Stopwatch(Callback):
    """Times steps; Debugger looks on in every second one."""

    def __init__(self, debugger: Debugger) -> None:
        self._debugger = debugger
        self._watching = Callback()
        self.seconds: dict[str, list[float]] = {"without": [], "saving": [], "not saving": []}

    def on_train_begin(self, state: TrainingState) -> None:
        """Open Debugger's trial."""
        self._state = state
        self._debugger.on_train_begin(state)

    def on_step_begin(self) -> None:
        """Start the clock, and choose who looks on."""
        kind = ("saving", "without", "not saving", "without")[self._state.step % 4]
        self._kind = kind
        self._watching = Callback() if kind == "without" else self._debugger
        self.on_loss = self._watching.on_loss  # type: ignore[method-assign]
        self.on_gradients = self._watching.on_gradients  # type: ignore[method-assign]
        self._started = time.perf_counter()
        self._watching.on_step_begin()

    def on_step_end(self) -> None:
        """Stop the clock."""
        self._watching.on_step_end()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[self._kind].append(time.perf_counter() - self._started)


def invented(photos: int, size: int, device: Device) -> PixelStore:
    """Return noise as photos."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (photos, size, size, 3), generator=generator).to(torch.uint8)
    targets = torch.arange(photos) % _CLASSES
    files = tuple(Path(f"{number}.jpg") for number in range(photos))
    split = DecodedSplit("", SharedArray(pixels.numpy(), ""), targets.numpy(), files, (), ())
    return PixelStore(split, Preprocessing(size, size), device)


def measure_debugger(options: argparse.Namespace) -> None:
    """Print what Debugger adds to a step."""
    device = Device.best()
    model = networks.create_model(options.model, _CLASSES).to(device.device)
    model = model.to(memory_format=torch.channels_last)
    configuration = default_configuration(options.steps)
    interval = int(configuration["HookParameters"]["save_interval"])
    configuration["HookParameters"]["save_interval"] = "4"  # every other step that it sees
    losses = configuration["CollectionConfigurations"].pop()
    with tempfile.TemporaryDirectory(prefix="dogbreeds-benchmark-") as name:
        watch = Stopwatch(Debugger(Path(name, "tensors"), configuration))
        batch = options.batch_size
        store = invented(4 * batch * options.rounds, options.image_size, device)
        settings = Settings(
            model=options.model, weights="none", epochs=1, batch_size=batch,
            image_size=options.image_size, checkpoint_seconds=86400,
        )  # fmt: skip
        splits = {"train": store, "test": invented(1, options.image_size, device)}
        trainer = Trainer(
            model, settings, splits, device, Path(name), StopRequest(), callback=watch
        )
        trainer.run(lambda: None)
        watch._debugger.close()
    # The first round warms up.
    medians = {kind: statistics.median(s[1:]) for kind, s in watch.seconds.items()}
    plain = medians["without"]
    loss_interval = int(losses["CollectionParameters"]["save_interval"])
    cost = (medians["saving"] - plain) / interval + (medians["not saving"] - plain)
    print(f"{options.model}, {batch} photos of {options.image_size} px, {device.device}:")
    for kind, seconds in medians.items():
        print(f"  step {kind:<10} {1000 * seconds:9.1f} ms")
    print(
        f"  every {interval} steps (loss: every {loss_interval}) that is"
        f" {100 * cost / plain:.2f} % of step time"
    )


def measure_sampler(seconds: float) -> None:
    """Print the processor time that the sampler takes."""
    with tempfile.TemporaryDirectory(prefix="dogbreeds-benchmark-") as name:
        with sampling(Path(name), "algo-1"):
            [sampler] = psutil.Process().children()
            time.sleep(2)  # Python and its packages are loaded
            before = sampler.cpu_times()
            time.sleep(seconds)
            after = sampler.cpu_times()
        used = after.user + after.system - before.user - before.system
        size = sum(file.stat().st_size for file in Path(name).rglob("*.json"))
    print(
        f"sampler: {100 * used / seconds:.2f} % of one of {psutil.cpu_count()} cores,"
        f" {size / (seconds + 2) * 3.6e-3:.1f} MB an hour"
    )


def main() -> int:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5, help="of four steps each")
    parser.add_argument("--steps", type=int, default=1040, help="of the job (default: 5 epochs)")
    parser.add_argument("--seconds", type=float, default=30, help="to watch the sampler for")
    options = parser.parse_args()
    keep_freed_memory()
    measure_sampler(options.seconds)
    measure_debugger(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
