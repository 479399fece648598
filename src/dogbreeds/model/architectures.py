"""Names of models and weights, without torch: jobs with an impossible setting fail at once."""

import difflib
import os
import re
from importlib import resources
from pathlib import Path

from dogbreeds.system.errors import DogbreedsError

WEIGHTS_DIR_ENV = "DOGBREEDS_WEIGHTS_DIR"
"""Environment variable of the folder with torchvision's ImageNet weights; set by the image."""

_LIST = resources.files(__package__) / "architectures.txt"
ARCHITECTURES = frozenset(_LIST.read_text("utf-8").split())
"""torchvision's classifiers by name, less GoogLeNet and Inception (auxiliary outputs)."""

FIXED_IMAGE_SIZE = dict.fromkeys(
    ("maxvit_t", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32"), 224
)
"""Input size in pixels of the classifiers that take only one."""
_TRANSFORMERS = ("maxvit", "swin", "vit")


class ModelError(DogbreedsError, ValueError):
    """A model or its weights are not available; the message says what to do."""


def check_architecture(name: str) -> None:
    """Raise `ModelError` for a name that is not in `ARCHITECTURES`."""
    if name not in ARCHITECTURES:
        close = difflib.get_close_matches(name.lower(), sorted(ARCHITECTURES), n=1)
        raise ModelError(
            "expected a torchvision classifier such as resnet18, mobilenet_v2 or efficientnet_b0,"
            f" got model {name!r}{f': did you mean {close[0]}?' if close else ''}"
        )


def is_transformer(name: str) -> bool:
    """Tell whether an architecture of `ARCHITECTURES` is a vision transformer."""
    return name.startswith(_TRANSFORMERS)


def find_imagenet_weights(architecture: str) -> Path:
    """Return the local file of an architecture's ImageNet weights from torchvision.

    Searches the folder named by `WEIGHTS_DIR_ENV`, then torch.hub's cache, for names such as
    ``resnet18-f37072fd.pth``, whose digits begin the file's SHA-256. Nothing is downloaded:
    ModelError if there is no such file.
    """
    torch_home = os.environ.get("TORCH_HOME", "~/.cache/torch")  # as documented by torch.hub
    folders = [Path(torch_home).expanduser() / "hub" / "checkpoints"]
    if baked := os.environ.get(WEIGHTS_DIR_ENV):
        folders.insert(0, Path(baked))
    pattern = re.compile(rf"{architecture}-[0-9a-f]{{8,}}\.pth")
    for folder in folders:
        for path in sorted(folder.glob(f"{architecture}*.pth")):
            if pattern.fullmatch(path.name):
                return path
    raise ModelError(
        f"weights=imagenet asks for {architecture}-*.pth, which is not in"
        f" {' or '.join(map(str, folders))}. Give a weights file in the channel `weights` and its"
        " name as hyperparameter weights, bake it into the image, or train from scratch with"
        " weights=none"
    )
