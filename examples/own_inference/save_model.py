"""Writes a model for `code/inference.py`: ResNet-18 with three classes, as a training would.

python examples/own_inference/save_model.py FOLDER
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from torchvision import models

folder = Path(sys.argv[1])
shutil.copytree(Path(__file__).parent / "code", folder / "code", dirs_exist_ok=True)
torch.save(models.resnet18(num_classes=3).state_dict(), folder / "model.pth")
(folder / "classes.json").write_text(json.dumps(["paper", "rock", "scissors"]))
print(f"Serve it: dogbreeds serve {folder}")
