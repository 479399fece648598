"""Answers batches of requests with the model that it loads."""

import functools
import itertools
import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from mms.protocol import otf_message_handler

from dogbreeds.model.photo import PhotoError, PhotoTooLargeError
from dogbreeds.serving import codecs, loading
from dogbreeds.serving.codecs import RequestError
from dogbreeds.serving.predictor import Predictor
from dogbreeds.serving.settings import Settings
from dogbreeds.serving.user_code import script
from dogbreeds.serving.worker import counting_loads, receive
from dogbreeds.system import resources

logger = logging.getLogger(__name__)

# Peak memory of loading, measured with models of 3 to 334 MB: PyTorch and its dependencies, and the
# weights as read, as loaded, converted and in ONNX Runtime's own layout.
_BYTES_TO_LOAD = 400 * 2**20
_COPIES_OF_WEIGHTS = 5

_Pixels = npt.NDArray[np.uint8]
_Row = npt.NDArray[np.float32]

if TYPE_CHECKING:
    from mms.context import Context

    from dogbreeds.serving.user_code.service import UserService


@dataclass(eq=False)
class Service:
    """Answers batches of requests with one started predictor."""

    predictor: Predictor
    settings: Settings

    # Created on first use, because threads do not survive the worker's fork.
    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.settings.threads, "decode")

    def answer(self, data: list[dict[str, Any]], context: "Context") -> list[bytes]:
        """Answer each request by itself, though photos share forward passes."""
        description, begin = self.predictor.description, time.perf_counter()
        requests = [self._read(item, context, index) for index, item in enumerate(data)]
        photos = [photo for request in requests for photo in getattr(request, "photos", ())]
        # A single photo does not pay for the pool.
        pixels = list((self._pool.map if len(photos) > 1 else map)(self._pixels, photos))
        decoded = time.perf_counter()
        results = iter(self._predict(pixels))
        predicted = time.perf_counter()
        timing = (  # of the whole batch; the front end derives metrics from it
            f"decode;dur={(decoded - begin) * 1e3:.2f},"
            f" predict;dur={(predicted - decoded) * 1e3:.2f}, batch;desc={len(data)}"
        )
        bodies = []
        for index, request in enumerate(requests):
            try:
                if isinstance(request, RequestError):
                    raise request
                rows = list(itertools.islice(results, len(request.photos)))
                answers = [
                    row if isinstance(row, RequestError) else description.answer(row, top_k)
                    for row, top_k in zip(rows, request.top_k, strict=True)
                ]
                body = codecs.write_answers(request, answers)
                status, content_type = int(HTTPStatus.OK), request.accept
            except Exception as error:
                refusal = _refusal(error)
                body, status, content_type = refusal.body(), refusal.status, codecs.JSON
                if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:  # RFC 9110, 15.5.16
                    context.set_response_header(index, "accept-encoding", "gzip, deflate")
            context.set_response_status(status, HTTPStatus(status).phrase, index)
            context.set_response_content_type(index, content_type)
            context.set_response_header(index, "server-timing", timing)
            context.set_response_header(index, "x-model-version", description.version)
            bodies.append(body)
        return bodies

    def _read(
        self, item: dict[str, Any], context: "Context", index: int
    ) -> codecs.Request | RequestError:
        headers = codecs.read_headers(context.get_all_request_header(index))
        try:
            body = item.pop("body", b"")
            parameters = {name: value.decode(errors="replace") for name, value in item.items()}
            accept, most_bytes = self.settings.default_accept, self.settings.max_request_bytes
            return codecs.read_request(body, headers, parameters, accept, most_bytes)
        except Exception as error:
            return _refusal(error)

    def _predict(self, photos: list[_Pixels | RequestError]) -> list[_Row | RequestError]:
        good = [pixels for pixels in photos if isinstance(pixels, np.ndarray)]
        rows: Iterator[_Row | RequestError]
        try:
            rows = iter(self.predictor.predict(np.stack(good)) if good else ())
        except Exception as error:
            rows = itertools.repeat(_refusal(error))
        return [pixels if isinstance(pixels, RequestError) else next(rows) for pixels in photos]

    def _pixels(self, photo: bytes | RequestError) -> _Pixels | RequestError:
        if isinstance(photo, RequestError):
            return photo
        try:
            return self.predictor.description.preprocessing.read_pixels(photo)
        except PhotoTooLargeError as error:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            return RequestError(status, "photo too large", error.expected, error.got)
        except PhotoError as error:
            return RequestError(HTTPStatus.BAD_REQUEST, "not a photo", error.expected, error.got)
        except Exception as error:
            return _refusal(error)


def _refusal(error: Exception) -> RequestError:
    """Return the client's answer; an error of ours becomes a 500, with its traceback in the log."""
    if isinstance(error, RequestError):
        return error
    logger.error("cannot answer a request", exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return RequestError(status, "the server failed", "an answer", type(error).__name__)


def load(context: "Context") -> "Service | UserService":
    """Load the model; if that fails, stop the server instead of retrying forever.

    One bad model of several must not stop the others: it raises MemoryError if it would not fit
    beside them, for which MMS answers 507.
    """
    otf_message_handler._retrieve_buffer = receive
    settings = Settings(os.environ)
    model_dir = Path(context.system_properties["model_dir"]).resolve()
    if not settings.multi_model:
        with counting_loads(settings.workers, ready=not settings.preload):
            return _load_service(settings, model_dir, context)
    size = sum(path.stat().st_size for path in model_dir.rglob("*") if path.is_file())
    if resources.free_memory() < _BYTES_TO_LOAD + _COPIES_OF_WEIGHTS * size:
        raise MemoryError
    return _load_service(settings, model_dir, context)


def _load_service(
    settings: Settings, model_dir: Path, context: "Context"
) -> "Service | UserService":
    if code := script.find(model_dir, os.environ):
        # Import it here, because it needs scipy, which the slim image lacks.
        from dogbreeds.serving.user_code.service import UserService

        return UserService(code, settings, model_dir, context)
    gpu = context.system_properties["gpu_id"]
    predictor = loading.load(model_dir, gpu, settings.threads, settings.backend, settings.precision)

    def start_in_worker() -> None:
        with counting_loads(settings.workers, ready=True):
            predictor.start()

    if settings.preload:
        os.register_at_fork(after_in_child=start_in_worker)
    else:
        predictor.start()
    return Service(predictor, settings)
