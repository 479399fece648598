"""Loading: ONNX graphs without PyTorch, PyTorch without graphs, and what cannot be loaded."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dogbreeds.entrypoint.graphs import add_graphs
from dogbreeds.model import artifact, networks
from dogbreeds.model.artifact import Artifact, ArtifactError
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.serving import loading
from dogbreeds.serving.loading import LoadError


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = networks.create_model("squeezenet1_1", 3)
    classes = tuple(PhotoClass(f"{number:03d}", f"breed {number}") for number in range(3))
    folder = tmp_path_factory.mktemp("model")
    artifact.save(Artifact(model, "squeezenet1_1", classes, Preprocessing(72, 64)), folder)
    return folder


def test_an_artifact_without_graphs_runs_on_pytorch_and_says_so(
    model_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = artifact.load(model_dir)
    predictor = loading.load(model_dir, None, 1)
    predictor.start()
    assert predictor.backend.name == "pytorch"
    assert "no ONNX graphs" in caplog.text and "`dogbreeds convert`" in caplog.text
    description = predictor.description
    assert description.classes == loaded.classes
    assert description.preprocessing == loaded.preprocessing
    assert description.version == loaded.version
    assert description.golden_example is not None
    found = predictor.predict(description.golden_example.pixels)
    assert found == pytest.approx(description.golden_example.probabilities, abs=1e-5)


def test_a_requested_backend_is_used_or_the_artifact_refused(
    model_dir: Path, tmp_path: Path
) -> None:
    predictor = loading.load(with_graphs(model_dir, tmp_path), None, 1, "pytorch")
    predictor.start()
    assert predictor.backend.name == "pytorch"
    with pytest.raises(LoadError, match=r"expected ONNX graphs .* `dogbreeds convert`"):
        loading.load(model_dir, None, 1, "onnxruntime")


def test_onnx_runtime_needs_no_pytorch_and_nothing_of_the_working_directory(
    model_dir: Path, tmp_path: Path
) -> None:
    folder = with_graphs(model_dir, tmp_path / "model")
    (tmp_path / "torch.py").write_text("raise RuntimeError('the wrong torch')")
    program = (
        "import sys; from pathlib import Path; from dogbreeds.serving import handler, loading;"
        f"loading.load(Path({str(folder)!r}), None, 1).start();"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, check=True)


def test_an_archive_with_graphs_is_served_without_pytorch_or_another_process(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_graphs(model_dir, tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    monkeypatch.setattr(sys, "executable", "/bin/false")
    predictor = loading.load(folder, None, 1)
    predictor.start()
    golden_example = predictor.description.golden_example
    assert golden_example is not None
    found = predictor.predict(golden_example.pixels)
    assert found == pytest.approx(golden_example.probabilities, abs=1e-5)


def test_without_graphs_and_without_pytorch_the_command_that_adds_them_is_told(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LoadError, match=r"expected ONNX graphs .* `dogbreeds convert`"):
        loading.load(model_dir, None, 1)


def test_int8_that_is_not_there_is_not_replaced(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"expected an int8 graph .* `dogbreeds convert`"):
        loading.load(with_graphs(model_dir, tmp_path), None, 1, precision="int8")


def with_graphs(model_dir: Path, folder: Path) -> Path:
    """Copy an archive and give it a float32 graph."""
    shutil.copytree(model_dir, folder, dirs_exist_ok=True)
    add_graphs(folder, {}, quantize=True)
    return folder


def test_why_an_archive_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^expected model.safetensors or model.tar.gz in "):
        loading.load(tmp_path, None, 1, None)


def start_onnx_runtime(switch: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Import ONNX Runtime in a new process as the server does, with a switch of this value.

    The environment is bare: variables such as GITHUB_ACTIONS turn its telemetry off.
    """
    code = (
        "from dogbreeds.model import onnx_runtime as o;"
        f"o.NO_TELEMETRY['ORT_DISABLE_TELEMETRY'] = {switch!r};"
        "o.import_onnxruntime()"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"HOME": str(home), "ORT_DISABLE_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_onnx_runtime_reports_to_nobody_whatever_the_environment_says(tmp_path: Path) -> None:
    done = start_onnx_runtime("1", tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_onnx_runtime_that_ignores_the_switch_is_refused(tmp_path: Path) -> None:
    done = start_onnx_runtime("0", tmp_path)
    assert "TelemetryError" in done.stderr, done.stderr
    assert done.returncode != 0
