"""`docker run IMAGE serve` over what the training image left, with nothing writable but /tmp."""

import base64
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from helpers.containers import Job, Server, logs, server, state, stop

pytestmark = pytest.mark.images


@pytest.fixture(scope="module", params=["0", "1000"], ids=["root", "user-1000"])
def running(request: pytest.FixtureRequest, serving_image: str, trained: Job) -> Iterator[Server]:
    with server(serving_image, trained.model, "--user", request.param) as started:
        started.wait_until_ready()
        yield started


@pytest.fixture(scope="module")
def test_photos(photos: dict[str, Path]) -> list[Path]:
    return sorted(photos["test"].glob("*/*.jpg"))


def test_the_breeds_of_photos_are_told(running: Server, test_photos: list[Path]) -> None:
    right = 0
    for photo in test_photos:
        answer = running.invoke(photo.read_bytes(), "image/jpeg")
        assert answer.status == 200, answer.body
        told = answer.json()
        right += f"{told['predicted_label']}.{told['class_name']}" == photo.parent.name
        assert told["top_k"][0]["probability"] == told["probability"]
    assert right / len(test_photos) > 0.5  # six classes: chance is 0.17


def test_jpeg_png_and_json_get_the_same_answer(running: Server, test_photos: list[Path]) -> None:
    jpeg = test_photos[0].read_bytes()
    png = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(png, "PNG")
    document = json.dumps({"image": base64.b64encode(jpeg).decode()}).encode()
    answers = [
        running.invoke(jpeg, "image/jpeg").json(),
        running.invoke(png.getvalue(), "image/png").json(),
        running.invoke(document, "application/json").json(),
    ]
    assert answers[0] == answers[2]
    # A smaller image size than the photo's: JPEG is shrunk while decoding, PNG is not.
    assert answers[0]["class_name"] == answers[1]["class_name"]


def test_a_bad_photo_is_the_clients_fault(running: Server) -> None:
    answer = running.invoke(b"no photo", "image/jpeg")
    assert 400 <= answer.status < 500


def test_ping_is_not_200_before_the_model_answers(
    serving_image: str, trained: Job, test_photos: list[Path]
) -> None:
    with server(serving_image, trained.model) as starting:
        seen = []
        deadline = time.monotonic() + 90
        while 200 not in seen and time.monotonic() < deadline:
            seen.append(starting.get("/ping").status)
            time.sleep(0.05)
        started = time.monotonic()
        answer = starting.invoke(test_photos[0].read_bytes(), "image/jpeg")
        assert answer.status == 200, logs(starting.container)
        assert time.monotonic() - started < 2
        assert set(seen[:-1]) <= {0, 503}


def test_ping_is_never_200_without_a_model(serving_image: str, tmp_path: Path) -> None:
    with server(serving_image, tmp_path) as starting:
        deadline = time.monotonic() + 30
        while state(starting.container)["Running"] and time.monotonic() < deadline:
            assert starting.get("/ping").status != 200
            time.sleep(0.2)
        assert "/opt/ml/model" in logs(starting.container)


def test_sigterm_answers_what_is_in_flight_first(serving_image: str, trained: Job) -> None:
    slow = io.BytesIO()  # many pixels in few bytes: about a second of decoding
    Image.new("RGB", (9000, 9000), (10, 20, 30)).save(slow, "PNG")
    with server(serving_image, trained.model) as running, ThreadPoolExecutor(3) as pool:
        running.wait_until_ready()
        waiting = [pool.submit(running.invoke, slow.getvalue(), "image/png") for _ in range(3)]
        time.sleep(0.5)
        assert not all(answer.done() for answer in waiting)
        assert stop(running.container, grace=30) < 10
        assert [answer.result().status for answer in waiting] == [200, 200, 200]
        assert state(running.container)["ExitCode"] == 0
