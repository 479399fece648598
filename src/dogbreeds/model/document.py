"""What an artifact describes, read without PyTorch: JSON document, golden example, files."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from dogbreeds.model.archive import ArchiveError, open_archive
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.preprocessing import Preprocessing
from dogbreeds.system.errors import DogbreedsError

TAR_FILE, WEIGHTS_FILE = "model.tar.gz", "model.safetensors"
FORMAT = "dogbreeds-archive/1"
METADATA_KEY = "dogbreeds"
GOLDEN_PIXELS, GOLDEN_PROBABILITIES = "probe.pixels", "probe.probabilities"

_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
_LFS_POINTER = b"version https://git-lfs"
_TYPES = {"U8": np.uint8, "F32": np.float32}  # safetensors types of golden examples


class ArtifactError(DogbreedsError, ValueError):
    """The artifact is missing, damaged or not ours; the message says which."""


@dataclass(frozen=True)
class GoldenExample:
    """An input and the model's output when it was saved, which serving must reproduce."""

    pixels: npt.NDArray[np.uint8]  # [1, S, S, 3]
    probabilities: npt.NDArray[np.float32]  # [1, classes], computed in float32 on a CPU


@dataclass(frozen=True)
class Description:
    """What serving needs to know of an artifact besides its weights; see `artifact.Artifact`."""

    classes: tuple[PhotoClass, ...]
    preprocessing: Preprocessing
    version: str
    golden_example: GoldenExample | None  # None in artifacts older than golden examples

    def answer(self, probabilities: npt.NDArray[np.float32], top_k: int) -> dict[str, Any]:
        """Return the JSON-ready prediction, naming `top_k` classes, for probabilities [C]."""
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        top: list[dict[str, Any]] = []
        for index in order:
            label, name = self.classes[index]
            probability = round(float(probabilities[index]), 6)
            top.append({"label": label, "class_name": name, "probability": probability})
        return {
            "predicted_label": top[0]["label"],
            "class_name": top[0]["class_name"],
            "probability": top[0]["probability"],
            "top_k": top,
            "model_version": self.version,
        }


def read_document(path: Path) -> dict[str, Any]:
    """Read only an artifact's JSON document (classes, preprocessing, metrics, ...).

    The path is one of `read_file`; ArtifactError if there is none, or it is damaged or not ours.
    """
    return parse_document(read_file(path, WEIGHTS_FILE), path)


def describe(data: bytes, path: Path) -> Description:
    """Return the description in a weights file, or raise an `ArtifactError` that names `path`."""
    document = parse_document(data, path)
    try:
        golden_example = None
        if GOLDEN_PIXELS in (header := _header(data)):
            tensors = []
            first = 8 + int.from_bytes(data[:8], "little")
            for name in (GOLDEN_PIXELS, GOLDEN_PROBABILITIES):
                begin, end = header[name]["data_offsets"]
                stored = bytearray(data[first + begin : first + end])  # writable, as torch demands
                values = np.frombuffer(stored, _TYPES[header[name]["dtype"]])
                tensors.append(values.reshape(header[name]["shape"]))
            golden_example = GoldenExample(*tensors)
        return Description(
            tuple(PhotoClass(str(label), str(name)) for label, name in document["classes"]),
            Preprocessing.from_dict(document["preprocessing"]),
            hashlib.sha256(data).hexdigest()[:12],
            golden_example,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: {error}") from error


def parse_document(data: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON document in a weights file; ArtifactError if damaged or not ours."""
    try:
        document = json.loads(_header(data)["__metadata__"][METADATA_KEY])
        found = document["format"]
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"the weights in {path} were not written by this project") from error
    except ValueError as error:
        raise ArtifactError(f"{path} holds no safetensors file: {error}") from error
    if found != FORMAT:
        raise ArtifactError(f"expected format {FORMAT} in {path}, got {found}")
    return dict(document)


def _header(data: bytes) -> dict[str, Any]:
    """Return the header of a safetensors file: 8 bytes of length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= len(data) - 8:
        raise ValueError("its header is cut off")
    return dict(json.loads(data[8 : 8 + length]))


def read_file(source: Path, name: str) -> bytes:
    """Return the bytes of a file; nothing is extracted to disk.

    The source is a folder that contains the file or an archive of it, or that archive. It may have
    the file in one folder; links inside it are followed. ArtifactError if there is no such file, it
    cannot be read, or it is a git-LFS pointer.
    """
    try:
        if source.is_dir():
            source = _find_in(source, name)
            if source.name == name:
                return _no_pointer(source, source.read_bytes())
        with source.open("rb") as stream:
            _no_pointer(source, stream.read(len(_LFS_POINTER)))
        with open_archive(source) as members:
            for member in members:
                parts = PurePosixPath(os.path.normpath(member.name)).parts
                named = parts[-1:] == (name,) and len(parts) <= 2 and ".." not in parts
                if named and not member.is_folder and (opened := member.open()):
                    return _no_pointer(source, opened.read())
    except KeyError as error:
        raise ArtifactError(f"{name} in {source} is a link to nothing: {error}") from error
    except ArchiveError as error:
        raise ArtifactError(f"cannot read the model archive {source}: {error}") from error
    except OSError as error:
        raise ArtifactError(str(error)) from error
    raise ArtifactError(f"expected {name} in {source}: not an artifact of this project")


def _find_in(folder: Path, name: str) -> Path:
    archives = [path for path in sorted(folder.iterdir()) if path.name.endswith(_ARCHIVES)]
    for found in (
        [path for path in (folder / name, *sorted(folder.glob(f"*/{name}"))) if path.is_file()],
        [path for path in archives if path.name == TAR_FILE] or archives,
    ):
        if len(found) == 1 or (found and found[0].parent == folder and found[0].name == name):
            return found[0]
        if found:
            raise ArtifactError(f"expected one model in {folder}, got {', '.join(map(str, found))}")
    if (folder / name).is_symlink():
        raise ArtifactError(f"{folder / name} is a link to nothing")
    raise ArtifactError(f"expected {name} or {TAR_FILE} in {folder}, found neither")


def _no_pointer(path: Path, data: bytes) -> bytes:
    if data.startswith(_LFS_POINTER):
        raise ArtifactError(f"{path} is a git-LFS pointer: fetch the file with git lfs pull")
    return data
