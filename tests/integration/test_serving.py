"""The real server: Java front end, endpoint plugin, workers, over HTTP."""

import json
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from dogbreeds.model import artifact
from helpers.serving_process import (
    CLASSES,
    ServingProcess,
    as_json,
    assert_gone,
    one_line_reason,
    photo,
    serving,
    slow_photo,
)

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).parents[2]


def test_ping_turns_200_only_when_the_first_request_can_be_answered(model_dir: Path) -> None:
    with serving(model_dir) as server:
        assert set(server.wait_until_ready()[:-1]) <= {None, 503}
        assert server.invoke(photo(), timeout=2).status == 200


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (photo("JPEG"), "image/jpeg"),
        (photo("PNG"), "image/png"),
        (photo("WEBP"), "image/webp"),
        (photo("BMP"), "image/bmp"),
        (photo("GIF"), "image/gif"),
        (photo("JPEG"), "application/x-image"),
        (photo("PNG"), "application/octet-stream"),
        (as_json(photo()), "application/json"),
        (as_json(photo()), "application/json; charset=utf-8"),
    ],
)
def test_answers_every_content_type(server: ServingProcess, body: bytes, content_type: str) -> None:
    answer = server.invoke(body, content_type)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert set(document) == {
        "predicted_label",
        "class_name",
        "probability",
        "top_k",
        "model_version",
    }


def test_the_openapi_file_says_what_the_server_does(server: ServingProcess) -> None:
    document = json.loads((REPOSITORY / "containers/serving/openapi.json").read_text())
    schemas = document["components"]["schemas"]
    answer = server.invoke(photo()).json()
    assert set(answer) == set(schemas["Prediction"]["required"])
    top = answer["top_k"]
    assert isinstance(top, list)
    assert set(top[0]) == set(schemas["Class"]["required"])
    refusal = server.request("GET", "/nowhere").json()
    assert set(refusal) == set(schemas["Error"]["required"])
    assert set(str(refusal["expected"]).split(", ")) == set(document["paths"])
    described = document["paths"]["/invocations"]["post"]["requestBody"]["content"]
    unsupported = server.invoke(b"", "text/plain").json()
    assert set(str(unsupported["expected"]).split(", ")) == set(described)


def test_the_answer_is_that_of_the_archive(server: ServingProcess, model_dir: Path) -> None:
    import torch

    loaded = artifact.load(model_dir)
    pixels = torch.from_numpy(loaded.preprocessing.read_pixels(photo())[None].copy())
    with torch.inference_mode():
        (row,) = loaded.model(loaded.preprocessing.normalize(pixels)).softmax(1).tolist()
    document = server.invoke(photo()).json()
    assert document["model_version"] == loaded.version
    top = document["top_k"]
    assert isinstance(top, list) and len(top) == len(CLASSES)
    for entry in top:
        index = CLASSES.index((entry["label"], entry["class_name"]))
        assert entry["probability"] == pytest.approx(row[index], abs=1e-3)
    assert document["predicted_label"] == CLASSES[row.index(max(row))].label


def test_requests_that_share_a_batch_get_each_its_own_answer(server: ServingProcess) -> None:
    bodies = [photo(size=(100 + 20 * n, 90)) for n in range(6)] + [b"nonsense", as_json(photo())]
    types = ["image/jpeg"] * 7 + ["application/json"]
    alone = [server.invoke(*request) for request in zip(bodies, types, strict=True)]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(server.invoke, bodies * 20, types * 20))
    for before, now in zip(alone * 20, together, strict=True):
        assert now.status == before.status
        if now.status == 200:
            assert now.json()["probability"] == pytest.approx(
                before.json()["probability"], abs=1e-4
            )
        else:
            assert now.body == before.body


def test_a_request_without_content_type_is_taken_for_a_photo(server: ServingProcess) -> None:
    assert server.request("POST", "/invocations", photo()).status == 200


def test_json_lines_answer_line_by_line_and_a_bad_line_spoils_none(server: ServingProcess) -> None:
    body = b"\n".join([as_json(photo()), b'{"image": "!"}', as_json(photo("PNG"))])
    answer = server.invoke(body, "application/jsonlines")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/jsonlines"
    first, bad, last = map(json.loads, answer.body.splitlines())
    assert first["predicted_label"] and last["predicted_label"]
    assert set(bad) == {"error", "expected", "got"}


def test_csv_and_top_k(server: ServingProcess) -> None:
    answer = server.invoke(photo(), path="/invocations?top_k=2", headers={"Accept": "text/csv"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/csv"
    label, name, probability, *second = answer.body.decode().strip().split(",")
    assert (label, name) in CLASSES and 0 < float(probability) <= 1
    assert len(second) == 3


def test_top_k_by_the_header_that_sagemaker_hands_on(server: ServingProcess) -> None:
    headers = {"X-Amzn-SageMaker-Custom-Attributes": "trace=1,top_k=1"}
    top = server.invoke(photo(), headers=headers).json()["top_k"]
    assert isinstance(top, list) and len(top) == 1


@pytest.mark.parametrize(
    ("body", "content_type", "headers", "status"),
    [
        (b"not a photo", "image/jpeg", {}, 400),
        (b"", "image/jpeg", {}, 400),
        (photo()[:-300], "image/jpeg", {}, 400),
        (b"{", "application/json", {}, 400),
        (b'{"picture": "x"}', "application/json", {}, 400),
        (b'{"image": "not base64"}', "application/json", {}, 400),
        (b"\xff\xfe\x00", "application/jsonlines", {}, 400),
        (photo(), "text/plain", {}, 415),
        (photo(), "application/x-www-form-urlencoded", {}, 415),
        (photo(), "image/jpeg", {"Accept": "application/pdf"}, 406),
        (photo("PNG", (11_000, 10_000), "1"), "image/png", {}, 413),
    ],
)
def test_bad_input_gets_its_own_4xx_with_a_reason(
    server: ServingProcess, body: bytes, content_type: str, headers: dict[str, str], status: int
) -> None:
    answer = server.invoke(body, content_type, headers=headers)
    assert answer.status == status, answer.body
    assert set(answer.json()) == {"error", "expected", "got"}
    assert server.invoke(photo()).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "//", 404),
        ("POST", "/predictions/model", 404),
        ("POST", "/models?url=model", 404),
        ("GET", "/invocations", 405),
        ("HEAD", "/invocations", 405),
        ("POST", "/ping", 405),
        ("POST", "/invocations?top_k=%zz", 400),
        ("POST", "/invocations?top_k=0", 400),
    ],
)
def test_paths_and_methods_that_are_not_served_get_their_4xx(
    server: ServingProcess, method: str, path: str, status: int
) -> None:
    answer = server.request(method, path, photo() if method == "POST" else None)
    assert answer.status == status
    assert method == "HEAD" or set(answer.json()) == {"error", "expected", "got"}


def test_pipelined_requests_are_answered_in_their_order(server: ServingProcess) -> None:
    def head(content: bytes) -> bytes:
        lines = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
        return lines.encode() + content

    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        ping = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(head(photo()) + ping + head(photo()) + ping)
        received = b""
        while received.count(b"Healthy") < 2:
            received += connection.recv(65536)
    order = [word for word in received.split(b'"') if word in (b"predicted_label", b"Healthy")]
    assert order == [b"predicted_label", b"Healthy"] * 2


def test_a_body_over_the_limit_gets_413(server: ServingProcess) -> None:
    assert server.invoke(bytes(25 * 2**20 + 1)).status == 413
    assert server.invoke(photo() + bytes(25 * 2**20 - len(photo()))).status == 200


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_model_that_cannot_be_loaded_ends_the_server_with_the_reason(
    damage: str, model_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    weights = folder / artifact.WEIGHTS_FILE
    if damage == "cut":
        folder.mkdir()
        weights.write_bytes((model_dir / artifact.WEIGHTS_FILE).read_bytes()[:-1000])
    with serving(folder) as server:
        statuses = set()
        while server.process.poll() is None:
            statuses.add(server.ping())
            time.sleep(0.05)
        assert 200 not in statuses
        assert server.process.wait() == 1
        reason = one_line_reason(server.log())
        assert "model" in reason


def test_a_stop_answers_requests_in_flight_and_queued_first(model_dir: Path) -> None:
    with serving(model_dir, SAGEMAKER_MODEL_SERVER_WORKERS="1") as server:
        server.wait_until_ready()
        family = server.descendants()
        slow = slow_photo()
        with ThreadPoolExecutor(3) as pool:  # one in the worker, two in the queue
            answers = [pool.submit(server.invoke, slow, "image/png") for _ in range(3)]
            time.sleep(0.3)
            server.process.terminate()
            time.sleep(0.2)
            assert not all(answer.done() for answer in answers)
            assert server.ping() == 503
            late = server.invoke(photo())
            assert late.status == 503
            assert "stopping" in str(late.json()["error"])
            assert [answer.result().status for answer in answers] == [200] * 3
        assert server.process.wait(24) == 0
        assert_gone(family)


def test_an_idle_server_stops_within_ten_seconds_on_ctrl_c(model_dir: Path) -> None:
    with serving(model_dir) as server:
        server.wait_until_ready()
        family = server.descendants()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0
        assert_gone(family)


def test_a_stop_during_start_leaves_nothing_behind(model_dir: Path) -> None:
    with serving(model_dir) as server:
        while not server.workers():
            time.sleep(0.02)
        family = server.descendants()
        server.process.terminate()
        assert server.process.wait(10) == 0
        assert_gone(family)


def test_kill_9_of_serve_leaves_no_orphans(model_dir: Path) -> None:
    with serving(model_dir) as server:
        server.wait_until_ready()
        family = server.descendants()
        assert len(family) >= 3  # Java, the preloaded process and its worker
        server.process.kill()
        assert_gone(family)


def test_a_front_end_that_dies_takes_the_server_with_it(model_dir: Path) -> None:
    with serving(model_dir) as server:
        server.wait_until_ready()
        family = server.descendants()
        (java,) = (p for p in family if "java" in Path(p.exe()).name)
        java.kill()
        assert server.process.wait(10) == 1
        assert "front end ended by itself" in one_line_reason(server.log())
        assert_gone(family)


def test_a_taken_port_ends_the_server_with_the_reason(model_dir: Path) -> None:
    with socket.socket() as taken, serving(model_dir) as server:
        taken.bind(("0.0.0.0", server.port))
        taken.listen()
        assert server.process.wait(30) == 1
        assert f"cannot listen on http://0.0.0.0:{server.port}" in one_line_reason(server.log())


def test_a_temporary_folder_may_have_a_long_path(model_dir: Path) -> None:
    """As on macOS; a Unix socket's path has up to 107 bytes (unix(7))."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="x" * 62) as folder:
        assert len(folder) == 75
        with serving(model_dir, TMPDIR=folder) as server:
            server.wait_until_ready(60)
            assert server.invoke(photo()).status == 200


def _others_may_run_python() -> bool:
    interpreter = Path(sys.executable).resolve()
    return all(
        folder.stat().st_mode & stat.S_IXOTH for folder in (interpreter, *interpreter.parents)
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not _others_may_run_python(), reason="Python lies in a folder closed to others")
def test_runs_as_another_user_with_a_home_that_is_not_there(model_dir: Path) -> None:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [*nobody, sys.executable, "-m", "dogbreeds.serving.server"]
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o755)
        shutil.copy(model_dir / artifact.WEIGHTS_FILE, folder)
        with serving(Path(folder), command=command, HOME="/nonexistent") as server:
            server.wait_until_ready()
            assert {p.uids().real for p in server.descendants()} == {65534}
            assert server.invoke(photo()).status == 200
        Path(folder).chmod(0o700)
        with serving(Path(folder), command=command) as server:
            assert server.process.wait(10) == 1
            assert "cannot be read" in one_line_reason(server.log())


def test_secrets_of_the_environment_are_hidden_from_workers(server: ServingProcess) -> None:
    assert "hush" in psutil.Process(server.process.pid).environ().values()
    assert server.workers()
    for worker in server.workers():
        assert "hush" not in worker.environ().values()
