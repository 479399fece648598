"""The `train` command: sagemaker-training's own, after a check of its configuration files.

sagemaker-training reads them before it calls `dogbreeds.entrypoint.toolkit`, and reports a missing
or broken one as a "Framework Error" with a traceback. The check reports it in one line.
"""

import json
import os
import sys
from pathlib import Path

from dogbreeds.entrypoint.failure import fail
from dogbreeds.system.errors import DogbreedsError

_KEYS = {"hyperparameters.json": (), "inputdataconfig.json": (),
         "resourceconfig.json": ("current_host", "hosts")}  # fmt: skip


class ConfigurationError(DogbreedsError):
    """A configuration file of the job is missing or broken; the message says which."""


def check_configuration(folder: Path) -> None:
    """Read SageMaker's configuration files in `folder`, ``/opt/ml/input/config``.

    ConfigurationError if one is missing, is not JSON, or lacks what it must contain.
    """
    for name, keys in _KEYS.items():
        try:
            document = json.loads((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigurationError(
                f"expected {name} in {folder}, found none: SageMaker writes it, and so does"
                " dogbreeds train --on local"
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"cannot read {folder / name} as JSON: {error}") from error
        if not isinstance(document, dict) or not set(keys) <= document.keys():
            required = f" with {' and '.join(keys)}" if keys else ""
            raise ConfigurationError(f"expected a JSON object{required} in {folder / name}")


def main() -> int:
    """Run `train` over ``/opt/ml``, or the folder that ``SAGEMAKER_BASE_DIR`` names.

    It returns 1 if the configuration cannot be read; otherwise `train` exits by itself.
    """
    base = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    try:
        check_configuration(base / "input" / "config")
    except ConfigurationError as error:
        return fail(base / "output" / "failure", str(error))
    from sagemaker_training.cli.train import main as train

    train()
    return 0


if __name__ == "__main__":
    sys.exit(main())
