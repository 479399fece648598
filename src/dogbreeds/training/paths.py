"""A training job's input and output folders, from the toolkit's environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dogbreeds.data.folders import SPLIT_NAMES, find_channels


@dataclass(frozen=True)
class JobPaths:
    """The job's folders, under ``/opt/ml`` in a container."""

    splits: dict[str, Path]  # photo folder of each split among the channels, by split name
    weights: Path | None  # folder of the channel ``weights``, if given
    config: Path  # SageMaker's configuration files
    model: Path  # becomes ``model.tar.gz``
    output_data: Path  # reports; becomes ``output.tar.gz``
    checkpoints: Path  # survives a Spot interruption
    failure: Path  # file whose first 1,024 characters SageMaker shows as the failure reason

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "JobPaths":
        """Read the variables that sagemaker-training sets (``SM_...``); see `find_channels`."""
        base = Path(environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
        channels = {
            name: Path(environ[f"SM_CHANNEL_{name.upper()}"])
            for name in (*SPLIT_NAMES, "weights")
            if f"SM_CHANNEL_{name.upper()}" in environ
        }
        return cls(
            splits=find_channels(channels),
            weights=channels.get("weights"),
            config=base / "input" / "config",
            model=Path(environ.get("SM_MODEL_DIR", base / "model")),
            output_data=Path(environ.get("SM_OUTPUT_DATA_DIR", base / "output" / "data")),
            checkpoints=base / "checkpoints",
            failure=base / "output" / "failure",
        )
