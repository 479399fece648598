"""Names of models and of their published weights, without the seconds that importing torch takes.

Jobs with an impossible setting fail on these before anything heavy is imported.
"""

import difflib
import os
import re
from pathlib import Path

from dogbreeds.system.errors import DogbreedsError

WEIGHTS_DIR_ENV = "DOGBREEDS_WEIGHTS_DIR"
"""Environment variable of the folder with torchvision's ImageNet weights; set by the image."""

ARCHITECTURES = frozenset(
    """
    alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161
    densenet169 densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3
    efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_l
    efficientnet_v2_m efficientnet_v2_s maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3
    mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf regnet_x_32gf
    regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_128gf regnet_y_16gf
    regnet_y_1_6gf regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101
    resnet152 resnet18 resnet34 resnet50 resnext101_32x8d resnext101_64x4d resnext50_32x4d
    shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0
    squeezenet1_1 swin_b swin_s swin_t swin_v2_b swin_v2_s swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn
    vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32 vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2
    wide_resnet50_2
    """.split()
)
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
    ``resnet18-f37072fd.pth``, whose digits begin the file's SHA-256. Nothing is downloaded.

    Raises:
        ModelError: There is no such file.
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
