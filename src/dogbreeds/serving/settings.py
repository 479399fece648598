"""All settings of the server, read once from the environment.

Where SageMaker has a variable, it is used (see sagemaker-inference's ``parameters``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sagemaker_inference import parameters

from dogbreeds.model.onnx_runtime import PRECISIONS
from dogbreeds.serving import codecs
from dogbreeds.serving.user_code import script
from dogbreeds.system import resources
from dogbreeds.system.errors import DogbreedsError

MODEL_DIR_ENV = "SM_MODEL_DIR"
HOST_ENV = "DOGBREEDS_HOST"
BACKEND_ENV = "DOGBREEDS_BACKEND"
PRECISION_ENV = "DOGBREEDS_PRECISION"
BACKENDS = PYTORCH, ONNX_RUNTIME, CUDA_GRAPHS = ("pytorch", "onnxruntime", "cuda-graphs")

# Beyond this, another worker gains more than more threads per forward pass.
_THREADS_PER_WORKER = 2


class SettingsError(DogbreedsError, ValueError):
    """An environment variable has an invalid value."""


@dataclass(frozen=True)
class Settings:
    """Settings of the server, each with its environment variable and default."""

    host: str  # address to listen on (DOGBREEDS_HOST, 0.0.0.0: all interfaces)
    port: int  # HTTP (SAGEMAKER_BIND_TO_PORT, 8080)
    # The artifact's folder (SM_MODEL_DIR, else `model` in SAGEMAKER_BASE_DIR, else /opt/ml/model)
    model_dir: Path
    # Whether models are loaded and unloaded over HTTP under SageMaker's contract for multi-model
    # endpoints (SAGEMAKER_MULTI_MODEL); `model_dir` is not used then.
    multi_model: bool
    cpus: int  # usable processors
    memory: int  # usable bytes
    gpus: int
    user_code: script.Script | None  # code that came with the model; None with `multi_model`
    # Worker processes per model (SAGEMAKER_MODEL_SERVER_WORKERS; one per GPU or per 2 processors,
    # one per processor with `user_code`, one with `multi_model`)
    workers: int
    threads: int  # per forward pass; all workers together have one per processor
    # Seconds until a worker that does not answer is replaced
    # (SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS, 60: SageMaker's own limit)
    response_timeout: int
    # Larger bodies get 413 (SAGEMAKER_MAX_PAYLOAD_IN_MB, 25: the limit of real-time endpoints; 0
    # for no limit but the front end's memory)
    max_request_bytes: int
    queue_size: int  # requests that may wait; more get 503 (DOGBREEDS_QUEUE_SIZE, 100)
    # The answer's type if a request names none (SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT,
    # application/json)
    default_accept: str
    vmargs: tuple[str, ...]  # additional JVM arguments (SAGEMAKER_MODEL_SERVER_VMARGS)
    # Most requests per batch (DOGBREEDS_BATCH_SIZE; 16 on a GPU, 8 on CPUs, by
    # benchmarks/results/serving_batches.csv; 1 with `user_code` that does not batch). A worker
    # takes no more than half of its share of those in flight.
    batch_size: int
    # How long a request may wait for others that are in flight to share its batch
    # (DOGBREEDS_BATCH_DELAY_MS; 2 on a GPU, 1 on CPUs; at least 1)
    batch_delay_ms: int
    backend: str | None  # one of `BACKENDS` (DOGBREEDS_BACKEND); None: the fastest that works
    # One of `onnx_runtime.PRECISIONS` (DOGBREEDS_PRECISION); None (`auto`): int8 if it is as
    # accurate and faster
    precision: str | None

    @property
    def preload(self) -> bool:
        """Whether workers are forked from a process that has loaded the model.

        They then share its memory, and a lost one is replaced at once. Neither CUDA nor threads and
        connections of a user's code survive a fork, and only a worker that loads by itself can
        report that its model does not fit (507).
        """
        return self.gpus == 0 and not self.multi_model and self.user_code is None

    @property
    def worker_timeout(self) -> int | None:
        """Seconds after which a worker ends itself; None: MMS ends it, and bounds loading, too."""
        return self.response_timeout if self.multi_model or self.user_code else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings from environment variables.

        SettingsError if one has an invalid value, ScriptError if the model's code is missing.
        """

        def number(name: str, default: int, low: int, high: int) -> int:
            text = environment.get(name, "")
            if text and not (text.isdecimal() and low <= int(text) <= high):
                raise SettingsError(f"expected {name} from {low} to {high}, got {text!r}")
            return int(text) if text else default

        backend = environment.get(BACKEND_ENV) or None
        if backend not in (None, *BACKENDS):
            raise SettingsError(f"expected {BACKEND_ENV} {', '.join(BACKENDS)}, got {backend!r}")
        precision = environment.get(PRECISION_ENV) or "auto"
        if precision not in ("auto", *PRECISIONS):
            raise SettingsError(
                f"expected {PRECISION_ENV} auto, {' or '.join(PRECISIONS)}, got {precision!r}"
            )
        cpus, gpus = resources.available_cpus(), resources.gpu_count()
        payload = number(parameters.MAX_REQUEST_SIZE, 25, 0, 1024) * 2**20
        multi_model = environment.get(parameters.MULTI_MODEL_ENV, "").lower() == "true"
        base = Path(environment.get(parameters.BASE_PATH_ENV) or "/opt/ml")
        model_dir = Path(environment.get(MODEL_DIR_ENV) or base / "model")
        user_code = None if multi_model else script.find(model_dir, environment)
        accept = environment.get(parameters.DEFAULT_INVOCATIONS_ACCEPT_ENV) or codecs.JSON
        if accept not in codecs.ANSWERS and not (user_code or multi_model):
            raise SettingsError(
                f"expected {parameters.DEFAULT_INVOCATIONS_ACCEPT_ENV}"
                f" {', '.join(codecs.ANSWERS)}, got {accept!r}"
            )
        # A user's code uses threads little: decoding, for example, uses none.
        cpu_workers = cpus if user_code else max(1, cpus // _THREADS_PER_WORKER)
        default_workers = 1 if multi_model else gpus or cpu_workers
        workers = number(parameters.MODEL_SERVER_WORKERS_ENV, default_workers, 1, 256)
        batch_size = number("DOGBREEDS_BATCH_SIZE", 16 if gpus else 8, 1, 64)
        return cls(
            host=environment.get(HOST_ENV) or "0.0.0.0",  # noqa: S104  (of a container)
            port=number(parameters.BIND_TO_PORT_ENV, 8080, 1, 32767),  # MMS accepts no higher one
            model_dir=model_dir,
            multi_model=multi_model,
            cpus=cpus,
            memory=resources.memory_limit(),
            gpus=gpus,
            user_code=user_code,
            workers=workers,
            threads=max(1, cpus // workers),
            response_timeout=number(parameters.MODEL_SERVER_TIMEOUT_SECONDS_ENV, 60, 1, 3600),
            max_request_bytes=payload or 2**31 - 1,
            queue_size=number("DOGBREEDS_QUEUE_SIZE", 100, 1, 10_000),
            default_accept=accept,
            vmargs=tuple(environment.get(parameters.MODEL_SERVER_VMARGS, "").split()),
            batch_size=1 if user_code and not user_code.batches else batch_size,
            batch_delay_ms=number("DOGBREEDS_BATCH_DELAY_MS", 2 if gpus else 1, 1, 1000),
            backend=backend,
            precision=None if precision == "auto" else precision,
        )
