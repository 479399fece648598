"""HTTP as clients speak it: types, codings, forms, connections, slow and hung parties."""

import base64
import gzip
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from helpers.serving_process import ServingProcess, one_line_reason, photo, serving

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "content_type",
    ["image/jpg", "image/pjpeg", "image/x-png", "image/heic", "binary/octet-stream", ""],
)
def test_bytes_decide_under_any_type_of_image(server: ServingProcess, content_type: str) -> None:
    assert server.invoke(photo("PNG"), content_type).status == 200


def test_a_form_gets_415_with_the_right_curl_line(server: ServingProcess) -> None:
    for form in ("multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        answer = server.invoke(b"--x--", form)
        assert answer.status == 415
        assert "curl --data-binary @photo.jpg" in str(answer.json()["expected"])
        assert "/invocations" in str(answer.json()["expected"])


def test_tensorflow_servings_shape_is_answered(server: ServingProcess) -> None:
    text = base64.urlsafe_b64encode(photo()).decode().rstrip("=")
    body = json.dumps({"instances": [{"b64": text}, {"b64": text}], "top_k": 2}).encode()
    predictions = server.invoke(body, "application/json").json()["predictions"]
    assert isinstance(predictions, list)
    assert [len(prediction["top_k"]) for prediction in predictions] == [2, 2]


def test_content_codings_are_undone_or_refused(server: ServingProcess) -> None:
    body = gzip.compress(photo())
    assert server.invoke(body, headers={"Content-Encoding": "gzip"}).status == 200
    assert server.invoke(body[:-9], headers={"Content-Encoding": "gzip"}).status == 400
    bomb = gzip.compress(bytes(26 * 2**20))
    assert server.invoke(bomb, headers={"Content-Encoding": "gzip"}).status == 413
    refused = server.invoke(photo(), headers={"Content-Encoding": "br"})
    assert refused.status == 415
    assert refused.headers["accept-encoding"] == "gzip, deflate"


def exchange(server: ServingProcess, message: bytes, timeout: float = 30) -> bytes:
    """Send bytes and return all that comes until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        connection.sendall(message)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


def test_head_is_answered_without_a_body(server: ServingProcess) -> None:
    head = exchange(server, b"HEAD /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert head.endswith(b"\r\n\r\n")
    assert b"content-length: " in head.lower()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(
            b"HEAD /ping HTTP/1.1\r\nHost: x\r\n\r\nGET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        received = b""
        while b"Healthy" not in received:
            received += connection.recv(65536)
    assert received.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize(
    "message",
    [
        b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /ping HTTP/1.0\r\n\r\n",
        b"GET http://some.host:80/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_connections_close_when_asked_and_absolute_urls_are_read(
    server: ServingProcess, message: bytes
) -> None:
    begin = time.monotonic()
    assert b"Healthy" in exchange(server, message)
    assert time.monotonic() - begin < 10


def test_http_1_0_may_ask_to_keep_the_connection(server: ServingProcess) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        for _ in range(2):
            connection.sendall(b"GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            received = b""
            while b"Healthy" not in received:
                received += connection.recv(65536)
            assert b"connection: keep-alive" in received.lower()


def test_an_upload_that_stalls_gives_its_memory_back(model_dir: Path) -> None:
    options = "-Ddogbreeds.stall_seconds=2 -Ddogbreeds.max_upload_bytes=9000"
    with serving(model_dir, SAGEMAKER_MODEL_SERVER_VMARGS=options) as server:
        server.wait_until_ready()
        head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 8500\r\n\r\n"
        with ThreadPoolExecutor(1) as pool:
            stalled = pool.submit(exchange, server, head + b"some")
            time.sleep(0.5)
            assert server.invoke(photo() + bytes(4000)).status == 503
            assert stalled.result().startswith(b"HTTP/1.1 408")
        assert server.invoke(photo() + bytes(4000)).status == 200


def test_a_hung_worker_is_killed_when_it_is_replaced(model_dir: Path) -> None:
    with serving(
        model_dir,
        SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS="12",  # it bounds loading, too
        SAGEMAKER_MODEL_SERVER_WORKERS="1",
    ) as server:
        server.wait_until_ready()
        deadline = time.monotonic() + 30
        while len(server.workers()) > 1:  # a process that loads the model may still be ending
            assert time.monotonic() < deadline
            time.sleep(0.1)
        [worker] = server.workers()
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            assert server.invoke(photo(), timeout=60).status == 200  # by its successor
            gone, _ = psutil.wait_procs([worker], 10)
            assert gone or worker.status() == psutil.STATUS_ZOMBIE
        finally:
            if worker.is_running():
                worker.resume()


def test_no_limit_of_our_own_on_request(model_dir: Path) -> None:
    with serving(model_dir, SAGEMAKER_MAX_PAYLOAD_IN_MB="0") as server:
        server.wait_until_ready()
        assert server.invoke(photo() + bytes(30 * 2**20)).status == 200
        limits = server.request("GET", "/execution-parameters").json()
        assert limits["MaxPayloadInMB"] == 100


def test_a_default_answer_type_that_cannot_be_made_is_refused_at_start(model_dir: Path) -> None:
    with serving(model_dir, SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="application/pdf") as server:
        assert server.process.wait(60) == 1
        reason = one_line_reason(server.log())
    assert "application/json, application/jsonlines, text/csv" in reason
    assert "application/pdf" in reason
