"""A `train.py` that knows nothing of this project: torchvision, and SageMaker's script mode."""

import argparse
import json
import os
import shutil

import torch
from torchvision import datasets, models, transforms

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--lr", type=float, default=0.001)
parser.add_argument("--train", default=os.environ.get("SM_CHANNEL_TRAIN"))
parser.add_argument("--model-dir", default=os.environ.get("SM_MODEL_DIR"))
arguments, _ = parser.parse_known_args()

transform = transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor()])
photos = datasets.ImageFolder(arguments.train, transform)
model = models.resnet18(num_classes=len(photos.classes))
optimizer = torch.optim.Adam(model.parameters(), arguments.lr)
for epoch in range(arguments.epochs):
    for inputs, targets in torch.utils.data.DataLoader(photos, 16, shuffle=True):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: train_loss={loss.item():.4f}", flush=True)

torch.save(model.state_dict(), os.path.join(arguments.model_dir, "model.pth"))
with open(os.path.join(arguments.model_dir, "classes.json"), "w") as file:
    json.dump(photos.classes, file)
# The serving image finds the functions of code/inference.py in the archive.
code = os.path.join(arguments.model_dir, "code")
os.makedirs(code, exist_ok=True)
shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "inference.py"), code)
