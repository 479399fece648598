"""All settings of the server, read once from the environment.

Where SageMaker has a variable, it is used (see sagemaker-inference's ``parameters``).
"""

from collections.abc import Mapping
from pathlib import Path

from sagemaker_inference import parameters

from dogbreeds.model.onnx_runtime import PRECISIONS
from dogbreeds.serving import codecs
from dogbreeds.serving.user_code import script
from dogbreeds.system import resources
from dogbreeds.system.errors import DogbreedsError

BACKENDS = PYTORCH, ONNX_RUNTIME, CUDA_GRAPHS = ("pytorch", "onnxruntime", "cuda-graphs")

# Beyond this, another worker gains more than more threads per forward pass.
_THREADS_PER_WORKER = 2


class SettingsError(DogbreedsError, ValueError):
    """An environment variable has an invalid value."""


class Settings:
    """Settings of the server, each with its variable and its default."""

    def __init__(self, environment: Mapping[str, str]) -> None:
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

        self.host = environment.get("DOGBREEDS_HOST") or "0.0.0.0"  # noqa: S104  (of a container)
        self.port = number(parameters.BIND_TO_PORT_ENV, 8080, 1, 32767)  # MMS's highest
        # Models come and go over HTTP, by SageMaker's multi-model contract.
        self.multi_model = environment.get(parameters.MULTI_MODEL_ENV, "").lower() == "true"
        base = Path(environment.get(parameters.BASE_PATH_ENV) or "/opt/ml")
        # The artifact's folder; not used with `multi_model`.
        self.model_dir = Path(environment.get("SM_MODEL_DIR") or base / "model")
        self.cpus = resources.available_cpus()
        self.heap = min(2**31, resources.memory_limit() // 4)  # bytes; buffers take as much again
        self.max_response_bytes = self.heap // 8
        self.gpus = resources.gpu_count()
        # Code that came with the model; None with `multi_model`.
        self.user_code = None if self.multi_model else script.find(self.model_dir, environment)
        # A user's code uses threads little: decoding, for example, uses none.
        cpu_workers = self.cpus if self.user_code else max(1, self.cpus // _THREADS_PER_WORKER)
        default_workers = 1 if self.multi_model else self.gpus or cpu_workers
        # Processes per model.
        self.workers = number(parameters.MODEL_SERVER_WORKERS_ENV, default_workers, 1, 256)
        self.threads = max(1, self.cpus // self.workers)  # per forward pass
        other = number(parameters.MODEL_SERVER_TIMEOUT_ENV, 60, 1, 3600)  # AWS's name for seconds
        self.response_timeout = number(parameters.MODEL_SERVER_TIMEOUT_SECONDS_ENV, other, 1, 3600)
        payload = number(parameters.MAX_REQUEST_SIZE, 25, 0, 1024) * 2**20
        self.max_request_bytes = payload or 2**31 - 1  # larger bodies get 413
        self.queue_size = number("DOGBREEDS_QUEUE_SIZE", 100, 1, 10_000)  # wait; more get 503
        accept = environment.get(parameters.DEFAULT_INVOCATIONS_ACCEPT_ENV)
        if not (self.user_code or self.multi_model):  # with them, an answer may be of any type
            accept = choice(parameters.DEFAULT_INVOCATIONS_ACCEPT_ENV, codecs.ANSWERS)
        self.default_accept = accept or codecs.JSON  # if a request names no type
        self.vmargs = tuple(environment.get(parameters.MODEL_SERVER_VMARGS, "").split())  # Java's
        # Most requests per batch. A worker takes no more than half of its share of those in flight.
        # The defaults are by benchmarks/results/serving_batches.csv.
        batch_size = number("DOGBREEDS_BATCH_SIZE", 16 if self.gpus else 8, 1, 64)
        self.batch_size = 1 if self.user_code and not self.user_code.batches else batch_size
        # How long a request may wait for others in flight to share its batch.
        self.batch_delay_ms = number("DOGBREEDS_BATCH_DELAY_MS", 2 if self.gpus else 1, 1, 1000)
        # One of `BACKENDS`; None: the fastest that works.
        self.backend = choice("DOGBREEDS_BACKEND", BACKENDS)
        # One of `onnx_runtime.PRECISIONS`; None: int8 if it is as accurate and faster.
        precision = choice("DOGBREEDS_PRECISION", ("auto", *PRECISIONS))
        self.precision = None if precision == "auto" else precision

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
