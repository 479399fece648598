import io
import json
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dogbreeds import __version__
from dogbreeds.model import artifact
from dogbreeds.model.artifact import Artifact, ArtifactError
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.networks import create_model
from dogbreeds.model.preprocessing import Preprocessing

CLASSES = (
    PhotoClass("001", "Affenpinscher"),
    PhotoClass("069", "French_bulldog"),
    PhotoClass("x", "Épagneul"),
)


def make(seed: int = 0) -> Artifact:
    torch.manual_seed(seed)
    model = create_model("squeezenet1_1", len(CLASSES)).eval()
    return Artifact(
        model=model,
        architecture="squeezenet1_1",
        classes=CLASSES,
        preprocessing=Preprocessing(73, 64),
        metrics={"test_accuracy": 0.5},
        provenance={"hyperparameters": {"lr": 0.001}},
        temperature=0.5,
    )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = make()
    artifact.save(saved, tmp_path)
    loaded = artifact.load(tmp_path)
    assert loaded.classes == CLASSES
    assert loaded.preprocessing == saved.preprocessing
    assert loaded.metrics == saved.metrics
    assert loaded.provenance == saved.provenance
    assert loaded.temperature == 0.5
    assert len(loaded.version) == 12
    assert not loaded.model.training
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(loaded.model(images), saved.model(images))


def test_an_archive_without_a_probe_loads(tmp_path: Path) -> None:
    file = artifact.save(make(), tmp_path)
    with safe_open(file, "pt") as stream:
        metadata = stream.metadata()
    tensors = {name: tensor for name, tensor in load_file(file).items() if "probe" not in name}
    save_file(tensors, file, metadata)
    assert artifact.load(tmp_path).golden_example is None


def test_the_document_carries_classes_preprocessing_metrics_and_versions(tmp_path: Path) -> None:
    artifact.save(make(), tmp_path)
    document = artifact.read_document(tmp_path)
    assert document["package_version"] == __version__
    assert document["architecture"] == "squeezenet1_1"
    assert document["classes"][1] == ["069", "French_bulldog"]
    assert document["preprocessing"]["image_size"] == 64
    assert document["metrics"] == {"test_accuracy": 0.5}


def test_a_packed_archive_loads_from_the_file_and_from_its_folder(tmp_path: Path) -> None:
    artifact.save(make(), tmp_path / "model")
    (tmp_path / "served").mkdir()
    tar = tmp_path / "served" / "model.tar.gz"
    artifact.pack(tmp_path / "model", tar)
    assert artifact.load(tar).version == artifact.load(tar.parent).version
    assert artifact.load(tar).version == artifact.load(tmp_path / "model").version


def test_a_tar_with_leading_dots_loads_as_tar_makes_it(tmp_path: Path) -> None:
    file = artifact.save(make(), tmp_path / "model")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(file, "./model.safetensors")
    assert artifact.load(tmp_path / "model.tar.gz").classes == CLASSES


def _own_folder(model: Path, out: Path) -> Path:
    with tarfile.open(out / "model.tar.gz", "w:gz") as tar:
        tar.add(model, "run-7")
    return out / "model.tar.gz"


def _tgz(model: Path, out: Path) -> Path:
    artifact.pack(model, out / "mine.tgz")
    return out


def _link_in_a_tar(model: Path, out: Path) -> Path:
    with tarfile.open(out / "model.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("model.safetensors")
        link.type, link.linkname = tarfile.SYMTYPE, "blobs/0a1b2c"
        tar.addfile(link)
        tar.add(model / "model.safetensors", "blobs/0a1b2c")
    return out / "model.tar.gz"


def _zip(model: Path, out: Path) -> Path:
    with zipfile.ZipFile(out / "model.zip", "w") as archive:
        archive.write(model / "model.safetensors", "model/model.safetensors")
    return out / "model.zip"


def _zip_named_tar(model: Path, out: Path) -> Path:
    return _zip(model, out).rename(out / "model.tar.gz")


def _folder_in_a_folder(model: Path, out: Path) -> Path:
    shutil.copytree(model, out / "run-7")
    return out


def _links_in_a_folder(model: Path, out: Path) -> Path:
    (out / "model.safetensors").symlink_to(model / "model.safetensors")
    return out


@pytest.mark.parametrize(
    "shape",
    [
        _own_folder, _tgz, _link_in_a_tar, _zip, _zip_named_tar, _folder_in_a_folder,
        _links_in_a_folder,
    ],
)  # fmt: skip
def test_an_archive_in_another_shape_loads(
    tmp_path: Path, shape: Callable[[Path, Path], Path]
) -> None:
    (tmp_path / "out").mkdir()
    artifact.save(make(), tmp_path / "model")
    assert artifact.load(shape(tmp_path / "model", tmp_path / "out")).classes == CLASSES


def _lfs(folder: Path, name: str) -> None:
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n")


def _link_to_nothing_in_a_tar(folder: Path) -> None:
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("model.safetensors")
        link.type, link.linkname = tarfile.SYMTYPE, "/blobs/nothing"
        tar.addfile(link)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: _lfs(folder, "model.tar.gz"), "is a git-LFS pointer: fetch the file"),
        (lambda folder: _lfs(folder, "model.safetensors"), "is a git-LFS pointer: fetch the file"),
        (lambda folder: (folder / "model.safetensors").symlink_to("x"), "is a link to nothing"),
        (_link_to_nothing_in_a_tar, "is a link to nothing"),
        (
            lambda folder: [(folder / name).touch() for name in ("a.tgz", "b.zip")],
            "expected one model in",
        ),
    ],
)
def test_what_only_points_to_a_model_is_told_for_what_it_is(
    tmp_path: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(tmp_path)
    with pytest.raises(ArtifactError, match=reason):
        artifact.load(tmp_path)


def test_a_failed_save_leaves_the_former_archive_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact.save(make(0), tmp_path)
    before = artifact.load(tmp_path).version

    def disk_full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact, "save_file", disk_full)
    with pytest.raises(OSError, match="No space"):
        artifact.save(make(1), tmp_path)
    assert artifact.load(tmp_path).version == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_packing_a_folder_without_an_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"expected model\.safetensors"):
        artifact.pack(tmp_path, tmp_path / "model.tar.gz")
    assert list(tmp_path.iterdir()) == []


def _empty(folder: Path) -> None:
    pass


def _text(folder: Path) -> None:
    (folder / "model.safetensors").write_text("not a safetensors file")


def _cut(folder: Path) -> None:
    file = artifact.save(make(), folder)
    file.write_bytes(file.read_bytes()[:-1000])


def _foreign(folder: Path) -> None:
    save_file({"weight": torch.zeros(3)}, folder / "model.safetensors")


def _other_format(folder: Path) -> None:
    document = json.dumps({"format": "dogbreeds-archive/99"})
    save_file({"w": torch.zeros(3)}, folder / "model.safetensors", metadata={"dogbreeds": document})


def _wrong_class_count(folder: Path) -> None:
    file = artifact.save(make(), folder)
    data = file.read_bytes()
    old, new = b'[\\"x\\", \\"\\\\u00c9pagneul\\"]', b'[\\"x\\", \\"\\\\u00c9pagneul\\"],[1,2]'
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(old, new)
    assert header != data[8 : 8 + length]
    file.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])


def _tar_of_something_else(folder: Path) -> None:
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("model.pth"), io.BytesIO())


def _no_tar(folder: Path) -> None:
    (folder / "model.tar.gz").write_bytes(b"\x1f\x8b no gzip")


@pytest.mark.parametrize(
    "damage",
    [
        _empty,
        _text,
        _cut,
        _foreign,
        _other_format,
        _wrong_class_count,
        _tar_of_something_else,
        _no_tar,
    ],
)
def test_what_is_no_archive_of_ours_is_refused(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(tmp_path)
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        artifact.load(tmp_path)


def test_a_pickle_in_the_place_of_the_weights_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
            return (Path.touch, (marker,))

    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ArtifactError):
        artifact.load(tmp_path)
    assert not marker.exists()
