"""The PyTorch toolkit's defaults for functions that a script lacks.

They behave as in ``sagemaker-pytorch-inference``'s default handler, but without pickle.
"""
# A script's model and data are of any type.
# ruff: noqa: ANN401

import io
from pathlib import Path
from typing import Any

import numpy as np
from sagemaker_inference import content_types, decoder, encoder, utils
from sagemaker_inference.errors import UnsupportedFormatError

from dogbreeds.serving.user_code.script import MODEL_SUFFIXES, ScriptError


def model_fn(model_dir: str) -> Any:
    """Load TorchScript from ``model.pt``, or from the only ``.pt`` or ``.pth`` file.

    Raises:
        ScriptError: There is none, there are several, or it is not TorchScript.
    """
    import torch

    files = sorted(path for path in Path(model_dir).iterdir() if path.suffix in MODEL_SUFFIXES)
    files = [path for path in files if path.name == "model.pt"] or files
    names = ", ".join(path.name for path in files) or "none"
    if len(files) != 1:
        raise ScriptError(f"expected one .pt or .pth file where there is no model_fn, got {names}")
    try:
        model: Any = torch.jit.load(files[0], map_location=_device())  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ScriptError(
            f"expected TorchScript in {names} where there is no model_fn: {error}"
        ) from error
    return model.eval()


def input_fn(data: Any, content_type: str | None) -> Any:
    """Decode JSON, CSV or NPY to a tensor.

    Raises:
        UnsupportedFormatError: It is of another type.
        ValueError: It cannot be decoded.
    """
    import torch

    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type in content_types.UTF8_TYPES:
        tensor = torch.tensor(decoder.decode(data, media_type), dtype=torch.float32)
    elif media_type == content_types.NPY:
        tensor = torch.from_numpy(np.load(io.BytesIO(data), allow_pickle=False))
    else:
        raise UnsupportedFormatError(content_type)
    return tensor.to(_device())


def predict_fn(data: Any, model: Any) -> Any:
    """Run the model without gradients."""
    import torch

    with torch.inference_mode():
        return model(data)


def output_fn(prediction: Any, accept: str) -> tuple[Any, str]:
    """Encode a tensor or JSON value as the first accepted type of JSON, CSV and NPY.

    Raises:
        UnsupportedFormatError: None of them is accepted.
    """
    if hasattr(prediction, "detach"):
        prediction = prediction.detach().cpu().numpy()
    for accepted in utils.parse_accept(accept):
        media_type = accepted.partition(";")[0]
        if media_type in encoder.SUPPORTED_CONTENT_TYPES:
            return encoder.encode(prediction, media_type), media_type
    raise UnsupportedFormatError(accept)


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
