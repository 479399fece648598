"""Converts a trained model to ONNX, in float32 and int8, and measures it with ONNX Runtime."""

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
_MOST_EVALUATED = 2000  # photos per split give the agreement to 0.5 points, in a minute
_BATCH = 8

Pixels = npt.NDArray[np.uint8]
Targets = npt.NDArray[np.int64]
Check = Callable[[], object]  # is called between batches, and raises to stop the work


def add_graphs(
    folder: Path, splits: Mapping[str, PixelStore], *, quantize: bool, check: Check = lambda: None
) -> dict[str, Graph]:
    """Add ONNX graphs to the artifact in a folder: float32, and int8 if `quantize`.

    int8 needs photos to calibrate with (``train``) and to measure on (``valid``, ``test``).
    Transformers stay float32: int8 costs them more accuracy than it saves time. The graphs are
    returned by precision. ArtifactError if the folder contains no artifact, ExportError if the
    model cannot be converted, OSError if the folder cannot be written.
    """
    trained = artifact.load(folder)
    files = {FLOAT32: to_onnx(trained)}
    measured = {name: photos for name, photos in splits.items() if name != "train"}
    if quantize and "train" in splits and measured and not is_transformer(trained.architecture):
        photos = _sample(splits["train"], _CALIBRATION_PHOTOS, check)
        files[INT8] = quantize_graph(files[FLOAT32], (pixels for pixels, _ in photos))
    reference: dict[str, tuple[Targets, Targets]] = {}
    graphs: dict[str, Graph] = {}
    for precision, data in files.items():
        # Where fused 8-bit sums saturate, measure int8 by its exact values, as VNNI computes them.
        exact = not int8_saturates()
        session = Session(data, available_cpus(), optimized=exact or precision == FLOAT32)
        found = {name: _classes(session, photos, check) for name, photos in measured.items()}
        reference = reference or found  # float32 comes first
        golden = session.run(artifact.golden_pixels(trained.preprocessing))
        accuracy = {name: float(np.equal(*classes).mean()) for name, classes in found.items()}
        agreement = {name: float((predicted == reference[name][0]).mean())
                     for name, (predicted, _) in found.items()}  # fmt: skip
        graphs[precision] = Graph(precision, data, golden, accuracy, agreement)
    artifact.save(dataclasses.replace(trained, graphs=tuple(graphs.values())), folder)
    if INT8 in graphs:
        print(describe_int8(graphs), flush=True)
    return graphs


def quantize_graph(graph: bytes, batches: Iterator[Pixels]) -> bytes:
    """Return a float32 ONNX graph with convolutions and matrix products in 8 bits.

    Weights are scaled per output channel, activations by their range over the photos, whose pixels
    [N, S, S, 3] the batches have. Signed weights and unsigned activations are what VNNI multiplies.
    7-bit weights (``reduce_range``) would cost MobileNetV2 four points of accuracy. The last layer,
    temperature and softmax stay in float32: probabilities would be multiples of 1/255.
    """
    import_onnxruntime()
    onnx = importlib.import_module("onnx")
    quantization = importlib.import_module("onnxruntime.quantization")  # it has no types
    shapes = importlib.import_module("onnxruntime.quantization.shape_inference")
    with tempfile.TemporaryDirectory() as temporary:
        source, prepared, target = (Path(temporary, name) for name in ("f", "p", "q"))
        source.write_bytes(graph)
        shapes.quant_pre_process(source, prepared, skip_symbolic_shape=True)
        reader = SimpleNamespace(get_next=lambda: next(({"pixels": b} for b in batches), None))
        nodes = onnx.load(prepared).graph.node
        last = max(i for i, n in enumerate(nodes) if n.op_type in ("Conv", "Gemm", "MatMul"))
        types = quantization.QuantType
        quantization.quantize_static(
            prepared, target, reader, per_channel=True,
            activation_type=types.QUInt8, weight_type=types.QInt8,
            nodes_to_exclude=[node.name for node in nodes[last:]],
        )  # fmt: skip
        return target.read_bytes()


def _classes(session: Session, photos: PixelStore, check: Check) -> tuple[Targets, Targets]:
    """Return the predicted and the true classes of at most `_MOST_EVALUATED` photos."""
    batches = [(session.run(pixels).argmax(1), targets)
               for pixels, targets in _sample(photos, _MOST_EVALUATED, check)]  # fmt: skip
    predicted, true = zip(*batches, strict=True)
    return np.concatenate(predicted), np.concatenate(true)


def _sample(photos: PixelStore, most: int, check: Check) -> Iterator[tuple[Pixels, Targets]]:
    """Yield pixels and classes of random photos, always the same ones."""
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(0))
    for pixels, targets in photos.batches(torch.split(order[:most], _BATCH)):
        check()
        yield pixels.cpu().numpy(), targets.cpu().numpy()
