"""Predictions of a live endpoint."""

import json
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from dogbreeds.cloud import s3
from dogbreeds.cloud.aws import Cloud, CloudError, error_code, get_if_exists, given
from dogbreeds.cloud.endpoints.config import endpoint_name
from dogbreeds.cloud.settings import ConfigError
from dogbreeds.system.files import content_type

_REQUESTS_AT_A_TIME = 8
_ASYNC_SECONDS = 900.0


class Prediction(NamedTuple):
    """An endpoint's answer for a photo."""

    photo: Path
    answer: dict[str, Any] | None  # predicted_label, class_name, probability, ...; None: refused
    error: str = ""  # why it was refused
    variant: str = ""  # that answered, where SageMaker reports it


def predict(
    cloud: Cloud, photos: Sequence[Path], target: str | None = None
) -> Iterator[Prediction]:
    """Yield the prediction of each photo, in order; requests run in parallel.

    A multi-model endpoint needs a `target`, the name of an artifact: else ConfigError. ClientError
    if AWS refuses, other than a photo that the model refuses.
    """
    kind = cloud.settings.endpoint.kind
    if kind == "multi-model" and not target:
        raise ConfigError("a multi-model endpoint needs the name of a model: --target-model")
    ask = _ask_async if kind == "async" else _ask
    options = {
        "EndpointName": endpoint_name(cloud.settings),
        "Accept": "application/json",
        **given(TargetModel=target),
    }
    client = cloud.client("sagemaker-runtime")
    # Its threads are daemons, unlike an executor's: Ctrl-C does not wait for a hanging endpoint.
    with ThreadPool(_REQUESTS_AT_A_TIME) as pool:
        yield from pool.imap(lambda photo: ask(cloud, client, photo, options), photos)


def _ask(cloud: Cloud, client: Any, photo: Path, options: dict[str, str]) -> Prediction:  # noqa: ANN401
    body = {"ContentType": content_type(photo), "Body": photo.read_bytes()}
    try:
        response = client.invoke_endpoint(**body, **options)
    except ClientError as error:
        if error_code(error) != "ModelError":  # it does not concern this photo
            raise
        answer = error.response.get("OriginalMessage") or error.response["Error"]["Message"]
        return Prediction(photo, None, str(answer))
    variant = response.get("InvokedProductionVariant", "")
    return _parsed(photo, response["Body"].read(), variant)


def _ask_async(cloud: Cloud, client: Any, photo: Path, options: dict[str, str]) -> Prediction:  # noqa: ANN401
    """Upload the photo to the bucket, invoke the endpoint, and poll for the answer."""
    settings = cloud.settings
    settings.require("aws.bucket")
    storage = cloud.client("s3")
    key = f"{settings.aws.prefix}/async/photos/{uuid.uuid4().hex}{photo.suffix.lower()}"
    storage.put_object(Bucket=settings.aws.bucket, Key=key, Body=photo.read_bytes())
    source = {
        "ContentType": content_type(photo),
        "InputLocation": f"s3://{settings.aws.bucket}/{key}",
    }
    response = client.invoke_endpoint_async(**source, **options)
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


def _parsed(photo: Path, body: bytes, variant: str) -> Prediction:
    try:
        answer = json.loads(body)
        answer["predicted_label"]
    except (ValueError, KeyError, TypeError):
        return Prediction(photo, None, f"expected a JSON answer, got {body[:200]!r}")
    return Prediction(photo, answer, variant=variant)


def smoke_test(cloud: Cloud, source: str, photo: Path | None) -> Prediction:
    """Return the endpoint's prediction of a photo, or of a plain brown picture without one.

    Of a multi-model endpoint's folder `source`, one artifact is invoked. CloudError if the answer
    is not that of our model.
    """
    several = cloud.settings.endpoint.kind == "multi-model"
    target = _first_artifact(cloud, source) if several else None
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


def _first_artifact(cloud: Cloud, folder: str) -> str:
    _, prefix = s3.parse(folder)
    for found in s3.objects_in(cloud, folder):
        if found["Key"].endswith(".tar.gz"):
            return str(found["Key"].removeprefix(prefix))
    raise CloudError(f"the endpoint is in service, but no .tar.gz is in {folder} yet")
