"""Local mode: the SDK's own Estimator, Model and Transformer over the local Docker engine.

It uses no AWS account, credentials or telemetry. Containers and temporary folders of the SDK are
removed, also after a failure or Ctrl-C.
"""

import contextlib
import functools
import os
import shutil
import signal
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from dogbreeds.cloud.aws import SDK_CONFIG, CloudError, quieten_sdk
from dogbreeds.cloud.images.docker import docker, find_image
from dogbreeds.cloud.settings import CloudSettings
from dogbreeds.data.folders import find_roots
from dogbreeds.data.split import ensure_split
from dogbreeds.job_output.metrics import METRIC_DEFINITIONS
from dogbreeds.system.ports import check_port
from dogbreeds.training.settings import Settings

if TYPE_CHECKING:
    from sagemaker.local import LocalSession

_ROLE = "arn:aws:iam::000000000000:role/local"  # valid in form, used by nothing
_NAME = "dogbreeds-local"

# The SDK looks for "v2" in the output of `docker compose version`, where some builds of compose do
# not print it, and then falls back to a program named docker-compose.
_COMPOSE = '#!/bin/sh\nexec docker compose "$@"\n'


def train(settings: CloudSettings, photos: Path, out: Path) -> Path:
    """Train in local containers, one per instance, on a photos directory; return the artifact.

    `out` also gets the job's ``output.tar.gz``. SettingsError or PhotosError if the hyperparameters
    are invalid or there are no photos; CloudError, with the reason, if the job failed, or if engine
    or image are missing.
    """
    Settings.from_mapping(settings.training.hyperparameters)
    image = _find_image(settings, "training")
    out.mkdir(parents=True, exist_ok=True)
    # Beside the results, because hard links stay in one file system.
    with (
        tempfile.TemporaryDirectory(dir=out, prefix=".photos-") as made,
        _session(image) as session,
    ):
        from sagemaker.estimator import Estimator

        roots = find_roots(ensure_split(photos, Path(made) / "photos"))
        estimator = Estimator(
            image_uri=image,
            role=_ROLE,
            instance_count=settings.training.instance_count,
            instance_type=_instance_type(settings),
            output_path=out.resolve().as_uri(),
            hyperparameters=dict(settings.training.hyperparameters),
            environment=dict(settings.training.environment),
            metric_definitions=METRIC_DEFINITIONS,
            sagemaker_session=session,
        )
        try:
            with _noticing_ctrl_c():
                estimator.fit({split: root.resolve().as_uri() for split, root in roots.items()})
        except RuntimeError as error:  # from the SDK, with compose's command line
            raise CloudError(_failure(out / "output.tar.gz") or str(error)) from error
    return out / "model.tar.gz"


@contextlib.contextmanager
def _noticing_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the context even if the SDK swallowed it."""
    pressed = False

    def note(*_: object) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            raise KeyboardInterrupt


def _failure(output: Path) -> str:
    """Return the reason in the job's failure file, if any."""
    try:
        with tarfile.open(output) as archive:
            stream = archive.extractfile("failure")
            return stream.read().decode(errors="replace").strip() if stream else ""
    except (OSError, KeyError, tarfile.TarError):
        return ""


@contextlib.contextmanager
def serving(settings: CloudSettings, artifact: Path, port: int) -> Iterator[None]:
    """Serve a ``model.tar.gz`` in a local container, on a port of this machine, in the context.

    CloudError if artifact, engine or image is missing, or the container did not become ready;
    OSError if the port is taken.
    """
    _check(artifact, port)
    image = _find_image(settings, "serving")
    with _session(image, port) as session:
        from sagemaker.model import Model
        from sagemaker.predictor import Predictor

        model = Model(
            image_uri=image,
            model_data=artifact.resolve().as_uri(),
            role=_ROLE,
            name=_NAME,
            env=dict(settings.endpoint.environment),
            predictor_cls=Predictor,
            sagemaker_session=session,
        )
        try:
            predictor = model.deploy(
                1,
                _instance_type(settings),
                endpoint_name=_NAME,
                wait=False,  # it is ready already; the SDK would poll after 30 s
            )
        except RuntimeError as error:
            raise CloudError(f"the container did not become ready ({error}); see above") from error
        try:
            yield
        finally:
            predictor.delete_endpoint()


def transform(
    settings: CloudSettings,
    artifact: Path,
    photos: Path,
    out: Path,
    *,
    content_type: str,
    port: int,
) -> None:
    """Run a batch transform in a local container, of a folder of photos of one type.

    `out` gets one file ``PHOTO.out`` per photo. CloudError and OSError are as for `serving`;
    CloudError also if a photo was refused.
    """
    _check(artifact, port)
    if not photos.is_dir():
        raise CloudError(f"expected a folder of photos, found none at {photos}")
    out.mkdir(parents=True, exist_ok=True)
    image = _find_image(settings, "serving")
    with _session(image, port) as session:
        from sagemaker.transformer import Transformer

        environment = dict(settings.endpoint.environment)
        container = {"Image": image, "ModelDataUrl": artifact.resolve().as_uri()}
        session.sagemaker_client.create_model(_NAME, {**container, "Environment": environment})
        transformer = Transformer(
            _NAME,
            1,
            _instance_type(settings),
            strategy="SingleRecord",
            accept="application/json",
            output_path=out.resolve().as_uri(),
            sagemaker_session=session,
        )
        try:
            transformer.transform(
                photos.resolve().as_uri(), content_type=content_type, wait=True, logs=False
            )
        except RuntimeError as error:
            raise CloudError(f"the transform failed: {error}") from error


def _find_image(settings: CloudSettings, image: str) -> str:
    return find_image(settings, image, getattr(settings.images, f"{image}_uri")).name


def _instance_type(settings: CloudSettings) -> str:
    return "local_gpu" if settings.images.flavor == "gpu" else "local"


def _check(artifact: Path, port: int) -> None:
    if not artifact.is_file():
        raise CloudError(f"expected a model.tar.gz, found none at {artifact}")
    check_port(port)  # the SDK mistakes any server there for its container


@contextlib.contextmanager
def _session(image: str, port: int = 8080) -> Iterator["LocalSession"]:
    """Yield a local session in a temporary folder; its containers are removed at the end."""
    quieten_sdk()
    from sagemaker.local import LocalSession

    path = os.environ["PATH"]
    with tempfile.TemporaryDirectory(prefix="dogbreeds-local-", ignore_cleanup_errors=True) as name:
        root = Path(name)
        if shutil.which("docker-compose") is None:
            shim = root / "bin" / "docker-compose"
            shim.parent.mkdir()
            shim.write_text(_COMPOSE)
            shim.chmod(0o700)
            os.environ["PATH"] = f"{path}{os.pathsep}{shim.parent}"
        containers = root / "containers"
        containers.mkdir()
        # Use invalid keys: the SDK passes those it finds to the containers.
        boto_session = boto3.Session("local", "local", region_name="us-east-1")
        session = LocalSession(boto_session, sagemaker_config=SDK_CONFIG)
        session.config = {
            "local": {"local_code": True, "container_root": str(containers), "serving_port": port}
        }
        try:
            yield session
        finally:
            _remove_containers(containers, image)
            os.environ["PATH"] = path


def _remove_containers(containers: Path, image: str) -> None:
    """Remove the containers of compose files below a folder, by labels: the files are gone."""
    run = functools.partial(docker, timeout=120, check=False)
    label = "com.docker.compose.project.working_dir"
    listed = run("ps", "--all", "--format", f'{{{{.ID}}}} {{{{.Label "{label}"}}}}')
    for line in listed.splitlines():
        identifier, _, folder = line.partition(" ")
        if folder and Path(folder).is_relative_to(containers):
            run("rm", "--force", "--volumes", identifier)
    run("network", "rm", "sagemaker-local")  # fails while another job uses it
    if os.getuid() != 0:  # make files that containers wrote as root removable
        chown = ("--entrypoint=chown", f"--volume={containers}:/left", "--network=none", image)
        run("run", "--rm", *chown, "--recursive", f"{os.getuid()}:{os.getgid()}", "/left")
