import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from dogbreeds.model import architectures, networks
from dogbreeds.model.architectures import ARCHITECTURES, ModelError


def test_the_list_of_architectures_is_torchvisions() -> None:
    listed = {
        name
        for name in zoo.list_models(module=zoo)
        if not name.startswith("quantized_") and name not in ("googlenet", "inception_v3")
    }
    assert listed == ARCHITECTURES


@pytest.mark.parametrize(
    ("architecture", "head"),
    [
        ("resnet18", "fc"),
        ("mobilenet_v2", "classifier.1"),
        ("mobilenet_v3_small", "classifier.3"),
        ("efficientnet_b0", "classifier.1"),
        ("shufflenet_v2_x0_5", "fc"),
        ("squeezenet1_1", "classifier.1"),
        ("densenet121", "classifier"),
        ("swin_t", "head"),
    ],
)
def test_every_kind_of_architecture_gets_a_head_for_the_classes(
    architecture: str, head: str
) -> None:
    with torch.device("meta"):
        model = networks.create_model(architecture, 7)
    assert networks.head_name(model) == head
    layer = model.get_submodule(head)
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    assert layer.weight.shape[0] == 7


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(ModelError, match="resnet99"):
        networks.create_model("resnet99", 3)


def test_pretrained_weights_fill_all_but_the_head(tmp_path: Path) -> None:
    source = networks.create_model("shufflenet_v2_x0_5", 1000)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    model = networks.create_model("shufflenet_v2_x0_5", 5)
    head_before = model.get_submodule("fc").weight.clone()  # type: ignore[operator]
    networks.load_pretrained(model, tmp_path / "weights.pth")
    for name, tensor in model.state_dict().items():
        expected = head_before if name == "fc.weight" else source.state_dict()[name]
        if name != "fc.bias":
            assert torch.equal(tensor, expected), name


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    torch.save(networks.create_model("squeezenet1_1", 5).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ModelError, match="another architecture"):
        networks.load_pretrained(networks.create_model("resnet18", 5), tmp_path / "weights.pth")


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 no zip"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.pth"):
        networks.load_pretrained(networks.create_model("resnet18", 5), tmp_path / "weights.pth")


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return (Path.touch, (marker,))

    torch.save({"fc.weight": Trap()}, tmp_path / "weights.pth")
    with pytest.raises(ModelError):
        networks.load_pretrained(networks.create_model("resnet18", 5), tmp_path / "weights.pth")
    assert not marker.exists()


def test_imagenet_weights_are_found_where_the_image_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(architectures.WEIGHTS_DIR_ENV, str(tmp_path))
    with pytest.raises(ModelError, match="weights=none"):
        architectures.find_imagenet_weights("vgg11")
    (tmp_path / "vgg11_bn-6002323d.pth").touch()
    with pytest.raises(ModelError):
        architectures.find_imagenet_weights("vgg11")
    (tmp_path / "vgg11-8a719046.pth").touch()
    assert architectures.find_imagenet_weights("vgg11").name == "vgg11-8a719046.pth"


def _published(monkeypatch: pytest.MonkeyPatch, source: Path, digest: str) -> None:
    """Let torchvision publish a local file, under a name with the given hash."""
    url = (source.parent / f"resnet18-{digest}.pth").as_uri()
    source.rename(source.parent / f"resnet18-{digest}.pth")
    weights = SimpleNamespace(DEFAULT=SimpleNamespace(url=url))
    monkeypatch.setattr(f"{networks.__name__}.zoo.get_model_weights", lambda name: weights)


def test_fetched_weights_are_checked_by_their_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source.pth"
    source.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    _published(monkeypatch, source, digest)
    file = networks.fetch_imagenet_weights("resnet18", tmp_path / "into")
    assert file == tmp_path / "into" / f"resnet18-{digest}.pth"
    assert file.read_bytes() == b"weights"


def test_weights_with_another_hash_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source.pth"
    source.write_bytes(b"tampered")
    _published(monkeypatch, source, "0123abcd")
    assert networks.main("resnet18", str(tmp_path / "into")) == 1
    assert "expected" in capsys.readouterr().err
    assert list((tmp_path / "into").iterdir()) == []


def test_a_local_copy_of_the_weights_is_taken_and_checked_the_same(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"something else")
    with pytest.raises(ModelError, match="f37072fd"):
        networks.fetch_imagenet_weights("resnet18", tmp_path / "into", tmp_path / "mine.pth")
