"""Requests in, answers out: content types, their decoding and their encoding.

In: a photo as it is, ``application/json`` with ``{"image": "<base64>"}`` or
``{"images": ["<base64>", ...]}``, or ``application/jsonlines`` with one such object a line; the
base64 text may be a ``data:`` URL. Out: ``application/json``, ``application/jsonlines`` or
``text/csv`` with ``label,class_name,probability`` for each of the top k, a line a photo.
"""

import base64
import binascii
import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from sagemaker_inference import content_types

from dogbreeds.serving.errors import RequestError

JSON = content_types.JSON
JSON_LINES = "application/jsonlines"
CSV = content_types.CSV

_PHOTOS = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/bmp",
    "image/gif",
    "image/tiff",
    "application/x-image",
    content_types.OCTET_STREAM,
)
_LINES = (JSON_LINES, "application/jsonl", "application/x-jsonlines", "application/x-ndjson")
_ANSWERS = (JSON, JSON_LINES, CSV)
CONTENT_TYPES = (*_PHOTOS, JSON, JSON_LINES)
"""Of requests; a photo's own type, or JSON with base64 texts."""
_MAX_PHOTOS = 1000
DEFAULT_TOP_K = 5
_MAX_TOP_K = 1000


@dataclass(frozen=True)
class Request:
    """A request whose envelope has been read.

    Attributes:
        photos: For each photo its encoded bytes, or why there are none.
        single: Whether the answer is one object instead of a list.
        accept: The content type of the answer.
        top_k: How many classes an answer names.
    """

    photos: list[bytes | RequestError]
    single: bool
    accept: str
    top_k: int


def read_request(
    body: bytes, headers: Mapping[str, str], parameters: Mapping[str, str], default_accept: str
) -> Request:
    """Read the envelope of a request; the photos in it are not decoded yet.

    Args:
        body: The body.
        headers: The headers, with names in lower case.
        parameters: The parameters of the query string.
        default_accept: The answer's type where the request names none.

    Raises:
        RequestError: 400, 406, 413 or 415.
    """
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_lines = content_type in _LINES
    accept = _choose_accept(headers.get("accept", ""), JSON_LINES if is_lines else default_accept)
    top_k = _read_top_k(headers, parameters)
    if is_lines:
        photos = _read_lines(body)
    elif content_type == JSON:
        document = _parse_json(body)
        if isinstance(document, dict) and "images" in document:
            images = document["images"]
            if not isinstance(images, list) or not images:
                raise _not_understood('"images" with a list of base64 texts', _describe(images))
            photos = [_photo_or_error(image) for image in images[: _MAX_PHOTOS + 1]]
        else:
            return Request([_image_of(document)], True, accept, top_k)
    elif content_type in _PHOTOS or not content_type:
        return Request([body], True, accept, top_k)
    else:
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported content type",
            ", ".join(CONTENT_TYPES),
            content_type,
        )
    if len(photos) > _MAX_PHOTOS:
        raise RequestError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too many photos in one request",
            f"at most {_MAX_PHOTOS}",
            "more",
        )
    return Request(photos, False, accept, top_k)


def write_answers(request: Request, answers: list[dict[str, Any] | RequestError]) -> bytes:
    """Encode the answers of one request.

    Args:
        request: What was asked.
        answers: For each photo its answer, or why there is none.

    Raises:
        RequestError: The only photo failed, or all did, or the type has no place for an error.
    """
    failures = [answer for answer in answers if isinstance(answer, RequestError)]
    if failures and (len(failures) == len(answers) or request.accept == CSV):
        raise failures[0]
    documents: list[dict[str, Any]] = [
        answer.to_dict() if isinstance(answer, RequestError) else answer for answer in answers
    ]
    if request.accept == CSV:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for answer in documents:
            writer.writerow([value for top in answer["top_k"] for value in top.values()])
        return text.getvalue().encode()
    if request.accept == JSON_LINES:
        return "".join(json.dumps(document) + "\n" for document in documents).encode()
    result = documents[0] if request.single else {"predictions": documents}
    return (json.dumps(result) + "\n").encode()


def _choose_accept(header: str, default: str) -> str:
    """Choose the answer's type by the Accept header's order and weights (RFC 9110, 12.5.1)."""
    wishes: list[tuple[float, str]] = []
    for part in header.split(","):
        media_type, *options = (word.strip().lower() for word in part.split(";"))
        quality = next((option[2:] for option in options if option.startswith("q=")), "1")
        try:
            wishes.append((float(quality), media_type))
        except ValueError:
            continue
    for weight, wish in sorted(wishes, key=lambda pair: -pair[0]):
        if weight <= 0:
            continue
        if wish in ("", "*/*"):
            return default
        if wish in _LINES:
            return JSON_LINES
        for answer in (default, *_ANSWERS):
            if wish in (answer, answer.partition("/")[0] + "/*"):
                return answer
    raise RequestError(
        HTTPStatus.NOT_ACCEPTABLE, "cannot answer in that type", ", ".join(_ANSWERS), header[:200]
    )


def _read_top_k(headers: Mapping[str, str], parameters: Mapping[str, str]) -> int:
    text = parameters.get("top_k")
    if text is None:  # the only header of a client that SageMaker hands on to the container
        attributes = headers.get("x-amzn-sagemaker-custom-attributes", "")
        pairs = (part.partition("=") for part in attributes.split(","))
        text = next((value for name, _, value in pairs if name.strip() == "top_k"), None)
    if text is None:
        return DEFAULT_TOP_K
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 5 and 0 < int(text) <= _MAX_TOP_K):
        raise _not_understood(f"top_k from 1 to {_MAX_TOP_K}", text[:50])
    return int(text)


def _read_lines(body: bytes) -> list[bytes | RequestError]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    if not lines:
        raise _not_understood("one JSON object a line", "an empty body")
    photos: list[bytes | RequestError] = []
    for line in lines[: _MAX_PHOTOS + 1]:
        try:
            photos.append(_image_of(_parse_json(line)))
        except RequestError as error:
            photos.append(error)
    return photos


def _parse_json(body: bytes) -> object:
    try:
        document: object = json.loads(body)
        return document
    except (ValueError, RecursionError) as error:
        raise _not_understood("JSON", f"something else ({error})") from None


def _image_of(document: object) -> bytes:
    if not isinstance(document, dict) or "image" not in document:
        raise _not_understood('{"image": "<base64>"}', _describe(document))
    return _photo_of(document["image"])


def _photo_or_error(value: object) -> bytes | RequestError:
    try:
        return _photo_of(value)
    except RequestError as error:
        return error


def _photo_of(value: object) -> bytes:
    if not isinstance(value, str):
        raise _not_understood("a base64 text as image", _describe(value))
    if value.startswith("data:"):
        value = value.partition(",")[2]
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _not_understood("a base64 text as image", f"something else ({error})") from None


def _not_understood(expected: str, got: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, "request not understood", expected, got)


def _describe(value: object) -> str:
    if isinstance(value, dict):
        keys = ", ".join(sorted(map(repr, value))[:5])
        return f"an object with {keys}"[:200] if keys else "an empty object"
    names = {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
