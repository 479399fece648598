import re
from pathlib import Path

import pytest
import yaml

from dogbreeds.entrypoint.report import write_html_report
from dogbreeds.job_output.jobs import read_job
from dogbreeds.report.model_card import model_card
from helpers.invented import write_job


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_job(tmp_path_factory.mktemp("jobs") / "breeds-1", classes=12)


def test_the_metadata_is_hugging_faces(output: Path) -> None:
    job = read_job(output, 0)
    _, front, text = model_card(job).split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["pipeline_tag"] == "image-classification"
    (entry,) = metadata["model-index"]
    assert entry["name"] == "breeds-1"
    assert [result["dataset"]["name"] for result in entry["results"]] == [
        "photos, split test", "photos, split valid"
    ]  # fmt: skip
    accuracy = entry["results"][0]["metrics"][0]
    assert accuracy["type"] == "accuracy"
    assert accuracy["value"] == pytest.approx(job["splits"]["test"]["accuracy"])
    assert "$" not in text


def test_the_card_has_intervals_calibration_classes_data_and_the_command(output: Path) -> None:
    job = read_job(output, 0)
    card = model_card(job)
    test = job["splits"]["test"]
    low, high = test["accuracy_interval"]
    assert f"| test | 72 | {test['accuracy']:.1%} | {low:.1%} to {high:.1%} | 87.0% |" in card
    assert "temperature 0.800" in card
    rows = re.findall(r"^\| (.+?) \| 0\d\d \| 6 \| .+ \| ([\d.]+)% \|$", card, re.MULTILINE)
    shares = [float(f1) for _, f1 in rows]
    assert len(rows) == 12
    assert shares == sorted(shares)
    assert "12 of 12 classes have fewer than 10 photos" in card
    assert "- 1 photos are in two splits" in card
    assert "| train | 6680 | 740.0 | `abababababababab` |" in card
    assert "dogbreeds train PHOTOS --on local --set seed=0" in card
    assert '"instance_type": "ml.g5.xlarge"' in card


def test_hostile_names_stay_text(output: Path) -> None:
    job = read_job(output, 0)
    job["name"] = 'x"\n---\nowned: 1'
    job["splits"]["test"]["classes"][0]["class_name"] = "<script>|\n# owned"
    card = model_card(job)
    metadata = yaml.safe_load(card.split("---\n", 2)[1])
    assert "owned" not in metadata
    assert metadata["model-index"][0]["name"] == job["name"]
    assert "&lt;script&gt;\\|\\n# owned" in card
    assert "\n# owned" not in card


def test_a_job_that_was_stopped_has_a_card_of_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"classes": 3, "hyperparameters": {"model": "resnet18"}}')
    card = model_card(read_job(tmp_path, 0))
    assert "A `resnet18` that tells 3 classes of photos apart" in card


def test_the_card_is_in_the_report_and_in_the_artifact(output: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    write_html_report(output, tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []  # there is no artifact to describe
    (tmp_path / "model" / "model.safetensors").write_bytes(b"")
    write_html_report(output, tmp_path / "model")
    card = (tmp_path / "model" / "model_card.md").read_text()
    assert card == (output / "model_card.md").read_text()
    assert read_job(output, 0)["card"] == card
