"""What whoever runs the server relies on: metrics, limits, and recovery from lost processes."""

import json
import random
import re
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from os import environ
from pathlib import Path

import pytest

from helpers.load import Load
from helpers.serving_process import (
    ServingProcess,
    as_json,
    photo,
    serving,
    slow_photo,
)

pytestmark = pytest.mark.integration


def metrics(server: ServingProcess) -> dict[str, float]:
    """Read /metrics, and check that it is Prometheus's text format."""
    answer = server.request("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = {}
    for line in answer.body.decode().splitlines():
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP \w+ .+|TYPE \w+ (counter|gauge|histogram))", line)
        else:
            match = re.fullmatch(r"(\w+(?:\{[^}]+\})?) ([0-9.]+)", line)
            assert match, line
            values[match[1]] = float(match[2])
    return values


def test_metrics_count_requests_stages_and_batches(server: ServingProcess) -> None:
    server.invoke(photo())
    before = metrics(server)
    for _ in range(3):
        version = server.invoke(photo()).json()["model_version"]
    assert server.invoke(b"nonsense").status == 400
    assert server.request("GET", "/nowhere").status == 404  # no invocation
    after = metrics(server)
    values = {name: value - before.get(name, 0) for name, value in after.items()}
    assert values['dogbreeds_requests_total{status="200"}'] == 3
    assert values['dogbreeds_requests_total{status="400"}'] == 1
    assert values["dogbreeds_batch_size_count"] == 4
    name = "dogbreeds_request_seconds"
    for stage in ("decode", "predict", "wait", "total"):
        buckets = [v for k, v in after.items() if k.startswith(f'{name}_bucket{{stage="{stage}"')]
        assert buckets == sorted(buckets)
        assert after[f'{name}_count{{stage="{stage}"}}'] == buckets[-1]
        assert values[f'{name}_count{{stage="{stage}"}}'] == 4
    parts = [values[f'{name}_sum{{stage="{stage}"}}'] for stage in ("decode", "predict", "wait")]
    assert sum(parts) == pytest.approx(values[f'{name}_sum{{stage="total"}}'], abs=1e-4)
    assert after["dogbreeds_workers"] == len(server.workers())
    assert after["dogbreeds_in_flight"] == after["dogbreeds_queue_length"] == 0
    assert after[f'dogbreeds_model_info{{version="{version}"}}'] == 1


def test_the_log_is_json_with_a_line_for_each_invocation(server: ServingProcess) -> None:
    answer = server.invoke(photo())
    time.sleep(0.2)
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    (line,) = (x for x in lines if x.get("request_id") == answer.headers["x-request-id"])
    assert (line["event"], line["status"], line["path"]) == ("invocation", 200, "/invocations")
    assert (line["bytes"], line["batch"], line["retried"]) == (len(photo()), 1, False)
    assert 0 < line["decode_ms"] + line["predict_ms"] <= line["total_ms"]
    ready = next(line for line in lines if "ready: model" in line.get("message", ""))
    assert ready["level"] == "INFO"


def test_execution_parameters_stay_within_sagemakers_limits(server: ServingProcess) -> None:
    parameters = server.request("GET", "/execution-parameters").json()
    assert set(parameters) == {"MaxConcurrentTransforms", "BatchStrategy", "MaxPayloadInMB"}
    transforms, payload = parameters["MaxConcurrentTransforms"], parameters["MaxPayloadInMB"]
    assert isinstance(transforms, int) and isinstance(payload, int)
    assert transforms >= 1 and payload == 25
    assert transforms * payload <= 100


def test_batch_transform_by_the_calls_of_sagemakers_agent(server: ServingProcess) -> None:
    assert server.ping() == 200
    parameters = server.request("GET", "/execution-parameters").json()
    transforms, limit = parameters["MaxConcurrentTransforms"], parameters["MaxPayloadInMB"]
    assert isinstance(transforms, int) and isinstance(limit, int)
    lines = lines_of(photos=90, bytes_together=limit * 2**20)
    headers = {"Accept": "application/jsonlines"}
    with ThreadPoolExecutor(transforms) as pool:
        batches = [
            pool.submit(server.invoke, lines, "application/jsonlines", headers=headers)
            for _ in range(transforms)
        ]
        single = pool.submit(server.invoke, photo("PNG"), "image/png", headers=headers)
    for batch in batches:
        answer = batch.result()
        assert answer.status == 200, answer.body[:500]
        documents = [json.loads(line) for line in answer.body.splitlines()]
        assert len(documents) == 90 and all("predicted_label" in one for one in documents)
    assert json.loads(single.result().body)["predicted_label"]


def test_a_large_body_of_asynchronous_inference_is_answered(model_dir: Path) -> None:
    with serving(model_dir, SAGEMAKER_MAX_PAYLOAD_IN_MB="100") as server:
        server.wait_until_ready()
        body = lines_of(photos=100, bytes_together=60 * 2**20)
        answer = server.invoke(body, "application/jsonlines")
        assert answer.status == 200, answer.body[:500]
        assert len(answer.body.splitlines()) == 100


def lines_of(photos: int, bytes_together: int) -> bytes:
    """Return JSON lines, each with a photo that is padded, of nearly so many bytes together."""
    padding = bytes(int(bytes_together / photos * 0.74) - len(photo()))
    return b"\n".join([as_json(photo() + padding)] * photos)


def test_a_full_queue_gets_503_and_the_others_are_answered(model_dir: Path) -> None:
    with serving(model_dir, SAGEMAKER_MODEL_SERVER_WORKERS="1", DOGBREEDS_QUEUE_SIZE="2") as server:
        server.wait_until_ready()
        slow = slow_photo()
        with ThreadPoolExecutor(6) as pool:  # two at work, two that wait, two too many
            answers = list(pool.map(lambda _: server.invoke(slow, "image/png"), range(6)))
        statuses = Counter(answer.status for answer in answers)
        assert set(statuses) == {200, 503}
        refused = next(answer for answer in answers if answer.status == 503)
        assert set(refused.json()) == {"error", "expected", "got"}
        assert refused.headers["retry-after"] == "1"
        assert server.invoke(photo()).status == 200


@pytest.mark.parametrize(("workers", "most"), [(1, 8), (2, 4)])
def test_workers_share_what_waits(model_dir: Path, workers: int, most: int) -> None:
    count, slow = str(workers), slow_photo()
    with serving(model_dir, SAGEMAKER_MODEL_SERVER_WORKERS=count) as server:
        server.wait_until_ready()
        with ThreadPoolExecutor(16) as pool:
            busy = [pool.submit(server.invoke, slow, "image/png") for _ in range(workers)]
            time.sleep(0.2)  # enough for them to arrive, too little to be answered
            waiting = [pool.submit(server.invoke, photo()) for _ in range(16 - workers)]
            assert {answer.result().status for answer in busy + waiting} == {200}
        time.sleep(0.2)
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        sizes = [line["batch"] for line in lines if line.get("event") == "invocation"]
        assert 2 < max(sizes) <= most
        assert server.invoke(photo()).status == 200


def test_bodies_that_find_no_memory_together_get_503_and_small_ones_are_answered(
    model_dir: Path,
) -> None:
    def send_head(connection: socket.socket, framing: str) -> None:
        head = f"POST /invocations HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n"
        connection.sendall(head.encode())

    vmargs = "-Ddogbreeds.max_upload_bytes=1000000"
    with serving(model_dir, SAGEMAKER_MODEL_SERVER_VMARGS=vmargs) as server:
        server.wait_until_ready()
        large = photo() + bytes(300_000)
        part = b"%x\r\n%s\r\n" % (900_000, bytes(900_000))
        for framing, body in (
            ("Content-Length: 900000", b""),
            ("Transfer-Encoding: chunked", part),
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as slow:
                send_head(slow, framing)
                slow.sendall(body)
                while metrics(server)["dogbreeds_upload_bytes"] < 800_000:  # it may come in parts
                    time.sleep(0.02)
                refused = server.invoke(large)
                assert refused.status == 503, refused
                assert set(refused.json()) == {"error", "expected", "got"}
                assert refused.headers["retry-after"] == "1"
                with socket.create_connection(("127.0.0.1", server.port), timeout=5) as waiting:
                    send_head(waiting, "Content-Length: 300000\r\nExpect: 100-continue")
                    assert waiting.recv(65536).startswith(b"HTTP/1.1 503 ")
                with socket.create_connection(("127.0.0.1", server.port), timeout=5) as growing:
                    send_head(growing, "Transfer-Encoding: chunked")
                    growing.sendall(part[:500_000])
                    assert growing.recv(65536).startswith(b"HTTP/1.1 503 ")
                assert server.invoke(photo()).status == 200
            while metrics(server)["dogbreeds_upload_bytes"]:  # given back when the client leaves
                time.sleep(0.02)
            assert server.invoke(large).status == 200
        alone = bytes(2_000_000)  # even one over the limit
        assert server.invoke(alone).status == 400
        headers = {"Transfer-Encoding": "chunked"}
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(alone), alone)
        assert server.invoke(chunks, headers=headers).status == 400
        assert metrics(server)["dogbreeds_upload_bytes"] == 0


def test_a_client_that_leaves_takes_its_waiting_photo_along(tmp_path: Path) -> None:
    def upload_bytes() -> float:
        return metrics(server)["dogbreeds_upload_bytes"]

    (tmp_path / "model/code").mkdir(parents=True)
    seen = tmp_path / "seen"
    (tmp_path / "model/code/inference.py").write_text(
        "def model_fn(model_dir): pass\n"
        "def transform_fn(model, data, content_type, accept):\n"
        f"    print(len(data), file=open({str(seen)!r}, 'a'))\n"
        "    return 'answer'\n"
    )
    with (
        serving(tmp_path / "model", SAGEMAKER_MODEL_SERVER_WORKERS="1") as server,
        ThreadPoolExecutor(1) as pool,
    ):
        server.wait_until_ready()
        [worker] = server.workers()
        worker.suspend()
        patient = pool.submit(server.invoke, bytes(1000))
        while upload_bytes() < 1000:
            time.sleep(0.02)
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as leaving:
            head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n"
            leaving.sendall(head + bytes(3_000_000))
            while upload_bytes() < 3_001_000:
                time.sleep(0.02)
        while upload_bytes() > 1000:
            time.sleep(0.02)
        worker.resume()
        assert patient.result(30).status == 200
        assert server.invoke(bytes(2000)).status == 200
        assert upload_bytes() == 0
    assert seen.read_text().split() == ["1000", "2000"]  # nothing of who has left


def test_a_killed_worker_is_replaced_and_its_requests_are_answered(server: ServingProcess) -> None:
    retries = metrics(server)["dogbreeds_retries_total"]
    with Load(server, 4) as load:
        for _ in range(2):
            time.sleep(0.5)
            for worker in server.workers():
                worker.kill()
            killed = time.monotonic()
            while not any(when > killed + 0.2 for when, a in load.answers if a.status == 200):
                assert time.monotonic() - killed < 10
                time.sleep(0.05)
        assert set(load.stop()) == {200}  # asked again by the server itself
    assert metrics(server)["dogbreeds_retries_total"] > retries
    assert server.ping() == 200


def test_the_process_that_workers_are_forked_from_is_replaced_too(server: ServingProcess) -> None:
    with Load(server, 2) as load:
        time.sleep(0.5)
        before = {process.pid for process in server.descendants()}
        (worker, *_) = server.workers()
        parent = worker.parent()
        assert parent
        parent.kill()
        deadline = time.monotonic() + 30
        while not ({p.pid for p in server.workers()} - before and server.ping() == 200):
            assert time.monotonic() < deadline, server.log()
            time.sleep(0.1)
        assert server.invoke(photo()).status == 200
        assert set(load.stop()) == {200}  # those that came meanwhile have waited


def test_ping_tells_that_no_worker_is_left(server: ServingProcess) -> None:
    (worker,) = server.workers()
    parent = worker.parent()
    assert parent
    parent.suspend()  # so that no new worker can be forked
    try:
        worker.kill()
        deadline = time.monotonic() + 5
        while server.ping() != 503:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        parent.resume()
        server.wait_until_ready()


def test_random_requests_get_no_5xx_and_harm_no_worker(server: ServingProcess) -> None:
    randomness = random.Random(0)
    workers = {process.pid for process in server.workers()}
    seeds = [
        (photo(), "image/jpeg"),
        (photo("PNG"), "image/png"),
        (photo("GIF"), "image/gif"),
        (photo("WEBP"), "image/webp"),
        (as_json(photo()), "application/json"),
        (as_json(photo()) + b"\n" + as_json(photo("PNG")), "application/jsonlines"),
    ]
    types = [content_type for _, content_type in seeds] + ["", "text/plain", "a", "image/*", "ä"]
    statuses: Counter[int] = Counter()
    for _ in range(int(environ.get("DOGBREEDS_FUZZ_REQUESTS", "500"))):
        body, content_type = randomness.choice(seeds)
        kind = randomness.randrange(6)
        if kind == 0:
            body = randomness.randbytes(randomness.randrange(3000))
        if kind == 1:
            body = body[: randomness.randrange(len(body))]
        if kind in (2, 3):
            mutable = bytearray(body)
            for _ in range(randomness.randrange(1, 20)):
                mutable[randomness.randrange(len(mutable))] = randomness.randrange(256)
            body = bytes(mutable)
        if kind == 4:
            content_type = randomness.choice(types)
        headers = {"Content-Type": content_type}
        if kind == 5:
            name = randomness.choice(["Accept", "X-Amzn-SageMaker-Custom-Attributes", "X-Other"])
            headers[name] = (
                randomness.randbytes(30).decode("latin-1").translate(dict.fromkeys((0, 10, 13)))
            )
        query = randomness.choice(
            ["", "?top_k=2", "?top_k=%00", "?body=x", "?model_name=x", "?%zz"]
        )
        answer = server.request(
            "POST",
            "/invocations" + query,
            body,
            {k: v.encode("latin-1") for k, v in headers.items()},  # type: ignore[misc]
        )
        statuses[answer.status] += 1
        assert answer.status < 500, (answer, kind, query, headers)
    assert statuses[200] and statuses[400] and statuses[415]
    assert {process.pid for process in server.workers()} == workers


def test_broken_http_gets_no_5xx_and_harms_no_worker(server: ServingProcess) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\n"
    for message in (
        b"\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"\x00" * 100,
        head + b"Content-Length: 1000\r\n\r\nshort",
        head + b"Content-Length: -1\r\n\r\n",
        head + b"Content-Length: many\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        head + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            try:
                connection.sendall(message)
                connection.shutdown(socket.SHUT_WR)
                received = connection.recv(65536)
            except OSError:  # no answer, or the server has hung up before all was sent
                received = b""
        assert not received.startswith(b"HTTP/1.1 5"), (message[:80], received)
    assert server.invoke(photo()).status == 200
    assert metrics(server)["dogbreeds_in_flight"] == 0
