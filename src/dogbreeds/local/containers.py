"""Our images in this machine's Docker engine, run as SageMaker runs them: no AWS is needed."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from dogbreeds.cloud.aws import CloudError
from dogbreeds.cloud.images.docker import docker, find_image
from dogbreeds.cloud.settings import CloudSettings
from dogbreeds.local import server, training
from dogbreeds.system.processes import die_with_parent


def train(settings: CloudSettings, photos: Path, out: Path, weights: str | None) -> Path:
    """Train as `training.train` does, in a container per instance; return the artifact.

    ImageNet's weights are those in the image. CloudError if engine, image or GPUs are missing.
    """
    image = _find_image(settings, "training")
    count = settings.training.instance_count
    with _hosts(settings, image, [f"algo-{n}" for n in range(1, count + 1)]) as start:
        given = settings.training.hyperparameters
        return training.train(photos, out, given, weights, start, find_weights=False)


@contextlib.contextmanager
def _hosts(settings: CloudSettings, image: str, hosts: list[str]) -> Iterator[training.Start]:
    """Yield a function that starts all hosts over one tree, and returns the process of the first.

    The others have their own trees in it, with ``HOST.log`` beside them. All end with the context.
    """
    prefix = f"dogbreeds-{os.getpid()}"
    network = prefix if len(hosts) > 1 else "none"
    processes: list[subprocess.Popen[bytes]] = []

    def start(root: Path, output: int | None) -> "subprocess.Popen[bytes]":
        # The channels are links to absolute paths, which are the same in the containers.
        links = [path for path in (root / "input/data").rglob("*") if path.is_symlink()]
        channels = {path.resolve(): f"{path.resolve()}:ro" for path in links}
        for host in reversed(hosts):
            own, resources = root if host == hosts[0] else root / host, root / f"{host}.json"
            own.mkdir(exist_ok=True)  # as the caller: Docker would do it as root
            described = {"current_host": host, "hosts": hosts, "network_interface_name": "eth0"}
            resources.write_text(json.dumps(described))
            mounts = {
                own: "/opt/ml",
                root / "input": "/opt/ml/input:ro",
                resources: "/opt/ml/input/config/resourceconfig.json:ro",
                **channels,
            }
            variables = {"TQDM_MININTERVAL": training.update_seconds()}
            command = [
                *_run(settings, f"{prefix}-{host}", mounts,
                      variables | settings.training.environment),
                f"--user={os.getuid()}:{os.getgid()}", f"--hostname={host}",
                f"--network={network}", image, "train",
            ]  # fmt: skip
            with (root / f"{host}.log").open("wb") as log:
                process = subprocess.Popen(
                    command, stdout=output if host == hosts[0] else log, stderr=subprocess.STDOUT,
                    start_new_session=True, preexec_fn=die_with_parent,
                )  # fmt: skip
            processes.append(process)
        return processes[-1]

    if network != "none":
        docker("network", "create", network)
    try:
        yield start
    finally:
        for process in reversed(processes):
            training.stop(process)
        docker("rm", "--force", "--volumes", *(f"{prefix}-{h}" for h in hosts), check=False)
        if network != "none":
            docker("network", "rm", network, check=False)


@contextlib.contextmanager
def serving(
    settings: CloudSettings, artifact: Path, port: int, log: Path
) -> Iterator[server.RunningServer]:
    """Yield a server as `server.serving` does, in a container with nothing writable but /tmp.

    CloudError if engine, image or GPUs are missing.
    """
    image, name = _find_image(settings, "serving"), f"dogbreeds-{os.getpid()}"

    def command(folder: Path) -> list[str]:
        run = _run(settings, name, {folder: "/opt/ml/model:ro"}, settings.endpoint.environment)
        limits = ["--read-only", "--tmpfs=/tmp", f"--publish=127.0.0.1:{port}:8080"]
        return [*run, *limits, image, "serve"]

    try:
        with server.serving(artifact, port, log, command) as running:
            yield running
    finally:
        docker("rm", "--force", "--volumes", name, check=False)


def _run(
    settings: CloudSettings, name: str, mounts: Mapping[Path, str], variables: Mapping[str, str]
) -> list[str]:
    gpus = ["--gpus=all"] if settings.images.flavor == "gpu" else []
    volumes = [f"--volume={path.resolve()}:{target}" for path, target in mounts.items()]
    given = [f"--env={name}={value}" for name, value in variables.items()]
    return ["docker", "run", "--rm", f"--name={name}", *gpus, *volumes, *given]


def _find_image(settings: CloudSettings, image: str) -> str:
    name = find_image(settings, image, getattr(settings.images, f"{image}_uri")).name
    if settings.images.flavor == "gpu":
        try:
            docker("run", "--rm", "--gpus=all", "--entrypoint=true", name)
        except CloudError as error:
            raise CloudError(
                f"this Docker engine gives containers no GPU ({error}): pass --flavor cpu, or"
                " install NVIDIA's driver and Container Toolkit"
            ) from error
    return name
