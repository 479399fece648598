"""From an artifact to a predictor.

On CPUs ONNX Runtime, the fastest backend there, runs one of the artifact's graphs, and PyTorch is
not imported. For an artifact without graphs PyTorch exports one, and stays in memory.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path

from dogbreeds.model.document import WEIGHTS_FILE, describe, parse_document, read_file
from dogbreeds.model.graphs import read_graphs
from dogbreeds.model.onnx_runtime import INT8
from dogbreeds.serving.backends.onnx_runtime import choose_precision
from dogbreeds.serving.predictor import Predictor
from dogbreeds.serving.settings import PYTORCH
from dogbreeds.system.errors import DogbreedsError

_ADD_GRAPHS = "add them by `dogbreeds convert`"


class LoadError(DogbreedsError, RuntimeError):
    """The model cannot be loaded; the message says why."""


def load(
    model_dir: Path,
    gpu: int | None,
    threads: int,
    requested: str | None = None,
    precision: str | None = None,
) -> Predictor:
    """Return a predictor, not started, for an artifact in a folder.

    `gpu` is the number of the GPU to run on, None for the CPU, with so many `threads` per forward
    pass. `requested`, of `settings.BACKENDS`, is by default the fastest that works, `precision`, of
    `onnx_runtime.PRECISIONS`, the fastest that is accurate. ArtifactError, BackendError, LoadError
    or MemoryError if the artifact is missing, damaged, cannot run here or is too large.
    """
    if gpu is None and requested != PYTORCH:
        if predictor := _with_graphs(model_dir, threads, precision):
            return predictor
        if importlib.util.find_spec("torch") is None:
            raise LoadError(
                f"expected ONNX graphs in {model_dir}, which has none, and there is no PyTorch to"
                f" make them: {_ADD_GRAPHS}, or serve it with the cpu image"
            )
    import torch

    from dogbreeds.model import artifact
    from dogbreeds.serving.backends import pytorch

    torch.set_num_threads(1)  # forked workers would inherit a dead thread pool
    device = torch.device("cpu" if gpu is None else f"cuda:{gpu}")
    return pytorch.create_predictor(artifact.load(model_dir), device, threads, requested)


def _with_graphs(model_dir: Path, threads: int, precision: str | None) -> Predictor | None:
    """Return a predictor for one of an artifact's ONNX graphs; None if it has none."""
    data = read_file(model_dir, WEIGHTS_FILE)
    graphs = read_graphs(parse_document(data, model_dir), model_dir)
    if precision == INT8 and INT8 not in graphs:
        raise LoadError(f"expected an int8 graph in {model_dir}, found none: {_ADD_GRAPHS}")
    if not graphs:
        return None
    description = describe(data, model_dir)
    assert description.golden_example is not None  # noqa: S101  (saved with every graph)
    pixels = description.golden_example.pixels
    backend, golden_example = choose_precision(graphs, pixels, threads, precision)
    return Predictor(replace(description, golden_example=golden_example), [backend], threads)
