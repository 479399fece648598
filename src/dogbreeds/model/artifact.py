"""The model archive: weights, classes, preprocessing and provenance in one file.

An archive is a folder with ``model.safetensors``, or the ``model.tar.gz`` that SageMaker (or
`pack`) makes of that folder. The file's safetensors metadata holds one JSON document with all
that serving must know, so that weights and classes cannot be parted, and one rename puts both in
place. Nothing in it is ever unpickled.
"""

import hashlib
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import nn

from dogbreeds import __version__
from dogbreeds.model.architectures import ModelError
from dogbreeds.model.archive import TAR_FILE as TAR_FILE  # used beside this module
from dogbreeds.model.archive import read_file
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.golden_example import GoldenExample
from dogbreeds.model.networks import create_model
from dogbreeds.model.pipeline import Pipeline
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.files import atomic_write

WEIGHTS_FILE = "model.safetensors"
_FORMAT = "dogbreeds-archive/1"
_METADATA_KEY = "dogbreeds"
_GOLDEN_PIXELS, _GOLDEN_PROBABILITIES = "probe.pixels", "probe.probabilities"


class ArtifactError(DogbreedsError, ValueError):
    """The archive is missing, damaged or not ours; the message says which."""


@dataclass(frozen=True)
class Artifact:
    """A trained classifier with all that is needed to use it.

    Attributes:
        model: Maps float32 [N, 3, S, S] to logits [N, len(classes)].
        architecture: torchvision's name of the model.
        classes: In the order of the model's outputs.
        preprocessing: How a photo becomes the model's input.
        metrics: What the training reached, e.g. ``{"test_accuracy": 0.93}``.
        provenance: Where the weights come from: hyperparameters, package versions.
        temperature: Divides the logits before softmax; 1 in artifacts older than calibration.
        version: First 12 digits of the SHA-256 of the weights file; empty before it is saved.
        golden_example: `save` makes it; None before, and in artifacts older than golden examples.
    """

    model: nn.Module
    architecture: str
    classes: tuple[PhotoClass, ...]
    preprocessing: Preprocessing
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    temperature: float = 1.0
    version: str = ""
    golden_example: GoldenExample | None = None


def save(artifact: Artifact, folder: Path) -> Path:
    """Write an archive; the file appears under its final name when it is whole.

    Args:
        artifact: What to write.
        folder: The model directory, e.g. ``/opt/ml/model``; made if missing.

    Returns:
        The file written.

    Raises:
        OSError: The folder cannot be written, or the disk is full. What was there stays.
    """
    document = {
        "format": _FORMAT,
        "package_version": __version__,
        "torch_version": str(torch.__version__),
        "architecture": artifact.architecture,
        "classes": [list(item) for item in artifact.classes],
        "preprocessing": artifact.preprocessing.to_dict(),
        "temperature": artifact.temperature,
        "metrics": artifact.metrics,
        "provenance": artifact.provenance,
    }
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in artifact.model.state_dict().items()
    }
    # Not of the model at hand, which may be on a GPU or share its batch norm with other processes.
    saved = create_model(artifact.architecture, len(artifact.classes)).eval()
    saved.load_state_dict(tensors)
    golden_example = create_golden_example(saved, artifact.preprocessing, artifact.temperature)
    tensors[_GOLDEN_PIXELS] = torch.from_numpy(golden_example.pixels)
    tensors[_GOLDEN_PROBABILITIES] = torch.from_numpy(golden_example.probabilities)
    with atomic_write(folder / WEIGHTS_FILE) as partial:
        try:
            save_file(tensors, partial, metadata={_METADATA_KEY: json.dumps(document)})
        except SafetensorError as error:  # its words for a full disk and the like
            raise OSError(f"cannot write {folder / WEIGHTS_FILE}: {error}") from error
    return folder / WEIGHTS_FILE


@torch.inference_mode()
def create_golden_example(
    model: nn.Module, preprocessing: Preprocessing, temperature: float = 1.0
) -> GoldenExample:
    """Ask a model, on the CPU and in evaluation mode, about noise that is always the same."""
    side = preprocessing.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    pipeline = Pipeline(model, preprocessing, temperature)
    return GoldenExample(pixels, pipeline(torch.from_numpy(pixels)).numpy())


def pack(folder: Path, tar: Path) -> None:
    """Make the ``model.tar.gz`` that SageMaker makes of the model directory.

    Args:
        folder: A folder that `save` wrote to.
        tar: The file to write; it appears under its name when it is whole.

    Raises:
        ArtifactError: The folder holds no archive of ours.
        OSError: The file cannot be written.
    """
    read_document(folder)
    with atomic_write(tar) as partial, tarfile.open(partial, "w:gz", compresslevel=1) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)


def load(path: Path) -> Artifact:
    """Load an archive.

    Args:
        path: The model directory, or a ``model.tar.gz``; a directory may hold the latter. See
            `dogbreeds.model.archive.read_file` for further shapes.

    Returns:
        The artifact; its model is on the CPU, in evaluation mode and channels-last.

    Raises:
        ArtifactError: There is no archive, or it is damaged or not ours.
    """
    data = _read_weights(path)
    document = _parse_document(_metadata_of(data, path), path)
    try:
        classes = tuple(PhotoClass(str(label), str(name)) for label, name in document["classes"])
        preprocessing = Preprocessing.from_dict(document["preprocessing"])
        temperature = float(document.get("temperature", 1.0))
        model = create_model(document["architecture"], len(classes))
        tensors = load_tensors(data)
        golden_example = None
        if _GOLDEN_PIXELS in tensors:
            pixels, probabilities = tensors.pop(_GOLDEN_PIXELS), tensors.pop(_GOLDEN_PROBABILITIES)
            golden_example = GoldenExample(pixels.numpy(), probabilities.numpy())
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, ModelError, SafetensorError) as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error
    return Artifact(
        model=model.eval().to(memory_format=torch.channels_last),
        architecture=document["architecture"],
        classes=classes,
        preprocessing=preprocessing,
        metrics=document["metrics"],
        provenance=document["provenance"],
        temperature=temperature,
        version=hashlib.sha256(data).hexdigest()[:12],
        golden_example=golden_example,
    )


def read_document(path: Path) -> dict[str, Any]:
    """Read the archive's JSON document (classes, preprocessing, metrics, ...) alone.

    Raises:
        ArtifactError: As `load` does.
    """
    return _parse_document(_metadata_of(_read_weights(path), path), path)


def _read_weights(path: Path) -> bytes:
    try:
        return read_file(path, WEIGHTS_FILE)
    except (OSError, ValueError) as error:
        raise ArtifactError(str(error)) from error


def _metadata_of(data: bytes, path: Path) -> dict[str, str]:
    # safetensors reads metadata from files only; its layout is 8 bytes of length, then JSON.
    length = int.from_bytes(data[:8], "little")
    try:
        if not 0 < length <= len(data) - 8:
            raise ValueError("its header is cut off")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__")
    except (ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} holds no safetensors file: {error}") from error
    return metadata if isinstance(metadata, dict) else {}


def _parse_document(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    try:
        document = json.loads(metadata[_METADATA_KEY])
        found = document["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the weights in {path} were not written by this project") from error
    if found != _FORMAT:
        raise ArtifactError(f"expected format {_FORMAT} in {path}, got {found}")
    return dict(document)
