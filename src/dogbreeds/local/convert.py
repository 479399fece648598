"""``dogbreeds convert``: adds ONNX graphs to an artifact that has none."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from dogbreeds.data.folders import SPLITS, find_photos
from dogbreeds.data.photo import PhotosError
from dogbreeds.data.pixels import DecodedSplit
from dogbreeds.entrypoint.graphs import add_graphs
from dogbreeds.model import artifact
from dogbreeds.model.document import describe, read_file
from dogbreeds.model.graphs import Graph
from dogbreeds.training.device import Device, PixelStore


def convert(source: Path, target: Path, photos: Path | None = None) -> dict[str, Graph]:
    """Write an artifact, a folder or a ``model.tar.gz``, as a ``model.tar.gz`` with ONNX graphs.

    `target` may be `source`. Without `photos`, the photos directory of its training, there is no
    int8 graph, which must be calibrated and measured. Returned are the graphs by precision.
    ArtifactError if the artifact is missing or damaged, PhotosError if the photos' classes are not
    the model's, ExportError if it cannot be converted, OSError if a file cannot be written.
    """
    data = read_file(source, artifact.WEIGHTS_FILE)
    description = describe(data, source)
    stores = {}
    if photos:
        channels = {name: photos / name for name in SPLITS if (photos / name).is_dir()}
        classes, splits = find_photos(channels)
        if classes != description.classes:
            raise PhotosError(
                f"expected the {len(description.classes)} classes of {source} in {photos}, found"
                f" {len(classes)} classes, not the same: give the photos it was trained on"
            )
        device = Device(torch.device("cpu"), None)
        for name, split in splits.items():
            targets = np.array(split.targets, np.int64)
            lazy = DecodedSplit(name, None, targets, split.paths, (), ())  # few will be decoded
            stores[name] = PixelStore(lazy, description.preprocessing, device)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / artifact.WEIGHTS_FILE).write_bytes(data)
        graphs = add_graphs(folder, stores, quantize=True)
        artifact.pack(folder, target)
    return graphs
