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
    """Settings of the server; `from_environment` has the variable and the default of each."""

    host: str  # address to listen on
    port: int  # HTTP
    model_dir: Path  # the artifact's folder; not used with `multi_model`
    multi_model: bool  # models come and go over HTTP, by SageMaker's multi-model contract
    cpus: int  # usable processors
    memory: int  # usable bytes
    gpus: int
    user_code: script.Script | None  # code that came with the model; None with `multi_model`
    workers: int  # processes per model
    threads: int  # per forward pass; all workers together have one per processor
    response_timeout: int  # seconds until a worker that does not answer is replaced
    max_request_bytes: int  # larger bodies get 413
    queue_size: int  # requests that may wait; more get 503
    default_accept: str  # the answer's type if a request names none
    vmargs: tuple[str, ...]  # additional JVM arguments
    # Most requests per batch. A worker takes no more than half of its share of those in flight.
    batch_size: int
    batch_delay_ms: int  # how long a request may wait for others in flight to share its batch
    backend: str | None  # one of `BACKENDS`; None: the fastest that works
    # One of `onnx_runtime.PRECISIONS`; None: int8 if it is as accurate and faster
    precision: str | None

    @property
    def preload(self) -> bool:
        """Whether workers are forked from a process that has loaded the model.

        They share its memory, and a lost one is replaced at once. But CUDA and a user's threads do
        not survive a fork, and only a worker that loads can report that a model does not fit (507).
        """
        return self.gpus == 0 and not self.multi_model and self.user_code is None

    @property
    def worker_timeout(self) -> int | None:
        """Seconds after which a worker ends itself; None: MMS ends it, and bounds loading, too."""
        return self.response_timeout if self.multi_model or self.user_code else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read environment variables; SettingsError if invalid, ScriptError of `script.find`."""

        def number(name: str, default: int, low: int, high: int) -> int:
            text = environment.get(name, "")
            if text and not (text.isdecimal() and low <= int(text) <= high):
                raise SettingsError(f"expected {name} from {low} to {high}, got {text!r}")
            return int(text) if text else default

        def choice(name: str, choices: tuple[str, ...]) -> str | None:
            text = environment.get(name) or None
            if text not in (None, *choices):
                raise SettingsError(f"expected {name} {', '.join(choices)}, got {text!r}")
            return text

        precision = choice(PRECISION_ENV, ("auto", *PRECISIONS))
        cpus, gpus = resources.available_cpus(), resources.gpu_count()
        payload = number(parameters.MAX_REQUEST_SIZE, 25, 0, 1024) * 2**20
        multi_model = environment.get(parameters.MULTI_MODEL_ENV, "").lower() == "true"
        base = Path(environment.get(parameters.BASE_PATH_ENV) or "/opt/ml")
        model_dir = Path(environment.get(MODEL_DIR_ENV) or base / "model")
        user_code = None if multi_model else script.find(model_dir, environment)
        accept = environment.get(parameters.DEFAULT_INVOCATIONS_ACCEPT_ENV)
        if not (user_code or multi_model):  # with them, an answer may be of any type
            accept = choice(parameters.DEFAULT_INVOCATIONS_ACCEPT_ENV, codecs.ANSWERS)
        # A user's code uses threads little: decoding, for example, uses none.
        cpu_workers = cpus if user_code else max(1, cpus // _THREADS_PER_WORKER)
        default_workers = 1 if multi_model else gpus or cpu_workers
        workers = number(parameters.MODEL_SERVER_WORKERS_ENV, default_workers, 1, 256)
        # The defaults are by benchmarks/results/serving_batches.csv.
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
            default_accept=accept or codecs.JSON,
            vmargs=tuple(environment.get(parameters.MODEL_SERVER_VMARGS, "").split()),
            batch_size=1 if user_code and not user_code.batches else batch_size,
            batch_delay_ms=number("DOGBREEDS_BATCH_DELAY_MS", 2 if gpus else 1, 1, 1000),
            backend=choice(BACKEND_ENV, BACKENDS),
            precision=None if precision == "auto" else precision,
        )
