import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from dogbreeds.data.folders import find_photos, find_roots
from dogbreeds.data.sample import draw_sample
from dogbreeds.entrypoint.provenance import provenance
from dogbreeds.training.settings import Settings


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "sample"
    draw_sample(folder)
    return folder


def test_photos_have_a_fingerprint_of_names_and_sizes(photos: Path) -> None:
    _, splits = find_photos(find_roots(photos))
    before = provenance(Settings(), splits, None)["data"]
    assert before["train"]["photos"] == len(splits["train"].paths)
    assert before["train"]["bytes"] == sum(
        p.stat().st_size for p in (photos / "train").rglob("*.jpg")
    )
    assert provenance(Settings(), splits, None)["data"] == before
    first = Path(str(splits["train"].paths[0]))
    first.write_bytes(first.read_bytes() + b"\0")
    after = provenance(Settings(), splits, None)["data"]
    assert after["train"]["sha256"] != before["train"]["sha256"]
    assert after["test"] == before["test"]


def test_the_command_repeats_the_hyperparameters() -> None:
    settings = replace(Settings(), lr=0.003, horizontal_flip=False, model="mobilenet_v2")
    words = shlex.split(provenance(settings, {}, None)["command"])
    assert words[:5] == ["dogbreeds", "train", "PHOTOS", "--on", "local"]
    assert "--weights" not in words
    given = dict(word.split("=", 1) for word in words[6::2])
    assert Settings.from_mapping(given) == settings


def test_other_weights_than_imagenets_are_part_of_the_command(tmp_path: Path) -> None:
    file = tmp_path / "own.pth"
    file.write_bytes(b"weights")
    found = provenance(replace(Settings(), weights=file.name), {}, file)
    assert "--weights own.pth" in found["command"]
    assert found["weights_sha256"].startswith("9a129038d9a0")


def test_image_revision_and_instance_come_from_where_the_job_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOGBREEDS_REVISION", "abc123")
    monkeypatch.setenv("DOGBREEDS_IMAGE", "registry/dogbreeds@sha256:12")
    monkeypatch.setenv("SM_CURRENT_INSTANCE_TYPE", "ml.g5.xlarge")
    monkeypatch.setenv("DOGBREEDS_USD_PER_HOUR", "1.4080")
    found = provenance(Settings(), {}, None)
    assert (found["revision"], found["image"]) == ("abc123", "registry/dogbreeds@sha256:12")
    assert found["hardware"]["instance_type"] == "ml.g5.xlarge"
    assert found["hardware"]["usd_per_hour"] == 1.408
    assert found["hardware"]["cpus"] >= 1
    assert {"torch", "numpy", "python", "dogbreeds"} <= found["packages"].keys()
