"""Requests per second, latency and cost: our server, the stock one, LitServe, and the bare loop.

    python benchmarks/serving.py MODEL_DIR [--servers ours stock ...] [--output FILE.csv]

All run on this machine one after the other, over the same archive and the same photos. ``stock`` is
multi-model-server with sagemaker-inference's default handler and torchvision's transforms, in its
default (one worker) and with a worker for each processor; ``litserve`` runs where it is installed.
``bare`` is decoding and forward pass in one process, without HTTP: what the hardware gives.
"""

import argparse
import base64
import contextlib
import csv
import functools
import http.client
import importlib.util
import io
import itertools
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from dogbreeds import artifact
from dogbreeds.serving.predictor import Predictor
from dogbreeds.serving.resources import available_cpus

PORT = 18_181
STOCK = """
import json, os, sys
from pathlib import Path
import torch
from PIL import Image
from sagemaker_inference import default_inference_handler, model_server, transformer
from sagemaker_inference.default_handler_service import DefaultHandlerService
from torchvision import transforms
import io

class Handler(default_inference_handler.DefaultInferenceHandler):
    def default_model_fn(self, model_dir, context=None):
        from dogbreeds import artifact
        torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
        self.artifact = artifact.load(Path(model_dir))
        p = self.artifact.preprocessing
        self.transform = transforms.Compose([
            transforms.Resize(p.resize_size), transforms.CenterCrop(p.image_size),
            transforms.ToTensor(), transforms.Normalize(p.mean, p.std)])
        return self.artifact.model.to(memory_format=torch.contiguous_format)
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
    folder = sys.argv[1]
    model_server.MMS_CONFIG_FILE = folder + "/mms.properties"
    model_server.start_model_server(handler_service="stock_service")
"""
LITSERVE = """
import base64, io, os, sys
from pathlib import Path
import litserve, torch
from PIL import Image
from torchvision import transforms
from dogbreeds import artifact

class Api(litserve.LitAPI):
    def setup(self, device):
        torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
        self.artifact = artifact.load(Path(sys.argv[1]))
        p = self.artifact.preprocessing
        self.transform = transforms.Compose([
            transforms.Resize(p.resize_size), transforms.CenterCrop(p.image_size),
            transforms.ToTensor(), transforms.Normalize(p.mean, p.std)])
    def decode_request(self, request):
        photo = base64.b64decode(request["image"])  # it takes JSON or forms, no bare body
        return self.transform(Image.open(io.BytesIO(photo)).convert("RGB"))[None]
    def predict(self, x):
        with torch.no_grad():
            return self.artifact.model(x).softmax(1)[0].topk(5)
    def encode_response(self, output):
        return {"values": output[0].tolist(), "indices": output[1].tolist()}

if __name__ == "__main__":
    litserve.LitServer(Api(enable_async=False, api_path="/invocations"), accelerator="cpu",
        healthcheck_path="/ping").run(port=int(sys.argv[2]), generate_client_file=False)
"""


def photo(width: int, height: int) -> bytes:
    """Return a JPEG with as much detail as a photo has, about 0.2 bytes a pixel."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=85)
    return encoded.getvalue()


@contextlib.contextmanager
def started(
    command: list[str], environment: dict[str, str], body: bytes
) -> Iterator[psutil.Process]:
    """Run a server until the block ends; ready when an invocation is answered."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            begin = time.monotonic()
            while True:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    if send(connect(), body) == 200:
                        break
                if process.poll() is not None or time.monotonic() - begin > 60:
                    log.seek(0)
                    raise RuntimeError(f"not started: {log.read().decode()[-3000:]}")
                time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def connect() -> http.client.HTTPConnection:
    """Return a connection to the server; it connects with the first request."""
    return http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)


def send(connection: http.client.HTTPConnection, body: bytes) -> int:
    """Send one request and return its status."""
    connection.request(
        "POST",
        "/invocations",
        body,
        {"Content-Type": "application/json" if body.startswith(b"{") else "image/jpeg"},
    )
    response = connection.getresponse()
    response.read()
    return response.status


def load(
    make_call: Callable[[], Callable[[], None]], concurrency: int, seconds: float
) -> list[float]:
    """Call from several threads for some seconds; return the latencies in seconds."""
    latencies: list[float] = []
    failures: list[BaseException] = []
    end = time.monotonic() + seconds

    def client() -> None:
        try:
            call = make_call()
            while time.monotonic() < end:
                begin = time.monotonic()
                call()
                latencies.append(time.monotonic() - begin)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return latencies


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """Return the processor time used; unlike latency it hardly depends on what else runs."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def over_http(body: bytes) -> Callable[[], Callable[[], None]]:
    """Return what gives each client of `load` a connection of its own."""

    def make_call() -> Callable[[], None]:
        connection = connect()

        def call() -> None:
            status = send(connection, body)
            if status != 200:
                raise RuntimeError(f"expected 200, got {status}")

        return call

    return make_call


def servers(
    folder: Path, model_dir: Path, cpus: int
) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return for each server its command and what it adds to the environment."""
    (folder / "stock_service.py").write_text(STOCK)
    (folder / "litserve_app.py").write_text(LITSERVE)
    (folder / "base").mkdir()
    (folder / "base/model").symlink_to(model_dir.resolve())
    ours = [sys.executable, "-m", "dogbreeds.serving.server"]
    stock = [sys.executable, str(folder / "stock_service.py"), str(folder)]
    litserve = [sys.executable, str(folder / "litserve_app.py"), str(model_dir), str(PORT)]
    one, all_cores = {"BENCHMARK_THREADS": "1"}, {"BENCHMARK_THREADS": str(cpus)}
    return {
        "ours": (ours, {}),
        "ours-pytorch": (ours, {"DOGBREEDS_BACKEND": "pytorch"}),
        "stock": (stock, {"SAGEMAKER_MODEL_SERVER_WORKERS": "1", **all_cores}),
        "stock-workers": (stock, {"SAGEMAKER_MODEL_SERVER_WORKERS": str(cpus), **one}),
        "litserve": (litserve, all_cores),
    }


def measure(
    make_call: Callable[[], Callable[[], None]],
    concurrency: int,
    seconds: float,
    family: Callable[[], list[psutil.Process]],
) -> dict[str, str]:
    """Return requests per second, latencies, processor time a request and memory."""
    load(make_call, concurrency, 1)  # warm-up
    begin, cpu_begin = time.monotonic(), cpu_seconds(family())
    latencies = sorted(load(make_call, concurrency, seconds))
    elapsed, cpu = time.monotonic() - begin, cpu_seconds(family()) - cpu_begin
    return {
        "per_second": f"{len(latencies) / elapsed:.1f}",
        "median_ms": f"{statistics.median(latencies) * 1e3:.1f}",
        "p95_ms": f"{latencies[int(len(latencies) * 0.95)] * 1e3:.1f}",
        "cpu_ms": f"{cpu / len(latencies) * 1e3:.1f}",
        "pss_mb": f"{sum(p.memory_full_info().pss for p in family()) / 2**20:.0f}",
    }


def bare(model_dir: Path, cpus: int) -> Callable[[bytes], Callable[[], Callable[[], None]]]:
    """Return the same as `over_http`, in this process and without HTTP."""
    predictor = Predictor(artifact.load(model_dir), torch.device("cpu"), cpus)
    predictor.start()
    preprocessing = predictor.artifact.preprocessing

    def for_photo(body: bytes) -> Callable[[], Callable[[], None]]:
        def call() -> None:
            predictor.predict(preprocessing.read_pixels(body)[None])

        return lambda: call

    return for_photo


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("model_dir", type=Path)
    names = ["bare", "ours", "ours-pytorch", "stock", "stock-workers", "litserve"]
    parser.add_argument("--servers", nargs="+", choices=names, default=names)
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=1, help="rounds over all servers")
    parser.add_argument("--output", type=Path, help="CSV; standard output if not given")
    options = parser.parse_args()
    cpus = available_cpus()
    photos = {"500x375": photo(500, 375), "4000x3000": photo(4000, 3000)}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        output = stack.enter_context(options.output.open("w")) if options.output else sys.stdout
        architecture = artifact.read_document(options.model_dir)["architecture"]
        machine = f"{platform.machine()}, {cpus} processors, torch {torch.__version__}"
        print(f"# {machine}, {architecture}", file=output)
        keys = ["round", "server", "photo", "concurrency"]
        values = ["per_second", "median_ms", "p95_ms", "cpu_ms", "pss_mb"]
        writer = csv.DictWriter(output, keys + values)
        writer.writeheader()
        base = {
            "SM_MODEL_DIR": str(options.model_dir.resolve()),
            "SAGEMAKER_BASE_DIR": str(folder / "base"),
            "SAGEMAKER_BIND_TO_PORT": str(PORT),
            "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # multi-model-server
            "TEMP": str(folder),
        }
        commands = servers(folder, options.model_dir, cpus)
        for number, name in itertools.product(range(options.rounds), options.servers):
            with contextlib.ExitStack() as running:
                if name == "bare":
                    calls, family = bare(options.model_dir, cpus), lambda: [psutil.Process()]
                elif name == "litserve" and not importlib.util.find_spec("litserve"):
                    continue
                else:
                    command, extra = commands[name]
                    first = as_sent(photo(64, 64), name)
                    server = running.enter_context(started(command, {**base, **extra}, first))
                    calls = over_http
                    family = functools.partial(tree, server)
                for size, body in photos.items():
                    for concurrency in options.concurrency if name != "bare" else [1]:
                        call = calls(as_sent(body, name))
                        found = measure(call, concurrency, options.seconds, family)
                        names_of = [number, name, size, concurrency]
                        writer.writerow({**dict(zip(keys, names_of, strict=True)), **found})
                        output.flush()


def as_sent(body: bytes, server: str) -> bytes:
    """Return the body of a request with this photo."""
    if server != "litserve":
        return body
    return json.dumps({"image": base64.b64encode(body).decode()}).encode()


def tree(server: psutil.Process) -> list[psutil.Process]:
    """Return a server's processes: its descendants, and those of its session that left it."""
    found = {server, *server.children(recursive=True)}
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if os.getsid(process.pid) == server.pid:
                found.add(process)
    return list(found)


if __name__ == "__main__":
    main()
