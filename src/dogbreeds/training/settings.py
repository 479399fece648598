"""The hyperparameters of a training job.

`train` checks them before it starts anything heavy, so this does not import torch.
"""

import dataclasses
import difflib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dogbreeds.model.architectures import (
    ARCHITECTURES,
    FIXED_IMAGE_SIZE,
    check_architecture,
    find_imagenet_weights,
)
from dogbreeds.system.errors import DogbreedsError

_ALIASES = {"learning_rate": "lr"}
_MANY_EPOCHS = 10


class SettingsError(DogbreedsError, ValueError):
    """A hyperparameter is unknown or invalid; the message says what was expected."""


def _setting(
    default: object, text: str, *,
    low: float | None = None, high: float | None = None, choices: Sequence[str] = (),
) -> Any:  # fmt: skip  # noqa: ANN401  (as dataclasses.field)
    metadata = {"help": text, "low": low, "high": high, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """All hyperparameters; names on the command line have ``-`` for ``_``."""

    # fmt: off
    model: str = _setting("resnet18", "torchvision classifier, e.g. resnet18, mobilenet_v2")
    weights: str = _setting("imagenet",
        "starting weights: imagenet, none, or a file of the channel `weights`")
    epochs: int = _setting(5, "passes over the training photos; 0 trains the head alone",
        low=0, high=1000)
    min_steps_per_epoch: int = _setting(30, "a small set's photos are repeated until an epoch has"
        " as many steps; pretrained weights only", low=1, high=10000)
    batch_size: int = _setting(32, "photos per step", low=1, high=4096)
    lr: float = _setting(3e-4, "highest learning rate, of the head; from random weights 1e-3 is"
        " usual", low=1e-8, high=10)
    optimizer: str = _setting("adamw", "update rule", choices=("adam", "adamw", "sgd"))
    weight_decay: float = _setting(0.02, "not for norms and biases", low=0, high=1)
    layer_decay: float = _setting(1.0, "factor of the learning rate per block, from the head to the"
        " input; 1: one rate; pretrained weights only", low=0.1, high=1)
    warmup: float = _setting(0.1, "share of all steps before the highest rate", low=0, high=0.9)
    label_smoothing: float = _setting(0.1, "share of the target spread over all classes",
        low=0, high=0.9)
    linear_probe_epochs: int = _setting(30, "passes of the head alone over frozen features first;"
        " pretrained weights only", low=0, high=1000)
    wise_ft: str = _setting("auto", "WiSE-FT: share of the fine-tuned weights in the result, the"
        " rest are those of the linear probe: auto (by the validation loss), 0.25, 0.5, 0.75 or 1",
        choices=("auto", "0.25", "0.5", "0.75", "1"))
    image_size: int = _setting(224, "side of the model's input in pixels", low=32, high=1024)
    broken_photos: str = _setting("drop", "what to do with photos that cannot be decoded",
        choices=("drop", "tolerate", "fail"))
    checkpoint_seconds: int = _setting(300, "longest time between checkpoints; each epoch also ends"
        " with one", low=1, high=86400)
    augmentation: str = _setting("auto", "random changes to the training photos: light crops and"
        " jitters colors; strong also rotates and erases; auto fine-tunes with none in fewer than"
        " 10 epochs, and else with light", choices=("auto", "light", "strong", "none"))
    horizontal_flip: bool = _setting(True, "also mirror training photos; false where left and right"
        " differ: hands, traffic signs, text, X-rays")
    ema_decay: float = _setting(0.0, "decay per step of averaged weights, which are then evaluated"
        " and saved; 0: none", low=0, high=0.99999)
    gradient_accumulation_steps: int = _setting(1, "forward passes that a step is split into, to"
        " save memory", low=1, high=1024)
    precision: str = _setting("auto", "auto trains with 16 bits where the GPU or CPU is faster so",
        choices=("auto", "float32"))
    quantize: bool = _setting(True, "compare the model in int8 with float32 at the end; CNNs only."
        " Servers on CPUs use int8 where it is as accurate and faster")
    compile: bool = _setting(False, "torch.compile; needs a C++ compiler, pays off in long jobs")
    pixel_cache: str = _setting("auto", "where decoded photos are kept: auto is memory if they fit,"
        " else a file in TMPDIR if they fit, else none, which decodes them in each epoch",
        choices=("auto", "memory", "file", "none"))
    seed: int = _setting(0, "same seed, same result on the same machine", low=0, high=2**31)
    num_workers: int = _setting(0, "processes that decode; 0: one per core", low=0, high=1024)
    profiler: str = _setting("auto", "sample CPUs, GPUs, memory, disk and network twice per second:"
        " auto unless SageMaker's Profiler does", choices=("auto", "true", "false"))
    profile_steps: str = _setting("none", "steps to trace with torch.profiler, e.g. 20:30")
    debugger: bool = _setting(False, "save and judge tensors as SageMaker's Debugger does; also on"
        " where Debugger is configured")
    # fmt: on

    @property
    def augmentation_strength(self) -> Literal["light", "strong", "none"]:
        """``augmentation``, decided; for ``auto``, `benchmarks/recipe.md` has the reasons."""
        if self.augmentation != "auto":
            return self.augmentation  # type: ignore[return-value]  # checked choices
        return "none" if self.weights != "none" and self.epochs < _MANY_EPOCHS else "light"

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> "Settings":
        """Read hyperparameters as SageMaker passes them: strings, or what JSON made of them.

        Names have ``_`` or ``-``; those that start with ``_`` or ``sagemaker_`` are SageMaker's own
        and ignored. None, ``null`` in the SDK, means the default. SettingsError if a name is
        unknown, or a value is of the wrong type or out of range.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        chosen: dict[str, Any] = {}
        spellings: dict[str, str] = {}
        for given, value in values.items():
            name = given.strip().replace("-", "_")
            name = _ALIASES.get(name, name)
            if given.startswith(("_", "sagemaker_")):
                continue
            if spellings.setdefault(name, given) != given:
                raise SettingsError(
                    f"hyperparameter {name}: expected one spelling, got {spellings[name]} and"
                    f" {given}: remove one"
                )
            if name not in fields:
                close = difflib.get_close_matches(name, fields, n=1)
                hint = f": did you mean {close[0]}?" if close else ""
                raise SettingsError(
                    f"unknown hyperparameter {given}{hint} (known: {', '.join(sorted(fields))})"
                )
            if value is not None and str(value).strip() != "null":
                chosen[name] = _convert(fields[name], value)
        settings = cls(**chosen)
        fixed = FIXED_IMAGE_SIZE.get(settings.model)
        if fixed and settings.image_size != fixed:
            raise SettingsError(
                f"hyperparameter image_size: expected {fixed}, the only size that"
                f" {settings.model} takes, got {settings.image_size}"
            )
        parse_steps(settings.profile_steps)
        return settings

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read ``SM_HPS``, in which sagemaker-training passes the hyperparameters as JSON."""
        return cls.from_mapping(json.loads(environ.get("SM_HPS", "{}")))


def _convert(field: "dataclasses.Field[Any]", value: object) -> object:
    """Convert a value to the field's type and check its range."""
    kind: type = type(field.default)
    low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
    expected = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "a word")
    if choices:
        expected = " or ".join(choices)
    elif low is not None:
        expected += f" from {low:g} to {high:g}"
    error = SettingsError(f"hyperparameter {field.name}: expected {expected}, got {value!r}")
    text = str(value).strip()
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise error
        return text.lower() == "true"
    try:
        # An SDK may write an integer as 5.0.
        integral = kind is int and float(text).is_integer() and abs(float(text)) < 2**53
        converted = int(float(text)) if integral else kind(text)
    except ValueError:
        raise error from None
    folded = text.lower().replace("-", "_")
    if field.name == "model" and folded in ARCHITECTURES:
        converted = folded  # ResNet18
    if field.name in ("weights", "profile_steps") and folded in ("imagenet", "none"):
        converted = folded
    if choices:
        converted = text.lower()  # sagemaker-training turns "true" into True
        if converted not in choices:
            raise error
    if low is not None and not low <= converted <= high:  # rejects nan too
        raise error
    return converted


def parse_steps(text: str) -> range | None:
    """Parse ``"20:30"``, the steps 20 to 29, or ``"none"``; otherwise raise SettingsError."""
    if text == "none":
        return None
    first, _, end = text.partition(":")
    if not (first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise SettingsError(
            f"hyperparameter profile_steps: expected none or FIRST:END such as 20:30, got {text!r}"
        )
    return range(int(first), int(end))


def resolve_weights(settings: Settings, channel: Path | None) -> Path | None:
    """Return the file of the starting weights; None: random. `channel` is that of ``weights``.

    SettingsError if the file does not exist; ModelError if the architecture is unknown, or its
    ImageNet weights are not on this machine.
    """
    check_architecture(settings.model)
    if settings.weights == "none":
        return None
    if settings.weights == "imagenet":
        return find_imagenet_weights(settings.model)
    path = (channel or Path()) / settings.weights
    if not path.is_file():
        where = f"the channel `weights` ({channel})" if channel else "the working directory"
        found = ", ".join(sorted(p.name for p in channel.iterdir())) if channel else "no channel"
        raise SettingsError(
            f"hyperparameter weights: expected the file {settings.weights} in {where}, found"
            f" {found or 'an empty folder'}"
        )
    return path


def check_compiler(settings: Settings) -> None:
    """Raise SettingsError if ``compile`` is set and there is no compiler, as in the CPU image."""
    names = [os.environ.get("CXX", "g++"), "g++", "clang++"]
    if settings.compile and not any(map(shutil.which, names)):
        raise SettingsError(
            "hyperparameter compile: expected a C++ compiler (g++ or clang++) on the PATH, found"
            " none: use compile=false or an image with a compiler"
        )
