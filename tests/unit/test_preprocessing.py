from dataclasses import asdict

import numpy as np
import pytest
import torch

from dogbreeds.model.preprocessing import Preprocessing
from helpers.pictures import photo


@pytest.mark.parametrize("resize_size", [224, 256])
def test_preprocessing_matches_torchvisions_resize_and_crop(resize_size: int) -> None:
    from torchvision import transforms

    image = photo(500, 375)
    steps = [transforms.Resize(resize_size), transforms.CenterCrop(224)]
    reference = transforms.Compose(steps)(image)
    ours = Preprocessing(resize_size, 224).to_pixels(image)
    assert ours.shape == (224, 224, 3)
    assert np.abs(ours.astype(float) - np.asarray(reference, float)).mean() < 2


def test_normalize_centres_imagenets_mean_and_is_channels_last() -> None:
    preprocessing = Preprocessing()
    mean = torch.tensor(preprocessing.mean).mul(255).round().to(torch.uint8)
    pixels = mean.expand(2, 8, 8, 3).contiguous()
    normalized = preprocessing.normalize(pixels)
    assert normalized.shape == (2, 3, 8, 8)
    assert normalized.abs().max() < 0.01
    assert normalized.is_contiguous(memory_format=torch.channels_last)


def test_preprocessing_survives_json_and_refuses_nonsense() -> None:
    preprocessing = Preprocessing(146, 128)
    assert Preprocessing.from_dict(asdict(preprocessing)) == preprocessing
    for wrong in ({"image_size": 0}, {"std": [1, 0, 1]}, {"image_size": 300}):
        with pytest.raises(ValueError, match="expected"):
            Preprocessing.from_dict({**asdict(preprocessing), **wrong})
