"""Requests in, answers out: content types, their decoding and their encoding.

In: a photo as it is under any image type, ``application/json`` with ``{"image": "<base64>"}``,
``{"images": ["<base64>", ...]}`` or ``{"instances": [{"b64": "<base64>"}, ...]}``, or
``application/jsonlines`` with one object with an image per line; ``top_k`` may stand beside the
image. The base64 text may be URL-safe, unpadded or a ``data:`` URL. Out: ``application/json``,
``application/jsonlines`` or ``text/csv`` with ``label,class_name,probability`` for each of the top
k, one line per photo.
"""

import base64
import binascii
import csv
import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from sagemaker_inference import content_types

from dogbreeds.serving.errors import RequestError

JSON = content_types.JSON
JSON_LINES = "application/jsonlines"
CSV = content_types.CSV

# With image/*: what says no more than "bytes"; the second is what S3 knows an object as.
_PHOTOS = (content_types.OCTET_STREAM, "binary/octet-stream", "application/x-image")
_LINES = (JSON_LINES, "application/jsonl", "application/x-jsonlines", "application/x-ndjson")
ANSWERS = (JSON, JSON_LINES, CSV)
"""The content types of answers."""
CONTENT_TYPES = ("image/*", *_PHOTOS, JSON, JSON_LINES)
"""Of requests; a photo's own type, or JSON with base64 texts."""
_MAX_PHOTOS = 1000
_FROM_URL_SAFE = str.maketrans("-_", "+/")
DEFAULT_TOP_K = 5
_MAX_TOP_K = 1000


@dataclass(frozen=True)
class Request:
    """A request whose envelope has been read.

    Attributes:
        photos: For each photo its encoded bytes, or why there are none.
        single: Whether the answer is one object instead of a list.
        accept: The content type of the answer.
        top_k: For each photo, how many classes its answer names.
    """

    photos: list[bytes | RequestError]
    single: bool
    accept: str
    top_k: list[int]


def read_request(
    body: bytes,
    headers: Mapping[str, str],
    parameters: Mapping[str, str],
    default_accept: str,
    max_bytes: int = 25 * 2**20,
) -> Request:
    """Read the envelope of a request; the photos in it are not decoded yet.

    Args:
        body: The body.
        headers: The headers, with names in lower case.
        parameters: The parameters of the query string.
        default_accept: The answer's type where the request names none.
        max_bytes: The most that a compressed body may become.

    Raises:
        RequestError: 400, 406, 413 or 415.
    """
    body = _decompress(body, headers.get("content-encoding", ""), max_bytes)
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_lines = content_type in _LINES
    accept = _choose_accept(headers.get("accept", ""), JSON_LINES if is_lines else default_accept)
    top_k = _read_top_k(headers, parameters)
    if is_lines:
        photos, top_ks = _read_lines(body, top_k)
        return Request(photos, False, accept, top_ks)
    if content_type == JSON:
        document = _parse_json(body)
        if isinstance(document, dict) and (lists := {"images", "instances"} & document.keys()):
            key = min(lists)
            photos = [_photo_or_error(image) for image in _items(document, key)]
            top_k = _top_k_of(document, (key, "top_k"), top_k)
            return Request(photos, False, accept, [top_k] * len(photos))
        photo, top_k = _read_object(document, top_k)
        return Request([photo], True, accept, [top_k])
    if content_type.startswith("image/") or content_type in _PHOTOS or not content_type:
        return Request([body], True, accept, [top_k])
    raise RequestError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "unsupported content type",
        ", ".join(CONTENT_TYPES),
        content_type[:200],
    )


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
        return text.getvalue().encode(errors="replace")  # a folder's name may be no UTF-8
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
        for answer in (default, *ANSWERS):
            if wish in (answer, answer.partition("/")[0] + "/*"):
                return answer
    raise RequestError(
        HTTPStatus.NOT_ACCEPTABLE, "cannot answer in that type", ", ".join(ANSWERS), header[:200]
    )


def _read_top_k(headers: Mapping[str, str], parameters: Mapping[str, str]) -> int:
    text = parameters.get("top_k")
    if text is None:  # the only header of a client that SageMaker hands on to the container
        attributes = headers.get("x-amzn-sagemaker-custom-attributes", "")
        pairs = (part.partition("=") for part in attributes.split(","))
        text = next((value for name, _, value in pairs if name.strip() == "top_k"), None)
    if text is None:
        return DEFAULT_TOP_K
    return _check_top_k(text.strip())


def _check_top_k(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 5 and 0 < int(text) <= _MAX_TOP_K):
        raise _not_understood(f"top_k from 1 to {_MAX_TOP_K}", text[:50])
    return int(text)


def _decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo a content coding (RFC 9110, 8.4)."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported content encoding",
            "gzip, deflate or none",
            encoding[:50],
        )
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, by its header
    try:
        plain = decompressor.decompress(body, max_bytes)
        if not (decompressor.eof or decompressor.unconsumed_tail):
            raise zlib.error("it ends too early")
    except zlib.error as error:
        raise _not_understood(f"a body compressed by {encoding}", f"another ({error})") from None
    if decompressor.unconsumed_tail:
        raise _too_many("request too large", f"at most {max_bytes} bytes", "more, decompressed")
    return plain


def _read_lines(body: bytes, top_k: int) -> tuple[list[bytes | RequestError], list[int]]:
    """Return the photo of each line, and how many classes its answer names."""
    lines = [line for line in body.split(b"\n") if line.strip()]
    if not lines:
        raise _not_understood("one JSON object per line", "an empty body")
    _check_count(len(lines))
    photos: list[bytes | RequestError] = []
    top_ks = [top_k] * len(lines)
    for index, line in enumerate(lines):
        try:
            photo, top_ks[index] = _read_object(_parse_json(line), top_k)
            photos.append(photo)
        except RequestError as error:
            photos.append(error)
    return photos, top_ks


def _items(document: dict[str, object], key: str) -> list[object]:
    items = document[key]
    if not isinstance(items, list) or not items:
        raise _not_understood(f'"{key}" with a list of base64 texts', _describe(items))
    _check_count(len(items))
    return items


def _check_count(photos: int) -> None:
    if photos > _MAX_PHOTOS:
        raise _too_many("too many photos in one request", f"at most {_MAX_PHOTOS}", str(photos))


def _too_many(error: str, expected: str, got: str) -> RequestError:
    return RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, error, expected, got)


def _read_object(document: object, top_k: int) -> tuple[bytes, int]:
    """Return the photo of a JSON object, and how many classes its answer names."""
    if not isinstance(document, dict) or "image" not in document:
        raise _not_understood('{"image": "<base64>"}', _describe(document))
    return _photo_of(document["image"]), _top_k_of(document, ("image", "top_k"), top_k)


def _top_k_of(document: Mapping[str, object], known: tuple[str, ...], default: int) -> int:
    """Return an object's ``top_k``; a key that would have no effect is an error."""
    if unknown := sorted(document.keys() - set(known)):
        raise _not_understood(f"the keys {', '.join(known)}", f"also {', '.join(unknown)}"[:200])
    value = document.get("top_k", default)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _not_understood(f"top_k from 1 to {_MAX_TOP_K}", _describe(value))
    return _check_top_k(str(value).strip())


def _parse_json(body: bytes) -> object:
    try:
        document: object = json.loads(body)
        return document
    except (ValueError, RecursionError) as error:
        raise _not_understood("JSON", f"something else ({error})") from None


def _photo_or_error(value: object) -> bytes | RequestError:
    try:
        return _photo_of(value)
    except RequestError as error:
        return error


def _photo_of(value: object) -> bytes:
    if isinstance(value, dict) and value.keys() == {"b64"}:  # TensorFlow Serving's way
        value = value["b64"]
    if not isinstance(value, str):
        raise _not_understood("a base64 text as image", _describe(value))
    if value.startswith("data:"):
        value = value.partition(",")[2]
    text = "".join(value.split()).rstrip("=").translate(_FROM_URL_SAFE)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
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
