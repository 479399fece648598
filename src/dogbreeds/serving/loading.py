"""From an artifact to a predictor.

On CPUs ONNX Runtime, the fastest backend there, runs one of the artifact's graphs. For an artifact
without graphs a process that ends, ``python -m dogbreeds.serving.loading``, exports one and chooses
the backend, so that the server saves PyTorch's memory, some hundred megabytes.
"""

import importlib.util
import logging
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from dogbreeds.model.document import WEIGHTS_FILE, Description, describe, parse_document, read_file
from dogbreeds.model.graphs import read_graphs
from dogbreeds.model.onnx_runtime import INT8
from dogbreeds.serving.backends.onnx_runtime import OnnxRuntime, choose_precision
from dogbreeds.serving.predictor import Predictor
from dogbreeds.serving.settings import PYTORCH
from dogbreeds.system import processes
from dogbreeds.system.errors import DogbreedsError

# What the other process finds: the description, and the ONNX graph if that is the fastest.
_Choice = tuple[Description, bytes | None]

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
    if gpu is not None or requested == PYTORCH:
        return _with_pytorch(model_dir, gpu, threads, requested)
    if predictor := _with_graphs(model_dir, threads, precision):
        return predictor
    if importlib.util.find_spec("torch") is None:
        raise LoadError(
            f"expected ONNX graphs in {model_dir}, which has none, and there is no PyTorch to"
            f" make them: {_ADD_GRAPHS}, or serve it with the cpu image"
        )
    description, graph = _choose_apart(model_dir, threads, requested)
    if graph is None:
        return _with_pytorch(model_dir, None, threads, PYTORCH)
    return Predictor(description, [OnnxRuntime(graph)], threads)


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


def _with_pytorch(
    model_dir: Path, gpu: int | None, threads: int, requested: str | None
) -> Predictor:
    import torch

    from dogbreeds.model import artifact
    from dogbreeds.serving.backends import pytorch

    torch.set_num_threads(1)  # forked workers would inherit a dead thread pool
    device = torch.device("cpu" if gpu is None else f"cuda:{gpu}")
    return pytorch.create_predictor(artifact.load(model_dir), device, threads, requested)


def _choose_apart(model_dir: Path, threads: int, requested: str | None) -> _Choice:
    """Run `main` in a child process, and return what it found."""
    process = subprocess.run(
        # -P: the model's folder is the working directory, and must not be imported from.
        [sys.executable, "-P", "-m", __name__, str(model_dir), str(threads), requested or ""],
        preexec_fn=processes.die_with_parent,  # safe: this process has one thread
        stdout=subprocess.PIPE,
        check=False,
    )
    code = process.returncode
    if code < 0:
        raise MemoryError(f"loading was killed by signal {-code}: there is too little memory")
    if code > 0:
        raise LoadError(f"loading ended with exit code {code}")
    found: _Choice | str = pickle.loads(process.stdout)  # of our own process  # noqa: S301
    if isinstance(found, str):
        raise LoadError(found)
    return found


def main() -> None:
    """Write which backend is best for an artifact on this CPU, or why there is none."""
    model_dir, threads, requested = sys.argv[1:]
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not mix with the output
    logging.basicConfig(format="%(message)s")  # as in the workers
    found: _Choice | str
    try:
        predictor = _with_pytorch(Path(model_dir), None, int(threads), requested or None)
        predictor.start()
        backend = predictor.backend
        found = predictor.description, backend.graph if isinstance(backend, OnnxRuntime) else None
    except Exception as error:
        logging.getLogger(__name__).exception("cannot load the model")
        found = str(error)
    with output:
        pickle.dump(found, output)


if __name__ == "__main__":
    main()
