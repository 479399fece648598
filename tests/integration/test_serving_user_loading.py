"""How a model's own code is found, fetched and loaded, and its packages installed."""

import base64
import hashlib
import json
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from helpers import inference_scripts as scripts
from helpers.serving_process import (
    Answer,
    ServingProcess,
    one_line_reason,
    photo,
    save_tiny_archive,
    serve_and_ask,
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
