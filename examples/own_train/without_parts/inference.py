"""A torchvision model behind four functions, as written for AWS's PyTorch image."""

import io
import json
import os

import torch
from PIL import Image
from torchvision import models, transforms

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
transform = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def model_fn(model_dir):
    with open(os.path.join(model_dir, "classes.json")) as file:
        classes = json.load(file)
    model = models.resnet18(num_classes=len(classes))
    weights = torch.load(os.path.join(model_dir, "model.pth"), map_location=device)
    model.load_state_dict(weights)
    return model.to(device).eval(), classes


def input_fn(data, content_type):
    if content_type not in ("image/jpeg", "image/png", "application/x-image"):
        raise ValueError(f"expected image/jpeg or another photo, got {content_type}")
    return transform(Image.open(io.BytesIO(data)).convert("RGB")).unsqueeze(0)


def batch_predict_fn(inputs, model):
    """What waits together shares a forward pass; `predict_fn(data, model)` would be one by one."""
    network, classes = model
    with torch.inference_mode():
        rows = network(torch.cat(inputs).to(device)).softmax(1).cpu()
    return [dict(zip(classes, row.tolist(), strict=True)) for row in rows]


def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
