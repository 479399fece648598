"""The `train` command: sagemaker-training's, after a check that names a broken file in one line."""

import json
import os
import sys
from pathlib import Path

from dogbreeds.entrypoint.failure import fail

_KEYS = {"hyperparameters.json": (), "inputdataconfig.json": (),
         "resourceconfig.json": ("current_host", "hosts")}  # fmt: skip


def main() -> int:
    """Return 1 if the configuration cannot be used, else run `train`, which exits by itself."""
    base = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    for name, keys in _KEYS.items():
        file, required = base / "input" / "config" / name, f" with {' and '.join(keys)}"
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(document, dict) or not set(keys) <= document.keys():
                raise ValueError(f"got {document!r}"[:200])
        except (OSError, ValueError, RecursionError) as error:
            return fail(
                base / "output" / "failure",
                f"expected a JSON object{required if keys else ''} in {file}: {error}. SageMaker"
                " writes it, and so does dogbreeds train --on local",
            )
    from sagemaker_training.cli.train import main as train

    train()
    return 0


if __name__ == "__main__":
    sys.exit(main())
