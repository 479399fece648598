"""A script's functions; those of AWS's PyTorch toolkit, less its pickle, replace missing ones."""
# A script's model and data are of any type.
# ruff: noqa: ANN401

import inspect
import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from sagemaker_inference import content_types, decoder
from sagemaker_inference.default_inference_handler import DefaultInferenceHandler
from sagemaker_inference.errors import UnsupportedFormatError

from dogbreeds.serving.user_code.script import MODEL_SUFFIXES, ScriptError

Function = Callable[..., Any]

_ARGUMENTS = {
    "pre_model_fn": 1, "model_fn": 1, "model_warmup_fn": 2, "transform_fn": 4,
    "input_fn": 2, "predict_fn": 2, "batch_predict_fn": 2, "output_fn": 2,
}  # fmt: skip
_STEPS = ("input_fn", "predict_fn", "batch_predict_fn", "output_fn")


def functions_of(module: ModuleType | None) -> dict[str, Function]:
    """Return the functions of a script by name, with defaults for missing steps; None has no own.

    They are ``model_fn(model_dir)``, ``input_fn(data, content_type)``, ``predict_fn(data, model)``
    and ``output_fn(prediction, accept)``; if the script has them, ``pre_model_fn(model_dir)``,
    ``model_warmup_fn(model_dir, model)``, ``batch_predict_fn(list of data, model)`` and
    ``transform_fn(model, data, content_type, accept)``, which replaces the steps. Each takes MMS's
    context as one more argument. ScriptError if a function takes another number of arguments or is
    asynchronous, or the script has `transform_fn` and one of the steps.
    """
    own = {name: getattr(module, name) for name in _ARGUMENTS if getattr(module, name, None)}
    beside = [name for name in _STEPS if name in own]
    if "transform_fn" in own and beside:
        raise ScriptError(
            f"expected transform_fn without {', '.join(beside)}, whose work it does, got both"
        )
    defaults = {f.__name__: f for f in (model_fn, input_fn, predict_fn, output_fn)}
    return {name: _with_context(name, function) for name, function in (defaults | own).items()}


def _with_context(name: str, function: Function) -> Function:
    arguments, signature = _ARGUMENTS[name], inspect.signature(function)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise ScriptError(f"expected {name} as a plain function, got async def")
    for takes_context in (True, False):
        try:
            signature.bind(*range(arguments + takes_context))
        except TypeError:
            continue
        return function if takes_context else lambda *values: function(*values[:-1])
    raise ScriptError(
        f"expected {name} with {arguments} arguments, or one more for the context,"
        f" got {name}{signature}"
    )


def model_fn(model_dir: str) -> Any:
    """Load TorchScript from ``model.pt``, or from the only ``.pt`` or ``.pth`` file.

    ScriptError if there is none, there are several, or it is not TorchScript.
    """
    import torch

    files = sorted(path for path in Path(model_dir).iterdir() if path.suffix in MODEL_SUFFIXES)
    files = [path for path in files if path.name == "model.pt"] or files
    names = ", ".join(path.name for path in files) or "none"
    if len(files) != 1:
        raise ScriptError(f"expected one .pt or .pth file where there is no model_fn, got {names}")
    try:
        return torch.jit.load(files[0], map_location=_device())  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ScriptError(
            f"expected TorchScript in {names} where there is no model_fn: {error}"
        ) from error


def input_fn(data: Any, content_type: str | None) -> Any:
    """Decode JSON, CSV or NPY to a tensor.

    UnsupportedFormatError if it is another type, ValueError if it cannot be decoded.
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
    """Run the model in evaluation mode without gradients, on the GPU if there is one."""
    import torch

    if isinstance(model, torch.nn.Module):
        model = model.to(_device()).eval()
    with torch.inference_mode():
        return model(data)


def output_fn(prediction: Any, accept: str) -> tuple[Any, str]:
    """Encode a tensor or JSON value as the first accepted type of JSON, CSV and NPY.

    UnsupportedFormatError if none of them is accepted.
    """
    if hasattr(prediction, "detach"):
        prediction = prediction.detach().cpu().tolist()
    types = ",".join(accepted.partition(";")[0] for accepted in accept.split(","))
    encoded: tuple[Any, str] = DefaultInferenceHandler().default_output_fn(prediction, types)
    return encoded


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
