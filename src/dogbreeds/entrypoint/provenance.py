"""What a model was made of, and the command that makes it again."""

import dataclasses
import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dogbreeds.data.folders import Split
from dogbreeds.data.photo import Photo, ShardPhoto
from dogbreeds.system.resources import available_cpus, memory_limit
from dogbreeds.training.settings import Settings

_PACKAGES = (
    "dogbreeds", "torch", "torchvision", "numpy", "pillow", "safetensors", "onnx", "onnxruntime",
)  # fmt: skip


def provenance(
    settings: Settings, splits: Mapping[str, Split], weights: Path | None
) -> dict[str, Any]:
    """Describe a job with these photos and starting weights for whoever wants to repeat it.

    The result is JSON-ready, without what is unknown: ``command``; ``hyperparameters``; ``data``,
    for each split the number of ``photos``, their ``bytes``, and a ``sha256`` of classes, names and
    sizes; ``weights_sha256``; ``packages``, versions by name; ``hardware``; and from the
    environment the git ``revision`` and the ``image``.
    """
    cpuinfo = Path("/proc/cpuinfo")  # on Linux
    models = re.findall(r"model name\s*: (.+)", cpuinfo.read_text() if cpuinfo.exists() else "")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    installed = {d.name.lower(): d.version for d in importlib.metadata.distributions()}
    versions = {name: installed[name] for name in _PACKAGES if name in installed}
    price = os.environ.get("DOGBREEDS_USD_PER_HOUR", "")  # of all instances, by `dogbreeds train`
    hardware = {
        "instance_type": os.environ.get("SM_CURRENT_INSTANCE_TYPE"),  # by sagemaker-training
        "processor": models[0] if models else platform.machine(),
        "cpus": available_cpus(),
        "memory_gib": round(memory_limit() / 2**30, 1),
        "usd_per_hour": float(price) if re.fullmatch(r"\d+(\.\d+)?", price) else None,
        "gpus": ", ".join(gpus),
        "cuda": torch.version.cuda if gpus else None,
    }
    found = {
        "command": _command(settings),
        "hyperparameters": dataclasses.asdict(settings),
        "data": {name: _fingerprint(split) for name, split in splits.items()},
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest() if weights else None,
        "packages": {"python": platform.python_version(), **versions},
        "hardware": {name: value for name, value in hardware.items() if value},
        "revision": os.environ.get("DOGBREEDS_REVISION"),
        "image": os.environ.get("DOGBREEDS_IMAGE"),
    }
    return {name: value for name, value in found.items() if value}


def _command(settings: Settings) -> str:
    """Return a command line with all hyperparameters that are not the defaults."""
    words = ["dogbreeds", "train", "PHOTOS", "--on", "local"]
    if not re.fullmatch(rf"imagenet|{settings.model}-[0-9a-f]{{8}}\.pth", settings.weights):
        words += ["--weights", settings.weights]
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name != "weights" and value != field.default:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words += ["--set", f"{field.name}={text}"]
    return shlex.join(words)


def _fingerprint(split: Split) -> dict[str, object]:
    sizes = [_size(photo) for photo in split.paths]
    lines = sorted(
        f"{split.classes[target]}/{Path(str(photo)).name} {size}\n"
        for photo, target, size in zip(split.paths, split.targets, sizes, strict=True)
    )
    digest = hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
    return {"photos": len(sizes), "bytes": sum(sizes), "sha256": digest}


def _size(photo: Photo) -> int:
    try:
        return photo.size if isinstance(photo, ShardPhoto) else photo.stat().st_size
    except OSError:  # reading it will say why
        return 0
