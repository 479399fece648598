"""The servers that ours is measured beside, each over an archive of ours, as their guides say.

``stock`` is multi-model-server with sagemaker-inference's default handler; TorchServe runs its own
image classifier; Ray Serve, which AWS's current serving images adapt to SageMaker, has a deployment
that takes one photo at a time, as there. All use torchvision's transforms and PyTorch as it is. As
they come, they have the weights as torchvision's models have them; at their best, a worker (Ray's
replica) of one thread for each processor, and weights in channels-last memory format, which is
faster on most processors.
"""

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dogbreeds.model import artifact
from dogbreeds.model.onnx_runtime import NO_TELEMETRY, PRECISIONS

os.environ.update(NO_TELEMETRY)  # inherited by the servers: TorchServe imports ONNX Runtime too

FORMAT_ENV = "BENCHMARK_MEMORY_FORMAT"
CONTIGUOUS, CHANNELS_LAST = "contiguous_format", "channels_last"
BATCH_SIZES = (1, 2, 4, 16)  # beside the default, 8
# pyyaml: for torchserve
PEERS = ("torchserve==0.12.0", "pyyaml", "litserve==0.2.19", "ray[serve]==2.60.0")
_UNDECLARED = "captum"  # by torchserve; its own needs, torch and numpy, are there

STOCK = """
import io, json, os, sys
from pathlib import Path
import torch
from PIL import Image
from sagemaker_inference import default_inference_handler, model_server, transformer
from sagemaker_inference.default_handler_service import DefaultHandlerService
from torchvision import transforms

class Handler(default_inference_handler.DefaultInferenceHandler):
    def default_model_fn(self, model_dir, context=None):
        from dogbreeds.model import artifact
        torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
        self.artifact = artifact.load(Path(model_dir))
        p = self.artifact.preprocessing
        self.transform = transforms.Compose([
            transforms.Resize(p.resize_size), transforms.CenterCrop(p.image_size),
            transforms.ToTensor(), transforms.Normalize(p.mean, p.std)])
        memory_format = getattr(torch, os.environ["BENCHMARK_MEMORY_FORMAT"])
        return self.artifact.model.to(memory_format=memory_format)
    def default_input_fn(self, data, content_type, context=None):
        return self.transform(Image.open(io.BytesIO(data)).convert("RGB"))[None]
    def default_predict_fn(self, data, model, context=None):
        with torch.no_grad():
            return model(data).softmax(1)[0].topk(5)
    def default_output_fn(self, prediction, accept, context=None):
        values, indices = prediction
        return json.dumps([values.tolist(), indices.tolist()])

service = DefaultHandlerService(transformer=transformer.Transformer(Handler()))

def handle(data, context):  # as MMS calls the service's own two methods
    return service.handle(data, context) if data is not None else service.initialize(context)

if __name__ == "__main__":
    model_server.MMS_CONFIG_FILE = sys.argv[1] + "/mms.properties"
    model_server.start_model_server(handler_service="stock_service")
"""
LITSERVE = """
import base64, io, os, sys
from pathlib import Path
import litserve, torch
from PIL import Image
from torchvision import transforms
from dogbreeds.model import artifact

class Api(litserve.LitAPI):
    def setup(self, device):
        torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
        self.artifact = artifact.load(Path(sys.argv[1]))
        memory_format = getattr(torch, os.environ["BENCHMARK_MEMORY_FORMAT"])
        self.model = self.artifact.model.to(memory_format=memory_format)
        p = self.artifact.preprocessing
        self.transform = transforms.Compose([
            transforms.Resize(p.resize_size), transforms.CenterCrop(p.image_size),
            transforms.ToTensor(), transforms.Normalize(p.mean, p.std)])
    def decode_request(self, request):
        photo = base64.b64decode(request["image"])  # it takes JSON or forms, no bare body
        return self.transform(Image.open(io.BytesIO(photo)).convert("RGB"))[None]
    def predict(self, x):
        with torch.no_grad():
            return self.model(x).softmax(1)[0].topk(5)
    def encode_response(self, output):
        return {"values": output[0].tolist(), "indices": output[1].tolist()}

if __name__ == "__main__":
    litserve.LitServer(Api(enable_async=False, api_path="/invocations"), accelerator="cpu",
        workers_per_device=int(sys.argv[3]), healthcheck_path="/ping").run(
        port=int(sys.argv[2]), generate_client_file=False)
"""
RAYSERVE = """
import io, os, sys
from pathlib import Path
import ray, torch
from PIL import Image
from ray import serve
from torchvision import transforms
from dogbreeds.model import artifact

@serve.deployment
class App:
    def __init__(self, model_dir):
        torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
        self.artifact = artifact.load(Path(model_dir))
        memory_format = getattr(torch, os.environ["BENCHMARK_MEMORY_FORMAT"])
        self.model = self.artifact.model.to(memory_format=memory_format)
        p = self.artifact.preprocessing
        self.transform = transforms.Compose([
            transforms.Resize(p.resize_size), transforms.CenterCrop(p.image_size),
            transforms.ToTensor(), transforms.Normalize(p.mean, p.std)])
    async def __call__(self, request):
        photo = Image.open(io.BytesIO(await request.body())).convert("RGB")
        with torch.no_grad():
            values, indices = self.model(self.transform(photo)[None]).softmax(1)[0].topk(5)
        return {"values": values.tolist(), "indices": indices.tolist()}

if __name__ == "__main__":
    model_dir, port, replicas, folder = sys.argv[1:]
    ray.init(include_dashboard=False, _temp_dir=folder)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    app = App.options(num_replicas=int(replicas)).bind(model_dir)
    serve.run(app, route_prefix="/invocations", blocking=True)
"""
# No reports, no token in the home folder
RAY_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


@dataclass(frozen=True)
class Server:
    """How to start a server and how to ask it.

    Attributes:
        command: What starts it in the foreground.
        environment: Added to ours.
        path: Where it takes photos.
        as_json: Whether it takes them as base64 in JSON only.
    """

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    path: str = "/invocations"
    as_json: bool = False


def install_peers(folder: Path) -> Path:
    """Make an environment with `PEERS`, see `install`; return its folder of programs."""
    programs = install(folder, *PEERS)
    command = [str(programs / "python"), "-m", "pip", "install", "-q", "--no-deps", _UNDECLARED]
    subprocess.run(command, check=True)
    return programs


def install(folder: Path, *packages: str) -> Path:
    """Make an environment with packages that sees those of this one, torch above all.

    Returns:
        Its folder of programs.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    # A path file, since the "system" of an environment in an environment is not the outer one.
    ours = sysconfig.get_path("purelib")
    show = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", show], check=True, capture_output=True, text=True).stdout
    source = Path(artifact.__file__).parents[2]
    (Path(site.strip()) / "outer.pth").write_text(f"{ours}\n{source}\n")
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return folder / "bin"


def servers(folder: Path, model_dir: Path, port: int, cpus: int, peers: Path) -> dict[str, Server]:
    """Return all servers by name; their files go into the folder.

    Args:
        folder: An empty folder.
        model_dir: The archive.
        port: Where they shall listen.
        cpus: Processors: each server has one thread for each, in one worker or in several.
        peers: Programs of `install_peers`; need not be there for the others.
    """
    (folder / "stock_service.py").write_text(STOCK)
    (folder / "litserve_app.py").write_text(LITSERVE)
    (folder / "rayserve_app.py").write_text(RAYSERVE)
    (folder / "base").mkdir()
    (folder / "base/model").symlink_to(model_dir.resolve())
    shared = {
        "SM_MODEL_DIR": str(model_dir.resolve()),
        "SAGEMAKER_BASE_DIR": str(folder / "base"),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}",
        "PATH": f"{peers}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TEMP": str(folder),
    }

    def ours(**settings: str) -> Server:
        return Server([sys.executable, "-m", "dogbreeds.serving.server"], {**shared, **settings})

    def tuning(workers: int, memory_format: str) -> dict[str, str]:
        return {"BENCHMARK_THREADS": str(cpus // workers), FORMAT_ENV: memory_format}

    def stock(workers: int, memory_format: str) -> Server:
        settings = {**shared, **tuning(workers, memory_format)}
        settings["SAGEMAKER_MODEL_SERVER_WORKERS"] = str(workers)
        command = [sys.executable, str(folder / "stock_service.py"), str(folder)]
        return Server(command, settings)

    def litserve(workers: int, memory_format: str) -> Server:
        settings = {**shared, **tuning(workers, memory_format)}
        arguments = [str(folder / "litserve_app.py"), str(model_dir), str(port), str(workers)]
        return Server([str(peers / "python"), *arguments], settings, as_json=True)

    def rayserve(workers: int, memory_format: str) -> Server:
        settings = {**shared, **RAY_ENVIRONMENT, **tuning(workers, memory_format)}
        arguments = [str(model_dir), str(port), str(workers), str(folder / "ray")]
        return Server(
            [str(peers / "python"), str(folder / "rayserve_app.py"), *arguments], settings
        )

    properties = _torchserve_properties(folder, port)

    def torchserve(memory_format: str, **settings: str) -> Server:  # a worker for each processor
        store = folder / f"store-{memory_format}"
        _write_torchserve_model(store / "model", model_dir, memory_format)
        command = [
            *(str(peers / "torchserve"), "--start", "--foreground", "--disable-token-auth"),
            *("--model-store", str(store), "--models", "model=model"),
            *("--ts-config", properties),
        ]
        return Server(command, {**shared, **settings}, path="/predictions/model")

    return {
        "ours": ours(),
        "ours-pytorch": ours(DOGBREEDS_BACKEND="pytorch"),
        **{f"ours-{name}": ours(DOGBREEDS_PRECISION=name) for name in PRECISIONS},
        **{f"ours-batch-{size}": ours(DOGBREEDS_BATCH_SIZE=str(size)) for size in BATCH_SIZES},
        "stock": stock(1, CONTIGUOUS),
        "stock-best": stock(cpus, CHANNELS_LAST),
        "torchserve": torchserve(CONTIGUOUS),
        "torchserve-best": torchserve(CHANNELS_LAST, OMP_NUM_THREADS="1"),
        "litserve": litserve(1, CONTIGUOUS),
        "litserve-best": litserve(cpus, CHANNELS_LAST),
        "rayserve": rayserve(1, CONTIGUOUS),
        "rayserve-best": rayserve(cpus, CHANNELS_LAST),
    }


def _write_torchserve_model(folder: Path, model_dir: Path, memory_format: str) -> None:
    """Write the model as TorchScript in a folder of TorchServe's layout."""
    loaded = artifact.load(model_dir)
    side = loaded.preprocessing.image_size
    (folder / "MAR-INF").mkdir(parents=True)
    manifest = {
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {
            "modelName": "model",
            "modelVersion": "1.0",
            "serializedFile": "model.pt",
            "handler": "image_classifier",
        },
    }
    (folder / "MAR-INF/MANIFEST.json").write_text(json.dumps(manifest))
    model = loaded.model.to(memory_format=getattr(torch, memory_format))
    with torch.no_grad():
        example = torch.zeros(1, 3, side, side)
        traced = torch.jit.trace(model, example)  # type: ignore[no-untyped-call]
        traced.save(str(folder / "model.pt"))


def _torchserve_properties(folder: Path, port: int) -> str:
    """Write TorchServe's properties; return their path."""
    properties = folder / "torchserve.properties"
    properties.write_text(
        f"inference_address=http://127.0.0.1:{port}\n"
        f"management_address=http://127.0.0.1:{port + 1}\n"
        f"metrics_address=http://127.0.0.1:{port + 2}\n"
    )
    return str(properties)
