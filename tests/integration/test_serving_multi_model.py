"""Several models behind one endpoint, by the calls that SageMaker makes.

Source: the SageMaker developer guide, "Custom containers contract for multi-model endpoints".
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.serving_process import Answer, ServingProcess, photo, save_tiny_archive, serving

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_archive(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server() -> Iterator[ServingProcess]:
    with serving(Path("/nonexistent"), SAGEMAKER_MULTI_MODEL="true") as running:
        running.wait_until_ready()  # without any model
        yield running


def load(server: ServingProcess, name: str, folder: Path) -> Answer:
    body = json.dumps({"model_name": name, "url": str(folder)}).encode()
    return server.request("POST", "/models", body, {"Content-Type": "application/json"})


def loaded(server: ServingProcess) -> dict[str, str]:
    models = server.request("GET", "/models").json()["models"]
    assert isinstance(models, list)
    return {model["modelName"]: model["modelUrl"] for model in models}


def test_models_are_loaded_listed_invoked_and_unloaded(
    server: ServingProcess, model_dir: Path
) -> None:
    before = {process.pid for process in server.descendants()}
    assert load(server, "first", model_dir).status == 200
    assert load(server, "second", model_dir).status == 200
    assert load(server, "first", model_dir).status == 409
    assert loaded(server) == {"first": str(model_dir), "second": str(model_dir)}
    assert server.request("GET", "/models/first").status == 200
    for name in ("first", "second"):
        answer = server.invoke(photo(), path=f"/models/{name}/invoke?top_k=1")
        assert answer.status == 200
        assert answer.json()["predicted_label"]
    for name in ("first", "second"):
        assert server.request("DELETE", f"/models/{name}").status == 200
        assert server.request("DELETE", f"/models/{name}").status == 404
        assert server.invoke(photo(), path=f"/models/{name}/invoke").status == 404
    assert loaded(server) == {}
    deadline = time.monotonic() + 10
    while {process.pid for process in server.descendants()} - before:  # the memory is given back
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_model_that_cannot_be_loaded_harms_no_other(
    server: ServingProcess, model_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    assert load(server, "good", model_dir).status == 200
    assert load(server, "damaged", tmp_path).status == 500
    assert load(server, "missing", tmp_path / "missing").status == 404
    assert set(loaded(server)) == {"good"}
    assert server.invoke(photo(), path="/models/good/invoke").status == 200
    assert server.request("DELETE", "/models/good").status == 200


def test_a_model_that_does_not_fit_into_memory_gets_507(
    server: ServingProcess, model_dir: Path, tmp_path: Path
) -> None:
    for file in model_dir.iterdir():
        (tmp_path / file.name).symlink_to(file)
    with (tmp_path / "ballast").open("wb") as sparse:
        sparse.truncate(2**40)
    assert load(server, "huge", tmp_path).status == 507
    assert loaded(server) == {}


def test_the_paths_of_a_single_model_are_not_served(server: ServingProcess) -> None:
    assert server.invoke(photo()).status == 404
    assert server.ping() == 200
