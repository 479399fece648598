"""Backends: each gives the answers of plain PyTorch, and the fastest that does is chosen."""

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dogbreeds.model import artifact, networks
from dogbreeds.model.artifact import Artifact
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.document import GoldenExample
from dogbreeds.model.onnx_export import to_onnx
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.serving.backends import pytorch
from dogbreeds.serving.backends.cuda_graphs import SIZES, CudaGraphs, half_types
from dogbreeds.serving.backends.onnx_runtime import OnnxRuntime
from dogbreeds.serving.predictor import MAX_BATCH, Backend, BackendError, choose, start

CPU = torch.device("cpu")
GOLDEN = GoldenExample(np.zeros((1, 64, 64, 3), np.uint8), np.full((1, 1), 0.5, np.float32))


@pytest.fixture(scope="module")
def archive() -> Artifact:
    torch.manual_seed(0)
    model = networks.create_model("squeezenet1_1", 3).eval()
    classes = tuple(PhotoClass(f"{number:03d}", "") for number in range(3))
    return Artifact(model, "squeezenet1_1", classes, Preprocessing(72, 64), temperature=0.5)


def photos(count: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, 64, 64, 3), np.uint8)


class Echo:
    """A backend that takes its time and answers what it was told to."""

    def __init__(self, name: str, answer: float, seconds: float = 0) -> None:
        self.name, self.tolerance = name, 1e-3
        self._answer, self._pause = answer, seconds

    def start(self, threads: int) -> None: ...

    def run(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        time.sleep(self._pause)
        return np.full((len(pixels), 1), self._answer, np.float32)


def test_onnx_runtime_agrees_with_pytorch(archive: Artifact) -> None:
    reference, onnx = pytorch.PyTorch(archive, CPU), OnnxRuntime(to_onnx(archive))
    reference.start(1)
    onnx.start(1)
    for count in (1, 3):
        assert onnx.run(photos(count)) == pytest.approx(reference.run(photos(count)), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits_over_fixed_memory_agree_at_every_batch_size(
    archive: Artifact, dtype: torch.dtype
) -> None:
    half = CudaGraphs(archive, CPU, dtype)
    half.start(1)
    reference = pytorch.PyTorch(archive, CPU)
    reference.start(1)
    for count in (MAX_BATCH, 1, 3, 5, 16, 2):  # a smaller one after a larger: leftovers do no harm
        before = half.run(photos(count))
        expected = reference.run(photos(count))
        assert before.dtype == np.float32 and before.shape == expected.shape
        assert before == pytest.approx(expected, abs=half.tolerance)
        half.run(photos(count + 1 if count < MAX_BATCH else 1))
        assert before == pytest.approx(expected, abs=half.tolerance)  # not overwritten
    assert next(archive.model.parameters()).dtype == torch.float32


def test_every_batch_of_a_predictor_has_its_graph() -> None:
    assert max(SIZES) >= MAX_BATCH


def test_16_bit_types_by_compute_capability() -> None:
    assert half_types((6, 1)) == ()
    assert half_types((7, 5)) == (torch.float16,)
    assert half_types((9, 0)) == (torch.float16, torch.bfloat16)


def test_cuda_graphs_without_a_gpu_are_refused(archive: Artifact) -> None:
    with pytest.raises(BackendError, match="needs an NVIDIA GPU"):
        pytorch.create_predictor(archive, CPU, 1, "cuda-graphs")


@pytest.mark.parametrize(
    ("others", "wanted", "chosen"),
    [
        ([Echo("fast", 0.5)], None, "fast"),
        ([Echo("slow", 0.5, 0.05)], None, "reference"),
        ([Echo("slow", 0.5, 0.05)], "slow", "slow"),
        ([Echo("wrong", 0.51)], None, "reference"),
        ([Echo("wrong", 0.51)], "wrong", "reference"),
        ([Echo("overflown", float("nan"))], None, "reference"),
    ],
)
def test_the_fastest_that_agrees_is_chosen(
    others: list[Backend], wanted: str | None, chosen: str
) -> None:
    reference = Echo("reference", 0.5, 0.01)
    assert choose([reference, *others], GOLDEN, wanted).name == chosen


def test_a_model_that_answers_otherwise_than_in_training_is_not_served() -> None:
    with pytest.raises(BackendError, match=r"within 0.001, got 0.01 apart"):
        choose([Echo("reference", 0.51), Echo("fast", 0.49)], GOLDEN)


def test_a_probe_is_saved_with_the_model_and_judges_it(archive: Artifact, tmp_path: Path) -> None:
    artifact.save(archive, tmp_path)
    loaded = artifact.load(tmp_path)
    assert loaded.golden_example is not None
    predictor = pytorch.create_predictor(loaded, CPU, 1)
    predictor.start()
    assert predictor.predict(loaded.golden_example.pixels) == pytest.approx(
        loaded.golden_example.probabilities, abs=1e-5
    )
    with torch.no_grad():
        for weight in loaded.model.parameters():
            weight.add_(1)
    changed = pytorch.create_predictor(loaded, CPU, 1)
    with pytest.raises(BackendError, match="when it was saved"):
        changed.start()


def test_large_batches_are_split(archive: Artifact) -> None:
    predictor = pytorch.create_predictor(archive, CPU, 1)
    predictor.start()
    assert predictor.predict(photos(MAX_BATCH + 1)).sum(1) == pytest.approx(1, abs=1e-5)


class Broken(Echo):
    """A backend whose engine fails when it starts."""

    def start(self, threads: int) -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")


def test_a_backend_that_does_not_start_is_left_out_unless_it_was_asked_for() -> None:
    reference, broken = Echo("reference", 0.5), Broken("broken", 0.5)
    assert start([reference, broken], 1) == [reference]
    with pytest.raises(RuntimeError, match="capturing"):
        start([reference, broken], 1, "broken")
    with pytest.raises(RuntimeError, match="capturing"):
        start([broken, reference], 1)
