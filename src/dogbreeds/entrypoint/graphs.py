"""At the end of a job: the model in ONNX, in float32 and int8, measured with what will serve it."""

import dataclasses
import importlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import torch

from dogbreeds.model import artifact
from dogbreeds.model.architectures import is_transformer
from dogbreeds.model.graphs import Graph, describe_int8
from dogbreeds.model.onnx_export import to_onnx
from dogbreeds.model.onnx_runtime import FLOAT32, INT8, Session, import_onnxruntime
from dogbreeds.system.resources import available_cpus, int8_saturates
from dogbreeds.training.device import PixelStore

_CALIBRATION_PHOTOS = 256
_MOST_EVALUATED = 2000  # of a split: agreement is then known to 0.5 points, in a minute
_BATCH = 8

Check = Callable[[], object]
"""Called between batches; it raises to stop the work."""


def add_graphs(
    folder: Path, splits: Mapping[str, PixelStore], *, quantize: bool, check: Check = lambda: None
) -> dict[str, Graph]:
    """Add ONNX graphs to an artifact: float32, and int8 where it can be calibrated and measured.

    Transformers stay float32: int8 costs them more accuracy than it saves time.

    Args:
        folder: The artifact's; it is saved again, with the graphs.
        splits: Photos to calibrate with (``train``) and to measure on (``valid``, ``test``).
        quantize: Whether int8 is wanted.
        check: Called between batches.

    Returns:
        The graphs by precision.

    Raises:
        ArtifactError: There is no artifact in the folder.
        ExportError: The model cannot be converted.
        OSError: The folder cannot be written.
    """
    trained = artifact.load(folder)
    files = {FLOAT32: to_onnx(trained)}
    measured = {name: photos for name, photos in splits.items() if name != "train"}
    if quantize and "train" in splits and measured and not is_transformer(trained.architecture):
        files[INT8] = quantize_graph(files[FLOAT32], _calibration(splits["train"], check))
    classes: dict[str, dict[str, npt.NDArray[np.int64]]] = {}  # by precision and split
    graphs: dict[str, Graph] = {}
    for precision, data in files.items():
        # Where fused 8-bit sums saturate, int8 is judged by its exact values, as VNNI has them.
        exact = not int8_saturates()
        session = Session(data, available_cpus(), optimized=exact or precision == FLOAT32)
        found = {name: _classes(session, photos, check) for name, photos in measured.items()}
        classes[precision] = {name: predicted for name, (predicted, _) in found.items()}
        graphs[precision] = Graph(
            precision,
            data,
            session.run(artifact.golden_pixels(trained.preprocessing)),
            {name: float((told == right).mean()) for name, (told, right) in found.items()},
            {
                name: float((told == classes[FLOAT32][name]).mean())
                for name, (told, _) in found.items()
            },
        )
    artifact.save(dataclasses.replace(trained, graphs=tuple(graphs.values())), folder)
    if INT8 in graphs:
        print(describe_int8(graphs), flush=True)
    return graphs


def quantize_graph(graph: bytes, batches: Iterator[npt.NDArray[np.uint8]]) -> bytes:
    """Return a graph whose convolutions and matrix products are computed in 8 bits.

    Weights are scaled per output channel, activations by their range over the photos. Signed
    weights and unsigned activations are what VNNI multiplies. Weights of 7 bits (``reduce_range``)
    would suit other processors too, but cost MobileNetV2 four points of accuracy.

    Args:
        graph: An ONNX file of float32.
        batches: Pixels [N, S, S, 3] of photos to calibrate with.
    """
    import_onnxruntime()
    quantization = importlib.import_module("onnxruntime.quantization")  # it has no types
    shapes = importlib.import_module("onnxruntime.quantization.shape_inference")
    with tempfile.TemporaryDirectory() as temporary:
        source, prepared, target = (Path(temporary, name) for name in ("f", "p", "q"))
        source.write_bytes(graph)
        shapes.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            target,
            SimpleNamespace(get_next=lambda: next(({"pixels": batch} for batch in batches), None)),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return target.read_bytes()


def _calibration(photos: PixelStore, check: Check) -> Iterator[npt.NDArray[np.uint8]]:
    for pixels, _ in _sample(photos, _CALIBRATION_PHOTOS):
        check()
        yield pixels


def _classes(
    session: Session, photos: PixelStore, check: Check
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the predicted and the right classes of at most `_MOST_EVALUATED` photos."""
    predicted, right = [], []
    for pixels, targets in _sample(photos, _MOST_EVALUATED):
        check()
        predicted.append(session.run(pixels).argmax(1))
        right.append(targets)
    return np.concatenate(predicted), np.concatenate(right)


def _sample(
    photos: PixelStore, most: int
) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Yield pixels and classes of photos drawn at random, always the same."""
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(0))
    for pixels, targets in photos.batches(torch.split(order[:most], _BATCH)):
        yield pixels.cpu().numpy(), targets.cpu().numpy()
