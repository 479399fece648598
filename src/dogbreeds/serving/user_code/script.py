"""A model's own code: how it is found, fetched and loaded, and how its packages are installed."""

import importlib.util
import logging
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from sagemaker_inference import environment as toolkit
from sagemaker_inference import parameters

from dogbreeds.system.errors import DogbreedsError

SUBMIT_DIRECTORY_ENV = "SAGEMAKER_SUBMIT_DIRECTORY"
MODEL_SUFFIXES = (".pt", ".pth")
_WEIGHTS_FILE = "model.safetensors"  # `model.document` names it too, but imports Pillow
# They depend on the base image (or the machine's driver) and on each other.
_FIXED = ("torch", "torchvision", "torchaudio")

logger = logging.getLogger(__name__)


class ScriptError(DogbreedsError, RuntimeError):
    """A model's code cannot be used; the message says why, in one line."""


@dataclass(frozen=True)
class Script:
    """A model's own code."""

    folder: Path  # the functions may import modules from it
    module: Path | None  # the file with the functions; None: the toolkit's defaults

    @property
    def batches(self) -> bool:
        """Whether the module mentions `batch_predict_fn`: requests are then batched."""
        return self.module is not None and b"batch_predict_fn" in self.module.read_bytes()


def fetch(environment: MutableMapping[str, str], folder: Path) -> None:
    """Download the code if ``SAGEMAKER_SUBMIT_DIRECTORY`` is an S3 URI, as the SDK's is.

    Its ``sourcedir.tar.gz`` is unpacked to ``folder/code``, which replaces it in `environment`.
    ScriptError if it cannot be downloaded or unpacked.
    """
    uri = environment.get(SUBMIT_DIRECTORY_ENV, "")
    if not uri.startswith("s3://"):
        return
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    archive, code = folder / "sourcedir.tar.gz", folder / "code"
    # The SDK passes the region in a variable of its own.
    client = boto3.client("s3", region_name=environment.get("SAGEMAKER_REGION") or None)
    try:
        client.download_file(bucket, key, str(archive))
        with tarfile.open(archive) as tar:
            tar.extractall(code, filter="data")
    except (BotoCoreError, ClientError, tarfile.TarError, OSError) as error:
        message = f"cannot fetch the code of {SUBMIT_DIRECTORY_ENV}={uri}: {error}"
        raise ScriptError(message) from error
    archive.unlink()
    environment[SUBMIT_DIRECTORY_ENV] = str(code)


def find(model_dir: Path, environment: Mapping[str, str]) -> Script | None:
    """Find the code of a model; None for an artifact of ours without any.

    It is in the folder ``SAGEMAKER_SUBMIT_DIRECTORY``, or in ``code/`` of the model's folder, in
    the module ``SAGEMAKER_PROGRAM`` (inference.py). ScriptError if that is missing in the folder.
    """
    submitted = Path(environment.get(SUBMIT_DIRECTORY_ENV) or model_dir / "code")
    folder = submitted if submitted.is_dir() else model_dir / "code"
    named = environment.get(parameters.USER_PROGRAM_ENV)
    name = f"{(named or toolkit.DEFAULT_MODULE_NAME).removesuffix('.py')}.py"
    if (folder / name).is_file():
        return Script(folder, folder / name)
    if folder.is_dir() and named:
        files = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        raise ScriptError(
            f"expected {name}, which {parameters.USER_PROGRAM_ENV} names, in {folder},"
            f" which contains {files}"
        )
    if (model_dir / _WEIGHTS_FILE).is_file():
        return None
    if model_dir.is_dir() and any(path.suffix in MODEL_SUFFIXES for path in model_dir.iterdir()):
        return Script(folder, None)
    if folder.is_dir():
        raise ScriptError(
            f"expected {name} in {folder}: name another module in {parameters.USER_PROGRAM_ENV}"
        )
    return None


def install(script: Script, folder: Path) -> Path | None:
    """Install what a script's ``requirements.txt`` lists, beside the present packages.

    They go to a virtual environment of their own that sees all others. Present packages never
    change: a new version only shadows the old one, and torch cannot be shadowed. The result is the
    subfolder of `folder` to put first on the import path; None if nothing was installed.
    ScriptError if a package is missing and cannot be installed; the message names it.
    """
    import venv
    from importlib import metadata

    required = script.folder / "requirements.txt"
    if not required.is_file():
        return None
    begin = time.monotonic()
    packages = folder / "packages"
    venv.create(packages, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(packages)}))
    visible = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "visible.pth").write_text("".join(f"{path}\n" for path in visible))
    constraints = packages / "constraints.txt"
    fixed = [name for name in _FIXED if any(metadata.distributions(name=name))]
    constraints.write_text("".join(f"{name}=={metadata.version(name)}\n" for name in fixed))
    # Try without network first: in network isolation this names missing packages at once.
    for source in (["--no-index"], ["--retries", "2", "--timeout", "10"]):
        pip = subprocess.run(
            [packages / "bin/python", "-m", "pip", "install", "--quiet", "--progress-bar", "off",
             "--disable-pip-version-check", "--root-user-action", "ignore", "--no-input", *source,
             "--constraint", constraints, "--requirement", required],
            cwd=script.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if pip.returncode == 0:
            break
        errors = [line for line in pip.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = (errors or pip.stderr.strip().splitlines() or ["pip failed"])[0]
    else:
        logger.error("%s", pip.stderr)
        raise ScriptError(
            f"cannot install {required}: {reason.removeprefix('ERROR: ')}; where there is no"
            " network, bake the packages into an image FROM this one"
        )
    found = sorted(f"{d.name} {d.version}" for d in metadata.distributions(path=[str(site)]))
    done = f"installed {', '.join(found)}" if found else "all packages are there"
    logger.info("%s: %s, in %.1f s", required, done, time.monotonic() - begin)
    return site if found else None


def load(script: Script) -> ModuleType | None:
    """Import the module, in the model's own process, with its folder first on the import path."""
    if script.module is None:
        return None
    if sys.modules.get("triton", script) is None:  # see serving/__init__
        del sys.modules["triton"]
    for folder in (script.folder, script.module.parent):
        sys.path.insert(0, str(folder))
    sys.argv = [str(script.module)]  # the script must not see the worker's own options
    spec = importlib.util.spec_from_file_location(script.module.stem, script.module)
    assert spec is not None and spec.loader is not None  # it ends in .py  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pickles and dataclasses expect it
    spec.loader.exec_module(module)
    return module
