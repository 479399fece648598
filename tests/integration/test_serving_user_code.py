"""Models with code of their own, in the shapes that people publish, in the real server."""

import base64
import hashlib
import io
import json
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import psutil
import pytest
from moto.server import ThreadedMotoServer

from helpers import inference_scripts as scripts
from helpers.serving_process import (
    Answer,
    ServingProcess,
    one_line_reason,
    photo,
    save_tiny_archive,
    serving,
)

pytestmark = pytest.mark.integration

JSON = "application/json"


@pytest.fixture
def s3() -> Iterator[tuple[Any, dict[str, str]]]:
    """A client of moto's S3 on loopback, and the environment of a server that uses it."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    endpoint = "http://{}:{}".format(*moto.get_host_and_port())
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    try:
        yield (
            boto3.client("s3", endpoint_url=endpoint, region_name="eu-west-1", **keys),
            {"AWS_ENDPOINT_URL_S3": endpoint, **{k.upper(): v for k, v in keys.items()}},
        )
    finally:
        moto.stop()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def serve_and_ask(folder: Path, check: Callable[[ServingProcess], None], **environment: str) -> str:
    """Serve a folder with one worker, check it, and return the log."""
    with serving(folder, SAGEMAKER_MODEL_SERVER_WORKERS="1", **environment) as server:  # type: ignore[arg-type]
        server.wait_until_ready(200)
        check(server)
        return server.log()


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


def test_loading_may_take_longer_than_a_request(tmp_path: Path) -> None:
    slow = "import time\ndef model_fn(model_dir): time.sleep(3)\ndef predict_fn(d, m): return 1"
    serve_and_ask(
        scripts.write(tmp_path, slow),
        lambda server: None,
        SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS="1",
    )


WHOLE_MODEL = """
import torch

def model_fn(model_dir):
    torch.save(torch.nn.ReLU(), model_dir + "/whole.pth")
    return torch.load(model_dir + "/whole.pth")
"""


@pytest.mark.parametrize(
    ("script", "environment", "words"),
    [
        (scripts.RAISES, {"MODEL_FN": "runtime"}, "model_fn raised RuntimeError: a secret"),
        ("import no_such_package", {}, "inference.py raised ModuleNotFoundError"),
        ("def model_fn(): pass", {}, "expected model_fn with 1 arguments"),
        ("raise SystemExit(3)", {}, "inference.py raised SystemExit: 3"),
        ("import os; os._exit(3)", {}, "loads ended their process without an exception"),
        ("async def predict_fn(data, model): pass", {}, "expected predict_fn as a plain function"),
        ("def transform_fn(a, b, c, d): pass\ndef input_fn(a, b): pass", {}, "without input_fn"),
        ("", {}, "expected one .pt or .pth file where there is no model_fn, got none"),
        ("x = 1", {"SAGEMAKER_PROGRAM": "serve.py"}, "expected serve.py, which SAGEMAKER_PROGRAM"),
        (WHOLE_MODEL, {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}, "model_fn raised UnpicklingError"),
    ],
)
def test_a_script_that_cannot_be_loaded_ends_the_server_with_the_reason(
    script: str, environment: dict[str, str], words: str, tmp_path: Path
) -> None:
    environment = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1", **environment}
    with serving(scripts.write(tmp_path, script or " "), **environment) as server:  # type: ignore[arg-type]
        assert server.process.wait(120) == 1
        assert words in one_line_reason(server.log())


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
def model_fn(model_dir):
    pass

def transform_fn(model, data, content_type, accept):
    return bytes(int(data) * 2**20), "application/octet-stream"
"""

    def check(server: ServingProcess) -> None:
        for megabytes in (7, 100):
            answer = server.invoke(str(megabytes).encode(), "text/plain")
            assert (answer.status, answer.body) == (200, bytes(megabytes * 2**20))

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


def _wheel(folder: Path) -> str:
    """Write a wheel of a package with one module, and return its name."""
    name, info = "drawn_package-1.0-py3-none-any.whl", "drawn_package-1.0.dist-info"
    files = {
        "drawn_package.py": "ANSWER = 42\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: drawn-package\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
            record += f"{path},sha256={digest.rstrip('=')},{len(text)}\n"
        wheel.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return name


def test_requirements_are_installed_once_beside_the_packages_that_are_there(tmp_path: Path) -> None:
    folder = scripts.write(tmp_path, scripts.REQUIRES)
    wheel = _wheel(folder / "code")
    (folder / "code" / "requirements.txt").write_text(f"torch\nnumpy>=1\n./{wheel}\n")
    with serving(folder, SAGEMAKER_MODEL_SERVER_WORKERS="2") as server:
        server.wait_until_ready()
        assert server.invoke(b"", "text/plain").body == b"42"
        log = server.log()
    assert log.count("requirements.txt: installed drawn-package 1.0, in") == 1


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        ("no-such-package-of-dogbreeds", "no-such-package-of-dogbreeds"),
        ("torch==1.0", "torch==1.0"),
    ],
)
def test_a_package_that_is_missing_is_named_at_once(
    requirement: str, words: str, tmp_path: Path
) -> None:
    folder = scripts.write(tmp_path, scripts.REQUIRES)
    (folder / "code" / "requirements.txt").write_text(requirement)
    begin = time.monotonic()
    # As in network isolation: nobody answers.
    with serving(folder, PIP_INDEX_URL="http://127.0.0.1:9/simple") as server:
        assert server.process.wait(60) == 1
        assert time.monotonic() - begin < 30
        reason = one_line_reason(server.log())
        assert words in reason and "bake" in reason


def test_code_on_s3_as_the_sdk_uploads_it(tmp_path: Path, s3: tuple[Any, dict[str, str]]) -> None:
    client, environment = s3
    folder = scripts.write(tmp_path / "source", scripts.TRANSFORM)
    with tarfile.open(tmp_path / "sourcedir.tar.gz", "w:gz") as tar:
        tar.add(folder / "code" / "inference.py", "serve_it.py")
    client.create_bucket(
        Bucket="own-code", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    client.upload_file(str(tmp_path / "sourcedir.tar.gz"), "own-code", "a/sourcedir.tar.gz")
    (tmp_path / "model").mkdir()

    def check(server: ServingProcess) -> None:
        assert json.loads(server.invoke(b"[1]", JSON).body) == [3]

    environment |= {"SAGEMAKER_REGION": "eu-west-1", "SAGEMAKER_PROGRAM": "serve_it.py"}
    uri = "s3://own-code/a/sourcedir.tar.gz"
    serve_and_ask(tmp_path / "model", check, SAGEMAKER_SUBMIT_DIRECTORY=uri, **environment)
    with serving(
        tmp_path / "model",
        SAGEMAKER_SUBMIT_DIRECTORY=f"{uri}.not",
        **environment,  # type: ignore[arg-type]
    ) as server:
        assert server.process.wait(60) == 1
        assert "SAGEMAKER_SUBMIT_DIRECTORY=s3://own-code/a/sourcedir.tar.gz.not" in one_line_reason(
            server.log()
        )


def test_models_with_code_never_see_each_other(tmp_path: Path) -> None:
    def model(name: str, answer: str) -> Path:
        script = """
            import helper
            def model_fn(model_dir): return helper.ANSWER
            def input_fn(data, content_type): return data
            def predict_fn(data, model): return model
        """
        return scripts.write(tmp_path / name, script, helper=f"ANSWER = '{answer}'")

    folders = {name: model(name, name) for name in ("first", "second")}
    folders["ours"] = save_tiny_archive(tmp_path / "ours")
    with serving(Path("/nonexistent"), SAGEMAKER_MULTI_MODEL="true") as server:
        server.wait_until_ready()

        def load(name: str, folder: Path) -> Answer:
            body = json.dumps({"model_name": name, "url": str(folder)}).encode()
            return server.request("POST", "/models", body, {"Content-Type": JSON}, timeout=60)

        for name, folder in folders.items():
            assert load(name, folder).status == 200
        for name in ("first", "second"):
            answer = server.invoke(b"x", "text/plain", f"/models/{name}/invoke")
            assert (answer.status, json.loads(answer.body)) == (200, name)
        assert server.invoke(photo(), path="/models/ours/invoke").json()["predicted_label"]
        bad = scripts.write(tmp_path / "bad", "raise OSError('no')")
        assert load("bad", bad).status == 500
        assert server.invoke(b"x", "text/plain", "/models/first/invoke").status == 200
