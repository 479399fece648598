import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from dogbreeds.job_output.jobs import ReportError
from dogbreeds.job_output.statistics import mcnemar, wilson_interval
from dogbreeds.report.document import write_report

EVALUATION: dict[str, Any] = {
    "photos": 10, "loss": 0.5, "accuracy": 0.9, "top5": 1.0,
    "classes": [
        {"class_id": "1", "class_name": "Ant", "photos": 6, "recall": 5 / 6, "precision": 1.0},
        {"class_id": "2", "class_name": "Bee", "photos": 4, "recall": 1.0, "precision": 0.8},
    ],
    "confusion": [[5, 1], [0, 4]],
    "worst": [
        {"file": "a.jpg", "class_name": "Ant", "predicted": "Bee", "probability": 0.7, "loss": 2.0}
    ],
}  # fmt: skip


def job(folder: Path, **hyperparameters: object) -> Path:
    """Write a job's output as far as a report needs it; return the folder around it."""
    output = folder / "output" / "data"
    output.mkdir(parents=True)
    (output / "history.json").write_text('[{"test_loss": 0.5, "test_accuracy": 0.9}]')
    (output / "job.json").write_text(json.dumps({"hyperparameters": hyperparameters}))
    (output / "evaluation_test.json").write_text(json.dumps(EVALUATION))
    (output / "thumbnails.json").write_text('{"a.jpg": "data:image/webp;base64,AA=="}')
    return folder


def reported(file: Path, *sources: Path) -> Any:
    """Write a report and return the data in it."""
    write_report(sources, file)
    found = re.search(r'id="data">(.*?)</script>', file.read_text(encoding="utf-8"))
    assert found
    return json.loads(found[1])


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    # Of E. B. Wilson's formula: the first two are in R. G. Newcombe, Statistics in Medicine 1998.
    [(81 / 263, 263, 0.2553, 0.3662), (0.0, 20, 0.0, 0.1611), (0.5, 10, 0.2366, 0.7634)],
)
def test_an_interval_is_wilsons(share: float, count: int, low: float, high: float) -> None:
    assert wilson_interval(share, count) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    # Binomial tails by hand: 2 * (1 + 10) / 2**10 and 2 * (1 + 8 + 28) / 2**8
    [(1, 9, 0.0215), (9, 1, 0.0215), (2, 6, 0.2891), (3, 3, 1.0), (0, 0, 1.0)],
)
def test_a_paired_test_is_mcnemars(only_first: int, only_second: int, p: float) -> None:
    assert mcnemar(only_first, only_second) == pytest.approx(p, abs=5e-5)


def write_predictions(folder: Path, wrong: int, count: int = 10) -> Path:
    lines = ["file,class_id,predicted,probability,probability_of_class,top5"]
    for i in range(count):
        lines.append(f"{i}.jpg,1,{2 if i < wrong else 1},0.95,0.9,1")
    text = "\n".join(lines) + "\n"
    (folder / "output" / "data" / "predictions_test.csv").write_text(text)
    return folder


def test_jobs_on_the_same_photos_are_compared_photo_by_photo(tmp_path: Path) -> None:
    folders = [
        write_predictions(job(tmp_path / name), wrong) for name, wrong in (("a", 0), ("b", 6))
    ]
    first, second = reported(tmp_path / "report.html", *folders)["jobs"]
    assert first["splits"]["test"]["p_value"] is None  # the one compared against
    assert second["splits"]["test"]["p_value"] == pytest.approx(2 / 2**6)


def test_confidence_is_counted_in_bins(tmp_path: Path) -> None:
    [found] = reported(tmp_path / "report.html", write_predictions(job(tmp_path / "a"), 2))["jobs"]
    bins = found["splits"]["test"]["confidence"]
    assert bins[95] == pytest.approx([10, 8, 9.5])
    assert sum(photos for photos, _, _ in bins) == 10


def test_jobs_without_predictions_have_no_paired_test(tmp_path: Path) -> None:
    first, second = reported(tmp_path / "r.html", job(tmp_path / "a"), job(tmp_path / "b"))["jobs"]
    assert first["splits"]["test"]["p_value"] is second["splits"]["test"]["p_value"] is None


def test_nothing_is_known_without_photos() -> None:
    assert wilson_interval(0.0, 0) == (0.0, 1.0)


def test_a_report_has_intervals_a_sparse_matrix_and_thumbnails(tmp_path: Path) -> None:
    [found] = reported(tmp_path / "report.html", job(tmp_path / "breeds-1"))["jobs"]
    assert found["name"] == "breeds-1"
    test = found["splits"]["test"]
    assert test["accuracy_interval"] == pytest.approx([0.596, 0.982], abs=1e-3)
    assert test["confusion"] == [[0, 0, 5], [0, 1, 1], [1, 1, 4]]
    assert test["worst"][0]["thumbnail"].startswith("data:image/webp")
    assert found["system"] is None
    assert found["findings"] == []


def test_an_output_tar_is_a_job_too(tmp_path: Path) -> None:
    tar = tmp_path / "breeds-1.tar.gz"
    with tarfile.open(tar, "w:gz") as archive:
        archive.add(job(tmp_path / "job") / "output" / "data", ".")
    [found] = reported(tmp_path / "report.html", tar)["jobs"]
    assert found["name"] == "breeds-1"
    assert found["splits"]["test"]["photos"] == 10


def test_an_output_tar_cannot_write_elsewhere(tmp_path: Path) -> None:
    tar = tmp_path / "evil.tar.gz"
    with tarfile.open(tar, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../escaped.json"), io.BytesIO())
    with pytest.raises(ReportError, match=r"expected an output\.tar\.gz"):
        write_report([tar], tmp_path / "report.html")


def test_a_job_that_was_stopped_has_a_report_of_what_there_is(tmp_path: Path) -> None:
    folder = job(tmp_path / "breeds-1")
    for name in ("evaluation_test.json", "thumbnails.json"):
        (folder / "output" / "data" / name).unlink()
    [found] = reported(tmp_path / "report.html", folder)["jobs"]
    assert found["splits"] == {}
    assert len(found["history"]) == 1


def test_jobs_of_the_same_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    first, second = job(tmp_path / "a" / "breeds"), job(tmp_path / "b" / "breeds")
    jobs = reported(tmp_path / "report.html", first, second)["jobs"]
    assert [found["name"] for found in jobs] == [str(first), str(second)]


def test_a_local_search_comes_with_its_best_job(tmp_path: Path) -> None:
    job(tmp_path / "jobs" / "003", lr=0.1)
    (tmp_path / "best").symlink_to("jobs/003")
    (tmp_path / "jobs.csv").write_text(
        "job,state,valid_accuracy,lr,optimizer,seconds\n"
        "003,complete,0.9,0.1,sgd,12\n"
        "001,pruned,,0.5,adamw,3\n"
    )
    data = reported(tmp_path / "report.html", tmp_path)
    [table] = data["tunings"]
    assert table["objective"] == "valid_accuracy"
    assert table["hyperparameters"] == ["lr", "optimizer"]
    assert table["rows"] == [
        ["003", "complete", 0.9, 0.1, "sgd", 12.0],
        ["001", "pruned", None, 0.5, "adamw", 3.0],
    ]
    assert data["jobs"][0]["job"]["hyperparameters"] == {"lr": 0.1}


def test_a_tuning_table_of_sagemaker_needs_no_job(tmp_path: Path) -> None:
    table = tmp_path / "breeds-2.csv"
    table.write_text(
        "job_name,batch_size,learning_rate,optimizer,epochs,FinalObjectiveValue,status\n"
        "t-1,32,0.001,adamw,5,0.91,Completed\n"
    )
    data = reported(tmp_path / "report.html", table)
    assert data["jobs"] == []
    assert data["tunings"][0]["name"] == "breeds-2"
    assert "epochs" in data["tunings"][0]["hyperparameters"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("history.json", "[{", "damaged or of another version: JSONDecodeError"),
        ("evaluation_test.json", '{"photos": 3}', "damaged or of another version: KeyError"),
        ("job.json", "[1]", "damaged or of another version: AttributeError"),
        ("profiler/system/incremental/1/1.algo-1.json", "no\nsample\n", "1.algo-1.json:1"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    output = job(tmp_path / "breeds-1") / "output" / "data"
    (output / name).parent.mkdir(parents=True, exist_ok=True)
    (output / name).write_text(content)
    with pytest.raises(ReportError, match=message):
        write_report([output], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("table.csv", "a,b\n1,2\n", "expected a table of dogbreeds tune .* with a, b"),
        ("table.csv", "", "expected a table of dogbreeds tune .* with nothing"),
        ("table.csv", "job,state,test_loss\n1,2\n", "expected a table of dogbreeds tune"),
        ("output.tar.gz", "no tar", r"expected an output\.tar\.gz"),
    ],
)
def test_what_is_no_job_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ReportError, match=message):
        write_report([tmp_path / name], tmp_path / "report.html")


def test_a_folder_without_a_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="expected the output of a training job"):
        write_report([tmp_path], tmp_path / "report.html")


def test_more_jobs_than_can_be_told_apart_are_refused(tmp_path: Path) -> None:
    jobs = [job(tmp_path / str(number)) for number in range(13)]
    with pytest.raises(ReportError, match="expected at most 12 jobs to compare, got 13"):
        write_report(jobs, tmp_path / "report.html")
