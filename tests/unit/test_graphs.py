"""ONNX graphs of an artifact: made at the end of a job, kept beside the weights, and chosen."""

import dataclasses
import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dogbreeds.cli.main import main
from dogbreeds.data.folders import find_photos
from dogbreeds.data.sample import draw_sample
from dogbreeds.entrypoint import graphs as entrypoint_graphs
from dogbreeds.entrypoint.graphs import add_graphs
from dogbreeds.model import artifact, networks
from dogbreeds.model.architectures import is_transformer
from dogbreeds.model.artifact import Artifact, ArtifactError
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.document import read_document
from dogbreeds.model.graphs import Graph, describe_int8, read_graphs
from dogbreeds.model.onnx_export import to_onnx
from dogbreeds.model.onnx_runtime import FLOAT32, INT8, Session
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.serving.backends.onnx_runtime import choose_precision
from dogbreeds.serving.predictor import BackendError
from dogbreeds.system.resources import int8_saturates
from dogbreeds.training.stop import Stopped
from helpers.small_jobs import store

CLASSES = tuple(PhotoClass(f"{number:03d}", "") for number in range(3))


def untrained(architecture: str) -> Artifact:
    torch.manual_seed(0)
    model = networks.create_model(architecture, len(CLASSES)).eval()
    return Artifact(model, architecture, CLASSES, Preprocessing(32, 32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with both graphs; not to be changed."""
    path = tmp_path_factory.mktemp("model")
    artifact.save(untrained("squeezenet1_1"), path)
    add_graphs(
        path, {"train": store(), "valid": store(seed=1), "test": store(seed=2)}, quantize=True
    )
    return path


@pytest.fixture
def graphs(folder: Path) -> dict[str, Graph]:
    return read_graphs(read_document(folder), folder)


@pytest.fixture
def pixels() -> "np.typing.NDArray[np.uint8]":
    return artifact.golden_pixels(Preprocessing(32, 32))


def test_both_graphs_answer_what_the_artifact_says(
    folder: Path, graphs: dict[str, Graph], pixels: "np.typing.NDArray[np.uint8]"
) -> None:
    golden_example = artifact.load(folder).golden_example
    assert golden_example is not None
    assert graphs[FLOAT32].probabilities == pytest.approx(golden_example.probabilities, abs=1e-5)
    for graph in graphs.values():
        exact = Session(graph.data, 1, optimized=False)
        assert exact.run(pixels) == pytest.approx(graph.probabilities, abs=1e-2)
        assert set(graph.accuracy) == set(graph.agreement) == {"valid", "test"}
    assert graphs[FLOAT32].agreement == {"valid": 1, "test": 1}
    assert len(graphs[INT8].data) < 0.3 * len(graphs[FLOAT32].data)


@pytest.mark.parametrize("saturates", [False, True])
def test_int8_is_judged_by_exact_sums_on_any_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saturates: bool
) -> None:
    asked = []

    class Recorded(Session):
        def __init__(self, graph: bytes, threads: int, *, optimized: bool = True) -> None:
            asked.append(optimized)
            super().__init__(graph, threads, optimized=optimized)

    monkeypatch.setattr(entrypoint_graphs, "Session", Recorded)
    monkeypatch.setattr(entrypoint_graphs, "int8_saturates", lambda: saturates)
    artifact.save(untrained("squeezenet1_1"), tmp_path)
    add_graphs(tmp_path, {"train": store(), "valid": store(seed=1)}, quantize=True)
    assert asked == [True, not saturates]


def test_a_job_asked_not_to_quantize_leaves_float32_alone(tmp_path: Path) -> None:
    artifact.save(untrained("squeezenet1_1"), tmp_path)
    made = add_graphs(tmp_path, {"train": store(), "valid": store(seed=1)}, quantize=False)
    assert set(made) == set(read_graphs(read_document(tmp_path), tmp_path)) == {FLOAT32}


def test_transformers_are_told_from_cnns() -> None:
    assert [name for name in ("vit_b_16", "swin_t", "maxvit_t", "resnet18") if is_transformer(name)]
    assert not is_transformer("mobilenet_v2")


def test_stopping_leaves_the_artifact_as_it_was(tmp_path: Path) -> None:
    artifact.save(untrained("squeezenet1_1"), tmp_path)
    before = artifact.load(tmp_path).version

    def check() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        add_graphs(tmp_path, {"train": store(), "valid": store()}, quantize=True, check=check)
    assert artifact.load(tmp_path).version == before
    assert [path.name for path in tmp_path.iterdir()] == [artifact.WEIGHTS_FILE]


def test_graphs_are_read_from_a_packed_artifact(folder: Path, tmp_path: Path) -> None:
    tar = tmp_path / artifact.TAR_FILE
    artifact.pack(folder, tar)
    with tarfile.open(tar) as opened:
        assert sorted(opened.getnames()) == ["float32.onnx", "int8.onnx", "model.safetensors"]
    assert set(read_graphs(read_document(tar), tar)) == {FLOAT32, INT8}


@pytest.mark.parametrize("precision", [FLOAT32, INT8])
def test_a_graph_that_was_tampered_with_is_refused(
    folder: Path, tmp_path: Path, precision: str
) -> None:
    for path in folder.iterdir():
        data = bytearray(path.read_bytes())
        if path.name == f"{precision}.onnx":
            data[len(data) // 2] ^= 1
        (tmp_path / path.name).write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"expected {precision}\.onnx in .* SHA-256"):
        read_graphs(read_document(tmp_path), tmp_path)


def test_a_graph_that_is_missing_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / artifact.WEIGHTS_FILE).write_bytes((folder / artifact.WEIGHTS_FILE).read_bytes())
    with pytest.raises(ArtifactError, match=r"float32\.onnx"):
        read_graphs(read_document(tmp_path), tmp_path)


def test_the_line_of_the_log_compares_both(graphs: dict[str, Graph]) -> None:
    int8 = dataclasses.replace(graphs[INT8], accuracy={"test": 0.931}, agreement={"test": 0.99})
    float32 = dataclasses.replace(graphs[FLOAT32], accuracy={"test": 0.93})
    assert describe_int8({INT8: int8, FLOAT32: float32}) == (
        "int8: 93.1% (float32 93.0%), same class on 99.0% of test"
    )


def test_an_older_artifact_is_given_graphs(tmp_path: Path) -> None:
    draw_sample(tmp_path / "photos")
    classes, _ = find_photos({name: tmp_path / "photos" / name for name in ("train", "test")})
    model = networks.create_model("squeezenet1_1", len(classes))
    trained = Artifact(model, "squeezenet1_1", classes, Preprocessing(32, 32))
    artifact.save(trained, tmp_path / "model")
    tar = tmp_path / artifact.TAR_FILE
    arguments = ["convert", str(tmp_path / "model"), str(tar)]
    assert main([*arguments, "--data", str(tmp_path / "photos")]) == 0
    graphs = read_graphs(read_document(tar), tar)
    assert set(graphs[INT8].accuracy) == {"valid", "test"}
    assert main(arguments) == 0
    assert set(read_graphs(read_document(tar), tar)) == {FLOAT32}


def test_an_artifact_of_other_classes_is_not_measured_on_photos(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_sample(tmp_path / "photos")
    out = tmp_path / artifact.TAR_FILE
    arguments = ["convert", str(folder), str(out), "--data", str(tmp_path / "photos")]
    assert main(arguments) == 1
    assert "expected the 3 classes of" in capsys.readouterr().err
    assert not out.exists()


# The choice. A large and a small network take the parts of a slow and a fast graph.


def graph(
    precision: str,
    network: str,
    *,
    accuracy: float = 0.9,
    agreement: float = 0.99,
    off: float = 0,
) -> Graph:
    data = to_onnx(untrained(network))
    probabilities = Session(data, 1).run(artifact.golden_pixels(Preprocessing(32, 32))) + off
    return Graph(precision, data, probabilities, {"valid": accuracy}, {"valid": agreement})


def choice(*graphs: Graph, requested: str | None = None, saturates: bool = False) -> str:
    """Return the precision that is chosen."""
    by_precision = {graph.precision: graph for graph in graphs}
    pixels = artifact.golden_pixels(Preprocessing(32, 32))
    backend, golden_example = choose_precision(
        by_precision, pixels, 1, requested, lambda: saturates
    )
    chosen = next(graph for graph in graphs if graph.data is backend.graph)
    assert golden_example.probabilities is chosen.probabilities
    return chosen.precision


def test_int8_is_served_where_it_is_good_right_and_faster(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    fast, slow = graph(INT8, "squeezenet1_1"), graph(FLOAT32, "resnet50")
    assert choice(slow, fast) == INT8
    assert "times as fast as float32 here" in caplog.text


@pytest.mark.parametrize(
    ("int8", "reason"),
    [
        ({"accuracy": 0.894}, "int8 has 89.4% accuracy on valid, float32 90.0%"),
        ({"agreement": 0.979}, "int8 gives the same class on 97.9% of valid only"),
        ({"off": 0.03}, "int8 answers the golden example 0.03 off here"),
    ],
)
def test_int8_is_not_served_where_it_is_worse(
    int8: dict[str, float], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fast, slow = graph(INT8, "squeezenet1_1", **int8), graph(FLOAT32, "resnet50")
    assert choice(slow, fast) == FLOAT32
    assert f"serving float32: {reason}" in caplog.text


def test_int8_is_not_served_where_it_is_slower(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert choice(graph(FLOAT32, "squeezenet1_1"), graph(INT8, "resnet50")) == FLOAT32
    assert "times as fast here" in caplog.text


def test_what_is_requested_is_served() -> None:
    float32 = graph(FLOAT32, "squeezenet1_1")
    worse_and_slower = graph(INT8, "resnet50", accuracy=0.5, agreement=0.5)
    assert choice(float32, worse_and_slower, requested=INT8) == INT8
    assert choice(float32, graph(INT8, "squeezenet1_1"), requested=FLOAT32) == FLOAT32


def test_int8_that_answers_wrongly_is_refused_even_if_requested() -> None:
    with pytest.raises(BackendError, match="int8 was requested, but int8 answers the golden"):
        choice(graph(FLOAT32, "resnet50"), graph(INT8, "squeezenet1_1", off=0.1), requested=INT8)


def test_int8_is_not_served_where_its_sums_saturate(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fast, slow = graph(INT8, "squeezenet1_1"), graph(FLOAT32, "resnet50")
    assert choice(slow, fast, saturates=True) == FLOAT32
    assert "serving float32: this processor has no VNNI" in caplog.text


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t: sse2 avx2 avx512_vnni\n", False),
        ("flags\t: sse2 avx2 avx_vnni\n", False),
        ("flags\t: sse2 avx2 avx512f\n", True),
        ("Features\t: fp asimd asimddp\n", False),
    ],
)
def test_vnni_is_read_from_the_processors_flags(tmp_path: Path, flags: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(flags)
    assert int8_saturates(tmp_path) is expected
    assert not int8_saturates(tmp_path / "missing")


def test_int8_has_fine_probabilities_beyond_those_of_its_calibration() -> None:
    torch.manual_seed(0)
    model = networks.create_model("squeezenet1_1", 4).eval()
    classes = tuple(PhotoClass(str(n), str(n)) for n in range(4))
    made = Artifact(model, "squeezenet1_1", classes, Preprocessing(64, 64), temperature=0.05)
    graph = to_onnx(made)
    rng = np.random.default_rng(0)
    plain = [rng.integers(120, 130, (1, 64, 64, 3), np.uint8) for _ in range(4)]
    session = Session(entrypoint_graphs.quantize_graph(graph, iter(plain)), 1, optimized=False)
    varied = rng.integers(0, 256, (16, 64, 64, 3), np.uint8)
    found, expected = session.run(varied), Session(graph, 1).run(varied)
    assert found.sum(1) == pytest.approx(1, abs=1e-5)
    assert len(np.unique(found)) > 32
    assert found.shape == expected.shape
