"""The notebooks of `examples/`, each from top to bottom in a kernel."""

import json
import os
import sys
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from dogbreeds.monitoring.debugger.hook import Debugger
from dogbreeds.monitoring.system_metrics import write_samples
from helpers.account import account
from helpers.serving_process import CLASSES, save_tiny_archive, serving
from helpers.small_jobs import job
from helpers.small_jobs import run as run_job

nbformat = pytest.importorskip("nbformat", reason="no Jupyter here: see requirements/notebook.in")
nbclient = pytest.importorskip("nbclient", reason="no Jupyter here: see requirements/notebook.in")

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).parents[2] / "examples"
REGION = "eu-central-1"
IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/dogbreeds-"
SETTINGS = f"""
[aws]
region = "{REGION}"
role = "arn:aws:iam::123456789012:role/dogbreeds-job"
bucket = "dog-bucket"
[images]
training_uri = "{IMAGE}training@sha256:{"a" * 64}"
serving_uri = "{IMAGE}serving@sha256:{"b" * 64}"
[training]
data = "s3://dog-bucket/photos"
instance_type = "ml.m5.large"
[endpoint]
instance_type = "ml.m5.large"
[transform]
instance_type = "ml.m5.large"
"""


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_no_outputs_are_kept(path: Path) -> None:
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None


V3 = Path(sys.prefix) / "sagemaker_v3"
"""The SDK v3's packages, which have the names of v2's."""


def run(name: str, folder: Path) -> list[str]:
    """Run a notebook in a folder; return the text of its cells' results."""
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute(env=os.environ)
    return [
        output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "execute_result"
    ]


def job_output(folder: Path) -> dict[str, Path]:
    """Run a small job with Debugger; return its folders by the request's part that names them."""
    run_job(job(folder, Debugger(folder / "tensors", None)))
    for position in range(4):
        sample = ("cpu", "cpu0", "CPUUtilization", 95.0)
        write_samples(folder / "profiler", "algo-1", 1795378560.25 + position / 2, [sample])
    return {"DebugHookConfig": folder / "tensors", "ProfilerConfig": folder / "profiler"}


def upload(output: dict[str, Path], moto_url: str, request: dict[str, Any]) -> None:
    """Put a job's output where its request has it put."""
    s3 = boto3.client("s3", endpoint_url=moto_url)
    for part, kind in (("DebugHookConfig", "debug-output"), ("ProfilerConfig", "profiler-output")):
        if place := request.get(part, {}).get("S3OutputPath"):
            bucket, _, prefix = place.removeprefix("s3://").partition("/")
            root = "/".join(filter(None, (prefix.strip("/"), request["TrainingJobName"], kind)))
            for file in filter(Path.is_file, output[part].rglob("*")):
                s3.upload_file(str(file), bucket, f"{root}/{file.relative_to(output[part])}")


def test_laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    _, answers = run("laptop.ipynb", tmp_path)
    assert answers.count("(") == 4


@pytest.mark.parametrize(
    ("notebook", "packages"), [("sagemaker_v2.ipynb", ""), ("sagemaker_v3.ipynb", str(V3))]
)
def test_a_notebook_runs_from_top_to_bottom(
    notebook: str, packages: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dogbreeds.toml").write_text(SETTINGS)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": REGION,
        "PYTHONPATH": os.pathsep.join(filter(None, (packages, os.environ.get("PYTHONPATH")))),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
    }.items():
        monkeypatch.setenv(name, value)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    moto_url = "http://{}:{}".format(*moto.get_host_and_port())
    reset = urllib.request.Request(f"{moto_url}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset, timeout=60).close()  # what another test left in this process
    boto3.client("s3", endpoint_url=moto_url).create_bucket(
        Bucket="dog-bucket", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    try:
        with serving(save_tiny_archive(tmp_path / "model")) as server:
            server.wait_until_ready(200)
            leave_output = partial(upload, job_output(tmp_path / "job"), moto_url)
            with account(moto_url, f"http://127.0.0.1:{server.port}", leave_output) as url:
                monkeypatch.setenv("AWS_ENDPOINT_URL", url)
                outputs = run(notebook, tmp_path)
    finally:
        moto.stop()
    if notebook == "sagemaker_v2.ipynb":
        losses = next(text for text in outputs if text.startswith("{0: "))
        assert losses.count(":") >= 9
        assert any("CPUUtilization" in text and "algo-1" in text for text in outputs)
    answer = next(text for text in outputs if "predicted_label" in text)
    assert any(name.name in answer and name.label in answer for name in CLASSES)
    table = next(text for text in outputs if "FinalObjectiveValue" in text)
    assert table.index("breeds-3") < table.index("breeds-1")  # the smallest loss first
