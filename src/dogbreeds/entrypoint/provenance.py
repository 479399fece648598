"""What a model was made of, and the command that makes it again."""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dogbreeds import __version__
from dogbreeds.data.folders import Split
from dogbreeds.data.photo import Photo, ShardPhoto
from dogbreeds.system.resources import available_cpus, memory_limit
from dogbreeds.training.settings import Settings

_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "safetensors", "onnx", "onnxruntime")
_ENVIRONMENT = {"revision": "DOGBREEDS_REVISION", "image": "DOGBREEDS_IMAGE"}


def provenance(
    settings: Settings, splits: Mapping[str, Split], weights: Path | None, config: Path
) -> dict[str, Any]:
    """Describe a job for whoever wants to repeat it.

    Args:
        settings: Its hyperparameters.
        splits: Its photos.
        weights: The file of the starting weights, if any.
        config: SageMaker's folder of configuration files.

    Returns:
        JSON-ready, without what is unknown: ``command``; ``hyperparameters``; ``data``, for each
        split the number of ``photos``, their ``bytes``, and a ``sha256`` of their classes, names
        and sizes; ``weights_sha256``; ``packages``, versions by name; ``hardware``; and from the
        environment the git ``revision`` and the ``image``.
    """
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights else None
    known = {name: os.environ.get(variable) for name, variable in _ENVIRONMENT.items()}
    found = {
        "command": _command(settings),
        "hyperparameters": dataclasses.asdict(settings),
        "data": {name: _fingerprint(split) for name, split in splits.items()},
        "weights_sha256": digest,
        "packages": {"dogbreeds": __version__, "python": platform.python_version(), **_versions()},
        "hardware": _hardware(config),
        **known,
    }
    return {name: value for name, value in found.items() if value}


def _command(settings: Settings) -> str:
    """Return a command line with all hyperparameters that are not the defaults."""
    fields = [f for f in dataclasses.fields(settings) if f.name != "weights"]
    given = [(f.name, getattr(settings, f.name), f.default) for f in fields]
    words = ["dogbreeds", "train", "PHOTOS", "--on", "local"]
    published = re.fullmatch(rf"imagenet|{settings.model}-[0-9a-f]{{8}}\.pth", settings.weights)
    words += [] if published else ["--weights", settings.weights]
    for name, value, default in given:
        if value != default:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words += ["--set", f"{name}={text}"]
    return shlex.join(words)


def _fingerprint(split: Split) -> dict[str, object]:
    sizes = [_size(photo) for photo in split.paths]
    lines = sorted(
        f"{split.classes[target]}/{photo.name} {size}\n"
        for photo, target, size in zip(split.paths, split.targets, sizes, strict=True)
    )
    digest = hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
    return {"photos": len(sizes), "bytes": sum(sizes), "sha256": digest}


def _size(photo: Photo) -> int:
    try:
        return photo.size if isinstance(photo, ShardPhoto) else photo.stat().st_size
    except OSError:  # reading it will say why
        return 0


def _versions() -> dict[str, str]:
    installed = {d.name.lower(): d.version for d in importlib.metadata.distributions()}
    return {name: installed[name] for name in _PACKAGES if name in installed}


def _hardware(config: Path) -> dict[str, object]:
    try:
        instance = json.loads((config / "resourceconfig.json").read_text())
        models = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except (OSError, ValueError):
        instance, models = {}, []
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found = {
        "instance_type": instance.get("current_instance_type"),
        "processor": models[0] if models else platform.machine(),
        "cpus": available_cpus(),
        "memory_gib": round(memory_limit() / 2**30, 1),
        "gpus": ", ".join(gpus),
        "cuda": torch.version.cuda if gpus else None,
    }
    return {name: value for name, value in found.items() if value}
