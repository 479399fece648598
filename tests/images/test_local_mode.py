"""`--on docker`, and the SDK's own local mode: no account, no credentials, nothing left behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.containers import Job, run

pytestmark = pytest.mark.images

DOGBREEDS = str(Path(sys.executable).with_name("dogbreeds"))
QUICK = ("weights=none", "epochs=1", "image-size=32", "lr=0.001")
SECONDS = 240


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever a test starts is gone at its end."""
    yield
    ours = ("--filter", "name=dogbreeds-[0-9]+")
    left = run("docker", "ps", "--all", "--quiet", *ours).stdout.split()
    for identifier in left:
        run("docker", "rm", "--force", identifier)
    assert not left
    assert run("docker", "network", "ls", "--quiet", *ours).stdout == ""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """No credentials, and none to be found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "TMPDIR": str(tmp_path),
    }


def train(
    photos: Path, out: Path, image: str, environ: dict[str, str], *flags: str
) -> subprocess.CompletedProcess[str]:
    hyperparameters = [f"--set={pair}" for pair in QUICK]
    command = [
        DOGBREEDS, "train", str(photos), "--on=docker", "--out", str(out), "--flavor=cpu",
        f"--training-uri={image}", *hyperparameters, *flags,
    ]  # fmt: skip
    return subprocess.run(
        command, env=environ, cwd=out.parent, capture_output=True, text=True, timeout=SECONDS
    )


def a_few(photos: dict[str, Path], root: Path) -> Path:
    """Copy four photos of two breeds a split: local mode is tested here, not learning."""
    for split, folder in photos.items():
        for breed in sorted(folder.iterdir())[:2]:
            target = root / split / breed.name
            target.mkdir(parents=True)
            for photo in sorted(breed.iterdir())[:4]:
                shutil.copy(photo, target)
    return root


@pytest.mark.parametrize("hosts", [1, 2])
def test_a_job_trains_and_leaves_an_archive(
    training_image: str,
    photos: dict[str, Path],
    tmp_path: Path,
    environ: dict[str, str],
    hosts: int,
) -> None:
    folder = a_few(photos, tmp_path / "photos")
    out = tmp_path / "out"
    done = train(folder, out, training_image, environ, f"--instance-count={hosts}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test accuracy" in done.stdout and "epoch  train loss" in done.stdout
    log = (out / "train.log").read_text()
    assert ("on 2 x cpu" in log) is (hosts == 2)
    assert (out / "opt-ml" / f"algo-{hosts}.log").is_file()
    with tarfile.open(out / "model.tar.gz") as archive:
        assert [name for name in archive.getnames() if name.endswith("model.safetensors")]
    assert (out / "opt-ml/output/data/report.html").is_file()
    assert (out / "model.tar.gz").stat().st_uid == os.getuid()


def test_a_failed_job_tells_its_own_reason(
    training_image: str, photos: dict[str, Path], tmp_path: Path, environ: dict[str, str]
) -> None:
    folder = a_few(photos, tmp_path / "photos")
    for split in ("train", "valid", "test"):
        breeds = sorted((folder / split).iterdir())
        shutil.rmtree(breeds[1])
    done = train(folder, tmp_path / "out", training_image, environ)
    assert done.returncode == 1
    assert "expected at least 2 class folders in train" in done.stderr.splitlines()[-1]


def test_weights_reach_the_container(
    training_image: str, photos: dict[str, Path], tmp_path: Path, environ: dict[str, str]
) -> None:
    folder = a_few(photos, tmp_path / "photos")
    (tmp_path / "mine.pth").write_bytes(b"no weights")
    flags = ("--weights", str(tmp_path / "mine.pth"))
    done = train(folder, tmp_path / "out", training_image, environ, *flags)
    assert done.returncode == 1
    assert "expected a PyTorch state dict, got /opt/ml/input/data/weights/mine.pth" in done.stderr


def test_a_job_that_is_interrupted_is_not_reported_as_done(
    training_image: str, photos: dict[str, Path], tmp_path: Path, environ: dict[str, str]
) -> None:
    folder = a_few(photos, tmp_path / "photos")
    command = [
        DOGBREEDS, "train", str(folder), "--on=docker", "--flavor=cpu", "--set=weights=none",
        "--set=epochs=1000", f"--training-uri={training_image}",
    ]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=environ, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + SECONDS
            while "Training resnet18" not in (tmp_path / "log").read_text():
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
            process.wait()
    assert "nothing is left running" in (tmp_path / "log").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def archive(trained: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted(trained.model.iterdir()):
            tar.add(file, file.name)
    return path


def test_an_endpoint_answers_until_it_is_interrupted(
    serving_image: str, archive: Path, photos: dict[str, Path], tmp_path: Path,
    environ: dict[str, str],
) -> None:  # fmt: skip
    photo = next(photos["test"].rglob("*.jpg"))
    port = free_port()
    command = [
        DOGBREEDS, "deploy", str(archive), "--on=docker", "--flavor=cpu", f"--port={port}",
        f"--serving-uri={serving_image}", f"--photo={photo}",
    ]  # fmt: skip
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            command, env=environ, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, text=True
        )
        try:
            deadline = time.monotonic() + SECONDS
            while "until Ctrl-C" not in (tmp_path / "log").read_text():
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.5)
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/invocations",
                data=photo.read_bytes(),
                headers={"Content-Type": "image/jpeg"},
            )
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
            printed = [
                json.loads(line)
                for line in (tmp_path / "log").read_text().splitlines()
                if line.startswith('{"')
            ]
            assert answer["predicted_label"] == printed[0]["predicted_label"]

            second = subprocess.run(
                command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert second.returncode == 1
            assert f"port {port} cannot be used" in second.stderr

            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()


def test_a_transform_answers_every_photo(
    serving_image: str, archive: Path, photos: dict[str, Path], tmp_path: Path,
    environ: dict[str, str],
) -> None:  # fmt: skip
    folder = tmp_path / "few"
    folder.mkdir()
    for number, photo in enumerate(sorted(photos["test"].rglob("*.jpg"))[:3]):
        shutil.copy(photo, folder / f"{number}.jpg")
    done = subprocess.run(
        [DOGBREEDS, "transform", str(archive), str(folder), "--on=docker",
         "--out", str(tmp_path / "answers"), "--flavor=cpu", f"--port={free_port()}",
         f"--serving-uri={serving_image}"],
        env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    answers = sorted((tmp_path / "answers").rglob("*.out"))
    assert [path.name for path in answers] == ["0.jpg.out", "1.jpg.out", "2.jpg.out"]
    assert all("predicted_label" in json.loads(path.read_text()) for path in answers)


def test_the_generic_classes_of_the_sdk_run_both_images(
    training_image: str, serving_image: str, photos: dict[str, Path], tmp_path: Path,
    environ: dict[str, str],
) -> None:  # fmt: skip
    folder = a_few(photos, tmp_path / "photos")
    if shutil.which("docker-compose") is None:  # the SDK does not find some builds of the plugin
        program = tmp_path / "bin" / "docker-compose"
        program.parent.mkdir()
        program.write_text('#!/bin/sh\nexec docker compose "$@"\n')
        program.chmod(0o755)
        environ["PATH"] += f"{os.pathsep}{program.parent}"
    photo = next(photos["test"].rglob("*.jpg"))
    given = json.dumps(
        {"training": training_image, "serving": serving_image, "photos": str(folder),
         "photo": str(photo), "port": free_port(),
         "hyperparameters": dict(pair.split("=") for pair in QUICK)}
    )  # fmt: skip
    program = tmp_path / "notebook.py"
    program.write_text(NOTEBOOK)
    done = subprocess.run(
        [sys.executable, str(program), given], env=environ, cwd=tmp_path, capture_output=True,
        text=True, timeout=2 * SECONDS,
    )  # fmt: skip
    leave_nothing_of(tmp_path, training_image)
    assert done.returncode == 0, done.stdout + done.stderr
    [answer] = [line for line in done.stdout.splitlines() if line.startswith('{"predicted_label"')]
    assert json.loads(answer)["class_name"]


NOTEBOOK = """
import json, pathlib, sys
from dogbreeds import METRIC_DEFINITIONS
import boto3
from sagemaker.estimator import Estimator
from sagemaker.local import LocalSession
from sagemaker.model import Model
from sagemaker.predictor import Predictor

given = json.loads(sys.argv[1])
session = LocalSession(boto3.Session("none", "none", region_name="eu-central-1"))
root = pathlib.Path("containers")
root.mkdir()
port = given["port"]
session.config = {"local": {"container_root": str(root.absolute()), "serving_port": port}}
role = "arn:aws:iam::000000000000:role/none"
out = pathlib.Path("out").absolute().as_uri()
estimator = Estimator(given["training"], role, 1, "local", hyperparameters=given["hyperparameters"],
                      output_path=out, metric_definitions=METRIC_DEFINITIONS,
                      sagemaker_session=session)
photos = pathlib.Path(given["photos"])
estimator.fit({split: (photos / split).as_uri() for split in ("train", "valid", "test")})
model = Model(given["serving"], f"{out}/model.tar.gz", role, name="mine", predictor_cls=Predictor,
              sagemaker_session=session)
predictor = model.deploy(1, "local", endpoint_name="mine", wait=False)
try:
    body = pathlib.Path(given["photo"]).read_bytes()
    answer = predictor.predict(body, initial_args={"ContentType": "image/jpeg"})
finally:
    predictor.delete_endpoint()
print()
print(answer.decode())
"""


def leave_nothing_of(folder: Path, image: str) -> None:
    """Remove what the SDK leaves behind: containers, its network, files of root."""
    label = "com.docker.compose.project.working_dir"
    listed = run("docker", "ps", "--all", "--format", f'{{{{.ID}}}} {{{{.Label "{label}"}}}}')
    for line in listed.stdout.splitlines():
        identifier, _, place = line.partition(" ")
        if place and Path(place).is_relative_to(folder):
            run("docker", "rm", "--force", "--volumes", identifier)
    run("docker", "network", "rm", "sagemaker-local", check=False)
    chown = ("--entrypoint=chown", f"--volume={folder}:/left", "--network=none", image)
    run("docker", "run", "--rm", *chown, "--recursive", f"{os.getuid()}:{os.getgid()}", "/left")
