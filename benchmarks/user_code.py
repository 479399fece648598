"""One `inference.py`, as people write it for AWS's PyTorch image, in three servers.

    python benchmarks/user_code.py [--seconds 5] [--rounds 2] [--output FILE.csv]

The script serves a ResNet-18 of random weights with torchvision's transforms. ``ours`` calls its
functions request by request; ``ours-batched`` has the same script with `batch_predict_fn`;
``stock`` is multi-model-server with sagemaker-inference's default handler; TorchServe calls the
script in a handler as AWS's image did. Peers run with one worker of as many threads as processors,
and (``-best``) with a worker of one thread for each. Photos have 500 x 375 pixels.
"""

import argparse
import functools
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import torch
from environment import write_csv
from serving import PORT, over_http, photo, started, tree
from serving_peers import Server, install_peers
from torchvision import models

from dogbreeds.local.benchmark import load, measure
from dogbreeds.system.resources import available_cpus

CLIENTS = (1, 4, 16)
SCRIPT = """
import io, json, os
import torch
from PIL import Image
from torchvision import models, transforms

transform = transforms.Compose([
    transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
    transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])

def model_fn(model_dir):
    model = models.resnet18(num_classes=133)
    model.load_state_dict(torch.load(os.path.join(model_dir, "model.pth"), map_location="cpu"))
    return model.eval()

def input_fn(data, content_type):
    return transform(Image.open(io.BytesIO(data)).convert("RGB"))[None]

def predict_fn(data, model):
    with torch.no_grad():
        return model(data).softmax(1)[0].topk(5)

def output_fn(prediction, accept):
    values, indices = prediction
    return json.dumps([values.tolist(), indices.tolist()])
"""
BATCHED = """
def batch_predict_fn(inputs, model):
    with torch.no_grad():
        return list(zip(*model(torch.cat(inputs)).softmax(1).topk(5)))
"""
STOCK = """
import sys
from sagemaker_inference import default_inference_handler, model_server, transformer
from sagemaker_inference.default_handler_service import DefaultHandlerService

handler = default_inference_handler.DefaultInferenceHandler()
service = DefaultHandlerService(transformer=transformer.Transformer(handler))

def handle(data, context):
    return service.handle(data, context) if data is not None else service.initialize(context)

if __name__ == "__main__":
    model_server.MMS_CONFIG_FILE = sys.argv[1] + "/mms.properties"
    model_server.start_model_server(handler_service="stock_script")
"""
TORCHSERVE = """
import os
import inference

model = None

def handle(data, context):
    global model
    if model is None:
        model = inference.model_fn(os.environ["BENCHMARK_MODEL"])
    if data is None:
        return None
    answers = []
    for request in data:
        body = inference.input_fn(bytes(request.get("body") or request.get("data")), "image/jpeg")
        answers.append(inference.output_fn(inference.predict_fn(body, model), "application/json"))
    return answers
"""


def servers(folder: Path, cpus: int, peers: Path) -> dict[str, Server]:
    """Write the script, its model and the peers' files to an empty folder; return all servers."""
    state = models.resnet18(num_classes=133).state_dict()
    for name, script in (("model", SCRIPT), ("batched", SCRIPT + BATCHED)):
        (folder / name / "code").mkdir(parents=True)
        (folder / name / "code" / "inference.py").write_text(script)
        torch.save(state, folder / name / "model.pth")
    (folder / "stock_script.py").write_text(STOCK)
    store = folder / "store" / "scripted"
    (store / "MAR-INF").mkdir(parents=True)
    (store / "torchserve_script.py").write_text(TORCHSERVE)
    (store / "inference.py").write_text(SCRIPT)
    described = {"modelName": "scripted", "modelVersion": "1.0", "handler": "torchserve_script.py"}
    manifest = {"runtime": "python", "archiverVersion": "0.12.0", "model": described}
    (store / "MAR-INF/MANIFEST.json").write_text(json.dumps(manifest))
    ports = zip(("inference", "management", "metrics"), range(PORT, PORT + 3), strict=True)
    addresses = (f"{kind}_address=http://127.0.0.1:{port}\n" for kind, port in ports)
    (folder / "torchserve.properties").write_text("".join(addresses))
    code = folder / "model" / "code"
    shared = {
        "SAGEMAKER_BASE_DIR": str(folder), "SAGEMAKER_BIND_TO_PORT": str(PORT),
        "BENCHMARK_MODEL": str(folder / "model"), "TEMP": str(folder),
        "PATH": f"{peers}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip

    def ours(model: str) -> Server:
        command = [sys.executable, "-m", "dogbreeds.serving.server"]
        return Server(command, {**shared, "SM_MODEL_DIR": str(folder / model)})

    def stock(workers: int) -> Server:
        path = f"{folder}:{code}:{os.environ.get('PYTHONPATH', '')}"
        settings = {"SAGEMAKER_MODEL_SERVER_WORKERS": str(workers), "PYTHONPATH": path,
                    "OMP_NUM_THREADS": str(cpus // workers)}  # fmt: skip
        command = [sys.executable, str(folder / "stock_script.py"), str(folder)]
        return Server(command, {**shared, **settings})

    def torchserve(workers: int) -> Server:
        command = [
            *(str(peers / "torchserve"), "--start", "--foreground", "--disable-token-auth"),
            *("--model-store", str(store.parent), "--models", "scripted=scripted"),
            *("--ts-config", str(folder / "torchserve.properties")),
        ]
        settings = {"TS_DEFAULT_WORKERS_PER_MODEL": str(workers),
                    "OMP_NUM_THREADS": str(cpus // workers)}  # fmt: skip
        return Server(command, {**shared, **settings}, path="/predictions/scripted")

    return {
        "ours": ours("model"), "ours-batched": ours("batched"),
        "stock": stock(1), "stock-best": stock(cpus),
        "torchserve": torchserve(1), "torchserve-best": torchserve(cpus),
    }  # fmt: skip


def main() -> None:
    """Measure in turns and write the medians, with ours by each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path, help="CSV; standard output if not given")
    options = parser.parse_args()
    body = photo(500, 375)
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="dogbreeds-benchmark-") as temporary:
        folder = Path(temporary)
        known = servers(folder / "files", available_cpus(), install_peers(folder / "peers"))
        for _ in range(options.rounds):
            for name, server in known.items():
                with started(server, body) as process:
                    family = functools.partial(tree, process)
                    load(over_http(server, body), 16, options.seconds / 2)
                    for clients in CLIENTS:
                        call = over_http(server, body)
                        result = measure(call, clients, options.seconds, family)
                        found.setdefault((name, clients), []).append(result)
                        print(name, clients, f"{result['per_second']:.1f}/s", file=sys.stderr)
    rate = {key: statistics.median(r["per_second"] for r in all_) for key, all_ in found.items()}
    rows = [
        {
            "server": name, "concurrency": clients, "per_second": f"{rate[name, clients]:.1f}",
            "median_ms": f"{statistics.median(r['median_ms'] for r in found[name, clients]):.1f}",
            "ours_by_this": f"{rate['ours', clients] / rate[name, clients]:.2f}",
            "batched_by_this": f"{rate['ours-batched', clients] / rate[name, clients]:.2f}",
            "rounds": options.rounds,
        }
        for name, clients in rate
    ]  # fmt: skip
    with options.output.open("w") if options.output else sys.stdout as file:
        write_csv(rows, file, device="cpu")


if __name__ == "__main__":
    main()
