"""`dogbreeds.Classifier`, and the commands that use it, over a real artifact."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dogbreeds import METRIC_DEFINITIONS, SEARCH_SPACE, Classifier
from dogbreeds.cli.main import main
from dogbreeds.data.doubts import find_doubtful
from dogbreeds.entrypoint.graphs import add_graphs
from dogbreeds.model import artifact, networks
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.photo import PhotoError
from dogbreeds.model.preprocessing import Preprocessing

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    classes = tuple(PhotoClass(f"{number:03d}", f"breed_{number}") for number in range(7))
    model = networks.create_model("squeezenet1_1", len(classes)).eval()
    made = artifact.Artifact(model, "squeezenet1_1", classes, Preprocessing(64, 64))
    artifact.save(made, folder)
    add_graphs(folder, {}, quantize=True)
    artifact.pack(folder, folder / "model.tar.gz")
    return folder / "model.tar.gz"


@pytest.fixture(scope="module")
def classifier(packed: Path) -> Classifier:
    return Classifier.load(packed, gpu=-1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    for number, colour in enumerate(["red", "green", "blue"]):
        Image.effect_noise((300, 200), 90).convert("RGB").save(folder / f"{number}_{colour}.png")
    return sorted(folder.iterdir())


def test_paths_bytes_images_and_lists_get_the_same_answers(
    classifier: Classifier, photos: list[Path]
) -> None:
    one = classifier.predict(photos[0])
    assert one["predicted_label"] == one["top_k"][0]["label"]
    assert len(one["top_k"]) == 5
    assert classifier.predict(str(photos[0])) == one
    assert classifier.predict(photos[0].read_bytes()) == one
    with Image.open(photos[0]) as image:
        assert classifier.predict(image) == one
    several = classifier.predict(photos * 7, top_k=2)  # more than a forward pass takes
    assert [answer["predicted_label"] for answer in several] == [
        classifier.predict(photo)["predicted_label"] for photo in photos
    ] * 7
    assert {len(answer["top_k"]) for answer in several} == {2}
    assert classifier.predict([]) == []


def test_what_is_no_photo_is_refused(classifier: Classifier) -> None:
    with pytest.raises(PhotoError, match="got text that begins with"):
        classifier.predict(b"no photo")


def test_a_program_that_predicts_does_not_load_pytorch(packed: Path, photos: list[Path]) -> None:
    program = (
        "import sys, dogbreeds\n"
        "before = set(sys.modules)\n"
        "classifier = dogbreeds.Classifier.load(sys.argv[1], gpu=-1)\n"
        "print(classifier.predict(sys.argv[2])['probability'] > 0)\n"
        "print('torch' in sys.modules, 'numpy' in before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(packed), str(photos[0])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "False", "False"]


def test_the_public_names_are_there() -> None:
    assert METRIC_DEFINITIONS[0].keys() == {"Name", "Regex"}
    assert "lr" in SEARCH_SPACE


def test_predict_needs_no_aws_with_a_model(
    packed: Path, classifier: Classifier, photos: list[Path], capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    broken = tmp_path / "broken.jpg"
    broken.write_text("no photo")
    arguments = ["predict", *map(str, photos), str(broken), "--model", str(packed), "--json"]
    assert main(arguments) == 1
    *answers, refused = map(json.loads, capsys.readouterr().out.splitlines())
    assert answers == [{"photo": str(p), **classifier.predict(p)} for p in photos]
    assert "error" in refused


def test_a_folder_is_transformed_here(
    packed: Path, classifier: Classifier, photos: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "answers"
    command = ["transform", str(packed), str(photos[0].parent), "--on=local", "--out", str(out)]
    assert main(command) == 0
    answer = json.loads((out / f"{photos[0].name}.out").read_text())
    assert answer == classifier.predict(photos[0])


def test_the_check_names_what_a_model_doubts(
    packed: Path, classifier: Classifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = []
    for number in range(12):
        file = tmp_path / "photos" / f"{number % 2:03d}.Class" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((80, 80), 10 * number).convert("RGB").save(file)
        names.append(file)
    photos, page = tmp_path / "photos", tmp_path / "page.html"
    main(["data", "check", str(photos), "--model", str(packed), "--json", "--html", str(page)])
    findings = json.loads(capsys.readouterr().out)["findings"]["label"]
    names.sort()
    given = np.array([int(file.parent.name[:3]) for file in names])
    doubtful = find_doubtful(given, classifier.probabilities(names))
    expected = [str(names[position].relative_to(photos)) for position, _ in doubtful]
    assert expected
    assert [entry["photo"] for entry in findings] == expected
    shown = page.read_text().partition('id="data">')[2].partition("</script>")[0]
    assert expected[0] in json.loads(shown)["thumbnails"]
