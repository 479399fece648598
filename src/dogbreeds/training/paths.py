"""A training job's input and output folders, from the toolkit's environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dogbreeds.data.folders import SPLIT_NAMES, find_channels


@dataclass(frozen=True)
class JobPaths:
    """The job's folders, under ``/opt/ml`` in a container.

    Attributes:
        splits: Photo folder of each split among the channels, by split name.
        weights: Folder of the channel ``weights``, if given.
        config: SageMaker's configuration files.
        model: Becomes ``model.tar.gz``.
        output_data: Reports; becomes ``output.tar.gz``.
        checkpoints: Survives a Spot interruption.
        failure: File whose first 1,024 characters SageMaker shows as the failure reason.
    """

    splits: dict[str, Path]
    weights: Path | None
    config: Path
    model: Path
    output_data: Path
    checkpoints: Path
    failure: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "JobPaths":
        """Read the variables that sagemaker-training sets (``SM_...``).

        Raises:
            PhotosError: Two channels are the same split.
            OSError: A channel cannot be read.
        """
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
