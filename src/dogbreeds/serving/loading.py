"""From an artifact to a predictor.

On CPUs ONNX Runtime, the fastest backend there, runs one of the artifact's graphs, without PyTorch
in the server. An artifact without graphs runs on PyTorch; GPUs always do.
"""

import importlib.util
import logging
from dataclasses import replace
from pathlib import Path

from dogbreeds.model.document import WEIGHTS_FILE, describe, parse_document, read_file
from dogbreeds.model.graphs import read_graphs
from dogbreeds.model.onnx_runtime import INT8
from dogbreeds.serving.backends.onnx_runtime import choose_precision
from dogbreeds.serving.predictor import Predictor
from dogbreeds.serving.settings import ONNX_RUNTIME, PYTORCH
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.resources import give_back_memory

_ADD_GRAPHS = "add them by `dogbreeds convert`"

logger = logging.getLogger(__name__)


class LoadError(DogbreedsError, RuntimeError):
    """The model cannot be loaded; the message says why."""


def load(
    model_dir: Path, gpu: int | None, threads: int,
    requested: str | None = None, precision: str | None = None,
) -> Predictor:  # fmt: skip
    """Return a predictor, not started, for an artifact in a folder.

    `gpu` is the number of the GPU to run on, None for the CPU, with so many `threads` per forward
    pass. `requested`, of `settings.BACKENDS`, is by default the fastest that works, `precision`, of
    `onnx_runtime.PRECISIONS`, the fastest that is accurate. ArtifactError, BackendError or
    LoadError if the artifact is missing, damaged or cannot run here.
    """
    if gpu is not None or requested == PYTORCH:
        return _with_pytorch(model_dir, gpu, threads, requested)
    data = read_file(model_dir, WEIGHTS_FILE)
    graphs = read_graphs(parse_document(data, model_dir), model_dir)
    if precision == INT8 and INT8 not in graphs:
        raise LoadError(f"expected an int8 graph in {model_dir}, found none: {_ADD_GRAPHS}")
    if not graphs:
        if requested == ONNX_RUNTIME or importlib.util.find_spec("torch") is None:
            raise LoadError(
                f"expected ONNX graphs in {model_dir}, found none: {_ADD_GRAPHS}, or serve it on"
                " PyTorch with the cpu image"
            )
        logger.warning("no ONNX graphs: PyTorch is slower and larger; %s", _ADD_GRAPHS)
        return _with_pytorch(model_dir, None, threads, requested)
    description = describe(data, model_dir)
    assert description.golden_example is not None  # noqa: S101  (saved with every graph)
    pixels = description.golden_example.pixels
    backend, golden_example = choose_precision(graphs, pixels, threads, precision)
    del data, graphs
    give_back_memory()  # that of the other graph, also in the process that workers are forked from
    return Predictor(replace(description, golden_example=golden_example), [backend], threads)


def _with_pytorch(
    model_dir: Path, gpu: int | None, threads: int, requested: str | None
) -> Predictor:
    import torch

    from dogbreeds.model import artifact
    from dogbreeds.serving.backends import pytorch

    torch.set_num_threads(1)  # forked workers would inherit a dead thread pool
    device = torch.device("cpu" if gpu is None else f"cuda:{gpu}")
    return pytorch.create_predictor(artifact.load(model_dir), device, threads, requested)
