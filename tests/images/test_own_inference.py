"""Scripts written for AWS's PyTorch image, unchanged in the serving image."""

import json
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import inference_scripts as scripts
from helpers.containers import container, logs, run, server, state
from helpers.serving_process import photo

pytestmark = pytest.mark.images

SCIKIT_LEARN = """
    import json
    import os
    import joblib
    import numpy as np

    def model_fn(model_dir):
        return joblib.load(os.path.join(model_dir, "model.joblib"))

    def input_fn(request_body, content_type):
        if content_type != "application/json":
            raise ValueError("expected application/json")
        return np.array(json.loads(request_body)["instances"])

    def predict_fn(data, model):
        return model.predict(data)

    def output_fn(prediction, accept):
        return json.dumps({"predictions": prediction.tolist()}), accept
"""
TRAIN = """
    import joblib
    from sklearn.linear_model import LogisticRegression

    joblib.dump(LogisticRegression().fit([[0], [1], [9], [10]], [0, 0, 1, 1]), "/out/model.joblib")
"""


@pytest.mark.parametrize("user", ["0", "1000"])
def test_a_resnet_with_torchvision_transforms(
    serving_image: str, tmp_path: Path, user: str
) -> None:
    folder = scripts.write(tmp_path / "model", scripts.RESNET, scripts.resnet)
    with server(serving_image, folder, "--user", user) as started:
        started.wait_until_ready(200)
        answer = started.invoke(photo(), "application/x-image")
        assert answer.status == 200, answer.body
        assert sum(answer.json()[0]) == pytest.approx(1)
        assert started.invoke(b"no photo", "application/x-image").status == 400


def test_torchscript_without_a_script(serving_image: str, tmp_path: Path) -> None:
    folder = scripts.write(tmp_path / "model", make_model=scripts.torchscript)
    with server(serving_image, folder) as started:
        started.wait_until_ready(200)
        assert started.invoke(b"[[1, 1]]", "application/json").json() == [[0.5, 0.5]]


def test_a_script_that_raises_ends_the_container_with_the_reason(
    serving_image: str, tmp_path: Path
) -> None:
    folder = scripts.write(tmp_path / "model", scripts.RAISES)
    with server(serving_image, folder, "--env", "MODEL_FN=runtime") as started:
        run("docker", "wait", started.container, timeout=120)
        assert state(started.container)["ExitCode"] == 1
        last = logs(started.container).strip().splitlines()[-1]
        assert last == "serve: error: cannot load the model: model_fn raised RuntimeError: " + (
            "a secret of the server"
        )


@pytest.fixture(scope="module")
def baked_image(serving_image: str) -> Iterator[str]:
    """The image of the two-line Dockerfile of `examples/own_inference`."""
    tag = f"dogbreeds-own-inference:test-{os.getpid()}"
    run("docker", "tag", serving_image, "dogbreeds-serving")
    try:
        # Plain `docker build` where an index answers; this also works behind a company's mirror.
        run("docker/buildx", "--tag", tag, "examples/own_inference", timeout=600)
        yield tag
    finally:
        run("docker", "image", "rm", "dogbreeds-serving", tag, check=False)


def test_a_scikit_learn_model_needs_its_package_baked_in_where_there_is_no_network(
    serving_image: str, baked_image: str, tmp_path: Path
) -> None:
    folder = scripts.write(tmp_path / "model", SCIKIT_LEARN)
    (folder / "code" / "requirements.txt").write_text("scikit-learn\n")
    train = textwrap.dedent(TRAIN)
    mount = f"--volume={folder}:/out"
    run("docker", "run", "--rm", mount, baked_image, "python", "-c", train, timeout=300)
    isolated = ("--network", "none", "--volume", f"{folder}:/opt/ml/model:ro")
    with container(*isolated, serving_image, "serve") as identifier:
        run("docker", "wait", identifier, timeout=120)
        last = logs(identifier).strip().splitlines()[-1]
        assert "scikit-learn" in last and "bake the packages into an image" in last
    with server(baked_image, folder) as started:
        started.wait_until_ready(200)
        assert "requirements.txt: all packages are there" in logs(started.container)
        body = json.dumps({"instances": [[0.5], [9.5]]}).encode()
        answer = started.invoke(body, "application/json")
        assert answer.status == 200, answer.body
        assert answer.json()["predictions"] == [0, 1]
