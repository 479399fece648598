"""`examples/`, as their pages say: code of one's own is trained and served, and none is needed."""

import io
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dogbreeds.local import training
from helpers.serving_process import Answer, serving

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).parents[2] / "examples"
COLORS = {"paper": (230, 230, 230), "rock": (90, 80, 70), "scissors": (200, 30, 30)}


def picture(color: tuple[int, int, int], seed: int) -> bytes:
    noise = random.Random(seed)
    stream = io.BytesIO()
    colors = tuple(max(0, min(255, part + noise.randint(-25, 25))) for part in color)
    Image.new("RGB", (80, 64), colors).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes that are no dogs, in folders named after them."""
    root = tmp_path_factory.mktemp("photos")
    for split, count in {"train": 8, "valid": 3, "test": 3}.items():
        for name, color in COLORS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                (folder / f"{index}.jpg").write_bytes(picture(color, index))
    return root


def ask(model_dir: Path) -> Answer:
    with serving(model_dir, SAGEMAKER_MODEL_SERVER_WORKERS="1") as server:
        server.wait_until_ready(200)
        return server.invoke(picture(COLORS["rock"], 99))


def test_own_inference(tmp_path: Path) -> None:
    script = EXAMPLES / "own_inference" / "save_model.py"
    subprocess.run([sys.executable, script, tmp_path], check=True)
    answer = ask(tmp_path)
    assert answer.status == 200, answer.body
    probabilities = json.loads(answer.body)
    assert set(probabilities) == set(COLORS)
    assert sum(probabilities.values()) == pytest.approx(1)


def script_mode(tree: Path, photos: Path, example: str, **hyperparameters: object) -> None:
    program = {
        "sagemaker_program": "train.py",
        "sagemaker_submit_directory": str(EXAMPLES / "own_train" / example),
    }
    training.make_tree(tree, photos, {**hyperparameters, **program})
    training.run(tree, tree.parent / "train.log")


def test_own_train_without_parts_of_ours(photos: Path, tmp_path: Path) -> None:
    script_mode(tmp_path / "ml", photos, "without_parts", epochs=1)
    answer = ask(tmp_path / "ml" / "model")
    assert answer.status == 200, answer.body
    assert set(json.loads(answer.body)) == set(COLORS)


def test_own_train_with_parts_of_ours(photos: Path, tmp_path: Path) -> None:
    settings = {"model": "squeezenet1_1", "epochs": 2, "batch-size": 8, "image-size": 64}
    script_mode(tmp_path / "ml", photos, "with_parts", **settings)
    assert len(list((tmp_path / "ml" / "checkpoints").glob("*.pt"))) == 2
    answer = ask(tmp_path / "ml" / "model")
    assert answer.status == 200, answer.body
    assert answer.json()["class_name"] in COLORS


def test_other_classes_and_another_model_need_settings_alone(photos: Path, tmp_path: Path) -> None:
    settings = {"model": "mobilenet_v3_small", "weights": "none", "epochs": 2, "image_size": 64}
    training.make_tree(tmp_path / "ml", photos, {**settings, "batch_size": 8, "lr": 0.001})
    training.run(tmp_path / "ml", tmp_path / "train.log")
    document = ask(tmp_path / "ml" / "model").json()
    top = document["top_k"]
    assert isinstance(top, list)
    assert {answer["class_name"] for answer in top} == set(COLORS)


def test_both_examples_serve_by_the_same_script() -> None:
    first = EXAMPLES / "own_inference" / "code" / "inference.py"
    second = EXAMPLES / "own_train" / "without_parts" / "inference.py"
    assert first.read_text() == second.read_text()
