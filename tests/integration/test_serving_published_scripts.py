"""Shapes of inference.py that people publish, each as a model of one multi-model server."""

import csv
import io
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.serving_process import ServingProcess, photo, serving

pytestmark = pytest.mark.integration

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"

SCRIPTS = {
    "instances_in_predictions_out": """
        import json
        import numpy as np

        def model_fn(model_dir): return lambda rows: rows.sum(1)

        def input_fn(request_body, request_content_type="application/json"):
            if request_content_type == "application/json":
                return np.array(json.loads(request_body)["instances"], dtype=np.float32)
            raise ValueError(f"Unsupported content type: {request_content_type}")

        def predict_fn(input_data, model): return model(input_data)

        def output_fn(prediction, content_type="application/json"):
            return json.dumps({"predictions": prediction.tolist()})
    """,
    "image_as_bytes": """
        import io
        from PIL import Image

        def model_fn(model_dir): return None
        def input_fn(body, content_type):
            assert content_type in ("application/x-image", "image/jpeg", "image/png")
            assert isinstance(body, (bytes, bytearray))
            return Image.open(io.BytesIO(body))
        def predict_fn(image, model): return {"size": list(image.size), "mode": image.mode}
    """,
    "png_out": """
        import io
        from PIL import Image

        def model_fn(model_dir): return None
        def transform_fn(model, body, content_type, accept, context):
            out = io.BytesIO()
            Image.open(io.BytesIO(body)).rotate(90).save(out, "PNG")
            return out.getvalue(), "image/png"
    """,
    "tensors_by_the_defaults": """
        import torch

        class Doubler(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.dropout = torch.nn.Dropout(0.5)

            def forward(self, x): return self.dropout(2 * x)

        def model_fn(model_dir): return Doubler()  # in training mode, as some leave it
    """,
    "bfloat16": """
        import torch
        def model_fn(model_dir): return lambda x: x.to(torch.bfloat16)
    """,
    "numpy_and_tuples_in_json": """
        import numpy as np
        import torch
        def model_fn(model_dir): return None
        def input_fn(data, content_type): return data
        def predict_fn(data, model):
            return {"label": np.str_("dog"), "score": np.float32(0.5), "ids": np.arange(2),
                    "box": torch.ones(2), "pair": (1, None)}
    """,
    "wordy_csv": """
        import pandas as pd
        from io import StringIO
        def model_fn(model_dir): return None
        def input_fn(data, content_type): return pd.read_csv(StringIO(data), header=None)
        def predict_fn(frame, model): return frame.sum(axis=1).values
        def output_fn(prediction, accept):
            return "\\n".join(str(x) for x in prediction), "text/csv"
    """,
    "packages_beside_it": """
        from net.layers import scale
        from helper import OFFSET
        import os, sys
        import logging

        logging.basicConfig(level=logging.DEBUG)
        os.chdir("/")
        HERE = os.path.dirname(os.path.abspath(__file__))
        SEEN = open(os.path.join(HERE, "words.txt")).read().strip()

        def model_fn(model_dir):
            return open(os.path.join(model_dir, "weights.txt")).read().strip()
        def input_fn(data, content_type):
            from helper import OFFSET as again
            return int(data) + again
        def predict_fn(data, model): return [scale(data), model, SEEN, os.getcwd()]
    """,
    "threads": """
        import threading
        from concurrent.futures import ThreadPoolExecutor
        import torch

        torch.set_num_threads(2)
        POOL = ThreadPoolExecutor(4)
        LOCK = threading.Lock()

        class Rows(torch.utils.data.Dataset):
            def __len__(self): return 4
            def __getitem__(self, i): return torch.full((2,), float(i))

        def model_fn(model_dir): return torch.nn.Identity()
        def input_fn(data, content_type): return None
        def predict_fn(data, model):
            loader = torch.utils.data.DataLoader(Rows(), batch_size=2, num_workers=1)
            sums = list(POOL.map(lambda batch: float(model(batch).sum()), loader))
            return sums
    """,
    "decorated": """
        import functools
        import torch

        def logged(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                print("call", function.__name__)
                return function(*args, **kwargs)
            return wrapper

        @logged
        def model_fn(model_dir): return torch.nn.Identity()

        @torch.no_grad()
        def predict_fn(data, model): return model(data) + 1
    """,
    "error_codes": """
        from sagemaker_inference.errors import (
            BaseInferenceToolkitError, GenericInferenceToolkitError, UnsupportedFormatError)

        class TooBusy(BaseInferenceToolkitError):
            def __init__(self): super().__init__(429, "later", "Too Many Requests")

        def model_fn(model_dir): return {}
        def input_fn(data, content_type):
            word = data.decode() if isinstance(data, bytes) else data
            if word == "value": raise ValueError("not a number")
            if word == "format": raise UnsupportedFormatError(content_type)
            if word == "busy": raise TooBusy()
            if word == "odd": raise GenericInferenceToolkitError(499, "client closed\\nrequest")
            if word == "key": return model["x"]
            return word
        def predict_fn(data, model): return model[data]
        model = {}
    """,
    "streams": """
        def model_fn(model_dir): return None
        def input_fn(data, content_type): return data
        def predict_fn(data, model): return (part for part in ("a", "b"))
        def output_fn(prediction, accept): return prediction
    """,
    "keyword_context": """
        import json
        def model_fn(model_dir, context=None): return context is not None
        def input_fn(request_body, request_content_type, context=None): return request_body
        def predict_fn(data, model, context=None): return [model, context is not None, data]
        def output_fn(prediction, response_content_type, context=None):
            return json.dumps(prediction), response_content_type
    """,
    "lambdas": """
        model_fn = lambda model_dir: 2
        input_fn = lambda data, content_type: float(data)
        predict_fn = lambda data, model: [data * model]
    """,
    "its_own_path": """
        import os
        import sys
        sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
        import deep

        model = None
        def model_fn(model_dir):
            global model
            model = deep.ANSWER
            return model
        def transform_fn(_model, data, content_type, accept):
            return deep.answer(data), accept
    """,
    "unknown_class_in_main": """
        import torch

        class Net(torch.nn.Module):
            def forward(self, x): return x * 3

        def model_fn(model_dir):
            path = model_dir + "/whole.pth"
            torch.save(Net(), path)
            return torch.load(path)  # as was usual before PyTorch 2.6
    """,
}  # fmt: skip
BESIDE = {
    "packages_beside_it/code/net/__init__.py": "",
    "packages_beside_it/code/net/layers.py": "from .sizes import TWO\ndef scale(x): return x * TWO",
    "packages_beside_it/code/net/sizes.py": "TWO = 2",
    "packages_beside_it/code/helper.py": "OFFSET = 10",
    "packages_beside_it/code/words.txt": "words",
    "packages_beside_it/weights.txt": "weights",
    "its_own_path/code/lib/deep.py": "ANSWER = 1\ndef answer(data): return data[::-1]",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    root = tmp_path_factory.mktemp("models")
    files = {f"{name}/code/inference.py": textwrap.dedent(text) for name, text in SCRIPTS.items()}
    for name, text in (files | BESIDE).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    with serving(Path("/nonexistent"), SAGEMAKER_MULTI_MODEL="true") as running:
        running.wait_until_ready(200)
        running.root = root  # type: ignore[attr-defined]
        yield running


@pytest.fixture
def model(server: ServingProcess, request: pytest.FixtureRequest) -> Iterator[str]:
    """Load the model that a test is parametrized with, and unload it."""
    name = request.param
    body = json.dumps({"model_name": name, "url": str(server.root / name)}).encode()  # type: ignore[attr-defined]
    answer = server.request("POST", "/models", body, {"Content-Type": JSON}, timeout=280)
    assert answer.status == 200, server.log()[-4000:]
    yield name
    server.request("DELETE", f"/models/{name}")


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


CASES: list[tuple[str, bytes, str, str, Any]] = [
    ("instances_in_predictions_out", b'{"instances": [[1, 2], [3, 4]]}', JSON, "*/*",
     {"predictions": [3, 7]}),
    ("instances_in_predictions_out", b"1,2", CSV, "*/*", 400),
    ("image_as_bytes", photo("PNG"), "application/x-image", "*/*",
     {"size": [120, 90], "mode": "RGB"}),
    ("image_as_bytes", b"none", "image/jpeg", "*/*", 400),
    ("png_out", photo("PNG"), "image/png", "image/png", b"\x89PNG"),
    ("tensors_by_the_defaults", b"[[1, 2]]", JSON, "*/*", [[2, 4]]),
    ("tensors_by_the_defaults", b"1,2\n3,4\n", CSV, CSV, [["2.0", "4.0"], ["6.0", "8.0"]]),
    ("tensors_by_the_defaults", b"1,2\n", CSV, CSV, [["2.0"], ["4.0"]]),  # as the toolkit's numpy
    ("tensors_by_the_defaults", npy(np.ones((1, 2), np.float32)), NPY, NPY, np.full((1, 2), 2.0)),
    ("tensors_by_the_defaults", b"[[1, 2], [3]]", JSON, "*/*", 400),
    ("bfloat16", b"[1.5]", JSON, "*/*", [1.5]),
    ("numpy_and_tuples_in_json", b"x", "text/plain", "*/*",
     {"label": "dog", "score": 0.5, "ids": [0, 1], "box": [1, 1], "pair": [1, None]}),
    ("wordy_csv", b"1,2\n3,4\n", CSV, CSV, [["3"], ["7"]]),
    ("packages_beside_it", b"1", CSV, "*/*", [22, "weights", "words", "/"]),
    ("threads", b"x", "text/plain", "*/*", [2, 10]),
    ("decorated", b"[1, 2]", JSON, JSON, [2, 3]),
    ("error_codes", b"value", "text/plain", "*/*", 400),
    ("error_codes", b"format", "text/plain", "*/*", 415),
    ("error_codes", b"busy", "text/plain", "*/*", 429),
    ("error_codes", b"odd", "text/plain", "*/*", 499),
    ("error_codes", b"key", "text/plain", "*/*", 500),
    ("error_codes", b"other", "text/plain", "*/*", 500),
    ("streams", b"x", "text/plain", "*/*", 500),
    ("keyword_context", b"[1]", JSON, "application/json, */*", [True, True, "[1]"]),
    ("lambdas", b"2", CSV, "*/*", [4]),
    ("its_own_path", b"[1]", JSON, "text/plain", b"]1["),
    ("unknown_class_in_main", b"[1]", JSON, "*/*", [3]),
]  # fmt: skip


@pytest.mark.parametrize("model", list(SCRIPTS), indirect=True)
def test_it_answers_as_the_toolkit_documents(server: ServingProcess, model: str) -> None:
    for _, body, content_type, accept, expected in (case for case in CASES if case[0] == model):
        path = f"/models/{model}/invoke"
        answer = server.invoke(body, content_type, path, {"Accept": accept}, timeout=120)
        if isinstance(expected, int):
            assert answer.status == expected, (body, answer)
            assert set(answer.json()) == {"error", "expected", "got"}
            continue
        assert answer.status == 200, (body, answer.body, server.log()[-4000:])
        if isinstance(expected, bytes):
            assert answer.body.startswith(expected)
            assert answer.headers["content-type"] == accept
        elif accept == CSV:
            assert list(csv.reader(io.StringIO(answer.body.decode()))) == expected
        elif accept == NPY:
            assert np.load(io.BytesIO(answer.body)).tolist() == expected.tolist()
        else:
            assert json.loads(answer.body) == expected
