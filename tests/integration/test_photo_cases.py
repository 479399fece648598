"""Photos as people have them: the decoder, training, the check and the server agree on each.

The files and what is wanted of them are read from the folder ``DOGBREEDS_PHOTO_CASES``.
"""

import csv
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dogbreeds.data.examine import Facts, examine
from dogbreeds.data.folders import Split
from dogbreeds.data.listing import list_folder
from dogbreeds.data.pixels import decode_split
from dogbreeds.model.photo import PhotoError, decode
from dogbreeds.model.preprocessing import Preprocessing
from helpers.serving_process import ServingProcess, serving

pytestmark = pytest.mark.integration

FOLDER = Path(os.environ.get("DOGBREEDS_PHOTO_CASES", "../shared/cases/photos"))
PREPROCESSING = Preprocessing()
LEVELS = 4  # the mean difference that lossy formats and conversions may make
# The small network of the tests: 0.001 between lossy copies, 0.007 for flipped or wrong colours.
ANSWERS_DIFFER = 0.004


@dataclass(frozen=True)
class Case:
    path: Path
    wanted: str
    right_picture: Path | None

    @property
    def may_be_read(self) -> bool:
        return "200" in self.wanted

    @property
    def may_be_refused(self) -> bool:
        return "400" in self.wanted or "413" in self.wanted

    @property
    def word(self) -> str:
        """What a refusal has to say."""
        found = re.match(r"400 (?:that \w+ |named )?([\w -]+)", self.wanted)
        word = found[1].strip() if found else ""
        return "" if word.startswith("or ") or word == "so" else word

    def right_pixels(self) -> npt.NDArray[np.float64] | None:
        if self.right_picture is None:
            return None
        return np.asarray(Image.open(self.right_picture).convert("RGB"), float)

    def check_reason(self, reason: str) -> None:
        assert self.may_be_refused, f"{self.path.name}: {reason}"
        assert self.word.lower() in reason.lower(), f"{self.path.name}: {reason}"


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    if not (FOLDER / "cases.csv").is_file():
        pytest.skip(f"no photos at {FOLDER}: set DOGBREEDS_PHOTO_CASES")
    with (FOLDER / "cases.csv").open(newline="") as stream:
        return [
            Case(
                FOLDER / row["file"],
                row["wanted"],
                FOLDER / row["right_picture"] if row["right_picture"] else None,
            )
            for row in csv.DictReader(stream)
        ]


@pytest.fixture(scope="module")
def patient_server(model_dir: Path) -> Iterator[ServingProcess]:
    with serving(model_dir, SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS="300") as running:
        running.wait_until_ready()
        yield running


def test_the_decoder_reads_the_right_picture_or_names_what_it_is(cases: list[Case]) -> None:
    assert cases
    for case in cases:
        try:
            pixels = np.asarray(decode(case.path), float)
        except PhotoError as error:
            case.check_reason(str(error))
            continue
        assert case.may_be_read, case.path.name
        right = case.right_pixels()
        if right is not None:
            assert pixels.shape == right.shape, case.path.name
            assert np.abs(pixels - right).mean() <= LEVELS, case.path.name


def test_training_reads_the_same_pictures_and_leaves_out_the_rest(cases: list[Case]) -> None:
    paths = tuple(case.path for case in cases)
    split = Split("train", paths, tuple(range(len(paths))), ())
    decoded = decode_split(split, PREPROCESSING, workers=2)
    by_name = {case.path.name: case for case in cases}
    for path, reason in decoded.broken:
        by_name[path.name].check_reason(reason)
    assert decoded.pixels
    for path, pixels in zip(decoded.paths, decoded.pixels.array, strict=True):
        case = by_name[path.name]
        assert case.may_be_read, path.name
        if case.right_picture is not None:
            right = PREPROCESSING.to_pixels(Image.open(case.right_picture).convert("RGB"))
            assert np.abs(pixels.astype(float) - right).mean() <= LEVELS, path.name


def test_the_check_says_the_same(cases: list[Case]) -> None:
    for case, found in zip(cases, examine([case.path for case in cases], 2), strict=True):
        if isinstance(found, Facts):
            assert case.may_be_read, case.path.name
        else:
            case.check_reason(found)


def test_folders_list_photos_by_any_of_their_names(cases: list[Case], tmp_path: Path) -> None:
    named = [case.path for case in cases if "read in training" in case.wanted]
    (tmp_path / "class").mkdir()
    for path in named:
        (tmp_path / "class" / path.name).symlink_to(path.resolve())
    listed = {photo.name for photo in list_folder(tmp_path).photos}
    assert listed == {path.name for path in named}


def test_the_server_answers_as_for_the_right_picture(
    cases: list[Case], patient_server: ServingProcess
) -> None:
    workers = {process.pid for process in patient_server.workers()}
    for case in cases:
        answer = patient_server.invoke(case.path.read_bytes(), "image/*", timeout=300)
        document = answer.json()
        if answer.status != 200:
            assert answer.status in (400, 413), (case.path.name, document)
            case.check_reason(f"{document['got']}")
            assert str(document["expected"])
            continue
        assert case.may_be_read, case.path.name
        if case.right_picture is not None:
            picture = io.BytesIO()
            Image.open(case.right_picture).convert("RGB").save(picture, "PNG")
            right = patient_server.invoke(picture.getvalue(), "image/png").json()
            assert probabilities(document) == pytest.approx(
                probabilities(right), abs=ANSWERS_DIFFER
            ), case.path.name
    assert {process.pid for process in patient_server.workers()} == workers


def probabilities(document: dict[str, object]) -> dict[str, float]:
    top = document["top_k"]
    assert isinstance(top, list)
    return {entry["label"]: entry["probability"] for entry in top}
