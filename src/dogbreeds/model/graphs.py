"""The ONNX graphs of an artifact: the model in float32 and in int8, as its job measured them.

They are files ``PRECISION.onnx`` next to the weights. The artifact's document contains the hash of
each, so that they stay together, and its results on the golden example and evaluation photos.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dogbreeds.model.document import ArtifactError, read_file
from dogbreeds.model.onnx_runtime import FLOAT32, INT8, PRECISIONS


@dataclass(frozen=True)
class Graph:
    """From uint8 pixels [N, S, S, 3] to float32 probabilities [N, C]: normalization to softmax."""

    precision: str  # one of `onnx_runtime.PRECISIONS`
    data: bytes  # the ONNX file
    probabilities: npt.NDArray[np.float32]  # [1, C], of the golden example's pixels
    accuracy: dict[str, float]  # 0..1 by split name
    agreement: dict[str, float]  # share with the float32 graph's class, 0..1 by split name

    def to_dict(self) -> dict[str, Any]:
        """Return the document's entry: all but the file itself, and its hash."""
        return {
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "probabilities": self.probabilities[0].tolist(),
            "accuracy": self.accuracy,
            "agreement": self.agreement,
        }


def read_graphs(document: dict[str, Any], path: Path) -> dict[str, Graph]:
    """Return an artifact's graphs by precision; ArtifactError if one is missing or was changed."""
    graphs = {}
    for precision in PRECISIONS:
        if (stored := document.get("graphs", {}).get(precision)) is None:
            continue
        data = read_file(path, name := f"{precision}.onnx")
        if (digest := hashlib.sha256(data).hexdigest()) != stored["sha256"]:
            raise ArtifactError(
                f"expected {name} in {path} to have the SHA-256"
                f" {stored['sha256']}, got {digest}: it is not the graph that was saved there"
            )
        probabilities = np.array([stored["probabilities"]], np.float32)
        graphs[precision] = Graph(
            precision, data, probabilities, stored["accuracy"], stored["agreement"]
        )
    return graphs


def describe_int8(graphs: dict[str, Graph]) -> str:
    """Return a line such as ``int8: 93.1 % (float32 93.0 %), same class on 99.0 %``."""
    int8, float32 = graphs[INT8], graphs[FLOAT32]
    split = "test" if "test" in int8.accuracy else "valid"
    return (
        f"int8: {int8.accuracy[split]:.1%} (float32 {float32.accuracy[split]:.1%}),"
        f" same class on {int8.agreement[split]:.1%} of {split}"
    )
