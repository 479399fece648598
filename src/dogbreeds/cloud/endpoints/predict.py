"""Predictions of a live endpoint."""

import functools
import json
import queue
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from botocore.exceptions import ClientError

from dogbreeds.cloud import s3
from dogbreeds.cloud.aws import Cloud, CloudError, error_code, get_if_exists
from dogbreeds.cloud.endpoints.config import endpoint_name
from dogbreeds.cloud.settings import ConfigError

_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
_REQUESTS_AT_A_TIME = 8
_ASYNC_SECONDS = 900.0


@dataclass(frozen=True)
class Prediction:
    """An endpoint's answer for a photo.

    Attributes:
        photo: The file.
        answer: ``predicted_label``, ``class_name``, ``probability``, ...; None if it was refused.
        error: Why it was refused; empty otherwise.
        variant: The variant that answered; empty where SageMaker does not report it.
    """

    photo: Path
    answer: dict[str, Any] | None
    error: str = ""
    variant: str = ""


def predict(
    cloud: Cloud, photos: Sequence[Path], target: str | None = None
) -> Iterator[Prediction]:
    """Return the prediction of each photo, in order; requests run in parallel.

    Args:
        cloud: The account, region and settings.
        photos: Photo files.
        target: Name of the artifact, for a multi-model endpoint.

    Raises:
        ConfigError: A multi-model endpoint needs a target.
        botocore.exceptions.ClientError: AWS refused, other than a photo that the model refuses.
    """
    name = endpoint_name(cloud.settings)
    kind = cloud.settings.endpoint.kind
    ask = _ask_async if kind == "async" else functools.partial(_ask, target=target)
    if kind == "multi-model" and not target:
        raise ConfigError("a multi-model endpoint needs the name of a model: --target-model")
    client = cloud.client("sagemaker-runtime")
    return _concurrently(lambda photo: ask(cloud, client, name, photo), photos)


def _concurrently(
    predict_one: Callable[[Path], Prediction], photos: Sequence[Path]
) -> Iterator[Prediction]:
    """Yield a function's result per photo, in order.

    The threads are daemons, unlike those of a ThreadPoolExecutor: Ctrl-C does not wait for an
    endpoint that hangs.
    """
    waiting: queue.SimpleQueue[tuple[Path, Future[Prediction]]] = queue.SimpleQueue()
    predictions: list[Future[Prediction]] = [Future() for _ in photos]
    for task in zip(photos, predictions, strict=True):
        waiting.put(task)

    def work() -> None:
        while not waiting.empty():
            try:
                photo, future = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                future.set_result(predict_one(photo))
            except Exception as error:  # raised by result()
                future.set_exception(error)

    try:
        for _ in range(min(_REQUESTS_AT_A_TIME, len(photos))):
            Thread(target=work, daemon=True).start()
        for prediction in predictions:
            yield prediction.result()
    finally:
        while not waiting.empty():
            waiting.get()


def _ask(
    cloud: Cloud,
    client: Any,  # noqa: ANN401
    name: str,
    photo: Path,
    target: str | None = None,
) -> Prediction:
    options = {"TargetModel": target} if target else {}
    try:
        response = client.invoke_endpoint(
            EndpointName=name,
            ContentType=_content_type(photo),
            Accept="application/json",
            Body=photo.read_bytes(),
            **options,
        )
    except ClientError as error:
        return Prediction(photo, None, _refusal(error))
    variant = response.get("InvokedProductionVariant", "")
    return _parsed(photo, response["Body"].read(), variant)


def _ask_async(cloud: Cloud, client: Any, name: str, photo: Path) -> Prediction:  # noqa: ANN401
    """Upload the photo to the bucket, invoke the endpoint, and poll for the answer."""
    settings = cloud.settings
    settings.require("aws.bucket")
    storage = cloud.client("s3")
    key = f"{settings.aws.prefix}/async/photos/{uuid.uuid4().hex}{photo.suffix.lower()}"
    storage.put_object(Bucket=settings.aws.bucket, Key=key, Body=photo.read_bytes())
    response = client.invoke_endpoint_async(
        EndpointName=name,
        ContentType=_content_type(photo),
        Accept="application/json",
        InputLocation=f"s3://{settings.aws.bucket}/{key}",
    )
    deadline = time.monotonic() + _ASYNC_SECONDS
    while time.monotonic() < deadline:
        if (answer := _fetch(storage, response["OutputLocation"])) is not None:
            return _parsed(photo, answer, "")
        failure = response.get("FailureLocation")
        if failure and (reason := _fetch(storage, failure)) is not None:
            return Prediction(photo, None, reason.decode(errors="replace").strip())
        time.sleep(1)
    return Prediction(photo, None, f"no answer after {_ASYNC_SECONDS:g} s")


def _fetch(client: Any, uri: str) -> bytes | None:  # noqa: ANN401
    bucket, key = s3.parse(uri)
    answer = get_if_exists(client.get_object, Bucket=bucket, Key=key)
    return None if answer is None else bytes(answer["Body"].read())


def _content_type(photo: Path) -> str:
    return _TYPES.get(photo.suffix.lower(), "application/octet-stream")


def _refusal(error: ClientError) -> str:
    """Return the model's message; raise errors that do not concern this photo."""
    if error_code(error) != "ModelError":
        raise error
    return str(error.response.get("OriginalMessage") or error.response["Error"]["Message"])


def _parsed(photo: Path, body: bytes, variant: str) -> Prediction:
    try:
        answer = json.loads(body)
        answer["predicted_label"]
    except (ValueError, KeyError, TypeError):
        return Prediction(photo, None, f"expected a JSON answer, got {body[:200]!r}")
    return Prediction(photo, answer, variant=variant)


def smoke_test(cloud: Cloud, source: str, photo: Path | None) -> Prediction:
    """Return the endpoint's prediction of a photo, or of a plain brown picture without one.

    Args:
        cloud: The account, region and settings.
        source: The deployed model; of a multi-model endpoint's folder, one artifact is invoked.
        photo: The photo.

    Raises:
        CloudError: The answer is not that of our model.
    """
    several = cloud.settings.endpoint.kind == "multi-model"
    target = _first_archive(cloud, source) if several else None
    with tempfile.TemporaryDirectory() as folder:
        if photo is None:
            from PIL import Image

            photo = Path(folder) / "plain.jpg"
            Image.new("RGB", (224, 224), (120, 90, 60)).save(photo)
        [prediction] = predict(cloud, [photo], target)
    if prediction.answer is None:
        raise CloudError(
            f"endpoint {endpoint_name(cloud.settings)} is in service but refuses"
            f" {photo.name}: {prediction.error}"
        )
    return prediction


def _first_archive(cloud: Cloud, folder: str) -> str:
    bucket, prefix = s3.parse(folder)
    answer = cloud.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"] for item in answer.get("Contents", []) if item["Key"].endswith(".tar.gz")]
    if not keys:
        raise CloudError(f"the endpoint is in service, but no .tar.gz is in {folder} yet")
    return str(keys[0].removeprefix(prefix))
