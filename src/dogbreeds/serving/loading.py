"""From an archive to a predictor.

PyTorch reads the archive, but ONNX Runtime, the fastest on CPUs, does without it. So on CPUs all
that needs PyTorch, the choice of the backend included, is done by a process that ends, and PyTorch
is not in the server's memory, where it would take some hundred megabytes::

    python -m dogbreeds.serving.loading MODEL_DIR THREADS BACKEND
"""

import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

from dogbreeds.serving.backends.onnx_runtime import OnnxRuntime
from dogbreeds.serving.predictor import Description, Predictor
from dogbreeds.serving.settings import PYTORCH
from dogbreeds.system import processes
from dogbreeds.system.errors import DogbreedsError

_Choice = tuple[Description, bytes | None]
"""What the other process finds: the description, and the ONNX graph if that is the fastest."""


class LoadError(DogbreedsError, RuntimeError):
    """The model cannot be loaded; the message says why."""


def load(model_dir: Path, gpu: int | None, threads: int, wanted: str | None) -> Predictor:
    """Return a predictor, not started, for an archive.

    Args:
        model_dir: The archive's folder.
        gpu: The number of the GPU to run on, or None for the CPU.
        threads: Threads of one forward pass on the CPU.
        wanted: A name of `settings.BACKENDS`, or None for the fastest that works.

    Raises:
        ArtifactError, BackendError, LoadError: There is no archive, it is damaged, or it cannot
            run here.
        MemoryError: There is too little memory to load it.
    """
    if gpu is None and wanted != PYTORCH:
        description, graph = _choose_apart(model_dir, threads, wanted)
        if graph is not None:
            return Predictor(description, [OnnxRuntime(graph)], threads)
        wanted = PYTORCH
    return _with_pytorch(model_dir, gpu, threads, wanted)


def _with_pytorch(model_dir: Path, gpu: int | None, threads: int, wanted: str | None) -> Predictor:
    import torch

    from dogbreeds.model import artifact
    from dogbreeds.serving.backends import pytorch

    torch.set_num_threads(1)  # a pool of threads made here would be dead in forked workers
    device = torch.device("cpu" if gpu is None else f"cuda:{gpu}")
    return pytorch.create_predictor(artifact.load(model_dir), device, threads, wanted)


def _choose_apart(model_dir: Path, threads: int, wanted: str | None) -> _Choice:
    """Run `main` in a process of its own, and return what it found."""
    process = subprocess.run(
        # -P: the working directory is the model's, and nothing is to be imported from there.
        [sys.executable, "-P", "-m", __name__, str(model_dir), str(threads), wanted or ""],
        preexec_fn=processes.die_with_parent,  # safe: this process has one thread
        stdout=subprocess.PIPE,
        check=False,
    )
    if process.returncode < 0:
        raise MemoryError(
            f"loading was ended by signal {-process.returncode}: there is too little memory"
        )
    if process.returncode > 0:
        raise LoadError(f"loading ended with exit code {process.returncode}")
    found: _Choice | str = pickle.loads(process.stdout)  # of our own process  # noqa: S301
    if isinstance(found, str):
        raise LoadError(found)
    return found


def main() -> None:
    """Write what backend is best for an archive on this CPU, or why there is none."""
    model_dir, threads, wanted = sys.argv[1:]
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints may get in between
    logging.basicConfig(format="%(message)s")  # as in the workers
    found: _Choice | str
    try:
        predictor = _with_pytorch(Path(model_dir), None, int(threads), wanted or None)
        predictor.start()
        backend = predictor.backend
        graph = backend.graph if isinstance(backend, OnnxRuntime) else None
        found = predictor.description, graph
    except Exception as error:
        logging.getLogger(__name__).exception("cannot load the model")
        found = str(error)
    with output:
        pickle.dump(found, output)


if __name__ == "__main__":
    main()
