"""`examples/processing`: photos are checked by shares, as SageMaker Processing hands them out.

The requests are moto's to accept. What they ask for is then done here: each instance gets its
share of the keys and runs the request's command, with nothing of our package but what the training
image has. (The SDK's local mode refuses `ShardedByS3Key`.)
"""

import importlib.util
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import botocore.client
import numpy as np
import pytest
from PIL import Image

from dogbreeds.data.alike import Member
from dogbreeds.data.check import check
from dogbreeds.data.examine import Facts
from dogbreeds.data.near_duplicates import Look
from helpers.control_plane import ROLE, TRAINING_URI
from helpers.docs import ROOT, commands

EXAMPLE = ROOT / "examples" / "processing"
[SUBMIT] = [line for line in commands() if "processing/submit.py" in line]

Share = Callable[[list[str], int, int], list[str]]


def every_second(keys: list[str], host: int, hosts: int) -> list[str]:
    return keys[host::hosts]


def halves(keys: list[str], host: int, hosts: int) -> list[str]:
    size = -(-len(keys) // hosts)
    return keys[host * size : (host + 1) * size]


class Processing:
    """Instances of processing jobs: folders below `root`, each with the paths of a container."""

    def __init__(self, aws: boto3.Session, root: Path, share: Share | None) -> None:
        self.bucket = aws.resource("s3").Bucket("dog-bucket")
        self.root, self.share, self.requests = root, share, list[dict[str, Any]]()
        self.library = root / "library"
        dockerfile = (ROOT / "containers" / "training" / "Dockerfile").read_text()
        source = dockerfile.split(" AS source\n")[1].split("\nFROM ")[0]
        for part in re.findall(r"^COPY src/(\S+)", source, re.MULTILINE):
            target = self.library / part
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / "src" / part).is_dir() else shutil.copy
            copy(ROOT / "src" / part, target)

    def run(self, request: dict[str, Any]) -> None:
        """Do what SageMaker does for CreateProcessingJob; without `share`, only note it."""
        self.requests.append(request)
        if not self.share:
            return
        count = request["ProcessingResources"]["ClusterConfig"]["InstanceCount"]
        hosts = [f"algo-{number + 1}" for number in range(count)]
        for number, host in enumerate(hosts):
            self._run(request, number, hosts, self.root / request["ProcessingJobName"] / host)

    def _run(self, request: dict[str, Any], number: int, hosts: list[str], root: Path) -> None:
        config = root / "opt/ml/config/resourceconfig.json"
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps({"current_host": hosts[number], "hosts": hosts}))
        for entry in request["ProcessingInputs"]:
            given = entry["S3Input"]
            prefix = given["S3Uri"].removeprefix("s3://dog-bucket/")
            keys = sorted(item.key for item in self.bucket.objects.filter(Prefix=prefix))
            if given["S3DataDistributionType"] == "ShardedByS3Key":
                assert self.share
                keys = self.share(keys, number, len(hosts))
            for key in keys:
                file = Path(f"{root}{given['LocalPath']}") / key.removeprefix(prefix)
                file.parent.mkdir(parents=True, exist_ok=True)
                self.bucket.download_file(key, str(file))
        python, *command = request["AppSpecification"]["ContainerEntrypoint"]
        assert python == "python3"
        command = [f"{root}{word}" if word.startswith("/opt/ml/") else word for word in command]
        environment = {"PYTHONPATH": str(self.library), "PATH": os.environ["PATH"]}
        subprocess.run([sys.executable, *command], env=environment, check=True)
        for entry in request["ProcessingOutputConfig"]["Outputs"]:
            target = entry["S3Output"]["S3Uri"].removeprefix("s3://dog-bucket/")
            for file in Path(f"{root}{entry['S3Output']['LocalPath']}").iterdir():
                self.bucket.upload_file(str(file), f"{target}{file.name}")

    def read(self, name: str) -> str:
        """Return a file that the last job wrote."""
        [output] = self.requests[-1]["ProcessingOutputConfig"]["Outputs"]
        key = output["S3Output"]["S3Uri"].removeprefix("s3://dog-bucket/") + name
        return str(self.bucket.Object(key).get()["Body"].read().decode())


def picture(seed: int) -> Image.Image:
    """Shapes that no other seed gives, with some fine grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((160, 120), Image.Resampling.BICUBIC))
    return Image.fromarray((smooth + rng.normal(0, 8, (120, 160, 1))).clip(0, 255).astype(np.uint8))


@pytest.fixture
def photos(aws: boto3.Session, workplace: Path) -> Path:
    """Photos with something of each kind, here and on S3."""
    root = workplace / "dogs"
    for seed in range(24):
        split, breed = ("train", "valid")[seed // 18], f"00{seed // 6 % 3}.Breed"
        file = root / split / breed / f"{seed:02d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(file)
    train, valid = root / "train", root / "valid"
    shutil.copy(train / "000.Breed/00.jpg", train / "000.Breed/same.jpg")
    shutil.copy(train / "000.Breed/02.jpg", valid / "000.Breed/leak.jpg")
    shutil.copy(train / "001.Breed/07.jpg", train / "002.Breed/conflict.jpg")
    picture(3).save(valid / "000.Breed/recompressed.jpg", quality=40)
    (train / "000.Breed/broken.jpg").write_bytes((train / "000.Breed/01.jpg").read_bytes()[:-300])
    (train / "000.Breed/notes.txt").write_text("no photo")
    picture(30).resize((40, 30)).save(train / "002.Breed/tiny.png")
    picture(31).save(train / "stray.jpg")
    new = valid / "003.Unknown"
    new.mkdir()
    picture(32).save(new / "32.jpg")
    rare = train / "004.Rare"
    rare.mkdir()
    picture(33).save(rare / "33.jpg")  # in one of the shares only
    bucket = aws.resource("s3").Bucket("dog-bucket")
    bucket.objects.filter(Prefix="photos/").delete()
    for file in root.rglob("*.*"):
        if file.is_file():
            bucket.upload_file(str(file), f"photos/{file.relative_to(root)}")
    bucket.put_object(Key="photos-old/train/000.Breed/old.jpg", Body=b"of another folder")
    return root


@pytest.fixture
def submit(
    aws: boto3.Session, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Share | None], Processing]:
    """Run the docs' command, with two instances; what it asks SageMaker for is done at once."""

    def run(share: Share | None) -> Processing:
        processing = Processing(aws, workplace / "instances", share)
        make_api_call = botocore.client.BaseClient._make_api_call

        def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            answer = make_api_call(client, operation, parameters)
            if operation == "CreateProcessingJob":
                processing.run(parameters)
            return answer

        _, script, *arguments = shlex.split(SUBMIT.replace("--instances 20", "--instances 2"))
        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(str(ROOT / script), run_name="__main__")
        return processing

    return run


def sorted_findings(report: dict[str, Any]) -> dict[str, Any]:
    findings = {
        kind: sorted(entries, key=lambda entry: entry["photo"])
        for kind, entries in report["findings"].items()
    }
    return {**report, "findings": findings, "folder": ""}


@pytest.mark.parametrize("share", [every_second, halves])
def test_two_shares_give_the_report_of_one_check(
    photos: Path, submit: Callable[[Share | None], Processing], share: Share
) -> None:
    processing = submit(share)
    merged = json.loads(processing.read("report.json"))
    checked = check(photos, 1)
    assert sorted_findings(merged) == sorted_findings(checked.report)
    assert merged["findings"].keys() >= {"broken", "tiny", "conflict", "duplicate", "ignored"}
    assert len(merged["problems"]) == 1
    leaks = {entry["photo"] for entry in merged["findings"]["leak"]}
    assert leaks == {"train/000.Breed/02.jpg", "train/000.Breed/03.jpg"}
    assert set(processing.read("offenders.txt").splitlines()) == set(checked.offenders)
    # The shares alone miss copies of another's photos, and lack classes that another has.
    shares = processing.root.glob("*/algo-*/opt/ml/processing/out/algo-*.json")
    one, other = (json.loads(file.read_text()) for file in shares)
    assert one["photos"] + other["photos"] == merged["photos"]
    if share is halves:
        assert one["problems"] + other["problems"] != merged["problems"]
        assert "leak" not in one["findings"].keys() | other["findings"].keys()


def test_the_requests(submit: Callable[[Share | None], Processing]) -> None:
    examine, merge = submit(None).requests
    name = examine["ProcessingJobName"]
    assert re.fullmatch(r"dogbreeds-check-\d{8}-\d{6}", name)
    assert merge["ProcessingJobName"] == f"{name}-merge"
    for request in (examine, merge):
        assert request["RoleArn"] == ROLE
        assert request["AppSpecification"]["ImageUri"] == TRAINING_URI
        [output] = request["ProcessingOutputConfig"]["Outputs"]
        address = output["S3Output"]["S3Uri"]
        assert address.startswith(f"s3://dog-bucket/dogbreeds/jobs/{name}/")  # iam/job-role.json
    distributions = [
        [entry["S3Input"]["S3DataDistributionType"] for entry in request["ProcessingInputs"]]
        for request in (examine, merge)
    ]
    assert distributions == [["FullyReplicated", "ShardedByS3Key"], ["FullyReplicated"] * 2]
    assert examine["ProcessingInputs"][1]["S3Input"]["S3Uri"] == "s3://dog-bucket/photos/"


@pytest.fixture
def photo_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("photo_check", EXAMPLE / "photo_check.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def members(*differing: int) -> list[Member]:
    """Two photos with one picture, whose hashes differ in the given bits."""
    pixels = np.asarray(picture(0).convert("L").resize((32, 32))).tobytes()
    bits = 0, sum(1 << bit for bit in differing)
    return [
        Member(str(number), "train", "a", Facts("JPEG", "RGB", 160, 120, 1, bytes([number]),
                                                Look(value, pixels), 1.0))
        for number, value in enumerate(bits)
    ]  # fmt: skip


def test_hashes_that_differ_in_fewer_bits_than_parts_are_compared_across_shares(
    photo_check: ModuleType,
) -> None:
    for differing in ([0, 13, 26, 39], [13, 26, 39, 52], [60, 61, 62, 63]):
        assert len(list(photo_check.find_copies(members(*differing), [], parts=5))) == 1


def test_what_differs_in_every_part_is_found_within_a_share_only(photo_check: ModuleType) -> None:
    two = members(0, 13, 26, 39, 52)
    assert not list(photo_check.find_copies(two, [], parts=5))
    report = {"findings": {"duplicate": [{"photo": "1", "like": "0"}]}}
    assert len(list(photo_check.find_copies(two, [report], parts=5))) == 1
