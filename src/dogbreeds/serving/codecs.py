"""Requests in, answers out: ``containers/serving/openapi.json`` describes their content types."""

import base64
import csv
import io
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from sagemaker_inference import content_types

from dogbreeds.system.errors import DogbreedsError

JSON = content_types.JSON
JSON_LINES = "application/jsonlines"
CSV = content_types.CSV

# Accepted like image/*. They only say "bytes"; S3 labels objects with the second.
_PHOTOS = (content_types.OCTET_STREAM, "binary/octet-stream", "application/x-image")
_LINES = (JSON_LINES, "application/jsonl", "application/x-jsonlines", "application/x-ndjson")
ANSWERS = (JSON, JSON_LINES, CSV)
"""Content types of answers."""
CONTENT_TYPES = ("image/*", *_PHOTOS, JSON, JSON_LINES)
"""Content types of requests: a photo's own, or JSON with base64 text."""
_MAX_PHOTOS = 1000
_FROM_URL_SAFE = str.maketrans("-_", "+/")
DEFAULT_TOP_K = 5
_MAX_TOP_K = 1000


@dataclass(eq=False)
class RequestError(DogbreedsError):
    """A refused request, or one refused photo of it, usually with a 4xx status."""

    status: int
    error: str  # what is wrong, in a few words
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.error}: expected {self.expected}, got {self.got}"

    def to_dict(self) -> dict[str, str]:
        """Return the answer's document."""
        return {"error": self.error, "expected": self.expected, "got": self.got}

    def body(self) -> bytes:
        """Return the answer, in JSON."""
        return (json.dumps(self.to_dict()) + "\n").encode()


_bad_request = partial(RequestError, HTTPStatus.BAD_REQUEST, "request not understood")
_too_large = partial(RequestError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
_unsupported = partial(RequestError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


@dataclass(frozen=True)
class Request:
    """A request whose envelope has been read."""

    photos: list[bytes | RequestError]  # for each its encoded bytes, or why there are none
    single: bool  # whether the answer is one object instead of a list
    accept: str  # the content type of the answer
    top_k: list[int]  # for each photo, how many classes its answer names


def read_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """Return a request's headers by lower-case name."""
    # MMS also lists the types of the body's parts among them, which are no strings.
    return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}


def read_request(
    body: bytes,
    headers: Mapping[str, str],
    parameters: Mapping[str, str],
    default_accept: str,
    max_bytes: int = 25 * 2**20,
) -> Request:
    """Read the envelope of a request, without decoding its photos.

    `headers` are from `read_headers`, `parameters` from the query string. `default_accept` is the
    answer's type if the request names none, `max_bytes` limits the decompressed body. RequestError
    with 400, 406, 413 or 415.
    """
    body = _decompress(body, headers.get("content-encoding", ""), max_bytes)
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_lines = content_type in _LINES
    accept = _choose_accept(headers.get("accept", ""), JSON_LINES if is_lines else default_accept)
    top_k = _read_top_k(headers, parameters)
    if is_lines:
        lines = [line for line in body.split(b"\n") if line.strip()]
        if not lines:
            raise _bad_request("one JSON object per line", "an empty body")
        photos, top_ks = _read_each(
            lines, lambda line: _read_object(_parse_json(line), top_k), top_k
        )
        return Request(photos, False, accept, top_ks)
    if content_type == JSON:
        document = _parse_json(body)
        if isinstance(document, dict) and (lists := {"images", "instances"} & document.keys()):
            key = min(lists)
            images = document[key]
            if not isinstance(images, list) or not images:
                raise _bad_request(f'"{key}" with a list of base64 texts', _describe(images))
            top_k = _top_k_of(document, (key, "top_k"), top_k)
            photos, top_ks = _read_each(images, lambda image: (_photo_of(image), top_k), top_k)
            return Request(photos, False, accept, top_ks)
        photo, top_k = _read_object(document, top_k)
        return Request([photo], True, accept, [top_k])
    if content_type.startswith("image/") or content_type in _PHOTOS or not content_type:
        return Request([body], True, accept, [top_k])
    raise _unsupported("unsupported content type", ", ".join(CONTENT_TYPES), content_type[:200])


def write_answers(request: Request, answers: list[dict[str, Any] | RequestError]) -> bytes:
    """Encode the answers of one request: for each photo its answer, or why there is none.

    RequestError if every photo failed, or one did and CSV has no place for its error.
    """
    failures = [answer for answer in answers if isinstance(answer, RequestError)]
    if failures and (len(failures) == len(answers) or request.accept == CSV):
        raise failures[0]
    documents: list[dict[str, Any]] = [
        answer.to_dict() if isinstance(answer, RequestError) else answer for answer in answers
    ]
    if request.accept == CSV:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            [value for top in answer["top_k"] for value in top.values()] for answer in documents
        )
        return text.getvalue().encode(errors="replace")  # folder names may not be UTF-8
    if request.accept == JSON_LINES:
        return "".join(json.dumps(document) + "\n" for document in documents).encode()
    result = documents[0] if request.single else {"predictions": documents}
    return (json.dumps(result) + "\n").encode()


def _choose_accept(header: str, default: str) -> str:
    """Choose the answer's type by the Accept header's order and weights (RFC 9110, 12.5.1)."""
    accepted: list[tuple[float, str]] = []
    for part in header.split(","):
        media_type, *options = (word.strip().lower() for word in part.split(";"))
        quality = next((option[2:] for option in options if option.startswith("q=")), "1")
        try:
            accepted.append((float(quality), media_type))
        except ValueError:
            continue
    for weight, media_type in sorted(accepted, key=lambda pair: -pair[0]):
        if weight <= 0:
            continue
        if media_type in ("", "*/*"):
            return default
        if media_type in _LINES:
            return JSON_LINES
        for answer in (default, *ANSWERS):
            if media_type in (answer, answer.partition("/")[0] + "/*"):
                return answer
    raise RequestError(
        HTTPStatus.NOT_ACCEPTABLE, "cannot answer in that type", ", ".join(ANSWERS), header[:200]
    )


def _read_top_k(headers: Mapping[str, str], parameters: Mapping[str, str]) -> int:
    if unknown := sorted(parameters.keys() - {"top_k"}):
        raise _bad_request("no query parameter but top_k", ", ".join(unknown)[:200])
    text = parameters.get("top_k")
    if text is None:  # the only client header that SageMaker passes to the container
        attributes = headers.get("x-amzn-sagemaker-custom-attributes", "")
        pairs = (part.partition("=") for part in attributes.split(","))
        text = next((value for name, _, value in pairs if name.strip() == "top_k"), None)
    return DEFAULT_TOP_K if text is None else _check_top_k(text.strip())


def _check_top_k(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 5 and 0 < int(text) <= _MAX_TOP_K):
        raise _bad_request(f"top_k from 1 to {_MAX_TOP_K}", text[:50])
    return int(text)


def _decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Decode a content coding (RFC 9110, 8.4)."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        known = "gzip, deflate or none"
        raise _unsupported("unsupported content encoding", known, encoding[:50])
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, by its header
    try:
        plain = decompressor.decompress(body, max_bytes)
        if not (decompressor.eof or decompressor.unconsumed_tail):
            raise zlib.error("it ends too early")
    except zlib.error as error:
        raise _bad_request(f"a body compressed by {encoding}", f"another ({error})") from None
    if decompressor.unconsumed_tail:
        raise _too_large("request too large", f"at most {max_bytes} bytes", "more, decompressed")
    return plain


def _read_each(
    items: list[Any], read: Callable[[Any], tuple[bytes, int]], top_k: int
) -> tuple[list[bytes | RequestError], list[int]]:
    """Return the photo of each item, or why there is none, and how many classes to name."""
    if len(items) > _MAX_PHOTOS:
        expected, got = f"at most {_MAX_PHOTOS}", str(len(items))
        raise _too_large("too many photos in one request", expected, got)
    photos: list[bytes | RequestError] = []
    top_ks = [top_k] * len(items)
    for index, item in enumerate(items):
        try:
            photo, top_ks[index] = read(item)
            photos.append(photo)
        except RequestError as error:
            photos.append(error)
    return photos, top_ks


def _read_object(document: object, top_k: int) -> tuple[bytes, int]:
    """Return the photo of a JSON object, and how many classes its answer names."""
    if not isinstance(document, dict) or "image" not in document:
        raise _bad_request('{"image": "<base64>"}', _describe(document))
    return _photo_of(document["image"]), _top_k_of(document, ("image", "top_k"), top_k)


def _top_k_of(document: Mapping[str, object], known: tuple[str, ...], default: int) -> int:
    """Return an object's ``top_k``; a key that would have no effect is an error."""
    if unknown := sorted(document.keys() - set(known)):
        raise _bad_request(f"the keys {', '.join(known)}", f"also {', '.join(unknown)}"[:200])
    value = document.get("top_k", default)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _bad_request(f"top_k from 1 to {_MAX_TOP_K}", _describe(value))
    return _check_top_k(str(value).strip())


def _parse_json(body: bytes) -> object:
    try:
        document: object = json.loads(body)
        return document
    except (ValueError, RecursionError) as error:
        raise _bad_request("JSON", f"something else ({error})") from None


def _photo_of(value: object) -> bytes:
    if isinstance(value, dict) and value.keys() == {"b64"}:  # TensorFlow Serving's format
        value = value["b64"]
    if not isinstance(value, str):
        raise _bad_request("base64 text as image", _describe(value))
    if value.startswith("data:"):
        value = value.partition(",")[2]
    text = "".join(value.split()).rstrip("=").translate(_FROM_URL_SAFE)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:  # binascii.Error is one
        raise _bad_request("base64 text as image", f"something else ({error})") from None


def _describe(value: object) -> str:
    if isinstance(value, dict):
        keys = ", ".join(sorted(map(repr, value))[:5])
        return f"an object with {keys}"[:200] if keys else "an empty object"
    names = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
