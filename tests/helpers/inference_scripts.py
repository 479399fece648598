"""Scripts in the shapes that people publish for AWS's PyTorch image, and models for them."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import torch
from torchvision import models

RESNET = """
    import io
    import json
    import logging
    import os

    import torch
    from PIL import Image
    from torchvision import models, transforms

    logger = logging.getLogger(__name__)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def model_fn(model_dir):
        model = models.resnet18(num_classes=3)
        with open(os.path.join(model_dir, "model.pth"), "rb") as f:
            model.load_state_dict(torch.load(f, map_location=device))
        return model.to(device).eval()

    def input_fn(request_body, content_type="application/x-image"):
        logger.info("Deserializing the input data.")
        if content_type != "application/x-image":
            raise Exception(f"Requested unsupported ContentType in content_type {content_type}")
        transform = transforms.Compose([
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ])
        image = Image.open(io.BytesIO(request_body)).convert("RGB")
        return transform(image).unsqueeze(0).to(device)

    def predict_fn(input_data, model):
        with torch.no_grad():
            return torch.nn.functional.softmax(model(input_data), dim=1)

    def output_fn(prediction, accept="application/json"):
        return json.dumps(prediction.cpu().numpy().tolist()), accept
"""

MULTI_LABEL = """
    import json
    import os
    import torch
    from labels import LABELS
    from network import Net

    def model_fn(model_dir):
        model = Net(len(LABELS))
        path = os.path.join(model_dir, "net.pth")
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return model.eval()

    def input_fn(request_body, request_content_type):
        assert request_content_type == "application/json"
        assert isinstance(request_body, str)
        return torch.tensor(json.loads(request_body)["inputs"], dtype=torch.float32)

    def predict_fn(input_object, model):
        with torch.no_grad():
            return torch.sigmoid(model(input_object))

    def output_fn(predictions, response_content_type):
        rows = predictions.numpy() > 0.5
        return json.dumps([[name for name, on in zip(LABELS, row) if on] for row in rows])
"""
NETWORK = """
    import torch

    class Net(torch.nn.Module):
        def __init__(self, classes):
            super().__init__()
            self.linear = torch.nn.Linear(4, classes)

        def forward(self, x):
            return self.linear(x)
"""

TRANSFORM = """
    import json

    def model_fn(model_dir):
        return 3

    def transform_fn(model, request_body, content_type, accept_type):
        numbers = json.loads(request_body)
        return json.dumps([model * number for number in numbers]), accept_type
"""

NPY_IN = """
    import io
    import json
    import numpy as np

    def model_fn(model_dir):
        return lambda x: x * 2

    def input_fn(data, content_type):
        return np.load(io.BytesIO(data))

    def predict_fn(data, model):
        return model(data)

    def output_fn(prediction, accept):
        return json.dumps({"predictions": prediction.tolist()})
"""

CONTEXT = """
    import json

    def model_fn(model_dir, context):
        return {"gpu": context.system_properties.get("gpu_id"), "dir": model_dir}

    def input_fn(data, content_type, context):
        return data, context.get_request_header(0, "X-Amzn-SageMaker-Custom-Attributes")

    def predict_fn(data, model, context=None):
        text, attributes = data
        return {**model, "text": text.decode(), "attributes": attributes}

    def output_fn(prediction, accept, context):
        context.set_response_header(0, "x-answered-by", "script")
        if prediction["text"] == "refuse":
            context.set_response_status(code=422, phrase="Unprocessable", idx=0)
        return json.dumps(prediction)
"""

PRINTS = """
    import argparse
    import os

    print("imported with", os.environ["GREETING"])
    THRESHOLD = float(os.environ.get("THRESHOLD", "0.5"))
    arguments = argparse.ArgumentParser().parse_args()

    def model_fn(model_dir):
        print("loading from", os.path.basename(model_dir))
        return None

    def model_warmup_fn(model_dir, model):
        print("warming up")

    def predict_fn(data, model):
        print("predicting")
        return [os.environ["GREETING"], THRESHOLD, os.environ.get("AWS_SECRET_ACCESS_KEY")]
"""

RAISES = """
    import ctypes
    import os
    import time
    from sagemaker_inference import errors

    def raise_(words):
        match words:
            case "value":
                raise ValueError("expected a number of words")
            case "toolkit":
                raise errors.GenericInferenceToolkitError(418, "no tea here")
            case "format":
                raise errors.UnsupportedFormatError("text/morse")
            case "runtime":
                raise RuntimeError("a secret of the server")
            case "hang":
                ctypes.CDLL(None).sleep(1000)
            case "exit":
                os._exit(3)

    def model_fn(model_dir):
        raise_(os.environ.get("MODEL_FN"))

    def input_fn(data, content_type):
        place, _, what = data.partition(b" ")
        place, what = place.decode(), what.decode()
        if place == "input":
            raise_(what)
        return place, what

    def predict_fn(data, model):
        if data[0] == "predict":
            raise_(data[1])
        return data

    def output_fn(prediction, accept):
        if prediction[0] == "output":
            raise_(prediction[1])
        return {"bytes": b"raw", "bytearray": bytearray(b"raw"), "object": object()}.get(
            prediction[0], {"echo": prediction[0]}
        )
"""

BATCHES = """
    import time

    def model_fn(model_dir):
        return None

    def input_fn(data, content_type):
        return int(data)

    def batch_predict_fn(numbers, model):
        time.sleep(0.2)
        return [[12 // number, len(numbers)] for number in numbers]
"""

REQUIRES = """
    import drawn_package

    def model_fn(model_dir):
        return drawn_package.ANSWER

    def input_fn(data, content_type):
        return None

    def predict_fn(data, model):
        return model
"""


def write(
    folder: Path, script: str = "", make_model: Callable[[Path], None] | None = None, **modules: str
) -> Path:
    """Write a model's folder with its code, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    if make_model:
        make_model(folder)
    for name, text in {"inference": script, **modules}.items():
        if text:
            path = folder / "code" / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text))
    return folder


def resnet(folder: Path) -> None:
    torch.manual_seed(0)
    torch.save(models.resnet18(num_classes=3).state_dict(), folder / "model.pth")


def net(folder: Path) -> None:
    linear = torch.nn.Linear(4, 2)
    state = {
        "linear.weight": torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]]),
        "linear.bias": torch.zeros_like(linear.bias),
    }
    torch.save(state, folder / "net.pth")


def torchscript(folder: Path) -> None:
    torch.jit.script(torch.nn.Softmax(dim=1)).save(folder / "model.pth")  # type: ignore[no-untyped-call]
