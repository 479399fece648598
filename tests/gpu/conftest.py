import os
import re
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from dogbreeds.model import artifact, networks
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.training.device import Device
from helpers.gpu import CLASSES, FULL, ROOT, TOY, Recorder, Results, Row, Scale, device_name, toy

RESULTS = pytest.StashKey[Results]()


def pytest_configure(config: pytest.Config) -> None:
    version = re.match(r"(\d+)\.(\d+)", str(torch.__version__))
    assert version
    if (int(version[1]), int(version[2])) < (2, 6):
        pytest.exit(f"expected torch 2.6 or later, found {torch.__version__}", returncode=1)
    if os.environ.get("DEVICE", "cuda") == "cuda" and not torch.cuda.is_available():
        pytest.exit("torch sees no GPU here: DEVICE=cpu runs all checks small", returncode=1)
    config.stash[RESULTS] = Results(device_name())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo and (report.skipped or report.failed):
        reason = str(call.excinfo.value).partition("\n")[0][:300]
        outcome = "skipped" if report.skipped else "failed"
        name = item.name.removeprefix("test_").replace("_", " ")
        item.config.stash[RESULTS].rows.append(Row(name, reason, outcome))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    results = session.config.stash.get(RESULTS, None)
    if results is None or not results.rows:
        return
    folder = ROOT / "build" / "test-gpu"
    name = f"gpu-{results.slug}"
    tables = folder if toy() else ROOT / "benchmarks" / "results"
    table = Path(os.environ.get("GPU_RESULTS", tables)) / f"{name}.csv"
    results.write(table, folder / f"{name}.html")
    unmet = [row for row in results.rows if row.met == "no"]
    print(f"\n{table} and {folder / name}.html: {len(results.rows)} lines,"
          f" {len(unmet)} targets not met")  # fmt: skip
    for row in unmet:
        print(f"  {row.check}: {row.what} {row.value} {row.unit}, target {row.target}")


@pytest.fixture(scope="session")
def scale() -> Scale:
    return TOY if toy() else FULL


@pytest.fixture(scope="session")
def device() -> Device:
    """The device and the precision that a job would choose."""
    return Device.best()


@pytest.fixture
def found(request: pytest.FixtureRequest) -> Recorder:
    """Notes what a test finds."""
    name = request.node.name.removeprefix("test_").replace("_", " ")
    return Recorder(request.config.stash[RESULTS], name)


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory, scale: Scale) -> Path:
    """An artifact of random weights, with its golden example."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    side = scale.image_size
    classes = tuple(PhotoClass(f"{number:03d}", "") for number in range(CLASSES))
    model = networks.create_model(scale.architecture, CLASSES)
    preprocessing = Preprocessing(side, side)
    artifact.save(artifact.Artifact(model, scale.architecture, classes, preprocessing), folder)
    return folder
