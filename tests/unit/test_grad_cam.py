import pytest
import torch
from torch import nn

from dogbreeds.entrypoint.grad_cam import grad_cam, grad_cam_pictures
from dogbreeds.model.networks import create_model
from dogbreeds.model.preprocessing import Preprocessing


def reds_against_blues() -> nn.Module:
    """A classifier whose class 0 is spoken for by red, and class 1 by blue."""
    features = nn.Conv2d(3, 2, 4, 4, bias=False)
    with torch.no_grad():
        features.weight.zero_()
        features.weight[0, 0] = features.weight[1, 2] = 1
    head = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    return nn.Sequential(
        features, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head
    ).eval()


def test_the_map_is_highest_where_a_photo_speaks_for_the_class() -> None:
    images = torch.zeros(2, 3, 32, 32)
    images[:, 0, :8, :8] = images[:, 2, 24:, 24:] = 1  # red at the top left, blue at the bottom
    red, blue = grad_cam(reds_against_blues(), images, torch.tensor([0, 1]))
    assert (red[:4, :4].min(), red[16:].max()) == (1, 0)
    assert (blue[28:, 28:].min(), blue[:16].max()) == (1, 0)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "squeezenet1_1"])
def test_architectures_have_maps_of_the_photos_size_and_keep_their_gradients(name: str) -> None:
    model = create_model(name, 3).eval()
    maps = grad_cam(model, torch.randn(2, 3, 64, 64), torch.tensor([0, 2]))
    assert maps.shape == (2, 64, 64)
    assert 0 <= maps.min() <= maps.max() <= 1
    assert all(parameter.grad is None for parameter in model.parameters())


def test_pictures_are_the_photo_darkened_where_it_does_not_speak() -> None:
    pixels = torch.full((1, 32, 32, 3), 200, dtype=torch.uint8)
    pixels[:, :, 16:, 0] = 0
    plain = Preprocessing(32, 32, mean=(0, 0, 0), std=(1, 1, 1))
    [picture] = grad_cam_pictures(reds_against_blues(), plain, pixels, torch.tensor([0]))
    assert picture.getpixel((2, 16)) == (200, 200, 200)
    assert picture.getpixel((30, 16)) == (0, 40, 40)
