"""torchvision's classifiers by name, with their head and pretrained weights.

``python -m dogbreeds.model.networks resnet18 DIR [FILE]`` puts torchvision's ImageNet weights into
a folder, as the build of the training image does.
"""

import pickle
import socket
import sys
import urllib.error
from pathlib import Path

import torch
from torch import nn
from torchvision import models as zoo

from dogbreeds.model.architectures import ModelError, check_architecture


def create_model(architecture: str, num_classes: int) -> nn.Module:
    """Build a classifier with random weights: float32 [N, 3, H, W] to logits [N, num_classes].

    ModelError if the architecture, e.g. ``"resnet18"``, is not in `ARCHITECTURES`.
    """
    check_architecture(architecture)
    model: nn.Module = zoo.get_model(architecture, weights=None, num_classes=num_classes)
    return model


def head_name(model: nn.Module) -> str:
    """Return the dotted name of the model's classification head, its last layer with parameters."""
    layers = (nn.Linear, nn.Conv2d)
    names = [name for name, module in model.named_modules() if isinstance(module, layers)]
    return str(names[-1])


def load_pretrained(model: nn.Module, path: Path) -> None:
    """Load a state dict of any number of classes into all of the model but its head, in place.

    The file is read with ``weights_only=True``, so no code in it is run. ModelError if it is
    missing, is no state dict or is of another architecture.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"cannot read weights file {path}: {error}") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise ModelError(f"expected a PyTorch state dict, got {path}, which is none") from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(f"expected a PyTorch state dict of tensors, got {path}")
    head = head_name(model) + "."
    state, expected = (
        {name: tensor for name, tensor in tensors.items() if not name.startswith(head)}
        for tensors in (state, model.state_dict())
    )
    # Old files lack BatchNorm's step counters, which do not matter.
    missing = sorted(n for n in expected.keys() - state.keys() if "num_batches_tracked" not in n)
    unknown = sorted(state.keys() - expected.keys())
    both = expected.keys() & state.keys()
    shapes = sorted(name for name in both if expected[name].shape != state[name].shape)
    if missing or unknown or shapes:
        raise ModelError(
            f"weights file {path} is of another architecture: {len(missing)} tensors missing,"
            f" {len(unknown)} unknown, {len(shapes)} of another shape"
            f" (first: {(missing + unknown + shapes)[0]})"
        )
    model.load_state_dict(state, strict=False)


def fetch_imagenet_weights(architecture: str, folder: Path, source: Path | None = None) -> Path:
    """Put torchvision's ImageNet weights of an architecture into a folder; return the file.

    The digits in its name, e.g. ``resnet18-f37072fd.pth``, are the first of its SHA-256
    (torch.hub's convention), which is checked. `source` is a local copy to use instead of a
    download. ModelError if there are no such weights, or the file does not have that hash; OSError
    if it cannot be downloaded, read or written.
    """
    check_architecture(architecture)
    url = str(zoo.get_model_weights(architecture).DEFAULT.url)
    digest = url.rpartition("-")[2].removesuffix(".pth")
    final = folder / f"{architecture}-{digest}.pth"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        given = source.resolve().as_uri() if source else url
        torch.hub.download_url_to_file(given, str(final), digest, progress=False)
    except RuntimeError as error:  # names both hashes
        wrong = "not torchvision's file, or damaged on the way"
        raise ModelError(f"{source or url} has another SHA-256: {error}: {wrong}") from error
    return final


def main(architecture: str, folder: str, source: str = "") -> int:
    """Fetch weights; exit code 3 means that the network could not be reached."""
    socket.setdefaulttimeout(60)
    given = Path(source) if source else None
    try:
        path = fetch_imagenet_weights(architecture, Path(folder), given)
    except urllib.error.URLError as error:
        print(f"cannot download the weights: {error.reason}", file=sys.stderr)
        return 3
    except (ModelError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{path} ({path.stat().st_size / 1e6:.0f} MB, hash checked)")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
