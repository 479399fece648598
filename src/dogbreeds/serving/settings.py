"""All settings of the server, read once from the environment.

The variables are SageMaker's own where it has one (see sagemaker-inference's ``parameters``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sagemaker_inference import parameters

from dogbreeds.system import resources
from dogbreeds.system.errors import DogbreedsError

MODEL_DIR_ENV = "SM_MODEL_DIR"
FAILURE_PIPE_ENV = "DOGBREEDS_FAILURE_PIPE"
"""Set by the server for its workers: the named pipe into which a reason to give up is written."""
BACKEND_ENV = "DOGBREEDS_BACKEND"
NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}
"""Variables without which ONNX Runtime reports to Microsoft; it reads them when it is loaded."""
BACKENDS = PYTORCH, ONNX_RUNTIME, CUDA_GRAPHS = ("pytorch", "onnxruntime", "cuda-graphs")

# With more threads a worker's forward pass gains less than another worker would.
_THREADS_PER_WORKER = 2


class SettingsError(DogbreedsError, ValueError):
    """An environment variable holds something that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """Settings of the server.

    Attributes:
        port: Where HTTP is served on all interfaces (``SAGEMAKER_BIND_TO_PORT``, 8080).
        model_dir: Where the archive lies (``SM_MODEL_DIR``, else ``model`` in
            ``SAGEMAKER_BASE_DIR``, else ``/opt/ml/model``).
        multi_model: Whether models are loaded and unloaded over HTTP under SageMaker's contract
            for multi-model endpoints (``SAGEMAKER_MULTI_MODEL``); `model_dir` is not used then.
        cpus: Processors that may be used.
        memory: Bytes of memory that may be used.
        gpus: GPUs present.
        workers: Worker processes of a model (``SAGEMAKER_MODEL_SERVER_WORKERS``; one for each
            GPU or for each 2 processors, and one where there are several models).
        threads: Threads of each worker's forward pass, so that all workers together have one
            for each processor.
        response_timeout: Seconds until a worker that does not answer is replaced
            (``SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS``, 60: SageMaker's own limit).
        max_request_bytes: Larger bodies get 413 (``SAGEMAKER_MAX_PAYLOAD_IN_MB``, 25: the limit
            of real-time endpoints).
        queue_size: Requests that may wait for a worker; more get 503 (``DOGBREEDS_QUEUE_SIZE``).
        default_accept: The answer's type where a request names none
            (``SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT``, application/json).
        vmargs: Further arguments of the Java machine (``SAGEMAKER_MODEL_SERVER_VMARGS``).
        batch_size: The most requests that a worker takes at a time; it takes no more than half of
            its share of those in flight (``DOGBREEDS_BATCH_SIZE``; 16 on a GPU, 8 on CPUs, see
            ``benchmarks/results/serving_batches.csv``).
        batch_delay_ms: How long a request may wait for others that are in flight to share its
            batch (``DOGBREEDS_BATCH_DELAY_MS``; 2 on a GPU, 1 on CPUs; at least 1).
        backend: What runs the model, a name of `BACKENDS` (``DOGBREEDS_BACKEND``); None is the
            fastest that works here.
    """

    port: int
    model_dir: Path
    multi_model: bool
    cpus: int
    memory: int
    gpus: int
    workers: int
    threads: int
    response_timeout: int
    max_request_bytes: int
    queue_size: int
    default_accept: str
    vmargs: tuple[str, ...]
    batch_size: int
    batch_delay_ms: int
    backend: str | None

    @property
    def preload(self) -> bool:
        """Whether workers are forked from a process that has loaded the model.

        They then share its memory and a lost one is replaced at once. CUDA cannot be forked, and
        only a worker that loads by itself can tell that its model does not fit (507).
        """
        return self.gpus == 0 and not self.multi_model

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings.

        Args:
            environment: The environment variables, e.g. ``os.environ``.

        Raises:
            SettingsError: A variable is not a number or out of range.
        """

        def number(name: str, default: int, low: int, high: int) -> int:
            text = environment.get(name, "")
            if text and not (text.isdecimal() and low <= int(text) <= high):
                raise SettingsError(f"expected {name} from {low} to {high}, got {text!r}")
            return int(text) if text else default

        backend = environment.get(BACKEND_ENV) or None
        if backend not in (None, *BACKENDS):
            raise SettingsError(f"expected {BACKEND_ENV} {', '.join(BACKENDS)}, got {backend!r}")
        cpus, gpus = resources.available_cpus(), resources.gpu_count()
        multi_model = environment.get(parameters.MULTI_MODEL_ENV, "").lower() == "true"
        default_workers = 1 if multi_model else gpus or max(1, cpus // _THREADS_PER_WORKER)
        workers = number(parameters.MODEL_SERVER_WORKERS_ENV, default_workers, 1, 256)
        base = Path(environment.get(parameters.BASE_PATH_ENV) or "/opt/ml")
        return cls(
            port=number(parameters.BIND_TO_PORT_ENV, 8080, 1, 32767),  # MMS knows no higher one
            model_dir=Path(environment.get(MODEL_DIR_ENV) or base / "model"),
            multi_model=multi_model,
            cpus=cpus,
            memory=resources.memory_limit(),
            gpus=gpus,
            workers=workers,
            threads=max(1, cpus // workers),
            response_timeout=number(parameters.MODEL_SERVER_TIMEOUT_SECONDS_ENV, 60, 1, 3600),
            max_request_bytes=number(parameters.MAX_REQUEST_SIZE, 25, 1, 1024) * 2**20,
            queue_size=number("DOGBREEDS_QUEUE_SIZE", 100, 1, 10_000),
            default_accept=environment.get(parameters.DEFAULT_INVOCATIONS_ACCEPT_ENV)
            or "application/json",
            vmargs=tuple(environment.get(parameters.MODEL_SERVER_VMARGS, "").split()),
            batch_size=number("DOGBREEDS_BATCH_SIZE", 16 if gpus else 8, 1, 64),
            batch_delay_ms=number("DOGBREEDS_BATCH_DELAY_MS", 2 if gpus else 1, 1, 1000),
            backend=backend,
        )
