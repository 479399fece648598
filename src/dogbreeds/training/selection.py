"""The model that a job saves: its evaluation, its temperature and its place on WiSE-FT's line."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from dogbreeds.system.terminal import progress_bar
from dogbreeds.training.calibration import fit_temperature
from dogbreeds.training.device import Device, PixelStore
from dogbreeds.training.distributed import Cluster
from dogbreeds.training.evaluation import Predictions, evaluate
from dogbreeds.training.settings import Settings
from dogbreeds.training.stop import StopRequest
from dogbreeds.training.wise_ft import SHARES, choose, describe, interpolate


class Result(NamedTuple):
    """A model on the device, with the metrics and ``temperature`` of its evaluation, if any."""

    model: nn.Module
    metrics: dict[str, float]


class Selection:
    """Evaluates a job's models on ``valid`` and ``test``, and selects the one to save.

    Attributes:
        predictions: From the last evaluation, by split name.
    """

    def __init__(
        self, settings: Settings, splits: Mapping[str, PixelStore], device: Device,
        cluster: Cluster, stop: StopRequest, batch_size: int,
    ) -> None:  # fmt: skip
        """Start without a probe; an evaluation has twice `batch_size` photos per forward pass."""
        self._settings, self._splits, self._device = settings, splits, device
        self._cluster, self._stop = cluster, stop
        self._batch_size = 2 * batch_size  # without gradients twice as many photos fit
        self.predictions: dict[str, Predictions] = {}
        self._probe: dict[str, torch.Tensor] = {}  # the weights from before fine-tuning
        self._probe_metrics: dict[str, float] = {}
        self._selected: Result | None = None

    def keep_probe(self, model: nn.Module) -> None:
        """Keep the weights of a model with a trained head as one end of WiSE-FT's line."""
        if self._settings.wise_ft == "1" or not self._settings.epochs:
            return
        found = self._predict("valid", model)
        self._probe_metrics = {**found.metrics("valid"), "temperature": found.temperature}
        self._probe = {name: t.detach().clone() for name, t in model.state_dict().items()}
        self._print(f"Linear probe: {found}")

    def result(self, model: nn.Module, history: list[dict[str, float]]) -> Result:
        """Return what to save: the selected model, or so far the better end of WiSE-FT's line.

        `model` is the fine-tuned one, `history` has the metrics of its epochs.
        """
        if self._selected:
            return self._selected
        last = history[-1] if history else {}
        if self._probe and not last.get("valid_loss", math.inf) < self._probe_metrics["valid_loss"]:
            return Result(interpolate(self._probe, model, 0), self._probe_metrics)
        return Result(model, last)

    def evaluate(self, model: nn.Module, *, last: bool) -> dict[str, float]:
        """Return the metrics of each split but ``train``, by name, at the best temperature.

        After the `last` step this selects the model to save and returns its metrics. In a job of
        one process a requested stop raises `Stopped`; several processes finish first.
        """
        self._cluster.broadcast_weights(model)
        values: dict[str, float] = {}
        if self._probe and last:
            model, values = self._select(model)
        else:
            self.predictions["valid"] = self._predict("valid", model)
        temperature = self.predictions["valid"].temperature
        if "test" in self._splits:
            self.predictions["test"] = self._predict("test", model, temperature)
        for name, found in self.predictions.items():
            values |= found.metrics(name)
        values["temperature"] = temperature
        if last:
            self._selected = Result(model, values)
            errors = ", ".join(
                f"{name} {found.uncalibrated.ece:.3f} -> {found.ece:.3f}"
                for name, found in self.predictions.items()
            )
            self._print(f"Temperature {temperature:.3f}: calibration error {errors}")
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return the probe for a checkpoint."""
        return {"probe": self._probe, "probe_metrics": self._probe_metrics}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from what `state_dict` returned."""
        self._probe = {name: t.to(self._device.device) for name, t in state["probe"].items()}
        self._probe_metrics = state["probe_metrics"]

    def _select(self, model: nn.Module) -> tuple[nn.Module, dict[str, float]]:
        """Choose WiSE-FT's share by the validation losses, and log them."""
        wise_ft = self._settings.wise_ft
        shares = SHARES if wise_ft == "auto" else (float(wise_ft),)
        found = {s: self._predict("valid", interpolate(self._probe, model, s)) for s in shares}
        best = shares[0]
        if len(shares) > 1:  # all processes use rank 0's choice, whatever rounding does in them
            losses = {share: found[share].losses for share in shares}
            best = self._cluster.broadcast(choose(losses))
        self.predictions["valid"] = found[best]
        loss, accuracy = (self._probe_metrics[f"valid_{name}"] for name in ("loss", "accuracy"))
        lines = [f"  {describe(share)}: {found[share]}" for share in found]
        self._print("\n".join(["WiSE-FT on the validation photos:", *lines]))
        lowest = min(found, key=lambda share: found[share].loss)
        unsure = "" if lowest == best else f"; the gain of share {lowest:g} is less sure"
        self._print(f"Chosen: {describe(best)}, {found[best]}; linear probe: valid loss"
                    f" {loss:.4f}, valid accuracy {accuracy:.2%}{unsure}")  # fmt: skip
        return interpolate(self._probe, model, best), {
            "wise_ft": best, "probe_valid_loss": loss, "probe_valid_accuracy": accuracy,
        }  # fmt: skip

    def _predict(
        self, name: str, model: nn.Module, temperature: float | None = None
    ) -> Predictions:
        """Evaluate a model on a split; temperature None: the best one for these photos."""
        cluster, photos = self._cluster, self._splits[name]
        share = len(cluster.part(torch.arange(len(photos))))
        with progress_bar(f"Evaluate {name}", share, shown=cluster.is_main) as bar:

            def on_progress(done: int) -> None:
                bar.update(done)
                if cluster.size == 1:
                    self._stop.check()

            found = evaluate(model, photos, self._device, max(1, self._batch_size // cluster.size),
                             cluster=cluster, on_progress=on_progress)  # fmt: skip
        if temperature is None:
            temperature = cluster.broadcast(fit_temperature(found.logits, found.targets))
        return dataclasses.replace(found, temperature=temperature)

    def _print(self, text: str) -> None:
        if self._cluster.is_main:
            print(text, flush=True)
