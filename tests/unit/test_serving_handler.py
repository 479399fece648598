"""The handler under MMS's own worker code: its context, its batches, its wire format."""

import base64
import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from mms.service import Service as MmsService
from PIL import Image

from dogbreeds.model import networks
from dogbreeds.model.artifact import Artifact, create_golden_example
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.document import Description
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.serving import codecs
from dogbreeds.serving.backends.pytorch import candidates
from dogbreeds.serving.handler import Service
from dogbreeds.serving.predictor import MAX_BATCH, Predictor
from dogbreeds.serving.settings import Settings

CLASSES = tuple(PhotoClass(f"{number:03d}", f"breed_{number}") for number in range(7))


@dataclass
class Answer:
    content_type: str
    status: int
    phrase: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class CountingPredictor(Predictor):
    """The real predictor, which remembers the sizes of its batches."""

    def __init__(self, artifact: Artifact) -> None:
        golden_example = create_golden_example(artifact.model, artifact.preprocessing)
        super().__init__(
            Description(artifact.classes, artifact.preprocessing, artifact.version, golden_example),
            candidates(artifact, torch.device("cpu"), None),
            threads=1,
        )
        self.batches: list[int] = []

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.batches.append(len(pixels))
        return super().predict(pixels)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    torch.manual_seed(0)
    model = networks.create_model("squeezenet1_1", len(CLASSES)).eval()
    return Artifact(model, "squeezenet1_1", CLASSES, Preprocessing(64, 48), version="abc")


@pytest.fixture(scope="module")
def predictor(artifact: Artifact) -> CountingPredictor:
    counting = CountingPredictor(artifact)
    counting.start()
    return counting


@pytest.fixture
def answer(predictor: CountingPredictor) -> Callable[..., list[Answer]]:
    predictor.batches.clear()
    settings = Settings({})
    settings.threads = 2
    service = MmsService("model", "", {}, Service(predictor, settings).answer, None, 8)

    def ask(*requests: tuple[bytes, dict[str, str]]) -> list[Answer]:
        batch = [
            {
                "requestId": f"id-{index}".encode(),
                "headers": [
                    {"name": name.encode(), "value": value.encode()}
                    for name, value in headers.items()
                ],
                "parameters": [{"name": "body", "contentType": "x", "value": body}],
            }
            for index, (body, headers) in enumerate(requests)
        ]
        return parse(bytes(service.predict(batch)))

    return ask


def parse(message: bytes) -> list[Answer]:
    """Read MMS's response message as its Java front end does."""
    stream = io.BytesIO(message)

    def number() -> int:
        return int(struct.unpack("!i", stream.read(4))[0])

    def field() -> bytes:
        return stream.read(number())

    assert number() == 200, message
    field()
    answers = []
    while (length := number()) != -1:
        stream.read(length)
        content_type, status, phrase = field().decode(), number(), field().decode()
        for _ in range(2 * number()):  # names and values of headers
            field()
        answers.append(Answer(content_type, status, phrase, field()))
    return answers


def photo(shade: int, size: tuple[int, int] = (80, 60)) -> bytes:
    pixels = np.random.default_rng(shade).integers(0, 256, (*size, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


def test_each_of_a_batch_is_read_and_answered_by_its_own_types(
    answer: Callable[..., list[Answer]], predictor: CountingPredictor
) -> None:
    in_json = json.dumps({"image": base64.b64encode(photo(2)).decode()}).encode()
    answers = answer(
        (photo(1), {"Content-Type": "image/png"}),
        (b"nonsense", {"content-type": "image/jpeg"}),
        (in_json, {"CONTENT-TYPE": "application/json", "Accept": "text/csv"}),
        (b"x", {"Content-Type": "text/plain"}),
        (photo(3), {"Content-Type": "image/png", "X-Amzn-SageMaker-Custom-Attributes": "top_k=1"}),
    )
    assert [a.status for a in answers] == [200, 400, 200, 415, 200]
    assert predictor.batches == [3]  # one forward pass for the good ones
    assert [a.content_type for a in answers] == ["application/json"] * 2 + ["text/csv"] + [
        "application/json"
    ] * 2
    assert len(answers[0].json()["top_k"]) == 5
    assert len(answers[4].json()["top_k"]) == 1
    alone = answer((photo(3), {}))[0].json()
    assert answers[4].json()["top_k"][0] == pytest.approx(alone["top_k"][0])


def test_the_answer_holds_what_the_model_says(
    answer: Callable[..., list[Answer]], artifact: Artifact
) -> None:
    preprocessing = artifact.preprocessing
    inputs = preprocessing.normalize(
        torch.from_numpy(preprocessing.read_pixels(photo(5)).copy())[None]
    )
    with torch.inference_mode():
        (row,) = artifact.model(inputs).softmax(1).numpy()
    document = answer((photo(5), {}))[0].json()
    best = CLASSES[int(row.argmax())]
    assert document["predicted_label"] == best.label
    assert document["class_name"] == best.name
    assert document["probability"] == pytest.approx(row.max(), abs=1e-5)
    assert document["model_version"] == "abc"
    assert [t["probability"] for t in document["top_k"]] == pytest.approx(
        sorted(row, reverse=True)[:5], abs=1e-5
    )


def test_a_fault_of_ours_is_a_500_for_those_whom_it_hit(
    answer: Callable[..., list[Answer]],
    predictor: CountingPredictor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(pixels: object) -> None:
        raise MemoryError

    monkeypatch.setattr(predictor, "predict", fail)
    answers = answer((photo(1), {}), (b"nonsense", {}), (photo(2), {}))
    assert [a.status for a in answers] == [500, 400, 500]
    assert answers[0].json()["got"] == "MemoryError"


def test_status_phrases_are_plain_ascii(answer: Callable[..., list[Answer]]) -> None:
    for got in answer((b"\xc3\xa4", {}), ("ä".encode(), {"Content-Type": "ä/ö"})):
        assert got.phrase.isascii() and "\n" not in got.phrase
        assert set(got.json()) == {"error", "expected", "got"}


def test_more_photos_than_a_batch_holds_are_all_answered(
    answer: Callable[..., list[Answer]], predictor: CountingPredictor
) -> None:
    count = MAX_BATCH + 3
    images = [base64.b64encode(photo(shade, (8, 8))).decode() for shade in range(count)]
    body = json.dumps({"images": images}).encode()
    (got,) = answer((body, {"Content-Type": "application/json"}))
    assert len(got.json()["predictions"]) == count
    alone = answer((photo(count - 1, (8, 8)), {}))[0].json()
    assert got.json()["predictions"][-1]["probability"] == pytest.approx(
        alone["probability"], abs=1e-4
    )


def test_an_unforeseen_error_of_one_request_does_not_touch_its_neighbours(
    answer: Callable[..., list[Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = codecs.read_request, codecs.write_answers

    def read_or_fail(body: bytes, *arguments: Any) -> codecs.Request:
        if body == b"cannot be read":
            raise KeyError("unforeseen")
        return read(body, *arguments)

    def write_or_fail(request: codecs.Request, answers: list[Any]) -> bytes:
        if request.accept == codecs.CSV:
            raise UnicodeError("unforeseen")
        return write(request, answers)

    monkeypatch.setattr(codecs, "read_request", read_or_fail)
    monkeypatch.setattr(codecs, "write_answers", write_or_fail)
    answers = answer(
        (photo(1), {}), (b"cannot be read", {}), (photo(2), {"Accept": "text/csv"}), (photo(3), {})
    )
    assert [each.status for each in answers] == [200, 500, 500, 200]
    assert answers[1].json()["got"] == "KeyError"
    assert answers[2].json()["got"] == "UnicodeError"


def test_a_refused_photo_is_told_what_was_expected_and_what_came(
    answer: Callable[..., list[Answer]],
) -> None:
    [refused] = answer((b"%PDF-1.7", {}))
    assert refused.status == 400
    assert refused.json()["got"] == "a PDF document"
    assert "HEIC" in refused.json()["expected"]
