"""Debugger: saves tensors of some steps in the format that SageMaker's and our own rules read.

smdebug's hook counts every forward pass as a step, even one of an evaluation or of a part of a
step, and runs in all of them. Here the training loop says what a step is: those that save nothing
cost nothing, gradients are final (averaged over processes, unscaled), and numbering resumes with
the checkpoint.

Names are smdebug's: ``ResNet_conv1.weight``, ``gradient/ResNet_conv1.weight``,
``CrossEntropyLoss_output_0`` (the loss; ``_input_0`` and ``_input_1`` are logits and targets),
``layer1.0.relu_output_0``, ``scalar/lr``. The collection ``dogbreeds`` adds:

- ``update_ratio/LAYER``: how much the step changed a weight, relative to the weight (L2 norms);
  without ``.weight``, by which smdebug would take it for a weight;
- ``relu_activity/LAYER_CALL``: share of each channel's values above 0: shape [C];
- ``class_counts``: photos of each class in the train split: shape [C].

A training step has mode TRAIN; an epoch's evaluation is one step of mode EVAL.
"""

import atexit
import functools
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dogbreeds.monitoring.debugger.smdebug_compat import Hook, ModeKeys
from dogbreeds.training.callbacks import Callback, TrainingState

LOSS = "CrossEntropyLoss_output_0"
COLLECTION = "dogbreeds"
_PATTERN = r"^(update_ratio|relu_activity)/|^class_counts$"
_OF_EARLIER_RUN = ("events", "index", "collections")
_MARKS = ("training_job_end.ts", "claim.smd")  # "finished", "another process writes here"


def default_configuration(total_steps: int) -> dict[str, Any]:
    """Return what is saved where the job has no Debugger configuration.

    Tensors are saved about ten times, so that rules can judge a short job too, and the loss about
    fifty times. Saving all tensors of a ResNet-18 takes a third of a step on a CPU.
    """
    weights, losses = min(500, max(1, total_steps // 10)), min(100, max(1, total_steps // 50))
    loss = {"CollectionName": "losses", "CollectionParameters": {"save_interval": str(losses)}}
    return {
        "HookParameters": {"save_interval": str(weights)},
        "CollectionConfigurations": [
            *({"CollectionName": name} for name in ("weights", "biases", "gradients")), loss,
        ],
    }  # fmt: skip


class _Hook(Hook):  # type: ignore[misc]
    """smdebug's hook, with steps that the training loop defines."""

    exported_collections: bool

    def has_default_configuration(self) -> bool:
        return False  # True would make smdebug log errors and then save nothing

    @staticmethod
    def _make_numpy_array(tensor_value: Any) -> Any:  # noqa: ANN401
        if isinstance(tensor_value, torch.Tensor):
            tensor_value = tensor_value.detach().cpu()
            if tensor_value.dtype == torch.bfloat16:  # numpy has no such type
                tensor_value = tensor_value.float()
        return Hook._make_numpy_array(tensor_value)

    def begin(self, mode: ModeKeys, mode_step: int, step: int) -> bool:
        """Start a step and return whether any of it is saved."""
        if not self.prepared_collections:
            self._prepare_collections()
        self.set_mode(mode)
        self.step = self.mode_steps[ModeKeys.GLOBAL] = step
        self.mode_steps[mode] = mode_step
        self.written_tensor_name_for_step.clear()
        if not self._get_collections_to_save_for_step() and mode == ModeKeys.TRAIN:
            return False
        self._initialize_writers()
        return True

    def save(self, name: str, tensor: torch.Tensor) -> None:
        """Save a tensor if one of the step's collections has it; in an evaluation, always."""
        self._save_for_tensor(name, tensor, check_before_write=self.mode == ModeKeys.TRAIN)

    def end(self) -> None:
        if not self.exported_collections:  # readers wait for this file first
            self.export_collections()
            self.exported_collections = True
        self._close_writers()


class Debugger(Callback):
    """Saves tensors of a job.

    Only rank 0 does: weights and gradients are the same in all processes, and smdebug's readers
    wait until as many processes have written a step as the trial names. The loss is then that of
    its own share of the photos.

    The trial replaces that of an earlier job in its folder. The configuration is as in
    ``debughookconfig.json``; None means `default_configuration`.
    """

    def __init__(self, folder: Path, configuration: dict[str, Any] | None) -> None:
        self._folder, self._configuration = folder, configuration
        self._started = self._saving = False
        self._error: Exception | None = None  # of a forward pass, which it must not fail
        self._hook: _Hook
        self._state: TrainingState
        self._losses: list[torch.Tensor] = []
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._weights: dict[str, torch.Tensor] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._relu_calls: Counter[str] = Counter()

    def on_train_begin(self, state: TrainingState) -> None:
        """Open the trial; a resumed job continues its own."""
        self._state = state
        for mark in _MARKS:
            (self._folder / mark).unlink(missing_ok=True)
        if state.step == 0:
            for name in _OF_EARLIER_RUN:
                shutil.rmtree(self._folder / name, ignore_errors=True)
        configuration = {
            **(self._configuration or default_configuration(state.total_steps)),
            "LocalPath": str(self._folder),
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(configuration, file)
            file.flush()
            self._hook = _Hook.create_from_json_file(file.name)
        # `close` closes its files; after a failure, closing them at exit may wait forever.
        atexit.unregister(self._hook._cleanup)
        self._hook.save_all_workers = False
        self._hook.include_collections.append(COLLECTION)
        self._hook.get_collection(COLLECTION).include(_PATTERN)
        self._class_counts = torch.bincount(state.targets).cpu()
        self._started = True

    def on_step_begin(self) -> None:
        """Decide whether the step is saved; if so, hook its first forward pass."""
        state = self._state
        step = state.step + len(state.history)  # evaluations count too
        self._saving = self._hook.begin(ModeKeys.TRAIN, state.step, step)
        # A compiled model keeps the hooks that it was compiled with.
        if self._saving and not state.compiled:
            self._relu_calls.clear()
            for name, module in state.model.named_modules():
                hook = functools.partial(self._after_forward, name or type(state.model).__name__)
                self._handles.append(module.register_forward_hook(hook))

    def _after_forward(self, name: str, module: nn.Module, inputs: object, output: object) -> None:
        try:
            self._save_call(name, module, inputs, output)
        except Exception as error:
            self._error = error
            self._unhook()

    def _save_call(self, name: str, module: nn.Module, inputs: object, output: object) -> None:
        self._hook._write_inputs(name, inputs)
        self._hook._write_outputs(name, output)
        if isinstance(module, nn.ReLU | nn.ReLU6) and isinstance(output, torch.Tensor):
            call = self._relu_calls[name]  # blocks of a ResNet call theirs twice
            self._relu_calls[name] += 1
            activity = (output.detach() > 0).float().transpose(0, 1).flatten(1).mean(1)
            self._hook.save(f"relu_activity/{name}_{call}", activity)

    def on_loss(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Keep the loss of a step that is saved."""
        if self._saving:
            self._unhook()
            if self._error:
                raise self._error
            self._losses.append(loss.detach())
            self._seen.append((logits.detach(), targets))

    def on_gradients(self) -> None:
        """Save loss, logits, targets, weights and gradients."""
        if not self._saving:
            return
        model, hook = self._state.model, self._hook
        hook.save(LOSS, torch.stack(self._losses).sum() * self._state.world_size)
        for position, tensors in enumerate(zip(*self._seen, strict=True)):
            hook.save(f"CrossEntropyLoss_input_{position}", torch.cat(tensors))
        hook.save("class_counts", self._class_counts)
        for name, parameter in model.named_parameters():
            full_name = f"{type(model).__name__}_{name}"
            hook.save(full_name, parameter)
            if parameter.grad is not None:
                hook.save(f"gradient/{full_name}", parameter.grad)
            if parameter.ndim > 1 and name.endswith(".weight"):
                self._weights[name] = parameter.detach().clone()
        self._losses.clear()
        self._seen.clear()

    def on_step_end(self) -> None:
        """Save by how much weights have changed, and write the step's files."""
        if not self._saving:
            return
        model, hook = self._state.model, self._hook
        for name, before in self._weights.items():
            change = torch.dist(model.get_parameter(name).detach(), before)
            layer = f"{type(model).__name__}_{name.removesuffix('.weight')}"
            hook.save(f"update_ratio/{layer}", change / before.norm())
        self._weights.clear()
        hook.save_scalar("lr", max(group["lr"] for group in self._state.optimizer.param_groups))
        hook.end()
        self._saving = False

    def on_epoch_end(self, epoch: int, values: dict[str, float]) -> None:
        """Save an epoch's metrics as a step of mode EVAL."""
        evaluations = len(self._state.history)
        self._hook.begin(ModeKeys.EVAL, evaluations - 1, self._state.step + evaluations - 1)
        self._hook.save(LOSS, torch.tensor(values["valid_loss"]))
        for name, value in values.items():
            self._hook.save_scalar(name, value)
        self._hook.end()

    def close(self) -> None:
        """Mark the trial as finished."""
        self._unhook()
        if self._started:
            self._hook.close()

    def _unhook(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
