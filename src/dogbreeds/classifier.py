"""A trained model in Python: the predictions of an endpoint, without a server."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.photo import upright_rgb
from dogbreeds.serving import loading
from dogbreeds.serving.predictor import MAX_BATCH, Predictor
from dogbreeds.system import resources

Photo = str | PathLike[str] | bytes | Image.Image
"""A photo: the path of its file, the bytes of that file, or a Pillow image.

Files and bytes are decoded as by the endpoint, a large JPEG at a fraction of its size; the
pixels of a Pillow image, which is decoded in full, may differ by a shade.
"""


class Classifier:
    """A trained image classifier, which decodes `threads` photos in parallel.

    ::

        classifier = Classifier.load("model.tar.gz")
        classifier.predict("photo.jpg")["class_name"]
    """

    def __init__(self, predictor: Predictor, threads: int = 1) -> None:
        self._predictor = predictor
        self._threads = threads

    @classmethod
    def load(
        cls, path: str | PathLike[str], *, gpu: int | None = None, threads: int | None = None
    ) -> "Classifier":
        """Load a model and choose the fastest backend that reproduces the trained model's outputs.

        On CPUs that is mostly ONNX Runtime; PyTorch is then not in this process.

        Args:
            path: A ``model.tar.gz``, or the folder of one.
            gpu: Index of the GPU; -1: the CPU; default: GPU 0 if there is one, else the CPU.
            threads: CPU threads; default: one per processor.

        Raises:
            ArtifactError: The artifact is missing or damaged.
            LoadError, BackendError: It cannot run here; the message says why.
        """
        if gpu is None:
            gpu = 0 if resources.gpu_count() else -1
        threads = threads or resources.available_cpus()
        predictor = loading.load(Path(path), gpu if gpu >= 0 else None, threads, None)
        predictor.start()
        return cls(predictor, threads)

    @property
    def classes(self) -> tuple[PhotoClass, ...]:
        """The classes, in the order of the model's outputs."""
        return self._predictor.description.classes

    @property
    def version(self) -> str:
        """The artifact's version, 12 hexadecimal digits."""
        return self._predictor.description.version

    @overload
    def predict(  # type: ignore[overload-overlap]  # a path is an iterable of words, too
        self, photos: Photo, *, top_k: int = 5
    ) -> dict[str, Any]: ...
    @overload
    def predict(self, photos: Iterable[Photo], *, top_k: int = 5) -> list[dict[str, Any]]: ...
    def predict(
        self, photos: Photo | Iterable[Photo], *, top_k: int = 5
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Classify photos.

        Args:
            photos: One, or several, which share forward passes.
            top_k: Number of classes per prediction.

        Returns:
            The endpoint's prediction, or a list of them: ``predicted_label``, ``class_name``,
            ``probability`` (0..1), ``top_k`` (a list of label, class name and probability),
            ``model_version``.

        Raises:
            PhotoError: One is broken or not a photo.
            OSError: A file cannot be read.
        """
        if isinstance(photos, str | PathLike | bytes | Image.Image):
            return self._answers([photos], top_k)[0]
        return self._answers(list(photos), top_k)

    def probabilities(self, photos: Sequence[Photo]) -> npt.NDArray[np.float32]:
        """Return the probability of each of `classes`, 0..1 [N, C], for N photos; see `predict`."""
        rows = [np.empty((0, len(self.classes)), np.float32)]
        with ThreadPoolExecutor(self._threads, "decode") as pool:
            for first in range(0, len(photos), MAX_BATCH):
                pixels = np.stack(list(pool.map(self._pixels, photos[first : first + MAX_BATCH])))
                rows.append(self._predictor.predict(pixels))
        return np.concatenate(rows)

    def _answers(self, photos: Sequence[Photo], top_k: int) -> list[dict[str, Any]]:
        describe = self._predictor.description.answer
        return [describe(row, top_k) for row in self.probabilities(photos)]

    def _pixels(self, photo: Photo) -> npt.NDArray[np.uint8]:
        preprocessing = self._predictor.description.preprocessing
        if isinstance(photo, Image.Image):
            return preprocessing.to_pixels(upright_rgb(photo))
        return preprocessing.read_pixels(photo if isinstance(photo, bytes) else Path(photo))
