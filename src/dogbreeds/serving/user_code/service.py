"""Answers requests with a model's own code."""
# A script's model and data are of any type, and so is MMS's context.
# ruff: noqa: ANN401

import copy
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import responses
from pathlib import Path
from typing import Any

from PIL import UnidentifiedImageError
from sagemaker_inference import content_types, encoder
from sagemaker_inference.errors import BaseInferenceToolkitError, UnsupportedFormatError

from dogbreeds.serving import codecs
from dogbreeds.serving.codecs import RequestError
from dogbreeds.serving.settings import Settings
from dogbreeds.serving.user_code import cores, script
from dogbreeds.serving.user_code.functions import Function, functions_of
from dogbreeds.system.resources import keep_freed_memory

logger = logging.getLogger(__name__)


@dataclass
class _Request:
    context: Any  # MMS's, with this request as its only one
    content_type: str | None  # as the client sent it
    accept: str  # as the client sent it, or the default
    value: Any  # the body, then the result of each function
    error: RequestError | None = None  # why there is none
    milliseconds: dict[str, float] = field(default_factory=dict)  # by stage


class UserService:
    """Loads a model by its own code (or raises ScriptError) and answers batches of requests."""

    def __init__(
        self, code: script.Script, settings: Settings, model_dir: Path, context: Any
    ) -> None:
        self.settings = settings
        if settings.multi_model:  # else the server did it, once for all workers
            packages = script.install(code, Path(tempfile.mkdtemp(prefix="packages-")))
            sys.path[:0] = [str(packages)] if packages else []
        if (gpu := context.system_properties["gpu_id"]) is not None:
            import torch

            torch.cuda.set_device(gpu)  # makes "cuda" mean the worker's own
        # As before PyTorch 2.6: whoever can change the pickle can change the code beside it.
        if "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ:
            os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        module = _loading(code.module.name if code.module else "", script.load, code)
        self._functions = functions_of(module)
        folder = str(model_dir)
        self._load("pre_model_fn", folder, context)
        self._model = self._load("model_fn", folder, context)
        self._load("model_warmup_fn", folder, self._model, context)
        keep_freed_memory()  # that of each request: a tenth of a ResNet-18's forward pass
        self._share_of_cores = cores.sharing(settings.workers, settings.cpus)

    def _load(self, name: str, *arguments: Any) -> Any:
        function = self._functions.get(name)
        return _loading(name, function, *arguments) if function else None

    def answer(self, data: Sequence[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer each request by itself; see `dogbreeds.serving.worker.handle`."""
        requests = [self._read(item, context, index) for index, item in enumerate(data)]
        with self._share_of_cores():
            if "transform_fn" in self._functions:
                self._run("transform", requests)
            else:
                self._run("input", requests)
                if batch_predict_fn := self._functions.get("batch_predict_fn"):
                    self._predict_together(batch_predict_fn, requests)
                else:
                    self._run("predict", requests)
                self._run("output", requests)
        return [self._finish(request, len(requests)) for request in requests]

    def _read(self, item: dict[str, Any], context: Any, index: int) -> _Request:
        own = copy.copy(context)
        own.request_processor = [context.request_processor[index]]
        own.request_ids = {0: context.get_request_id(index)}
        headers = codecs.read_headers(own.get_all_request_header(0))
        named = headers.get("accept", "")
        accept = self.settings.default_accept if named in ("", content_types.ANY) else named
        content_type = headers.get("content-type")
        request = _Request(own, content_type, accept, bytes(item.get("body", b"")))
        if (content_type or "").partition(";")[0].strip().lower() in content_types.UTF8_TYPES:
            try:
                request.value = request.value.decode()
            except UnicodeDecodeError as error:
                request.error = _refusal(error, "input")
        return request

    def _run(self, stage: str, requests: list[_Request], function: Function | None = None) -> None:
        function = function or self._functions[f"{stage}_fn"]
        for request in requests:
            if request.error:
                continue
            arguments = {
                "transform": (self._model, request.value, request.content_type, request.accept),
                "input": (request.value, request.content_type),
                "predict": (request.value, self._model),
                "output": (request.value, request.accept),
            }[stage]
            begin = time.perf_counter()
            try:
                request.value = function(*arguments, request.context)
            except Exception as error:
                request.error = _refusal(error, stage)
            request.milliseconds[stage] = (time.perf_counter() - begin) * 1e3

    def _predict_together(self, function: Function, requests: list[_Request]) -> None:
        """Predict all at once, or one by one if that fails, to find the request at fault."""

        def predict(values: list[Any], *others: Any) -> list[Any]:
            predictions = list(function(values, *others))
            if len(predictions) != len(values):
                raise TypeError(f"expected {len(values)} predictions, got {len(predictions)}")
            return predictions

        requests = [request for request in requests if request.error is None]
        if not requests:
            return
        together = copy.copy(requests[0])
        together.value = [request.value for request in requests]
        together.milliseconds = {}
        self._run("predict", [together], predict)
        for index, request in enumerate(requests):
            request.milliseconds |= together.milliseconds
            if together.error is None:
                request.value = together.value[index]
            elif len(requests) == 1:
                request.error = together.error
            else:
                self._predict_together(function, [request])

    def _finish(self, request: _Request, batch: int) -> bytes:
        timing = [f"{stage};dur={taken:.2f}" for stage, taken in request.milliseconds.items()]
        context = request.context
        context.set_response_header(0, "server-timing", ", ".join([*timing, f"batch;desc={batch}"]))
        try:
            if request.error is None:
                body, content_type = _encode(request)
                if len(body) > (most := self.settings.max_response_bytes):
                    raise ValueError(f"expected an answer of at most {most} bytes, got {len(body)}")
                context.set_response_content_type(0, content_type)
                return body
        except (TypeError, ValueError) as error:
            request.error = _refusal(error, "output")
        status = request.error.status
        context.set_response_status(status, responses.get(status, "Error"), 0)
        context.set_response_content_type(0, content_types.JSON)
        return request.error.body()


def _encode(request: _Request) -> tuple[bytes, str]:
    """Return the body and its type: the function's, else the first accepted one."""
    value, content_type = request.value, request.accept.partition(",")[0].partition(";")[0].strip()
    if isinstance(value, tuple) and len(value) == 2:
        value, content_type = value
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, bytes | bytearray | memoryview):
        value, content_type = encoder.encode(value, content_types.JSON).encode(), content_types.JSON
    return bytes(value), content_type


def _loading(name: str, function: Function, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except script.ScriptError:
        raise
    except (Exception, SystemExit) as error:
        words = " ".join(str(error).split())[:500]
        raise script.ScriptError(f"{name} raised {type(error).__name__}: {words}") from error


def _refusal(error: Exception, stage: str) -> RequestError:
    """Return the client's answer: a 4xx for what it can fix; anything else goes to the log."""
    status, message = int(HTTPStatus.INTERNAL_SERVER_ERROR), "the server failed"
    expected, got = "an answer", type(error).__name__
    if isinstance(error, BaseInferenceToolkitError):
        status, message = error.status_code, str(error.message)
    elif isinstance(error, UnsupportedFormatError):
        at_output = stage == "output"
        status = HTTPStatus.NOT_ACCEPTABLE if at_output else HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        message = str(error).partition("\n")[0]
    elif stage in ("input", "transform") and isinstance(error, ValueError | UnidentifiedImageError):
        status, message = HTTPStatus.BAD_REQUEST, str(error)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        expected = f"what the model's {stage}_fn takes"
    else:
        logger.error("%s_fn failed", stage, exc_info=error)
    return RequestError(status, message, expected, got)
