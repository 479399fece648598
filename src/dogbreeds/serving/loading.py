"""From an archive to a predictor.

PyTorch reads the archive, but ONNX Runtime, the fastest on CPUs, does without it. So on CPUs all
that needs PyTorch, the choice of the backend included, is done by a process that ends, and PyTorch
is not in the server's memory, where it would take some hundred megabytes::

    python -m dogbreeds.serving.loading MODEL_DIR THREADS BACKEND OUTPUT
"""

import logging
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from dogbreeds import processes
from dogbreeds.serving.onnx_runtime import OnnxRuntime
from dogbreeds.serving.predictor import Description, Predictor
from dogbreeds.serving.settings import PYTORCH

_Choice = tuple[Description, bytes | None]
"""What the other process finds: the description, and the ONNX graph if that is the fastest."""


class LoadError(RuntimeError):
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

    from dogbreeds import artifact
    from dogbreeds.serving import pytorch

    torch.set_num_threads(1)  # a pool of threads made here would be dead in forked workers
    device = torch.device("cpu" if gpu is None else f"cuda:{gpu}")
    return pytorch.create_predictor(artifact.load(model_dir), device, threads, wanted)


def _choose_apart(model_dir: Path, threads: int, wanted: str | None) -> _Choice:
    """Run `main` in a process of its own, and return what it found."""
    with tempfile.NamedTemporaryFile() as output:
        arguments = [str(model_dir), str(threads), wanted or "", output.name]
        code = subprocess.run(
            # -P: the working directory is the model's, and nothing is to be imported from there.
            [sys.executable, "-P", "-m", __name__, *arguments],
            preexec_fn=processes.die_with_parent,  # safe: this process has one thread
            check=False,
        ).returncode
        if code < 0:
            raise MemoryError(f"loading was ended by signal {-code}: there is too little memory")
        if code > 0:
            raise LoadError(output.read().decode() or f"exit code {code}")
        choice: _Choice = pickle.load(output)  # of our own process  # noqa: S301
        return choice


def main() -> int:
    """Choose the backend of an archive on this CPU; write the choice, or why there is none."""
    model_dir, threads, wanted, output = sys.argv[1:]
    logging.basicConfig(stream=sys.stdout, format="%(message)s")  # as in the workers
    with Path(output).open("wb") as file:
        try:
            predictor = _with_pytorch(Path(model_dir), None, int(threads), wanted or None)
            predictor.start()
        except Exception as error:
            logging.getLogger(__name__).exception("cannot load the model")
            file.write(str(error).encode())
            return 1
        backend = predictor.backend
        graph = backend.graph if isinstance(backend, OnnxRuntime) else None
        pickle.dump((predictor.description, graph), file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
