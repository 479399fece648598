"""The model artifact: weights, classes, preprocessing and provenance in one file.

An artifact is a folder with ``model.safetensors``, or the ``model.tar.gz`` that SageMaker (or
`pack`) makes of that folder. The file's safetensors metadata is one JSON document with all that
serving must know, so that weights and classes are never separated, and one rename publishes both.
Nothing in it is ever unpickled. It may include ONNX graphs, see `dogbreeds.model.graphs`.
"""

import dataclasses
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import nn

from dogbreeds import __version__
from dogbreeds.model import document
from dogbreeds.model.architectures import ModelError
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.document import TAR_FILE as TAR_FILE
from dogbreeds.model.document import WEIGHTS_FILE as WEIGHTS_FILE
from dogbreeds.model.document import ArtifactError as ArtifactError
from dogbreeds.model.document import read_document as read_document
from dogbreeds.model.graphs import Graph
from dogbreeds.model.networks import create_model
from dogbreeds.model.pipeline import Pipeline
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.system.files import atomic_write


@dataclass(frozen=True)
class Artifact:
    """A trained classifier with all that is needed to use it.

    `save` makes the golden example; it is None before, and in artifacts older than golden examples.
    """

    model: nn.Module  # maps float32 [N, 3, S, S] to logits [N, len(classes)]
    architecture: str  # torchvision's name of the model
    classes: tuple[PhotoClass, ...]  # in the order of the model's outputs
    preprocessing: Preprocessing
    metrics: dict[str, float] = field(default_factory=dict)  # e.g. {"test_accuracy": 0.93}
    provenance: dict[str, Any] = field(default_factory=dict)  # hyperparameters, package versions
    temperature: float = 1.0  # divides the logits; 1 in artifacts older than calibration
    version: str = ""  # first 12 digits of the weights file's SHA-256; empty before it is saved
    golden_example: document.GoldenExample | None = None
    graphs: tuple[Graph, ...] = ()  # to be saved; `load` leaves them to `graphs.read_graphs`


def save(artifact: Artifact, folder: Path) -> Path:
    """Write an artifact to a folder such as ``/opt/ml/model``; return its weights file.

    It is replaced atomically: where OSError is raised, an older one stays.
    """
    content = {
        "format": document.FORMAT,
        "package_version": __version__,
        "torch_version": str(torch.__version__),
        "architecture": artifact.architecture,
        "classes": [list(item) for item in artifact.classes],
        "preprocessing": dataclasses.asdict(artifact.preprocessing),
        "temperature": artifact.temperature,
        "metrics": artifact.metrics,
        "provenance": artifact.provenance,
        "graphs": {graph.precision: graph.to_dict() for graph in artifact.graphs},
    }
    state = artifact.model.state_dict()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # Use a fresh model: the given one may be on a GPU or synchronize batch norm across processes.
    saved = create_model(artifact.architecture, len(artifact.classes)).eval()
    saved.load_state_dict(tensors)
    golden = create_golden_example(saved, artifact.preprocessing, artifact.temperature)
    tensors[document.GOLDEN_PIXELS] = torch.from_numpy(golden.pixels)
    tensors[document.GOLDEN_PROBABILITIES] = torch.from_numpy(golden.probabilities)
    # Write the graphs first: nothing reads them until the document names them.
    for graph in artifact.graphs:
        with atomic_write(folder / f"{graph.precision}.onnx") as partial:
            partial.write_bytes(graph.data)
    with atomic_write(folder / WEIGHTS_FILE) as partial:
        try:
            save_file(tensors, partial, metadata={document.METADATA_KEY: json.dumps(content)})
        except SafetensorError as error:  # e.g. a full disk
            raise OSError(f"cannot write {folder / WEIGHTS_FILE}: {error}") from error
    return folder / WEIGHTS_FILE


def golden_pixels(preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Return the pixels of a golden example: noise with a fixed seed, uint8 [1, S, S, 3]."""
    side = preprocessing.image_size
    return np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)


@torch.inference_mode()
def create_golden_example(
    model: nn.Module, preprocessing: Preprocessing, temperature: float = 1.0
) -> document.GoldenExample:
    """Run a model, on the CPU and in evaluation mode, on `golden_pixels`."""
    pixels = golden_pixels(preprocessing)
    pipeline = Pipeline(model, preprocessing, temperature)
    return document.GoldenExample(pixels, pipeline(torch.from_numpy(pixels)).numpy())


def pack(folder: Path, tar: Path) -> None:
    """Write the ``model.tar.gz`` that SageMaker makes of a folder with an artifact, atomically.

    ArtifactError if the folder has none of ours.
    """
    read_document(folder)
    with atomic_write(tar) as partial, tarfile.open(partial, "w:gz", compresslevel=1) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)


def load(path: Path) -> Artifact:
    """Load an artifact from any path of `read_document`, or raise `ArtifactError` as it does.

    Its model is on the CPU, in evaluation mode and channels-last.
    """
    data = document.read_file(path, WEIGHTS_FILE)
    content, description = document.parse_document(data, path), document.describe(data, path)
    try:
        model = create_model(content["architecture"], len(description.classes))
        tensors = load_tensors(data)
        for name in (document.GOLDEN_PIXELS, document.GOLDEN_PROBABILITIES):
            tensors.pop(name, None)
        model.load_state_dict(tensors)
        return Artifact(
            model=model.eval().to(memory_format=torch.channels_last),
            architecture=content["architecture"],
            metrics=content["metrics"],
            provenance=content["provenance"],
            temperature=float(content.get("temperature", 1.0)),
            **vars(description),
        )
    except (KeyError, TypeError, ValueError, RuntimeError, ModelError, SafetensorError) as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error
