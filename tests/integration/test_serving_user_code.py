"""Models with code of their own, in the shapes that people publish, in the real server."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from helpers import inference_scripts as scripts
from helpers.serving_process import (
    Answer,
    ServingProcess,
    photo,
    serve_and_ask,
    serving,
)

pytestmark = pytest.mark.integration

JSON = "application/json"


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def test_a_resnet_with_torchvision_transforms(tmp_path: Path) -> None:
    def check(server: ServingProcess) -> None:
        answer = server.invoke(photo(), "application/x-image")
        assert answer.status == 200, answer.body
        assert answer.headers["content-type"] == JSON
        (probabilities,) = json.loads(answer.body)
        assert len(probabilities) == 3 and sum(probabilities) == pytest.approx(1)
        assert server.invoke(photo(), "image/jpeg").status == 500  # the script's own choice
        assert server.invoke(b"no photo", "application/x-image").status == 400
        metrics = server.request("GET", "/metrics").body.decode()
        for stage in ("input", "predict", "output", "total"):
            assert f'dogbreeds_request_seconds_count{{stage="{stage}"}}' in metrics
        assert 'dogbreeds_requests_total{status="200"} 1' in metrics

    log = serve_and_ask(scripts.write(tmp_path, scripts.RESNET, scripts.resnet), check)
    assert "Deserializing the input data." in log
    assert "Requested unsupported ContentType" in log


def test_multi_label_with_modules_beside_the_script(tmp_path: Path) -> None:
    folder = scripts.write(
        tmp_path,
        scripts.MULTI_LABEL,
        scripts.net,
        network=scripts.NETWORK,
        labels="LABELS = ['cat', 'dog']",
    )

    def check(server: ServingProcess) -> None:
        body = json.dumps({"inputs": [[1, -1, 0, 0], [-1, 1, 0, 0]]}).encode()
        answer = server.invoke(body, JSON)
        assert (answer.status, json.loads(answer.body)) == (200, [["cat"], ["dog"]])

    serve_and_ask(folder, check)


def test_torchscript_without_a_script_speaks_json_csv_and_npy(tmp_path: Path) -> None:
    def check(server: ServingProcess) -> None:
        expected = [[0.5, 0.5], [0.5, 0.5]]
        for body, content_type in (
            (b"[[1, 1], [2, 2]]", JSON),
            (b"[[1, 1], [2, 2]]", "application/json; charset=utf-8"),
            (b"1,1\n2,2", "text/csv"),
            (npy(np.ones((2, 2), np.float32)), "application/x-npy"),
        ):
            answer = server.invoke(body, content_type)
            assert answer.status == 200, answer.body
            assert answer.headers["content-type"] == JSON
            assert json.loads(answer.body) == expected
        answer = server.invoke(b"[[1, 1]]", JSON, headers={"Accept": "text/csv"})
        assert (answer.body, answer.headers["content-type"]) == (b"0.5,0.5\n", "text/csv")
        answer = server.invoke(
            b"[[1, 1]]", JSON, headers={"Accept": "image/png, application/x-npy;q=0.5"}
        )
        assert np.load(io.BytesIO(answer.body)).tolist() == [[0.5, 0.5]]
        pickled = npy(np.array([[object]], dtype=object))
        for body, content_type, accept, status in (
            (b"[[1, 1]", JSON, "*/*", 400),
            (b"\xff", JSON, "*/*", 400),
            (pickled, "application/x-npy", "*/*", 400),
            (b"x", "image/png", "*/*", 415),
            (b"[[1, 1]]", JSON, "image/png", 406),
        ):
            answer = server.invoke(body, content_type, headers={"Accept": accept})
            assert answer.status == status, answer.body
            assert set(answer.json()) == {"error", "expected", "got"}

    serve_and_ask(scripts.write(tmp_path, make_model=scripts.torchscript), check)


def test_transform_fn_alone(tmp_path: Path) -> None:
    def check(server: ServingProcess) -> None:
        assert json.loads(server.invoke(b"[1, 2]", JSON).body) == [3, 6]
        assert server.invoke(b"[1, 2", JSON).status == 400
        metrics = server.request("GET", "/metrics").body.decode()
        assert 'dogbreeds_request_seconds_count{stage="transform"} 2' in metrics

    serve_and_ask(scripts.write(tmp_path, scripts.TRANSFORM), check)


def test_npy_in_and_json_out(tmp_path: Path) -> None:
    def check(server: ServingProcess) -> None:
        answer = server.invoke(npy(np.arange(3)), "application/x-npy")
        assert answer.json() == {"predictions": [0, 2, 4]}

    serve_and_ask(scripts.write(tmp_path, scripts.NPY_IN), check)


def test_functions_that_take_the_context(tmp_path: Path) -> None:
    def check(server: ServingProcess) -> None:
        headers = {"X-Amzn-SageMaker-Custom-Attributes": "trace=7"}
        answer = server.invoke(b"hello", "text/plain", headers=headers)
        expected = {"gpu": None, "dir": str(tmp_path), "text": "hello", "attributes": "trace=7"}
        assert answer.json() == expected
        assert answer.headers["x-answered-by"] == "script"
        assert server.invoke(b"refuse", "text/plain").status == 422

    serve_and_ask(scripts.write(tmp_path, scripts.CONTEXT), check)


def test_a_script_sees_the_environment_and_its_prints_are_in_the_log(tmp_path: Path) -> None:
    def check(server: ServingProcess) -> None:
        # Credentials too: many scripts call S3.
        assert json.loads(server.invoke(b"1", JSON).body) == ["hi", 0.25, "hush"]

    log = serve_and_ask(
        scripts.write(tmp_path, scripts.PRINTS),
        check,
        GREETING="hi",
        THRESHOLD="0.25",
        AWS_SECRET_ACCESS_KEY="hush",
    )
    for line in ("imported with hi", f"loading from {tmp_path.name}", "warming up", "predicting"):
        assert line in log


def test_each_error_gets_its_own_status_and_the_log_the_traceback(tmp_path: Path) -> None:
    def check(server: ServingProcess) -> None:
        for body, status in {
            b"input value": 400,
            b"input toolkit": 418,
            b"input format": 415,
            b"input runtime": 500,
            b"predict value": 500,
            b"predict toolkit": 418,
            b"predict runtime": 500,
            b"output value": 500,
            b"output format": 406,
            b"object": 500,
            b"fine": 200,
            b"bytes": 200,
            b"bytearray": 200,
        }.items():
            answer = server.invoke(body, "text/plain")
            assert answer.status == status, (body, answer.body)
            if body.startswith(b"bytes"):
                assert answer.body == b"raw"
            if status >= 500:
                assert b"secret" not in answer.body and b"Traceback" not in answer.body
        refused = server.invoke(b"input value", "text/plain").json()
        assert refused["error"] == "expected a number of words"
        assert server.invoke(b"fine", "text/plain").json() == {"echo": "fine"}

    log = serve_and_ask(scripts.write(tmp_path, scripts.RAISES), check)
    assert "RuntimeError: a secret of the server" in log and "Traceback" in log


def test_workers_that_hang_or_exit_are_replaced(tmp_path: Path) -> None:
    def check(server: ServingProcess) -> None:
        for body in (b"predict hang", b"predict exit"):
            assert server.invoke(body, "text/plain").status == 503
            assert server.invoke(b"fine", "text/plain").status == 200

    log = serve_and_ask(
        scripts.write(tmp_path, scripts.RAISES), check, SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS="2"
    )
    assert "in raise_" in log  # where it hung


def test_requests_that_wait_together_are_predicted_together_if_the_script_says_so(
    tmp_path: Path,
) -> None:
    def check(server: ServingProcess) -> None:
        bodies = [b"1", b"2", b"3", b"4", b"0", b"x"] * 4
        with ThreadPoolExecutor(len(bodies)) as pool:
            answers = list(pool.map(lambda body: server.invoke(body, "text/plain"), bodies))
        statuses = {b"0": 500, b"x": 400}
        assert [a.status for a in answers] == [statuses.get(body, 200) for body in bodies]
        good = [
            (b, json.loads(a.body)) for b, a in zip(bodies, answers, strict=True) if a.status == 200
        ]
        assert all(quotient == 12 // int(body) for body, (quotient, _) in good)
        with ThreadPoolExecutor(16) as pool:
            again = pool.map(lambda _: server.invoke(b"1", "text/plain"), range(32))
        assert max(json.loads(answer.body)[1] for answer in again) > 1

    serve_and_ask(scripts.write(tmp_path, scripts.BATCHES), check)


def test_an_answer_may_be_larger_than_any_request(tmp_path: Path) -> None:
    script = """
import os

def model_fn(model_dir):
    pass

def transform_fn(model, data, content_type, accept):
    return bytes(int(data) * 2**20) or str(os.getpid()), "application/octet-stream"
"""

    def check(server: ServingProcess) -> None:
        def ask(megabytes: int) -> Answer:
            return server.invoke(str(megabytes).encode(), "text/plain")

        worker = ask(0).body
        for megabytes in (7, 100):
            answer = ask(megabytes)
            assert (answer.status, answer.body) == (200, bytes(megabytes * 2**20))
        assert ask(300).status == 500
        assert "expected an answer of at most" in server.log()
        assert ask(0).body == worker

    serve_and_ask(scripts.write(tmp_path, script), check)


def test_settings_of_other_servers_are_named_in_the_log(tmp_path: Path) -> None:
    def check(server: ServingProcess) -> None:
        assert "without effect here: MMS_X, TS_MAX_REQUEST_SIZE;" in server.log()

    script = "def model_fn(model_dir): pass"
    environment = {"TS_MAX_REQUEST_SIZE": "100", "MMS_X": "1"}
    serve_and_ask(scripts.write(tmp_path, script), check, **environment)


def test_a_client_that_is_alone_is_answered_by_one_worker_and_many_by_all(tmp_path: Path) -> None:
    script = """
import os, time

def transform_fn(model, data, content_type, accept):
    time.sleep(0.05)
    return str(os.getpid())

def model_fn(model_dir):
    pass
"""
    with serving(scripts.write(tmp_path, script), SAGEMAKER_MODEL_SERVER_WORKERS="3") as server:
        server.wait_until_ready(120)

        def ask(_: int) -> int:
            return int(server.invoke(b"", "text/plain").body)

        for _ in range(3):
            seen: set[int] = set()
            with ThreadPoolExecutor(6) as pool:
                while len(seen) < 3:  # a successor may be loading
                    seen = set(pool.map(ask, range(24)))
            alone = [ask(number) for number in range(8)]
            assert len(set(alone)) == 1
            psutil.Process(alone[0]).kill()
