"""What Multi Model Server's workers run: `handle`, for a whole batch of requests at a time."""

import itertools
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from dogbreeds.model.photo import PhotoError, PhotoTooLargeError
from dogbreeds.serving import codecs, loading
from dogbreeds.serving.errors import RequestError
from dogbreeds.serving.predictor import Predictor
from dogbreeds.serving.settings import FAILURE_PIPE_ENV, Settings
from dogbreeds.serving.user_code import script
from dogbreeds.system import processes, resources

logger = logging.getLogger(__name__)

# What loading takes at most, measured with models of 3 to 334 MB: PyTorch and its kin, and the
# weights as read, as loaded, converted and in ONNX Runtime's own layout. Of an artifact with graphs
# nothing is converted, but its files hold the weights twice. On CPUs far less of it is kept.
_BYTES_TO_LOAD = 400 * 2**20
_COPIES_OF_WEIGHTS = 5

_Pixels = npt.NDArray[np.uint8]
_Row = npt.NDArray[np.float32]

if TYPE_CHECKING:
    from dogbreeds.serving.user_code.service import UserService

_service: "Service | UserService | None" = None


class MmsContext(Protocol):
    """What of MMS's context is used here (``mms.context.Context``)."""

    system_properties: dict[str, Any]

    def get_all_request_header(self, idx: int) -> dict[str, Any]:
        """Return the headers of one request of the batch."""

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        """Set the status of one answer."""

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Set the content type of one answer."""

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Set a header of one answer."""


def handle(data: list[dict[str, Any]] | None, context: MmsContext) -> list[bytes] | None:
    """Answer a batch of requests, or load the model.

    Args:
        data: For each request its body and query parameters; None asks to load the model.
        context: MMS's context: headers in; status and content type of each answer out.

    Returns:
        For each request the body of its answer.
    """
    global _service
    if data is None:
        _service = _load(context)
        return None
    if _service is None:
        raise RuntimeError("MMS asked for a prediction before the model was loaded")
    return _service.answer(data, context)


class Service:
    """Answers batches of requests with one predictor.

    Args:
        predictor: A predictor that was started.
        default_accept: The answer's type where a request names none.
        threads: How many photos are decoded at the same time.
        max_request_bytes: The most that a compressed body may become.
    """

    def __init__(
        self,
        predictor: Predictor,
        default_accept: str,
        threads: int = 1,
        max_request_bytes: int = 25 * 2**20,
    ) -> None:
        self._predictor = predictor
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._description = predictor.description
        self._default_accept = default_accept
        self._max_request_bytes = max_request_bytes

    def answer(self, data: list[dict[str, Any]], context: MmsContext) -> list[bytes]:
        """Answer each request by its own content types; good photos share forward passes.

        Args:
            data: As in `handle`.
            context: As in `handle`.

        Returns:
            For each request the body of its answer. A request that fails does not touch others.
        """
        begin = time.perf_counter()
        requests = [self._read(item, context, index) for index, item in enumerate(data)]
        groups = self._decode([getattr(request, "photos", []) for request in requests])
        decoded = time.perf_counter()
        results = self._predict(groups)
        predicted = time.perf_counter()
        timing = (  # the batch's; the front end makes metrics of it
            f"decode;dur={(decoded - begin) * 1e3:.2f},"
            f" predict;dur={(predicted - decoded) * 1e3:.2f}, batch;desc={len(data)}"
        )
        bodies = []
        for index, (request, rows) in enumerate(zip(requests, results, strict=True)):
            try:
                if isinstance(request, RequestError):
                    raise request
                answers = [
                    row if isinstance(row, RequestError) else self._description.answer(row, top_k)
                    for row, top_k in zip(rows, request.top_k, strict=True)
                ]
                body = codecs.write_answers(request, answers)
                status, content_type = HTTPStatus.OK, request.accept
            except Exception as error:
                refusal = error if isinstance(error, RequestError) else _failure(error)
                body = (json.dumps(refusal.to_dict()) + "\n").encode()
                status, content_type = refusal.status, codecs.JSON
                if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:  # RFC 9110, 15.5.16
                    context.set_response_header(index, "accept-encoding", "gzip, deflate")
            context.set_response_status(status.value, status.phrase, index)
            context.set_response_content_type(index, content_type)
            context.set_response_header(index, "server-timing", timing)
            context.set_response_header(index, "x-model-version", self._description.version)
            bodies.append(body)
        return bodies

    def _read(
        self, item: dict[str, Any], context: MmsContext, index: int
    ) -> codecs.Request | RequestError:
        headers = {
            name.lower(): value
            for name, value in context.get_all_request_header(index).items()
            if isinstance(value, str)  # MMS lists the types of the body's parts beside them
        }
        parameters = {
            name: bytes(value).decode(errors="replace")
            for name, value in item.items()
            if name != "body"
        }
        try:
            body = bytes(item.get("body", b""))
            return codecs.read_request(
                body, headers, parameters, self._default_accept, self._max_request_bytes
            )
        except RequestError as error:
            return error
        except Exception as error:
            return _failure(error)

    def _decode(
        self, groups: list[list[bytes | RequestError]]
    ) -> list[list[_Pixels | RequestError]]:
        photos = [photo for group in groups for photo in group]
        decode: Callable[..., Iterable[_Pixels | RequestError]] = map
        if len(photos) > 1:  # one alone is spared the way through the pool
            if self._pool is None:  # made late, because no thread outlives the fork of the worker
                self._pool = ThreadPoolExecutor(self._threads, "decode")
            decode = self._pool.map
        results = iter(decode(self._pixels, photos))
        return [[next(results) for _ in group] for group in groups]

    def _predict(
        self, groups: list[list[_Pixels | RequestError]]
    ) -> list[list[_Row | RequestError]]:
        good = [pixels for group in groups for pixels in group if isinstance(pixels, np.ndarray)]
        try:
            rows: Iterator[_Row | RequestError]
            rows = iter(self._predictor.predict(np.stack(good)) if good else ())
        except Exception as error:
            rows = itertools.repeat(_failure(error))
        return [
            [pixels if isinstance(pixels, RequestError) else next(rows) for pixels in group]
            for group in groups
        ]

    def _pixels(self, photo: bytes | RequestError) -> _Pixels | RequestError:
        if isinstance(photo, RequestError):
            return photo
        try:
            return self._description.preprocessing.read_pixels(photo)
        except PhotoTooLargeError as error:
            status, word = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "photo too large"
            return RequestError(status, word, error.expected, error.got)
        except PhotoError as error:
            return RequestError(HTTPStatus.BAD_REQUEST, "not a photo", error.expected, error.got)
        except Exception as error:
            return _failure(error)


def _failure(error: Exception) -> RequestError:
    """Return the answer where the fault is ours; the log gets the traceback."""
    logger.error("cannot answer a request", exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return RequestError(status, "the server failed", "an answer", type(error).__name__)


def _load(context: MmsContext) -> "Service | UserService":
    """Load the model; if that fails, tell the server to give up instead of trying for ever.

    Raises:
        MemoryError: It would not fit beside the other models; MMS answers 507.
    """
    processes.die_with_parent()
    settings = Settings.from_environment(os.environ)
    properties = context.system_properties
    model_dir = Path(properties["model_dir"]).resolve()
    if settings.multi_model:
        size = sum(path.stat().st_size for path in model_dir.rglob("*") if path.is_file())
        if resources.free_memory() < _BYTES_TO_LOAD + _COPIES_OF_WEIGHTS * size:
            raise MemoryError
    try:
        if code := script.find(model_dir, os.environ):
            # Here, because scipy comes with it, which the slim image does without.
            from dogbreeds.serving.user_code.service import UserService

            return UserService(code, settings, model_dir, context)
        predictor = loading.load(
            model_dir, properties["gpu_id"], settings.threads, settings.backend, settings.precision
        )
        if settings.preload:
            os.register_at_fork(after_in_child=lambda: _start_in_worker(predictor))
        else:
            predictor.start()
        resources.give_back_memory()
    except Exception as error:
        if not settings.multi_model:  # where the others must go on
            _give_up(error)
        raise
    return Service(predictor, settings.default_accept, settings.threads, settings.max_request_bytes)


def _start_in_worker(predictor: Predictor) -> None:
    try:
        predictor.start()
        resources.give_back_memory()
    except Exception as error:  # Python would ignore it after a fork
        logger.exception("cannot run the model")
        _give_up(error)
        os._exit(1)


def _give_up(error: Exception) -> None:
    if pipe := os.environ.get(FAILURE_PIPE_ENV):
        descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(descriptor, f"cannot load the model: {error}\n".encode())
        finally:
            os.close(descriptor)
