"""The search itself; jobs are stood in for by a script that prints what `train` would."""

import csv
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from dogbreeds.cli.main import main
from dogbreeds.local import training
from dogbreeds.local.tuning import Search, TuningError, board, importance
from dogbreeds.training.search_space import SEARCH_SPACE

# Prints the metric lines of a job whose accuracy is 1 - |log10(lr) + 3|, reached in equal parts.
JOB = """
import json, math, pathlib, sys, time
tree = pathlib.Path(sys.argv[1])
with (tree / "starts").open("a") as stream:
    stream.write("started\\n")
given = json.loads((tree / "input/config/hyperparameters.json").read_text())
lr, epochs = float(given["lr"]), int(given["epochs"])
if given.get("seed") == "13" and lr < 1e-3:
    (tree / "output" / "failure").write_text("lr is unlucky")
    sys.exit(1)
for epoch in range(1, epochs + 1):
    accuracy = (1 - abs(math.log10(lr) + 3)) * epoch / epochs
    print(f"[metrics] epoch={epoch}; valid_accuracy={accuracy:.6g}", flush=True)
    time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def quick_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(tree: Path, output: int | None = None) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", JOB, str(tree)]
        return subprocess.Popen(command, stdout=output, start_new_session=True)

    monkeypatch.setattr(training, "start", start)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for split in ("train", "valid", "test"):
        (tmp_path / "photos" / split).mkdir(parents=True)
    return tmp_path / "photos"


def search(photos: Path, jobs: int, parallel: int = 1, **fixed: object) -> Search:
    fixed.setdefault("epochs", 5)
    work_dir = photos.parent / "tune"
    return Search(work_dir, photos, None, fixed, "valid_accuracy", jobs, parallel)


def test_the_table_has_all_jobs_the_best_first(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = search(photos, jobs=8).run()
    assert len(rows) == 8
    values = [float(str(row["valid_accuracy"])) for row in rows if row["state"] == "complete"]
    assert values == sorted(values, reverse=True)
    with (photos.parent / "tune" / "jobs.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert list(table[0]) == ["job", "state", "valid_accuracy", "lr", "batch_size", "optimizer",
                              "seconds"]  # fmt: skip
    assert [row["job"] for row in table] == [row["job"] for row in rows]
    printed = capsys.readouterr().out
    assert str(rows[0]["job"]) in printed.splitlines()[-8]
    assert (photos.parent / "tune" / "best").resolve().name == rows[0]["job"]


def test_jobs_below_the_median_are_stopped_early(photos: Path) -> None:
    rows = search(photos, jobs=12).run()
    states = [row["state"] for row in rows]
    assert "pruned" in states
    assert states.index("pruned") == states.count("complete")
    complete = [row for row in rows if row["state"] == "complete"]
    best, worst = (float(str(rows[i]["valid_accuracy"])) for i in (0, len(complete) - 1))
    assert best > worst


def test_every_job_lies_in_the_search_space(photos: Path) -> None:
    rows = search(photos, jobs=6, parallel=2).run()
    for row in rows:
        assert 1e-4 <= float(str(row["lr"])) <= 1e-2
        for name in ("batch_size", "optimizer"):
            assert row[name] in SEARCH_SPACE[name].values  # type: ignore[union-attr]
    assert len({row["lr"] for row in rows}) == 6


def test_a_search_resumes_where_it_ended(photos: Path) -> None:
    first = search(photos, jobs=3).run()
    both = search(photos, jobs=5).run()
    assert len(both) == 5
    assert {row["lr"] for row in first} < {row["lr"] for row in both}
    assert all(start == "started\n" for start in starts(photos))


def starts(photos: Path) -> list[str]:
    return [path.read_text() for path in (photos.parent / "tune" / "jobs").glob("*/starts")]


def test_an_interrupted_job_is_continued_in_its_own_tree(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = search(photos, jobs=3)
    start = training.start

    def start_and_stop(tree: Path, output: int | None = None) -> "subprocess.Popen[bytes]":
        process = start(tree, output)
        if tree.name == "001":
            interrupted._stop(15, None)
        return process

    monkeypatch.setattr(training, "start", start_and_stop)
    assert len(interrupted.run()) == 1
    monkeypatch.setattr(training, "start", start)
    rows = search(photos, jobs=3).run()
    assert sorted(str(row["job"]) for row in rows) == ["000", "001", "002"]
    assert sorted(starts(photos)) == ["started\n", "started\n", "started\nstarted\n"]


def test_a_failed_job_is_told_and_does_not_end_the_search(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = search(photos, jobs=6, seed=13).run()
    assert {row["state"] for row in rows} >= {"complete", "fail"}
    assert "failed: lr is unlucky" in capsys.readouterr().out


def test_a_search_in_which_nothing_works_fails(photos: Path) -> None:
    with pytest.raises(TuningError, match="no job succeeded"):
        search(photos, jobs=2, seed=13, lr=1e-4).run()


def test_another_search_in_the_same_folder_is_refused(photos: Path) -> None:
    search(photos, jobs=1).run()
    with pytest.raises(TuningError, match="pass another --out"):
        search(photos, jobs=2, seed=1).run()


def test_an_impossible_hyperparameter_is_refused_at_once(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", str(photos), "--on=local", "--set", "seeds=1"]) == 2
    assert "unknown hyperparameter seeds: did you mean seed?" in capsys.readouterr().err


def invented_study(jobs: int) -> optuna.Study:
    """Return a search in which only the learning rate matters."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    def job(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        trial.suggest_categorical("batch_size", [16, 32, 64])
        trial.report(0.5, 1)
        accuracy: float = 0.9 - abs(rate - 0.003) ** 0.5
        trial.report(accuracy, 2)
        return accuracy

    study.optimize(job, n_trials=jobs)
    return study


def test_importance_is_optunas_and_needs_some_jobs() -> None:
    assert importance(invented_study(9)) is None
    found = importance(invented_study(20))
    assert found is not None
    assert found["lr"] > 0.8
    assert sum(found.values()) == pytest.approx(1)


def test_a_terminal_shows_the_last_jobs_with_their_epoch_and_the_best() -> None:
    study = invented_study(5)
    header, *rows = board(study, "valid_accuracy", 2).splitlines()
    assert header.split() == ["job", "lr", "batch_size", "epoch", "valid_accuracy", "state"]
    best = study.best_trial.number
    jobs = [best, 3, 4] if best < 3 else [3, 4]
    assert [row.split()[0] for row in rows] == [str(job) for job in jobs]
    assert [row.split()[3] for row in rows] == ["2"] * len(rows)
    states = ["best" if job == best else "complete" for job in jobs]
    assert [row.split()[-1] for row in rows] == states


def test_a_terminal_shows_a_search_that_begins() -> None:
    assert "state" in board(optuna.create_study(), "valid_loss", 5)
