"""What differs between the versions of PyTorch that NVIDIA's images and our locks have."""

import re
from pathlib import Path

import pytest
import torch

from dogbreeds.model.torch_versions import disable_tf32

SOURCES = Path(__file__).parents[2] / "src" / "dogbreeds"
# The switches of TF32, and the exporter, whose default differs from 2.9 on.
CHANGED = r"allow_tf32|fp32_precision|set_float32_matmul_precision|torch\.onnx\.export"


def test_what_changed_is_used_in_one_place_each() -> None:
    users = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if re.search(CHANGED, path.read_text())
    }
    assert users == {"model/torch_versions.py", "model/onnx_export.py"}


def test_older_spellings_are_gone() -> None:
    """They warn in newer versions, and disappear from them."""
    older = r"torch\.cuda\.amp|cuda\.OutOfMemoryError|torch\.cuda\.GradScaler|torch\.qu"
    for path in SOURCES.rglob("*.py"):
        assert not re.search(older, path.read_text()), path


def test_float32_is_float32_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = True  # as in NVIDIA's images
        disable_tf32()
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    assert not list(recwarn)
